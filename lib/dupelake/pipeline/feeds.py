"""Up to which version Delta tables were read as manifests, by earlier runs and by this one."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import functions as F

from dupelake.errors import ManifestError
from dupelake.ingest.manifest_changes import Versions
from dupelake.ingest.manifest_place import Place
from dupelake.ingest.uris import plain_uri
from dupelake.pipeline.options import HashOptions
from dupelake.runtime.redaction import redact_uris
from dupelake.runtime.run_record import Run
from dupelake.warehouse.delta_log import DeltaLog
from dupelake.warehouse.rules import SUCCEEDED
from dupelake.warehouse.schema import RUNS

CHANGES = "delta_changes"


def versions_of(run: Run, options: HashOptions) -> dict[str, Versions]:
    """The versions of the Delta tables among the manifests, by path; nothing unless manifest.format is for Delta.

    `before` is null with --listing and --full, which need the whole table.

    Raises:
        ManifestError: a path is no Delta table, or only some partitions are asked for, so that others would be lost.
    """
    kind = run.config.manifest.format
    if kind not in ("delta", CHANGES):
        return {}
    is_part = options.partitions is not None or options.since is not None
    if kind == CHANGES and is_part:
        raise ManifestError(
            f"manifest.format = {CHANGES} reads what changed since the last run, of all partitions; leave out "
            "--partitions and --since, or set manifest.format to delta"
        )
    found, spark = {}, run.warehouse.spark
    known = {} if options.full or options.listing or kind != CHANGES else _before(run)
    for path in options.manifests:
        place = Place(spark, path)
        if not place.is_delta:
            raise ManifestError(f"{path} is no Delta table, but manifest.format is {kind}")
        log = DeltaLog(spark, place.hadoop)
        before, id_before = known.get(_key(path), (None, None))
        found[path] = Versions(before, log.version(), id_before, log.table_id())
    return found


def note_versions_read(run: Run, options: HashOptions, versions: Mapping[str, Versions]) -> None:
    """Notes for `runs` from which version of each Delta table the next change feed starts.

    A run of some partitions reads no table up to a version. A run that reads the whole table without --listing does not
    see what is gone since the noted version, so the note stays, unless it is of another table.
    """
    if not versions or options.partitions is not None or options.since is not None:
        return
    sees_what_is_gone = options.listing or (run.config.manifest.format == CHANGES and not options.full)
    known = {} if sees_what_is_gone else _before(run)
    run.inputs, run.input_ids = {}, {}
    for path, each in versions.items():
        before, id_before = known.get(_key(path), (None, None))
        stays = before is not None and before <= each.now and id_before in (None, each.id_now)
        run.inputs[_key(path)] = before if before is not None and stays else each.now
        run.input_ids[_key(path)] = each.id_now


def _key(path: str) -> str:
    """The name of a table in `runs`, one for spellings of one path."""
    return redact_uris(plain_uri(path)).rstrip("/")


def _before(run: Run) -> dict[str, tuple[int, str | None]]:
    """The newest version of each table that a run has noted which succeeded, and the table's id then, if it was noted.

    By `_key`; older versions noted paths as they were spelled.
    """
    done = run.warehouse.read(RUNS).where(f"{SUCCEEDED} AND inputs IS NOT NULL")
    each = done.select("started_at", "input_ids", F.explode("inputs").alias("path", "version"))
    read = F.struct("started_at", "version", F.col("input_ids")[F.col("path")].alias("id"))
    rows = each.groupBy("path").agg(F.max_by(read, "started_at").alias("read")).collect()  # one row a manifest
    rows.sort(key=lambda row: row["read"]["started_at"])
    return {_key(str(row["path"])): (int(row["read"]["version"]), row["read"]["id"]) for row in rows}
