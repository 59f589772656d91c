"""Groups of copies: components, chain guard, keeper, and a row per image that says why.

What stands in which group is a function of the images, the accepted pairs and people's verdicts alone. History enters
last and gives names only: `group_ids` carries ids over from the stored groups.

Words: a *class* is all contents with equal pixels, named by its smallest content id; a *vertex* is a class within
one scope; a *star* is a keeper vertex with the vertices that it took, which becomes a group if it has two images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from dupelake.config import TIERS, Config
from dupelake.group import decisions_stage as verdicts
from dupelake.group.bridges import KEPT
from dupelake.group.components_stage import connected_components
from dupelake.group.file_names_stage import file_of, keep_shared_files
from dupelake.group.ids_stage import assign_ids, list_changes
from dupelake.group.keeper_reasons_stage import keeper_reason
from dupelake.group.keepers_stage import (
    class_of,
    condition_of,
    criteria,
    edges_of,
    judged_arcs,
    ranked,
    stars_of,
    vertices_of,
)
from dupelake.group.reasons_stage import (
    bridge_reason,
    confirmed_evidence,
    is_keepers_file,
    member_reason,
    shows_no_more,
    verdict_reason,
)
from dupelake.group.tiers_stage import tier_of
from dupelake.ingest.live_stage import live_images, pixel_classes, scope_of
from dupelake.warehouse.schema import CONDITION, DECISION_CONFLICTS, GROUP_CHANGES, GROUPS, conform

ARCS_PER_CALL = 100_000  # components are packed into calls of about this many edges: a call costs milliseconds
_COPY_KINDS = ("exact", "pixel", "near", "crop", "mirrored", "rotated")  # show nothing that the keeper lacks
# What people say of a vertex, as a row carries it; null where they say nothing.
_SAID = (
    "struct<label: string, is_disputed: boolean, is_contested: boolean, alternates: array<string>, "
    "confirmed_by: string, alternate_by: string, apart_words: string, chosen_by: string, chosen_image: string>"
)


@dataclass(frozen=True)
class Groups:
    """What `build_groups` returns; all are lazy and read `previous`, so materialise them before writing that table."""

    groups: DataFrame  # schema.GROUPS: all groups as they are now
    changes: DataFrame  # schema.GROUP_CHANGES: the events of this run only
    cuts: (
        DataFrame  # (component, src, dst, cut): links between pixel classes that no group rests on; see kernels.bridges
    )
    conflicts: DataFrame  # schema.DECISION_CONFLICTS: contradictions among the given verdicts that stand now


def _some(rows: DataFrame | None) -> DataFrame | None:
    """The rows, or None where there are none."""
    return None if rows is None or rows.isEmpty() else rows


def _events(changes: DataFrame, run_id: str, now: datetime, sequence: int) -> DataFrame:
    """GROUP_CHANGES of one run, of what `list_changes` gives."""
    of_run = {"run_id": F.lit(run_id), "changed_at": F.lit(now), "sequence": F.lit(sequence)}
    return conform(changes.withColumns(of_run), GROUP_CHANGES.schema)


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
    decisions: DataFrame | None = None,
    sequence: int = 1,
) -> Groups:
    """Groups of copies with a keeper each, under ids that last, and the events since the previous groups.

    Every removable member passed against its keeper directly (design 5.3): bridges are cut, and what is left of the
    components becomes groups (group/cover.py, group/keeping.py). A rerun on equal input gives equal rows, no event.
    Verdicts go first (docs/decisions.md): a member that only a verdict brought in is an alternate.

    Args:
        images: schema.IMAGES; failed and deleted ones take no part.
        hashes: schema.HASHES; gives each content its pixel digest. A content without a row is a class of its own.
        pairs: schema.PAIRS; duplicates are edges, between the pixel classes of their two contents.
        previous: schema.GROUPS as stored, or empty.
        changes: schema.GROUP_CHANGES as stored, or empty; leave out what a run wrote that did not finish.
        cfg: `cluster` and `lsh.scope` are read.
        run_id: goes into the events.
        now: start of the run, with zone.
        checkpoint: materialises a DataFrame and returns one without lineage; must live as long as the result is read.
        decisions: of `resolve_decisions`: all verdicts, whatever part of the images is given; None or empty where there
            are none. They matter only to components that hold a vertex they name.
        sequence: number of the change of schema.GROUPS, for the events.

    The rows come in no particular order.
    """
    classes = pixel_classes(hashes)
    live = checkpoint(_members(images, hashes, classes, cfg))
    found = edges_of(pairs, classes, vertices_of(live))
    held = _some(None if decisions is None else checkpoint(verdicts.held_of(decisions)))
    edges = checkpoint(found if held is None else verdicts.without_apart(found, held))
    links = edges.select("src", "dst")
    members = ranked(live, edges, cfg.cluster)
    components = connected_components(links if held is None else links.union(verdicts.ties_of(held)), checkpoint)
    placed, arcs = judged_arcs(components, members, edges, edges.count() // ARCS_PER_CALL + 1, checkpoint)
    said, rivals = None, None
    if held is not None:
        arcs = checkpoint(verdicts.spared(arcs, held))
        rivals = checkpoint(verdicts.rivals_of(held, live, arcs, checkpoint))
        said = checkpoint(_said(held, rivals))
    judged = edges.join(arcs.select("src", "dst", "better", "rule"), ["src", "dst"], "left")
    rows = _rows(members, stars_of(placed, arcs, held), judged, said, cfg)
    rows = checkpoint(keep_shared_files(rows, live))
    named, claims = assign_ids(rows, previous, changes, checkpoint)
    groups = rows.join(named.select("star", "group_id"), "star")
    return Groups(
        conform(_stamped(groups, previous, F.lit(now)), GROUPS.schema),
        _events(list_changes(named, claims, previous), run_id, now, sequence),
        arcs.where(F.col("cut") != KEPT).select("component", "src", "dst", "cut"),
        _conflicts(decisions, rivals, _nothing(previous)),
    )


def _members(images: DataFrame, hashes: DataFrame, classes: DataFrame, cfg: Config) -> DataFrame:
    """One row per live image with its vertex and its detail."""
    live = live_images(images).select(
        "image_id",
        scope_of(cfg.lsh),
        "content_id",
        "byte_size",
        "width_px",
        "height_px",
        "format",
        "captured_at",
        file_of(),
    )
    known = hashes.select("content_id", "detail", *(field.name for field in CONDITION))
    measured = live.join(known, "content_id", "left").fillna(1.0, ["detail"]).withColumn("condition", condition_of())
    named = class_of(measured, classes, "content_id", "class_id").drop(*(field.name for field in CONDITION))
    return named.withColumn("vertex", verdicts.vertex_name(F.col("class_id"), F.col("scope")))


def _said(held: DataFrame, rivals: DataFrame) -> DataFrame:
    """(vertex, said): what people say of each vertex; contested where a keeper of its unit has a rival."""
    contested = rivals.select("unit").union(rivals.select("other_unit")).distinct()
    marked = held.join(contested.withColumn("is_contested", F.lit(True)), "unit", "left").fillna(False)
    fields = ("label", "is_disputed", "is_contested", "alternates", "confirmed_by", "alternate_by", "apart_words")
    return marked.select("vertex", F.struct(*fields, "chosen_by", "chosen_image").cast(_SAID).alias("said"))


def _conflicts(decisions: DataFrame | None, rivals: DataFrame | None, empty: DataFrame) -> DataFrame:
    if decisions is None:
        return empty
    found = verdicts.conflicts_of(decisions)
    return verdicts.listed(found if rivals is None else found.unionByName(verdicts.rival_conflicts(rivals)))


def _rows(members: DataFrame, stars: DataFrame, edges: DataFrame, said: DataFrame | None, cfg: Config) -> DataFrame:
    """GROUPS rows under their star instead of a group id; stars of one image are left out."""
    linked = _linked(members, stars, edges, said)
    unmeasured = cfg.decide.min_score  # of a member that a verdict brought in without a pair: the least there is
    is_keeper, is_twin = F.col("place") == 1, F.col("vertex") == F.col("star")
    # People's word on a member and its keeper; coalesce, for a vertex that nobody named has no `said`.
    in_set = F.coalesce(F.col("said.label") == F.col("keeper.said.label"), F.lit(False))
    is_disputed = F.coalesce(F.col("said.is_disputed"), F.lit(False))
    has_alternates = F.coalesce(F.size("said.alternates") > 0, F.lit(False))
    kind = (
        F.when(is_keeper, F.lit(None).cast("string"))
        .when(F.col("content_id") == F.col("keeper.content_id"), "exact")
        .when(is_twin, "pixel")
        .otherwise(F.coalesce("link.kind", F.when(F.col("is_alternate"), "edited").otherwise("near")))
    )
    score = F.when(is_twin | F.col("in_set"), 1.0).otherwise(F.coalesce("link.score", F.lit(unmeasured)))
    of_copy_kind = F.col("kind").isin(*_COPY_KINDS) & F.col("link").isNotNull()
    is_copy = F.col("kind").isin("exact", "pixel") | ((of_copy_kind | F.col("in_set")) & shows_no_more())
    relation = (
        F.when(F.col("is_keeper"), "keeper").when(is_copy & ~F.col("is_alternate"), "copy").otherwise("alternate")
    )
    removable = TIERS[: TIERS.index(cfg.cluster.removable) + 1]
    is_removable = F.coalesce(F.col("tier").isin(*removable) & ~is_keepers_file(), F.lit(False))
    compared = F.when(is_twin | (F.col("kin") == F.col("star")), F.col("keeper.image_id")).otherwise(F.col("kin_image"))
    reason = F.concat(
        F.when(F.col("is_keeper"), keeper_reason(criteria(cfg.cluster))).otherwise(member_reason()),
        bridge_reason(),
        verdict_reason(),
    )
    judged = linked.withColumns(
        {
            "is_keeper": is_keeper,
            "in_set": in_set & ~is_twin,
            "is_alternate": is_disputed | (has_alternates & ~is_twin & ~in_set),
        }
    ).withColumn("evidence", confirmed_evidence())
    return (
        judged.withColumns({"kind": kind, "score_to_keeper": score})
        .withColumn("relation", relation)
        .withColumn("tier", tier_of())
        .withColumns(
            {
                "is_removable": is_removable,
                "compared_with": F.when(~F.col("is_keeper"), compared),
                "reason": reason,
            }
        )
        .select("star", *(name for name in GROUPS.columns if name not in ("group_id", "updated_at")))
    )


def _linked(members: DataFrame, stars: DataFrame, edges: DataFrame, said: DataFrame | None) -> DataFrame:
    """Members of stars of two images or more, each with its keeper, its link to it, and what stands next to them.

    Returns:
        members with the columns of `stars_of`; said, what people say of it; group_size; in_conflict where verdicts on
        anything in the star contradict each other; place, 1 for the keeper; structs keeper and link, of the edge with
        kin (null for twins of the keeper and for what only a verdict brought in); kin_image, the best image of kin;
        next, the rank, link, standing and vertex of the next best; told_rule, by which the keeper is better than the
        next best, null where some member is better than the keeper (what is said of the best would not be true), and
        n_told, for how many members it is better by that.
    """
    by_star = W.partitionBy("star")
    # The keeper is the best image of the star's vertex; that vertex stands before those that it took.
    is_chosen = F.coalesce(F.col("said.chosen_image") == F.col("image_id"), F.lit(False))
    ordered = by_star.orderBy(F.col("vertex") != F.col("star"), ~is_chosen, "turn", "rank")
    contested = F.coalesce(F.col("said.is_disputed") | F.col("said.is_contested"), F.lit(False))
    told = (
        members.withColumn("said", F.lit(None).cast(_SAID))
        if said is None
        else members.join(F.broadcast(said), "vertex", "left")
    )
    placed = (
        told.join(stars, "vertex", "left")
        .withColumn("star", F.coalesce("star", "vertex"))
        .fillna(0, ["turn", "n_better", "standing", "n_sounder", "n_cut"])
        .withColumns(
            {
                "group_size": F.count("*").over(by_star).cast("int"),
                "in_conflict": F.max(contested).over(by_star),
                "place": F.row_number().over(ordered),
            }
        )
        .where("group_size >= 2")
    )
    links = edges.select(F.col("src").alias("low"), F.col("dst").alias("high"), _link_of("src"), _link_of("dst"))
    link = F.when(F.col("vertex") == F.col("low"), F.col("of_src")).otherwise(F.col("of_dst"))
    names = ("vertex", "image_id", "content_id", "file_id")
    faces = members.groupBy(F.col("vertex").alias("kin")).agg(F.min_by("image_id", "rank").alias("kin_image"))
    shown = F.struct(*names, "width_px", "height_px", "detail", "said")
    is_beaten = (F.col("link.favours") > 0) & (F.col("kin") == F.col("star"))
    return (
        placed.withColumns({"low": F.least("vertex", "kin"), "high": F.greatest("vertex", "kin")})
        .join(links, ["low", "high"], "left")
        .join(faces, "kin", "left")
        .withColumn("link", link)
        .withColumns(
            {
                "keeper": F.first(shown).over(ordered),
                "next": F.lead(F.struct("rank", "link", "n_better", "standing", "n_sounder", "vertex")).over(ordered),
            }
        )
        .withColumn("is_beaten", F.coalesce(F.max(is_beaten).over(by_star), F.lit(False)))
        .withColumn("told_rule", F.max(F.when(~F.col("is_beaten") & (F.col("place") == 2), _lost_by())).over(by_star))
        .withColumn("n_told", F.count(F.when(_lost_by() == F.col("told_rule"), 1)).over(by_star))
    )


def _lost_by() -> Column:
    """The rule of kernels.keeping by which the keeper is better than a member; null where it is not."""
    return F.when((F.col("link.favours") < 0) & (F.col("kin") == F.col("star")), F.col("link.rule"))


def _link_of(end: str) -> Column:
    """An edge as the member at `end` sees it, as struct `of_END`."""
    is_src = end == "src"
    mine, other = ("src", "dst") if is_src else ("dst", "src")
    turned = [(1.0 / F.col(name) if is_src else F.col(name)).alias(name) for name in ("scale", "resolution")]
    return F.struct(
        "score",
        "kind",
        "evidence",
        "is_verified",
        "rule",
        (F.col("better") if is_src else -F.col("better")).alias("favours"),
        F.col(f"{mine}_overlap").alias("overlap"),
        F.col(f"{other}_overlap").alias("keeper_overlap"),
        F.col(f"{mine}_beyond").alias("beyond"),
        F.col(f"{other}_beyond").alias("keeper_beyond"),
        F.col(f"{mine}_frame").alias("frame"),
        F.col(f"{other}_frame").alias("keeper_frame"),
        *turned,
        "rotation",
        "box",
        (F.col("box_of_src") if is_src else ~F.col("box_of_src")).alias("box_is_own"),
    ).alias(f"of_{end}")


def _nothing(any_frame: DataFrame) -> DataFrame:
    return any_frame.sparkSession.createDataFrame([], DECISION_CONFLICTS.schema)


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
