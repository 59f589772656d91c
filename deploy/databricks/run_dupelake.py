"""Databricks: runs one command of dupelake on the machine of the driver, in an environment of its own.

    run_dupelake.py FILES HOME COMMAND ...

FILES holds constraints.txt, conf/ and dist/ with the wheel; HOME is a folder on the machine's disk. Databricks' own
Spark and Delta are others than dupelake's, and packages of a cluster are shared with them, so nothing of theirs is
used. The task ends with the exit code of the command.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SETTINGS = "conf/spark-databricks.conf"
START_SPARK = ("run", "plan", "maintain", "forget", "overlap")
NOT_OURS = ("DATABRICKS_", "PYSPARK_", "PYTHON", "SPARK_")  # they lead to Databricks' Spark and Python


def environment(files: Path, home: Path, env: Mapping[str, str]) -> Path:
    """The program `dupelake` of the environment in `home`; it is installed when the first task of a cluster starts."""
    program = home / "bin" / "dupelake"
    if not program.exists():
        wheel = next((files / "dist").glob("dupelake-*.whl"))
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, env=env)
        subprocess.run([*pip, "--constraint", str(files / "constraints.txt"), f"{wheel}[heif]"], check=True, env=env)
        subprocess.run([str(program), "jars", "--s3"], check=True, env=env)
    return program


def settings(files: Path) -> list[str]:
    """The lines of the file of settings as options of dupelake."""
    lines = (line.strip() for line in (files / SETTINGS).read_text(encoding="utf-8").splitlines())
    pairs = (line.split(None, 1) for line in lines if line and not line.startswith("#"))
    return [f"--spark={key}={value}" for key, value in pairs]


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    files, home, command, *rest = arguments
    env = {key: value for key, value in os.environ.items() if not key.startswith(NOT_OURS)}
    program = environment(Path(files), Path(home), env)
    given = settings(Path(files)) if command in START_SPARK else []
    return subprocess.run([str(program), command, *rest, *given], check=False, env=env).returncode


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if code:  # in Databricks any SystemExit ends the task as failed
        sys.exit(code)
