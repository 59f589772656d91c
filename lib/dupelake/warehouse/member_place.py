"""The type of the column that says where the bytes of an image lie inside of another file."""

from __future__ import annotations

from pyspark.sql import types as T

from dupelake.warehouse.schema_types import LONG, TEXT

MEMBER_PLACE = T.StructType(  # fields of ingest/members.py:MemberPlace
    [
        *(T.StructField(name, TEXT) for name in ("file", "version", "kind", "column")),
        *(T.StructField(name, LONG) for name in ("block", "at", "stored_bytes", "byte_size", "method", "crc")),
    ]
)
