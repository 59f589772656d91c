"""The worst false and missed pairs of a case, with their evidence; only those rows are collected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from dupelake.evaluate.judgement import Case, true_pairs, with_state
from dupelake.evaluate.truth import AMBIGUOUS, DIFFERENT, NO_RELATION
from dupelake.report.pair_state import apart_in_words
from dupelake.warehouse.schema import PAIRS, THUMBNAILS
from dupelake.warehouse.tables import Warehouse

_MAX_IMAGES = 50  # images of each vertex that are searched for a false pair


@dataclass(frozen=True)
class Side:
    """One image of a shown pair; `thumbnail` is None if there is none."""

    image_id: str
    uri: str
    width_px: int | None
    height_px: int | None
    thumbnail: bytes | None


@dataclass(frozen=True)
class ShownPair:
    """A wrong or missed pair.

    Attributes:
        a: the image on the source side of the evidence.
        b: the other image.
        truth: text about the pair in the truth.
        state: text about the pair in the tables.
        evidence: columns of PAIRS; None if the pair was never measured.
        groups: found groups of a and b; None if an image is in none.
    """

    a: Side
    b: Side
    truth: str
    state: str
    evidence: dict[str, Any] | None
    groups: tuple[str | None, str | None]


def false_pairs(warehouse: Warehouse, case: Case, n: int) -> list[ShownPair]:
    """The `n` wrong accepted pairs with the highest score, one for each pair of vertices.

    They are followed by up to `n` wrong pairs that were not accepted but are in one group.
    """
    wrong = _false_edges(case, n).unionByName(_false_in_blocks(case))
    if case.is_pairs:
        unsure = case.listed.where(F.col("verdict") == AMBIGUOUS).select("a", "b")
        different = case.listed.where(F.col("verdict") == DIFFERENT).select("a", "b")
        wrong = wrong.join(unsure, ["a", "b"], "left_anti").unionByName(different)
    value = F.when(F.col("is_equal"), 1.0).otherwise(F.col("score"))
    states = with_state(wrong.distinct(), case).withColumn("value", value).persist()
    rows: list[Row] = []
    for condition in ("is_duplicate", "in_one_group AND NOT is_duplicate"):
        rows += states.where(condition).orderBy(F.desc_nulls_last("value"), "a", "b").limit(n).collect()
    states.unpersist()
    listed = {(r["a"], r["b"]): r["relation"] for r in _listed_among(case, rows)}
    return _shown(warehouse, case, rows, lambda row: _why_false(row, listed, case.is_pairs))


def missed_pairs(warehouse: Warehouse, case: Case, n: int) -> list[ShownPair]:
    """Up to `n` true pairs that are not in one group: half of them measured (highest score first), half never proposed.

    If one half has fewer pairs, the other half gets the rest. Pairs that were never proposed are a sample that depends
    on the image ids only.
    """
    missed = with_state(true_pairs(case), case).where("NOT in_one_group")
    if case.items.where("label IS NOT NULL").isEmpty():  # there are no groups: only pairs can be missed
        missed = missed.where("NOT is_duplicate")
    is_measured = F.col("score").isNotNull() | F.col("is_equal")
    measured = missed.where(is_measured).orderBy(F.desc_nulls_first("score"), "a", "b").limit(n).collect()
    never = missed.where(~is_measured).orderBy(F.xxhash64("a", "b"), "a", "b").limit(n).collect()
    n_never = max(n // 2, n - len(measured))
    rows = [*measured[: max(n - n // 2, n - len(never))], *never[:n_never]]
    return _shown(warehouse, case, rows, _why_missed)


def _false_edges(case: Case, n: int) -> DataFrame:
    """(a, b): one false pair of images for each of the `n` best accepted edges that contain a false pair."""
    edges = (
        case.edges.where("is_duplicate AND n_judged > n_hit")
        .orderBy(F.desc("score"), "va", "vb")
        .limit(n)
        .select("va", "vb")
    )
    ends = edges.select(F.explode(F.array("va", "vb")).alias("vertex")).distinct()
    known = case.items.join(F.broadcast(ends), "vertex").select("vertex", "image_id", "truth_group")
    # take images of many truth groups first, so that the limited number of images contains a false pair
    place = F.row_number().over(W.partitionBy("vertex", "truth_group").orderBy("image_id"))
    rank = F.row_number().over(W.partitionBy("vertex").orderBy("place", "image_id"))
    few = known.withColumn("place", place).withColumn("rank", rank).where(F.col("rank") <= _MAX_IMAGES)
    pairs = edges
    for side in "ab":
        pairs = pairs.join(
            few.select(
                F.col("vertex").alias(f"v{side}"), F.col("image_id").alias(side), F.col("truth_group").alias(f"g{side}")
            ),
            f"v{side}",
        )
    pairs = pairs.where("ga <> gb").select("va", "vb", F.least("a", "b").alias("a"), F.greatest("a", "b").alias("b"))
    if case.is_pairs:
        unsure = case.listed.where(F.col("verdict") == AMBIGUOUS).select("a", "b")
        pairs = pairs.join(unsure, ["a", "b"], "left_anti")
    first = pairs.groupBy("va", "vb").agg(F.min(F.struct("a", "b")).alias("pair"))
    return first.select("pair.a", "pair.b")


def _false_in_blocks(case: Case) -> DataFrame:
    """(a, b): false pairs within a found group or a vertex that contains images of several truth groups.

    The truth group of the keeper is paired with each other one. Without a keeper among the items, the largest truth
    group takes its place. Each truth group is represented by the keeper, else by its smallest image id.
    """
    is_keeper = F.coalesce("is_keeper", F.lit(False))
    blocks = F.array(F.concat(F.lit("vertex "), "vertex"), F.concat(F.lit("group "), "label"))
    cells = (
        case.items.select("image_id", "truth_group", is_keeper.alias("is_keeper"), F.explode(blocks).alias("block"))
        .where("block IS NOT NULL")
        .groupBy("block", "truth_group")
        .agg(
            F.count("*").alias("n"),
            F.min(F.struct(F.expr("NOT is_keeper").alias("later"), "image_id"))["image_id"].alias("image_id"),
            F.max("is_keeper").alias("has_keeper"),
        )
    )
    main = cells.groupBy("block").agg(
        F.max(F.struct("has_keeper", "n", "image_id", "truth_group")).alias("main"), F.count("*").alias("n_cells")
    )
    others = cells.join(main.where("n_cells > 1"), "block").where("truth_group <> main.truth_group")
    return others.select(
        F.least("image_id", "main.image_id").alias("a"), F.greatest("image_id", "main.image_id").alias("b")
    )


def _listed_among(case: Case, rows: Sequence[Row]) -> Iterable[Row]:
    """Lines of the truth that list the pairs of `rows`."""
    if not case.is_pairs or not rows:
        return []
    few = case.items.sparkSession.createDataFrame([(r["a"], r["b"]) for r in rows], "a string, b string")
    return case.listed.join(F.broadcast(few), ["a", "b"]).select("a", "b", "relation").collect()  # one a row at most


def _why_false(row: Row, listed: dict[tuple[str, str], str], is_pairs: bool) -> tuple[str, str]:
    relation = listed.get((row["a"], row["b"]))
    if row["a_name"] is None or row["b_name"] is None:
        truth = "truth: names not both"
    elif relation is not None:
        truth = "truth: different" if relation == NO_RELATION else f"truth: different ({relation})"
    else:
        truth = "truth: not listed, nor linked" if is_pairs else "truth: two groups"
    if row["is_equal"]:
        return truth, "equal pixels"
    if row["is_duplicate"]:
        return truth, "accepted"
    return truth, "not accepted, yet in one group"


def _why_missed(row: Row) -> tuple[str, str]:
    truth = "truth: duplicate" if row["relation"] == NO_RELATION else f"truth: {row['relation']}"
    apart = apart_in_words(
        (row["a_status"], row["b_status"]),
        (row["a_scope"], row["b_scope"]),
        is_accepted=row["is_duplicate"],
        is_measured=row["score"] is not None,
    )
    return truth, apart


def _shown(
    warehouse: Warehouse, case: Case, rows: Sequence[Row], why: Callable[[Row], tuple[str, str]]
) -> list[ShownPair]:
    """`rows` of `with_state` with their evidence and thumbnails."""
    if not rows:
        return []
    spark = warehouse.spark
    keys = [(r["src_id"], r["dst_id"]) for r in rows if r["src_id"] is not None]
    evidence: dict[tuple[str, str], dict[str, Any]] = {}
    if keys:
        few = spark.createDataFrame(keys, "src_id string, dst_id string").distinct()
        found = warehouse.read(PAIRS).join(F.broadcast(few), ["src_id", "dst_id"]).collect()  # at most one a row
        evidence = {(r["src_id"], r["dst_id"]): r.asDict(recursive=True) for r in found}
    ids = sorted({r[side] for r in rows for side in "ab"})
    few = spark.createDataFrame([(image_id,) for image_id in ids], "image_id string")
    images = case.items.join(F.broadcast(few), "image_id").collect()  # at most two a row
    known = {r["image_id"]: r for r in images}
    contents = sorted({r["content_id"] for r in images if r["content_id"] is not None})
    few = spark.createDataFrame([(content_id,) for content_id in contents], "content_id string")
    thumbnails = {
        r["content_id"]: bytes(r["bytes"])
        for r in warehouse.read(THUMBNAILS).join(F.broadcast(few), "content_id").select("content_id", "bytes").collect()
    }
    out = []
    for row in rows:
        a, b = (_side(known[row[side]], thumbnails) for side in "ab")
        groups = (row["a_label"], row["b_label"])
        measured = evidence.get((row["src_id"], row["dst_id"]))
        if measured is not None and row["b_picture"] == row["src_picture"]:
            a, b, groups = b, a, groups[::-1]
        truth, state = why(row)
        out.append(ShownPair(a, b, truth, state, measured, groups))
    return out


def _side(row: Row, thumbnails: dict[str, bytes]) -> Side:
    return Side(row["image_id"], row["uri"], row["width_px"], row["height_px"], thumbnails.get(row["content_id"]))
