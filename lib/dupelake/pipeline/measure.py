"""What the join job measures: candidates of all legs, their bits, cosines and alignments, and the planted copies."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.pipeline.planning import is_small_night, plan_join
from dupelake.pipeline.recall import certify_copies, check_legs
from dupelake.pipeline.stored_keys import stored_keys
from dupelake.pipeline.words_leg import FEW_PAIRS, words_leg
from dupelake.propose.bursts_stage import LEADERS, crowded_values, follower_pairs, followers, members
from dupelake.propose.join_keys_stage import by_keys, compute_keys
from dupelake.propose.stage import LEGS, WORDS_LEG, Filters, candidate_pairs, legs_of, probed_keys
from dupelake.propose.word_keys_stage import probed_word_keys
from dupelake.recall.edits import PLANTED
from dupelake.recall.planted_stage import plant_copies, sample_units
from dupelake.runtime.run_record import Run
from dupelake.verify.decide_stage import decide
from dupelake.verify.score_stage import measure_pairs, with_alignment
from dupelake.verify.stage import align_pairs
from dupelake.warehouse.schema import EMBEDDINGS, FEATURES, HASHES, IMAGES, OK, THUMBNAILS, conform
from dupelake.warehouse.tables import single_row

log = logging.getLogger(__name__)

PAIRS_PER_TASK = 256  # some 2 s of alignment
_KEY = ["src_id", "dst_id"]


@dataclass(frozen=True)
class Versions:
    """What the join compares, and the fingerprint of how."""

    hash: str
    features: str
    verify: str
    model: str | None
    preprocess: str | None
    centre: npt.NDArray[np.float32] | None
    keys: str
    join: str


@dataclass(frozen=True)
class _Inputs:
    """What is known of the contents that are joined, the planted ones among them."""

    units: DataFrame
    hashes: DataFrame
    thumbnails: DataFrame
    features: DataFrame
    embeddings: DataFrame | None
    keys: DataFrame
    new_keys: DataFrame  # holds at least those of the new units; on a small night hardly any other
    sizes: DataFrame

    @property
    def codes(self) -> DataFrame | None:
        """(content_id, code) of the embeddings, None without a model."""
        return self._codes(self.keys)

    @property
    def new_codes(self) -> DataFrame | None:
        """`codes`, of the new units at least."""
        return self._codes(self.new_keys)

    def _codes(self, keys: DataFrame) -> DataFrame | None:
        return None if self.embeddings is None else keys.select("content_id", F.col("embedding_code").alias("code"))


@dataclass(frozen=True)
class Measured:
    """What `measure` gives: PAIRS, and (scope, content_id, leaders) of units that met their leaders alone, or None."""

    pairs: DataFrame
    followers: DataFrame | None


def measure(
    run: Run, units: DataFrame, sizes: Row, hashes: DataFrame, versions: Versions, stored: DataFrame | None
) -> Measured:
    """PAIRS of every candidate of the new units, decided; how many planted copies were found goes into the run.

    Args:
        run: its counts and `recall` are filled.
        units: (scope, content_id, is_new), staged.
        sizes: how many there are (units), and how many of them are new.
        hashes: HASHES of the present version.
        versions: what is compared.
        stored: PAIRS that stay as they are; None where all are measured anew.
    """
    led_pairs = None
    led = _followers(run, units, hashes, sizes["units"])
    if led is not None:
        units = run.staging.save(units.join(led, ["scope", "content_id"], "left_anti"), "leading")
        sizes, led_pairs = _sizes(units), follower_pairs(led, stored, LEGS.index("pdq"))
    with run.step("plant"):
        copies = _plant(run, units)
    n_few = sizes["new"] if by_keys(run.config.lsh) and is_small_night(sizes["new"], sizes["units"]) else 0
    inputs = _inputs(run, units, hashes, versions, copies, n_few)
    with run.step("join"):
        candidates = _candidates(run, inputs, versions, copies, sizes, led_pairs)
        n_pairs = candidates.count()
    check_legs(run, units, hashes, inputs.embeddings, candidates)
    with run.step("align"):
        decided = _decide(run, candidates, inputs, versions, n_pairs)
    if copies is None:
        return Measured(decided, led)
    certify_copies(run, copies, decided)
    planted = copies.select("content_id")
    own = decided.join(F.broadcast(planted.withColumnRenamed("content_id", "src_id")), "src_id", "left_anti").join(
        F.broadcast(planted.withColumnRenamed("content_id", "dst_id")), "dst_id", "left_anti"
    )
    return Measured(own, led)


def _sizes(units: DataFrame) -> Row:
    return single_row(units.agg(F.count(F.lit(1)).alias("units"), F.count_if("is_new").alias("new")))


def _followers(run: Run, units: DataFrame, hashes: DataFrame, n_units: int) -> DataFrame | None:
    """Units that are paired with the best of their burst and take no part in the legs, staged; None without any."""
    lsh, context = run.config.lsh, run.warehouse.spark.sparkContext
    run.count("burst_followers", 0)
    if n_units < lsh.burst_min_images:
        return None
    with run.step("bursts"):
        values = single_row(crowded_values(units, hashes, lsh))
        if not values["n_crowded"]:
            return None
        held = run.staging.save(members(units, hashes, context.broadcast(bytes(values["flags"]))), "crowds")
        found = run.staging.save(followers(held, run.warehouse.read(IMAGES), hashes, lsh), "followers")
        run.count("burst_followers", found.count())
    if not run.counts["burst_followers"]:
        return None
    log.warning(
        "%d contents lie within lsh.burst_max_bits = %d bits of PDQ of the best of at least lsh.burst_min_images = %d "
        "such (a fixed camera, one picture again and again): each is compared with up to %d of the best, no two of "
        "them with each other, and other pictures with the best alone",
        *(run.counts["burst_followers"], lsh.burst_max_bits, lsh.burst_min_images, LEADERS),
    )
    return found


def _plant(run: Run, units: DataFrame) -> DataFrame | None:
    """COPIES of a sample of the new units, staged; None where the configuration wants none."""
    if run.config.run.planted_images == 0:
        return None
    sample = sample_units(units, run.config.run.planted_images)
    return run.staging.save(plant_copies(sample, run.warehouse.read(THUMBNAILS), run.config), "planted")


def _inputs(
    run: Run, units: DataFrame, hashes: DataFrame, versions: Versions, copies: DataFrame | None, n_few: int
) -> _Inputs:
    images = run.warehouse.read(IMAGES).where(F.col("status") == OK)
    sizes = images.groupBy("content_id").agg(F.min("width_px").alias("full_width_px"))  # equal bytes, equal width
    thumbnails = run.warehouse.read(THUMBNAILS)
    features = run.warehouse.read(FEATURES).where(F.col("feature_version") == versions.features)
    embeddings = None
    if versions.model is not None:
        embeddings = run.warehouse.read(EMBEDDINGS).where(
            (F.col("model_id") == versions.model) & F.col("embedding").isNotNull()
        )
    units = units.select("scope", "content_id", "is_new")
    with run.step("keys"):
        keys, new_keys = stored_keys(run, units, features, embeddings, versions.centre, versions.keys, n_few)
    if copies is None:
        return _Inputs(units, hashes, thumbnails, features, embeddings, keys, new_keys, sizes)
    made = copies.where("error_message IS NULL")
    planted = made.where(~F.col("is_low_information")).select("scope", "content_id", F.lit(True).alias("is_new"))
    if embeddings is not None:
        from dupelake.embed.stage import embed_contents

        assert versions.model is not None  # noqa: S101 - for the type checker
        assert versions.preprocess is not None  # noqa: S101
        vectors = embed_contents(made, run.config.embed, versions.model, versions.preprocess)
        embeddings = embeddings.unionByName(run.staging.save(vectors, "planted-embeddings"))
    features = features.unionByName(conform(made, FEATURES.schema))
    own = compute_keys(
        made.select("content_id"), features, embeddings, versions.centre, run.config.lsh, versions.keys
    )  # in no table, as the copies themselves
    own = run.staging.save(own, "planted-keys")
    return _Inputs(
        units.unionByName(planted),
        hashes.unionByName(conform(made, HASHES.schema)),
        thumbnails.unionByName(conform(made, THUMBNAILS.schema)),
        features,
        embeddings,
        keys.unionByName(own),
        new_keys.unionByName(own),
        sizes.unionByName(made.select("content_id", "full_width_px")),
    )


def _candidates(
    run: Run, inputs: _Inputs, versions: Versions, copies: DataFrame | None, counted: Row, led_pairs: DataFrame | None
) -> DataFrame:
    """Candidate pairs, staged; of the planted copies only those with their own originals.

    Args:
        run: its counts are filled.
        inputs: what is joined.
        versions: what is compared.
        copies: the planted ones.
        counted: how many units there are, and how many of them new, before copies were planted.
        led_pairs: (low, high, leg) of followers of bursts and their leaders.
    """
    if not counted["new"] and led_pairs is not None:  # followers alone are waiting, for a leader
        ends = (F.lower(F.hex(of)).alias(name) for of, name in (("low", "src_id"), ("high", "dst_id")))
        return run.staging.save(led_pairs.select(*ends, F.lit("pdq").alias("found_by")), "candidates")
    lsh, words = run.config.lsh, None
    n_planted = 0 if copies is None else run.config.run.planted_images * len(PLANTED)
    sizes = Row(units=counted["units"] + n_planted, new=counted["new"] + n_planted)
    args = inputs.units, inputs.hashes, inputs.codes, versions.centre, lsh
    filters = _probe_filters(run, inputs, versions, sizes["units"], sizes["new"])
    plan = plan_join(run, legs_of(*args[1:]), inputs.units, sizes["units"], is_filtered=filters is not None)
    if lsh.words:
        words = words_leg(run, plan, inputs.units, inputs.features, inputs.keys, sizes, (filters or {}).get(WORDS_LEG))
    if led_pairs is not None:
        words = led_pairs if words is None else words.unionAll(led_pairs)
    plan.begin()
    proposed = candidate_pairs(
        *args,
        words=words,
        n_units=sizes["units"],
        n_new=sizes["new"],
        filters=filters,
        checkpoint=run.staging.checkpoint if plan.one_by_one else None,
    )
    if copies is not None:
        lineage = F.broadcast(copies.select("content_id", "parent_id"))
        for side, other in (("src_id", "dst_id"), ("dst_id", "src_id")):
            renamed = lineage.select(F.col("content_id").alias(side), F.col("parent_id").alias(f"{side}_parent"))
            proposed = proposed.join(renamed, side, "left").where(
                F.col(f"{side}_parent").isNull() | (F.col(f"{side}_parent") == F.col(other))
            )
    found = run.staging.save(proposed.select(*_KEY, "found_by"), "candidates")
    plan.note_outcome(found)
    return found


def _probe_filters(run: Run, inputs: _Inputs, versions: Versions, n_units: int, n_new: int) -> Filters | None:
    """Filters of the keys that a small night probes; None on a night that probes most keys anyway."""
    if not is_small_night(n_new, n_units):
        return None
    wanted = probed_keys(inputs.units, inputs.hashes, inputs.new_codes, versions.centre, run.config.lsh, n_new)
    if by_keys(run.config.lsh):
        wanted = wanted.unionAll(probed_word_keys(inputs.units, inputs.new_keys, n_new))
    rows = wanted.collect()  # some bitmaps a leg, of 16 MB at most
    joined: dict[int, npt.NDArray[np.uint8]] = {}
    for row in rows:
        bitmap = np.frombuffer(row["bitmap"], np.uint8)
        joined[row["leg"]] = joined[row["leg"]] | bitmap if row["leg"] in joined else bitmap
    context = run.warehouse.spark.sparkContext
    return {leg: context.broadcast(bitmap.tobytes()) for leg, bitmap in joined.items()}


def _decide(run: Run, candidates: DataFrame, inputs: _Inputs, versions: Versions, n_pairs: int) -> DataFrame:
    n_tasks = max(run.warehouse.spark.sparkContext.defaultParallelism, math.ceil(n_pairs / PAIRS_PER_TASK))
    measured = measure_pairs(candidates, inputs.hashes, inputs.embeddings, versions.join, versions.model)
    aligned = align_pairs(
        candidates, inputs.thumbnails, inputs.features, inputs.sizes, n_tasks, are_few=n_pairs <= FEW_PAIRS
    )
    evidence = with_alignment(measured, run.staging.save(aligned, "aligned"), versions.verify)
    decided = run.staging.save(decide(evidence, run.config.decide), "decided")
    failed = decided.where("error_message IS NOT NULL")
    run.count("pairs_not_aligned", failed.count())
    if run.counts["pairs_not_aligned"]:
        first = failed.select(*_KEY, "error_message").first()
        log.warning("%d pairs could not be aligned, for example %s", run.counts["pairs_not_aligned"], first)
    return decided
