"""Match images of a truth file to rows of `images`: by id, by uri, or by the end of the uri's path."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from dupelake.ingest.uris import local_path

MATCHED, NONE, SEVERAL, AGAIN = "matched", "no image", "several images", "named twice"
_IMAGE_ID, _URI, _PATH, _END = range(4)  # ways to match, the most exact first
_WAYS = {
    "auto": (_IMAGE_ID, _URI, _PATH, _END),
    "image_id": (_IMAGE_ID,),
    "uri": (_URI, _PATH),
    "name": (_PATH, _END),
}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def plain_path(name: str) -> str:
    """The path of a name or uri without scheme and without a leading `/` or `./`; equals `_path_of` in Spark."""
    path = local_path(name)
    if path is None:
        path = _SCHEME.sub("", name, count=1)
    return re.sub(r"^(\.?/+)+", "", path)


def match_names(names: pa.Table, images: DataFrame, by: str) -> DataFrame:
    """Find the image of each name.

    A name is tried as image_id, as uri, as whole path and as end of a path (whole components), in this order. The first
    way that finds any image counts, and it must find exactly one. If several names match one image, the first name in
    the file gets it.

    Args:
        names: `Truth.names`.
        images: (image_id, uri, ...), each image once.
        by: auto, image_id, uri or name; values other than `auto` allow only some of the ways.

    Returns:
        The columns of `names`, with image_id (null unless matched), outcome (one of the four words above) and
        n_images (the number of images found). One row per name.

    Cost: an equi-join on keys; each image gives one key for each way and each depth of path that the names have.
    Common file names do not cause skew, because the whole end of the path is the key. No action is run.
    """
    ways = _WAYS[by]
    paths = [plain_path(name) for name in names["name"].to_pylist()]
    depths = sorted({path.count("/") + 1 for path in paths})
    spark = images.sparkSession
    wanted = spark.createDataFrame(names.append_column("path", pa.array(paths, pa.string())))
    keys = {_IMAGE_ID: "name", _URI: "name", _PATH: "path", _END: "path"}
    sought = wanted.select(
        "row", "name", F.explode(F.array(*(F.struct(F.lit(w).alias("way"), F.col(keys[w]).alias("key")) for w in ways)))
    ).select("row", "name", "col.*")
    by_key = images.select("image_id", F.explode(_keys(ways, depths)).alias("col")).select("image_id", "col.*")
    found = (
        sought.join(by_key, ["way", "key"])
        .groupBy("name", "way")
        .agg(F.count_distinct("image_id").alias("n_images"), F.min("image_id").alias("image_id"))
        .groupBy("name")
        .agg(F.min(F.struct("way", "n_images", "image_id")).alias("best"))
        .select("name", "best.n_images", "best.image_id")
    )
    place = F.row_number().over(W.partitionBy("one").orderBy("row", "name"))
    one = F.when(F.col("n_images") == 1, F.col("image_id"))
    # each name without an image gets its own partition, to avoid skew
    tried = (
        wanted.join(found, "name", "left")
        .withColumn("one", F.coalesce(F.concat(F.lit("i/"), one), F.concat(F.lit("n/"), "name")))
        .withColumn("place", place)
    )
    outcome = (
        F.when(F.col("n_images").isNull(), NONE)
        .when(F.col("n_images") > 1, SEVERAL)
        .when(F.col("place") > 1, AGAIN)
        .otherwise(MATCHED)
    )
    return tried.select(
        *names.column_names,
        outcome.alias("outcome"),
        F.when(outcome == MATCHED, F.col("image_id")).alias("image_id"),
        F.coalesce("n_images", F.lit(0)).alias("n_images"),
    )


def count_outcomes(matched: DataFrame) -> dict[str, int]:
    """Number of names by outcome; all four outcomes are keys."""
    rows = matched.groupBy("outcome").agg(F.count(F.lit(1)).alias("n")).collect()  # four rows at most
    return dict.fromkeys((MATCHED, NONE, SEVERAL, AGAIN), 0) | {r["outcome"]: r["n"] for r in rows}


def listed_pairs(pairs: pa.Table, matched: DataFrame) -> DataFrame:
    """The pairs of a truth between matched images: (a, b, verdict, relation), a < b by image_id."""
    listed = matched.sparkSession.createDataFrame(pairs)
    known = matched.where(F.col("outcome") == MATCHED)
    for side in "ab":
        ends = known.select(F.col("name").alias(side), F.col("image_id").alias(f"{side}_image"))
        listed = listed.join(ends, side)
    return listed.select(
        F.least("a_image", "b_image").alias("a"), F.greatest("a_image", "b_image").alias("b"), "verdict", "relation"
    )


def _keys(ways: Sequence[int], depths: Sequence[int]) -> Column:
    """Array of (way, key) by which an image is found."""
    path = _path_of(F.col("uri"))
    parts = F.split(path, "/")
    columns = {_IMAGE_ID: [F.col("image_id")], _URI: [F.col("uri")], _PATH: [path]}
    columns[_END] = [
        F.when(F.size(parts) >= depth, F.array_join(F.slice(parts, -depth, depth), "/")) for depth in depths
    ]
    pairs = [F.struct(F.lit(way).alias("way"), key.alias("key")) for way in ways for key in columns[way]]
    return F.filter(F.array(*pairs), lambda pair: pair["key"].isNotNull())


def _path_of(uri: Column) -> Column:
    """`plain_path` as a column."""
    local = F.regexp_replace(uri, r"(?i)^file:(//[^/]*(?=/)|(?=/(?!/)))", "")
    decoded = F.coalesce(F.try_url_decode(F.regexp_replace(local, r"\+", "%2B")), local)
    is_file = uri.rlike(r"(?i)^file:(//[^/]*/|/(?!/))")
    bare = F.when(is_file, decoded).otherwise(F.regexp_replace(uri, r"^[A-Za-z][A-Za-z0-9+.\-]*://", ""))
    return F.regexp_replace(bare, r"^(\.?/+)+", "")
