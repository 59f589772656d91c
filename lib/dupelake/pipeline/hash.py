"""The hash job: manifests in; images, hashes, thumbnails and features out. Each new image is read and decoded once.

What a manifest says is gone (a tombstone, or absence from a full listing) is marked in `images`; nothing is deleted.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.errors import ManifestError
from dupelake.fingerprint.stage import hash_images
from dupelake.ingest.access import NOT_ALLOWED
from dupelake.ingest.fetch_stage import fetch_remote
from dupelake.ingest.identity_stage import alternative_ids, is_scopeless, with_plain
from dupelake.ingest.manifest_cells_stage import RELATIVE, is_shortened
from dupelake.ingest.manifests import read_manifests
from dupelake.ingest.members import UNREADABLE_FILE
from dupelake.ingest.new_images_stage import (
    CHANGED,
    MOVED,
    NEW,
    NOTED,
    RETRIED,
    RETURNED,
    UNREAD,
    WHY,
    normalise,
    wanted_rows,
)
from dupelake.ingest.removals_stage import TREE_END, expected_in_listing, marked, tombstoned, unlisted, with_notes
from dupelake.ingest.retries_stage import counts_as_attempt
from dupelake.pipeline.chunks import in_parts, n_parts
from dupelake.pipeline.command_lines import manifest_command
from dupelake.pipeline.common import run_job
from dupelake.pipeline.failures import Failures
from dupelake.pipeline.feeds import note_versions_read, versions_of
from dupelake.pipeline.job import Job
from dupelake.pipeline.options import HashOptions
from dupelake.pipeline.refused import tell_refused
from dupelake.pipeline.rejoin import drop_derived, leave_joined
from dupelake.pipeline.selecting import staged, warn_of_many_partitions
from dupelake.pipeline.versions import is_other, note_versions, refuse_left_out, refuse_other_versions
from dupelake.runtime.progress import Work
from dupelake.runtime.run_record import Run
from dupelake.stage_versions import StageVersions
from dupelake.warehouse.schema import FEATURES, HASHES, IMAGES, OK, THUMBNAILS, Table, conform
from dupelake.warehouse.tables import single_row

log = logging.getLogger(__name__)

_WHY = (CHANGED, RETRIED, RETURNED)  # counted; the rest of what is done is new, or asked for by --full
# Tables in the order in which they are written, and when a row is replaced. Hashes come last: a content with hashes may
# stand for all contents of its pixels, and must have its thumbnail and features even after a kill.
_OF_CONTENTS = (
    (FEATURES, "t.feature_version <> s.feature_version OR (t.error_message IS NOT NULL AND s.error_message IS NULL)"),
    (THUMBNAILS, "t.bytes <> s.bytes"),
    (HASHES, "t.hash_version <> s.hash_version"),
)
_OF_IMAGES = ("image_id", "uri", "scope")


def check(run: Run, options: HashOptions) -> StageVersions:
    """The versions of what this run makes.

    Raises:
        ModelError: as `note_versions`.
        VersionMixError: as `refuse_other_versions`.
    """
    versions = note_versions(run)
    refuse_other_versions(run, options.full)
    return versions


def work(run: Run, options: HashOptions, versions: StageVersions) -> None:
    """Hash the rows of the manifests that are new, changed or due for another try; mark what is gone."""
    counts = run.counts
    for name in ("hashed", "failed", "contents_new", "features_failed", "removed", MOVED, *_WHY):
        counts.set(name, 0)
    with run.step("manifest"):
        images = run.warehouse.read(IMAGES)
        n_read, wanted, numbers, n_moves, gone = asked(run, images, options)
        if options.full:
            refuse_left_out(run, wanted, gone)
    n_rows = sum(n for why, n in numbers.items() if why not in UNREAD)
    counts.read, counts.skipped = n_read, n_read - n_rows
    counts.moved = n_moves
    for why in _WHY:
        counts.set(why, numbers.get(why, 0))
    by_why = ", ".join(f"{n} {why}" for why, n in numbers.items()) or "nothing has changed"
    log.info("%d rows in the manifest, %d to do (%s)", counts.read, n_rows, by_why)
    warn_of_many_partitions(wanted, n_rows)
    beside = _beside(run, images, wanted, gone, noted=sum(numbers.get(why, 0) for why in UNREAD))
    if n_rows == 0:
        if beside is not None:
            run.warehouse.merge(IMAGES, beside, update_when=_image_changed())
        return
    to_read, failures = wanted.where(~F.col("why").isin(*UNREAD)), Failures()
    is_change = set(numbers) == {NEW} and n_parts(n_rows) == 1  # all rows are new: no comparison needed
    for part in in_parts(run.staging, to_read, n_rows, "images", "partition", "place.file", "place.block", "image_id"):
        with run.staging.passing():
            hashed = _hash_part(run, part, math.ceil(n_rows / n_parts(n_rows)), options)
            with run.step("write"):
                _write(run, hashed, options, versions, beside, is_change=is_change)
                failures.add(run, hashed)
        beside = None  # written with the first part
    failures.check(run, to_read.select("image_id", "partition", "attempts"))
    tell_refused(run, run.warehouse.read(IMAGES).where(F.col("ingested_at") == F.lit(run.started_at)))


def asked(
    run: Run, images: DataFrame, options: HashOptions
) -> tuple[int, DataFrame, dict[str, int], int, DataFrame | None]:
    """The number of rows of the manifests, what `_wanted` returns, what `_gone` returns. Only staging is written.

    Raises:
        ManifestError: as `_read` and `_gone`.
    """
    manifest, n_read, facts = _read(run, options)
    wanted, numbers, n_moves = _wanted(run, manifest, images, options, facts)
    gone = None
    if facts["n_stones"] or options.listing:
        there = wanted.where(F.col("why") != NOTED).select("image_id")
        gone = _gone(run, manifest, images, there, options)
    return n_read, wanted, numbers, n_moves, gone


def _wanted(
    run: Run, manifest: DataFrame, images: DataFrame, options: HashOptions, facts: Mapping[str, int]
) -> tuple[DataFrame, dict[str, int], int]:
    """WANTED, staged; the number of its rows by `why`, and the number that move into another scope."""
    has_scopes = facts["n_scopeless"] > 0 and not run.warehouse.is_empty(IMAGES)
    rows = wanted_rows(
        manifest,
        images,
        partitions=options.partitions,
        since=options.since,
        full=options.full,
        max_attempts=run.config.run.max_attempts,
        last_run=run.last_done_at("hash", "nightly"),
        other_ids=facts["n_other_ids"] > 0,
        other_scopes=has_scopes and not images.where("scope <> '' AND deleted_at IS NULL").isEmpty(),
    )
    by_why = {why: F.count_if(F.col("why") == why) for why in WHY}
    wanted, seen = run.staging.counted(rows, "wanted", moves=F.count_if("moves"), **by_why)
    return wanted, {why: seen[why] for why in WHY if seen[why]}, seen["moves"]


def _hash_part(run: Run, rows: DataFrame, n_rows: int, options: HashOptions) -> DataFrame:
    """HASHED of some rows of WANTED (about `n_rows`), staged."""
    paths = options.manifests
    work = Work(run.counts.read - run.counts.skipped, "images", "hash_rows", run.counts.hashed + run.counts.failed)
    with run.step("hash", work):
        n_tasks = max(
            run.warehouse.spark.sparkContext.defaultParallelism, math.ceil(n_rows / run.config.hash.rows_per_task)
        )
        # By key: a retried task gets the same rows. Images that lie beside each other in a file are read one by one.
        file, block = F.col("place.file"), F.col("place.block").cast("string")
        key = F.coalesce(F.concat(file, F.lit("!"), block), "image_id")
        spread = rows.repartition(n_tasks, key).sortWithinPartitions("place.file", "place.at")
        fetched = fetch_remote(spread, run.config.decode.max_bytes, run.config.fetch, paths)
        return run.staging.save(hash_images(fetched, run.config, paths), "hashed")


def _read(run: Run, options: HashOptions) -> tuple[DataFrame, int, dict[str, int]]:
    """The manifests as rows of schema.MANIFEST, the number of their rows, and facts about them.

    The manifests are read once, because they may change during the run.

    Raises:
        ManifestError: with --listing, if the manifests may not list everything; if no row is of the asked partitions.
    """
    versions = versions_of(run, options)
    raw = read_manifests(run.warehouse.spark, options.manifests, run.config.manifest, run.config.fetch, versions)
    note_versions_read(run, options, versions)
    rows = normalise(raw, run.config.manifest)
    counts = {
        "n_rows": F.sum("n_rows"),
        "n_stones": F.count_if("is_deleted"),
        "n_listed": F.count_if(~F.col("is_deleted")),
        "n_without_uri": F.count_if((F.col("uri").isNull() | (F.col("reason") == RELATIVE)) & ~F.col("is_deleted")),
        "n_closed": F.count_if(
            (F.col("marks").isNull() & F.col("source").endswith(TREE_END)) | (F.col("reason") == UNREADABLE_FILE)
        ),
        "n_unclear": F.count_if(F.map_contains_key("extra", F.lit("deleted"))),
        "n_long": F.count_if(is_shortened(F.col("partition"))),
        "n_other_ids": F.count_if(F.size(alternative_ids()) > 0),
        "n_scopeless": F.count_if(is_scopeless()),
    }
    manifest, n_all, facts = staged(run, with_plain(rows), options, counts)
    if facts["n_unclear"]:
        log.warning("%d rows say neither yes nor no in `deleted`; they count as not deleted", facts["n_unclear"])
    if facts["n_long"]:
        log.warning("%d rows are of partitions that no folder can be called; they are shortened", facts["n_long"])
    if options.listing:
        _check_listing(facts)
    return manifest.drop("_plain"), facts["n_rows"] if n_all is None else n_all, facts


def _check_listing(facts: Mapping[str, int]) -> None:
    why = None
    if not facts["n_listed"]:
        why = "it lists nothing"
    elif facts["n_without_uri"]:
        n = facts["n_without_uri"]
        why = f"{n} of its rows have no uri that can be used, so nobody knows which images they stand for"
    elif facts["n_closed"]:
        why = f"{facts['n_closed']} folders, archives or Parquet files cannot be listed to their end"
    if why:
        raise ManifestError(
            f"--listing: {why}; nothing was removed. Mend the manifest, or run without --listing, which removes "
            "nothing that is merely absent"
        )


def _gone(run: Run, manifest: DataFrame, images: DataFrame, there: DataFrame, options: HashOptions) -> DataFrame:
    """(image_id, deleted_reason) of stored images that are gone, staged.

    The images in `there`, which the run reads or moves into another scope, are not gone: their tombstones name an
    earlier scope or URI.

    Raises:
        ManifestError: a listing lacks a larger share of the covered images than manifest.max_removed_fraction.
    """
    partitions, since = options.partitions, options.since
    gone = tombstoned(manifest, images, partitions, since).join(there, "image_id", "left_anti")
    if not options.listing:
        return run.staging.save(gone, "gone")
    sources = [row["source"] for row in manifest.select("source").distinct().collect()]  # at most one a path
    roots = [source for source in sources if source.endswith(TREE_END)]
    known = run.staging.save(
        expected_in_listing(manifest, images, roots, run.config.manifest.extensions, partitions, since).select(
            "image_id", "uri", "scope"
        ),
        "expected_in_listing",
    )
    absent = run.staging.save(unlisted(manifest, known), "absent")
    n_known, n_absent = known.count(), absent.count()
    limit = run.config.manifest.max_removed_fraction
    log.info("the listing covers %d stored images and lacks %d of them", n_known, n_absent)
    if n_absent > limit * n_known:
        raise ManifestError(
            f"--listing: {n_absent} of the {n_known} images that it covers are not in it, more than "
            f"manifest.max_removed_fraction = {limit} allows; nothing was removed. If they are really gone, raise that "
            "option for this run, else mend the listing"
        )
    others = gone.select("image_id").unionByName(there)
    return run.staging.save(gone.unionByName(absent.join(others, "image_id", "left_anti")), "gone")


def _beside(run: Run, images: DataFrame, wanted: DataFrame, gone: DataFrame | None, *, noted: int) -> DataFrame | None:
    """Rows of IMAGES that change although no file is read: deleted images, and new marks, sources or scopes."""
    run.counts.removed = 0 if gone is None else gone.count()
    if not run.counts.removed and not noted:
        return None
    if gone is None:
        gone = images.select("image_id", "deleted_reason").limit(0)
    rows = marked(images, gone, run.started_at)
    if noted:
        notes = wanted.where(F.col("why").isin(*UNREAD)).select(
            "image_id", *(F.col(name).alias(f"_{name}") for name in ("marks", "source", "scope"))
        )
        known = images.join(notes.join(gone, "image_id", "left_anti"), "image_id")
        rows = rows.unionByName(conform(with_notes(known), IMAGES.schema))
    return run.staging.save(rows, "beside")


def _write(
    run: Run,
    hashed: DataFrame,
    options: HashOptions,
    versions: StageVersions,
    beside: DataFrame | None,
    *,
    is_change: bool,
) -> None:
    """Write contents first and images last. So an image in `images` is complete even after a kill."""
    contents = hashed.where(F.col("status") == OK)
    run.counts.contents_new += _write_contents(run, contents, versions, full=options.full)
    refused = F.col("reason").eqNullSafe(NOT_ALLOWED)
    tried = F.when(counts_as_attempt(F.col("reason"), F.col("marks")), F.col("attempts") + 1).otherwise(1)
    images = hashed.withColumns(
        {
            "attempts": F.when((F.col("status") == OK) | refused, 0).otherwise(tried),
            "ingested_at": F.lit(run.started_at),
            "deleted_at": F.lit(None).cast("timestamp"),
            "deleted_reason": F.lit(None).cast("string"),
        }
    )
    images = conform(images, IMAGES.schema)
    if beside is not None:
        images = images.unionByName(beside)
    run.warehouse.merge(IMAGES, images, update_when=_image_changed(), is_change=is_change)


def _write_contents(run: Run, hashed: DataFrame, versions: StageVersions, *, full: bool) -> int:
    """Write FEATURES, THUMBNAILS and HASHES in this order; return the number of new rows of HASHES.

    Images of one content have equal values, so one image of each content is written, chosen by its id. Stored rows are
    kept, with three exceptions: with `full`, if a row has another version, and if a content has no hashes. A row has
    another version if no image had the content when the version changed. A content has no hashes after a kill, and its
    thumbnail may be of other options. Missing rows are appended and not merged, because they were compared with the
    committed table.
    """
    wh = run.warehouse
    firsts = hashed.groupBy("content_id").agg(F.min("image_id").alias("image_id"))
    ids = firsts.select("content_id")
    for table, _ in _OF_CONTENTS:  # joins the few ids with the many stored rows
        stored = wh.read(table).join(ids, "content_id", "left_semi")
        is_old = F.lit(False)  # a thumbnail has no version: it goes with its hashes
        if table is HASHES:
            is_old = is_other("hash_version", versions.hash)
        elif table is FEATURES:
            is_old = is_other("feature_version", versions.feature)
        there = stored.select("content_id", is_old.alias(f"old_{table.name}"))
        firsts = firsts.join(there, "content_id", "left")
    absent = {table.name: F.count_if(F.col(f"old_{table.name}").isNull()) for table, _ in _OF_CONTENTS}
    is_begun = F.coalesce("old_features", "old_thumbnails").isNotNull()
    is_old = F.coalesce("old_hashes", is_begun) | F.coalesce("old_features", F.lit(False))
    firsts, n_absent = run.staging.counted(firsts, "firsts", n_old=F.count_if(is_old), **absent)
    if full or n_absent["n_old"]:
        renewed = firsts if full else firsts.where(is_old)
        _renew(run, hashed.join(renewed.select("image_id"), "image_id", "left_semi"))
    for table, _ in _OF_CONTENTS:
        if n_absent[table.name] and not full:
            wanted = firsts.where(F.col(f"old_{table.name}").isNull() & ~is_old).select("image_id")
            wh.append(table, _of_table(table, hashed.join(wanted, "image_id", "left_semi")))
    written = firsts if full else firsts.where(is_old | F.col("old_features").isNull())
    _count_features_failed(run, hashed.join(written.select("image_id"), "image_id", "left_semi"))
    return n_absent[HASHES.name]


def _renew(run: Run, contents: DataFrame) -> None:
    """Replace the stored rows of contents where they differ, and drop the data that was made from them."""
    wh = run.warehouse
    ids = contents.select("content_id", F.col("features_error").alias("error"), "thumbnail_bytes")
    mended = wh.read(FEATURES).where("error_message IS NOT NULL").select("content_id")
    mended = run.staging.save(ids.where("error IS NULL").join(mended, "content_id").select("content_id"), "mended")
    if not mended.isEmpty():
        leave_joined(run, mended)
    drawn = wh.read(THUMBNAILS).join(ids, "content_id").where(F.col("bytes") != F.col("thumbnail_bytes"))
    drawn = run.staging.save(drawn.select("content_id"), "other-thumbnails")
    if not drawn.isEmpty():
        drop_derived(run, drawn)
    for table, update_when in _OF_CONTENTS:
        wh.merge(table, _of_table(table, contents), update_when=update_when)


def _of_table(table: Table, contents: DataFrame) -> DataFrame:
    if table is FEATURES:
        return contents.withColumn("error_message", F.col("features_error"))
    if table is HASHES:
        return contents
    names = {"bytes": "thumbnail_bytes", "width_px": "thumbnail_width_px", "height_px": "thumbnail_height_px"}
    return contents.select("content_id", *(F.col(of).alias(name) for name, of in names.items()))


def _count_features_failed(run: Run, written: DataFrame) -> None:
    """Count contents without local features, and name one in the log. They keep their hashes."""
    failed = written.where(F.col("features_error").isNotNull())
    first = F.min_by(F.struct("uri", "features_error"), "image_id").alias("first")
    row = single_row(failed.agg(F.count(F.lit(1)).alias("n"), first))
    run.counts.features_failed += row["n"]
    if row["n"]:
        log.warning(
            "%d contents have no local features, the first is %s: %s; only hashes and embeddings find their copies",
            row["n"],
            row["first"]["uri"],
            row["first"]["features_error"],
        )


def _image_changed() -> str:
    """SQL condition: a column other than ingested_at differs between the stored and the given row."""
    maps = ("extra", "marks")  # maps do not compare
    names = [n for n in IMAGES.columns if n not in ("image_id", "ingested_at", *maps)]
    same = [f"t.{n} <=> s.{n}" for n in names]
    same += [f"array_sort(map_entries(t.{n})) <=> array_sort(map_entries(s.{n}))" for n in maps]
    return " OR ".join(f"NOT ({equal})" for equal in same)


JOB = Job("hash", check, work)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/hash.py."""
    return run_job(JOB, manifest_command("hash.py", __doc__), argv)
