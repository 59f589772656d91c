"""Estimates from a sample how many pairs of pictures will meet by word keys, before the corpus is joined."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.propose.frequent_words_stage import FrequentWords, Sample
from dupelake.propose.word_keys_stage import meet_by_keys, packed_keys
from dupelake.runtime.batches import Batches, sliced

FORECAST_UNITS = 16_384  # 24 million keys; it has one in 4,000 pairs of a million units, some thousands
_ROWS_AT_ONCE = 512


def sampled_pairs(sample: Sample, cfg: LshConfig, frequent: FrequentWords) -> DataFrame:
    """The pairs of the sample that meet. The corpus has about `one_in` squared times as many. Lazy.

    Args:
        sample: of about FORECAST_UNITS units.
        cfg: word_min_keys, and word_key_max_images, which is divided by `one_in`.
        frequent: words that are left out.
    """
    units = sample.rows.select("scope", "content_id", F.lit(True).alias("is_new"))
    contents = sample.rows.select("content_id", "words").dropDuplicates(["content_id"])
    keys = contents.mapInArrow(_emit_keys, "content_id string, word_keys binary")
    part = replace(cfg, word_key_max_images=max(2, cfg.word_key_max_images // sample.one_in))
    return meet_by_keys(units, keys, part, FORECAST_UNITS, FORECAST_UNITS, frequent=frequent).pairs()


def same_scope(sample: Sample) -> DataFrame:
    """One row (share double): probability that two units have the same scope; null with fewer than two. Lazy."""
    counts = sample.rows.groupBy("scope").agg(F.count("*").alias("n"))
    sums = counts.agg(F.sum("n").alias("n"), F.sum(F.expr("n * (n - 1)")).alias("pairs"))
    return sums.select(F.when(F.col("n") > 1, F.expr("pairs / (n * (n - 1))")).alias("share"))


def _emit_keys(batches: Batches) -> Batches:
    for batch in sliced(batches, _ROWS_AT_ONCE):
        keys = packed_keys(batch["words"])
        yield pa.RecordBatch.from_arrays([batch["content_id"], keys], names=["content_id", "word_keys"])
