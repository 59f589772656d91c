"""Cells of manifests: as text, as people mean them; URIs that are relative; partitions that folders can be called."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

FAULT = "_dupelake_fault"  # column in which readers say why a row cannot be used, as `reason: message`
EXTRA = (
    "_dupelake_extra"  # column of the others, as one JSON object of text without nulls: Spark plans few columns fast
)
FOLDER = "_dupelake_folder"  # column in which a reader says where a row's file lies
RELATIVE = "relative_uri"  # reason of a row
_EXACT = float(2**53)  # beyond it a float does not tell one whole number from the next
_MAX_FOLDER_BYTES = 200  # file systems take names of 255 bytes, `partition=` and some room included
_DIGITS = 16
_NO_FOLDER = "__HIVE_DEFAULT_PARTITION__"  # a folder of this name means null
# What Hive, and so Delta, writes as three characters in a folder's name.
_ESCAPED = "[\\x01-\\x1f\\x7f\"#%'*/:=?\\\\{}\\[\\]^<>| ]"


def is_relative(uri: Column) -> Column:
    """Whether a URI is a path that does not say where it begins; kernels.records.resolved says the same."""
    return F.coalesce(~uri.rlike(r"(?i)^\s*(/|[a-z][a-z0-9+.\-]*://|file:|$)"), F.lit(False))


def text_of(value: Column, kind: T.DataType, *, is_known: bool) -> Column:
    """A value of any type as a string.

    Dates become YYYY-MM-DD, nested values JSON. Other people's binary columns become base64, known ones UTF-8. Known
    floats that are whole are written as whole numbers: pandas makes floats of ids of which one is missing; what is
    not a number is none.
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


def partition_name(partition: Column) -> Column:
    """A partition as `images` can keep it, whose partitions are folders.

    Names of more than 200 bytes, as a folder writes them, and those that no folder can have, are shortened to their
    start and a digest: `<start>~<16 hex digits>`.
    """
    n_bytes = F.octet_length(partition) + 2 * F.regexp_count(partition, F.lit(_ESCAPED))
    fits = (n_bytes <= _MAX_FOLDER_BYTES) & ~partition.contains("\0") & (partition != _NO_FOLDER)
    start = F.regexp_replace(F.substring(partition, 1, 40), "[\\x00-\\x1f\\x7f]", "_")
    return F.when(fits, partition).when(
        partition.isNotNull(), F.concat(start, F.lit("~"), F.substring(F.sha2(partition, 256), 1, _DIGITS))
    )


def is_shortened(partition: Column) -> Column:
    """Whether `partition_name` made it."""
    return partition.rlike(f"~[0-9a-f]{{{_DIGITS}}}$")


def reason_of(fault: Column) -> Column:
    """The reason in FAULT."""
    return F.substring_index(fault, ": ", 1)


def message_of(fault: Column) -> Column:
    """The message in FAULT."""
    return F.regexp_replace(fault, "(?s)^[a-z_]+: ", "")


def quoted(name: str) -> str:
    """A name that Spark takes to the letter: dots and backticks in it are no syntax."""
    return "`" + name.replace("`", "``") + "`"


def json_of(values: Sequence[Column]) -> Column:
    """Columns of text as EXTRA has them."""
    return F.to_json(F.struct(*values)) if values else F.lit(None).cast("string")


def map_of(extra: Column) -> Column:
    """EXTRA as a map; empty where it is null."""
    nothing = F.create_map().cast("map<string,string>")
    return F.coalesce(F.from_json(extra, "map<string,string>"), nothing)
