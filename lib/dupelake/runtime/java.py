"""Finds a Java for Spark 4. Standard library only, because `make setup` runs this before anything is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from dupelake.errors import EnvironmentFault

JAVA_VERSIONS = (17, 21)
ADVICE = "Install a JDK 17 (Debian, Ubuntu: apt-get install openjdk-17-jdk-headless) or set JAVA_HOME to one."


def check_java() -> str:
    """The path of a suitable Java.

    Raises:
        EnvironmentFault: no Java, or an unsuitable one; the message says what was found and what to install.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if java is None or not Path(java).exists():
        raise EnvironmentFault(f"no Java found ({f'JAVA_HOME={home}' if home else 'none on the PATH'}). {ADVICE}")
    try:
        said = subprocess.run([java, "-version"], capture_output=True, check=False).stderr.decode(errors="replace")
    except OSError as error:  # such as a Java of another processor
        raise EnvironmentFault(f"{java} cannot be started ({error.strerror}). {ADVICE}") from error
    major = parse_major(said)
    if major not in JAVA_VERSIONS:
        raise EnvironmentFault(
            f"{java} is Java {major or 'of an unknown version'}; Spark 4.2 runs on 17 or 21. {ADVICE}"
        )
    return java


def parse_major(said: str) -> int:
    """The major version in the output of `java -version`: 17 for "17.0.15", 8 for "1.8.0_412"; 0 if there is none."""
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match.group(1)) if match else 0


if __name__ == "__main__":
    try:
        check_java()
    except EnvironmentFault as fault:
        sys.exit(f"dupelake: {fault}")
