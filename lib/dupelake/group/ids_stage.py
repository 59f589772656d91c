"""Stable group ids: which new group inherits which stored id, and the events that follow."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column, DataFrame

from dupelake.frames.functions import F, W

EVENTS = ("born", "grew", "shrank", "merged_into", "split_from", "ended")


def assign_ids(
    rows: DataFrame, previous: DataFrame, changes: DataFrame, checkpoint: Callable[[DataFrame], DataFrame]
) -> tuple[DataFrame, DataFrame]:
    """Give each star of `rows` an id: an inherited one, else a new one.

    At most one star may claim a stored id: the star that contains the group's keeper. If no star contains it (the
    keeper was deleted or is in no group), it is the star with more than half of the members that are still in any
    group. A star with several claims takes one: a claim by keeper before one by majority, then the group born
    earliest, then the smaller id.

    Args:
        rows: (star, image_id, scope, is_keeper, group_size), one row per image.
        previous: schema.GROUPS as stored.
        changes: schema.GROUP_CHANGES as stored.
        checkpoint: materialises a DataFrame and returns one without lineage.

    Returns:
        named (star, group_id, group_size, is_born), one row per star;
        claims (star, old_id, shared, is_claim), one row per star and stored group with common images.
    """
    stars, claims = inherited_ids(rows, previous, changes, checkpoint)
    born = _new_ids(stars.where("inherited IS NULL"), previous, changes)
    named = checkpoint(
        stars.join(born, "star", "left").select(
            "star",
            F.coalesce("inherited", "new_id").alias("group_id"),
            "group_size",
            F.col("inherited").isNull().alias("is_born"),
        )
    )
    return named, claims


def inherited_ids(
    rows: DataFrame, previous: DataFrame, changes: DataFrame, checkpoint: Callable[[DataFrame], DataFrame]
) -> tuple[DataFrame, DataFrame]:
    """(star, scope, keeper_id, group_size, inherited), inherited null for a new group; and the claims of `assign_ids`.

    Args:
        rows: as for `assign_ids`.
        previous: as for `assign_ids`.
        changes: as for `assign_ids`; the births of the groups of `previous` are enough.
        checkpoint: as for `assign_ids`.
    """
    claims = checkpoint(_claims(rows, previous, changes))
    inherited = (
        claims.where("is_claim")
        .groupBy("star")
        .agg(F.min(F.struct("priority", "born_at", "old_id")).getField("old_id").alias("inherited"))
    )
    keepers = rows.where("is_keeper").select("star", "scope", F.col("image_id").alias("keeper_id"), "group_size")
    return checkpoint(keepers.join(inherited, "star", "left")), claims


def is_move() -> Column:
    """Whether a row of `differing` is a move, as `list_moves` says."""
    same = [F.col(f"before.{name}").eqNullSafe(F.col(f"after.{name}")) for name in ("group_id", "is_keeper")]
    return ~(same[0] & same[1])


def list_moves(differing: DataFrame) -> DataFrame:
    """Images that entered, left or changed their group, or became or ceased to be its keeper.

    The moves of all runs, applied in order, give the groups of any past night.

    Args:
        differing: (image_id, before, after): structs of schema.GROUPS, null if the image had or has no group; at
            least the images for which both differ.

    Returns:
        (image_id, from_group_id, to_group_id, is_keeper): one row per image that moved; null for no group.
    """
    return differing.where(is_move()).select(
        "image_id",
        F.col("before.group_id").alias("from_group_id"),
        F.col("after.group_id").alias("to_group_id"),
        "after.is_keeper",
    )


def _claims(rows: DataFrame, previous: DataFrame, changes: DataFrame) -> DataFrame:
    """Overlaps of new and stored groups, and whether they are a claim; `priority` is 0 by keeper, 1 by majority."""
    old = previous.select("image_id", F.col("group_id").alias("old_id"), F.col("is_keeper").alias("was_keeper"))
    births = (
        changes.where(F.col("event") == "born")
        .groupBy(F.col("group_id").alias("old_id"))
        .agg(F.unix_micros(F.min("changed_at")).alias("born_at"))
    )
    by_old = W.partitionBy("old_id")
    shared = (
        rows.select("star", "image_id")
        .join(old, "image_id")
        .groupBy("star", "old_id")
        .agg(F.count("*").alias("shared"), F.max("was_keeper").alias("has_keeper"))
    )
    weighed = shared.select(
        "*",
        F.sum("shared").over(by_old).alias("n_remaining"),
        F.max("has_keeper").over(by_old).alias("keeper_remains"),
    )
    by_majority = ~F.col("keeper_remains") & (F.col("shared") * 2 > F.col("n_remaining"))
    return weighed.join(births, "old_id", "left").select(
        "star",
        "old_id",
        "shared",
        (F.col("has_keeper") | by_majority).alias("is_claim"),
        F.when(F.col("has_keeper"), 0).otherwise(1).alias("priority"),
        F.coalesce("born_at", F.lit(2**63 - 1)).alias("born_at"),
    )


def _id(seed_number: Column) -> Column:
    """32 hex digits of a hash of the scope, the keeper and the number of earlier ids of this seed."""
    seed = F.to_json(
        F.struct("scope", "keeper_id", seed_number.alias("number"))
    )  # JSON quotes the fields, so they stay distinct
    return F.substring(F.sha2(seed.cast("binary"), 256), 1, 32)


def _new_ids(stars: DataFrame, previous: DataFrame, changes: DataFrame) -> DataFrame:
    """(star, new_id): the first id of the star's seed that no group ever had."""
    used = previous.select(F.col("group_id").alias("id")).union(changes.select("group_id")).distinct()
    # A seed takes at most one id a run. So one number more than the number of runs (plus one id that `previous` may
    # have without an event) is enough. Hardly any star needs more than the first.
    first = stars.withColumn("id", _id(F.lit(0)))
    fresh = first.join(used, "id", "left_anti").select("star", F.col("id").alias("new_id"))
    n_runs = changes.agg(F.count_distinct("run_id").cast("int")).scalar()
    number = F.explode(F.sequence(F.lit(1), n_runs + 2))
    later = (
        first.join(used, "id", "left_semi")
        .drop("id")
        .withColumn("number", number)
        .withColumn("id", _id(F.col("number")))
        .join(used, "id", "left_anti")
        .groupBy("star")
        .agg(F.min(F.struct("number", "id")).getField("id").alias("new_id"))
    )
    return fresh.union(later)


