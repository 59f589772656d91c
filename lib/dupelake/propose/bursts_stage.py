"""Bursts: the contents of a burst are compared with the few best contents of the burst only.

n frames of a fixed camera are n^2 / 2 true pairs for every generator. No user wants them, and they would overload any
cluster. A burst has at least lsh.burst_min_images contents with one slot value. A content whose PDQ is within a few
bits of a better content of the burst is a follower, and the better content is its leader. A follower is paired with at
most LEADERS leaders and takes no part in the other generators. A picture that is similar to a follower is similar to
its leader, which takes part. So the work grows linearly with the number of images.

The better content has more detailed pixels; ties go to the smaller content id. It is the content that the group of the
burst will keep. So pairs of followers with their leader give the same group as all pairs.

Followers are determined anew each night from all units. A follower does not count as joined (schema.JOINED): if its
burst gets too small, it meets the other contents. A pair with a leader is proposed whenever it is not stored: if the
best content goes, the followers are paired with another. Several nights find at least what one batch finds, and
perhaps more: while a burst was small, its contents met each other.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.ingest.live_stage import live_images
from dupelake.propose.bursts import N_SLOTS, N_VALUES, crowded, slot_values
from dupelake.propose.generator_stage import CandidateGenerator
from dupelake.propose.mih import binary_rows, hamming_bits, words_of
from dupelake.propose.pdq_stage import Pdq
from dupelake.runtime.batches import Batches

LEADERS = 4
"""Most leaders of a follower. More than one, because the pair with the best may fail verification."""


def crowded_values(units: DataFrame, hashes: DataFrame, cfg: LshConfig) -> DataFrame:
    """One row (n_crowded bigint, flags binary): the crowded slot values, as packed bits.

    Args:
        units: (scope, content_id), one row each.
        hashes: HASHES of one version, a row for each unit.
        cfg: burst_min_images.

    Cost: a scan of the codes. Each task sends 8 MB of counts, half a megabyte to the task of each slot. One task joins
    the flags of all slots, 8 KB each. It uses a repartition, because a coalesce would move the scan into that task.
    """
    counted = _coded(units, hashes).mapInArrow(_emit_counts, "slot int, counts binary")
    emit = partial(_emit_crowded, n_crowd=cfg.burst_min_images)
    flagged = counted.repartitionById(N_SLOTS, "slot").mapInArrow(emit, "slot int, n_crowded bigint, flags binary")
    return flagged.repartition(1).mapInArrow(_emit_flags, "n_crowded bigint, flags binary")


def members(units: DataFrame, hashes: DataFrame, flags: Broadcast[Any]) -> DataFrame:
    """(scope, content_id, slot bigint, pdq): one row for each unit and each of its crowded slot values.

    Args:
        units: as for `crowded_values`.
        hashes: as for `crowded_values`.
        flags: the column `flags` of `crowded_values`.
    """
    schema = "scope string, content_id string, slot bigint, pdq binary"
    return _coded(units, hashes).mapInArrow(partial(_emit_members, flags=flags), schema)


def followers(held: DataFrame, images: DataFrame, hashes: DataFrame, cfg: LshConfig) -> DataFrame:
    """(scope, content_id, leaders array of content ids): each follower with its leaders, best first.

    Args:
        held: result of `members`, staged.
        images: IMAGES; all images of a content have the same size in pixels.
        hashes: as for `crowded_values`.
        cfg: burst_min_images, burst_max_bits.
    """
    ids = held.select("content_id").distinct()
    pixels = F.max(F.col("width_px").cast("double") * F.col("height_px")).alias("pixels")
    sizes = live_images(images).join(ids, "content_id", "left_semi").groupBy("content_id").agg(pixels)
    details = hashes.join(ids, "content_id", "left_semi").select("content_id", "detail")
    worth = F.coalesce(F.col("pixels") * F.col("detail") * F.col("detail"), F.lit(0.0))
    rank = F.struct((-worth).alias("worth"), F.col("content_id").alias("id"))
    ranks = details.join(sizes, "content_id", "left").select("content_id", rank.alias("rank"))
    ranked = held.join(ranks, "content_id")
    best = F.min(F.struct("rank", F.col("pdq").alias("leader_pdq"))).alias("leader")
    crowds = ranked.groupBy("scope", "slot").agg(best, F.count(F.lit(1)).alias("n"))
    crowds = crowds.where(F.col("n") >= cfg.burst_min_images).select("scope", "slot", "leader.*")
    beside = ranked.join(crowds.withColumnRenamed("rank", "leader"), ["scope", "slot"])
    rows = beside.where(F.col("rank") > F.col("leader")).select("scope", "content_id", "leader", "pdq", "leader_pdq")
    near = rows.mapInArrow(partial(_emit_near, max_bits=cfg.burst_max_bits), rows.drop("pdq", "leader_pdq").schema)
    led = near.groupBy("scope", "content_id").agg(F.array_sort(F.collect_set("leader")).alias("leaders"))
    return led.withColumn("leaders", F.slice(F.col("leaders.id"), 1, LEADERS))


class Bursts(CandidateGenerator):
    """Proposes the pairs of followers with their leaders that are not stored yet. Their `found_by` is that of PDQ."""

    name = Pdq.name

    def __init__(self, found: DataFrame, stored: DataFrame | None) -> None:
        """Bind the generator to the followers.

        Args:
            found: result of `followers`.
            stored: (src_id, dst_id) of pairs that need not be measured again, or None.
        """
        self.found, self.stored = found, stored

    def pairs(self, probed: Broadcast[Any] | None = None) -> DataFrame:
        """Pairs of each follower with each of its leaders, each pair once."""
        led = self.found.select("content_id", F.explode("leaders").alias("leader"))
        ends = F.least("content_id", "leader").alias("src_id"), F.greatest("content_id", "leader").alias("dst_id")
        pairs = led.select(*ends).distinct()  # two scopes may give the same pair
        if self.stored is not None:
            pairs = pairs.join(self.stored.select("src_id", "dst_id"), ["src_id", "dst_id"], "left_anti")
        return pairs.select(F.unhex("src_id").alias("low"), F.unhex("dst_id").alias("high"))


def _coded(units: DataFrame, hashes: DataFrame) -> DataFrame:
    coded = units.join(hashes.select("content_id", "pdq"), "content_id")
    return coded.select("scope", "content_id", F.xxhash64("scope").alias("scope_key"), "pdq")


def _values(batch: pa.RecordBatch) -> np.ndarray:
    return slot_values(binary_rows(batch["pdq"], 32), np.asarray(batch["scope_key"]))


def _emit_counts(batches: Batches) -> Batches:
    counts = np.zeros(N_SLOTS * N_VALUES, np.int64)
    for batch in batches:
        counts += np.bincount(_values(batch).ravel(), minlength=len(counts))
    blobs = [row.tobytes() for row in counts.reshape(N_SLOTS, N_VALUES)]
    slots = pa.array(range(N_SLOTS), pa.int32())
    yield pa.RecordBatch.from_arrays([slots, pa.array(blobs, pa.binary())], names=["slot", "counts"])


def _emit_crowded(batches: Batches, n_crowd: int) -> Batches:
    """The flags of each slot. Its counts add up to the number of units, so the mean is equal for all slots."""
    totals: dict[int, np.ndarray] = {}
    for batch in batches:
        for slot, value in zip(batch["slot"].to_pylist(), batch["counts"], strict=True):
            counts = np.frombuffer(value.as_buffer(), np.int64)
            totals[slot] = totals[slot] + counts if slot in totals else counts
    found = {slot: crowded(counts, n_crowd) for slot, counts in totals.items()}
    yield pa.RecordBatch.from_arrays(
        [
            pa.array([*found], pa.int32()),
            pa.array([int(flags.sum()) for flags in found.values()], pa.int64()),
            pa.array([np.packbits(flags).tobytes() for flags in found.values()], pa.binary()),
        ],
        names=["slot", "n_crowded", "flags"],
    )


def _emit_flags(batches: Batches) -> Batches:
    n_crowded, flags = 0, np.zeros((N_SLOTS, N_VALUES // 8), np.uint8)
    for batch in batches:
        n_crowded += int(np.asarray(batch["n_crowded"]).sum())
        for slot, value in zip(batch["slot"].to_pylist(), batch["flags"], strict=True):
            flags[slot] = np.frombuffer(value.as_buffer(), np.uint8)
    packed = pa.array([flags.tobytes()], pa.binary())
    yield pa.RecordBatch.from_arrays([pa.array([n_crowded], pa.int64()), packed], names=["n_crowded", "flags"])


def _emit_members(batches: Batches, flags: Broadcast[Any]) -> Batches:
    is_crowded = np.unpackbits(np.frombuffer(flags.value, np.uint8)).astype(bool)
    for batch in batches:
        values = _values(batch)
        row, slot = np.nonzero(is_crowded[values])
        taken = batch.select(["scope", "content_id", "pdq"]).take(pa.array(row))
        columns = [taken["scope"], taken["content_id"], pa.array(values[row, slot]), taken["pdq"]]
        yield pa.RecordBatch.from_arrays(columns, names=["scope", "content_id", "slot", "pdq"])


def _emit_near(batches: Batches, max_bits: int) -> Batches:
    for batch in batches:
        bits = hamming_bits(*(words_of(binary_rows(batch[name], 32)) for name in ("pdq", "leader_pdq")))
        kept = batch.filter(pa.array(bits <= max_bits))
        yield kept.drop_columns(["pdq", "leader_pdq"])
