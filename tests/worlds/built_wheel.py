"""The wheel of this repository, and environments into which nothing but the wheel is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

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
