"""Builds the SparkSession. No other module does, except in tests."""

from __future__ import annotations

import locale
import logging
import os
import pwd
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from dupelake.errors import EnvironmentFault, first_line
from dupelake.runtime.interrupts import STOPPING
from dupelake.runtime.java import check_java
from dupelake.runtime.out_files import written_whole
from dupelake.runtime.redaction import Redactor

log = logging.getLogger(__name__)

DELTA_PACKAGE = "io.delta:delta-spark_4.2_2.13:4.4.0"
# Hadoop's own package of S3 depends on the SDK for all of Amazon's services in one jar of 690 MB. These modules of that
# version are all that S3 takes: 16 MB.
_SDK = "2.35.4"
S3_PACKAGES = (
    "org.apache.hadoop:hadoop-aws:3.5.0",
    *(f"software.amazon.awssdk:{module}:{_SDK}" for module in ("s3", "s3-transfer-manager", "sts")),
)
_WHOLE_SDK = "software.amazon.awssdk:bundle"
_PACKAGES, _JAVA_OPTIONS = "spark.jars.packages", "spark.driver.extraJavaOptions"
_REQUIRED = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    # Not Spark's INT96: Arrow and delta-rs read it as nanoseconds, which end in the year 2262. One photograph with the
    # year 2999 (a wrong clock) would make `images` unreadable for them.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # One core for each task: on a busy machine two threads that wait for each other take 30 ms instead of 1 ms for the
    # product of two small matrices. Spark passes this to Python workers, also in local mode.
    "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
}


def conf_file(name: str) -> Path:
    """The path of a file of conf/: in the package of the wheel, or at the top of the repository."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "conf", here.parents[1] / "conf"):
        if (folder / name).is_file():
            return folder / name
    raise EnvironmentFault(f"the installation lacks conf/{name}; install dupelake again")


def read_properties(path: Path) -> dict[str, str]:
    """A Spark properties file as a dict: one `key value` a line; `#` starts a comment line."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


def jar_folder() -> Path:
    """The folder of Delta's jars for sessions without Maven: DUPELAKE_JARS, else a folder of this environment."""
    return Path(os.environ.get("DUPELAKE_JARS") or Path(sys.prefix, "share", "dupelake", "jars"))


def local_jars() -> list[str]:
    """The jars of `jar_folder` (filled by `dupelake jars`) and dupelake's reader jar; may be empty."""
    folder = jar_folder()
    delta = sorted(folder.glob("*.jar"))
    if "DUPELAKE_JARS" in os.environ and not any(jar.name.startswith("delta-spark_") for jar in delta):
        raise EnvironmentFault(
            f"DUPELAKE_JARS={folder} holds no delta-spark jar; fill it with `dupelake jars --to {folder}` or unset it"
        )
    own = sorted((Path(__file__).resolve().parents[1] / "jars").glob("*.jar"))
    return [str(path) for path in [*delta, *own]]


def collect_jars(target: Path, *, with_s3: bool = False) -> int:
    """Copies Delta's jars, and those that read S3, resolved through Maven, into `target`; returns the number there."""
    target.mkdir(parents=True, exist_ok=True)
    wanted = {"delta-spark_": (DELTA_PACKAGE,), **({"hadoop-aws-": S3_PACKAGES} if with_s3 else {})}
    packages = [one for begin, some in wanted.items() if not any(target.glob(f"{begin}*.jar")) for one in some]
    if not packages:
        return len(list(target.glob("*.jar")))
    check_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    _stay_local()
    session = (
        SparkSession.builder.appName("dupelake-jars")
        .master("local[1]")
        .config("spark.ui.enabled", "false")
        .config(_PACKAGES, ",".join(packages))
        .config("spark.jars.excludes", _WHOLE_SDK)
        .getOrCreate()
    )
    uris = (session.sparkContext.getConf().get("spark.jars") or "").split(",")
    shipped = {
        _artifact(jar.name) for jar in Path(os.environ.get("SPARK_HOME") or _pyspark_home(), "jars").glob("*.jar")
    }
    for uri in filter(None, uris):
        jar = Path(uri.removeprefix("file:"))
        name = jar.name.partition("_")[2]  # Ivy's name is organisation_artifact-version.jar
        if _artifact(name) not in shipped:
            with written_whole(target / name) as unfinished:
                shutil.copyfile(jar, unfinished)
    session.stop()
    for begin, some in wanted.items():
        if not any(target.glob(f"{begin}*.jar")):
            raise EnvironmentFault(f"Maven gave no {begin.rstrip('-_')} jar for {some[0]}; see its messages above")
    return len(list(target.glob("*.jar")))


