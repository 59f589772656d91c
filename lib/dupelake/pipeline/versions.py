"""Stored rows of other versions (`stage_versions.py`): runs refuse them or leave them out."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.errors import VersionMixError
from dupelake.ingest.live_stage import live_images
from dupelake.runtime.run_record import Run
from dupelake.stage_versions import StageVersions
from dupelake.warehouse.rules import COMPLETE, DECIDING
from dupelake.warehouse.schema import FEATURES, HASHES, IMAGES, JOINED, PAIRS, RUNS
from dupelake.warehouse.tables import single_row

log = logging.getLogger(__name__)

_OPTIONS = {"hash": "decode.*, hash.*", "feature": "features.*, hash.thumbnail_side_px"}
_NAMED = 3  # images that a message names


@dataclass(frozen=True)
class Others:
    """What is stored beside this run's versions, in words; the options to look at; the live images that have it."""

    words: str
    options: str
    images: DataFrame


def note_versions(run: Run) -> StageVersions:
    """The versions of this run; those of hashes and features, which it makes, are noted in it.

    Raises:
        ModelError: the vocabulary of visual words cannot be read.
    """
    versions = StageVersions(run.config)
    run.versions |= {"hash": versions.hash, "feature": versions.feature}
    return versions


def refuse_other_versions(run: Run, full: bool) -> None:
    """Stop if live images have hashes or features of another version, unless `full` makes them again.

    With `full` nothing is checked here; `refuse_left_out` does it when the manifest is known.

    Raises:
        VersionMixError: names both versions and the fix.
    """
    others = None if full else stored_beside(run)
    if others is not None and (n := others.images.count()):
        raise VersionMixError(
            f"{n} images {others.words}; they are never compared: run with --full and all manifests to hash every "
            f"image again, or take back the options ({others.options}) that changed"
        )


def refuse_other_joins(run: Run, join_version: str, full: bool) -> None:
    """Stop if stored pairs were joined by another version, unless `full` joins all again.

    Raises:
        VersionMixError: names both versions and the fix.
    """
    other = None if full else run.warehouse.read(JOINED).where(F.col("join_version") != join_version).first()
    if other is not None:
        pair = run.warehouse.read(PAIRS).where(F.col("join_version") == other["join_version"]).first()
        made = f" (hashes {pair['hash_version']}, model {pair['model_id']})" if pair else ""
        raise VersionMixError(
            f"stored pairs were joined by version {other['join_version']}{made}, this run would join "
            f"by {join_version} ({run.versions}); they are never mixed: run with --full to join "
            "everything again, or take back the options (lsh.*, embed.*) that changed"
        )


def refuse_other_options(run: Run) -> None:
    """Stop a run that is no night if other options decided the stored pairs and made the groups.

    It would decide all pairs and make all groups anew. Options that the last complete night did not know do not count.

    Raises:
        VersionMixError: names the options and the fix.
    """
    last = run.warehouse.read(RUNS).where(f"{COMPLETE} AND {DECIDING}").orderBy(F.desc("started_at")).first()
    if last is None:
        return
    made, given = json.loads(last["config"]), run.redactor.deep(run.config.as_dict())
    differing = [
        f"{section}.{name} is {value!r}, was {made[section][name]!r}"
        for section in ("decide", "cluster")
        for name, value in given[section].items()
        if made.get(section, {}).get(name, value) != value
    ]
    if differing:
        raise VersionMixError(
            f"these options are not those of run {last['run_id']}, which made the pairs and groups: "
            f"{'; '.join(differing)}. All would be decided and grouped anew, so nothing was changed; give the "
            "configuration of the nights (--config, --set)"
        )


def refuse_left_out(run: Run, wanted: DataFrame, gone: DataFrame | None) -> None:
    """Stop a run with --full that would leave live images under another version than those that it hashes.

    Args:
        run: its configuration says what it makes.
        wanted: (image_id, ..): what the run reads.
        gone: (image_id, ..) of images that the run marks as deleted, or None.

    Raises:
        VersionMixError: says how many images would be left out, names some, and says the fix.
    """
    others = left_out(run, wanted, gone)
    if others is None:
        return
    left = run.staging.save(others.images, "left-out")  # most often none
    row = single_row(left.agg(F.count(F.lit(1)).alias("images"), F.count_distinct("content_id").alias("contents")))
    if not row["images"]:
        return
    some = [row["uri"] or row["image_id"] for row in left.orderBy("uri", "image_id").limit(_NAMED).collect()]
    raise VersionMixError(
        f"--full would leave out {row['images']} images ({row['contents']} contents) that {others.words}, such as "
        f"{', '.join(some)}; they would lose their pairs, for versions are never compared. Nothing was hashed. Give "
        "all manifests and trees that list them, without --partitions and --since; where they are gone, say so "
        f"(--listing, a tombstone, dupelake forget); or take back the options ({others.options}) that changed"
    )


