"""The wheel of this repository, environments that have nothing but the wheel, and a small night for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

from pictures import SCENES, photograph
from standalone import SPARK_HOME

from dupelake.runtime.session import jar_folder

READ = "2 read = 2 hashed + 0 skipped + 0 failed"  # what a night on `two_images` says
REPO = Path(__file__).parents[2]


def built_wheel(folder: Path) -> Path:
    """Builds the wheel into `folder`, as `make package` does, in some two seconds."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(REPO)], check=True)
    return next(folder.glob("dupelake-*.whl"))


def environment_with(wheel: Path, folder: Path) -> Path:
    """The folder of programs of a new environment in `folder` that has `wheel`.

    A .pth file gives it the packages of this environment. Python does not follow .pth files of folders that a .pth
    file names, so the editable installation of this repository is not seen there.
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([sys.executable, "-m", "pip", f"--python={python}", "install", *options, str(wheel)], check=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "packages-of-tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def environment_of(program: Path) -> dict[str, str]:
    """Variables for `program`, in which nothing leads back to this repository."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYSPARK_PYTHON")} | {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    }


def environment_for(files: Sequence[str], folder: Path) -> Path:
    """The programs of an environment in `folder` with the wheel and Delta's jars, and night.conf, `files` joined."""
    programs = environment_with(built_wheel(folder / "dist"), folder / "opt")
    lend_jars(programs)
    (folder / "night.conf").write_text(joined_settings(files, programs), encoding="utf-8")
    return programs


def night_and_refusal(options: Sequence[str], settings: Sequence[str], env: Mapping[str, str], folder: Path) -> str:
    """Submits a night on two images by `folder`/night.conf, and one of a bad option; what the second one printed."""
    command = [str(SPARK_HOME / "bin" / "spark-submit"), "--properties-file", "night.conf", *options]
    here = ("spark.sql.shuffle.partitions=4", "spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1")
    for setting in (*here, *settings):
        command += ["--conf", setting]
    images = two_images(folder / "images")
    job = [str(REPO / "jobs" / "nightly.py"), str(images), "--warehouse", str(folder / "dupes")]
    env = {**env, "SPARK_LOCAL_IP": "127.0.0.1"}

    def submitted(*more: str) -> subprocess.CompletedProcess[str]:
        told = [*command, *job, *more]
        return subprocess.run(told, capture_output=True, text=True, env=env, check=False, timeout=600, cwd=folder)

    night = submitted()
    assert night.returncode == 0, night.stderr[-6000:]
    assert READ in night.stdout
    refused = submitted("--set", "decide.min_score=7")
    assert refused.returncode == 2, "spark-submit ends with the code of the run in client mode"
    return refused.stdout


def lend_jars(programs: Path) -> None:
    """Puts Delta's jars where `dupelake jars` of this environment puts them."""
    shutil.copytree(jar_folder(), programs.parent / "share" / "dupelake" / "jars")


def joined_settings(names: Sequence[str], programs: Path) -> str:
    """Files of conf/, joined as docs/install.md says, for an environment that is not /opt/dupelake."""
    text = "".join((REPO / "conf" / name).read_text(encoding="utf-8") for name in names)
    return text.replace("/opt/dupelake", str(programs.parent))


def two_images(folder: Path) -> Path:
    """A new folder with a photograph and a smaller copy of it."""
    folder.mkdir(parents=True)
    picture = photograph(SCENES[0])
    picture.save(folder / "whole.png")
    picture.resize((picture.width // 2, picture.height // 2)).save(folder / "half.jpg", quality=85)
    return folder
