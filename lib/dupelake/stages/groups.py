"""Groups of copies: components, chain guard, keeper, and a row per image that says why.

What stands in which group is a function of the images and the accepted pairs alone. History enters last and
gives names only: `group_ids` carries ids over from the stored groups.

Words: a *class* is all contents with equal pixels, named by its smallest content id; a *vertex* is a class within
one scope; a *star* is a keeper vertex with the vertices that it took, which becomes a group if it has two images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from dupelake.config import ClusterConfig, Config
from dupelake.kernels.stars import star_cover
from dupelake.schema import GROUP_CHANGES, GROUPS, OK, conform
from dupelake.stages.components import connected_components
from dupelake.stages.group_ids import assign_ids, list_changes
from dupelake.stages.group_reasons import evidence_of, keeper_reason, member_reason

# A copy shows nothing that the keeper lacks. These kinds promise that by what they are; whether an edited or mirrored
# picture does too is for geometric verification to say, so until then all other kinds are alternates.
COPY_KINDS = ("exact", "pixel", "near")
ARCS_PER_CALL = 100_000  # components are packed into calls of about this many edges: a call costs milliseconds


@dataclass(frozen=True)
class Groups:
    """What `build_groups` returns; both are lazy and read `previous`, so materialise them before writing that table."""

    groups: DataFrame  # schema.GROUPS: all groups as they are now
    changes: DataFrame  # schema.GROUP_CHANGES: the events of this run only


def build_groups(
    images: DataFrame,
    hashes: DataFrame,
    pairs: DataFrame,
    previous: DataFrame,
    changes: DataFrame,
    cfg: Config,
    run_id: str,
    now: datetime,
    checkpoint: Callable[[DataFrame], DataFrame],
) -> Groups:
    """Groups of copies with a keeper each, under ids that last, and the events since the previous groups.

    Every member passed against its keeper directly (design 5.3): components are cut into stars, greedily in keeper
    order. A rerun on equal input gives equal rows and no event.

    Args:
        images: schema.IMAGES; failed and deleted ones take no part.
        hashes: schema.HASHES; gives each content its pixel digest. A content without a row is a class of its own.
        pairs: schema.PAIRS; duplicates are edges, between the pixel classes of their two contents.
        previous: schema.GROUPS as stored, or empty.
        changes: schema.GROUP_CHANGES as stored, or empty; leave out what a run wrote that did not finish.
        cfg: `cluster` and `lsh.scope` are read.
        run_id: goes into the events.
        now: start of the run; UTC if it names no zone.
        checkpoint: materialises a DataFrame and returns one without lineage; must live as long as the result is read.

    Returns:
        Groups, with rows in no particular order.
    """
    classes = _classes(hashes)
    members = checkpoint(_members(images, classes, cfg))
    vertices = members.groupBy("vertex", "scope", "class_id").agg(F.min("rank").alias("rank"))
    edges = checkpoint(_edges(pairs, classes, vertices))
    components = connected_components(edges.select("src", "dst"), checkpoint)
    stars = _stars(components, vertices, edges, checkpoint)
    rows = checkpoint(_rows(members, stars, edges, cfg.cluster))
    named, claims = assign_ids(rows, previous, changes, checkpoint)
    stamp = F.lit(now if now.tzinfo else now.replace(tzinfo=UTC)).cast("timestamp")
    events = list_changes(named, claims, previous).select(
        F.lit(run_id).alias("run_id"), "group_id", "event", "other_group_id", "n_images", stamp.alias("changed_at")
    )
    groups = rows.join(named.select("star", "group_id"), "star")
    return Groups(conform(_stamped(groups, previous, stamp), GROUPS.schema), conform(events, GROUP_CHANGES.schema))


def _classes(hashes: DataFrame) -> DataFrame:
    """(content_id, class_id) of the contents that share their pixels with another; every other one is its own class."""
    shared = hashes.groupBy("pixel_digest").agg(F.min("content_id").alias("class_id"), F.count("*").alias("n"))
    return (
        hashes.select("content_id", "pixel_digest")
        .join(shared.where("n > 1"), "pixel_digest")
        .select("content_id", "class_id")
    )


def _class_of(df: DataFrame, classes: DataFrame, column: str, name: str) -> DataFrame:
    """`df` with the class of the content in `column` as `name`."""
    known = classes.select(F.col("content_id").alias(column), F.col("class_id").alias(name))
    return df.join(known, column, "left").withColumn(name, F.coalesce(name, column))


def _members(images: DataFrame, classes: DataFrame, cfg: Config) -> DataFrame:
    """One row per live image with its vertex and its rank; a smaller rank is a better image."""
    scope = F.lit("") if cfg.lsh.scope == "across" else F.col("scope")
    live = images.where((F.col("status") == OK) & F.col("deleted_at").isNull()).select(
        "image_id", scope.alias("scope"), "content_id", "byte_size", "width_px", "height_px", "format", "captured_at"
    )
    # no content id holds a slash, so class and scope cannot run into each other
    vertex = F.concat("class_id", F.lit("/"), F.col("scope"))
    return _class_of(live, classes, "content_id", "class_id").withColumns(
        {"vertex": vertex, "rank": _rank(cfg.cluster)}
    )


def criteria(cfg: ClusterConfig) -> tuple[str, ...]:
    """The keeper order as configured; image_id always closes it, so that no two images rank the same."""
    return (*(name for name in cfg.keeper_order if name != "image_id"), "image_id")


def _rank(cfg: ClusterConfig) -> Column:
    """The keeper order as a struct that sorts ascending, best image first.

    Only compression is a fraction: one IEEE division of two integers, the same bits on every machine.
    """
    pixels = F.col("width_px").cast("bigint") * F.col("height_px")
    formats = F.array(F.lit(""), *(F.lit(name.upper()) for name in cfg.format_order))
    place = F.coalesce(F.array_position(formats, F.upper("format")), F.lit(0))  # from 2 up; 0 or 1 where unlisted
    keys = {
        "pixels": -pixels,
        "compression": -(F.coalesce("byte_size", F.lit(0)).cast("double") / pixels),
        "format": F.when(place < 2, len(cfg.format_order) + 2).otherwise(place),
        "captured_at": F.coalesce(F.unix_micros("captured_at"), F.lit(2**63 - 1)),
        "image_id": F.col("image_id"),
    }
    return F.struct(*(keys[name].alias(name) for name in criteria(cfg)))


def _edges(pairs: DataFrame, classes: DataFrame, vertices: DataFrame) -> DataFrame:
    """(src, dst, score, kind, evidence): accepted pairs as edges between vertices of one scope, src < dst, unique.

    Each content stands for its class here, so a pair measured before a smaller content id joined the class still
    counts. Should two pairs say something about the same two classes, the better score speaks.
    """
    accepted = pairs.where("is_duplicate").select("src_id", "dst_id", "score", "kind", evidence_of().alias("evidence"))
    mapped = _class_of(_class_of(accepted, classes, "src_id", "a"), classes, "dst_id", "b").where("a <> b")
    best = mapped.groupBy(F.least("a", "b").alias("a"), F.greatest("a", "b").alias("b")).agg(
        F.max(F.struct("score", "kind", "evidence")).alias("best")
    )
    ends = vertices.select("vertex", "scope", "class_id")
    left = ends.select(F.col("class_id").alias("a"), "scope", F.col("vertex").alias("va"))
    right = ends.select(F.col("class_id").alias("b"), "scope", F.col("vertex").alias("vb"))
    return (
        best.join(left, "a")
        .join(right, ["b", "scope"])
        .select(F.least("va", "vb").alias("src"), F.greatest("va", "vb").alias("dst"), "best.*")
    )


def _stars(
    components: DataFrame, vertices: DataFrame, edges: DataFrame, checkpoint: Callable[[DataFrame], DataFrame]
) -> DataFrame:
    """(vertex, star): the keeper vertex of each vertex that has an edge.

    Whole components are packed into buckets, ranks become integers within a bucket, and the kernel sees integers only.
    How components are packed changes nothing: they do not feel each other.
    """
    n_buckets = edges.count() // ARCS_PER_CALL + 1
    bucket = F.pmod(F.xxhash64("component"), F.lit(n_buckets)).alias("bucket")
    by_rank = W.partitionBy("bucket").orderBy("rank")
    placed = checkpoint(
        components.join(vertices.select("vertex", "rank"), "vertex")
        .select("vertex", "rank", bucket)
        .select("vertex", "bucket", F.row_number().over(by_rank).cast("bigint").alias("place"))
    )
    src = placed.select(F.col("vertex").alias("src"), "bucket", F.col("place").alias("a"))
    dst = placed.select(F.col("vertex").alias("dst"), F.col("place").alias("b"))
    arcs = edges.select("src", "dst").join(src, "src").join(dst, "dst").select("bucket", "a", "b")
    centres = arcs.groupBy("bucket").applyInArrow(_cover, "bucket bigint, place bigint, centre bigint")
    keepers = placed.select("bucket", F.col("place").alias("centre"), F.col("vertex").alias("star"))
    return placed.join(centres, ["bucket", "place"]).join(keepers, ["bucket", "centre"]).select("vertex", "star")


def _cover(arcs: pa.Table) -> pa.Table:
    """The star cover of all components of one bucket."""
    places, centres = star_cover(arcs["a"].to_numpy(), arcs["b"].to_numpy())
    bucket = pa.repeat(arcs["bucket"][0], len(places))
    return pa.table({"bucket": bucket, "place": places, "centre": centres})


def _rows(members: DataFrame, stars: DataFrame, edges: DataFrame, cfg: ClusterConfig) -> DataFrame:
    """GROUPS rows under their star instead of a group id; stars of one image are left out."""
    star, by_rank = W.partitionBy("star"), W.partitionBy("star").orderBy("rank")
    shown = F.struct("vertex", "content_id", "width_px", "height_px")
    ranked = (
        members.join(stars, "vertex", "left")
        .withColumn("star", F.coalesce("star", "vertex"))
        .select(
            "*",
            F.count("*").over(star).cast("int").alias("group_size"),
            F.row_number().over(by_rank).alias("place"),
            F.first(shown).over(by_rank).alias("keeper"),
            F.lead("rank").over(by_rank).alias("next_rank"),
        )
    )
    grouped = ranked.where("group_size >= 2")
    # The best image of a star is the best of its keeper vertex, since that vertex outranks those that it took.
    links = edges.select(
        F.col("src").alias("low"),
        F.col("dst").alias("high"),
        F.col("score").alias("pair_score"),
        F.col("kind").alias("pair_kind"),
        "evidence",
    )
    linked = grouped.withColumns({"low": F.least("vertex", "star"), "high": F.greatest("vertex", "star")}).join(
        links, ["low", "high"], "left"
    )
    is_keeper, is_twin = F.col("place") == 1, F.col("vertex") == F.col("star")
    kind = (
        F.when(is_keeper, F.lit(None).cast("string"))
        .when(F.col("content_id") == F.col("keeper.content_id"), "exact")
        .when(is_twin, "pixel")
        .otherwise(F.col("pair_kind"))
    )
    relation = F.when(F.col("is_keeper"), "keeper").when(F.col("kind").isin(*COPY_KINDS), "copy").otherwise("alternate")
    is_removable = (F.col("relation") == "copy") & F.col("kind").isin(*cfg.removable_kinds)
    reason = F.when(F.col("is_keeper"), keeper_reason(criteria(cfg))).otherwise(member_reason())
    return (
        linked.withColumns(
            {
                "is_keeper": is_keeper,
                "kind": kind,
                "score_to_keeper": F.when(is_twin, F.lit(1.0)).otherwise(F.col("pair_score")),
            }
        )
        .withColumn("relation", relation)
        .withColumns({"is_removable": is_removable, "reason": reason})
        .select(
            "star",
            "image_id",
            "scope",
            "content_id",
            "is_keeper",
            "relation",
            "is_removable",
            "score_to_keeper",
            "kind",
            "reason",
            "group_size",
        )
    )


def _stamped(groups: DataFrame, previous: DataFrame, stamp: Column) -> DataFrame:
    """`groups` with updated_at: that of the stored row where nothing else differs, else the start of this run."""
    fields = [name for name in GROUPS.columns if name != "updated_at"]
    same = [F.col(f"new.{name}").eqNullSafe(F.col(f"old.{name}")) for name in fields if name != "image_id"]
    old = previous.select(GROUPS.columns)
    return (
        groups.alias("new")
        .join(old.alias("old"), [F.col("new.image_id") == F.col("old.image_id"), *same], "left")
        .select(*(f"new.{name}" for name in fields), F.coalesce("old.updated_at", stamp).alias("updated_at"))
    )
