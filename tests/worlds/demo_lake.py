"""The warehouse of `dupelake demo`, made by the shared session: the same tables, without measures of recall."""

from __future__ import annotations

from pathlib import Path

from dupelake.demo import NIGHTS, write_images
from dupelake.pipeline import nightly

_OPTIONS = ["--set", "run.planted_images=0", "--set", "run.checked_images=0"]


def make_demo(folder: Path) -> Path:
    """Write `images`, `truth.csv` and `warehouse` into `folder`, as two nights leave them."""
    write_images(folder / "images")
    for night in NIGHTS:
        asked = [str(folder / "images"), "--warehouse", str(folder / "warehouse"), "--partitions", night]
        assert nightly.main([*asked, *_OPTIONS]) == 0
    return folder
