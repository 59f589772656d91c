"""A manifest as found -> rows of schema.MANIFEST -> the rows that a run has to process.

A fault of one row becomes a row with a reason; only a manifest that is unusable as a whole raises. The result depends
only on the set of rows, never on their order, their number of partitions or repeats.

`no_uri`
    The URI is null or blank.
`bad_row`, `relative_uri`
    The reader could not use the row, or its URI (see manifests.py).
`image_id_conflict`
    One id is given to two URIs, or to two scopes in one partition. One row keeps the id: within a manifest the smallest
    (partition, uri), or the smaller scope; against the images table the stored URI, unless that image was deleted. Each
    other row gets the id `<id>~<16 hex digits>`, so that ids stay unique and the failed row is stored.

Identity: if the manifest gives no id, an image is a URI in any spelling within one scope (identity_stage); one URI in
two scopes is two images. A row without a scope refers to all images of its URI. An image without a scope moves into the
scope that a later night names; an image whose id the manifest gives moves into the scope of its last partition.

Tombstone: a row whose column `deleted` means yes. The last partition of an image decides whether it is deleted; within
one partition the tombstone wins. A tombstone with an id and no URI refers to the image of that id.

Marks: `etag`, `last_modified`, `byte_size` of the last partition. A change of marks shows that the bytes changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql import window as W

from dupelake.config import ManifestConfig
from dupelake.ingest.identity_stage import (
    alternative_ids,
    digest,
    has_uri_id,
    is_scopeless,
    plain_uri,
    plain_uri_once,
    scoped_id,
    scopes_agree,
    with_plain,
)
from dupelake.ingest.manifest_cells_stage import EXTRA, FAULT, json_of, map_of, partition_name, quoted, unless_blank
from dupelake.ingest.manifest_columns_stage import KNOWN, ORIGIN, PLACE, as_text
from dupelake.ingest.manifest_ids_stage import (
    CONFLICT,
    SUFFIX,
    asked_id,
    conflict_id,
    unique_ids,
    with_conflicts,
    with_image_ids,
)
from dupelake.ingest.retries_stage import MARKS, attempts_before, is_of_completed_run, is_transient, marks_differ
from dupelake.warehouse.member_place import MEMBER_PLACE
from dupelake.warehouse.schema import FAILED, MANIFEST, conform

NEW, CHANGED, RETRIED, RETURNED, AGAIN, NOTED = "new", "changed", "retried", "returned", "again", "noted"
MOVED = "moved"  # only the scope has changed; the file is not read
WHY = (NEW, CHANGED, RETRIED, RETURNED, AGAIN, NOTED, MOVED)
UNREAD = (NOTED, MOVED)
FORGOTTEN = "forgotten"  # deleted_reason set by `dupelake forget`: the image stays deleted even if a manifest lists it

_YES, _NO = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")

# Partition of a row without one. Not '', because Delta stores an empty partition value as null. It sorts after every
# date, so `--since` always includes such rows.
NO_PARTITION = "all"

WANTED = T.StructType(
    [
        *MANIFEST.fields,
        T.StructField("attempts", T.IntegerType()),
        T.StructField("why", T.StringType()),
        T.StructField("moves", T.BooleanType()),
    ]
)
"""The result of `wanted_rows`: MANIFEST, `attempts` (failed attempts so far), `why` (why the row is processed) and
`moves` (whether the stored image is in another scope)."""
# A time must start with a year: Spark also casts '12:30' (to today's date). EXIF writes the year 0 for "unknown".
_YEAR_FIRST = r"^(?!0000)\d{4}(\D|$)"
_EXIF_TIME = "yyyy:MM:dd HH:mm:ss"


_STORED = (
    "image_id", "uri", "scope", "status", "reason", "deleted_at", "deleted_reason", "attempts", "ingested_at", "marks",
    "source",
)  # fmt: skip


def normalise(raw: DataFrame, cfg: ManifestConfig) -> DataFrame:
    """Converts a manifest as found to rows of schema.MANIFEST with unique image ids.

    Repeats of (image_id, uri), in any spelling of the URI, collapse to the row of the smallest partition, whose `uri`
    is kept as written. A `captured_at` that cannot be parsed is kept in `extra`. So is a value of `deleted` that means
    neither yes nor no: it deletes nothing.

    Args:
        raw: the result of manifests.read_manifests; any column types.
        cfg: default_scope is used here.

    Raises:
        ManifestError: there is no `uri` column, or a column occurs twice.
    """
    text = as_text(raw)
    names = sorted(text.columns)
    whole_row = F.to_json(F.struct(*[F.col(quoted(name)) for name in names]))
    uri = F.when(~F.col("uri").rlike(r"^\s*$"), F.col("uri"))
    given_id = _given(text, "image_id")
    captured = _given(text, "captured_at")
    time = _time(captured)
    deleted = _given(text, "deleted")
    is_deleted = F.coalesce(F.lower(deleted).isin(*_YES), F.lit(False))
    unclear = F.when(~F.lower(deleted).isin(*_YES, *_NO), deleted)
    rows = text.select(
        given_id.alias("_given"),
        digest(whole_row).alias("_whole"),
        uri.alias("uri"),
        plain_uri(uri).alias("_plain"),
        F.coalesce(partition_name(_given(text, "partition")), F.lit(NO_PARTITION)).alias("partition"),
        F.coalesce(_given(text, "scope"), F.lit(cfg.default_scope)).alias("scope"),
        time.alias("captured_at"),
        _extra(names, {"captured_at": F.when(time.isNull(), captured), "deleted": unclear}).alias("extra"),
        _marks(text).alias("marks"),
        _given(text, FAULT).alias("fault"),
        F.from_json(_given(text, PLACE), MEMBER_PLACE).alias("place"),
        plain_uri(F.coalesce(_given(text, ORIGIN), F.lit(""))).alias("source"),
        is_deleted.alias("is_deleted"),
        (is_deleted & uri.isNull() & given_id.isNotNull()).alias("_is_id_tombstone"),
        F.xxhash64(whole_row).alias("_tie"),
        F.lit(1).alias("_weight"),
    )
    has_scopes = "scope" in text.columns
    return conform(unique_ids(with_image_ids(rows, cfg, has_scopes=has_scopes), has_scopes=has_scopes), MANIFEST)


def _has_stored_uri() -> Column:
    """Whether a row has the URI that is stored under its id."""
    return F.col("_stored_plain").eqNullSafe(F.col("_plain"))


def wanted_rows(
    manifest: DataFrame,
    images: DataFrame | None,
    *,
    partitions: list[str] | None = None,
    since: str | None = None,
    full: bool = False,
    max_attempts: int = 3,
    last_run: int | None = None,
    other_ids: bool = True,
    other_scopes: bool = True,
) -> DataFrame:
    """The rows of a manifest that a run processes, each with `why`; no tombstones.

    `new`: not stored yet, including late rows of old partitions. A row whose id is stored with another URI becomes an
    image_id_conflict, once; but it replaces a stored row that has no URI or whose image is deleted. `changed`: stored
    with other marks. `retried`: failed for a transient reason, in fewer than `max_attempts` nights. `returned`: deleted
    and listed again; forgotten images stay deleted. `again`: every stored row, if `full`. `noted`: not read; the row
    has a mark or a source that the stored row lacks. `moved`: not read; only the scope differs.

    Args:
        manifest: the whole result of `normalise`.
        images: the stored images (schema.IMAGES), or None before the first run.
        partitions: only rows whose first or last partition is one of these.
        since: only rows whose last partition is >= this, in string order.
        full: every row of the selected partitions, stored or not; the manifest overrides the stored row.
        max_attempts: number of nights in which a failing row is tried.
        last_run: start of the last completed run (microseconds since 1970); None counts all attempts. Attempts after it
            belong to a run that was stopped; they do not count, because this run completes that one.
        other_ids: False if no row has an alternative id (identity_stage.alternative_ids), which saves a scan of images.
        other_scopes: False if no stored image or every row has a scope, which saves another scan.

    Returns:
        WANTED.
    """
    rows = selected(manifest.where(~F.col("is_deleted")), partitions, since)
    if images is None:
        return conform(rows.withColumns({"attempts": F.lit(0), "why": F.lit(NEW), "moves": F.lit(False)}), WANTED)
    met = _with_stored_image(with_plain(rows), images, full=full, other_ids=other_ids)
    if other_scopes:
        met = _without_known_scopeless(met, images)
    is_stored = F.col("_stored_image_id").isNotNull()
    is_forgotten = F.col("_stored_deleted_at").isNotNull() & F.col("_stored_deleted_reason").eqNullSafe(FORGOTTEN)
    is_over = is_of_completed_run(F.col("_stored_ingested_at"), last_run)
    if full:
        why = F.when(is_stored & is_forgotten, None).otherwise(F.when(is_stored, AGAIN).otherwise(NEW))
        todo = met.withColumns({"why": why, "image_id": F.coalesce("_stored_image_id", "image_id")})
    else:
        todo = _compared_with_stored(met, images, is_stored, is_forgotten, _is_due(max_attempts, is_over))
    before = attempts_before(F.coalesce("_stored_attempts", F.lit(0)), is_over)
    scope, stored_scope = F.col("scope"), F.col("_stored_scope")
    is_image = is_stored & (F.col("image_id") == F.col("_stored_image_id")) & _has_stored_uri()
    todo = todo.where(F.col("why").isNotNull()).withColumns(
        {
            "attempts": F.when(F.col("why").isin(RETRIED, AGAIN), before).otherwise(0),
            "moves": F.coalesce(is_image & (scope != "") & (scope != stored_scope), F.lit(False)),
            "scope": F.when(is_image & (scope == ""), stored_scope).otherwise(scope),
        }
    )
    return conform(todo, WANTED)


def _with_stored_image(rows: DataFrame, images: DataFrame, *, full: bool, other_ids: bool) -> DataFrame:
    """Joins each row with its stored image (`_stored_*`, null if there is none); `_asked` is the id used to find it."""
    stored = images.select([F.col(name).alias(f"_stored_{name}") for name in _STORED])
    names = stored.columns
    # A row that lost its id inside the manifest is looked up by the id that it asked for. If an older partition arrives
    # late, the winner of today differs from the stored one, and the losing row may be the stored one.
    met = rows.withColumn("_asked", F.col("image_id") if full else asked_id()).join(
        stored, F.col("_asked") == F.col("_stored_image_id"), "left"
    )
    # The id made from a URI may be that of its image in another scope.
    is_about = ~has_uri_id() | scopes_agree(F.col("scope"), F.col("_stored_scope"))
    is_taken = F.col("_stored_image_id").isNotNull() & ~is_about
    met, is_taken = met.withColumn("_is_taken", is_taken), F.col("_is_taken")
    asked = F.when(is_taken, scoped_id(F.col("scope"), F.col("_plain"))).otherwise(F.col("_asked"))
    found = {name: F.when(~is_taken, F.col(name)) for name in names}
    own = F.when(is_taken, asked).otherwise(F.col("image_id"))
    met = met.withColumns({"_asked": asked, "image_id": own} | found)
    if not other_ids:
        return met.withColumn("_stored_plain", plain_uri_once(F.col("_stored_uri")))
    ids = F.array_append(alternative_ids(), F.col("image_id"))  # its own id if the id it asked for is taken
    lacking = met.where("_stored_image_id IS NULL").select(
        F.col("image_id").alias("_of"), "scope", F.explode(ids).alias("_stored_image_id")
    )
    known = lacking.join(stored, "_stored_image_id").join(
        rows.select(F.col("image_id").alias("_stored_image_id")), "_stored_image_id", "left_anti"
    )
    known = known.where(scopes_agree(F.col("scope"), F.col("_stored_scope")))
    # Match each row with one image and each image with one row: that of the same scope, else the smallest id. A
    # forgotten image matches all rows.
    is_forgotten = F.col("_stored_deleted_reason").eqNullSafe(FORGOTTEN)
    other = F.col("_stored_scope") != F.col("scope")
    nth_of_row = F.row_number().over(W.Window.partitionBy("_of").orderBy(other, "_stored_image_id"))
    nth_of_image = F.row_number().over(W.Window.partitionBy("_stored_image_id").orderBy(other, "scope", "_of"))
    known = known.withColumn("_nth", nth_of_row).where("_nth = 1")
    known = known.withColumn("_nth", nth_of_image).where((F.col("_nth") == 1) | is_forgotten)
    also = known.select("_of", *(F.col(name).alias(f"_also{name}") for name in names))
    met = met.join(also, F.col("image_id") == F.col("_of"), "left")
    met = met.withColumns({name: F.coalesce(name, f"_also{name}") for name in names})
    met = met.withColumn("_stored_plain", plain_uri_once(F.col("_stored_uri")))
    return met.withColumn("_asked", F.when(F.col("_of").isNull(), F.col("_asked")).otherwise(F.col("_stored_image_id")))


def _without_known_scopeless(met: DataFrame, images: DataFrame) -> DataFrame:
    """Drops rows without id and scope that are not stored and whose URI is that of an image with a scope."""
    named = with_plain(images.where("scope <> '' AND deleted_at IS NULL")).where(has_uri_id())
    known = named.select(F.col("_plain").alias("_known")).distinct()
    is_open = is_scopeless() & F.col("_stored_image_id").isNull()
    return met.join(known, is_open & (F.col("_plain") == F.col("_known")), "left_anti")


def _is_due(max_attempts: int, is_over: Column) -> Column:
    """Whether a stored row failed for a transient reason and has attempts left."""
    may = is_transient(F.col("_stored_reason"), F.col("_stored_marks"))
    has_more = F.coalesce("_stored_attempts", F.lit(1)) < max_attempts
    return (F.col("_stored_status") == FAILED) & may & has_more & is_over


def _compared_with_stored(
    met: DataFrame, images: DataFrame, is_stored: Column, is_forgotten: Column, is_due: Column
) -> DataFrame:
    """Compares rows with the stored images of the ids that they asked for; drops rows that need no work, adds `why`."""
    stored_uri, plain = F.col("_stored_plain"), F.col("_plain")
    is_away = F.col("_stored_deleted_at").isNotNull()
    # A row that claims an id for another scope is a row of its own, not another image with that id.
    is_loser = F.coalesce(F.col("reason") == CONFLICT, F.lit(False))
    is_scopes = is_loser & (F.col("image_id") != conflict_id(F.col("_asked"), plain))
    # Null-safe, so that a row without a URI equals its stored row, unless a row with a URI takes the id from it.
    is_same = is_stored & stored_uri.eqNullSafe(plain) & ~is_scopes
    is_same = is_same & (plain.isNotNull() | (F.col("image_id") == F.col("_asked")))
    # The image is deleted, and another row of the manifest has the id.
    lost_away = is_same & is_away & ~is_forgotten & F.col("reason").isNotNull()
    marks, stored_marks = F.col("marks"), F.col("_stored_marks")
    lacks = F.exists(F.map_keys(marks), lambda key: ~F.coalesce(F.map_contains_key(stored_marks, key), F.lit(False)))
    same = (
        F.when(is_forgotten, None)
        .when(is_away, RETURNED)
        .when(marks_differ(stored_marks, marks), CHANGED)
        .when(is_due, RETRIED)
        .when((F.col("scope") != "") & (F.col("scope") != F.col("_stored_scope")), MOVED)
        .when(F.coalesce(lacks, F.lit(False)) | F.col("_stored_source").isNull(), NOTED)
    )
    returns = is_stored & is_away & ~is_forgotten & ~is_scopes
    is_kept = is_same & ~lost_away
    why = F.when(is_kept, same).when(returns, RETURNED).otherwise(NEW)
    met = met.withColumns({"why": why, "_is_kept": is_kept}).where(F.col("why").isNotNull())
    is_kept, reason = F.col("_is_kept"), F.col("reason")
    taken = stored_uri.isNotNull() & (~is_away | is_forgotten)
    lost = ~is_kept & is_stored & taken & ~is_scopes
    todo = with_conflicts(met, lost, F.col("_asked"), F.col("_stored_uri"), "the images table")
    # A stored row keeps its id, even if it lost that id inside the manifest.
    holds = ~is_kept | (reason != CONFLICT)
    todo = todo.withColumns(
        {
            "image_id": F.when(is_kept, F.col("_asked")).otherwise(F.col("image_id")),
            "reason": F.when(holds, reason),
            "error_message": F.when(holds, F.col("error_message")),
        }
    )
    # A row in conflict may be stored already under its own id; so may a losing row whose winner is not stored yet.
    known = images.where(F.col("image_id").rlike(SUFFIX)).select(F.col("image_id").alias("_known"))
    is_known = (F.col("image_id") == F.col("_known")) & reason.isNotNull() & ~is_kept
    return todo.join(known, is_known, "left_anti")


def selected(manifest: DataFrame, partitions: list[str] | None, since: str | None) -> DataFrame:
    """The rows of the selected partitions, as in `wanted_rows`; None selects all."""
    if partitions is not None:
        names = [partition_name(F.lit(name)) for name in partitions]
        manifest = manifest.where(F.col("partition").isin(names) | F.col("last_partition").isin(names))
    if since is not None:
        manifest = manifest.where(F.col("last_partition") >= F.lit(since))
    return manifest


def _time(text: Column) -> Column:
    return F.when(
        text.rlike(_YEAR_FIRST),
        F.coalesce(text.try_cast("timestamp"), F.try_to_timestamp(text, F.lit(_EXIF_TIME))),
    )


def _marks(text: DataFrame) -> Column:
    """The given marks as a map; null if there are none. Times are normalised."""
    values: list[Column] = []
    for name in MARKS:
        given = _given(text, name)
        value = F.coalesce(_time(given).cast("string"), given) if name == "last_modified" else given
        values += [F.lit(name), value]
    marks = F.map_filter(F.create_map(*values), lambda _, value: value.isNotNull())
    return F.when(F.size(marks) > 0, marks)


def _extra(names: Sequence[str], unclear: dict[str, Column]) -> Column:
    """Unknown columns, and values of known columns that could not be used, as a map; null if all are null."""
    unused: list[Column] = [part for name, value in unclear.items() for part in (F.lit(name), value)]
    values = F.map_filter(F.create_map(*unused), lambda _, value: value.isNotNull())
    others = [name for name in names if name not in KNOWN]
    if others:
        values = F.map_concat(map_of(json_of([F.col(quoted(name)) for name in others])), values)
    if EXTRA in names:
        values = F.map_concat(map_of(F.col(EXTRA)), values)
    return F.when(F.size(values) > 0, values)


def _given(text: DataFrame, name: str) -> Column:
    """A known column without surrounding white space; null if it is blank or missing."""
    if name not in text.columns:
        return F.lit(None).cast("string")
    return unless_blank(F.col(name))
