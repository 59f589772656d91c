"""A manifest as found -> rows of schema.MANIFEST -> the rows that a run has to process.

A fault of one row is a row with a reason; only a manifest that is unusable as a whole raises. What comes out depends
on the set of rows alone, never on their order, number of partitions or number of repeats.

`no_uri`
    The URI is null or blank.
`bad_row`, `relative_uri`
    The reader of the manifest could not use the row, or its URI; manifests.py says when.
`image_id_conflict`
    An id stands for two URIs. One keeps it: in a manifest the smallest (partition, uri); against the images table
    the URI that is stored, unless that image was deleted. Each other row gets the id
    `<id>~<first 16 hex digits of sha256(uri)>`, so that ids stay unique and the failed row can be stored and seen.

Tombstones: a row whose column `deleted` says yes. Of the rows of one image that of the last partition tells whether it
is gone, in one partition the tombstone; a tombstone that gives an id and no URI stands for the image of that id.
Marks: `etag`, `last_modified`, `byte_size`, of the last partition; by them bytes that changed are noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql import window as W

from dupelake.config import ManifestConfig
from dupelake.schema import FAILED, MANIFEST, conform
from dupelake.stages.again import MARKS, marks_differ, may_mend
from dupelake.stages.manifest_cells import EXTRA, FAULT, json_of, map_of, message_of, partition_name, reason_of
from dupelake.stages.manifest_columns import KNOWN, ORIGIN, as_text

NO_URI, CONFLICT = "no_uri", "image_id_conflict"
NEW, CHANGED, RETRIED, RETURNED, AGAIN, NOTED = "new", "changed", "retried", "returned", "again", "noted"
FORGOTTEN = "forgotten"  # deleted_reason of `dupelake forget`: what still lists the image does not bring it back

_YES, _NO = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")

# Partition of a row whose manifest gives none. Never '': Delta stores an empty partition value as null. It sorts
# after every date, so `--since` always includes such rows.
NO_PARTITION = "all"

WANTED = T.StructType(
    [*MANIFEST.fields, T.StructField("attempts", T.IntegerType()), T.StructField("why", T.StringType())]
)
"""What `wanted_rows` gives: MANIFEST, the attempts that failed before, and why the row is there."""
# 64 bits: a manifest that gives one id to a million files must still come out with a million ids.
_SUFFIX_DIGITS = 16
_SUFFIX = f"~[0-9a-f]{{{_SUFFIX_DIGITS}}}$"
# Only what starts with a year is a time: Spark also casts '12:30' (to today's date). Year 0 is EXIF's "unknown".
_YEAR_FIRST = r"^(?!0000)\d{4}(\D|$)"
_EXIF_TIME = "yyyy:MM:dd HH:mm:ss"


_STORED = (
    "image_id",
    "uri",
    "status",
    "reason",
    "deleted_at",
    "deleted_reason",
    "attempts",
    "ingested_at",
    "marks",
    "source",
)


def normalise(raw: DataFrame, cfg: ManifestConfig) -> DataFrame:
    """A manifest, as found, as rows of schema.MANIFEST with unique image ids.

    Repeats of (image_id, uri) collapse to the row of the smallest partition. `uri` is kept to the letter. A time in
    `captured_at` that cannot be parsed stays in `extra`, and so does a word in `deleted` that is neither yes nor no:
    nothing is deleted on suspicion.

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
    time = _time(captured)
    deleted = _given(text, "deleted")
    is_deleted = F.coalesce(F.lower(deleted).isin(*_YES), F.lit(False))
    unclear = F.when(~F.lower(deleted).isin(*_YES, *_NO), deleted)
    rows = text.select(
        F.coalesce(given_id, _digest(F.coalesce(uri, whole_row), 32)).alias("image_id"),
        uri.alias("uri"),
        F.coalesce(partition_name(_given(text, "partition")), F.lit(NO_PARTITION)).alias("partition"),
        F.coalesce(_given(text, "scope"), F.lit(cfg.default_scope)).alias("scope"),
        time.alias("captured_at"),
        _extra(names, {"captured_at": F.when(time.isNull(), captured), "deleted": unclear}).alias("extra"),
        _marks(text).alias("marks"),
        _given(text, FAULT).alias("fault"),
        F.coalesce(_given(text, ORIGIN), F.lit("")).alias("source"),
        is_deleted.alias("is_deleted"),
        (is_deleted & uri.isNull() & given_id.isNotNull()).alias("_is_bare"),
        F.xxhash64(whole_row).alias("_tie"),
    )
    return conform(_unique_ids(rows), MANIFEST)


def new_rows(manifest: DataFrame, images: DataFrame | None, **options: Any) -> DataFrame:
    """The rows of a manifest that a run processes: `wanted_rows`, which takes `options`, but the noted ones."""
    return wanted_rows(manifest, images, **options).where(F.col("why") != NOTED)


