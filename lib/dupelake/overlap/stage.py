"""Sets of pictures as DataFrames: members, sketches, proposed pairs of sets, exact counts, pictures in several sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from dupelake.group.components_stage import connected_components
from dupelake.ingest.live_stage import live_images
from dupelake.overlap.counting import EXAMPLES, I64, count_shared
from dupelake.overlap.sketches import Sketches, needed_hits, sketch
from dupelake.warehouse.rules import EXTRA
from dupelake.warehouse.schema import OVERLAPS, conform

"""Begins the name of a way to make sets from a column of the manifest, as in `overlaps.sets_by`."""
_PART_ROWS = 500_000  # members that one worker counts at once: 60 MB
_COUNTS = "a int, b int, n bigint, examples array<string>"


def value_of(by: str) -> Column:
    """The set of an image (schema.IMAGES), as column `set_id`; null or empty where it is in none.

    Args:
        by: source, partition, scope, or `extra.` with the name of a column of the manifest.
    """
    is_extra = by.startswith(EXTRA)
    value = F.col("extra").getItem(by.removeprefix(EXTRA)) if is_extra else F.col(by)
    return value.alias("set_id")


def groups_of_contents(groups: DataFrame) -> DataFrame:
    """(content_id, group_ids): the groups of each grouped content, in order; several only in several scopes.

    Args:
        groups: schema.GROUPS.
    """
    return groups.groupBy("content_id").agg(F.array_sort(F.collect_set("group_id")).alias("group_ids"))


def pictures_of(held: DataFrame, checkpoint: Callable[[DataFrame], DataFrame] | None) -> DataFrame:
    """(content_id, picture) of the contents in groups; every other content is a picture of its own.

    The picture is the id of the group. Groups that have a content in common are one picture, whose id is the smallest
    of theirs: equal bytes are one picture in whatever scope.

    Args:
        held: result of `groups_of_contents`, materialised.
        checkpoint: materialises a DataFrame and returns one without lineage; None if no content has several groups.
    """
    first = held.select("content_id", F.col("group_ids")[0].alias("picture"))
    if checkpoint is None:
        return first
    ids = F.col("group_ids")
    links = held.where(F.size(ids) > 1).select(ids[0].alias("src"), F.explode(ids).alias("dst")).where("src <> dst")
    joined = connected_components(links, checkpoint).withColumnRenamed("vertex", "picture")
    return first.join(joined, "picture", "left").select(
        "content_id", F.coalesce("component", "picture").alias("picture")
    )


def valued(images: DataFrame, pictures: DataFrame, value: Column) -> DataFrame:
    """(set_id, picture, image_id, uri) of the live images with a value, one row each.

    Args:
        images: schema.IMAGES.
        pictures: result of `pictures_of`.
        value: the set of an image, as column `set_id`.
    """
    live = live_images(images).select("content_id", "image_id", "uri", value).where("set_id <> ''")
    named = live.join(pictures, "content_id", "left")
    return named.select("set_id", F.coalesce("picture", "content_id").alias("picture"), "image_id", "uri")


def members_of(rows: DataFrame) -> DataFrame:
    """(set_id, picture, image_id): each picture of each set once, with its smallest image id.

    Args:
        rows: result of `valued`.
    """
    return rows.groupBy("set_id", "picture").agg(F.min("image_id").alias("image_id"))


def set_facts(members: DataFrame) -> DataFrame:
    """(set_id, n_pictures, fingerprint bigint), one row for each set; the order of members changes no fingerprint."""
    summed = F.sum(F.xxhash64("picture", "image_id").cast("decimal(38,0)")).cast("string")
    facts = members.groupBy("set_id").agg(F.count(F.lit(1)).alias("n_pictures"), summed.alias("summed"))
    return facts.select("set_id", "n_pictures", F.xxhash64("n_pictures", "summed").alias("fingerprint"))


def numbered(members: DataFrame, sets: DataFrame) -> DataFrame:
    """(number, picture) of the members of some sets.

    Args:
        members: result of `members_of`.
        sets: (set_id, number), at most `MAX_SETS` rows.
    """
    return members.join(F.broadcast(sets), "set_id").select("number", "picture")


def sketches_of(held: DataFrame) -> DataFrame:
    """(number, sketch): `overlap.sketches.sketch` of each set.

    Args:
        held: result of `numbered`; a worker holds 8 bytes for each picture of one set.
    """

    def packed(hashes: pd.Series) -> bytes:
        return sketch(hashes.to_numpy(np.int64).view(np.uint64))

    by_set = held.select("number", F.xxhash64("picture").alias("hash")).groupBy("number")
    return by_set.agg(pandas_udf(packed, "binary")("hash").alias("sketch"))  # type: ignore[call-overload]


def sample_table(given: Sketches, is_changed: np.ndarray, min_share: float) -> tuple[pa.Table, int]:
    """The sampled pictures that propose, and how many propose nothing because too many samples hold them.

    Args:
        given: the sketches of all sets.
        is_changed: bool (n,).
        min_share: the wanted share.

    Returns:
        (owner int, hash bigint, needed bigint, is_new bool) as an Arrow table; the number of frequent pictures.
    """
    owners, hashes, n_frequent = given.rare_samples()
    needed = needed_hits(owners, len(given.sizes), min_share)
    columns = {
        "owner": pa.array(owners.astype(np.int32)),
        "hash": pa.array(hashes.view(np.int64)),
        "needed": pa.array(needed[owners]),
        "is_new": pa.array(is_changed[owners]),
    }
    return pa.table(columns), n_frequent


def sample_pairs(held: DataFrame, samples: DataFrame, changed: DataFrame) -> DataFrame:
    """(owner, number): pairs of sets where the second has enough of the sampled pictures of the first.

    Args:
        held: result of `numbered` for all sets.
        samples: the rows of `sample_table`; they are broadcast, so the members are not shuffled.
        changed: (number) of the changed sets; a pair without one is left out.
    """
    hashed = held.select("number", F.xxhash64("picture").alias("hash"))
    marked = hashed.join(F.broadcast(changed.withColumn("is_changed", F.lit(True))), "number", "left")
    met = marked.join(F.broadcast(samples), "hash").where("owner <> number AND (is_new OR is_changed)")
    hits = met.groupBy("owner", "number", "needed").agg(F.count(F.lit(1)).alias("n"))
    return hits.where("n >= needed").select("owner", "number")


def shared_counts(held: DataFrame, pairs: I64, n_members: int) -> DataFrame:
    """(a, b, n, examples): how many pictures each proposed pair of sets shares; pairs that share none are left out.

    Args:
        held: result of `numbered` for the sets of the pairs; it is shuffled by picture, so that a worker has whole
            pictures.
        pairs: int64 (m, 2), each pair once.
        n_members: the number of rows of `held`, or more.
    """
    n_parts = max(int(held.sparkSession.conf.get("spark.sql.shuffle.partitions") or 200), n_members // _PART_ROWS)
    parts = held.repartition(n_parts, "picture").mapInArrow(partial(_count_batches, pairs=pairs), _COUNTS)
    smallest = F.slice(F.array_sort(F.flatten(F.collect_list("examples"))), 1, EXAMPLES)
    return parts.groupBy("a", "b").agg(F.sum("n").alias("n"), smallest.alias("examples"))


def _count_batches(batches: Iterable[pa.RecordBatch], pairs: I64) -> Iterator[pa.RecordBatch]:
    """Rows of `_COUNTS` for the members of one task."""
    held = list(batches)
    if not held:
        return
    members = pa.Table.from_batches(held)
    encoded = members["picture"].combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))  # so that the smallest pictures are the examples
    pictures = rank[encoded.indices.to_numpy()]
    counts, of_pair, example = count_shared(members["number"].to_numpy().astype(np.int64), pictures, pairs)
    some = np.flatnonzero(counts)
    by_pair = np.argsort(of_pair, kind="stable")
    texts = encoded.dictionary.take(pa.array(order[example[by_pair]]))
    n_shown = np.bincount(of_pair, minlength=len(pairs))[some]
    offsets = np.concatenate(([0], np.cumsum(n_shown))).astype(np.int32)
    columns = [
        pa.array(pairs[some, 0].astype(np.int32)),
        pa.array(pairs[some, 1].astype(np.int32)),
        pa.array(counts[some]),
        pa.ListArray.from_arrays(pa.array(offsets), texts),
    ]
    yield pa.RecordBatch.from_arrays(columns, names=["a", "b", "n", "examples"])


def overlap_rows(counts: DataFrame, sets: DataFrame, members: DataFrame, by: str, min_share: float) -> DataFrame:
    """schema.OVERLAPS of the pairs of which one set has at least `min_share` of its pictures in the other.

    Args:
        counts: result of `shared_counts`, materialised.
        sets: (set_id, number, n_pictures).
        members: result of `members_of`.
        by: as in `overlaps.sets_by`.
        min_share: 0 to 1.
    """
    facts = F.broadcast(sets)
    a, b = (
        facts.select(F.col("number").alias(end), F.col("set_id").alias(f"set_{end}"), F.col("n_pictures").alias(n))
        for end, n in (("a", "n_a"), ("b", "n_b"))
    )
    share_a, share_b = (F.col("n") / F.col(name) for name in ("n_a", "n_b"))
    rows = counts.join(a, "a").join(b, "b").where(F.greatest(share_a, share_b) >= min_share)
    picture = rows.select("set_a", "set_b", F.explode("examples").alias("picture"))
    for end in ("a", "b"):
        image = members.select(F.col("set_id").alias(f"set_{end}"), "picture", F.col("image_id").alias(f"image_{end}"))
        picture = picture.join(image, [f"set_{end}", "picture"])
    shown = F.array_sort(F.collect_list(F.struct("picture", "image_a", "image_b")))
    examples = picture.groupBy("set_a", "set_b").agg(shown.alias("examples"))
    found = rows.drop("examples").join(examples, ["set_a", "set_b"])
    named = found.withColumns({"sets_by": F.lit(by), "n_shared": F.col("n"), "share_a": share_a, "share_b": share_b})
    return conform(named, OVERLAPS.schema)


def in_both(rows: DataFrame, first: str, second: str) -> DataFrame:
    """(set_id, picture, image_id, uri): the images of two sets that show a picture of both.

    Args:
        rows: result of `valued`.
        first: a set.
        second: another set.
    """
    two = rows.where(F.col("set_id").isin(first, second))
    several = F.size(F.collect_set("set_id").over(W.partitionBy("picture"))) == 2
    return two.withColumn("_both", several).where("_both").drop("_both")


def conflicts_of(rows: DataFrame) -> DataFrame:
    """(set_id, picture, image_id, uri, n_values): the images of pictures that have several values.

    Args:
        rows: result of `valued`, with the value as `set_id`.
    """
    n_values = F.size(F.collect_set("set_id").over(W.partitionBy("picture")))
    return rows.withColumn("n_values", n_values).where("n_values > 1")
