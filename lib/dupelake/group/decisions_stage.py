"""People's verdicts in DataFrames: map image ids to vertices, and vertices to constraints on groups.

A verdict is about contents. `decided` stores what each named image showed when the verdict was first read. So later
nights, other bytes under the same uri and deleted images do not change the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import Column, DataFrame

from dupelake.config import Config
from dupelake.frames.functions import F
from dupelake.group import verdicts as rules
from dupelake.group.bridges import KEPT
from dupelake.ingest.live_stage import pixel_representatives, scope_of
from dupelake.warehouse.schema import DECIDED, DECISION_CONFLICTS, DECISIONS, OK, conform

VERDICTS = (
    "vertex string, other_vertex string, verdict string, author string, decided_at timestamp, image_id string, "
    "other_image_id string, fault string"
)
_VERTEX_VERDICTS = (
    "vertex string, duplicate_set string, linked_set string, is_disputed boolean, apart array<string>, "
    "alternates array<string>, confirmed_by string, alternate_by string, apart_text string, chosen_by string, "
    "chosen_image string, chosen_at bigint"
)
_VERTEX_VERDICTS_ARROW = pa.schema(
    [
        *((name, pa.string()) for name in ("vertex", "duplicate_set", "linked_set")),
        ("is_disputed", pa.bool_()),
        *((name, pa.list_(pa.string())) for name in ("apart", "alternates")),
        *((n, pa.string()) for n in ("confirmed_by", "alternate_by", "apart_text", "chosen_by", "chosen_image")),
        ("chosen_at", pa.int64()),
    ]
)
_DECISION_COLUMNS = ("image_id", "other_image_id", "verdict", "author", "decided_at")
_AGAINST = tuple(f"against_{name}" for name in _DECISION_COLUMNS)
_TEXT = "string"
_CONFLICTS = ", ".join(
    [
        "kind string",
        *(f"{n} {'bigint' if n.endswith('decided_at') else _TEXT}" for n in (*_DECISION_COLUMNS, *_AGAINST)),
    ]
)
_CONFLICTS_ARROW = pa.schema(
    [
        ("kind", pa.string()),
        *((n, pa.int64() if n.endswith("decided_at") else pa.string()) for n in (*_DECISION_COLUMNS, *_AGAINST)),
    ]
)
TWO_KEEPERS = "two_keepers"
MEANING = {
    rules.UNKNOWN_IMAGE: "it names an image that no manifest brought, or that was never read; it is not applied, and "
    "nothing is removable in the group of the image that is known",
    rules.DIFFERENT_SCOPES: "it joins images of two scopes, which are never compared; it is not applied, and nothing "
    "is removable in their groups",
    rules.SAME_TIME: "two verdicts of the same time on the same pictures; the more careful one holds, and nothing is "
    "removable in their groups",
    rules.NOT_DUPLICATE_OF_DUPLICATE: "the two are copies by other verdicts or by equal pixels; all pictures of that "
    "set are kept apart (equal pixels cannot be), and nothing is removable in their groups",
    rules.ALTERNATE_OF_DUPLICATE: "the two are copies by other verdicts or by equal pixels; they stay in one group as "
    "alternates, and nothing in it is removable",
    rules.NOT_DUPLICATE_OF_ALTERNATE: "the two are in one chain of alternates; these two are kept apart, the "
    "alternates of the chain no longer hold it together, and nothing is removable in their groups",
    TWO_KEEPERS: "both would stand in one group; they are kept apart, and nothing is removable in their groups",
}


def new_decided_rows(decisions: DataFrame, decided: DataFrame, images: DataFrame) -> DataFrame:
    """New rows of `decided`: what the images named by decisions show now.

    Call it before a night reads manifests, and merge it into `decided`, whose rows only `moved_pins` changes. So a
    verdict stays with the picture that the person saw.

    Args:
        decisions: schema.DECISIONS.
        decided: schema.DECIDED as stored.
        images: schema.IMAGES, deleted ones included.

    Returns:
        schema.DECIDED, one row per image and time of a decision; an image without a content gets none.
    """
    named = _named_images(decisions).join(decided, ["image_id", "decided_at"], "left_anti")
    contents = _read_images(images).select("image_id", "content_id", "scope")
    return conform(contents.join(F.broadcast(named), "image_id"), DECIDED.schema)


def moved_pins(decided: DataFrame, hashes: DataFrame, gone: DataFrame) -> DataFrame:
    """The rows of `decided` on contents that a purge deletes, moved to the smallest content of equal pixels that stays.

    Without its row in `hashes` nobody knows which contents have the pixels of a content, and the verdict would hold for
    none of them.

    Args:
        decided: schema.DECIDED.
        hashes: schema.HASHES before the purge.
        gone: (content_id) of the contents that it deletes.

    Returns:
        schema.DECIDED; a row without such a content is left out.
    """
    pinned = decided.join(gone, "content_id", "left_semi")
    contents = F.broadcast(pinned.select("content_id").distinct())
    digests = hashes.select("content_id", "pixel_digest").join(contents, "content_id")
    equal = hashes.join(F.broadcast(digests.select("pixel_digest").distinct()), "pixel_digest")
    stays = pixel_representatives(equal.join(gone, "content_id", "left_anti"))
    moved = digests.join(stays, "pixel_digest").select("content_id", "class_id")
    rows = pinned.join(moved, "content_id").withColumn("content_id", F.col("class_id"))
    return conform(rows, DECIDED.schema)


def resolve_decisions(
    decisions: DataFrame,
    decided: DataFrame,
    images: DataFrame,
    hashes: DataFrame,
    cfg: Config,
    of_all_versions: DataFrame | None = None,
) -> DataFrame:
    """Decisions with the vertices that they are about; input of `build_groups`.

    Args:
        decisions: schema.DECISIONS, the whole history. People's verdicts are few, so they are broadcast.
        decided: schema.DECIDED; without a row in it the image's present content counts.
        images: schema.IMAGES, all rows: an image that is not in it counts as unknown.
        hashes: schema.HASHES, all rows of the version that is grouped: contents of equal pixels get one name.
        cfg: `lsh.scope` is read.
        of_all_versions: all rows of schema.HASHES, where `hashes` are a part: contents that are gone were not hashed
            again.

    Returns:
        VERDICTS, one row per decision. fault is null, or unknown_image (the image was never read), or
        different_scopes (duplicate or alternate between scopes that are not compared).
    """
    shown = shown_contents(decisions, decided, images)
    scope = scope_of(cfg.lsh)
    classes = _classes_of(shown, hashes, hashes if of_all_versions is None else of_all_versions)
    vertices = shown.join(F.broadcast(classes), "content_id", "left").select(
        "image_id", "decided_at", scope, vertex_name(F.coalesce("class_id", "content_id"), scope)
    )
    ends = [
        vertices.select(
            F.col("image_id").alias(image_id),
            "decided_at",
            F.col("vertex").alias(vertex),
            F.col("scope").alias(f"{vertex}_scope"),
        )
        for image_id, vertex in (("image_id", "vertex"), ("other_image_id", "other_vertex"))
    ]
    joined = decisions.join(ends[0], ["image_id", "decided_at"], "left").join(
        ends[1], ["other_image_id", "decided_at"], "left"
    )
    is_unknown = F.col("vertex").isNull() | (F.col("other_image_id").isNotNull() & F.col("other_vertex").isNull())
    joins = F.col("verdict").isin(rules.DUPLICATE, rules.ALTERNATE)
    apart = joins & (F.col("vertex_scope") != F.col("other_vertex_scope"))
    fault = F.when(is_unknown, rules.UNKNOWN_IMAGE).when(apart, rules.DIFFERENT_SCOPES)
    return joined.withColumn("fault", fault).select(
        "vertex", "other_vertex", "verdict", "author", "decided_at", "image_id", "other_image_id", "fault"
    )


def shown_contents(decisions: DataFrame, decided: DataFrame, images: DataFrame) -> DataFrame:
    """(image_id, decided_at, content_id, scope): what each image of a decision shows; what is pinned comes first."""
    named = _named_images(decisions)
    present = _read_images(images).select("image_id", "content_id", "scope").join(F.broadcast(named), "image_id")
    pinned = decided.select("image_id", "content_id", "scope", "decided_at").join(
        F.broadcast(named), ["image_id", "decided_at"]
    )
    columns = ["image_id", "decided_at", "content_id", "scope"]
    both = pinned.select(*columns, F.lit(0).alias("way")).union(present.select(*columns, F.lit(1)))
    return (
        both.groupBy("image_id", "decided_at")
        .agg(
            F.min(F.struct("way", "content_id", "scope")).alias("shown"),
            F.max(F.when(F.col("way") == 1, F.col("scope"))).alias("now"),
        )
        # If an image changes its scope, the verdict follows it.
        .select("image_id", "decided_at", "shown.content_id", F.coalesce("now", "shown.scope").alias("scope"))
    )


def vertex_name(class_id: Column, scope: Column) -> Column:
    """The name of a vertex, class/scope. Content ids contain no slash, so names are unique."""
    return F.concat(class_id, F.lit("/"), scope).alias("vertex")


def _read_images(images: DataFrame) -> DataFrame:
    """Images whose bytes were read, including deleted ones."""
    return images.where((F.col("status") == OK) & F.col("content_id").isNotNull())


def _named_images(decisions: DataFrame) -> DataFrame:
    """(image_id, decided_at) of every image that a decision names."""
    rows = decisions.select(DECISIONS.columns)
    others = rows.where("other_image_id IS NOT NULL").select("other_image_id", "decided_at")
    return rows.select("image_id", "decided_at").union(others).distinct()


def _classes_of(shown: DataFrame, hashes: DataFrame, of_all_versions: DataFrame) -> DataFrame:
    """(content_id, class_id) of the contents in `shown`; the class is the smallest content id of equal pixels."""
    digests = of_all_versions.select("content_id", "pixel_digest").join(
        F.broadcast(shown.select("content_id").distinct()), "content_id"
    )
    lowest = pixel_representatives(hashes.join(F.broadcast(digests.select("pixel_digest").distinct()), "pixel_digest"))
    return digests.join(lowest, "pixel_digest").select("content_id", "class_id")


def combine_verdicts(verdicts: DataFrame) -> DataFrame:
    """The combined verdicts on each vertex that a verdict names (`group.verdicts.VertexVerdicts`); deterministic.

    Args:
        verdicts: VERDICTS, all rows; one task combines them.
    """
    return _in_one_task(verdicts).mapInArrow(_vertex_batches, _VERTEX_VERDICTS)


def conflicts_of(verdicts: DataFrame) -> DataFrame:
    """Conflicts between verdicts, as `_CONFLICTS`; `conflict_rows` converts them to rows of the table."""
    return _in_one_task(verdicts).mapInArrow(_conflict_batches, _CONFLICTS)


def _in_one_task(verdicts: DataFrame) -> DataFrame:
    columns = ("vertex", "other_vertex", "verdict", "author", "image_id", "other_image_id", "fault")
    return verdicts.select(*columns, F.unix_micros("decided_at").alias("decided_at")).repartition(1)


def _combine(batches: Iterator[pa.RecordBatch]) -> tuple[list[rules.VertexVerdicts], list[rules.Conflict]]:
    rows = (row for batch in batches for row in batch.to_pylist())
    return rules.combine(
        rules.Verdict(
            row["vertex"],
            row["other_vertex"],
            row["verdict"],
            row["author"],
            row["decided_at"],
            row["image_id"],
            row["other_image_id"],
            row["fault"],
        )
        for row in rows
    )


def _vertex_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    by_vertex, _ = _combine(batches)
    if by_vertex:
        yield from (
            pa.Table.from_pylist([vars(row) for row in by_vertex], _VERTEX_VERDICTS_ARROW).combine_chunks().to_batches()
        )


def _conflict_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    _, conflicts = _combine(batches)
    rows = []
    for conflict in conflicts:
        row: dict[str, object] = {"kind": conflict.kind}
        for names, values in ((_DECISION_COLUMNS, conflict.decision), (_AGAINST, conflict.against)):
            row |= {name: getattr(values, what, None) for name, what in zip(names, _DECISION_COLUMNS, strict=True)}
        rows.append(row)
    if rows:
        yield from pa.Table.from_pylist(rows, _CONFLICTS_ARROW).combine_chunks().to_batches()


def linking_edges(by_vertex: DataFrame) -> DataFrame:
    """(src, dst): edges within linked sets, used for components only; dst may be a vertex without live images."""
    return by_vertex.where("linked_set <> vertex").select(
        F.col("vertex").alias("src"), F.col("linked_set").alias("dst")
    )


def without_separated(edges: DataFrame, by_vertex: DataFrame) -> DataFrame:
    """`edges` between vertices that no verdict keeps apart."""
    src = by_vertex.select(F.col("vertex").alias("src"), F.col("apart").alias("_apart"))
    dst = by_vertex.select(F.col("vertex").alias("dst"), F.col("duplicate_set").alias("_duplicate_set"))
    marked = edges.join(F.broadcast(src), "src", "left").join(F.broadcast(dst), "dst", "left")
    is_apart = F.coalesce(F.array_contains("_apart", F.col("_duplicate_set")), F.lit(False))
    return marked.where(~is_apart).select(edges.columns)


def without_cuts_in_linked_sets(judged_edges: DataFrame, by_vertex: DataFrame) -> DataFrame:
    """`judged_edges` without cuts inside a linked set, because a person confirmed that the edge is right."""
    src = by_vertex.select(F.col("vertex").alias("src"), F.col("linked_set").alias("_src"))
    dst = by_vertex.select(F.col("vertex").alias("dst"), F.col("linked_set").alias("_dst"))
    marked = judged_edges.join(F.broadcast(src), "src", "left").join(F.broadcast(dst), "dst", "left")
    cut = F.when(F.col("_src") == F.col("_dst"), F.lit(KEPT).cast("bigint")).otherwise(F.col("cut"))
    return marked.withColumn("cut", cut).select(judged_edges.columns)


def without_overruled_keepers(by_vertex: DataFrame, positions: DataFrame) -> DataFrame:
    """`by_vertex` without the keepers that rules chose in components in which a person chose one.

    Args:
        by_vertex: result of `combine_verdicts`.
        positions: (vertex, component), live images.
    """
    is_rule = F.substring("chosen_by", 1, len(rules.RULE)) == rules.RULE
    by_whom = by_vertex.where(F.col("chosen_by").isNotNull()).select("vertex", is_rule.alias("is_rule"))
    chosen = positions.select("vertex", "component").join(F.broadcast(by_whom), "vertex")
    peoples = chosen.where(~F.col("is_rule")).select("component").distinct()
    overruled = chosen.where("is_rule").join(F.broadcast(peoples), "component", "left_semi")
    marked = by_vertex.join(F.broadcast(overruled.select("vertex", "is_rule")), "vertex", "left")
    kept = {name: F.when(F.col("is_rule").isNull(), F.col(name)).alias(name) for name in _CHOSEN}
    return marked.select(*(kept.get(name, F.col(name)) for name in by_vertex.columns))


_CHOSEN = ("chosen_by", "chosen_image", "chosen_at")


def competing_keepers(
    by_vertex: DataFrame, members: DataFrame, judged_edges: DataFrame, checkpoint: Callable[[DataFrame], DataFrame]
) -> DataFrame:
    """Pairs of chosen keepers that would be in one group: in one linked set, or one adjacent to the other's set.

    Args:
        by_vertex: result of `combine_verdicts`.
        members: (vertex), live images.
        judged_edges: (src, dst, cut).
        checkpoint: materialises a DataFrame and returns one without lineage.

    Returns:
        (linked_set, other_set, chosen_*, other_*), one row per pair; the keeper chosen later comes first.
    """
    chosen = ("linked_set", *_CHOSEN)
    there = members.select("vertex").join(F.broadcast(by_vertex), "vertex").select("vertex", *chosen).distinct()
    live = checkpoint(there)
    keepers = live.where("chosen_by IS NOT NULL")
    kept = judged_edges.where(F.col("cut") == KEPT)
    links = kept.select(F.col("src").alias("vertex"), F.col("dst").alias("to")).union(kept.select("dst", "src"))
    touched = (
        links.join(F.broadcast(keepers), "vertex")
        .join(F.broadcast(live.select(F.col("vertex").alias("to"), F.col("linked_set").alias("to_set"))), "to")
        .where("to_set <> linked_set")
        .select("vertex", *chosen, "to_set")
    )
    near = touched.union(keepers.select("vertex", *chosen, F.col("linked_set").alias("to_set"))).distinct()
    others = keepers.select(
        F.col("vertex").alias("other"),
        F.col("linked_set").alias("to_set"),
        *(F.col(name).alias(name.replace("chosen", "other")) for name in chosen[1:]),
    )
    both = near.join(F.broadcast(others), "to_set").where("other <> vertex")
    is_later = F.struct("chosen_at", "chosen_image") >= F.struct("other_at", "other_image")
    sorted_columns = []
    for chosen_name, other_name in _SIDES:
        one, two = F.col(chosen_name), F.col(other_name)
        sorted_columns += [
            F.when(is_later, one).otherwise(two).alias(chosen_name),
            F.when(is_later, two).otherwise(one).alias(other_name),
        ]
    return both.withColumn("other_set", F.col("to_set")).select(*sorted_columns).distinct()


_SIDES = (
    ("linked_set", "other_set"),
    ("chosen_by", "other_by"),
    ("chosen_image", "other_image"),
    ("chosen_at", "other_at"),
)


def keeper_conflicts(competing: DataFrame) -> DataFrame:
    """Rows of `_CONFLICTS` for two chosen keepers of one group."""
    none, keeper = F.lit(None).cast("string"), F.lit(rules.KEEPER)
    values = {"kind": F.lit(TWO_KEEPERS)}
    for prefix, which in (("", "chosen"), ("against_", "other")):
        decision = (F.col(f"{which}_image"), none, keeper, F.col(f"{which}_by"), F.col(f"{which}_at"))
        values |= {f"{prefix}{name}": value for name, value in zip(_DECISION_COLUMNS, decision, strict=True)}
    return competing.select(*(value.alias(name) for name, value in values.items()))


def conflict_rows(conflicts: DataFrame) -> DataFrame:
    """Rows of schema.DECISION_CONFLICTS; each id is a hash of the two decisions."""
    meaning = F.create_map(*(F.lit(text) for item in MEANING.items() for text in item))
    identity = F.to_json(F.struct("kind", *_DECISION_COLUMNS, *_AGAINST))
    times = [F.timestamp_micros(F.col(name)).alias(name) for name in ("decided_at", "against_decided_at")]
    latest = F.greatest("decided_at", "against_decided_at")  # greatest ignores null
    rows = conflicts.distinct().select(
        F.substring(F.sha2(identity.cast("binary"), 256), 1, 32).alias("conflict_id"),
        "kind",
        *(name for name in (*_DECISION_COLUMNS, *_AGAINST) if not name.endswith("decided_at")),
        *times,
        meaning[F.col("kind")].alias("message"),
        F.timestamp_micros(latest).alias("since"),
    )
    return conform(rows, DECISION_CONFLICTS.schema)