def left_out(run: Run, wanted: DataFrame, gone: DataFrame | None) -> Others | None:
    """As `stored_beside`, without the images that a run with --full reads or marks as deleted."""
    others = stored_beside(run)
    if others is None:
        return None
    left = others.images.join(wanted.select("image_id"), "image_id", "left_anti")
    if gone is not None:
        left = left.join(gone.select("image_id"), "image_id", "left_anti")
    return replace(others, images=left)


def refuse_unhashed(run: Run) -> None:
    """Stop a join that reads no manifest where live images are not of this configuration's versions.

    Raises:
        VersionMixError: says how many, and the fix.
    """
    others = stored_beside(run)
    if others is not None and (n := others.images.count()):
        raise VersionMixError(
            f"{n} images {others.words}; the join would leave them out and withdraw their pairs. Run with --full and "
            "all manifests (dupelake run, or hash.py) under this configuration first, or give the configuration "
            f"({others.options}) that the warehouse was made with"
        )


def warn_of_left_out(run: Run) -> None:
    """Count and log live images that the join leaves out. There are none if the checks above passed."""
    others = stored_beside(run)
    if others is not None and (n := others.images.count()):
        run.counts.other_versions = n
        log.warning("%d images %s; the join leaves them out: run with --full and all manifests", n, others.words)


def of_one_version(run: Run) -> tuple[DataFrame, DataFrame]:
    """HASHES and PAIRS of one version, for the grouping: what the join of this run compared.

    Without a join in this run, what is stored where that is of one version, else what this configuration makes.

    Raises:
        VersionMixError: none of the hashes are of this configuration, or no pair is of the version of the hashes.
    """
    hashes, pairs, made = run.warehouse.read(HASHES), run.warehouse.read(PAIRS), StageVersions(run.config).hash
    if run.is_joined:
        return hashes.where(F.col("hash_version") == made), pairs
    stored, paired = (  # some rows each
        {row["hash_version"]: row["n"] for row in table.groupBy("hash_version").agg(F.count("*").alias("n")).collect()}
        for table in (hashes, pairs)
    )
    version = next(iter(stored)) if len(stored) == 1 else made
    if stored and version not in stored:
        raise VersionMixError(
            f"the warehouse holds hashes of versions {', '.join(sorted(stored))}, and this configuration makes "
            f"{version}; give the configuration that the warehouse was made with, or run with --full and all manifests"
        )
    n_others = sum(paired.values()) - paired.get(version, 0)
    if n_others and version not in paired:
        raise VersionMixError(
            f"the hashes are of version {version}, and all {n_others} pairs of {', '.join(sorted(paired))}; the "
            "grouping would end all groups: run lsh_join.py --full first"
        )
    if n_others or len(stored) > 1:
        run.counts.pairs_of_other_versions = n_others
        log.warning(
            "%d hashes and %d pairs are not of version %s and take no part in the grouping",
            *(sum(stored.values()) - stored[version], n_others, version),
        )
    of_it = F.col("hash_version") == version
    return hashes.where(of_it), pairs.where(of_it)


def stored_beside(run: Run) -> Others | None:
    """Stored data of other versions than those of this run; None, without a join, if there is no such row.

    Rows of contents without a live image count too, but `images` has no row for them.
    """
    wh, versions, told, options = run.warehouse, StageVersions(run.config), [], []
    for table, name, version in ((HASHES, "hash", versions.hash), (FEATURES, "feature", versions.feature)):
        column = f"{name}_version"
        row = wh.read(table).where(is_other(column, version)).select(column).first()
        if row is not None:
            told.append(f"{table.name} of version {row[0]} where this run makes {version}")
            options.append(_OPTIONS[name])
    if not told:
        return None
    images = of_other_versions(wh.read(IMAGES), wh.read(HASHES), wh.read(FEATURES), versions)
    return Others(f"have {' and '.join(told)}", ", ".join(options), images)


def is_other(column: str, version: str) -> Column:
    """Whether the row is of another version than `version`."""
    return F.col(column) != F.lit(version)


def of_other_versions(images: DataFrame, hashes: DataFrame, features: DataFrame, versions: StageVersions) -> DataFrame:
    """The live images of which a hash or the features are of another version.

    Contents that no live image holds do not count: they are compared with nothing, and a run that brings one back
    replaces its rows.

    Args:
        images: IMAGES.
        hashes: HASHES.
        features: FEATURES.
        versions: what the run compares.

    Returns:
        (image_id, uri, content_id), each image once.
    """
    others = (
        hashes.where(is_other("hash_version", versions.hash))
        .select("content_id")
        .unionAll(features.where(is_other("feature_version", versions.feature)).select("content_id"))
    )
    return live_images(images).select("image_id", "uri", "content_id").join(others, "content_id", "left_semi")
