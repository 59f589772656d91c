"""Unique image ids for the rows of a manifest; rows that claim one id become conflicts.

The module docstring of ingest/new_images_stage.py lists the faults and their consequences.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

from dupelake.config import ManifestConfig
from dupelake.ingest.identity_stage import digest, uri_id
from dupelake.ingest.manifest_cells_stage import message_of, reason_of

NO_URI, CONFLICT = "no_uri", "image_id_conflict"
# 64 bits: if a manifest gives one id to a million files, each file still gets an id of its own.
_SUFFIX_DIGITS = 16
SUFFIX = f"~[0-9a-f]{{{_SUFFIX_DIGITS}}}$"


def asked_id() -> Column:
    """The id that a row of `normalise` asked for; a row in conflict has another id."""
    return F.when(F.col("reason").isNotNull(), F.regexp_replace("image_id", SUFFIX, "")).otherwise(F.col("image_id"))


def conflict_id(asked: Column, name: Column) -> Column:
    """The id of a row in conflict: the id that it asked for, and a digest of the name that distinguishes the row."""
    return F.concat(asked, F.lit("~"), digest(F.coalesce(name, F.lit("")), _SUFFIX_DIGITS))


def with_image_ids(rows: DataFrame, cfg: ManifestConfig, *, has_scopes: bool) -> DataFrame:
    """Rows with their image_id. A row without id and scope is repeated for each scope that other rows name for its URI.

    Args:
        rows: _given (the manifest's id), _whole (digest of the row), uri, _plain (the plain URI), scope, ...
        cfg: default_scope is used.
        has_scopes: whether the manifest has a column `scope`.
    """
    scope, plain = F.col("scope"), F.col("_plain")
    if has_scopes and cfg.default_scope == "":  # a row without id and scope refers to each named scope
        of_uri = W.Window.partitionBy("_plain")
        named = F.when(F.col("_given").isNull() & (scope != ""), scope)
        is_open = F.col("_given").isNull() & (scope == "") & plain.isNotNull()
        scopes = F.when(is_open & (F.size("_scopes") > 0), F.sort_array("_scopes")).otherwise(F.array("scope"))
        rows = rows.withColumn("_scopes", F.collect_set(named).over(of_uri)).select(
            *(name for name in rows.columns if name not in ("scope", "_weight")),
            F.posexplode(scopes).alias("_weight", "scope"),
        )
        rows = rows.withColumn("_weight", F.when(F.col("_weight") == 0, 1).otherwise(0))  # a row counts once
    own = uri_id(scope, plain, cfg.default_scope)
    return rows.withColumn("image_id", F.coalesce("_given", own, "_whole"))


def _claims(rows: DataFrame) -> DataFrame:
    """Sets `scope` to the scope of the id's last partition, and `_claim` to another scope that this partition names."""
    pair = W.Window.partitionBy("image_id", "_plain")
    is_named = (F.col("scope") != "") & ~F.col("is_deleted")
    is_last = is_named & (F.col("partition") == F.col("_named_at"))
    others = F.slice("_scopes", 2, F.greatest(F.size("_scopes"), F.lit(1)))
    return (
        rows.withColumn("_named_at", F.max(F.when(is_named, F.col("partition"))).over(pair))
        .withColumn("_scopes", F.sort_array(F.collect_set(F.when(is_last, F.col("scope"))).over(pair)))
        .withColumn("_claim", F.when(is_last & F.array_contains(others, F.col("scope")), F.col("scope")))
        .withColumn("scope", F.coalesce(F.try_element_at("_scopes", F.lit(1)), "scope"))
    )


def unique_ids(rows: DataFrame, *, has_scopes: bool) -> DataFrame:
    """One row per image_id and plain URI, one owner per image_id; the other rows become conflicts."""
    # One shuffle by image_id serves all windows.
    rows = rows.repartition("image_id")
    rows = _claims(rows) if has_scopes else rows.withColumn("_claim", F.lit(None).cast("string"))
    pair = W.Window.partitionBy("image_id", "_plain", "_claim")
    last = F.struct("partition", "is_deleted", "_tie")
    # An escaped `file:` URI is also tried by its literal name if no file has the decoded one, so it comes first.
    order_of_names = ("partition", ~F.contains("uri", F.lit("%")), "uri", "_tie")
    pairs = (
        rows.withColumn("_nth", F.row_number().over(pair.orderBy(*order_of_names)))
        .withColumn("marks", F.max_by("marks", last).over(pair))
        .withColumn("place", F.max_by("place", last).over(pair))
        .withColumn("_last", F.max(F.struct("partition", "is_deleted")).over(pair))
        .withColumn("_n", F.sum("_weight").over(pair))
        .where(F.col("_nth") == 1)
    )
    image = W.Window.partitionBy("image_id")
    order = (F.col("uri").isNull(), F.col("_last.is_deleted"), "partition", "_plain", "_tie")
    marked = pairs.withColumns(
        {
            "_winner": F.first("_plain").over(image.orderBy(*order)),
            "_id_tombstone_at": F.max(F.when(F.col("_is_id_tombstone"), F.col("_last.partition"))).over(image),
            "_n_id_tombstones": F.sum(F.when(F.col("_is_id_tombstone"), F.col("_n"))).over(image),
        }
    )
    marked = marked.where(~F.col("_is_id_tombstone") | F.col("_winner").isNull())
    no_uri = F.col("uri").isNull()
    absorbs = F.coalesce((F.col("_plain") == F.col("_winner")) & F.col("_id_tombstone_at").isNotNull(), F.lit(False))
    absorbs = absorbs & F.col("_claim").isNull()
    by_id = absorbs & (F.col("_id_tombstone_at") >= F.col("_last.partition"))
    marked = marked.withColumns(
        {
            "is_deleted": F.col("_last.is_deleted") | by_id,
            "last_partition": F.greatest("_last.partition", F.when(absorbs, F.col("_id_tombstone_at"))),
            "n_rows": F.col("_n") + F.when(absorbs, F.col("_n_id_tombstones")).otherwise(0),
            "reason": F.coalesce(reason_of(F.col("fault")), F.when(no_uri, F.lit(NO_URI))),
            "error_message": F.coalesce(message_of(F.col("fault")), F.when(no_uri, F.lit("the row has no uri"))),
        }
    )
    lost = F.col("_winner").isNotNull() & ~F.col("_winner").eqNullSafe(F.col("_plain")) & F.col("_claim").isNull()
    asked = F.col("image_id")
    told = with_conflicts(marked, lost, asked, F.col("_winner"), "the manifest")
    return _claimed(told) if has_scopes else told


def _claimed(rows: DataFrame) -> DataFrame:
    """Gives rows that claim an id for another scope an id of their own and a reason; other rows are unchanged."""
    claims = F.col("_claim").isNotNull()
    own = conflict_id(F.col("image_id"), F.concat(F.coalesce("_plain", F.lit("")), F.lit("\0"), "_claim"))
    message = F.concat(
        F.lit("image_id "), "image_id", F.lit(" stands in partition "), "partition", F.lit(" for the scopes "),
        F.array_join("_scopes", ", "), F.lit("; an image with an id of its own has one scope"),
    )  # fmt: skip
    return rows.withColumns(
        {
            "error_message": F.when(claims, message).otherwise(F.col("error_message")),
            "reason": F.when(claims, F.lit(CONFLICT)).otherwise(F.col("reason")),
            "scope": F.coalesce("_claim", "scope"),
            "image_id": F.when(claims, own).otherwise(F.col("image_id")),
        }
    )


def with_conflicts(rows: DataFrame, lost: Column, asked: Column, winner: Column, where: str) -> DataFrame:
    """Gives the rows (with _plain) that `lost` their id an id of their own and a reason; other rows are unchanged."""
    own = conflict_id(asked, F.col("_plain"))
    message = F.concat(F.lit("image_id "), asked, F.lit(f" stands in {where} for "), winner)
    clash = lost & F.col("uri").isNotNull()
    return rows.withColumns(
        {
            "image_id": F.when(lost, own).otherwise(F.col("image_id")),
            "reason": F.when(clash, F.lit(CONFLICT)).otherwise(F.col("reason")),
            "error_message": F.when(clash, message).otherwise(F.col("error_message")),
        }
    )
