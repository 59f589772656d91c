"""Groups for tools that know groups of files: dupe-scanner, imagededup, immich.

These tools keep one file of a group and take all others for copies; they know no alternates. So dupe-scanner and
imagededup are given each keeper with the copies that may go, unless all members are asked for.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO
from uuid import NAMESPACE_URL, UUID, uuid5

from dupelake.errors import ConfigError
from dupelake.export.files import Written, beside, written_whole
from dupelake.export.names import name_of
from dupelake.export.night import Night, Row

Pairs = list[list[Any]]


def _copies_in(members: Sequence[Row], *, is_whole: bool) -> list[Row]:
    """The members beside the keeper that a tool is given: all, or those that may go."""
    return [row for row in members if not row["is_keeper"] and (is_whole or row["is_removable"])]


def write_dupe_scanner(night: Night, out: Path, *, is_whole: bool) -> Written:
    """Write `{"group-1": [path, ...], ...}`, the duplicates.json of pixolution's dupe-scanner, the kept file first.

    Args:
        night: the tables.
        out: the file.
        is_whole: all members of groups, not only those that may go.
    """
    n_groups = n_files = 0
    with written_whole(out) as path, path.open("w", encoding="utf-8") as file:
        comma = _opened(file)
        for members in night.groups():
            copies = _copies_in(members, is_whole=is_whole)
            if copies:
                n_groups, n_files = n_groups + 1, n_files + 1 + len(copies)
                names = [name_of(row["uri"], None) for row in (members[0], *copies)]
                file.write(f"{comma()}{json.dumps(f'group-{n_groups}')}: {json.dumps(names, indent=4)}")
        file.write("\n}\n")
    return Written([out], f"{n_groups} groups of {n_files} files")


def write_imagededup(night: Night, out: Path, *, is_whole: bool, folder: str | None) -> Written:
    """Write `{file: [[file, score], ...], ...}`, what imagededup's `find_duplicates(scores=True)` writes as JSON.

    Every live image is a key, keepers before all others, so that `get_files_to_remove` finds the copies of each keeper.
    A pair is an image and the keeper of its group, and stands under both names.

    Args:
        night: the tables.
        out: the file.
        is_whole: as in `write_dupe_scanner`.
        folder: the `image_dir`, to which names are relative; None for absolute paths.
    """
    shared = night.shared_uris()
    held: defaultdict[str, Pairs] = defaultdict(list)  # of files that are several images: one key for all of them
    n_pairs = n_files = 0
    with written_whole(out) as path, path.open("w", encoding="utf-8") as file:
        comma = _opened(file)
        for uri, others in _pairs(night, is_whole=is_whole):
            named = [[name_of(other, folder), score] for other, score in others]
            n_pairs += len(named)
            if uri in shared:
                held[name_of(uri, folder)] += named
                continue
            n_files += 1
            file.write(f"{comma()}{json.dumps(name_of(uri, folder))}: {json.dumps(named)}")
        for name, named in held.items():
            file.write(f"{comma()}{json.dumps(name)}: {json.dumps(named)}")
        file.write("\n}\n")
    return Written([out], f"{n_files + len(held)} files, {n_pairs // 2} pairs")


def _pairs(night: Night, *, is_whole: bool) -> Iterator[tuple[str, Pairs]]:
    """(uri, [[uri, score], ...]) of each live image, the pairs of best score first."""
    for members in night.groups():
        keeper = members[0]["uri"]
        copies = _copies_in(members, is_whole=is_whole)
        yield keeper, [[row["uri"], row["score"]] for row in copies]
        given = {row["image_id"] for row in copies}
        for row in members[1:]:
            yield row["uri"], [[keeper, row["score"]]] if row["image_id"] in given else []
    for row in night.in_no_group():
        yield row["uri"], []


def _opened(file: TextIO) -> Callable[[], str]:
    """Begin a JSON object; what is returned gives the text before each of its fields."""
    file.write("{")
    texts = iter(["\n"])
    return lambda: next(texts, ",\n")


def write_immich(night: Night, out: Path, column: str | None) -> Written:
    """Write bodies of immich's API, one a line.

    `out` gets those of `PUT /api/assets`: all members of a group, and its duplicate id. A file beside it,
    `...-resolve.jsonl`, gets those of `POST /api/duplicates/resolve`: what to keep, and what to move to the trash.

    Args:
        night: the tables.
        out: the file.
        column: the column of the manifest with the id of the asset; None for image_id.

    Raises:
        ConfigError: no image of a group has a UUID there.
    """
    resolve = beside(out, "-resolve.jsonl")
    n_groups = n_trash = n_unnamed = 0
    with written_whole(resolve) as later, written_whole(out) as path, path.open("w") as ids, later.open("w") as ends:
        for members in night.groups(column):
            assets = [(asset, row) for row in members if (asset := _asset_of(row)) is not None]
            n_unnamed += len(members) - len(assets)
            if len(assets) < 2:
                continue
            n_groups += 1
            duplicate_id = str(uuid5(NAMESPACE_URL, f"dupelake:{members[0]['group_id']}"))
            ids.write(json.dumps({"ids": [asset for asset, _ in assets], "duplicateId": duplicate_id}) + "\n")
            trash = [asset for asset, row in assets if row["is_removable"]]
            if trash and assets[0][1]["is_keeper"]:  # nothing goes whose keeper immich does not have
                n_trash += len(trash)
                keep = [asset for asset, row in assets if not row["is_removable"]]
                group = {"duplicateId": duplicate_id, "keepAssetIds": keep, "trashAssetIds": trash}
                ends.write(json.dumps({"groups": [group]}) + "\n")
        if n_unnamed and not n_groups:
            where = "image_id" if column is None else f"the column {column} of the manifest"
            raise ConfigError(
                [f"--id-column: {where} has no UUIDs; immich needs the ids of its assets: name the column with them"]
            )
    notes = [f"{n_unnamed} images of groups have no asset id (a UUID) and are left out"] if n_unnamed else []
    return Written([out, resolve], f"{n_groups} groups; {n_trash} assets may go to the trash", notes)


def _asset_of(row: Row) -> str | None:
    """The id of an asset of immich: a UUID with its dashes, which tell it from dupelake's own ids."""
    name = str(row["name"]).lower()
    try:
        return name if str(UUID(name)) == name else None
    except ValueError:
        return None