def _artifact(jar_name: str) -> str:
    """The artifact of a jar's file name, without its version."""
    return re.sub(r"-\d[\w.-]*\.jar$", "", jar_name)


def _pyspark_home() -> Path:
    import pyspark

    return Path(pyspark.__file__).parent


def build_session(app_name: str, extra: Mapping[str, str] | None = None) -> SparkSession:
    """The session of a job: that of spark-submit, or local mode with conf/spark-local.conf.

    Args:
        app_name: shown in Spark's UI.
        extra: settings that override the file.

    Raises:
        EnvironmentFault: there is no suitable Java, Spark did not start, or Delta Lake is missing.
    """
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    check_encoding()
    if not submitted:
        check_java()
    settings = merged(_REQUIRED | ({} if submitted else _local_settings()), extra or {})
    if not submitted:
        _name_log_settings(settings)
        _add_jars(settings)
        if settings.get("spark.master", "").startswith("local"):
            _stay_local()
    try:
        if not submitted:
            _start_jvm(settings)
        builder = SparkSession.builder.appName(app_name)
        for key, value in settings.items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
    except Exception as error:
        why = Redactor.of(settings)(first_line(error, innermost=True))
        raise EnvironmentFault(f"Spark did not start: {why} (see the messages of Java above)") from error
    if submitted:
        session.sparkContext.setLogLevel(session.conf.get("spark.log.level", "WARN") or "WARN")
        _warn_of_encoding(session)
    _check_delta(session)
    return session


def _stay_local() -> None:
    """Keeps Spark from looking up this machine's name, which has no address in a container without network."""
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


