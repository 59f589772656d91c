"""Edges between vertices with what each end shows of the other; bridges cut; each vertex under its keeper.

A vertex is a class of equal pixels within one scope (see `groups`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from dupelake.config import ClusterConfig
from dupelake.group.bridges import COMPOSITE_DST, COMPOSITE_SRC, KEPT, WHOLE, cut_bridges
from dupelake.group.cover import group_cover, next_of_kin
from dupelake.group.keeping import OF_PAIR, OWN, Side, better_side, order_of
from dupelake.group.reasons_stage import evidence_of
from dupelake.group.stars import agreement_of
from dupelake.group.tiers_stage import is_verified
from dupelake.group.verdicts import verdict_cover
from dupelake.verify.decide_stage import TURN_DEGREES

_SHOWN = tuple(f"{end}_{what}" for what in OF_PAIR for end in ("src", "dst"))
_AGREES = ("aligned_ncc", "agreeing_share", "largest_local_difference", "colour_difference")
_DETAILS = ("detail_src", "detail_dst", "is_level")
_ARCS = (
    "bucket bigint, component string, src string, dst string, a bigint, b bigint, is_upright boolean, "
    "is_tight boolean, agreement bigint, better bigint, rule bigint, cut bigint"
)
TIGHT_SCORE = 0.9  # measured: no look-alike of ../shared/data/lookalikes scores so much, in either half
_STOOD = ("n_better", "standing", "n_sounder")
_PLACED = (
    "bucket bigint, place bigint, centre bigint, kin bigint, turn bigint, n_better bigint, standing bigint, "
    "n_sounder bigint, n_cut bigint, is_composite boolean"
)


def criteria(cfg: ClusterConfig) -> tuple[str, ...]:
    """The richer file, then as configured; image_id closes it, so that no two images rank the same."""
    return ("richness", *(name for name in cfg.keeper_order if name != "image_id"), "image_id")


def rank_of(cfg: ClusterConfig) -> Column:
    """The keeper order as a struct that sorts ascending, best image first; from the columns of an image and `detail`.

    `pixels` are measured ones: both sides times the share of them that carries detail, so that enlarging wins nothing.
    All fractions are single IEEE operations on integers and stored doubles, the same bits on every machine.
    """
    pixels = F.col("width_px").cast("bigint") * F.col("height_px")
    formats = F.array(F.lit(""), *(F.lit(name.upper()) for name in cfg.format_order))
    place = F.coalesce(F.array_position(formats, F.upper("format")), F.lit(0))  # from 2 up; 0 or 1 where unlisted
    keys = {
        "richness": -F.col("condition.richness"),
        "pixels": -F.round(pixels * F.col("detail") * F.col("detail")).cast("bigint"),
        "compression": -(F.coalesce("byte_size", F.lit(0)).cast("double") / pixels),
        "format": F.when(place < 2, len(cfg.format_order) + 2).otherwise(place),
        "captured_at": F.coalesce(F.unix_micros("captured_at"), F.lit(2**63 - 1)),
        "image_id": F.col("image_id"),
    }
    return F.struct(*(keys[name].alias(name) for name in criteria(cfg)))


def condition_of() -> Column:
    """Struct of kernels.keeping.OWN, doubles, from the columns of an image and of `hashes`; null: not measured."""
    flags = (F.col("has_exif"), F.col("has_icc"), F.col("bit_depth") > 8)
    richness = sum((F.coalesce(flag, F.lit(False)).cast("int") for flag in flags), F.lit(0))
    made = {"area": F.col("width_px").cast("double") * F.col("height_px"), "richness": richness}
    return F.struct(*(made.get(name, F.col(name)).cast("double").alias(name) for name in OWN))


def vertices_of(members: DataFrame) -> DataFrame:
    """(vertex, scope, class_id, width_px, height_px, detail, condition): a row per vertex; its images share pixels."""
    shown = F.min(F.struct("width_px", "height_px", "detail", "condition")).alias("shown")
    return members.groupBy("vertex", "scope", "class_id").agg(shown).select("vertex", "scope", "class_id", "shown.*")


def ranked(members: DataFrame, edges: DataFrame, cfg: ClusterConfig) -> DataFrame:
    """`members` with their rank.

    JPEG's artefacts look like detail to some extent. So of two pictures of one size that show the same, neither counts
    as the more detailed: each takes the lower measure of itself and those of its neighbours, and the criteria after
    pixels (compression first) decide.
    """
    level = edges.where("is_level")
    ends = level.select(F.col("src").alias("vertex"), F.col("detail_dst").alias("level")).union(
        level.select("dst", "detail_src")
    )
    lowest = ends.groupBy("vertex").agg(F.min("level").alias("level"))
    levelled = members.join(lowest, "vertex", "left").withColumn("detail", F.least("detail", "level"))
    return levelled.drop("level").withColumn("rank", rank_of(cfg))


def _turned(flip: Column, is_level: Column) -> dict[str, Column]:
    """What depends on which end of a pair is src: its ends are swapped where `flip` holds."""

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

    Each content stands for its class here, so a pair measured before a smaller content id joined the class still
    counts. Should two pairs say something about the same two classes, the better score speaks. A pair that was not
    aligned (decided by bits, or by equal pixels) shows each picture wholly in the other.

    Args:
        pairs: schema.PAIRS.
        classes: (content_id, class_id) of the contents that share their pixels.
        vertices: as `vertices_of` gives them.

    Returns:
        (src, dst, score, kind, evidence, is_verified, is_upright, aligned_ncc, agreeing_share,
        largest_local_difference, colour_difference, overlap, beyond, frame and added of src and dst, scale, resolution,
        rotation, box_of_src, box, detail_src, detail_dst, is_level, src_condition, dst_condition): scale in pixels of
        dst for one of src, resolution the same for measured ones; rotation in degrees either way; box where they differ
        most, in fractions of src or dst; is_level where both are of one size and show the same; conditions structs of
        kernels.keeping.OWN.
    """
    columns = ("score", "kind", "evidence", "is_verified", "is_upright", *_AGREES, *_SHOWN, "scale", "rotation", "box")
    mapped = class_of(class_of(_accepted(pairs), classes, "src_id", "a"), classes, "dst_id", "b").where("a <> b")
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
    turned = _turned(F.col("va") > F.col("vb"), is_whole & (F.col("size_a") == F.col("size_b")))
    best = measured.select(
        *(column.alias(name) for name, column in turned.items()), *(name for name in columns if name not in turned)
    )
    spoken = F.struct(
        *columns[:-1],
        "box_of_src",
        "box",
        *_DETAILS,
        _resolution().alias("resolution"),
        "src_condition",
        "dst_condition",
    )
    return best.groupBy("src", "dst").agg(F.max(spoken).alias("best")).select("src", "dst", "best.*")


