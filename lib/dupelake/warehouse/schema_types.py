"""Types to describe tables: columns with comments, types, keys, constraints.

The types are Spark's, and delta-rs (reader version 1) can read all of them. 64-bit hashes are BIGINT, so that
`bit_count(a ^ b)` works in SQL; longer hashes and vectors are BINARY.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pyspark.sql import DataFrame
from pyspark.sql import types as T

from dupelake.errors import SchemaError
from dupelake.frames.functions import F


def col(name: str, kind: T.DataType, comment: str, *, null: bool = True) -> T.StructField:
    """A column with its comment."""
    return T.StructField(name, kind, null, {"comment": comment})


@dataclass(frozen=True)
class Table:
    """One Delta table: `schema` has the column comments, `key` is unique, `checks` are CHECK constraints."""

    name: str
    comment: str
    schema: T.StructType
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    checks: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Column names in order."""
        return self.schema.fieldNames()


TEXT, LONG, INT, BOOL, DOUBLE, TIME, BYTES = (
    T.StringType(),
    T.LongType(),
    T.IntegerType(),
    T.BooleanType(),
    T.DoubleType(),
    T.TimestampType(),
    T.BinaryType(),
)
COUNTS = T.MapType(T.StringType(), T.LongType(), False)
SECONDS = T.MapType(T.StringType(), T.DoubleType(), False)
TEXTS = T.MapType(T.StringType(), T.StringType(), True)
BOX = T.StructType([T.StructField(name, T.DoubleType()) for name in ("x", "y", "width", "height")])


def conform(df: DataFrame, schema: T.StructType) -> DataFrame:
    """`df` with exactly the columns of `schema`, cast and in order.

    Raises:
        SchemaError: a column is missing; the message names it and lists the present columns.
    """
    missing = [name for name in schema.fieldNames() if name not in df.columns]
    if missing:
        raise SchemaError(f"columns {missing} are missing; there are {df.columns}")
    return df.select([F.col(f.name).cast(f.dataType).alias(f.name, metadata=f.metadata) for f in schema.fields])


def in_sql(fields: Iterable[T.StructField]) -> str:
    """Columns with their types and comments, in the syntax of ALTER TABLE."""

    def quoted(field: T.StructField) -> str:
        return str(field.metadata.get("comment", "")).replace("\\", "\\\\").replace("'", "\\'")

    return ", ".join(f"`{f.name}` {f.dataType.simpleString()} COMMENT '{quoted(f)}'" for f in fields)
