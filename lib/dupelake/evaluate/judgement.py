"""Compare found pairs and groups of a warehouse with a truth; Spark counts, and only sums come to the driver.

Pairs of images are not enumerated, except lines of the truth: pairs within groups, and between all files of two
pictures, are products of counts (`evaluate.scores.Tally`).

Terms as in `group/stage.py`: a *vertex* is all images of one scope with equal pixels; an *edge* is a measured pair of
two vertices. An *item* is an image that the truth names (with `closed`, every live image).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.evaluate.matching import MATCHED, listed_pairs
from dupelake.evaluate.scores import BCubed, Scores, Tally
from dupelake.evaluate.truth import AMBIGUOUS, DIFFERENT, DUPLICATE, Truth
from dupelake.group.decisions_stage import vertex_name
from dupelake.ingest.live_stage import scope_of
from dupelake.verify.decide_stage import PDQ_MIN_QUALITY
from dupelake.warehouse.schema import GROUPS, HASHES, IMAGES, OK, PAIRS
from dupelake.warehouse.tables import Warehouse, single_row

OTHER_RELATION = "(other)"
_MAX_RELATIONS = 200  # relations that are listed, the most common first

# Signals of a pair that a threshold can be applied to: name -> whether a larger value means more alike.
SIGNALS = {
    "score": True,
    "phash_bits": False,
    "pdq_bits": False,
    "cosine": True,
    "n_inliers": True,
    "aligned_ncc": True,
}


@dataclass(frozen=True)
class Case:
    """A truth joined with a warehouse. All frames are persisted: call `release` when done.

    Attributes:
        is_pairs: whether the truth lists pairs, and not groups.
        images: present images: image_id, uri, status, reason, scope, content_id, width_px, height_px, picture, vertex,
            label (found group), is_keeper.
        items: those of `images` that the truth judges, with name (null if it does not name them), truth_group,
            is_certain, is_ambiguous, is_original, relation, row.
        edges: src_id, dst_id, src_picture, va < vb (vertices), the signals, is_duplicate, n_judged, n_hit, n_unnamed
            (pairs of images with one that is not an item).
        listed: a, b (image ids, a < b), verdict, relation; empty for a truth of groups.
    """

    is_pairs: bool
    images: DataFrame
    items: DataFrame
    edges: DataFrame
    listed: DataFrame

    def release(self) -> None:
        """Unpersist all frames."""
        for frame in (self.edges, self.listed, self.items, self.images):
            frame.unpersist()


@dataclass(frozen=True)
class FoundPairs:
    """Accepted pairs of images, and those that pass each threshold.

    Attributes:
        accepted: scores of all accepted pairs, including equal pixels.
        equal: numbers of judged and true pairs among images of equal pixels.
        n_unnamed: number of accepted pairs with an image that the truth does not name.
        buckets: signal -> number of thresholds passed -> (judged, true), without equal pixels.
    """

    accepted: Scores
    equal: tuple[int, int]
    n_unnamed: int
    buckets: dict[str, dict[int, tuple[int, int]]]


def present_images(warehouse: Warehouse) -> DataFrame:
    """Rows of IMAGES that are not deleted, including failed ones."""
    return warehouse.read(IMAGES).where(F.col("deleted_at").isNull())


def build_case(warehouse: Warehouse, truth: Truth, matched: DataFrame, *, lsh: LshConfig, closed: bool) -> Case:
    """Join a truth with the tables.

    Args:
        warehouse: only read.
        truth: as read.
        matched: result of `match_names` for it.
        lsh: options of the run that wrote the tables; `scope` is read.
        closed: whether images that the truth does not name have no duplicate, instead of being left out.

    Cost: equi-joins of images, hashes, groups and pairs on ids; bytes and vectors are not read.
    """
    is_pairs = truth.form == "pairs"
    digests = warehouse.read(HASHES).select("content_id", "pixel_digest")
    images = _images(warehouse, digests, lsh).persist()
    names = matched.where(F.col("outcome") == MATCHED).drop("outcome", "n_images")
    items = images.join(names, "image_id", "left").where(
        F.col("name").isNotNull() | (F.lit(closed) & (F.col("status") == OK))
    )
    is_ambiguous = F.coalesce("is_ambiguous", F.lit(False))
    items = items.withColumns(
        {
            "truth_group": F.coalesce("truth_group", F.concat(F.lit("u/"), "image_id")),
            "is_ambiguous": is_ambiguous,
            "is_certain": F.lit(not is_pairs) & ~is_ambiguous,
        }
    ).persist()
    listed = listed_pairs(truth.pairs, matched).persist()
    edges = _edges(warehouse.read(PAIRS), digests, images, items)
    return Case(is_pairs, images, items, _judged(edges, items, listed, is_pairs).persist(), listed)


def count_true(case: Case) -> int:
    """Number of pairs of the truth between items, without ambiguous ones."""
    if case.is_pairs:
        return case.listed.where(F.col("verdict") == DUPLICATE).count()
    groups = case.items.groupBy("truth_group").agg(F.count_if("is_certain").alias("n"))
    return int(single_row(groups.agg(F.sum(_pairs_of("n")).alias("n")))["n"] or 0)


def tally(case: Case, block: str) -> Tally:
    """Counts of pairs of items that are in one `block` (a column of the items: `label` or `vertex`)."""
    in_block = case.items.where(F.col(block).isNotNull())
    cells = in_block.groupBy(block, "truth_group").agg(F.count("*").alias("n"), F.count_if("is_certain").alias("c"))
    blocks = cells.groupBy(block).agg(
        F.sum("n").alias("n"), F.sum(_pairs_of("n")).alias("same"), F.sum(_pairs_of("c")).alias("certain")
    )
    row = single_row(blocks.agg(F.sum(_pairs_of("n")).alias("n"), F.sum("same"), F.sum("certain")))
    counts = [int(value or 0) for value in row]
    if not case.is_pairs:
        return Tally(*counts)
    listed = _with_ends(case.listed, in_block, block, "truth_group").where(f"a_{block} = b_{block}")
    more = single_row(listed.agg(*_listed_counts()))
    return Tally(*counts, *(int(more[name]) for name in ("n_listed_true", "n_listed_same", "n_listed_ambiguous")))


def b_cubed_of(case: Case) -> BCubed:
    """B-cubed of the found groups over all items that are not ambiguous; an image without a group is its own group."""
    alone = F.concat(F.lit("alone/"), "image_id")
    items = case.items.where("NOT is_ambiguous AND (name IS NOT NULL OR label IS NOT NULL)").select(
        "truth_group", F.coalesce(F.concat(F.lit("g/"), "label"), alone).alias("label")
    )
    cells = items.groupBy("label", "truth_group").agg(F.count("*").alias("n"))
    # the formula needs only the sums of the cells of a block, and the sums of their squares
    sums = []
    for block in ("label", "truth_group"):
        blocks = cells.groupBy(block).agg(
            (F.sum(F.col("n") * F.col("n")) / F.sum("n")).alias("share"), F.sum("n").alias("n")
        )
        row = single_row(blocks.agg(F.sum("share").alias("share"), F.sum("n").alias("n")))
        sums.append(row["share"] / row["n"] if row["n"] else 1.0)
    return BCubed(*sums)


def count_unnamed(case: Case, block: str) -> int:
    """Number of pairs of images in one `block` (`label` or `vertex`) with at least one image that is not an item."""
    is_item = case.items.select("image_id", F.lit(1).alias("item"))
    in_block = case.images.where(F.col(block).isNotNull()).join(is_item, "image_id", "left")
    sizes = in_block.groupBy(block).agg(F.count("*").alias("n"), F.count("item").alias("items"))
    row = single_row(sizes.agg(F.sum(_pairs_of("n")).alias("n"), F.sum(_pairs_of("items")).alias("items")))
    return int(row["n"] or 0) - int(row["items"] or 0)


def count_found_pairs(case: Case, n_true: int, thresholds: Mapping[str, Sequence[float]]) -> FoundPairs:
    """Scores of the accepted pairs, and counts from which the scores at other thresholds are computed.

    Args:
        case: result of `build_case`.
        n_true: result of `count_true`.
        thresholds: for each of SIGNALS, from the loosest to the strictest.
    """
    equal = tally(case, "vertex")
    passed = [
        F.struct(F.lit(name).alias("signal"), _n_passed(F.col(name), thresholds[name], larger).alias("passed"))
        for name, larger in SIGNALS.items()
    ]
    passed.append(F.struct(F.lit("accepted").alias("signal"), F.col("is_duplicate").cast("int").alias("passed")))
    rows = (
        case.edges.select(F.explode(F.array(*passed)).alias("at"), "n_judged", "n_hit", "n_unnamed")
        .groupBy("at.signal", "at.passed")
        .agg(*(F.sum(name).alias(name) for name in ("n_judged", "n_hit", "n_unnamed")))
        .collect()
    )  # one row per signal and threshold
    buckets: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in SIGNALS}
    judged, hit, unnamed = equal.n_judged, equal.n_hit, count_unnamed(case, "vertex")
    for row in rows:
        if row["signal"] != "accepted":
            buckets[row["signal"]][row["passed"]] = (row["n_judged"], row["n_hit"])
        elif row["passed"]:
            judged, hit, unnamed = judged + row["n_judged"], hit + row["n_hit"], unnamed + row["n_unnamed"]
    return FoundPairs(Scores(judged, n_true, hit), (equal.n_judged, equal.n_hit), unnamed, buckets)


def true_pairs(case: Case) -> DataFrame:
    """(a, b, relation): the pairs for recall by relation; their number is linear in the truth.

    For a truth of pairs these are the listed duplicates. For a truth of groups it is each member with the original of
    its group: the first image whose relation says so, else the first in the file.
    """
    if case.is_pairs:
        return case.listed.where(F.col("verdict") == DUPLICATE).select("a", "b", "relation")
    members = case.items.where("is_certain AND name IS NOT NULL")
    order = F.struct((~F.col("is_original")).alias("later"), "row", "image_id")
    first = members.groupBy("truth_group").agg(F.min(order)["image_id"].alias("first"))
    others = members.join(first, "truth_group").where("image_id <> first")
    return others.select(
        F.least("image_id", "first").alias("a"), F.greatest("image_id", "first").alias("b"), "relation"
    )


def with_state(pairs: DataFrame, case: Case) -> DataFrame:
    """Join `pairs` (a, b, ...: image ids) with what was found about each.

    Adds for both sides `{side}_label`, `_vertex`, `_status`, `_scope`, `_picture`, `_name`; then in_one_group, is_equal
    (pixels), is_duplicate (accepted, or equal pixels), and src_id, dst_id, src_picture, score of the edge, null if the
    pair was never proposed.
    """
    known = _with_ends(pairs, case.items, "label", "vertex", "status", "scope", "picture", "name")
    edges = case.edges.select("va", "vb", "src_id", "dst_id", "src_picture", "score", "is_duplicate")
    return (
        known.withColumns({"va": F.least("a_vertex", "b_vertex"), "vb": F.greatest("a_vertex", "b_vertex")})
        .join(edges, ["va", "vb"], "left")
        .withColumns(
            {
                "in_one_group": F.expr("coalesce(a_label = b_label, false)"),
                "is_equal": F.expr("coalesce(a_vertex = b_vertex, false)"),
                "is_duplicate": F.expr("coalesce(is_duplicate, false) OR coalesce(a_vertex = b_vertex, false)"),
            }
        )
    )


def count_relations(case: Case) -> list[tuple[str, int, int, int]]:
    """(relation, true pairs, accepted ones, ones in one group), the most common relation first, then `all`."""
    states = with_state(true_pairs(case), case)
    counts = states.groupBy("relation").agg(
        F.count("*").alias("n"), F.count_if("is_duplicate").alias("pairs"), F.count_if("in_one_group").alias("groups")
    )
    rows = [tuple(row) for row in counts.orderBy(F.desc("n"), "relation").limit(_MAX_RELATIONS).collect()]
    every = single_row(counts.agg(*(F.sum(name) for name in ("n", "pairs", "groups"))))
    total = [int(value or 0) for value in every]
    rest = [whole - sum(row[i + 1] for row in rows) for i, whole in enumerate(total)]
    return [*rows, *([(OTHER_RELATION, *rest)] if rest[0] else []), ("all", *total)]


def _images(warehouse: Warehouse, digests: DataFrame, lsh: LshConfig) -> DataFrame:
    """Present images with their vertex (null for failed ones) and their group."""
    groups = warehouse.read(GROUPS).select("image_id", F.col("group_id").alias("label"), "is_keeper")
    picture = F.coalesce("pixel_digest", "content_id")
    return (
        present_images(warehouse)
        .select("image_id", "uri", "status", "reason", scope_of(lsh), "content_id", "width_px", "height_px")
        .join(digests, "content_id", "left")
        .withColumn("vertex", F.when(F.col("status") == OK, vertex_name(picture, F.col("scope"))))
        .withColumn("picture", picture)
        .drop("pixel_digest")
        .join(groups, "image_id", "left")
    )


def _edges(pairs: DataFrame, digests: DataFrame, images: DataFrame, items: DataFrame) -> DataFrame:
    """Accepted pairs of vertices, and measured ones with items at both ends.

    If several pairs of contents have the same pictures, the best one is taken, as in `group/keepers_stage.py`.
    """
    for side in ("src", "dst"):
        known = digests.select(F.col("content_id").alias(f"{side}_id"), F.col("pixel_digest").alias(f"{side}_picture"))
        pairs = pairs.join(known, f"{side}_id", "left").withColumn(
            f"{side}_picture", F.coalesce(f"{side}_picture", f"{side}_id")
        )
    usable = F.col("pdq_quality") >= PDQ_MIN_QUALITY
    signals = {
        "phash_bits": F.least("phash_bits", "phash_mirrored_bits"),
        "pdq_bits": F.when(usable, F.least("pdq_bits", "pdq_mirrored_bits")),
        "cosine": F.col("cosine_similarity"),
    }
    narrow = pairs.where("src_picture <> dst_picture").select(
        F.least("src_picture", "dst_picture").alias("pa"),
        F.greatest("src_picture", "dst_picture").alias("pb"),
        F.struct(
            "is_duplicate",
            "score",
            "src_id",
            "dst_id",
            "src_picture",
            *(signals.get(name, F.col(name)).alias(name) for name in SIGNALS if name != "score"),
        ).alias("best"),
    )
    best = narrow.groupBy("pa", "pb").agg(F.max("best").alias("best"))
    every = images.where("vertex IS NOT NULL").groupBy("vertex", "picture", "scope").agg(F.count("*").alias("n_all"))
    named = items.where("vertex IS NOT NULL").groupBy("vertex").agg(F.count("*").alias("n"))
    counts = every.join(named, "vertex", "left").withColumn("n", F.coalesce("n", F.lit(0)))
    for side in "ab":
        ends = counts.select(
            F.col("picture").alias(f"p{side}"),
            "scope",
            F.col("vertex").alias(f"v{side}"),
            F.col("n_all").alias(f"all_{side}"),
            F.col("n").alias(f"n_{side}"),
        )
        best = best.join(ends, [f"p{side}", "scope"] if side == "b" else [f"p{side}"])
    vertices = (
        F.least("va", "vb").alias("va"),
        F.greatest("va", "vb").alias("vb"),
    )  # only products of the counts are used, so their order does not matter
    used = best.where("best.is_duplicate OR n_a * n_b > 0")
    return used.select(*vertices, "best.*", "all_a", "all_b", "n_a", "n_b")


def _judged(edges: DataFrame, items: DataFrame, listed: DataFrame, is_pairs: bool) -> DataFrame:
    """Add to `edges` the counts of judged pairs of items of each: the columns of `Case.edges`."""
    cells = (
        items.where("vertex IS NOT NULL")
        .groupBy("vertex", "truth_group")
        .agg(F.count("*").alias("n"), F.count_if("is_certain").alias("c"))
    )
    left, right = (
        cells.select(
            F.col("vertex").alias(f"v{side}"),
            "truth_group",
            F.col("n").alias(f"cell_{side}"),
            F.col("c").alias(f"c_{side}"),
        )
        for side in "ab"
    )
    shared = (
        edges.select("va", "vb")
        .join(left, "va")
        .join(right, ["vb", "truth_group"])
        .groupBy("va", "vb")
        .agg(F.sum(F.expr("cell_a * cell_b")).alias("n_same"), F.sum(F.expr("c_a * c_b")).alias("n_certain"))
    )
    joined = edges.join(shared, ["va", "vb"], "left")
    counts: dict[str, Column] = {name: F.coalesce(name, F.lit(0)) for name in ("n_same", "n_certain")}
    names = ("n_listed_true", "n_listed_same", "n_listed_ambiguous")
    if is_pairs:
        ends = _with_ends(listed, items, "vertex", "truth_group").where("a_vertex <> b_vertex")
        keys = F.least("a_vertex", "b_vertex").alias("va"), F.greatest("a_vertex", "b_vertex").alias("vb")
        joined = joined.join(ends.groupBy(*keys).agg(*_listed_counts()), ["va", "vb"], "left")
        counts |= {name: F.coalesce(name, F.lit(0)) for name in names}
    else:
        counts |= {name: F.lit(0) for name in names}
    joined = joined.withColumns(counts)
    return joined.select(
        "va",
        "vb",
        "src_id",
        "dst_id",
        "src_picture",
        *SIGNALS,
        "is_duplicate",
        F.expr("n_a * n_b - n_same + n_certain + n_listed_same - n_listed_ambiguous").alias("n_judged"),
        F.expr("n_certain + n_listed_true").alias("n_hit"),
        F.expr("all_a * all_b - n_a * n_b").alias("n_unnamed"),
    )


def _with_ends(pairs: DataFrame, items: DataFrame, *columns: str) -> DataFrame:
    """Add columns of the items at both ends to `pairs` (a, b: image ids), with prefixes a_ and b_."""
    for side in "ab":
        ends = items.select(F.col("image_id").alias(side), *(F.col(name).alias(f"{side}_{name}") for name in columns))
        pairs = pairs.join(ends, side)
    return pairs


def _listed_counts() -> list[Column]:
    """Aggregates over listed pairs with a_truth_group and b_truth_group, named as in `Tally`."""
    same = F.col("a_truth_group") == F.col("b_truth_group")
    return [
        F.count_if(F.col("verdict") == DUPLICATE).alias("n_listed_true"),
        F.count_if(F.col("verdict").isin(DUPLICATE, DIFFERENT) & same).alias("n_listed_same"),
        F.count_if((F.col("verdict") == AMBIGUOUS) & ~same).alias("n_listed_ambiguous"),
    ]


def _pairs_of(column: str) -> Column:
    """Number of pairs of `column` things."""
    return F.expr(f"{column} * ({column} - 1) div 2")


def _n_passed(value: Column, thresholds: Sequence[float], larger: bool) -> Column:
    """Number of thresholds (loosest first) that a value passes; 0 for null."""
    at = F.array(*(F.lit(float(threshold)) for threshold in thresholds))
    passed = F.filter(at, lambda threshold: (threshold <= value) if larger else (threshold >= value))
    return F.when(value.isNull(), 0).otherwise(F.size(passed))
