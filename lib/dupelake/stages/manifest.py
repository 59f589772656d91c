"""A manifest as found -> rows of schema.MANIFEST -> the rows that a run has to process.

A fault of one row is a row with a reason; only a manifest that is unusable as a whole raises. What comes out depends
on the set of rows alone, never on their order, number of partitions or number of repeats.

`no_uri`
    The URI is null or blank.
`image_id_conflict`
    An id stands for two URIs. One keeps it: in a manifest the smallest (partition, uri); against the images table
    the URI that is stored. Each other row gets the id `<id>~<first 16 hex digits of sha256(uri)>`, so that ids stay
    unique and the failed row can be stored and seen.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql import window as W

from dupelake.config import ManifestConfig
from dupelake.errors import ManifestError
from dupelake.schema import MANIFEST, conform

NO_URI, CONFLICT = "no_uri", "image_id_conflict"

# Partition of a row whose manifest gives none. Never '': Delta stores an empty partition value as null. It sorts
# after every date, so `--since` always includes such rows.
NO_PARTITION = "all"

_KNOWN = ("image_id", "uri", "partition", "scope", "captured_at")
# 64 bits: a manifest that gives one id to a million files must still come out with a million ids.
_SUFFIX_DIGITS = 16
_SUFFIX = f"~[0-9a-f]{{{_SUFFIX_DIGITS}}}$"
# Only what starts with a year is a time: Spark also casts '12:30' (to today's date). Year 0 is EXIF's "unknown".
_YEAR_FIRST = r"^(?!0000)\d{4}(\D|$)"
_EXIF_TIME = "yyyy:MM:dd HH:mm:ss"


def check_columns(names: Sequence[str], where: str) -> None:
    """Refuses a manifest whose columns cannot be used.

    Names are compared without regard to case and surrounding spaces, as everywhere here.

    Args:
        names: the columns as found; of a CSV those of the header line, since Spark renames repeated ones.
        where: what the message calls the manifest.

    Raises:
        ManifestError: a column is named twice, or there is no `uri`.
    """
    plain = [_plain(name) for name in names]
    twice = sorted({name for name in plain if name and plain.count(name) > 1})
    if twice:
        raise ManifestError(f"{where} names a column twice: {', '.join(twice)}; its columns are {list(names)}")
    if "uri" not in plain:
        hint = "; JSON must be one object a line" if plain == ["_corrupt_record"] else ""
        raise ManifestError(f"{where} has no column `uri`; its columns are {list(names)}{hint}")


def as_text(raw: DataFrame) -> DataFrame:
    """Every column as a string, the known ones under their own names; so manifests of any kind can be united.

    Dates become YYYY-MM-DD, nested values JSON, binary ones base64. Applying it twice changes nothing.

    Raises:
        ManifestError: see check_columns.
    """
    check_columns(raw.columns, "the manifest")
    columns = []
    for field in raw.schema.fields:
        plain = _plain(field.name)
        name = plain if plain in _KNOWN else field.name.strip()
        value = F.col(_quoted(field.name))
        if plain == "partition" and isinstance(field.dataType, T.TimestampType | T.TimestampNTZType):
            value = F.to_date(value)
        columns.append(_text(value, field.dataType).alias(name))
    return raw.select(columns)


def normalise(raw: DataFrame, cfg: ManifestConfig) -> DataFrame:
    """A manifest, as found, as rows of schema.MANIFEST with unique image ids.

    Repeats of (image_id, uri) collapse to the row of the smallest partition. `uri` is kept to the letter. A time in
    `captured_at` that cannot be parsed stays in `extra`.

    Args:
        raw: what manifests.read_manifests gives; any column types.
        cfg: default_scope is used here.

    Raises:
        ManifestError: no `uri` column, or a column named twice.
    """
    text = as_text(raw)
    names = sorted(text.columns)
    whole_row = F.to_json(F.struct(*[F.col(_quoted(name)) for name in names]))
    uri = F.when(~F.col("uri").rlike(r"^\s*$"), F.col("uri"))
    given_id = _given(text, "image_id")
    captured = _given(text, "captured_at")
    time = F.when(
        captured.rlike(_YEAR_FIRST),
        F.coalesce(captured.try_cast("timestamp"), F.try_to_timestamp(captured, F.lit(_EXIF_TIME))),
    )
    rows = text.select(
        F.coalesce(given_id, _digest(F.coalesce(uri, whole_row), 32)).alias("image_id"),
        uri.alias("uri"),
        F.coalesce(_given(text, "partition"), F.lit(NO_PARTITION)).alias("partition"),
        F.coalesce(_given(text, "scope"), F.lit(cfg.default_scope)).alias("scope"),
        time.alias("captured_at"),
        _extra(names, F.when(time.isNull(), captured)).alias("extra"),
        F.xxhash64(whole_row).alias("_tie"),
    )
    return conform(_unique_ids(rows), MANIFEST)


def new_rows(
    manifest: DataFrame,
    images: DataFrame | None,
    *,
    partitions: list[str] | None = None,
    since: str | None = None,
    full: bool = False,
) -> DataFrame:
    """The rows of a manifest that a run processes.

    Without options every row that is not stored yet, late rows of old partitions included: equal manifests give no
    row the second night. A stored row counts as processed when id and URI are the same, whether it failed or not
    (`full` tries again). A row whose id is stored with another URI comes out as image_id_conflict, once; a stored
    row without URI gives way to one that has it.

    Args:
        manifest: of `normalise`, whole.
        images: the stored images, or None before the first run.
        partitions: only these.
        since: only partitions >= this, in string order.
        full: every row of the partitions asked for, stored or not; the manifest wins over what is stored.
    """
    rows = manifest
    if partitions is not None:
        rows = rows.where(F.col("partition").isin(partitions))
    if since is not None:
        rows = rows.where(F.col("partition") >= F.lit(since))
    if images is None or full:
        return conform(rows, MANIFEST)
    # A row that lost its id inside the manifest is looked up under the id it asked for: the stored winner may be
    # another one (an older partition that came late), and then this very row may be the stored one.
    asked = F.when(F.col("reason").isNotNull(), F.regexp_replace("image_id", _SUFFIX, "")).otherwise(F.col("image_id"))
    stored = images.select(F.col("image_id").alias("_id"), F.col("uri").alias("_stored_uri"))
    met = rows.withColumn("_asked", asked).join(stored, F.col("_asked") == F.col("_id"), "left")
    taken = F.col("_id").isNotNull() & F.col("_stored_uri").isNotNull()
    # Compared null-safe: a stored row without URI and the same row again are the same.
    todo = met.where(F.col("_id").isNull() | ~F.col("_stored_uri").eqNullSafe(F.col("uri")))
    todo = _conflicting(todo, taken, F.col("_asked"), F.col("_stored_uri"), "the images table")
    # Conflicts have an id of their own that may be stored already; so may losers whose winner is not stored yet.
    known = stored.where(F.col("_id").rlike(_SUFFIX)).select(F.col("_id").alias("_known"))
    is_known = (F.col("image_id") == F.col("_known")) & F.col("reason").isNotNull()
    return conform(todo.join(known, is_known, "left_anti"), MANIFEST)


def _unique_ids(rows: DataFrame) -> DataFrame:
    """One row per (image_id, uri), one owner per image_id; the others become conflicts."""
    # The first window's shuffle by image_id serves the second one too.
    by_id = W.Window.partitionBy("image_id").orderBy(F.col("uri").isNull(), "partition", "uri", "_tie")
    by_pair = W.Window.partitionBy("image_id", "uri").orderBy("partition", "_tie")
    marked = (
        rows.withColumn("_winner", F.first("uri").over(by_id))
        .withColumn("_nth", F.row_number().over(by_pair))
        .where(F.col("_nth") == 1)
    )
    no_uri = F.col("uri").isNull()
    marked = marked.withColumn("reason", F.when(no_uri, F.lit(NO_URI))).withColumn(
        "error_message", F.when(no_uri, F.lit("the row has no uri"))
    )
    lost = F.col("_winner").isNotNull() & ~F.col("_winner").eqNullSafe(F.col("uri"))
    return _conflicting(marked, lost, F.col("image_id"), F.col("_winner"), "the manifest")


def _conflicting(rows: DataFrame, lost: Column, asked: Column, winner: Column, where: str) -> DataFrame:
    """The rows that lost their id, under an id of their own and with the reason; the rest as it is."""
    own = F.concat(asked, F.lit("~"), _digest(F.coalesce(F.col("uri"), F.lit("")), _SUFFIX_DIGITS))
    message = F.concat(F.lit("image_id "), asked, F.lit(f" stands in {where} for "), winner)
    clash = lost & F.col("uri").isNotNull()
    return rows.withColumns(
        {
            "image_id": F.when(lost, own).otherwise(F.col("image_id")),
            "reason": F.when(clash, F.lit(CONFLICT)).otherwise(F.col("reason")),
            "error_message": F.when(clash, message).otherwise(F.col("error_message")),
        }
    )


def _extra(names: Sequence[str], captured: Column) -> Column:
    """The columns that are not known ones, and an unparsable captured_at, as a map; null when all are null."""
    others: list[Column] = [F.lit("captured_at"), captured]
    for name in names:
        if name not in _KNOWN:
            others += [F.lit(name), F.col(_quoted(name))]
    values = F.map_filter(F.create_map(*others), lambda _, value: value.isNotNull())
    return F.when(F.size(values) > 0, values)


def _given(text: DataFrame, name: str) -> Column:
    """A known column without surrounding white space; null when it is blank or not there."""
    if name not in text.columns:
        return F.lit(None).cast("string")
    trimmed = F.regexp_replace(F.col(name), r"^\s+|\s+$", "")
    return F.when(trimmed != "", trimmed)


def _digest(text: Column, digits: int) -> Column:
    return F.substring(F.sha2(text, 256), 1, digits)


def _text(value: Column, kind: T.DataType) -> Column:
    if isinstance(kind, T.BinaryType):
        return F.base64(value)
    if isinstance(kind, T.StructType | T.ArrayType | T.MapType | T.VariantType):
        return F.to_json(value)
    return value.cast("string")


def _plain(name: str) -> str:
    return name.strip().lower()


def _quoted(name: str) -> str:
    """A name that Spark takes to the letter: dots and backticks in it are no syntax."""
    return "`" + name.replace("`", "``") + "`"
