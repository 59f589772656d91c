"""Groups of copies: connected components, cut chains, keepers, and a row per image with the reason.

Groups are a function of the images, the accepted pairs and people's verdicts only. History has an effect on group ids
only: `group/ids_stage.py` carries them over from the stored groups.

Terms: a *class* is all contents with equal pixels, named by its smallest content id; a *vertex* is a class within one
scope; a *star* is a keeper vertex with its member vertices, which becomes a group if it has two images or more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Column, DataFrame

from dupelake.config import TIERS, Config
from dupelake.frames.functions import F, W
from dupelake.group.bridges import KEPT
from dupelake.group.components_stage import connected_components
from dupelake.group.decisions_stage import (
    combine_verdicts,
    competing_keepers,
    conflict_rows,
    conflicts_of,
    keeper_conflicts,
    linking_edges,
    vertex_name,
    without_cuts_in_linked_sets,
    without_overruled_keepers,
    without_separated,
)
from dupelake.group.file_names_stage import file_of, keep_shared_files
from dupelake.group.ids_stage import assign_ids, list_changes
from dupelake.group.keepers_stage import (
    class_of,
    condition_of,
    edges_of,
    judge_edges,
    ranked,
    stars_of,
    vertices_of,
)
from dupelake.group.reasons_stage import group_reason, loss_struct, shown_struct, star_facts
from dupelake.group.tiers_stage import is_keepers_file, shows_no_more, tier_of
from dupelake.ingest.live_stage import live_images, pixel_classes, scope_of
from dupelake.verify.decide_stage import covers_edge
from dupelake.warehouse.counted import counted
from dupelake.warehouse.schema import CONDITION, DECISION_CONFLICTS, GROUP_CHANGES, GROUPS, conform

EDGES_PER_CALL = 100_000  # edges of one bucket, about; a call costs milliseconds
_COPY_KINDS = ("exact", "pixel", "near", "crop", "mirrored", "rotated")  # such members may show nothing more
# The combined verdicts on a vertex as a column of a row; null if there are none.
_VERDICT_STRUCT = (
    "struct<duplicate_set: string, is_disputed: boolean, is_contested: boolean, alternates: array<string>, "
    "confirmed_by: string, alternate_by: string, apart_text: string, chosen_by: string, chosen_image: string>"
)


@dataclass(frozen=True)
class Groups:
    """Result of `build_groups`. All are lazy and read `previous`, so materialise them before writing that table.

    Attributes:
        groups: schema.GROUPS, all present groups.
        changes: schema.GROUP_CHANGES, the events of this run only.
        cuts: (component, src, dst, cut), the cut edges between vertices; see `group/bridges.py`.
        conflicts: schema.DECISION_CONFLICTS, the present conflicts among the given verdicts.
    """

    groups: DataFrame
    changes: DataFrame
    cuts: DataFrame
    conflicts: DataFrame


@dataclass(frozen=True)
class Members:
    """Result of `member_rows`.

    Attributes:
        rows: schema.GROUPS with `star`, the vertex of the keeper, instead of group_id, and without updated_at.
        judged_edges: second result of `group.keepers_stage.judge_edges`.
        competing: result of `group.decisions_stage.competing_keepers`; None without verdicts.
    """

    rows: DataFrame
    judged_edges: DataFrame
    competing: DataFrame | None


def _none_if_empty(rows: DataFrame | None) -> DataFrame | None:
    """The rows, or None if there are none."""
    return None if rows is None or rows.isEmpty() else rows


def _events(changes: DataFrame, run_id: str, now: datetime, sequence: int) -> DataFrame:
    """GROUP_CHANGES of one run, from the result of `list_changes`."""
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
    """Groups of copies with a keeper each and stable ids, and the events since the previous groups.

    Every removable member passed against its keeper directly (design 5.3): bridges are cut, and the rest of each
    component becomes groups (group/cover.py, group/keeping.py). A rerun on equal input gives equal rows and no event.
    Verdicts have priority (docs/decisions.md): a member that only a verdict joined is an alternate.

    Args:
        images: schema.IMAGES; failed and deleted ones are ignored.
        hashes: schema.HASHES; gives each content its pixel digest. A content without a row is a class of its own.
        pairs: schema.PAIRS; duplicates are edges between the pixel classes of their two contents.
        previous: schema.GROUPS as stored, or empty.
        changes: schema.GROUP_CHANGES as stored, or empty; without the rows of a run that did not finish.
        cfg: `cluster` and `lsh.scope` are read.
        run_id: stored in the events.
        now: start of the run, with zone.
        checkpoint: materialises a DataFrame and returns one without lineage; must exist as long as the result is read.
        decisions: result of `resolve_decisions`: all verdicts, even if `images` is a part of the table; None or empty
            if there are none. They affect only components with a vertex that they name.
        sequence: number of the change of schema.GROUPS, for the events.

    The rows are in no particular order.
    """
    members = member_rows(images, hashes, pairs, cfg, checkpoint, decisions)
    rows, judged_edges, competing = members.rows, members.judged_edges, members.competing
    named, claims = assign_ids(rows, previous, changes, checkpoint)
    groups = rows.join(named.select("star", "group_id"), "star")
    return Groups(
        conform(_with_updated_at(groups, previous, F.lit(now)), GROUPS.schema),
        _events(list_changes(named, claims, previous), run_id, now, sequence),
        judged_edges.where(F.col("cut") != KEPT).select("component", "src", "dst", "cut"),
        _conflicts(decisions, competing, _no_conflicts(previous)),
    )


def member_rows(
    images: DataFrame,
    hashes: DataFrame,
    pairs: DataFrame,
    cfg: Config,
    checkpoint: Callable[[DataFrame], DataFrame],
    decisions: DataFrame | None = None,
) -> Members:
    """The images of all groups, before the groups get their ids. The arguments are those of `build_groups`.

    A check of one image calls it with local tables (`dupelake.frames`).
    """
    classes = pixel_classes(hashes)
    live = checkpoint(_members(images, hashes, classes, cfg))
    found = edges_of(pairs, classes, vertices_of(live))
    by_vertex = _none_if_empty(None if decisions is None else checkpoint(combine_verdicts(decisions)))
    edges, seen = counted(checkpoint, found if by_vertex is None else without_separated(found, by_vertex))
    links = edges.select("src", "dst")
    members = ranked(live, edges, cfg.cluster)
    components = connected_components(links if by_vertex is None else links.union(linking_edges(by_vertex)), checkpoint)
    positions, judged_edges = judge_edges(components, members, edges, seen["n"] // EDGES_PER_CALL + 1, checkpoint)
    verdict_structs, competing = None, None
    if by_vertex is not None:
        by_vertex = checkpoint(without_overruled_keepers(by_vertex, positions))
        judged_edges = checkpoint(without_cuts_in_linked_sets(judged_edges, by_vertex))
        competing = checkpoint(competing_keepers(by_vertex, live, judged_edges, checkpoint))
        verdict_structs = checkpoint(_verdict_structs(by_vertex, competing))
    judged = edges.join(judged_edges.select("src", "dst", "better", "rule"), ["src", "dst"], "left")
    rows = _rows(members, stars_of(positions, judged_edges, by_vertex), judged, verdict_structs, cfg)
    return Members(checkpoint(keep_shared_files(rows, live)), judged_edges, competing)


def _members(images: DataFrame, hashes: DataFrame, classes: DataFrame, cfg: Config) -> DataFrame:
    """One row per live image with its vertex, detail and condition."""
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
    return named.withColumn("vertex", vertex_name(F.col("class_id"), F.col("scope")))


def _verdict_structs(by_vertex: DataFrame, competing: DataFrame) -> DataFrame:
    """(vertex, verdicts): a struct for each vertex; is_contested if two chosen keepers compete for its linked set."""
    contested = competing.select("linked_set").union(competing.select("other_set")).distinct()
    marked = by_vertex.join(contested.withColumn("is_contested", F.lit(True)), "linked_set", "left").fillna(False)
    fields = (
        "duplicate_set",
        "is_disputed",
        "is_contested",
        "alternates",
        "confirmed_by",
        "alternate_by",
        "apart_text",
    )
    return marked.select(
        "vertex", F.struct(*fields, "chosen_by", "chosen_image").cast(_VERDICT_STRUCT).alias("verdicts")
    )


def _conflicts(decisions: DataFrame | None, competing: DataFrame | None, empty: DataFrame) -> DataFrame:
    if decisions is None:
        return empty
    found = conflicts_of(decisions)
    return conflict_rows(found if competing is None else found.unionByName(keeper_conflicts(competing)))


def _rows(
    members: DataFrame, stars: DataFrame, edges: DataFrame, verdict_structs: DataFrame | None, cfg: Config
) -> DataFrame:
    """GROUPS rows with their star instead of a group id; stars of one image are left out."""
    linked = _linked(members, stars, edges, verdict_structs)
    unmeasured = cfg.decide.min_score  # score of a member that a verdict joined without a pair: the lowest possible
    is_keeper, is_twin = F.col("position") == 1, F.col("vertex") == F.col("star")
    # Verdicts on a member and its keeper; coalesce, because a vertex that nobody named has null `verdicts`.
    in_set = F.coalesce(F.col("verdicts.duplicate_set") == F.col("keeper.verdicts.duplicate_set"), F.lit(False))
    is_disputed = F.coalesce(F.col("verdicts.is_disputed"), F.lit(False))
    has_alternates = F.coalesce(F.size("verdicts.alternates") > 0, F.lit(False))
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
    compared = F.when(is_twin | (F.col("partner") == F.col("star")), F.col("keeper.image_id")).otherwise(
        F.col("partner_image.image_id")
    )
    judged = linked.withColumns(
        {
            "is_keeper": is_keeper,
            "in_set": in_set & ~is_twin,
            "is_alternate": is_disputed | (has_alternates & ~is_twin & ~in_set),
        }
    )
    return (
        judged.withColumns({"kind": kind, "score_to_keeper": score})
        .withColumn("relation", relation)
        .withColumn("tier", tier_of())
        .withColumns(
            {
                "is_removable": is_removable,
                "compared_with": F.when(~F.col("is_keeper"), compared),
                "reason": group_reason(),
            }
        )
        .select("star", *(name for name in GROUPS.columns if name not in ("group_id", "updated_at")))
    )


def _linked(members: DataFrame, stars: DataFrame, edges: DataFrame, verdict_structs: DataFrame | None) -> DataFrame:
    """Members of stars of two images or more, each with its keeper, its link, and the next member.

    Returns:
        members with the columns of `stars_of`; verdicts, the struct of combined verdicts; group_size; in_conflict if
        verdicts on a member of the star conflict; position, 1 for the keeper; structs keeper and link, the edge with
        partner (null for images with the keeper's pixels and for members that only a verdict joined); partner_image,
        the best image of partner; loss; next, the next member; the columns of `reasons_stage.star_facts`.
    """
    by_star = W.partitionBy("star")
    # The keeper is the best image of the star's vertex, which comes before the other vertices.
    is_chosen = F.coalesce(F.col("verdicts.chosen_image") == F.col("image_id"), F.lit(False))
    ordered = by_star.orderBy(F.col("vertex") != F.col("star"), ~is_chosen, "keeper_order", "rank")
    contested = F.coalesce(F.col("verdicts.is_disputed") | F.col("verdicts.is_contested"), F.lit(False))
    if verdict_structs is None:
        with_verdicts = members.withColumn("verdicts", F.lit(None).cast(_VERDICT_STRUCT))
    else:
        with_verdicts = members.join(F.broadcast(verdict_structs), "vertex", "left")
    positions = (
        with_verdicts.join(stars, "vertex", "left")
        .withColumn("star", F.coalesce("star", "vertex"))
        .fillna(0, ["keeper_order", "n_fuller", "n_better", "doubt", "disagreement", "n_cut"])
        .withColumns(
            {
                "group_size": F.count("*").over(by_star).cast("int"),
                "in_conflict": F.max(contested).over(by_star),
                "position": F.row_number().over(ordered),
            }
        )
        .where("group_size >= 2")
    )
    links = edges.select(F.col("src").alias("low"), F.col("dst").alias("high"), _link_of("src"), _link_of("dst"))
    link = F.when(F.col("vertex") == F.col("low"), F.col("of_src")).otherwise(F.col("of_dst"))
    names = ("vertex", "image_id", "content_id", "file_id")
    best_images = members.groupBy(F.col("vertex").alias("partner")).agg(
        F.min_by(shown_struct(), "rank").alias("partner_image")
    )
    keeper = F.struct(*names, "width_px", "height_px", "detail", "verdicts", shown_struct().alias("shown"))
    return (
        positions.withColumns({"low": F.least("vertex", "partner"), "high": F.greatest("vertex", "partner")})
        .join(links, ["low", "high"], "left")
        .join(best_images, "partner", "left")
        .withColumn("link", link)
        .withColumn("loss", loss_struct())
        .withColumns(
            {
                "keeper": F.first(keeper).over(ordered),
                "next": F.lead(F.struct("rank", "link", "partner", "loss", "vertex")).over(ordered),
                **star_facts(by_star),
            }
        )
    )


def _link_of(end: str) -> Column:
    """An edge from the side of the member at `end`, as struct `of_END`."""
    is_src = end == "src"
    mine, other = ("src", "dst") if is_src else ("dst", "src")
    measured = ("overlap", "frame", "added")
    inverted = [(1.0 / F.col(name) if is_src else F.col(name)).alias(name) for name in ("scale", "resolution")]
    return F.struct(
        "score",
        "kind",
        "is_verified",
        "rule",
        (F.col("better") if is_src else -F.col("better")).alias("favours"),
        *(F.col(f"{mine}_{name}").alias(name) for name in measured),
        *(F.col(f"{other}_{name}").alias(f"other_{name}") for name in measured),
        covers_edge(f"{mine}_frame", f"{other}_beyond").alias("covers"),
        covers_edge(f"{other}_frame", f"{mine}_beyond").alias("other_covers"),
        *inverted,
        "rotation",
        "is_upright",
        "aligned",
        "pdq_bits",
        "phash_bits",
        F.col("colour_difference").alias("colour"),
        "box",
        (F.col("box_of_src") if is_src else ~F.col("box_of_src")).alias("box_is_own"),
    ).alias(f"of_{end}")


def _no_conflicts(any_frame: DataFrame) -> DataFrame:
    return any_frame.sparkSession.createDataFrame([], DECISION_CONFLICTS.schema)


def _with_updated_at(groups: DataFrame, previous: DataFrame, stamp: Column) -> DataFrame:
    """Add updated_at to `groups`: that of the stored row if nothing else differs, else the start of this run."""
    fields = [name for name in GROUPS.columns if name != "updated_at"]
    same = [F.col(f"new.{name}").eqNullSafe(F.col(f"old.{name}")) for name in fields if name != "image_id"]
    old = previous.select(GROUPS.columns)
    return (
        groups.alias("new")
        .join(old.alias("old"), [F.col("new.image_id") == F.col("old.image_id"), *same], "left")
        .select(*(f"new.{name}" for name in fields), F.coalesce("old.updated_at", stamp).alias("updated_at"))
    )