def _resolution() -> Column:
    """Measured pixels of dst for one of src in the shared part, from scale, overlaps and details.

    Detail is measured over a whole picture. Of two that show different parts it therefore only takes away what
    enlarging added: a sharp corner of a soft picture is no finer than the picture.
    """
    scale, both_whole = F.col("scale"), (F.col("src_overlap") >= WHOLE) & (F.col("dst_overlap") >= WHOLE)
    measured = scale * F.col("detail_dst") / F.col("detail_src")
    bounded = F.least(F.greatest(measured, F.least(scale, F.lit(1.0))), F.greatest(scale, F.lit(1.0)))
    return F.when(both_whole, measured).otherwise(bounded)


def _accepted(pairs: DataFrame) -> DataFrame:
    """Duplicates; what was not aligned counts as shown wholly."""
    return pairs.where("is_duplicate").select(
        "src_id",
        "dst_id",
        "score",
        "kind",
        evidence_of().alias("evidence"),
        is_verified().alias("is_verified"),
        _is_upright().alias("is_upright"),
        *_AGREES,
        *_shown_of("src"),
        *_shown_of("dst"),
        "scale",
        F.abs("rotation_degrees").alias("rotation"),
        F.col("difference_box").alias("box"),
    )


def _is_upright() -> Column:
    """Whether neither picture is mirrored or turned against the other; an edited one may be that as well."""
    turned = F.coalesce(F.abs("rotation_degrees") > TURN_DEGREES, F.lit(False))
    return ~(F.coalesce("is_mirrored", F.lit(False)) | turned | F.col("kind").isin("mirrored", "rotated"))


def _shown_of(end: str) -> list[Column]:
    overlap = F.coalesce(f"{end}_overlap", F.lit(1.0))
    return [
        overlap.alias(f"{end}_overlap"),
        F.coalesce(F.col(f"{end}_beyond"), F.lit(1.0) - overlap).alias(f"{end}_beyond"),
        F.coalesce(f"{end}_frame", F.lit(0.0)).alias(f"{end}_frame"),
        F.coalesce(f"{end}_added", F.lit(0.0)).alias(f"{end}_added"),
    ]


def class_of(df: DataFrame, classes: DataFrame, column: str, name: str) -> DataFrame:
    """`df` with the class of the content in `column` as `name`."""
    known = classes.select(F.col("content_id").alias(column), F.col("class_id").alias(name))
    return df.join(known, column, "left").withColumn(name, F.coalesce(name, column))


