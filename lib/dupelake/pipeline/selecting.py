"""Selects the rows of manifests by `--partitions` and `--since`, and reports partitions that do not exist."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from dupelake.errors import ManifestError
from dupelake.ingest.new_images_stage import NOTED, selected
from dupelake.pipeline.options import HashOptions
from dupelake.runtime.run_record import Run

log = logging.getLogger(__name__)

_NAMED = 5
_MAX_NAMES = 100_000  # partitions that the message considers
_MANY = 1000  # with more new partitions in one night, the column is probably a mistake


def staged(
    run: Run, rows: DataFrame, options: HashOptions, counts: Mapping[str, Column]
) -> tuple[DataFrame, int | None, dict[str, int]]:
    """The manifest rows that this run may need, staged; the number of all rows if some were left out; `counts`.

    All rows are read, because they decide which row of an id is used, and its first and last partition. Rows that were
    not asked for are not staged. With --listing all rows are staged, because an image that another partition lists is
    not gone.

    Args:
        run: its staging is used.
        rows: all rows of `ingest.new_images_stage.normalise`.
        options: partitions, since and listing.
        counts: aggregates of the staged rows, taken while they are written.

    Raises:
        ManifestError: no row is in the asked partitions.
    """
    partitions, since = options.partitions, options.since
    if partitions is None and since is None:
        manifest, facts = run.staging.counted(rows, "manifest", **counts)
        return manifest, None, facts
    n_rows: int | None = None
    if options.listing:
        manifest, facts = run.staging.counted(rows, "manifest", **counts)
    else:
        seen = Observation("manifest")
        all_rows = rows.observe(seen, F.sum("n_rows").alias("n"))
        manifest, facts = run.staging.counted(selected(all_rows, partitions, since), "manifest", **counts)
        n_rows = int(seen.get["n"] or 0)
    refuse_nothing(selected(manifest, partitions, since), rows, partitions, since)
    return manifest, n_rows, facts


def refuse_nothing(asked: DataFrame, rows: DataFrame, partitions: list[str] | None, since: str | None) -> None:
    """Stop if a manifest has rows, but none in the asked partitions. Warn of each asked partition without rows.

    Args:
        asked: the rows of `rows` in the asked partitions.
        rows: all rows of `ingest.new_images_stage.normalise`; read only if `asked` is empty.
        partitions: value of --partitions.
        since: value of --since.

    Raises:
        ManifestError: names some existing partitions.
    """
    wanted = sorted(set(partitions or ()))
    both = F.explode(F.array("partition", "last_partition")).alias("name")
    named = asked.select(both).distinct()
    if not partitions:
        if not named.limit(1).collect():
            _refuse(rows, wanted, since)
        return
    found = {str(row["name"]) for row in named.where(F.col("name").isin(wanted)).collect()}
    if not found and asked.isEmpty():
        _refuse(rows, wanted, since)
    for name in wanted:
        if found and name not in found:
            log.warning("--partitions: no row of the manifest is of partition %s", name)


def _refuse(rows: DataFrame, wanted: Sequence[str], since: str | None) -> None:
    both = F.explode(F.array("partition", "last_partition")).alias("name")
    names = sorted(str(row["name"]) for row in rows.select(both).distinct().limit(_MAX_NAMES).collect())
    if not names:
        return
    near = [name for text in [*wanted, since or ""] for name in difflib.get_close_matches(text, names, _NAMED, 0.5)]
    shown = list(dict.fromkeys(near))[:_NAMED] or [*names[:_NAMED], *names[-1:]]
    option = f"--partitions {','.join(wanted)}" if wanted else f"--since {since}"
    if wanted and since:
        option += f" --since {since}"
    raise ManifestError(
        f"{option}: no row of the manifest is of that; it has {len(names)} partitions, from {names[0]} to {names[-1]}, "
        f"such as {', '.join(dict.fromkeys(shown))}"
    )


def warn_of_many_partitions(wanted: DataFrame, n_rows: int) -> None:
    """Warn if a night has so many partitions that the column is probably a mistake.

    Args:
        wanted: result of `wanted_rows`.
        n_rows: number of its rows that are read.
    """
    if n_rows <= _MANY:
        return
    n = wanted.where(F.col("why") != NOTED).select("partition").distinct().count()
    if n > _MANY:
        log.warning(
            "%d rows of this night are of %d partitions; each is a folder of `images` with files of its own, which "
            "makes every later night slow. Give dates, or months, in `partition`, and keep free text in another column",
            n_rows,
            n,
        )
