"""`dupelake demo`: photographs that ship inside scikit-image, copied with known edits, through two nights.

Shows what the product does on a machine without any images of its own, and measures it against the
truth that making the copies gives.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

Edit = Callable[[Image.Image], Image.Image]

# Photographs only (README.txt of skimage/data has their licences); each is its own scene.
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
NIGHTS = ("2026-11-01", "2026-11-02")


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _caption(image: Image.Image) -> Image.Image:
    out = image.copy()
    bar = max(12, out.height // 14)
    ImageDraw.Draw(out).rectangle([0, out.height - bar, out.width, out.height], fill=(20, 20, 20))
    return out


def edits() -> dict[str, Callable[[Image.Image], tuple[str, bytes]]]:
    """The known edits: name -> function that gives file suffix and bytes."""

    def scaled(image: Image.Image, factor: float) -> Image.Image:
        size = (round(image.width * factor), round(image.height * factor))
        return image.resize(size, Image.Resampling.LANCZOS)

    return {
        "original": lambda im: ("png", _save(im, "PNG")),
        "jpeg-q60": lambda im: ("jpg", _save(im, "JPEG", quality=60)),
        "half-size": lambda im: ("jpg", _save(scaled(im, 0.5), "JPEG", quality=85)),
        "webp": lambda im: ("webp", _save(im, "WEBP", quality=75)),
        "mirrored": lambda im: ("jpg", _save(ImageOps.mirror(im), "JPEG", quality=90)),
        "brighter": lambda im: ("jpg", _save(ImageEnhance.Brightness(im).enhance(1.15), "JPEG", quality=88)),
        "caption": lambda im: ("jpg", _save(_caption(im), "JPEG", quality=90)),
        "crop-96": lambda im: ("jpg", _save(ImageOps.crop(im, round(min(im.size) * 0.01)), "JPEG", quality=90)),
    }


def write_images(folder: Path) -> Path:
    """Write the sample images under `folder`, in two date partitions; returns the truth CSV (path, group, edit).

    The first night holds originals and some copies, the second the other copies and a few odd files:
    a byte-identical copy under another name, a truncated file, an empty one and one that is no image.
    """
    import skimage

    source = Path(skimage.__file__).parent / "data"
    makers = edits()
    truth: list[tuple[str, str, str]] = []
    for i, name in enumerate(PHOTOGRAPHS):
        with Image.open(source / name) as image:
            picture = image.convert("RGB")
        scene = Path(name).stem
        chosen = ["original", *[list(makers)[1 + (i + k) % (len(makers) - 1)] for k in range(1 + i % 4)]]
        for k, edit in enumerate(chosen):
            suffix, data = makers[edit](picture)
            path = folder / f"date={NIGHTS[0 if k < 2 else 1]}" / f"{scene} {edit}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            truth.append((str(path.relative_to(folder)), scene, edit))
    last = folder / f"date={NIGHTS[1]}"
    astronaut = folder / f"date={NIGHTS[0]}" / "astronaut original.png"
    (last / "same bytes, 100 % #1.png").write_bytes(astronaut.read_bytes())
    truth.append((f"{last.name}/same bytes, 100 % #1.png", "astronaut", "same-bytes"))
    (last / "truncated.png").write_bytes(astronaut.read_bytes()[:200_000])
    (last / "empty.jpg").write_bytes(b"")
    (last / "not an image.jpg").write_text("plain text\n", encoding="utf-8")
    table = folder.parent / "truth.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "group", "edit"), *truth])
    return table
