"""Edges between vertices with the measures of both ends; cut bridges; the keeper of each vertex.

A vertex is a class of equal pixels within one scope (see `group/stage.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame

from dupelake.config import ClusterConfig
from dupelake.frames.functions import F, W
from dupelake.group.bridges import COMPOSITE_DST, COMPOSITE_SRC, KEPT, WHOLE, cut_bridges
from dupelake.group.cover import comparison_partners, group_cover, verdict_cover
from dupelake.group.finer_stage import resolution
from dupelake.group.keeper_order import order_of
from dupelake.group.keeping import OF_PAIR, OWN, Side, better_side
from dupelake.group.stars import agreement_of
from dupelake.group.tiers_stage import is_verified
from dupelake.group.traces import fits_of, levels_of
from dupelake.verify.decide_stage import is_aligned
from dupelake.verify.decision import TURN_DEGREES

_SHOWN = tuple(f"{end}_{what}" for what in OF_PAIR for end in ("src", "dst"))
_AGREES = ("aligned_ncc", "agreeing_share", "largest_local_difference", "colour_difference")
_FACTS = ("score", "kind", "aligned", "pdq_bits", "phash_bits", "is_verified", "is_upright")
_DETAILS = ("detail_src", "detail_dst", "is_level")
_JUDGED_EDGES = (
    "bucket bigint, component string, src string, dst string, a bigint, b bigint, is_tight boolean, "
    "agreement bigint, better bigint, rule bigint, margin bigint, cut bigint"
)
TIGHT_SCORE = 0.9  # no look-alike of the measured set lookalikes has such a score
_ORDER_COLUMNS = ("n_fuller", "n_better", "doubt", "disagreement")
_CENTRES = (
    "bucket bigint, position bigint, centre bigint, partner bigint, keeper_order bigint, n_fuller bigint, "
    "n_better bigint, doubt bigint, disagreement bigint, n_cut bigint, is_composite boolean"
)


def criteria(cfg: ClusterConfig) -> tuple[str, ...]:
    """Criteria of the keeper order: the richer file, the configured ones, then image_id, which makes ranks unique."""
    return ("richness", *(name for name in cfg.keeper_order if name != "image_id"), "image_id")


def rank_of(cfg: ClusterConfig) -> Column:
    """The keeper order as a struct that sorts ascending, best image first; from the columns of an image and `detail`.

    `pixels` are measured pixels: both sides are multiplied by the share that carries detail, so that enlarging an image
    gains nothing. All fractions are single IEEE operations on integers and stored doubles, so they are equal on every
    machine.
    """
    pixels = F.col("width_px").cast("bigint") * F.col("height_px")
    formats = F.array(F.lit(""), *(F.lit(name.upper()) for name in cfg.format_order))
    position = F.coalesce(F.array_position(formats, F.upper("format")), F.lit(0))  # 2 or more; 0 or 1 if not listed
    keys = {
        "richness": -F.col("condition.richness"),
        "pixels": -F.round(pixels * F.col("detail") * F.col("detail")).cast("bigint"),
        "compression": -(F.coalesce("byte_size", F.lit(0)).cast("double") / pixels),
        "format": F.when(position < 2, len(cfg.format_order) + 2).otherwise(position),
        "captured_at": F.coalesce(F.unix_micros("captured_at"), F.lit(2**63 - 1)),
        "image_id": F.col("image_id"),
    }
    return F.struct(*(keys[name].alias(name) for name in criteria(cfg)))


def condition_of() -> Column:
    """Struct of `group.keeping.OWN`, doubles, and of stored traces, from columns of an image and `hashes`."""
    flags = (F.col("has_exif"), F.col("has_icc"), F.col("bit_depth") > 8)
    richness = sum((F.coalesce(flag, F.lit(False)).cast("int") for flag in flags), F.lit(0))
    made = {"area": F.col("width_px").cast("double") * F.col("height_px"), "richness": richness}
    numbers = (made.get(name, F.col(name)).cast("double").alias(name) for name in OWN)
    return F.struct(*numbers, "quantiser_fits", "spectrum")


def vertices_of(members: DataFrame) -> DataFrame:
    """(vertex, scope, class_id, width_px, height_px, detail, condition): one row per vertex."""
    shown = F.min(F.struct("width_px", "height_px", "detail", "condition")).alias("shown")
    return members.groupBy("vertex", "scope", "class_id").agg(shown).select("vertex", "scope", "class_id", "shown.*")


def ranked(members: DataFrame, edges: DataFrame, cfg: ClusterConfig) -> DataFrame:
    """`members` with their rank.

    JPEG artefacts may be measured as detail. So two pictures of equal size and content count as equally detailed: each
    takes the lowest detail of itself and such neighbours, and the criteria after pixels (first compression) decide.
    """
    level = edges.where("is_level")
    ends = level.select(F.col("src").alias("vertex"), F.col("detail_dst").alias("level")).union(
        level.select("dst", "detail_src")
    )
    lowest = ends.groupBy("vertex").agg(F.min("level").alias("level"))
    levelled = members.join(lowest, "vertex", "left").withColumn("detail", F.least("detail", "level"))
    return levelled.drop("level").withColumn("rank", rank_of(cfg))


def _oriented(flip: Column, is_level: Column) -> dict[str, Column]:
    """The columns that depend on which end of a pair is src; the ends are swapped where `flip` is true."""

    def either(name_a: str, name_b: str) -> Column:
        return F.when(flip, F.col(name_b)).otherwise(F.col(name_a))

    of_ends = {
        f"{end}_{what}": either(f"{end}_{what}", f"{other}_{what}")
        for what in OF_PAIR
        for end, other in (("src", "dst"), ("dst", "src"))
    }
    return {
        "src": F.least("va", "vb"),
        "dst": F.greatest("va", "vb"),
        **of_ends,
        "scale": F.when(flip, 1.0 / F.col("scale")).otherwise(F.col("scale")),
        "box_of_src": ~flip,
        "is_level": is_level,
        "detail_src": either("detail_a", "detail_b"),
        "detail_dst": either("detail_b", "detail_a"),
        "src_condition": either("condition_a", "condition_b"),
        "dst_condition": either("condition_b", "condition_a"),
    }


def edges_of(pairs: DataFrame, classes: DataFrame, vertices: DataFrame) -> DataFrame:
    """Accepted pairs as edges between vertices of one scope, src < dst, unique.

    Contents are mapped to their classes, so a pair that was measured before a smaller content id joined the class still
    counts. If there are several pairs between two classes, the one with the best score is taken. For a pair that was
    not aligned (decided by bits, or by equal pixels) each picture counts as shown completely by the other.

    Args:
        pairs: schema.PAIRS.
        classes: (content_id, class_id) of the contents that share their pixels.
        vertices: result of `vertices_of`.

    Returns:
        (src, dst, the columns of _FACTS, _AGREES and _SHOWN, scale, resolution, rotation, box_of_src, box, detail_src,
        detail_dst, is_level, src_condition, dst_condition): scale in pixels of dst for one of src, resolution the same
        for measured pixels; rotation in degrees without sign; box of the largest difference, in fractions of src or
        dst; is_level if both have one size and show the same; conditions are structs of `condition_of`.
    """
    columns = (*_FACTS, *_AGREES, *_SHOWN, "scale", "rotation", "box")
    mapped = class_of(class_of(_accepted_pairs(pairs), classes, "src_id", "a"), classes, "dst_id", "b").where("a <> b")
    ends = [
        vertices.select(
            F.col("class_id").alias(end),
            "scope",
            F.col("vertex").alias(f"v{end}"),
            F.struct("width_px", "height_px").alias(f"size_{end}"),
            F.col("detail").alias(f"detail_{end}"),
            F.col("condition").alias(f"condition_{end}"),
        )
        for end in "ab"
    ]
    between = mapped.join(ends[0], "a").join(ends[1], ["b", "scope"])
    area_a, area_b = (F.col(f"size_{end}.width_px").cast("double") * F.col(f"size_{end}.height_px") for end in "ab")
    by_area = F.sqrt(area_b / area_a)
    is_whole = (F.col("src_overlap") >= WHOLE) & (F.col("dst_overlap") >= WHOLE)
    measured = between.withColumn("scale", F.coalesce("scale", by_area))
    oriented = _oriented(F.col("va") > F.col("vb"), is_whole & (F.col("size_a") == F.col("size_b")))
    best = measured.select(
        *(column.alias(name) for name, column in oriented.items()), *(name for name in columns if name not in oriented)
    )
    conditions = ("src_condition", "dst_condition")
    best_columns = F.struct(
        *columns[:-1], "box_of_src", "box", *_DETAILS, resolution().alias("resolution"), *conditions
    )
    return best.groupBy("src", "dst").agg(F.max(best_columns).alias("best")).select("src", "dst", "best.*")


def _accepted_pairs(pairs: DataFrame) -> DataFrame:
    """The duplicates of `pairs`; if a pair was not aligned, both pictures count as shown completely."""
    return pairs.where("is_duplicate").select(
        "src_id",
        "dst_id",
        "score",
        "kind",
        is_aligned().alias("aligned"),
        _bits("pdq").alias("pdq_bits"),
        _bits("phash").alias("phash_bits"),
        is_verified().alias("is_verified"),
        _is_upright().alias("is_upright"),
        *_AGREES,
        *_shown_columns("src"),
        *_shown_columns("dst"),
        "scale",
        F.abs("rotation_degrees").alias("rotation"),
        F.col("difference_box").alias("box"),
    )


def _bits(name: str) -> Column:
    return F.when(F.col("is_mirrored"), F.col(f"{name}_mirrored_bits")).otherwise(F.col(f"{name}_bits"))


def _is_upright() -> Column:
    """Whether neither picture is mirrored or rotated relative to the other; an edited copy may be so too."""
    is_rotated = F.coalesce(F.abs("rotation_degrees") > TURN_DEGREES, F.lit(False))
    return ~(F.coalesce("is_mirrored", F.lit(False)) | is_rotated | F.col("kind").isin("mirrored", "rotated"))


def _shown_columns(end: str) -> list[Column]:
    overlap = F.coalesce(f"{end}_overlap", F.lit(1.0))
    return [
        overlap.alias(f"{end}_overlap"),
        F.coalesce(F.col(f"{end}_beyond"), F.lit(1.0) - overlap).alias(f"{end}_beyond"),
        F.coalesce(f"{end}_frame", F.lit(0.0)).alias(f"{end}_frame"),
        F.coalesce(f"{end}_added", F.lit(0.0)).alias(f"{end}_added"),
    ]


def class_of(df: DataFrame, classes: DataFrame, column: str, name: str) -> DataFrame:
    """Add the class of the content in `column` to `df`, as column `name`."""
    known = classes.select(F.col("content_id").alias(column), F.col("class_id").alias(name))
    return df.join(known, column, "left").withColumn(name, F.coalesce(name, column))


def judge_edges(
    components: DataFrame,
    members: DataFrame,
    edges: DataFrame,
    n_buckets: int,
    checkpoint: Callable[[DataFrame], DataFrame],
) -> tuple[DataFrame, DataFrame]:
    """Judge each edge: which end is the better keeper, how far both agree, and whether it is cut.

    Whole components are packed into buckets, which has no effect on the result. Ranks become positions in a bucket.

    Args:
        components: (vertex, component).
        members: result of `ranked`.
        edges: result of `edges_of`.
        n_buckets: number of buckets, each of which is one call of the numpy code.
        checkpoint: materialises a DataFrame and returns one without lineage.

    Returns:
        positions (vertex, component, bucket, position), and edges (bucket, component, src, dst, a, b, is_tight,
        agreement, better, rule, margin, cut): a and b are positions; agreement is in thousandths, 0 if turned; better,
        rule and margin as of `group.keeping.Judgement`, with a as the source; cut is a code of `group/bridges.py`.
    """
    bucket = F.pmod(F.xxhash64("component"), F.lit(n_buckets)).alias("bucket")
    by_rank = W.partitionBy("bucket").orderBy("rank")
    positions = checkpoint(
        components.join(members.groupBy("vertex").agg(F.min("rank").alias("rank")), "vertex")
        .select("vertex", "component", "rank", bucket)
        .select("vertex", "component", "bucket", F.row_number().over(by_rank).cast("bigint").alias("position"))
    )
    src = positions.select(F.col("vertex").alias("src"), "component", "bucket", F.col("position").alias("a"))
    dst = positions.select(F.col("vertex").alias("dst"), F.col("position").alias("b"))
    measured = ["scale", "resolution", *_SHOWN, *_AGREES, "src_condition", "dst_condition"]
    named = edges.join(src, "src").join(dst, "dst")
    named = named.select("bucket", "component", "src", "dst", "a", "b", "is_upright", is_tight(), *measured)
    return positions, checkpoint(named.groupBy("bucket").applyInArrow(_judge_bucket, _JUDGED_EDGES))


def stars_of(positions: DataFrame, judged_edges: DataFrame, by_vertex: DataFrame | None = None) -> DataFrame:
    """The star of each vertex that has an edge, as (vertex, star, partner, keeper_order, ..., n_cut, is_composite).

    star: its keeper vertex; partner: the vertex of its group that it was compared with, or null; keeper_order: its
    position in the order of `group.keeper_order.Order`, whose other fields follow; n_cut: number of its edges that were
    cut. With `by_vertex` (of `decisions_stage.combine_verdicts`) stars obey verdicts, and vertices that a verdict names
    are in the result even without an edge.
    """
    if by_vertex is None:
        centres = judged_edges.groupBy("bucket").applyInArrow(_cover_without_verdicts, _CENTRES)
    else:
        is_chosen = F.col("chosen_by").isNotNull().alias("is_chosen")
        here = positions.join(F.broadcast(by_vertex), "vertex").select(
            "bucket", "component", "position", "linked_set", "duplicate_set", "apart", is_chosen
        )
        by_bucket = judged_edges.groupBy("bucket").cogroup(here.groupBy("bucket"))
        centres = by_bucket.applyInArrow(_cover, _CENTRES)
    keepers = positions.select("bucket", F.col("position").alias("centre"), F.col("vertex").alias("star"))
    partner = positions.select("bucket", F.col("position").alias("partner"), F.col("vertex").alias("partner_vertex"))
    rest = (*_ORDER_COLUMNS, "n_cut", "is_composite")
    return (
        positions.join(centres, ["bucket", "position"])
        .join(keepers, ["bucket", "centre"])
        .join(partner, ["bucket", "partner"], "left")
        .select("vertex", "star", F.col("partner_vertex").alias("partner"), "keeper_order", *rest)
    )


def is_tight() -> Column:
    """Whether an edge is transitive: it has a high score, and both pictures show only one scene.

    A copy of a copy is a copy if each is re-encoded, resized, mirrored, rotated or cropped; an edit of an edit may be
    any picture. A collage or a screenshot shows more than one scene.
    """
    whole = [F.col(f"{end}_overlap") + F.col(f"{end}_beyond") >= WHOLE for end in ("src", "dst")]
    is_contained = F.greatest("src_overlap", "dst_overlap") >= WHOLE
    is_plain = F.col("kind").isin("near", "crop", "mirrored", "rotated")
    return (is_plain & (F.col("score") >= TIGHT_SCORE) & is_contained & whole[0] & whole[1]).alias("is_tight")


def _judge_bucket(edges: pa.Table) -> pa.Table:
    """The edges of one bucket with their agreement, better end, rule, and whether they are cut."""
    a, b, scale, measured = (edges[name].to_numpy() for name in ("a", "b", "scale", "resolution"))
    src, dst = _side(edges, "src"), _side(edges, "dst")
    cut = cut_bridges(a, b, src.overlap, dst.overlap, scale, measured)
    agreement = agreement_of(*(edges[name].to_numpy() for name in _AGREES)) * edges["is_upright"].to_numpy()
    judged = better_side(src, dst, scale, agreement)
    found: dict[str, npt.NDArray[np.int8] | npt.NDArray[np.int64]]
    found = {"agreement": agreement, **judged._asdict(), "cut": cut}
    kept = edges.select(["bucket", "component", "src", "dst", "a", "b", "is_tight"])
    for name, values in found.items():
        kept = kept.append_column(name, pa.array(values.astype(np.int64)))
    return kept


def _side(edges: pa.Table, end: str) -> Side:
    """One end of each edge; null becomes NaN."""
    given: dict[str, pa.ChunkedArray] = {name: edges[f"{end}_{name}"] for name in OF_PAIR}
    given |= {name: pc.struct_field(edges[f"{end}_condition"], name) for name in OWN}
    numbers = {name: np.asarray(column, np.float64) for name, column in given.items()}
    condition = edges[f"{end}_condition"].combine_chunks()
    fits, spectra = (pc.struct_field(condition, name) for name in ("quantiser_fits", "spectrum"))
    return Side(**numbers, fits=fits_of(fits), levels=levels_of(spectra))


def _cover_without_verdicts(edges: pa.Table) -> pa.Table:
    """`_cover` without verdicts; Spark inspects the number of arguments."""
    return _cover(edges, None)


def _cover(edges: pa.Table, verdicts: pa.Table | None) -> pa.Table:
    """The groups of all components of one bucket, over the kept edges; components with verdicts obey them."""
    a, b, margin, cut = (edges[name].to_numpy() for name in ("a", "b", "margin", "cut"))
    named = verdicts["position"].to_numpy() if verdicts is not None else np.empty(0, np.int64)
    positions = np.unique(np.concatenate([a, b, named])).astype(np.int64)
    n = int(positions[-1]) + 1
    kept = cut == KEPT
    agreement = edges["agreement"].to_numpy()
    is_chosen = np.zeros(n, np.bool_)
    if verdicts is not None:
        is_chosen[named] = verdicts["is_chosen"].to_numpy()
    rule = edges["rule"].to_numpy()
    found = order_of(a[kept], b[kept], margin[kept], rule[kept], agreement[kept], is_chosen, n)
    order = found.vertices
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    centre = np.arange(n)
    plain = kept
    if verdicts is not None and verdicts.num_rows:
        judged = pc.is_in(edges["component"], value_set=verdicts["component"].combine_chunks()).to_numpy() & kept
        centre = order[_cover_by_verdicts(rank[a[judged]], rank[b[judged]], verdicts, rank)[rank]]
        plain = kept & ~judged
    tight = np.asarray(edges["is_tight"])
    covered = order[group_cover(rank[a[plain]], rank[b[plain]], tight[plain], n)[rank]]
    centre = np.where(centre == np.arange(n), covered, centre)
    partner = comparison_partners(rank[a[kept]], rank[b[kept]], tight[kept], rank[centre[order]])[rank]
    partner = np.where(partner < 0, -1, order[partner])
    n_cut = np.bincount(np.concatenate([a[~kept], b[~kept]]), minlength=n)
    composite = np.zeros(n, np.bool_)
    composite[a[cut == COMPOSITE_SRC]] = True
    composite[b[cut == COMPOSITE_DST]] = True
    columns = {"centre": centre, "partner": partner, "keeper_order": rank}
    columns |= {name: getattr(found, name) for name in _ORDER_COLUMNS} | {"n_cut": n_cut, "is_composite": composite}
    bucket = (verdicts if verdicts is not None and verdicts.num_rows else edges)["bucket"][0]
    table = {"bucket": pa.repeat(bucket, len(positions)), "position": positions}
    return pa.table(table | {name: values[positions] for name, values in columns.items()})


def _cover_by_verdicts(
    a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], verdicts: pa.Table, rank: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The centre of every vertex, by keeper order; a vertex without an edge or a verdict names itself."""
    here = rank[verdicts["position"].to_numpy()]
    n = len(rank)
    vertices = np.unique(np.concatenate([a, b, here]))
    at = np.searchsorted(vertices, here)
    _, set_codes = np.unique(verdicts["linked_set"].to_numpy(), return_inverse=True)
    names, duplicate_codes = np.unique(verdicts["duplicate_set"].to_numpy(), return_inverse=True)
    linked_set, duplicate_set = n + vertices, n + vertices  # a vertex without a verdict is a set of its own
    linked_set[at], duplicate_set[at] = set_codes, duplicate_codes
    chosen = np.zeros(len(vertices), np.bool_)
    chosen[at] = verdicts["is_chosen"].to_numpy()
    code = {name: i for i, name in enumerate(names.tolist())}
    apart = [
        (mine, code[other])
        for mine, others in zip(duplicate_codes.tolist(), verdicts["apart"].to_pylist(), strict=True)
        for other in others
        if other in code
    ]
    centre = np.arange(n)
    centre[vertices] = verdict_cover(a, b, vertices, linked_set, duplicate_set, chosen, apart)
    return centre
