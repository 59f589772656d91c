"""Columns of a manifest: the known columns, and conversion to text."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from dupelake.ingest.manifest_cells_stage import EXTRA, FAULT, json_of, map_of, quoted, text_of
from dupelake.ingest.manifest_names import URI, check_columns, plain_name
from dupelake.ingest.retries_stage import MARKS

ORIGIN = "_dupelake_source"  # column: the source of the row (see manifests.read_manifests)
PLACE = "_dupelake_place"  # column: a MemberPlace as JSON; only where an image lies inside of another file
KNOWN = ("image_id", "uri", "partition", "scope", "captured_at", "deleted", *MARKS, ORIGIN, FAULT, EXTRA, PLACE)


def is_known(name: str) -> bool:
    """Whether dupelake needs a column of this name; the others are kept in `extra`."""
    return plain_name(name) in KNOWN


def without_place(raw: DataFrame) -> DataFrame:
    """A manifest without PLACE in any spelling: only dupelake says where a member lies, else a manifest names any file.

    Args:
        raw: the columns as found.
    """
    return raw.drop(*[name for name in raw.columns if plain_name(name) == PLACE])


def as_text(raw: DataFrame) -> DataFrame:
    """Every column as a string, known columns under their plain names, so that manifests of any format can be united.

    Values are converted by manifest_cells_stage.text_of. The function is idempotent.

    Raises:
        ManifestError: see check_columns.
    """
    known, others = _text_columns(raw)
    return raw.select(*known, *others)


def packed(raw: DataFrame) -> DataFrame:
    """`as_text`, with all unknown columns in one column of JSON (manifest_cells_stage.EXTRA).

    Raises:
        ManifestError: see check_columns.
    """
    known, others = _text_columns(raw)
    if EXTRA not in raw.columns:
        return raw.select(*known, json_of(others).alias(EXTRA))
    if not others:
        return raw.select(*known)
    both = F.to_json(F.map_concat(map_of(F.col(EXTRA)), map_of(json_of(others))))
    return raw.withColumn(EXTRA, both).select(*known)


def _text_columns(raw: DataFrame) -> tuple[list[Column], list[Column]]:
    """The known columns and the other columns as text, the others sorted by name."""
    check_columns(raw.columns, "the manifest", URI)
    known, others = [], {}
    for field in raw.schema.fields:
        plain = plain_name(field.name)
        value = F.col(quoted(field.name))
        if plain == "partition" and isinstance(field.dataType, T.TimestampType | T.TimestampNTZType):
            value = F.to_date(value)
        text = text_of(value, field.dataType, is_known=plain in KNOWN)
        if plain in KNOWN:
            known.append(text.alias(plain))
        else:
            others[field.name.strip()] = text.alias(field.name.strip())
    return known, [others[name] for name in sorted(others)]
