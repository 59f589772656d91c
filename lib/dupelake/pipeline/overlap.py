"""The overlap job: which sets of images share pictures, which pictures two sets share, which have several labels.

Sketches propose pairs of sets, exact counts decide. Only sets whose pictures changed are sketched and compared again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from dupelake.errors import ConfigError
from dupelake.ingest.live_stage import live_images
from dupelake.overlap.files import write_conflicts, write_matrix, write_overlaps, write_shared
from dupelake.overlap.sketches import (
    FREQUENT_SETS,
    I64,
    MAX_PROPOSALS,
    MAX_SETS,
    Sketches,
    ensemble_pairs,
    merged,
    overlap_version,
    too_many,
)
from dupelake.overlap.stage import (
    conflicts_of,
    groups_of_contents,
    in_both,
    members_of,
    numbered,
    overlap_rows,
    pictures_of,
    sample_pairs,
    sample_table,
    set_facts,
    shared_counts,
    sketches_of,
    value_of,
    valued,
)
from dupelake.pipeline.common import run_job
from dupelake.pipeline.job import Job
from dupelake.pipeline.job_commands import command_of
from dupelake.pipeline.options import OverlapOptions
from dupelake.runtime.out_files import refusals_of
from dupelake.runtime.run_record import Run
from dupelake.warehouse.rules import EXTRA
from dupelake.warehouse.schema import GROUPS, IMAGES, OVERLAP_SETS, OVERLAPS

log = logging.getLogger(__name__)

_NAMED_COLUMNS = 12  # columns of the manifests that a message names
_MAX_COLUMNS = 1000  # of the manifests; a JSON manifest may have any number of names
_MATRIX_SETS = 40
_NOT_COMPARED = ""  # overlap_version of sets whose pairs are being written


def check(run: Run, options: OverlapOptions) -> None:
    """Refuse columns that no live image has, and sets without an image.

    Raises:
        ConfigError: names the fields and what there is.
    """
    with run.step("columns"):
        live = live_images(run.warehouse.read(IMAGES))
        faults = _faults_of_columns(live, {"--by": options.by, "--conflicts": options.conflicts})
        if not faults and options.by is not None and options.between is not None:
            held = live.select(value_of(options.by)).where(F.col("set_id").isin(*options.between)).distinct().collect()
            missing = sorted({*options.between} - {row["set_id"] for row in held})
            faults += [f"--between {name}: no live image is in this set of --by {options.by}" for name in missing]
    if faults:
        raise ConfigError(faults)


def _faults_of_columns(live: DataFrame, given: dict[str, str | None]) -> list[str]:
    """A fault for each column that no live image has. A column that many images have is found in the first rows."""
    wanted = {flag: by.removeprefix(EXTRA) for flag, by in given.items() if by is not None and by.startswith(EXTRA)}
    missing = {
        flag: column
        for flag, column in wanted.items()
        if live.where(F.map_contains_key("extra", F.lit(column))).isEmpty()
    }
    if not missing:
        return []
    keys = live.select(F.explode(F.map_keys("extra")).alias("key")).distinct()
    found = sorted(row["key"] for row in keys.limit(_MAX_COLUMNS).collect())
    there = f"there are {', '.join(found[:_NAMED_COLUMNS])}" if found else "there are none"
    how = "Images get it from a manifest that has the column, when they are read (a run with --full reads all again)"
    return [
        f"{flag} {column}: no live image has this column in images.extra; {there}. {how}"
        for flag, column in missing.items()
    ]


def work(run: Run, options: OverlapOptions, versions: None) -> None:
    """Compare the sets, update the tables, and write the files."""
    wh, out = run.warehouse, Path(options.out)
    with run.step("pictures"):
        held = groups_of_contents(wh.read(GROUPS))
        held, seen = run.staging.counted(held, "pictures", several=F.count_if(F.size("group_ids") > 1))
        pictures = pictures_of(held, run.staging.save if seen["several"] else None)
        _note_scopes(run)
    with refusals_of("--out", out):
        out.mkdir(parents=True, exist_ok=True)
    if options.by is not None:
        rows = valued(wh.read(IMAGES), pictures, value_of(options.by))
        _compare(run, rows, options.by, options.min_share)
        with run.step("files"):
            overlaps = wh.read(OVERLAPS).where(F.col("sets_by") == options.by)
            write_overlaps(out / "overlaps.csv", _ordered(overlaps, F.desc("n_shared"), "set_a", "set_b"))
            _draw(run, overlaps, options.by, out / "overlaps.png")
        if options.between is not None:
            with run.step("between"):
                shared = in_both(rows, *options.between)
                write_shared(out / "shared.csv", _ordered(shared, "picture", "set_id", "image_id"))
    if options.conflicts is not None:
        with run.step("conflicts"):
            _find_conflicts(run, valued(wh.read(IMAGES), pictures, value_of(options.conflicts)), out)
    run.notes.append(f"the files are in {out}")


def _note_scopes(run: Run) -> None:
    if run.config.lsh.scope == "across":
        return
    scopes = live_images(run.warehouse.read(IMAGES)).select("scope").distinct().limit(2).collect()
    if len(scopes) > 1:
        run.notes.append(
            "images of different scopes were never compared (lsh.scope: within), so sets of different scopes share "
            "only equal files and what these are grouped with"
        )


@dataclass(frozen=True)
class _Sets:
    """The sets of a run; their numbers are their places in text order.

    Attributes:
        names: of each set.
        sizes: int64, pictures of each.
        fingerprints: of each.
        is_changed: bool, whether it is compared again.
        stored: the sketch of each set that is not changed.
        gone: names of stored sets that are no more.
    """

    names: list[str]
    sizes: I64
    fingerprints: list[int]
    is_changed: np.ndarray
    stored: dict[str, bytes]
    gone: list[str]

    def frame(self, spark: SparkSession, chosen: I64) -> DataFrame:
        """(set_id, number, n_pictures) of the sets with these numbers."""
        rows = [(self.names[i], i, n) for i, n in zip(chosen.tolist(), self.sizes[chosen].tolist(), strict=True)]
        return spark.createDataFrame(rows, "set_id string, number int, n_pictures bigint")


def _compare(run: Run, rows: DataFrame, by: str, min_share: float) -> None:
    """Bring OVERLAPS and OVERLAP_SETS up to date for one way to make sets."""
    wh, staging, version = run.warehouse, run.staging, overlap_version(min_share)
    with run.step("members"):
        members, seen = staging.counted(members_of(rows), "members")
        sets = _find_sets(run, members, by, version)
    changed = np.flatnonzero(sets.is_changed)
    run.counts.overlap_sets, run.counts.overlap_sets_changed = len(sets.names), len(changed)
    run.counts.overlap_pictures, run.counts.overlap_proposed = seen["n"], 0
    if not len(changed) and not sets.gone:
        run.counts.overlaps = wh.read(OVERLAPS).where(F.col("sets_by") == by).count()
        return
    with run.step("sketches"):
        made = sketches_of(numbered(members, sets.frame(wh.spark, changed)))
        sketches = {sets.names[row["number"]]: bytes(row["sketch"]) for row in made.collect()}  # one a set
        given = Sketches.of(sets.sizes, [(sketches | sets.stored)[name] for name in sets.names])
    with run.step("propose"):
        pairs = propose(run, members, sets, given, min_share)
        run.counts.overlap_proposed = len(pairs)
    with run.step("count"):
        involved = sets.frame(wh.spark, np.unique(pairs))
        counts = staging.save(shared_counts(numbered(members, involved), pairs, seen["n"]), "counts")
        found = staging.save(overlap_rows(counts, involved, members, by, min_share), "overlaps")
        _write(run, found, sets, sketches, by, version)


def _find_sets(run: Run, members: DataFrame, by: str, version: str) -> _Sets:
    """The sets, compared with those of the last run.

    Raises:
        ConfigError: there are no sets, or more than MAX_SETS.
    """
    facts = set_facts(members).limit(MAX_SETS + 1).collect()  # one row a set
    if len(facts) > MAX_SETS:
        raise ConfigError(
            [f"--by {by}: makes more than {MAX_SETS} sets; choose a column that many images have in common"]
        )
    facts.sort(key=lambda row: str(row["set_id"]))
    stored: dict[str, Row] = {
        row["set_id"]: row for row in run.warehouse.read(OVERLAP_SETS).where(F.col("sets_by") == by).collect()
    }
    now = {row["set_id"]: (row["n_pictures"], row["fingerprint"], version) for row in facts}
    known = ("n_pictures", "fingerprint", "overlap_version")
    same = {name for name, row in stored.items() if now.get(name) == tuple(row[column] for column in known)}
    return _Sets(
        list(now),
        np.array([row["n_pictures"] for row in facts], np.int64),
        [row["fingerprint"] for row in facts],
        np.array([name not in same for name in now], bool),
        {name: bytes(stored[name]["sketch"]) for name in same},
        sorted(stored.keys() - now.keys()),
    )


def propose(run: Run, members: DataFrame, sets: _Sets, given: Sketches, min_share: float) -> I64:
    """The pairs of sets to count: those that LSH Ensemble proposes, and those that samples propose.

    Raises:
        ConfigError: there are more than MAX_PROPOSALS.
    """
    spark = run.warehouse.spark
    by_ensemble = ensemble_pairs(given, sets.is_changed, min_share)
    samples, run.counts.overlap_frequent = sample_table(given, sets.is_changed, min_share)
    if run.counts.overlap_frequent:
        run.notes.append(
            f"{run.counts.overlap_frequent} pictures are each in the samples of more than {FREQUENT_SETS} sets; they "
            "count, but propose no pairs, so sets that share little else may be missed"
        )
    by_sample = np.empty((0, 2), np.int64)
    if samples.num_rows:
        held = numbered(members, sets.frame(spark, np.arange(len(sets.names))))
        changed = sets.frame(spark, np.flatnonzero(sets.is_changed)).select("number")
        found = sample_pairs(held, spark.createDataFrame(samples), changed).limit(MAX_PROPOSALS + 1).toArrow()
        if found.num_rows > MAX_PROPOSALS:
            raise too_many(found.num_rows, min_share)
        by_sample = np.stack([found[name].to_numpy().astype(np.int64) for name in ("owner", "number")], axis=1)
    pairs = merged([by_ensemble, by_sample], min_share)
    log.info("%d pairs of sets: LSH Ensemble %d, samples %d", len(pairs), len(by_ensemble), len(merged([by_sample], 1)))
    return pairs


def _write(run: Run, found: DataFrame, sets: _Sets, sketches: dict[str, bytes], by: str, version: str) -> None:
    """Three commits: the sets as not compared, the pairs, the sets as compared.

    After a kill between them the next run compares the same sets again, whatever its options and whatever these sets
    are by then: sets that are no more still have a row, so their pairs are found and removed.
    """
    wh, spark = run.warehouse, run.warehouse.spark
    names = [sets.names[i] for i in np.flatnonzero(sets.is_changed)] + sets.gone
    dirty = F.broadcast(spark.createDataFrame([(name,) for name in names], "name string"))
    stored = wh.read(OVERLAPS).where(F.col("sets_by") == by)
    ends = [stored.join(dirty, F.col(end) == F.col("name"), "left_semi") for end in ("set_a", "set_b")]
    gone = ends[0].union(ends[1]).select(*OVERLAPS.key).distinct().join(found, list(OVERLAPS.key), "left_anti")
    differs = " OR ".join(f"NOT (t.{name} <=> s.{name})" for name in OVERLAPS.columns if name not in OVERLAPS.key)
    unknown = [(by, name, 0, 0, bytearray(), _NOT_COMPARED) for name in names]
    wh.merge(OVERLAP_SETS, spark.createDataFrame(unknown, OVERLAP_SETS.schema), update_when="true")
    wh.merge(OVERLAPS, found, update_when=differs, delete=run.staging.save(gone, "gone"))
    rows = [
        (by, name, int(sets.sizes[i]), sets.fingerprints[i], bytearray(sketches[name]), version)
        for i, name in enumerate(sets.names)
        if name in sketches
    ]
    lost = spark.createDataFrame([(by, name) for name in sets.gone], "sets_by string, set_id string")
    state = spark.createDataFrame(rows, OVERLAP_SETS.schema)
    wh.merge(OVERLAP_SETS, run.staging.save(state, "sets"), update_when="true", delete=lost)
    run.counts.overlaps = wh.read(OVERLAPS).where(F.col("sets_by") == by).count()


def _draw(run: Run, overlaps: DataFrame, by: str, path: Path) -> None:
    """The matrix of the sets that share most pictures with any other."""
    ends = [overlaps.select(F.col(end).alias("name"), "n_shared") for end in ("set_a", "set_b")]
    most = ends[0].union(ends[1]).groupBy("name").agg(F.max("n_shared").alias("n")).orderBy(F.desc("n"), "name")
    names = sorted(row["name"] for row in most.limit(_MATRIX_SETS).collect())
    among = overlaps.where(F.col("set_a").isin(names) & F.col("set_b").isin(names))
    cells = [(row["set_a"], row["set_b"], row["share_a"], row["share_b"]) for row in among.collect()]
    write_matrix(path, names, cells, f"{len(names)} of {run.counts.overlap_sets} sets by {by.removeprefix(EXTRA)}")


def _find_conflicts(run: Run, rows: DataFrame, out: Path) -> None:
    found, seen = run.staging.counted(conflicts_of(rows), "conflicts")
    run.counts.conflict_images = seen["n"]
    run.counts.label_conflicts = found.select("picture").distinct().count()
    write_conflicts(out / "conflicts.csv", _ordered(found, "picture", "set_id", "image_id"))


def _ordered(rows: DataFrame, *by: str | Column) -> Iterator[Row]:
    """The rows in order; the driver holds one partition of them at a time."""
    return rows.orderBy(*by).toLocalIterator()


JOB = Job("overlap", check, work)


def main(argv: Sequence[str] | None = None, prog: str = "overlap.py") -> int:
    """Entry point of jobs/overlap.py, and of the command `prog`."""
    return run_job(JOB, command_of(JOB.name, prog), argv)
