"""Columns of a manifest: checks, the known columns, and conversion to text."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from dupelake.errors import ManifestError
from dupelake.ingest.manifest_cells_stage import EXTRA, FAULT, json_of, map_of, quoted, text_of
from dupelake.ingest.retries_stage import MARKS

ORIGIN = "_dupelake_source"  # column: the source of the row (see manifests.read_manifests)
KNOWN = ("image_id", "uri", "partition", "scope", "captured_at", "deleted", *MARKS, ORIGIN, FAULT, EXTRA)


def check_columns(names: Sequence[str], where: str) -> None:
    """Refuses a manifest whose columns cannot be used.

    Names are compared without case and surrounding spaces, as everywhere in this room.

    Args:
        names: the columns as found; of a CSV file those of the header line, because Spark renames repeated columns.
        where: the name of the manifest for the error message.

    Raises:
        ManifestError: a column occurs twice, or there is no `uri`.
    """
    plain = [_plain(name) for name in names]
    twice = sorted({name for name in plain if name and plain.count(name) > 1})
    if twice:
        raise ManifestError(f"{where} names a column twice: {', '.join(twice)}; its columns are {list(names)}")
    if "uri" not in plain:
        hint = "; JSON must be objects" if plain == ["_corrupt_record"] else ""
        raise ManifestError(f"{where} has no column `uri`; its columns are {list(names)}{hint}")


def is_known(name: str) -> bool:
    """Whether dupelake needs a column of this name; the others are kept in `extra`."""
    return _plain(name) in KNOWN


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
    check_columns(raw.columns, "the manifest")
    known, others = [], {}
    for field in raw.schema.fields:
        plain = _plain(field.name)
        value = F.col(quoted(field.name))
        if plain == "partition" and isinstance(field.dataType, T.TimestampType | T.TimestampNTZType):
            value = F.to_date(value)
        text = text_of(value, field.dataType, is_known=plain in KNOWN)
        if plain in KNOWN:
            known.append(text.alias(plain))
        else:
            others[field.name.strip()] = text.alias(field.name.strip())
    return known, [others[name] for name in sorted(others)]


def _plain(name: str) -> str:
    return name.strip().lower()
