"""Groups for tools that know groups of files: dupe-scanner, imagededup, immich.

These tools keep one file of a group and take all others for copies; they know no alternates. So dupe-scanner and
imagededup are given each keeper with the copies that may go, unless all members are asked for.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from uuid import NAMESPACE_URL, UUID, uuid5

from dupelake.errors import ConfigError
from dupelake.export.files import Written, beside
from dupelake.export.names import name_of
from dupelake.export.night import Night, Row
from dupelake.runtime.out_files import written_whole

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
            all_names = (name_of(row["uri"], row["is_member"], None) for row in (members[0], *copies))
            names = list(dict.fromkeys(all_names))  # a file may be several images of a group
            if len(names) > 1:
                n_groups, n_files = n_groups + 1, n_files + len(names)
                file.write(f"{comma()}{json.dumps(f'group-{n_groups}')}: {json.dumps(names, indent=4)}")
        file.write("\n}\n")
    return Written([out], f"{n_groups} groups of {n_files} files")


def write_imagededup(night: Night, out: Path, *, is_whole: bool, folder: str | None) -> Written:
    """Write `{file: [[file, score], ...], ...}`, what imagededup's `find_duplicates(scores=True)` writes as JSON.

    Every live image is a key, keepers before their copies, so that `get_files_to_remove` finds the copies of each
    keeper. A pair is an image and the keeper of its group, and stands under both names.

    Args:
        night: the tables.
        out: the file.
        is_whole: as in `write_dupe_scanner`.
        folder: the `image_dir`, to which names are relative; None for absolute paths.
    """
    n_pairs = n_files = 0
    with written_whole(out) as path, path.open("w", encoding="utf-8") as file:
        comma = _opened(file)
        for name, pairs in _pairs_by_file(night, is_whole=is_whole, folder=folder):
            n_files, n_pairs = n_files + 1, n_pairs + len(pairs)
            file.write(f"{comma()}{json.dumps(name)}: {json.dumps(pairs)}")
        file.write("\n}\n")
    return Written([out], f"{n_files} files, {n_pairs // 2} pairs")


def _pairs_by_file(night: Night, *, is_whole: bool, folder: str | None) -> Iterator[tuple[str, Pairs]]:
    """(name, [[name, score], ...]) of each file, once.

    A file of several images is a keeper if one of them is. So its pairs are gathered from all its groups first.
    """
    shared = night.shared_uris()
    stays: defaultdict[str, Pairs] = defaultdict(list)
    goes: defaultdict[str, Pairs] = defaultdict(list)
    for file in _pairs(night, is_whole=is_whole, folder=folder) if shared else ():
        if file.uri in shared:
            (stays if file.is_kept else goes)[file.name] += file.pairs

    def given(name: str, pairs: Pairs) -> Pairs:
        """Each other file once, and without copies that stay as another image."""
        found: dict[str, float] = {}
        for other, score in pairs:
            if other != name and (is_whole or other not in stays):
                found.setdefault(other, score)
        return [[other, score] for other, score in found.items()]

    for name, pairs in stays.items():
        yield name, given(name, pairs + (goes.pop(name, []) if is_whole else []))
    for file in _pairs(night, is_whole=is_whole, folder=folder):
        if file.uri not in shared:
            yield file.name, given(file.name, file.pairs) if file.is_kept else file.pairs
    for name, pairs in goes.items():
        if name not in stays:
            yield name, pairs


class _File(NamedTuple):
    """A live image: its pairs, and whether it is a keeper or has none."""

    uri: str
    name: str
    pairs: Pairs
    is_kept: bool


def _pairs(night: Night, *, is_whole: bool, folder: str | None) -> Iterator[_File]:
    """Each live image, its pairs of best score first."""
    for members in night.groups():
        names = [name_of(row["uri"], row["is_member"], folder) for row in members]
        given = {row["image_id"] for row in _copies_in(members, is_whole=is_whole)}
        copies = [[name, row["score"]] for name, row in zip(names, members, strict=True) if row["image_id"] in given]
        yield _File(members[0]["uri"], names[0], copies, is_kept=True)
        for name, row in zip(names[1:], members[1:], strict=True):
            is_given = row["image_id"] in given
            yield _File(row["uri"], name, [[names[0], row["score"]]] if is_given else [], not is_given)
    for row in night.in_no_group():
        yield _File(row["uri"], name_of(row["uri"], row["is_member"], folder), [], is_kept=True)


def _opened(file: TextIO) -> Callable[[], str]:
    """Begin a JSON object; what is returned gives the text before each of its fields."""
    file.write("{")
    texts = iter(["\n"])
    return lambda: next(texts, ",\n")


def write_immich(night: Night, out: Path, column: str | None) -> Written:
    """Write bodies of immich's API, one a line.

    `out` gets those of `PUT /api/assets`: all members of a group, and its duplicate id. A file beside it,
    `...-resolve.jsonl`, gets those of `POST /api/duplicates/resolve`: what to keep, and what to move to the trash.
    An asset may have several images (an original and its preview): it goes only if all of them go.

    Args:
        night: the tables.
        out: the file.
        column: the column of the manifest with the id of the asset; None for image_id.

    Raises:
        ConfigError: no image of a group has a UUID there.
    """
    resolve = beside(out, "-resolve.jsonl")
    n_groups = n_trash = n_named = n_unnamed = 0
    staying = night.shared_names_that_stay(column)
    with written_whole(resolve) as later, written_whole(out) as path, path.open("w") as ids, later.open("w") as ends:
        for members in night.groups(column):
            named = [(asset, row) for row in members if (asset := _asset_of(row)) is not None]
            n_named, n_unnamed = n_named + len(named), n_unnamed + len(members) - len(named)
            assets = list(dict.fromkeys(asset for asset, _ in named))
            if len(assets) < 2:
                continue
            n_groups += 1
            duplicate_id = str(uuid5(NAMESPACE_URL, f"dupelake:{members[0]['group_id']}"))
            ids.write(json.dumps({"ids": assets, "duplicateId": duplicate_id}) + "\n")
            keep = dict.fromkeys(asset for asset, row in named if not row["is_removable"] or asset in staying)
            trash = [asset for asset in assets if asset not in keep]
            if trash and named[0][1]["is_keeper"]:  # nothing goes whose keeper immich does not have
                n_trash += len(trash)
                group = {"duplicateId": duplicate_id, "keepAssetIds": list(keep), "trashAssetIds": trash}
                ends.write(json.dumps({"groups": [group]}) + "\n")
        if n_unnamed and not n_named:
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
