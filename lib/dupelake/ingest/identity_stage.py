"""The identity of images whose manifest rows give no id: the plain URI and the scope.

`/a/b.jpg`, `file:///a/b.jpg` and `/a//./b.jpg` have one plain URI. Spellings that may name two files stay different:
case of paths, query strings, and `..` in local paths, which may follow a link. ingest/files.py identifies such files
when they are read.
"""

from __future__ import annotations

from typing import cast

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import types as T

from dupelake.frames.functions import F
from dupelake.ingest.uris import plain_uri as plain_uri_of

_DIGITS = 32


def _plain(uris: pa.Array) -> pa.Array:
    return pa.array([None if uri is None else plain_uri_of(uri) for uri in uris.to_pylist()], pa.string())


def plain_uri(uri: Column) -> Column:
    """`plain_uri` of ingest/uris.py; null for null. Compute it in its own column, never in the condition of a join.

    It is a Python function: as a Spark expression it is so large that planning takes longer than computing the rows.
    """
    return cast(Column, F.arrow_udf(_plain, T.StringType())(uri))  # type: ignore[attr-defined]


def plain_uri_once(uri: Column) -> Column:
    """`plain_uri` for a column that filters use.

    Spark pushes a filter below the column, computes the URI twice and expands the whole expression in the plan. It does
    not do so if the function is marked as non-deterministic.
    """
    return cast(Column, F.arrow_udf(_plain, T.StringType()).asNondeterministic()(uri))  # type: ignore[attr-defined]


def digest(text: Column, digits: int = _DIGITS) -> Column:
    """The first hex digits of sha256."""
    return F.substring(F.sha2(text, 256), 1, digits)


def scoped_id(scope: Column, plain: Column) -> Column:
    """The id of an image in a named scope. An image without a scope has the digest of its URI as id."""
    return digest(F.concat(scope, F.lit("\0"), plain))


def uri_id(scope: Column, plain: Column, default_scope: str) -> Column:
    """The id of an image whose manifest row gives none."""
    return F.when(scope.isin("", default_scope), digest(plain)).otherwise(scoped_id(scope, plain))


def with_plain(rows: DataFrame) -> DataFrame:
    """`rows` (image_id, uri, scope) with their plain URI in `_plain`, which the functions below need."""
    return rows.withColumn("_plain", plain_uri(F.col("uri")))


def has_uri_id() -> Column:
    """Whether an image's id is made from its URI, by the present rules or by those of older versions."""
    ids = digest(F.col("_plain")), digest(F.col("uri")), scoped_id(F.col("scope"), F.col("_plain"))
    return F.coalesce(F.col("image_id").isin(*ids), F.lit(False))


def is_scopeless() -> Column:
    """Whether a row names neither an id nor a scope. It refers to its URI in every scope."""
    return (F.col("scope") == "") & has_uri_id()


def alternative_ids() -> Column:
    """Other ids under which the image of a row may be stored; empty if the manifest gives the id.

    Another night may have named no scope. Older versions made ids from the URI as written, without the scope.
    """
    plain = digest(F.col("_plain"))
    scoped = F.when(F.col("scope") == "", plain).otherwise(scoped_id(F.col("scope"), F.col("_plain")))
    ids = F.array_distinct(F.array(plain, digest(F.col("uri")), scoped))
    return F.when(has_uri_id(), F.array_remove(ids, F.col("image_id"))).otherwise(F.array().cast("array<string>"))


def scopes_agree(scope: Column, stored_scope: Column) -> Column:
    """Whether a row of `scope` whose id is made from its URI may refer to a stored image of that URI.

    A row without a scope refers to any scope. A stored image without a scope moves into the scope that a row names.
    """
    return (scope == "") | (stored_scope == "") | (scope == stored_scope)
