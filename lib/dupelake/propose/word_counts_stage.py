"""How many pictures will meet by keys of words, told from those of a sample before the corpus is joined."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.propose.frequent_words_stage import HotWords, Sample
from dupelake.propose.word_keys_stage import meet_by_keys, packed_keys
from dupelake.runtime.batches import Batches, sliced

FORECAST_UNITS = 16_384  # 24 million keys; of a million, the pairs of so many are one in 4,000: some thousands
_ROWS_AT_ONCE = 512


def sampled_pairs(sample: Sample, cfg: LshConfig, hot: HotWords) -> DataFrame:
    """The pairs of the sample that meet; `one_in` squared times as many do in the corpus. Lazy.

    Args:
        sample: of FORECAST_UNITS or so.
        cfg: word_min_keys, and word_key_max_images, of which the sample is given its part.
        hot: words left out.
    """
    units = sample.rows.select("scope", "content_id", F.lit(True).alias("is_new"))
    contents = sample.rows.select("content_id", "words").dropDuplicates(["content_id"])
    keys = contents.mapInArrow(_emit_keys, "content_id string, word_keys binary")
    part = replace(cfg, word_key_max_images=max(2, cfg.word_key_max_images // sample.one_in))
    return meet_by_keys(units, keys, part, FORECAST_UNITS, FORECAST_UNITS, hot=hot).pairs()


def same_scope(sample: Sample) -> DataFrame:
    """One row (share double): how likely two units are of one scope; null where there are not two. Lazy."""
    counts = sample.rows.groupBy("scope").agg(F.count("*").alias("n"))
    sums = counts.agg(F.sum("n").alias("n"), F.sum(F.expr("n * (n - 1)")).alias("pairs"))
    return sums.select(F.when(F.col("n") > 1, F.expr("pairs / (n * (n - 1))")).alias("share"))


def _emit_keys(batches: Batches) -> Batches:
    for batch in sliced(batches, _ROWS_AT_ONCE):
        keys = packed_keys(batch["words"])
        yield pa.RecordBatch.from_arrays([batch["content_id"], keys], names=["content_id", "word_keys"])
