"""What an image is whose manifest row has no id of its own: a URI in its plain spelling, within one scope.

`/a/b.jpg`, `file:///a/b.jpg` and `/a//./b.jpg` are one name. What may name two files stays two: case of paths, query
strings, and `..` in local paths, where a link may stand before it; of those kernels.files tells at reading.
"""

from __future__ import annotations

from typing import cast

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from dupelake.ingest import uris as uris_kernel

_DIGITS = 32


def _plain(uris: pa.Array) -> pa.Array:
    return pa.array([None if uri is None else uris_kernel.plain_uri(uri) for uri in uris.to_pylist()], pa.string())


def plain_uri(uri: Column) -> Column:
    """`kernels.uris.plain_uri`, null for null. Compute it in a column of its own, never in the condition of a join.

    In Python, for as an expression of Spark it is so large that plans of some of them take longer than the rows.
    """
    return cast(Column, F.arrow_udf(_plain, T.StringType())(uri))  # type: ignore[attr-defined]


def plain_uri_once(uri: Column) -> Column:
    """`plain_uri` for a column that conditions of filters are made of.

    Spark moves such a filter below the column: it computes the URI there and again above, and writes all that leads
    to the condition out in full. It does neither over what it takes for random.
    """
    return cast(Column, F.arrow_udf(_plain, T.StringType()).asNondeterministic()(uri))  # type: ignore[attr-defined]


def digest(text: Column, digits: int = _DIGITS) -> Column:
    """The first hex digits of sha256."""
    return F.substring(F.sha2(text, 256), 1, digits)


def scoped_id(scope: Column, plain: Column) -> Column:
    """The id of an image of a scope that rows name; without a scope it is the digest of the URI."""
    return digest(F.concat(scope, F.lit("\0"), plain))


def with_plain(rows: DataFrame) -> DataFrame:
    """`rows` (image_id, uri, scope) with `_plain`, their plain URI, which the functions below read."""
    return rows.withColumn("_plain", plain_uri(F.col("uri")))


def is_uris_own() -> Column:
    """Whether an image has its id from its URI, by these rules or by those before them; not without a URI."""
    ids = digest(F.col("_plain")), digest(F.col("uri")), scoped_id(F.col("scope"), F.col("_plain"))
    return F.coalesce(F.col("image_id").isin(*ids), F.lit(False))


def is_scopeless() -> Column:
    """Whether a row names neither an id nor a scope: it is about its URI in every scope."""
    return (F.col("scope") == "") & is_uris_own()


def other_ids_of() -> Column:
    """Ids besides its own under which the image of a row may be stored; none of own ids.

    Other nights may have named no scope; older versions made ids of the URI as it was spelled, whatever its scope.
    """
    plain = digest(F.col("_plain"))
    scoped = F.when(F.col("scope") == "", plain).otherwise(scoped_id(F.col("scope"), F.col("_plain")))
    ids = F.array_distinct(F.array(plain, digest(F.col("uri")), scoped))
    return F.when(is_uris_own(), F.array_remove(ids, F.col("image_id"))).otherwise(F.array().cast("array<string>"))


def speaks_for(scope: Column, stored_scope: Column) -> Column:
    """Whether a row of `scope`, without an id of its own, may be about a stored image of its URI.

    A row without scope says nothing about scopes; an image without one is taken into the scope that is named.
    """
    return (scope == "") | (stored_scope == "") | (scope == stored_scope)
