"""Builds the index of a warehouse from its Delta tables, at the versions of the last complete night.

Contents never change: those that the index lacks become a new segment. A segment is made anew if contents of it were
embedded since. All is made anew if a table of contents was made anew or had another change than added rows, if a
version or an option changed, or if there are many segments. Everything is written beside the present index and becomes
valid when the manifest is replaced, so a crash leaves the old index.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupelake.config import Config
from dupelake.embed.stage import FEW_KEYPOINTS
from dupelake.errors import BusyError, EnvironmentFault, ModelError, VersionMixError
from dupelake.lookup.manifest import ROWS, Manifest, config_of, read_manifest, write_manifest
from dupelake.lookup.segments import MAX_CONTENTS, Keys, Segment, SegmentWriter, ids_of, keys_of, places_of
from dupelake.lookup.state import StateWriter, columns_of
from dupelake.lookup.versions import FIX, refuse_others, versions_of
from dupelake.propose.srp import embedding_plan
from dupelake.version import __version__
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.rules import LAST_COMPLETE
from dupelake.warehouse.schema import (
    DECIDED,
    DECISIONS,
    EMBEDDINGS,
    FEATURES,
    GROUP_CHANGES,
    GROUPS,
    HASHES,
    IMAGES,
    JOINED,
    MODELS,
    OK,
    PAIRS,
    RUNS,
    THUMBNAILS,
    Table,
)

log = logging.getLogger(__name__)

_MAX_SEGMENTS = 16  # a check looks into each
_OF_CONTENTS = (HASHES, FEATURES, THUMBNAILS, EMBEDDINGS)
_PICTURES = ((FEATURES, ("words", "keypoints", "descriptors")), (THUMBNAILS, ("bytes",)), (EMBEDDINGS, ("embedding",)))
_NAMES = {"bytes": "thumbnail"}

Told = Callable[[str], None]


@dataclass(frozen=True)
class _Night:
    """The last complete night, and what it compared."""

    reader: Reader
    run_id: str
    as_of: str
    tables: dict[str, int]
    table_ids: dict[str, str]
    options: dict[str, dict[str, object]]
    config: Config
    versions: dict[str, str | None]
    centre: npt.NDArray[np.float32] | None

    @property
    def n_bits(self) -> int:
        return 0 if self.centre is None else embedding_plan(self.centre, self.config.lsh).n_bits

    def rows_of(self, table: Table) -> pc.Expression | None:
        """The rows of a table of contents that the night compared."""
        if table is HASHES:
            return pc.field("hash_version") == self.versions["hash"]
        if table is FEATURES:
            return pc.field("feature_version") == self.versions["feature"]
        return pc.field("model_id") == self.versions["model"] if table is EMBEDDINGS else None


def build_index(warehouse: str, folder: Path, *, full: bool = False, told: Told = log.info) -> Manifest:
    """Build or update the index of a warehouse.

    Args:
        warehouse: folder or URI of the tables.
        folder: of the index; created.
        full: make all segments anew.
        told: called with sentences about the progress.

    Raises:
        NotFoundError: there is no warehouse.
        EnvironmentFault: the warehouse has no complete night, or its tables cannot be read.
        VersionMixError: the night used other versions than this library.
        BusyError: another process builds this index.
    """
    newest = Reader(warehouse)
    newest.version(RUNS.name)  # before a folder is made where no warehouse is
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        night = _last_night(newest)
        old = None if full else _usable(folder, night)
        if old is not None and (old.run_id, old.tables) == (night.run_id, night.tables):
            told(f"index {folder}: it shows the last night already ({old.run_id})")
            return old
        kept = _complete(folder, night, old) if old is not None else []
        segments = [*kept, *_new_segments(folder, night, [Segment(folder / name) for name in kept], told)]
        state, n_images = _write_state(folder, night)
        n_contents = sum(len(Segment(folder / name)) for name in segments)
        manifest = Manifest(
            warehouse=newest.root,
            built_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            as_of=night.as_of,
            run_id=night.run_id,
            tables=night.tables,
            table_ids=night.table_ids,
            versions=night.versions | {"dupelake": __version__},
            config=night.options,
            embeds_all=_embeds_all(night),
            centre="" if night.centre is None else night.centre.astype("<f4").tobytes().hex(),
            segments=segments,
            state=state,
            n_contents=n_contents,
            n_images=n_images,
        )
        write_manifest(folder, manifest)
        _remove_others(folder, manifest)
        told(f"index {folder}: {n_contents} contents of {n_images} images, {len(segments)} segments")
        return manifest


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BusyError(f"another process builds the index {folder}; wait for it") from error
        yield


def _last_night(newest: Reader) -> _Night:
    found = newest.query(LAST_COMPLETE).to_pylist()
    if not found:
        raise EnvironmentFault(f"the warehouse {newest.root} has no complete night; run `dupelake run` first")
    last = found[0]
    tables = dict(last["tables"])
    reader = newest.at(tables)
    options = json.loads(last["config"])
    config = config_of(options)
    stored = _of_tables(reader)
    versions, centre = _compared(reader, config, stored["join"])
    refuse_others(versions, stored, f"the warehouse {newest.root}")
    ids = {table.name: reader.table_id(table.name) for table in (IMAGES, *_OF_CONTENTS)}
    as_of = last["started_at"].isoformat()
    return _Night(reader, last["run_id"], as_of, tables, ids, options, config, versions, centre)


def _compared(
    reader: Reader, config: Config, joined: set[str]
) -> tuple[dict[str, str | None], npt.NDArray[np.float32] | None]:
    """The versions of what was compared, and the centre of its model: the stored model that the joins tell of."""
    if config.embed.model == "none":
        return versions_of(config, None, None), None
    models = reader.rows(MODELS.name, ["model_id", "preprocess_id", "centre"]).to_pylist()  # a row a model
    found = [(versions_of(config, row["model_id"], row["preprocess_id"]), row["centre"]) for row in models]
    if not found:
        raise ModelError(f"the warehouse holds no embeddings{FIX}")
    versions, centre = next((one for one in found if one[0]["join"] in joined), found[-1])
    return versions, np.frombuffer(bytes(centre), "<f4")


def _of_tables(reader: Reader) -> dict[str, set[str]]:
    """The versions that the joined contents and the pairs have."""
    found = {"join": set(reader.rows(JOINED.name, ["join_version"])["join_version"].unique().to_pylist())}
    found["decide"] = set(reader.rows(PAIRS.name, ["decide_version"])["decide_version"].unique().to_pylist())
    return found


def _usable(folder: Path, night: _Night) -> Manifest | None:
    """The present index if only contents were added since."""
    try:
        old = read_manifest(folder)
    except VersionMixError:  # another release wrote it, or it is damaged; all of it can be made again
        return None
    if old is None or old.warehouse != night.reader.root or len(old.segments) >= _MAX_SEGMENTS:
        return None
    if old.table_ids != night.table_ids or {**old.versions, "dupelake": None} != {**night.versions, "dupelake": None}:
        return None
    for table in _OF_CONTENTS:
        since = old.tables.get(table.name)
        if since is None or not night.reader.only_appended(table.name, since):
            return None
    return old


def _complete(folder: Path, night: _Night, old: Manifest) -> list[str]:
    """The segments that have all embeddings of their contents; the contents of the others are written anew.

    A content may get its first embedding long after its hashes: from the first night with a GPU (embed.contents: auto),
    or by embed.contents=all.
    """
    if night.centre is None or old.tables[EMBEDDINGS.name] == night.tables[EMBEDDINGS.name]:
        return old.segments
    segments = {name: Segment(folder / name) for name in old.segments}
    n_embedded = dict.fromkeys(segments, 0)
    is_there = pc.field("error_message").is_null()  # the embeddings themselves need not be read
    for batch in night.reader.batches(EMBEDDINGS.name, ["content_id"], is_there & night.rows_of(EMBEDDINGS)):
        keys = keys_of(batch["content_id"])
        for name, segment in segments.items():
            n_embedded[name] += int(np.count_nonzero(places_of(keys, segment.ids) >= 0))
    return [name for name, segment in segments.items() if n_embedded[name] == len(segment.coded)]


def _new_segments(folder: Path, night: _Night, kept: Sequence[Segment], told: Told) -> list[str]:
    new = np.sort(np.concatenate([np.empty(0, "S16"), *_lacking(night, kept)]))  # all of a large table: no Python texts
    names = []
    for start in range(0, len(new), MAX_CONTENTS):
        some = ids_of(new[start : start + MAX_CONTENTS])
        told(f"index {folder}: writes {len(some)} contents")
        name = f"segment-{uuid.uuid4().hex[:12]}"
        (folder / name).mkdir()
        _write_segment(folder / name, some, night, is_part=bool(kept) or len(new) > len(some))
        names.append(name)
    return names


def _lacking(night: _Night, kept: Sequence[Segment]) -> Iterator[Keys]:
    """The contents that no segment has, some at a time."""
    for batch in night.reader.batches(HASHES.name, ["content_id"], night.rows_of(HASHES)):
        keys = keys_of(batch["content_id"])
        for segment in kept:
            keys = keys[places_of(keys, segment.ids) < 0]
        yield keys


def _write_segment(folder: Path, ids: Sequence[str], night: _Night, *, is_part: bool) -> None:
    writer = SegmentWriter(folder, ids, night.centre, night.n_bits)
    wanted = pc.field("content_id").isin(pa.array(ids)) if is_part else None

    def batches(table: Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        rows = night.rows_of(table)
        both = wanted if rows is None else rows if wanted is None else rows & wanted
        return night.reader.batches(table.name, ["content_id", *columns], both)

    for batch in batches(HASHES, ["phash", "phash_mirrored", "pdq", "pdq_mirrored"]):
        writer.add_hashes(batch)
    for table, columns in _PICTURES:
        if table is EMBEDDINGS and night.centre is None:
            continue
        for batch in batches(table, [*columns, *(["width_px"] if table is THUMBNAILS else [])]):
            if table is THUMBNAILS:
                writer.add_widths(batch)
            for name in columns:
                writer.add_blobs(_NAMES.get(name, name), batch["content_id"], batch[name])
    writer.close()


def _write_state(folder: Path, night: _Night) -> tuple[str, int]:
    name = f"state-{uuid.uuid4().hex[:12]}"
    (folder / name).mkdir()
    writer, n_images = StateWriter(folder / name / ROWS), 0
    conditions = {
        IMAGES.name: (pc.field("status") == OK) & pc.field("content_id").is_valid(),
        HASHES.name: night.rows_of(HASHES),
        PAIRS.name: pc.field("is_duplicate"),
        GROUP_CHANGES.name: pc.field("event") == "born",
    }
    for table in (IMAGES, HASHES, PAIRS, GROUPS, GROUP_CHANGES, JOINED, DECISIONS, DECIDED):
        for batch in night.reader.batches(table.name, columns_of(table), conditions.get(table.name)):
            writer.add(table, [batch])
            if table is IMAGES:
                n_images += batch["deleted_at"].null_count
    writer.close()
    _write_units(folder / name, night)
    return name, n_images


def _write_units(folder: Path, night: _Night) -> None:
    """The joined contents of each scope, sorted: units.npy has their ids, scopes.json where each scope is in it."""
    rows = night.reader.rows(JOINED.name, ["scope", "content_id"])
    rows = rows.sort_by([("scope", "ascending"), ("content_id", "ascending")])
    keys = (keys_of(batch["content_id"]) for batch in rows.to_batches(max_chunksize=MAX_CONTENTS))
    np.save(folder / "units.npy", np.concatenate([np.empty(0, "S16"), *keys]))
    counts = rows.group_by("scope", use_threads=False).aggregate([([], "count_all")])
    bounds, until = {}, 0
    for scope, n in zip(counts["scope"].to_pylist(), counts["count_all"].to_pylist(), strict=True):
        bounds[scope] = [until, until + n]
        until += n
    (folder / "scopes.json").write_text(json.dumps(bounds), encoding="utf-8")


def _embeds_all(night: _Night) -> bool:
    """Whether nights embed all contents. With embed.contents=auto that depends on their GPUs: the last one tells."""
    if night.centre is None or night.config.embed.contents != "auto":
        return night.config.embed.contents == "all"
    images = night.reader.rows(IMAGES.name, ["content_id", "ingested_at"], pc.field("status") == OK)
    newest = images.filter(pc.equal(images["ingested_at"], pc.max(images["ingested_at"])))["content_id"].unique()
    embeddings = night.reader.rows(EMBEDDINGS.name, ["content_id"], night.rows_of(EMBEDDINGS))
    embedded = embeddings["content_id"].combine_chunks()
    has_many = (pc.field("n_keypoints") >= FEW_KEYPOINTS) & pc.field("content_id").isin(newest)
    for batch in night.reader.batches(FEATURES.name, ["content_id"], has_many):
        if pc.any(pc.is_in(batch["content_id"], value_set=embedded)).as_py():
            return True
    return False


def _remove_others(folder: Path, manifest: Manifest) -> None:
    """Remove what the manifest does not name. Processes that have it open keep it until they close it."""
    named = {*manifest.segments, manifest.state}
    for entry in os.scandir(folder):
        if entry.is_dir() and entry.name.startswith(("segment-", "state-")) and entry.name not in named:
            shutil.rmtree(entry.path, ignore_errors=True)
