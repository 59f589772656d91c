"""People's verdicts in DataFrames: from image ids to vertices, and from there to what groups must obey.

A verdict is about contents. `decided` keeps what each named image showed when the verdict was first seen, so that
later nights, other bytes under the same uri and deleted images change nothing about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.group import verdicts as kernel
from dupelake.group.bridges import KEPT
from dupelake.ingest.live_stage import pixel_representatives, scope_of
from dupelake.warehouse.schema import DECIDED, DECISION_CONFLICTS, DECISIONS, OK, conform

VERDICTS = (
    "vertex string, other_vertex string, verdict string, author string, decided_at timestamp, image_id string, "
    "other_image_id string, fault string"
)
_HELD = (
    "vertex string, label string, unit string, is_disputed boolean, apart array<string>, alternates array<string>, "
    "confirmed_by string, alternate_by string, apart_words string, chosen_by string, chosen_image string, "
    "chosen_at bigint"
)
_HELD_ARROW = pa.schema(
    [
        *((name, pa.string()) for name in ("vertex", "label", "unit")),
        ("is_disputed", pa.bool_()),
        *((name, pa.list_(pa.string())) for name in ("apart", "alternates")),
        *((n, pa.string()) for n in ("confirmed_by", "alternate_by", "apart_words", "chosen_by", "chosen_image")),
        ("chosen_at", pa.int64()),
    ]
)
_SAID = ("image_id", "other_image_id", "verdict", "author", "decided_at")
_AGAINST = tuple(f"against_{name}" for name in _SAID)
_TEXT = "string"
_CONFLICTS = ", ".join(
    ["kind string", *(f"{n} {'bigint' if n.endswith('decided_at') else _TEXT}" for n in (*_SAID, *_AGAINST))]
)
_CONFLICTS_ARROW = pa.schema(
    [
        ("kind", pa.string()),
        *((n, pa.int64() if n.endswith("decided_at") else pa.string()) for n in (*_SAID, *_AGAINST)),
    ]
)
TWO_KEEPERS = "two_keepers"
_MEANING = {
    kernel.UNKNOWN_IMAGE: "it names an image that no manifest brought, or that was never read; it is not applied, and "
    "nothing is removable in the group of the image that is known",
    kernel.DIFFERENT_SCOPES: "it joins images of two scopes, which are never compared; it is not applied, and nothing "
    "is removable in their groups",
    kernel.SAME_TIME: "two verdicts of the same time on the same pictures; the more careful one holds, and nothing is "
    "removable in their groups",
    kernel.NOT_DUPLICATE_OF_DUPLICATE: "the two are copies by other verdicts or by equal pixels; all pictures of that "
    "set are kept apart (equal pixels cannot be), and nothing is removable in their groups",
    kernel.ALTERNATE_OF_DUPLICATE: "the two are copies by other verdicts or by equal pixels; they stay in one group as "
    "alternates, and nothing in it is removable",
    kernel.NOT_DUPLICATE_OF_ALTERNATE: "the two are in one chain of alternates; these two are kept apart, the "
    "alternates of the chain no longer hold it together, and nothing is removable in their groups",
    TWO_KEEPERS: "both would stand in one group; they are kept apart, and nothing is removable in their groups",
}


def pins_of(decisions: DataFrame, decided: DataFrame, images: DataFrame) -> DataFrame:
    """What the images show that decisions name, where `decided` does not say so yet.

    Call it before a night reads manifests, and merge it into `decided`, which is never updated: so a verdict stays
    with the bytes that the person saw.

    Args:
        decisions: schema.DECISIONS.
        decided: schema.DECIDED as stored.
        images: schema.IMAGES, deleted ones included.

    Returns:
        schema.DECIDED, one row per image and time of a decision; an image without a content gets none.
    """
    named = _named(decisions).join(decided, ["image_id", "decided_at"], "left_anti")
    contents = _read(images).select("image_id", "content_id", "scope")
    return conform(contents.join(F.broadcast(named), "image_id"), DECIDED.schema)


def resolve_decisions(
    decisions: DataFrame, decided: DataFrame, images: DataFrame, hashes: DataFrame, cfg: Config
) -> DataFrame:
    """Decisions with the vertices that they are about: what `build_groups` takes.

    Args:
        decisions: schema.DECISIONS, the whole history. People's verdicts are few: they are broadcast.
        decided: schema.DECIDED; where it says nothing, the image's present content counts.
        images: schema.IMAGES, all of it: an image that is not in it counts as unknown.
        hashes: schema.HASHES, all of it: it gives contents of equal pixels one name.
        cfg: `lsh.scope` is read.

    Returns:
        VERDICTS, one row per decision. fault is null, or unknown_image (an image that nobody read), or
        different_scopes (duplicate or alternate between scopes that are not compared).
    """
    named = _named(decisions)
    present = _read(images).select("image_id", "content_id", "scope").join(F.broadcast(named), "image_id")
    pinned = decided.select("image_id", "content_id", "scope", "decided_at").join(
        F.broadcast(named), ["image_id", "decided_at"]
    )
    columns = ["image_id", "decided_at", "content_id", "scope"]
    both = pinned.select(*columns, F.lit(0).alias("way")).union(present.select(*columns, F.lit(1)))
    shown = (
        both.groupBy("image_id", "decided_at")
        .agg(
            F.min(F.struct("way", "content_id", "scope")).alias("shown"),
            F.max(F.when(F.col("way") == 1, F.col("scope"))).alias("now"),
        )
        # A verdict goes with its image into another scope.
        .select("image_id", "decided_at", "shown.content_id", F.coalesce("now", "shown.scope").alias("scope"))
    )
    scope = scope_of(cfg.lsh)
    vertices = shown.join(F.broadcast(_classes_of(shown, hashes)), "content_id", "left").select(
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
    joins = F.col("verdict").isin(kernel.DUPLICATE, kernel.ALTERNATE)
    fault = F.when(is_unknown, kernel.UNKNOWN_IMAGE).when(
        joins & (F.col("vertex_scope") != F.col("other_vertex_scope")), kernel.DIFFERENT_SCOPES
    )
    return joined.withColumn("fault", fault).select(
        "vertex", "other_vertex", "verdict", "author", "decided_at", "image_id", "other_image_id", "fault"
    )


def vertex_name(class_id: Column, scope: Column) -> Column:
    """The name of a vertex; no content id holds a slash, so class and scope cannot run into each other."""
    return F.concat(class_id, F.lit("/"), scope).alias("vertex")


def _read(images: DataFrame) -> DataFrame:
    """Images whose bytes were read, deleted ones included."""
    return images.where((F.col("status") == OK) & F.col("content_id").isNotNull())


def _named(decisions: DataFrame) -> DataFrame:
    """(image_id, decided_at) of every image that a decision names."""
    rows = decisions.select(DECISIONS.columns)
    others = rows.where("other_image_id IS NOT NULL").select("other_image_id", "decided_at")
    return rows.select("image_id", "decided_at").union(others).distinct()


def _classes_of(shown: DataFrame, hashes: DataFrame) -> DataFrame:
    """(content_id, class_id) of the contents in `shown`; the class is the smallest content id of equal pixels."""
    digests = hashes.select("content_id", "pixel_digest").join(
        F.broadcast(shown.select("content_id").distinct()), "content_id"
    )
    lowest = pixel_representatives(hashes.join(F.broadcast(digests.select("pixel_digest").distinct()), "pixel_digest"))
    return digests.join(lowest, "pixel_digest").select("content_id", "class_id")


def held_of(verdicts: DataFrame) -> DataFrame:
    """What people hold of each vertex that a verdict names, as kernels.verdicts.Held; deterministic.

    Args:
        verdicts: VERDICTS, all of them; they are weighed in one task.
    """
    return _arranged(verdicts).mapInArrow(_held_batches, _HELD)


def conflicts_of(verdicts: DataFrame) -> DataFrame:
    """Where verdicts contradict each other, as `_CONFLICTS`; `listed` makes rows of the table of them."""
    return _arranged(verdicts).mapInArrow(_conflict_batches, _CONFLICTS)


def _arranged(verdicts: DataFrame) -> DataFrame:
    columns = ("vertex", "other_vertex", "verdict", "author", "image_id", "other_image_id", "fault")
    return verdicts.select(*columns, F.unix_micros("decided_at").alias("decided_at")).repartition(1)


def _weigh(batches: Iterator[pa.RecordBatch]) -> tuple[list[kernel.Held], list[kernel.Conflict]]:
    rows = (row for batch in batches for row in batch.to_pylist())
    return kernel.weigh(
        kernel.Verdict(
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


def _held_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    held, _ = _weigh(batches)
    if held:
        yield from pa.Table.from_pylist([vars(row) for row in held], _HELD_ARROW).combine_chunks().to_batches()


def _conflict_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    _, conflicts = _weigh(batches)
    rows = []
    for conflict in conflicts:
        row: dict[str, object] = {"kind": conflict.kind}
        for names, said in ((_SAID, conflict.decision), (_AGAINST, conflict.against)):
            row |= {name: getattr(said, what, None) for name, what in zip(names, _SAID, strict=True)}
        rows.append(row)
    if rows:
        yield from pa.Table.from_pylist(rows, _CONFLICTS_ARROW).combine_chunks().to_batches()


def ties_of(held: DataFrame) -> DataFrame:
    """(src, dst): edges that connect what verdicts join, for components alone; dst may be a vertex that is gone."""
    return held.where("unit <> vertex").select(F.col("vertex").alias("src"), F.col("unit").alias("dst"))


def without_apart(edges: DataFrame, held: DataFrame) -> DataFrame:
    """`edges` between vertices that no verdict keeps apart."""
    src = held.select(F.col("vertex").alias("src"), F.col("apart").alias("_apart"))
    dst = held.select(F.col("vertex").alias("dst"), F.col("label").alias("_label"))
    marked = edges.join(F.broadcast(src), "src", "left").join(F.broadcast(dst), "dst", "left")
    is_apart = F.coalesce(F.array_contains("_apart", F.col("_label")), F.lit(False))
    return marked.where(~is_apart).select(edges.columns)


def spared(arcs: DataFrame, held: DataFrame) -> DataFrame:
    """`arcs` of which none is cut inside a unit: a person confirmed that it is no accident."""
    src = held.select(F.col("vertex").alias("src"), F.col("unit").alias("_src"))
    dst = held.select(F.col("vertex").alias("dst"), F.col("unit").alias("_dst"))
    marked = arcs.join(F.broadcast(src), "src", "left").join(F.broadcast(dst), "dst", "left")
    cut = F.when(F.col("_src") == F.col("_dst"), F.lit(KEPT).cast("bigint")).otherwise(F.col("cut"))
    return marked.withColumn("cut", cut).select(arcs.columns)


def rivals_of(
    held: DataFrame, members: DataFrame, arcs: DataFrame, checkpoint: Callable[[DataFrame], DataFrame]
) -> DataFrame:
    """Two chosen keepers that would stand in one group: of one unit, or one touching the other's unit.

    Args:
        held: of `held_of`.
        members: (vertex), live images.
        arcs: (src, dst, cut).
        checkpoint: materialises a DataFrame and returns one without lineage.

    Returns:
        (unit, other_unit, and of both keepers chosen_*, other_*): the one chosen later first; one row per two.
    """
    chosen = ("unit", "chosen_by", "chosen_image", "chosen_at")
    there = members.select("vertex").join(F.broadcast(held), "vertex").select("vertex", *chosen).distinct()
    live = checkpoint(there)
    keepers = live.where("chosen_by IS NOT NULL")
    kept = arcs.where(F.col("cut") == KEPT)
    links = kept.select(F.col("src").alias("vertex"), F.col("dst").alias("to")).union(kept.select("dst", "src"))
    touched = (
        links.join(F.broadcast(keepers), "vertex")
        .join(F.broadcast(live.select(F.col("vertex").alias("to"), F.col("unit").alias("to_unit"))), "to")
        .where("to_unit <> unit")
        .select("vertex", *chosen, "to_unit")
    )
    near = touched.union(keepers.select("vertex", *chosen, F.col("unit").alias("to_unit"))).distinct()
    others = keepers.select(
        F.col("vertex").alias("other"),
        F.col("unit").alias("to_unit"),
        *(F.col(name).alias(name.replace("chosen", "other")) for name in chosen[1:]),
    )
    both = near.join(F.broadcast(others), "to_unit").where("other <> vertex")
    later = F.struct("chosen_at", "chosen_image") >= F.struct("other_at", "other_image")
    turned = []
    for chosen_name, other_name in _SIDES:
        one, two = F.col(chosen_name), F.col(other_name)
        turned += [
            F.when(later, one).otherwise(two).alias(chosen_name),
            F.when(later, two).otherwise(one).alias(other_name),
        ]
    return both.withColumn("other_unit", F.col("to_unit")).select(*turned).distinct()


_SIDES = (
    ("unit", "other_unit"),
    ("chosen_by", "other_by"),
    ("chosen_image", "other_image"),
    ("chosen_at", "other_at"),
)


def rival_conflicts(rivals: DataFrame) -> DataFrame:
    """Rows of `_CONFLICTS` of keepers of one group."""
    none, keeper = F.lit(None).cast("string"), F.lit(kernel.KEEPER)
    values = {"kind": F.lit(TWO_KEEPERS)}
    for prefix, which in (("", "chosen"), ("against_", "other")):
        said = (F.col(f"{which}_image"), none, keeper, F.col(f"{which}_by"), F.col(f"{which}_at"))
        values |= {f"{prefix}{name}": value for name, value in zip(_SAID, said, strict=True)}
    return rivals.select(*(value.alias(name) for name, value in values.items()))


def listed(conflicts: DataFrame) -> DataFrame:
    """Rows of schema.DECISION_CONFLICTS, each under an id that its decisions give it."""
    meaning = F.create_map(*(F.lit(text) for item in _MEANING.items() for text in item))
    identity = F.to_json(F.struct("kind", *_SAID, *_AGAINST))
    times = [F.timestamp_micros(F.col(name)).alias(name) for name in ("decided_at", "against_decided_at")]
    latest = F.greatest("decided_at", "against_decided_at")  # a null is no rival
    rows = conflicts.distinct().select(
        F.substring(F.sha2(identity.cast("binary"), 256), 1, 32).alias("conflict_id"),
        "kind",
        *(name for name in (*_SAID, *_AGAINST) if not name.endswith("decided_at")),
        *times,
        meaning[F.col("kind")].alias("message"),
        F.timestamp_micros(latest).alias("since"),
    )
    return conform(rows, DECISION_CONFLICTS.schema)
