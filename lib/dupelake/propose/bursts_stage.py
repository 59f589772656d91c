"""Bursts: of a crowd of all but equal pictures, each follows the best few of the crowd and meets nobody else.

n frames of a fixed camera are n^2 / 2 true pairs, by every generator. No user wants them, and no cluster survives
them. A content whose PDQ lies within a few bits of a better picture in a crowd (lsh.burst_min_images) is its follower:
it is paired with such leaders, at most LEADERS of them, and takes no part in the other generators. What is alike to a
follower is alike to the best of its leaders, who takes part. So the work is in proportion to the images, whatever they
show.

The better picture has more detailed pixels, then the smaller content id: it is the one that the crowd's group will
keep, so a star of followers around it is what grouping would make of all pairs.

Who follows is told anew each night, from all units. A follower does not count as joined (schema.JOINED), so that it
meets the others should its crowd dissolve; and a pair with a leader is proposed whenever it is not stored, so that the
crowd has another when its best goes. Over nights more is found than in one batch, never less: a crowd was small once,
and its pictures met each other.
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
"""That a follower is paired with: the best of all, and a few should their pictures not pass with its own."""


def crowded_values(units: DataFrame, hashes: DataFrame, cfg: LshConfig) -> DataFrame:
    """One row (n_crowded bigint, flags binary): which values of the slots are crowded, as packed bits.

    Args:
        units: (scope, content_id), one row each.
        hashes: HASHES of one version, a row for each unit.
        cfg: burst_min_images.

    Cost: a scan of the codes; each task sends 8 MB of counts, half a megabyte to the task of each slot. One task puts
    the flags of the slots together, 8 KB each. A coalesce would take the scan into that one task.
    """
    counted = _coded(units, hashes).mapInArrow(_emit_counts, "slot int, counts binary")
    emit = partial(_emit_crowded, n_crowd=cfg.burst_min_images)
    flagged = counted.repartitionById(N_SLOTS, "slot").mapInArrow(emit, "slot int, n_crowded bigint, flags binary")
    return flagged.repartition(1).mapInArrow(_emit_flags, "n_crowded bigint, flags binary")


def members(units: DataFrame, hashes: DataFrame, flags: Broadcast[Any]) -> DataFrame:
    """(scope, content_id, slot bigint, pdq): a row for each unit and crowded value of its slots.

    Args:
        units: as for `crowded_values`.
        hashes: as for `crowded_values`.
        flags: of `crowded_values`.
    """
    schema = "scope string, content_id string, slot bigint, pdq binary"
    return _coded(units, hashes).mapInArrow(partial(_emit_members, flags=flags), schema)


def followers(held: DataFrame, images: DataFrame, hashes: DataFrame, cfg: LshConfig) -> DataFrame:
    """(scope, content_id, leaders array of content ids): each follower with its leaders, best first.

    Args:
        held: of `members`, staged.
        images: IMAGES; equal bytes have equal sizes.
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
    """The generator of pairs of followers with their leaders, but those that are stored; PDQ found them."""

    name = Pdq.name

    def __init__(self, found: DataFrame, stored: DataFrame | None) -> None:
        """Bind it to what was found.

        Args:
            found: of `followers`.
            stored: (src_id, dst_id) of pairs that need not be measured again, or None.
        """
        self.found, self.stored = found, stored

    def pairs(self, probed: Broadcast[Any] | None = None) -> DataFrame:
        """Each follower with each of its leaders, once."""
        led = self.found.select("content_id", F.explode("leaders").alias("leader"))
        ends = F.least("content_id", "leader").alias("src_id"), F.greatest("content_id", "leader").alias("dst_id")
        pairs = led.select(*ends).distinct()  # of two scopes
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
    """The flags of each slot. A slot's counts add up to the units, so that chance is the same for every slot."""
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