def judged_arcs(
    components: DataFrame,
    members: DataFrame,
    edges: DataFrame,
    n_buckets: int,
    checkpoint: Callable[[DataFrame], DataFrame],
) -> tuple[DataFrame, DataFrame]:
    """Edges between integers, each marked as kept or cut; and what the integers stand for.

    Whole components are packed into buckets, ranks become integers within a bucket, and the kernels see integers only.
    How components are packed changes nothing: they do not feel each other.

    Args:
        components: (vertex, component).
        members: as `ranked` gives them.
        edges: as `edges_of` gives them.
        n_buckets: how many calls of the kernels share the components.
        checkpoint: materialises a DataFrame and returns one without lineage.

    Returns:
        placed (vertex, component, bucket, place), and arcs (bucket, component, src, dst, a, b, agreement, better,
        rule, cut): a and b places, agreement in thousandths, better 1 where a is the better keeper, -1 where b is, by
        the rule of kernels.keeping; cut a code of kernels.bridges.
    """
    bucket = F.pmod(F.xxhash64("component"), F.lit(n_buckets)).alias("bucket")
    by_rank = W.partitionBy("bucket").orderBy("rank")
    placed = checkpoint(
        components.join(members.groupBy("vertex").agg(F.min("rank").alias("rank")), "vertex")
        .select("vertex", "component", "rank", bucket)
        .select("vertex", "component", "bucket", F.row_number().over(by_rank).cast("bigint").alias("place"))
    )
    src = placed.select(F.col("vertex").alias("src"), "component", "bucket", F.col("place").alias("a"))
    dst = placed.select(F.col("vertex").alias("dst"), F.col("place").alias("b"))
    placed_edges = edges.join(src, "src").join(dst, "dst")
    measured = ["scale", "resolution", *_SHOWN, *_AGREES, "src_condition", "dst_condition"]
    arcs = placed_edges.select("bucket", "component", "src", "dst", "a", "b", "is_upright", is_tight(), *measured)
    return placed, checkpoint(arcs.groupBy("bucket").applyInArrow(_judge, _ARCS))


def stars_of(placed: DataFrame, arcs: DataFrame, held: DataFrame | None = None) -> DataFrame:
    """(vertex, star, kin, turn, n_better, standing, n_sounder, n_cut, is_composite) of each vertex that has an edge.

    star: its keeper vertex; kin: the vertex of its group that it was compared with, null where there is none; turn: its
    place in the order of kernels.keeping.Order, whose fields are n_better, standing and n_sounder; n_cut: links to it
    that were cut. With `held` (of decisions.held_of) components with a verdict obey it, and their vertices without an
    edge are in the result as well.
    """
    if held is None:
        centres = arcs.groupBy("bucket").applyInArrow(_cover_plainly, _PLACED)
    else:
        here = placed.join(F.broadcast(held), "vertex").select(
            "bucket", "component", "place", "unit", "label", "apart", F.col("chosen_by").isNotNull().alias("is_chosen")
        )
        by_bucket = arcs.groupBy("bucket").cogroup(here.groupBy("bucket"))
        centres = by_bucket.applyInArrow(_cover, _PLACED)
    keepers = placed.select("bucket", F.col("place").alias("centre"), F.col("vertex").alias("star"))
    kin = placed.select("bucket", F.col("place").alias("kin"), F.col("vertex").alias("kin_vertex"))
    return (
        placed.join(centres, ["bucket", "place"])
        .join(keepers, ["bucket", "centre"])
        .join(kin, ["bucket", "kin"], "left")
        .select("vertex", "star", F.col("kin_vertex").alias("kin"), "turn", *_STOOD, "n_cut", "is_composite")
    )


def is_tight() -> Column:
    """Whether an edge is transitive: sure, and neither picture shows anything that is no part of one scene.

    A copy of a copy is a copy where each is re-encoded, resized, mirrored, turned or cropped; an edit of an edit may be
    anything. What a collage or a screenshot shows beside the shared part continues nothing.
    """
    whole = [F.col(f"{end}_overlap") + F.col(f"{end}_beyond") >= WHOLE for end in ("src", "dst")]
    is_contained = F.greatest("src_overlap", "dst_overlap") >= WHOLE
    is_plain = F.col("kind").isin("near", "crop", "mirrored", "rotated")
    return (is_plain & (F.col("score") >= TIGHT_SCORE) & is_contained & whole[0] & whole[1]).alias("is_tight")