def wanted_rows(
    manifest: DataFrame,
    images: DataFrame | None,
    *,
    partitions: list[str] | None = None,
    since: str | None = None,
    full: bool = False,
    max_attempts: int = 3,
    last_run: int | None = None,
) -> DataFrame:
    """The rows of a manifest that a run processes, each with `why`; tombstones never.

    `new`: every row that is not stored yet, late rows of old partitions included: equal manifests give no row the
    second night. A row whose id is stored with another URI comes out as image_id_conflict, once; a stored row without
    URI, or of a deleted image, gives way to one that has it. `changed`: stored with other marks. `retried`: it failed
    for a reason that another night may have mended, on fewer than `max_attempts` nights. `returned`: deleted, and
    listed again; forgotten images stay away. `again`: with `full`, every stored row. `noted`: nothing to read; the
    manifest gives a mark or a source that the stored row lacks.

    Args:
        manifest: of `normalise`, whole.
        images: the stored images (schema.IMAGES), or None before the first run.
        partitions: only rows whose first or last partition is one of these.
        since: only rows whose last partition is >= this, in string order.
        full: every row of the partitions asked for, stored or not; the manifest wins over what is stored.
        max_attempts: nights on which a row that fails is tried.
        last_run: start of the last run that came to its end (microseconds since 1970); what was tried after it was
            tried by a run that was killed, which this one finishes, and not by another night. None: no matter.

    Returns:
        WANTED.
    """
    rows = selected(manifest.where(~F.col("is_deleted")), partitions, since)
    if images is None:
        return conform(rows.withColumns({"attempts": F.lit(0), "why": F.lit(NEW)}), WANTED)
    # A row that lost its id inside the manifest is looked up under the id it asked for: the stored winner may be
    # another one (an older partition that came late), and then this very row may be the stored one.
    met = rows.withColumn("_asked", F.col("image_id") if full else asked_id()).join(
        images.select([F.col(name).alias(f"_stored_{name}") for name in _STORED]),
        F.col("_asked") == F.col("_stored_image_id"),
        "left",
    )
    is_stored = F.col("_stored_image_id").isNotNull()
    is_forgotten = F.col("_stored_deleted_at").isNotNull() & F.col("_stored_deleted_reason").eqNullSafe(FORGOTTEN)
    if full:
        why = F.when(is_stored & is_forgotten, None).otherwise(F.when(is_stored, AGAIN).otherwise(NEW))
        todo = met.withColumn("why", why)
    else:
        todo = _met_rows(met, images, is_stored, is_forgotten, _is_due(max_attempts, last_run))
    before = F.when(F.col("why").isin(RETRIED, AGAIN), F.coalesce("_stored_attempts", F.lit(0))).otherwise(0)
    return conform(todo.where(F.col("why").isNotNull()).withColumn("attempts", before), WANTED)


def _is_due(max_attempts: int, last_run: int | None) -> Column:
    """Whether a stored row failed, may have been mended, and is to be tried on another night."""
    may = may_mend(F.col("_stored_reason"), F.col("_stored_marks"))
    due = (F.col("_stored_status") == FAILED) & may & (F.coalesce("_stored_attempts", F.lit(1)) < max_attempts)
    return due if last_run is None else due & (F.unix_micros("_stored_ingested_at") <= F.lit(last_run))


def _met_rows(met: DataFrame, images: DataFrame, is_stored: Column, is_forgotten: Column, is_due: Column) -> DataFrame:
    """Rows beside what is stored under the id they asked for -> with `why`, null where nothing is to do."""
    stored_uri = F.col("_stored_uri")
    is_away = F.col("_stored_deleted_at").isNotNull()
    # Compared null-safe: a stored row without URI and the same row again are the same.
    is_same = is_stored & stored_uri.eqNullSafe(F.col("uri"))
    lost_away = (
        is_same & is_away & ~is_forgotten & F.col("reason").isNotNull()
    )  # another row of the manifest has the id
    marks, stored_marks = F.col("marks"), F.col("_stored_marks")
    lacks = F.exists(F.map_keys(marks), lambda key: ~F.coalesce(F.map_contains_key(stored_marks, key), F.lit(False)))
    same = (
        F.when(is_forgotten, None)
        .when(is_away, RETURNED)
        .when(marks_differ(stored_marks, marks), CHANGED)
        .when(is_due, RETRIED)
        .when(F.coalesce(lacks, F.lit(False)) | F.col("_stored_source").isNull(), NOTED)
    )
    why = F.when(is_same & ~lost_away, same).when(is_stored & is_away & ~is_forgotten, RETURNED).otherwise(NEW)
    met = met.withColumn("why", why).withColumn("_is_same", is_same & ~lost_away)
    kept = met.where(F.col("_is_same") & F.col("why").isNotNull()).withColumns(
        {
            "image_id": F.col("_asked"),
            "reason": _unless_conflict("reason"),
            "error_message": _unless_conflict("error_message"),
        }
    )
    taken = stored_uri.isNotNull() & (~is_away | is_forgotten)
    todo = _conflicting(
        met.where(~F.col("_is_same")), is_stored & taken, F.col("_asked"), stored_uri, "the images table"
    )
    # Conflicts have an id of their own that may be stored already; so may losers whose winner is not stored yet.
    known = images.where(F.col("image_id").rlike(_SUFFIX)).select(F.col("image_id").alias("_known"))
    is_known = (F.col("image_id") == F.col("_known")) & F.col("reason").isNotNull()
    return kept.unionByName(todo.join(known, is_known, "left_anti"))


