"""What makes a component be grouped again: anything that its groups, keepers, tiers or reasons read."""

from __future__ import annotations

import pytest
from group_corpus import Corpus, parquet_checkpoint
from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.group.touched_stage import clustered_rows, find_touched
from dupelake.verify.decision import altered_model
from dupelake.warehouse.schema import CLUSTERED


@pytest.fixture(scope="module")
def grouped(spark, tmp_path_factory):
    """(checkpoint, images, hashes, pairs, rows of CLUSTERED) of two components, which were grouped."""
    corpus = Corpus()
    for pair in ("ab", "cd"):
        corpus.ladder("s", *pair)
        corpus.aligned(*pair, 1.0, 1.0, 1.0, kind="near", **dict.fromkeys(altered_model().columns, 0.1))
    checkpoint = parquet_checkpoint(spark, tmp_path_factory.mktemp("touched"))
    images, hashes, pairs = (checkpoint(frame) for frame in corpus.frames(spark))
    empty = spark.createDataFrame([], CLUSTERED.schema)
    touched = find_touched(images, hashes, pairs, None, empty, Config(), checkpoint)
    assert touched.n_contents == 4
    rows, gone = clustered_rows(touched, checkpoint)
    assert gone.count() == 0
    return checkpoint, images, hashes, pairs, checkpoint(rows)


def test_what_tiers_read_of_a_pair_groups_its_component_again(grouped):
    checkpoint, images, hashes, pairs, clustered = grouped
    of_a = F.col("src_id") == "a"
    column = altered_model().columns[-1]
    changed = pairs.withColumn(column, F.when(of_a, 0.7).otherwise(F.col(column)))
    assert find_touched(images, hashes, changed, None, clustered, Config(), checkpoint).n_contents == 2
    assert find_touched(images, hashes, pairs, None, clustered, Config(), checkpoint).n_contents == 0
