"""What an image is whose manifest row has no id of its own: a URI in its plain spelling, within one scope.

`/a/b.jpg`, `file:///a/b.jpg` and `/a//./b.jpg` are one name. What may name two files stays two: case of paths, query
strings, and `..` in local paths, where a link may stand before it; of those kernels.files tells at reading.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_FILE = r"^(?i)file:(//[^/]*(?=/)|(?=/(?!/)))"  # as kernels.uris.local_path has it
_REMOTE = r"^([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*@)?([^/?#@]*)(?s)(.*)$"
_PORT = r"^(https?|hdfs)://(.*)$"
_DIGITS = 32
_NOT_UTF8 = "\ufffd"


def plain_uri(uri: Column) -> Column:
    """One spelling for all spellings of a URI that cannot mean two things; null for null.

    Local: `file:` URIs become paths, percent-decoded where that gives text; `//` and `/./` are folded. Remote: scheme
    and host in lower case, no default port; of what is no web URI, `//`, `.` and `..` are folded, as Hadoop does.
    """
    bare = F.regexp_replace(uri, _FILE, "")
    decoded = F.try_url_decode(F.replace(bare, F.lit("+"), F.lit("%2B")))
    is_text = decoded.isNotNull() & ~F.contains(decoded, F.lit(_NOT_UTF8))
    path = F.when(~F.contains(bare, F.lit("%")), _folded(bare)).when(is_text, _folded(decoded))
    local = F.coalesce(path, F.concat(F.lit("file://"), _folded(bare)))
    return (
        F.when(uri.rlike(_FILE), local)
        .when(uri.rlike("^[A-Za-z][A-Za-z0-9+.\\-]*://"), _plain_remote(uri))
        .when(uri.startswith("/") & uri.rlike(r"//|/\.(/|$)"), _folded(uri))
        .otherwise(uri)
    )


def _folded(path: Column) -> Column:
    return F.regexp_replace(F.regexp_replace(path, "/+", "/"), r"(/\.)+(?=/|$)", "")


def _plain_remote(uri: Column) -> Column:
    scheme, user, host, rest = (F.regexp_extract(uri, _REMOTE, at) for at in (1, 2, 3, 4))
    name = F.lower(scheme)
    port = F.when(name == "http", ":80$").when(name == "https", ":443$").when(name == "hdfs", ":8020$").otherwise("^$")
    place = F.concat(name, F.lit("://"), user, F.regexp_replace(F.lower(host), port, F.lit("")))
    segments = F.aggregate(
        F.split(_folded(rest), "/"),
        F.array().cast("array<string>"),
        lambda kept, segment: F.when(segment == "..", _shorter(kept)).otherwise(F.array_append(kept, segment)),
    )
    up = F.when(rest.rlike(r"/\.\.(/|$)"), F.array_join(segments, "/")).otherwise(_folded(rest))
    return F.concat(place, F.when(name.isin("http", "https"), rest).otherwise(up))


def _shorter(path: Column) -> Column:
    """Without the last segment; the first one, which is empty, stays."""
    return F.slice(path, 1, F.greatest(F.size(path) - 1, F.lit(1)))


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
