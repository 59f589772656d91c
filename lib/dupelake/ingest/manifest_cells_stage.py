"""Cells of manifests: values as text, relative URIs, and partition names that a folder can have."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

FAULT = "_dupelake_fault"  # column: why a row cannot be used, as `reason: message`
# Column: all columns that dupelake does not know, as one JSON object of texts without nulls. Few columns plan faster.
EXTRA = "_dupelake_extra"
FOLDER = "_dupelake_folder"  # column: the folder of the row's file
RELATIVE = "relative_uri"  # reason of a row
_EXACT = float(2**53)  # above it, doubles do not represent every whole number
_MAX_FOLDER_BYTES = 200  # file systems take names of 255 bytes, `partition=` and some room included
_DIGITS = 16
_NO_FOLDER = "__HIVE_DEFAULT_PARTITION__"  # a folder of this name means null
# Characters that Hive and Delta escape in folder names, as three characters each.
_ESCAPED = "[\\x01-\\x1f\\x7f\"#%'*/:=?\\\\{}\\[\\]^<>| ]"


def is_relative(uri: Column) -> Column:
    """Whether a URI is a relative path; `resolved` of ingest/records.py has the same rule."""
    return F.coalesce(~uri.rlike(r"(?i)^\s*(/|[a-z][a-z0-9+.\-]*://|file:|$)"), F.lit(False))


def text_of(value: Column, kind: T.DataType, *, is_known: bool) -> Column:
    """A value of any type as a string.

    Dates become YYYY-MM-DD, nested values JSON. Binary values become base64, in known columns UTF-8. In known columns
    whole floats are written as integers, because pandas turns integer ids into floats if one is missing; NaN is null.
    """
    if isinstance(kind, T.BinaryType):
        return value.cast("string") if is_known else F.base64(value)
    if isinstance(kind, T.StructType | T.ArrayType | T.MapType | T.VariantType):
        return F.to_json(value)
    if is_known and isinstance(kind, T.FloatType | T.DoubleType):
        is_whole = (F.abs(value) < F.lit(_EXACT)) & (value == F.floor(value))
        return F.when(
            ~F.isnan(value), F.when(is_whole, value.cast("long").cast("string")).otherwise(value.cast("string"))
        )
    return value.cast("string")


def unless_blank(text: Column) -> Column:
    """A text without surrounding white space; null if nothing is left."""
    trimmed = F.regexp_replace(text, r"^\s+|\s+$", "")
    return F.when(trimmed != "", trimmed)


def partition_name(partition: Column) -> Column:
    """A partition name that `images` can store, whose partitions are folders.

    A name that is longer than 200 bytes in a folder name, or that no folder can have, is shortened to its start and a
    digest: `<start>~<16 hex digits>`.
    """
    n_bytes = F.octet_length(partition) + 2 * F.regexp_count(partition, F.lit(_ESCAPED))
    fits = (n_bytes <= _MAX_FOLDER_BYTES) & ~partition.contains("\0") & (partition != _NO_FOLDER)
    start = F.regexp_replace(F.substring(partition, 1, 40), "[\\x00-\\x1f\\x7f]", "_")
    return F.when(fits, partition).when(
        partition.isNotNull(), F.concat(start, F.lit("~"), F.substring(F.sha2(partition, 256), 1, _DIGITS))
    )


def is_shortened(partition: Column) -> Column:
    """Whether `partition_name` has shortened it."""
    return partition.rlike(f"~[0-9a-f]{{{_DIGITS}}}$")


def reason_of(fault: Column) -> Column:
    """The reason in FAULT."""
    return F.substring_index(fault, ": ", 1)


def message_of(fault: Column) -> Column:
    """The message in FAULT."""
    return F.regexp_replace(fault, "(?s)^[a-z_]+: ", "")


def quoted(name: str) -> str:
    """A column name quoted for Spark, so that dots and backticks in it are not syntax."""
    return "`" + name.replace("`", "``") + "`"


def json_of(values: Sequence[Column]) -> Column:
    """Columns of text as the JSON object of EXTRA."""
    return F.to_json(F.struct(*values)) if values else F.lit(None).cast("string")


def map_of(extra: Column) -> Column:
    """EXTRA as a map; empty for null."""
    nothing = F.create_map().cast("map<string,string>")
    return F.coalesce(F.from_json(extra, "map<string,string>"), nothing)
