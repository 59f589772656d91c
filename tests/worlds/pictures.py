"""Small real photographs (they ship with scikit-image) and copies of them with known edits, for end-to-end tests."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import skimage
from PIL import Image, ImageOps

SOURCE = Path(skimage.__file__).parent / "data"
# Jobs on so few pictures: no model, no planted copies.
OPTIONS = [
    word
    for option in ("embed.model=none", "run.planted_images=0", "run.checked_images=0")
    for word in ("--set", option)
]
_HASH_AND_JOIN = ("embed.model=none", "lsh.words=false", "run.planted_images=0", "run.checked_images=0")
FAST = [word for option in _HASH_AND_JOIN for word in ("--set", option)]
"""Options of nights that hash and join by hashes alone."""
FASTEST = [*FAST, "--set", "features.max_words=0"]
"""The same, without visual words."""
SCENES = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "rocket.jpg", "ihc.png", "moon.png")


def png(seed: int, side: int = 96) -> bytes:
    """A smooth picture in random colours; others of other seeds are no copies of it."""
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8))
    out = io.BytesIO()
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def photograph(name: str, longest: int = 400) -> Image.Image:
    with Image.open(SOURCE / name) as image:
        picture = image.convert("RGB")
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return picture


def write_two_nights(folder: Path) -> Path:
    """First night: eight photographs, small copies of some; second: further copies, twins, broken files."""
    first, second = folder / "date=2026-11-01", folder / "date=2026-11-02"
    first.mkdir(parents=True)
    second.mkdir()
    for i, name in enumerate(SCENES):
        picture, stem = photograph(name), Path(name).stem
        picture.save(first / f"{stem}.png")
        if i % 2 == 0:
            picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS).save(
                first / f"{stem} half.jpg", quality=85
            )
        if i % 3 == 0:
            picture.save(second / f"{stem} q70 100%.jpg", quality=70)
        if i % 4 == 1:
            ImageOps.mirror(picture).save(second / f"{stem} mirrored.jpg", quality=90)
    astronaut = photograph("astronaut.png")
    (second / "twin #1.png").write_bytes((first / "astronaut.png").read_bytes())  # equal bytes
    astronaut.save(second / "astronaut resaved.bmp")  # equal pixels
    Image.new("RGB", (300, 200), (200, 200, 200)).save(first / "blank.png")
    Image.new("RGB", (310, 200), (190, 200, 200)).save(second / "blank too.png")
    (second / "empty.jpg").write_bytes(b"")
    (second / "text.jpg").write_text("no image", encoding="utf-8")
    (second / "cut.png").write_bytes((first / "coffee.png").read_bytes()[:5000])
    return folder
