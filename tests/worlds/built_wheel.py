"""The wheel of this repository, environments that have nothing but the wheel, and a small night for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

from pictures import SCENES, photograph

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
