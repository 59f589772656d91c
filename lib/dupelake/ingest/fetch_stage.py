"""Reads remote objects (s3a, hdfs, ...) on the executors through Hadoop's FileSystem API.

The hash stage reads local files and `http(s)://` itself, in its Python worker (fingerprint/stage.py,
ingest/webread.py). All other bytes come in the column `fetched`. A small Java function (java/io/dupelake/ReadUri.java)
reads them with the session's settings (`spark.hadoop.fs.s3a.*` and others). An object that cannot be read is a row with
a reason.

A remote URI is not percent-decoded: `s3a://b/100%25 #1?.jpg` is the key `100%25 #1?.jpg`. Hadoop folds `//`, `.` and
`..`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from dupelake.config import FetchConfig
from dupelake.ingest.access import NOT_PUBLIC

FETCHED = T.StructType(
    [
        T.StructField("data", T.BinaryType()),
        T.StructField("reason", T.StringType()),
        T.StructField("message", T.StringType()),
    ]
)

_READER_CLASS = "io.dupelake.ReadUri"
_READER_UDF = "dupelake_read_uri"  # ReadUri.NAME
_NO_READER = (
    "reading {scheme}:// needs lib/dupelake/jars/dupelake-reader.jar: build it with `make jar` "
    "(python scripts/build_jar.py, needs a JDK), and with spark-submit name it in --jars"
)


def is_remote(uri: Column) -> Column:
    """Whether a URI needs the remote reader: exactly if `local_path` of ingest/uris.py gives None.

    A scheme counts only with `://`, so a relative name such as `a:b.jpg` is a file. Null is not remote.
    """
    remote = uri.rlike(r"^[A-Za-z][A-Za-z0-9+.\-]*://") & ~uri.rlike("^[Ff][Ii][Ll][Ee]:")
    return F.coalesce(remote, F.lit(False))


def has_reader(spark: SparkSession) -> bool:
    """Whether the session has loaded the reader's jar."""
    jvm: Any = spark._jvm
    try:
        jvm.java.lang.Thread.currentThread().getContextClassLoader().loadClass(_READER_CLASS)
    except Py4JError:
        return False
    return True


def is_http(uri: Column) -> Column:
    """`is_http` of ingest/webread.py as a Spark expression."""
    return F.coalesce(uri.rlike("^[Hh][Tt][Tt][Pp][Ss]?://"), F.lit(False))


def register_reader(spark: SparkSession, cfg: FetchConfig, paths: Sequence[str] = ()) -> None:
    """Registers the reader with the session's present Hadoop settings. `has_reader` must be true."""
    io: Any = spark._jvm.io  # type: ignore[union-attr]
    remote = [path for path in paths if "://" in path]
    lists = (cfg.allowed_schemes, cfg.allowed_hosts, [r for r in cfg.allowed_roots if "://" in r], remote, NOT_PUBLIC)
    rules = io.dupelake.FetchRules.of(*("\n".join(values) for values in lists))
    timeout_ms = int(cfg.timeout_s * 1000)
    io.dupelake.ReadUri.register(spark._jsparkSession, rules, cfg.retries + 1, cfg.backoff_ms, timeout_ms)


def fetch_remote(rows: DataFrame, max_bytes: int, cfg: FetchConfig, paths: Sequence[str] = ()) -> DataFrame:
    """Adds `fetched`: the bytes of each remote object, or the reason why they could not be read.

    Args:
        rows: with `uri` and `reason`.
        max_bytes: larger objects are refused (too_large) and not read to their end.
        cfg: access rules, timeout, and the number and pause of retries after transient faults (timeouts, resets,
            truncated streams). Filesystems retry on their own as well.
        paths: the manifests; an hdfs:// host that one of them names may be read from.

    Returns:
        The rows with `fetched struct<data, reason, message>`: null for local and http URIs and if `reason` is set.
        Reasons: not_allowed, missing, empty, too_large, timeout, not_a_file, no_filesystem (the session lacks the
        filesystem's jar), unreadable, no_remote_reader (the session lacks dupelake's jar).
    """
    spark = rows.sparkSession
    uri = F.col("uri")
    wanted = is_remote(uri) & ~is_http(uri) & F.col("reason").isNull()
    if has_reader(spark):
        register_reader(spark, cfg, paths)
        # CASE evaluates only the branch that is taken. The function is non-deterministic, so Spark never duplicates it.
        fetched = F.call_function(_READER_UDF, uri, F.lit(max_bytes).cast("long"))
    else:
        before, after = _NO_READER.split("{scheme}")
        message = F.concat(F.lit(before), F.substring_index(uri, "://", 1), F.lit(after))
        fetched = F.struct(
            F.lit(None).cast("binary").alias("data"),
            F.lit("no_remote_reader").alias("reason"),
            message.alias("message"),
        )
    return rows.withColumn("fetched", F.when(wanted, fetched).cast(FETCHED))