def list_changes(named: DataFrame, claims: DataFrame, previous: DataFrame) -> DataFrame:
    """The events between `previous` and the groups of `named`.

    A stored group whose id no star took is merged into the star that claimed it, else it has ended.

    Args:
        named: first result of `assign_ids`.
        claims: second result of `assign_ids`.
        previous: schema.GROUPS as stored.

    Returns:
        (group_id, event, other_group_id, n_images), at most one row per group and event.
    """
    none = F.lit(None).cast("string")
    old = previous.groupBy(F.col("group_id").alias("old_id")).agg(F.count("*").alias("old_size"))
    kept = named.where("NOT is_born").join(old, named["group_id"] == old["old_id"])
    newborn = named.where("is_born")
    born = newborn.select(
        "group_id", F.lit("born").alias("event"), none.alias("other_group_id"), F.col("group_size").alias("n_images")
    )
    resized = kept.where("group_size <> old_size").select(
        "group_id", F.when(F.col("group_size") > F.col("old_size"), "grew").otherwise("shrank"), none, "group_size"
    )
    # among the groups that continue, the one that gave most images; at a tie the smaller id
    source = F.min(F.struct((-F.col("shared")).alias("fewest"), "old_id")).getField("old_id")
    split = (
        newborn.join(claims, "star")
        .join(kept.select("old_id"), "old_id", "left_semi")
        .groupBy("group_id", "group_size")
        .agg(source.alias("other"))
        .select("group_id", F.lit("split_from"), "other", "group_size")
    )
    gone = old.join(kept.select("old_id"), "old_id", "left_anti")
    successor = claims.where("is_claim").join(named, "star").select("old_id", F.col("group_id").alias("successor"))
    left = gone.join(successor, "old_id", "left").select(
        "old_id", F.when(F.col("successor").isNull(), "ended").otherwise("merged_into"), "successor", F.lit(0)
    )
    return born.union(resized).union(split).union(left)