def selected(manifest: DataFrame, partitions: list[str] | None, since: str | None) -> DataFrame:
    """The rows of the partitions that a run is asked for, as `wanted_rows` says; None asks for all."""
    if partitions is not None:
        names = [partition_name(F.lit(name)) for name in partitions]
        manifest = manifest.where(F.col("partition").isin(names) | F.col("last_partition").isin(names))
    if since is not None:
        manifest = manifest.where(F.col("last_partition") >= F.lit(since))
    return manifest


def asked_id() -> Column:
    """The id that a row of `normalise` asked for, whether it got it or not."""
    return F.when(F.col("reason").isNotNull(), F.regexp_replace("image_id", _SUFFIX, "")).otherwise(F.col("image_id"))


def _unless_conflict(name: str) -> Column:
    return F.when(F.col("reason") != CONFLICT, F.col(name))


def _unique_ids(rows: DataFrame) -> DataFrame:
    """One row per (image_id, uri), one owner per image_id; the others become conflicts."""
    # One shuffle by image_id serves both windows.
    pair = W.Window.partitionBy("image_id", "uri")
    last = F.struct("partition", "is_deleted", "_tie")
    pairs = (
        rows.repartition("image_id")
        .withColumn("_nth", F.row_number().over(pair.orderBy("partition", "_tie")))
        .withColumn("marks", F.max_by("marks", last).over(pair))
        .withColumn("_last", F.max(F.struct("partition", "is_deleted")).over(pair))
        .withColumn("_n", F.count(F.lit(1)).over(pair))
        .where(F.col("_nth") == 1)
    )
    image = W.Window.partitionBy("image_id")
    order = (F.col("uri").isNull(), F.col("_last.is_deleted"), "partition", "uri", "_tie")
    marked = pairs.withColumns(
        {
            "_winner": F.first("uri").over(image.orderBy(*order)),
            "_bare": F.max(F.when(F.col("_is_bare"), F.col("_last.partition"))).over(image),
            "_n_bare": F.sum(F.when(F.col("_is_bare"), F.col("_n"))).over(image),
        }
    )
    marked = marked.where(~F.col("_is_bare") | F.col("_winner").isNull())
    no_uri = F.col("uri").isNull()
    absorbs = F.coalesce((F.col("uri") == F.col("_winner")) & F.col("_bare").isNotNull(), F.lit(False))
    by_id = absorbs & (F.col("_bare") >= F.col("_last.partition"))
    marked = marked.withColumns(
        {
            "is_deleted": F.col("_last.is_deleted") | by_id,
            "last_partition": F.greatest("_last.partition", F.when(absorbs, F.col("_bare"))),
            "n_rows": F.col("_n") + F.when(absorbs, F.col("_n_bare")).otherwise(0),
            "reason": F.coalesce(reason_of(F.col("fault")), F.when(no_uri, F.lit(NO_URI))),
            "error_message": F.coalesce(message_of(F.col("fault")), F.when(no_uri, F.lit("the row has no uri"))),
        }
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


def _time(text: Column) -> Column:
    return F.when(
        text.rlike(_YEAR_FIRST),
        F.coalesce(text.try_cast("timestamp"), F.try_to_timestamp(text, F.lit(_EXIF_TIME))),
    )


def _marks(text: DataFrame) -> Column:
    """The marks that are given; null when there is none. A time has one spelling, whatever the manifest's."""
    values: list[Column] = []
    for name in MARKS:
        given = _given(text, name)
        value = F.coalesce(_time(given).cast("string"), given) if name == "last_modified" else given
        values += [F.lit(name), value]
    marks = F.map_filter(F.create_map(*values), lambda _, value: value.isNotNull())
    return F.when(F.size(marks) > 0, marks)


def _extra(names: Sequence[str], unclear: dict[str, Column]) -> Column:
    """The columns that are not known ones, and known ones that could not be used, as a map; null when all are null."""
    unused: list[Column] = [part for name, value in unclear.items() for part in (F.lit(name), value)]
    values = F.map_filter(F.create_map(*unused), lambda _, value: value.isNotNull())
    others = [name for name in names if name not in KNOWN]
    if others:
        values = F.map_concat(map_of(json_of([F.col(_quoted(name)) for name in others])), values)
    if EXTRA in names:
        values = F.map_concat(map_of(F.col(EXTRA)), values)
    return F.when(F.size(values) > 0, values)


def _given(text: DataFrame, name: str) -> Column:
    """A known column without surrounding white space; null when it is blank or not there."""
    if name not in text.columns:
        return F.lit(None).cast("string")
    trimmed = F.regexp_replace(F.col(name), r"^\s+|\s+$", "")
    return F.when(trimmed != "", trimmed)


def _digest(text: Column, digits: int) -> Column:
    return F.substring(F.sha2(text, 256), 1, digits)


def _quoted(name: str) -> str:
    """A name that Spark takes to the letter: dots and backticks in it are no syntax."""
    return "`" + name.replace("`", "``") + "`"
