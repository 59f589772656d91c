"""Builds lib/dupelake/jars/dupelake-reader.jar from java/, compiled with the jars of pyspark.

Standard library only. The build is reproducible: equal sources, pyspark and compiler give the same jar, byte for byte.
It does nothing if the jar is up to date, by a digest in the jar's manifest.

    python scripts/build_jar.py [--force]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "java"
JAR = ROOT / "lib" / "dupelake" / "jars" / "dupelake-reader.jar"
RELEASE = "17"
STAMP = "Dupelake-Sources"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip entry can carry


class BuildError(Exception):
    """The jar cannot be built; the message says what to install."""


def find_javac() -> Path:
    """The Java compiler in JAVA_HOME, else on the PATH.

    Raises:
        BuildError: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home, "bin", "javac")) if home else None
    if found is None or not Path(found).is_file():
        found = shutil.which("javac")
    if found is None:
        where = f"JAVA_HOME={home} and the PATH have" if home else "the PATH has"
        raise BuildError(
            f"no Java compiler: {where} no javac. Install a JDK 17 or 21, not only a JRE (Debian, Ubuntu: "
            "apt-get install openjdk-17-jdk-headless), or set JAVA_HOME to one. Without the jar dupelake "
            "still reads local files and http(s)://; only s3a://, hdfs:// and other remote schemes need it."
        )
    return Path(found)


def spark_jars() -> Path:
    """The folder of pyspark's jars; pyspark itself is not imported."""
    spec = importlib.util.find_spec("pyspark")
    folder = Path(spec.origin).parent / "jars" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        raise BuildError(f"{sys.executable} has no pyspark; run this script with the project's environment")
    return folder


def digest(sources: list[Path], jars: Path) -> str:
    """Digest of everything that the jar depends on: the sources and the versions of the compiled-in jars."""
    state = hashlib.sha256(RELEASE.encode())
    for source in sources:
        state.update(source.relative_to(SOURCES).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    for name in sorted(path.name for path in jars.glob("*.jar") if path.name.startswith(("spark-", "hadoop-"))):
        state.update(name.encode() + b"\0")
    return state.hexdigest()


def stamp_of(jar: Path) -> str | None:
    """The digest in a jar's manifest; None if the jar does not exist or was not built by this script."""
    try:
        with zipfile.ZipFile(jar) as archive:
            lines = archive.read("META-INF/MANIFEST.MF").decode().splitlines()
    except (OSError, KeyError, zipfile.BadZipFile):
        return None
    values = dict(line.split(": ", 1) for line in lines if ": " in line)
    return "".join(values.get(f"{STAMP}-{part}", "") for part in (1, 2)) or None


def write_jar(classes: Path, jar: Path, stamp: str) -> None:
    """Packs a folder of classes, sorted and with one fixed time, and replaces the jar atomically."""
    # A manifest line has at most 72 bytes, so the digest is split in two halves.
    manifest = f"Manifest-Version: 1.0\r\n{STAMP}-1: {stamp[:32]}\r\n{STAMP}-2: {stamp[32:]}\r\n\r\n"
    jar.parent.mkdir(parents=True, exist_ok=True)
    unfinished = jar.with_name(f".{jar.name}.{os.getpid()}")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        entries = [("META-INF/MANIFEST.MF", manifest.encode())]
        entries += [
            (path.relative_to(classes).as_posix(), path.read_bytes()) for path in sorted(classes.rglob("*.class"))
        ]
        for name, data in entries:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    unfinished.replace(jar)


def build(jar: Path = JAR, *, force: bool = False) -> bool:
    """Builds the jar unless it is up to date.

    Returns:
        Whether it was built.

    Raises:
        BuildError: no compiler, no pyspark, or the sources do not compile.
    """
    sources = sorted(SOURCES.rglob("*.java"))
    jars = spark_jars()
    stamp = digest(sources, jars)
    if not force and stamp_of(jar) == stamp:
        return False
    javac = find_javac()
    with tempfile.TemporaryDirectory(prefix="dupelake-jar-") as folder:
        command = [
            str(javac),
            "--release",
            RELEASE,
            "-encoding",
            "UTF-8",
            "-proc:none",
            "-nowarn",
            "-g:none",
            "-cp",
            f"{jars}/*",
            "-d",
            folder,
            *map(str, sources),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"{javac} refused the sources:\n{done.stderr.strip()}")
        write_jar(Path(folder), jar, stamp)
    return True


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--force", action="store_true", help="build even when the jar is up to date")
    options = parser.parse_args()
    try:
        built = build(force=options.force)
    except BuildError as error:
        print(f"build_jar: {error}", file=sys.stderr)
        return 1
    print(f"build_jar: {'built' if built else 'up to date:'} {JAR.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