def merged(settings: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    """`settings` with those that are asked for over them; packages that are asked for come beside Delta's."""
    packages = [some[_PACKAGES] for some in (settings, asked) if some.get(_PACKAGES)]
    return {**settings, **asked, **({_PACKAGES: ",".join(packages)} if packages else {})}


def _name_log_settings(settings: dict[str, str]) -> None:
    """Adds the settings of the log to the options of Java, which a user may have set, unless they name a file.

    Without a file Spark says which one it takes, and warns, before a session can set a level.
    """
    options = settings.get(_JAVA_OPTIONS, "")
    if "log4j" not in options:
        settings[_JAVA_OPTIONS] = (
            f"{options} -Dlog4j2.configurationFile={conf_file('log4j2.properties').as_uri()}".strip()
        )


def _local_settings() -> dict[str, str]:
    """Settings of a session on this machine only."""
    settings = read_properties(conf_file("spark-local.conf"))
    # Spark would create this folder, empty, in the working directory; dupelake does not use it.
    settings["spark.sql.warehouse.dir"] = str(Path(tempfile.gettempdir(), "dupelake-spark-warehouse"))
    # There are few rows, and each Python step has so many tasks; more small tasks would cost more than they save.
    settings["spark.sql.shuffle.partitions"] = str(max(4, 2 * (os.cpu_count() or 1)))
    if not any("delta-spark" in jar for jar in local_jars()):
        settings[_PACKAGES] = DELTA_PACKAGE
    if not has_name():  # then Java knows no home folder either, in which spark-submit always looks for Ivy's files
        settings["spark.jars.ivy"] = str(Path(tempfile.gettempdir(), f"dupelake-ivy-{os.getuid()}"))
    return settings


def _add_jars(settings: dict[str, str]) -> None:
    """Adds Delta's jars and dupelake's jar to the jars that the user names.

    In local mode it uses the class path of the single JVM: Hadoop's file system copies the jars of `spark.jars`, and it
    needs the name of the user before that name can be set.
    """
    is_local = settings.get("spark.master", "").startswith("local")
    name, between = ("spark.driver.extraClassPath", os.pathsep) if is_local else ("spark.jars", ",")
    jars = [*local_jars(), *filter(None, [settings.get(name)])]
    if jars:
        settings[name] = between.join(jars)


def _start_jvm(settings: Mapping[str, str]) -> None:
    """Starts the JVM, if there is none, without the secrets of `settings`, because every user can read a command line.

    The session, which is built next, passes the secrets to the JVM through its own channel.
    """
    redactor = Redactor.of(settings)
    told = SparkConf(loadDefaults=False)
    told.setAll([(key, value) for key, value in settings.items() if not redactor.is_secret(key)])
    if SparkContext._gateway is None:
        SparkContext._ensure_initialized(gateway=_launch(told))
    jvm: Any = SparkContext._jvm
    if not has_name():
        # Java's login needs the name of the user, which a container with an arbitrary user id may not know.
        users = jvm.org.apache.hadoop.security.UserGroupInformation
        users.setLoginUser(users.createRemoteUser(os.environ.get("HADOOP_USER_NAME") or f"user{os.getuid()}"))


def _launch(settings: SparkConf) -> Any:
    """Starts the JVM as PySpark does; what it says on stderr is passed on but for lines that tell a user nothing."""
    ours, of_jvm = os.pipe()
    said = threading.Thread(target=_pass_on, args=(ours,), name="dupelake-jvm-stderr", daemon=True)
    said.start()
    try:
        gateway = launch_gateway(settings, {"stderr": of_jvm})  # type: ignore[no-untyped-call]
    except Exception:
        os.close(of_jvm)
        said.join(timeout=5)  # the reason comes before the error
        raise
    os.close(of_jvm)
    return gateway


def _pass_on(descriptor: int) -> None:
    """Writes each line of the pipe `descriptor` to stderr, until the JVM and its Python workers have ended."""
    with open(descriptor, "rb") as lines:
        for line in lines:
            is_usual = line.startswith(b"WARNING: Using incubator modules:")  # Spark asks the JDK for it, always
            if not is_usual and not STOPPING.is_set():
                os.write(2, line)


def has_name() -> bool:
    """Whether the system has a name for the user of this process."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


def check_encoding() -> None:
    """Checks that Python uses UTF-8 for file names, and makes the JVM that it starts do so.

    Raises:
        EnvironmentFault: Python uses another encoding, because of a locale such as de_DE.ISO-8859-1.
    """
    encoding = sys.getfilesystemencoding()
    if encoding.lower() != "utf-8":  # with the locale C, Python uses UTF-8
        raise EnvironmentFault(f"the locale encodes file names in {encoding}, not in UTF-8; set LC_ALL=C.UTF-8")
    if locale.getencoding().lower() != "utf-8":
        os.environ["LC_ALL"] = "C.UTF-8"  # the JVM and its Python workers use the locale


def _warn_of_encoding(session: SparkSession) -> None:
    """Warns if the JVM of spark-submit does not use UTF-8, because it then garbles names that are not ASCII."""
    jvm: Any = session._jvm
    encoding = str(jvm.java.lang.System.getProperty("sun.jnu.encoding"))
    if encoding.upper() != "UTF-8":
        log.warning(
            "Spark's JVM encodes file names in %s: paths that are not ASCII will not be found; set LC_ALL=C.UTF-8 for "
            "spark-submit, and spark.executorEnv.LC_ALL as conf/spark-cluster.conf does",
            encoding,
        )


def _check_delta(session: SparkSession) -> None:
    """Fails with the flag to add if spark-submit was called without Delta's jars or its extension."""
    try:
        jvm: Any = session._jvm
        jvm.java.lang.Thread.currentThread().getContextClassLoader().loadClass(
            "io.delta.sql.DeltaSparkSessionExtension"
        )
    except Exception as error:
        raise EnvironmentFault(
            f"Spark started without Delta Lake; add --packages {DELTA_PACKAGE} "
            "(or --jars with its files) to spark-submit"
        ) from error
    extensions = session.sparkContext.getConf().get("spark.sql.extensions", "")
    if _REQUIRED["spark.sql.extensions"] not in (extensions or ""):
        raise EnvironmentFault(
            "Spark started without Delta's extension; add --conf "
            f"spark.sql.extensions={_REQUIRED['spark.sql.extensions']}"
        )
