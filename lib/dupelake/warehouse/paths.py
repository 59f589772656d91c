"""The path of a warehouse: one qualified form that Delta, staging, the lock and readers use.

A path with a scheme (`s3a://b/dupes`, `hdfs:/dupes`, `file:/data/dupes`) is complete. A path without a scheme belongs
to `fs.defaultFS`, as in Hadoop and Delta: this machine's file system unless the settings of a cluster name another.
Paths are literal: `%41`, `#`, `[x]` and spaces are parts of names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dupelake.errors import ConfigError

if TYPE_CHECKING:  # readers without Spark use this module as well
    from pyspark.sql import SparkSession

UNWRITABLE = "[]^|"
"""Characters of a folder's name that delta-rs takes for a part of a URL, and panics, when it writes below it."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):(?=/)")  # at least two letters, because C:/ is a drive
_GLOB = frozenset("{}[]*?\\")
# If one of these is set, Hadoop's default file system may not be that of this machine.
_CLUSTER = ("PYSPARK_GATEWAY_PORT", "HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_CONF_DIR")
_FIXES = {  # where Hadoop has no file system of a scheme
    "s3": "Hadoop's name of S3 is s3a://",
    "s3a": "`dupelake jars --s3` fetches what reads S3 on this machine (docs/operations.md, A warehouse on S3)",
}
_DEFAULT_FS = "spark.hadoop.fs.defaultFS"


def known_local(path: str, settings: Mapping[str, str] | None = None) -> Path | None:
    """The local folder of a warehouse's path if that is certain before Spark starts, else None.

    Args:
        path: as the user gave it.
        settings: of Spark, from the command line.

    Raises:
        ConfigError: the path is a `file:` URI with a host.
    """
    scheme = _SCHEME.match(path)
    if scheme:
        return Path(_of_file_uri(path, scheme)) if scheme.group(1).lower() == "file" else None
    if _DEFAULT_FS in (settings or {}) or any(name in os.environ for name in _CLUSTER):
        return None
    return Path(_absolute(path))


def qualified(spark: SparkSession, path: str) -> str:
    """The qualified form of `path`: absolute, and with a scheme unless it is a local path on the default file system.

    Raises:
        ConfigError: no file system of this session supports the path, or Delta does not.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    if "`" in path:
        raise ConfigError([f"--warehouse {path}: Delta cannot name a path with a backtick; rename the folder"])
    jvm: Any = spark._jvm
    conf: Any = spark._jsparkSession.sessionState().newHadoopConf()
    default = str(jvm.org.apache.hadoop.fs.FileSystem.getDefaultUri(conf).getScheme())
    scheme = _SCHEME.match(path)
    if scheme and scheme.group(1).lower() == "file":
        path = "file:" + _of_file_uri(path, scheme)
    elif not scheme and default == "file":
        path = _absolute(path)  # relative to the folder of this process; Java keeps the one in which it started
    elif not scheme:
        path = re.sub(r"^/+", "/", path)
    try:
        where = jvm.org.apache.hadoop.fs.Path(path)
        whole = where.getFileSystem(conf).makeQualified(where)
    except (Py4JJavaError, PySparkException) as error:
        reason = str(getattr(error, "java_exception", error)).splitlines()[0]
        fix = _FIXES.get(scheme.group(1).lower() if scheme else "", "add its package to spark.jars.packages")
        raise ConfigError([f"--warehouse {path}: no file system supports it ({reason}); {fix}"]) from error
    uri = whole.toUri()
    return str(uri.getPath() if uri.getScheme() == default == "file" else whole.toString())


def local_folder(root: str) -> Path | None:
    """The local folder of a path from `qualified`, or of one for readers without Spark; None if it is not local.

    A path without a scheme is local whatever the settings of a cluster, which only Hadoop reads.

    Raises:
        ConfigError: as `known_local`.
    """
    scheme = _SCHEME.match(root)
    if scheme is None:
        return Path(_absolute(root))
    return Path(_of_file_uri(root, scheme)) if scheme.group(1).lower() == "file" else None


def literal(path: str) -> str:
    """`path` for readers that expand patterns: its own `*`, `[` and other pattern characters are escaped."""
    return "".join("\\" + letter if letter in _GLOB else letter for letter in path)


def _of_file_uri(path: str, scheme: re.Match[str]) -> str:
    """The path of a `file:` URI.

    Raises:
        ConfigError: the URI has a host; mostly this is a folder without the slash before it.
    """
    host, rest = "", path[scheme.end() :]
    if rest.startswith("//"):
        host, slash, name = rest[2:].partition("/")
        rest = slash + name
    if host not in ("", "localhost"):
        raise ConfigError(
            [f"--warehouse {path}: it names the host {host}; write file:///{host}{rest}, or the path without a scheme"]
        )
    return _absolute(rest or "/")


def _absolute(path: str) -> str:
    return re.sub(r"^//+", "/", os.path.abspath(os.path.expanduser(path)))
