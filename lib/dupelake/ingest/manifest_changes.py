"""The change feed of a Delta table as a manifest: what was added, changed and removed since a version. Reads only."""

from __future__ import annotations

from typing import NamedTuple

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import window as W

from dupelake.config import ManifestConfig
from dupelake.errors import ManifestError, first_line
from dupelake.ingest.identity_stage import plain_uri
from dupelake.ingest.manifest_cells_stage import quoted, unless_blank
from dupelake.ingest.manifest_names import URI, check_columns, find_uri_column, plain_name
from dupelake.ingest.manifest_place import Place

_TYPE, _VERSION, _TIME = "_change_type", "_commit_version", "_commit_timestamp"
_GONE = ("delete", "update_preimage")
_ID, _URI, _SCOPE = "_dupelake_id", "_dupelake_uri", "_dupelake_scope"  # as `normalise` tells rows apart
_NTH, _STAYS = "_dupelake_nth", "_dupelake_stays"


class Versions(NamedTuple):
    """Of a Delta table: the version up to which it was read before, or None; and the one up to which it is read now.

    Attributes:
        before: null before the first read.
        now: the newest version.
        id_before: the id in its metadata when it was read before; None if it was not noted.
        id_now: the id in its metadata.
    """

    before: int | None
    now: int
    id_before: str | None = None
    id_now: str = ""


def table_at(spark: SparkSession, place: Place, version: int) -> DataFrame:
    """All rows of a Delta table in a version."""
    return spark.read.format("delta").option("versionAsOf", version).load(place.hadoop)


def changed_rows(spark: SparkSession, place: Place, versions: Versions, cfg: ManifestConfig) -> DataFrame:
    """The rows that changed, each in its newest state; a row that is gone says so in `deleted`, as a tombstone does.

    The result is that of all changes together, so a version may be read again: what is known already changes nothing.
    A row is known by its `image_id`, or by its scope and its URI in any spelling. Before the first read all rows are
    taken.

    Raises:
        ManifestError: the changes were not recorded or are gone, or the table was made anew; see `check_columns`.
    """
    before, now, id_before, id_now = versions
    if before is None:
        return table_at(spark, place, now)
    if before > now or id_before not in (None, id_now):
        raise ManifestError(
            f"{place.path} is at version {now}, and version {before} was read before, but it was made anew since. Read "
            "it whole once: --set manifest.format=delta; with --listing, what it does not hold any more is marked"
        )
    if before == now:
        return table_at(spark, place, now).limit(0)
    feed = spark.read.format("delta").option("readChangeFeed", "true")
    try:
        rows = feed.option("startingVersion", before + 1).option("endingVersion", now).load(place.hadoop)
        rows._jdf.queryExecution().executedPlan()  # Delta looks for the changes when it plans
    except (PySparkException, Py4JJavaError) as error:
        raise ManifestError(
            f"{place.path}: its changes since version {before} cannot be read ({first_line(error)}); set its property "
            "delta.enableChangeDataFeed, and read it whole once, so that what is gone is marked, and the next feed "
            "starts there: --listing --set manifest.format=delta"
        ) from error
    return _newest(rows, place.path, cfg)


def _newest(feed: DataFrame, where: str, cfg: ManifestConfig) -> DataFrame:
    names = [name for name in feed.columns if name not in (_TYPE, _VERSION, _TIME)]
    check_columns(names, where, cfg.image_column)
    plain = {plain_name(name): F.col(quoted(name)).cast("string") for name in names}
    uri = F.col(quoted(find_uri_column(names, cfg.image_column) or URI)).cast("string")
    nothing = F.lit(None).cast("string")
    given = unless_blank(plain.get("image_id", nothing))
    scope = F.coalesce(unless_blank(plain.get("scope", nothing)), F.lit(cfg.default_scope))
    has_none = given.isNull()
    keyed = feed.withColumns({_ID: given, _URI: F.when(has_none, plain_uri(uri)), _SCOPE: F.when(has_none, scope)})
    is_gone = F.col(_TYPE).isin(*_GONE)
    newest = W.Window.partitionBy(_ID, _URI, _SCOPE).orderBy(F.desc(_VERSION), is_gone)
    rows = keyed.withColumn(_NTH, F.row_number().over(newest)).where(F.col(_NTH) == 1)
    # An UPDATE that gives a row a scope, or takes it, leaves a row that is gone. It would delete the image that lives
    # on, because a row without a scope refers to all images of its URI.
    one = W.Window.partitionBy(_ID, _URI)
    is_open = F.col(_SCOPE) == ""
    stays = F.max(~is_gone & is_open).over(one) | (is_open & F.max(~is_gone).over(one))
    rows = rows.withColumn(_STAYS, stays).where(~is_gone | ~F.coalesce(F.col(_STAYS), F.lit(False)))
    deleted = F.when(is_gone, F.lit("true")).otherwise(plain.get("deleted", nothing))
    others = [F.col(quoted(name)) for name in names if plain_name(name) != "deleted"]
    return rows.select(*others, deleted.alias("deleted"))