def _judge(arcs: pa.Table) -> pa.Table:
    """The arcs of one bucket with their better end, by which rule, how far they agree, and whether they are cut."""
    a, b, scale, resolution = (arcs[name].to_numpy() for name in ("a", "b", "scale", "resolution"))
    src, dst = _side(arcs, "src"), _side(arcs, "dst")
    cut = cut_bridges(a, b, src.overlap, dst.overlap, scale, resolution)
    agrees = [arcs[name].to_numpy() for name in _AGREES]
    better, rule = better_side(src, dst, scale)
    found: dict[str, npt.NDArray[np.int8] | npt.NDArray[np.int64]]
    found = {"agreement": agreement_of(*agrees), "better": better, "rule": rule, "cut": cut}
    kept = arcs.select(["bucket", "component", "src", "dst", "a", "b", "is_upright", "is_tight"])
    for name, values in found.items():
        kept = kept.append_column(name, pa.array(values.astype(np.int64)))
    return kept


def _side(arcs: pa.Table, end: str) -> Side:
    """One end of each arc; null is NaN."""
    given: dict[str, pa.ChunkedArray] = {name: arcs[f"{end}_{name}"] for name in OF_PAIR}
    given |= {name: pc.struct_field(arcs[f"{end}_condition"], name) for name in OWN}
    return Side(**{name: np.asarray(column, np.float64) for name, column in given.items()})


def _cover_plainly(arcs: pa.Table) -> pa.Table:
    """`_cover` without verdicts; Spark tells by the number of arguments what to pass."""
    return _cover(arcs, None)


def _cover(arcs: pa.Table, held: pa.Table | None) -> pa.Table:
    """The star cover of all components of one bucket, over the arcs that were kept; by verdicts where there are any."""
    a, b, better, cut = (arcs[name].to_numpy() for name in ("a", "b", "better", "cut"))
    named = held["place"].to_numpy() if held is not None else np.empty(0, np.int64)
    places = np.unique(np.concatenate([a, b, named])).astype(np.int64)
    n = int(places[-1]) + 1
    kept = cut == KEPT
    agreement = np.where(arcs["is_upright"].to_numpy(), arcs["agreement"].to_numpy(), 0)
    is_chosen = np.zeros(n, np.bool_)
    if held is not None:
        is_chosen[named] = held["is_chosen"].to_numpy()
    rule = arcs["rule"].to_numpy()
    found = order_of(a[kept], b[kept], better[kept], rule[kept], agreement[kept], is_chosen, n)
    order = found.vertices
    turn = np.empty(n, np.int64)
    turn[order] = np.arange(n)
    centre = np.arange(n)
    plain = kept
    if held is not None and held.num_rows:
        judged = pc.is_in(arcs["component"], value_set=held["component"].combine_chunks()).to_numpy() & kept
        centre = order[_cover_by_verdicts(turn[a[judged]], turn[b[judged]], held, turn)[turn]]
        plain = kept & ~judged
    tight = np.asarray(arcs["is_tight"])
    covered = order[group_cover(turn[a[plain]], turn[b[plain]], tight[plain], n)[turn]]
    centre = np.where(centre == np.arange(n), covered, centre)
    kin = next_of_kin(turn[a[kept]], turn[b[kept]], tight[kept], turn[centre[order]])[turn]
    kin = np.where(kin < 0, -1, order[kin])
    n_cut = np.bincount(np.concatenate([a[~kept], b[~kept]]), minlength=n)
    composite = np.zeros(n, np.bool_)
    composite[a[cut == COMPOSITE_SRC]] = True
    composite[b[cut == COMPOSITE_DST]] = True
    columns = {"centre": centre, "kin": kin, "turn": turn, **{name: getattr(found, name) for name in _STOOD}}
    columns |= {"n_cut": n_cut, "is_composite": composite}
    bucket = (held if held is not None and held.num_rows else arcs)["bucket"][0]
    table = {"bucket": pa.repeat(bucket, len(places)), "place": places}
    return pa.table(table | {name: values[places] for name, values in columns.items()})


def _cover_by_verdicts(
    a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], held: pa.Table, turn: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The centre of every turn, itself where neither an arc nor a verdict names it."""
    here = turn[held["place"].to_numpy()]
    n = len(turn)
    vertices = np.unique(np.concatenate([a, b, here]))
    at = np.searchsorted(vertices, here)
    _, unit_codes = np.unique(held["unit"].to_numpy(), return_inverse=True)
    names, label_codes = np.unique(held["label"].to_numpy(), return_inverse=True)
    unit, label = n + vertices, n + vertices  # a vertex without a verdict is a unit and a set of its own
    unit[at], label[at] = unit_codes, label_codes
    chosen = np.zeros(len(vertices), np.bool_)
    chosen[at] = held["is_chosen"].to_numpy()
    code = {name: i for i, name in enumerate(names.tolist())}
    apart = [
        (mine, code[other])
        for mine, others in zip(label_codes.tolist(), held["apart"].to_pylist(), strict=True)
        for other in others
        if other in code
    ]
    centre = np.arange(n)
    centre[vertices] = verdict_cover(a, b, vertices, unit, label, chosen, apart)
    return centre
