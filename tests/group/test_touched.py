"""What makes a component be grouped again: anything that its groups, keepers, tiers or reasons read."""

from __future__ import annotations

import pytest
from group_corpus import NOON, Corpus, parquet_checkpoint
from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.group.decisions_stage import VERDICTS
from dupelake.group.stage import member_rows
from dupelake.group.touched_stage import clustered_rows, find_touched, restrict
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


class Table:
    """Groups that nights update: only what changed is grouped again."""

    def __init__(self, spark, checkpoint):
        self.spark, self.checkpoint = spark, checkpoint
        self.clustered, self.groups = spark.createDataFrame([], CLUSTERED.schema), {}

    def night(self, corpus):
        images, hashes, pairs = (self.checkpoint(frame) for frame in corpus.frames(self.spark))
        touched = find_touched(images, hashes, pairs, None, self.clustered, Config(), self.checkpoint)
        again = {row["content_id"] for row in touched.contents.collect()}
        parts = (restrict(images, touched), restrict(hashes, touched), restrict(pairs, touched, "src_id"))
        found = member_rows(*parts, Config(), self.checkpoint).rows.collect()
        self.groups = {i: row for i, row in self.groups.items() if row["content_id"] not in again}
        self.groups |= {row["image_id"]: row for row in found}
        rows, gone = clustered_rows(touched, self.checkpoint)
        stay = self.clustered.join(rows, "content_id", "left_anti").join(gone, "content_id", "left_anti")
        self.clustered = self.checkpoint(stay.unionByName(rows))
        return {image: (row["star"], row["relation"]) for image, row in self.groups.items()}


def with_a_lost_representative(newcomer=None):
    """a and b have equal pixels; a, the smaller content, has the pairs of both; c is a smaller copy."""
    corpus = Corpus()
    corpus.image("a", "s", pixels="one", side=1000)
    corpus.image("b", "s", pixels="one", side=1000)
    corpus.image("c", "s", side=800)
    corpus.pair("a", "b", kind="pixel", score=1.0)
    corpus.aligned("a", "c", 1.0, 1.0, 0.8, kind="near", score=0.99)
    if newcomer == "copy":
        corpus.image("d", "s", side=600)
        corpus.aligned("a", "d", 1.0, 1.0, 0.6, kind="near", score=0.99)
        corpus.aligned("c", "d", 1.0, 1.0, 0.75, kind="near", score=0.99)
    elif newcomer == "twin":
        corpus.image("d", "s", pixels="one", side=1000)
        corpus.pair("a", "d", kind="pixel", score=1.0)
    return corpus


@pytest.mark.parametrize("newcomer", ["copy", "twin"])
def test_pairs_of_a_content_that_lost_its_image_hold_for_equal_pixels(spark, tmp_path, newcomer):
    """Nights give what one batch gives."""
    checkpoint = parquet_checkpoint(spark, tmp_path)
    nights = Table(spark, checkpoint)
    nights.night(with_a_lost_representative())
    for corpus in (with_a_lost_representative(), with_a_lost_representative(newcomer)):
        corpus.drop("a")
        found = nights.night(corpus)
        assert found == Table(spark, checkpoint).night(corpus)
        assert found.keys() == corpus.images.keys() - {"a"}
        assert len({star for star, _ in found.values()}) == 1
        assert found["b"] == ("a/s", "keeper")


def test_a_verdict_on_equal_pixels_groups_the_component_again(spark, tmp_path):
    """A verdict about b is one about the class of equal pixels, whose first content has lost its image."""
    checkpoint = parquet_checkpoint(spark, tmp_path)
    nights, corpus = Table(spark, checkpoint), with_a_lost_representative()
    corpus.drop("a")
    nights.night(corpus)
    images, hashes, pairs = corpus.frames(spark)
    verdicts = spark.createDataFrame([("a/s", None, "keeper", "ann", NOON, "b", None, None)], VERDICTS)
    touched = find_touched(images, hashes, pairs, verdicts, nights.clustered, Config(), checkpoint)
    assert {row["content_id"] for row in touched.contents.collect()} == {"a", "b", "c"}
