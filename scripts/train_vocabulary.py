"""Trains the shipped vocabulary of visual words: python scripts/train_vocabulary.py --photographs DIR [--seed N].

It writes lib/dupelake/assets/vocabulary_default.npz; vocabulary_default.txt beside it describes the training data and
must be updated by hand. The pictures are all photographs below DIR (CC0 product photographs were used), those of
scikit-image, and generated ones: pages of text, drawings, textures, flat colours, mostly saved as JPEG, so that JPEG
artefacts become stop words. The same seed, machine and releases of OpenCV and Pillow give the same vocabulary.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import cv2
import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dupelake.embed.centre import REFERENCE_IMAGES
from dupelake.fingerprint.fingerprint import make_thumbnail
from dupelake.words.keypoints import extract_features
from dupelake.words.vocabulary import DEFAULT_ASSET, save_vocabulary
from dupelake.words.vocabulary_training import DEFAULT_ITERATIONS, DEFAULT_STOP_WORDS, train_vocabulary

ASSET = Path(__file__).resolve().parents[1] / "lib" / "dupelake" / "assets" / DEFAULT_ASSET
SIDE_PX, MAX_KEYPOINTS = 320, 400
PHOTOGRAPH_VIEWS, REFERENCE_VIEWS = 3, 60
Pixels = NDArray[np.uint8]


def views(picture: Image.Image, n: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """The picture, then random parts of 20 to 90 % of it, some rotated or reduced, half of them saved as JPEG."""
    yield picture
    for _ in range(n - 1):
        side = np.sqrt(rng.uniform(0.2, 0.9))
        width, height = (max(32, round(length * side)) for length in picture.size)
        left, top = (
            int(rng.integers(0, max(1, a - b + 1))) for a, b in zip(picture.size, (width, height), strict=True)
        )
        view = picture.crop((left, top, min(left + width, picture.width), min(top + height, picture.height)))
        if rng.random() < 0.3:
            view = view.rotate(float(rng.uniform(-30, 30)), Image.Resampling.BICUBIC, expand=False)
        if rng.random() < 0.3:
            factor = rng.uniform(0.4, 0.9)
            view = view.resize([max(32, round(length * factor)) for length in view.size], Image.Resampling.LANCZOS)
        yield through_jpeg(view, rng) if rng.random() < 0.5 else view


def through_jpeg(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """`picture` saved as JPEG of random quality and decoded."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=int(rng.integers(30, 95)))
    return Image.open(out).convert("RGB")


def text_page(rng: np.random.Generator) -> Image.Image:
    """Lines of made-up words in one or two sizes."""
    ink, paper = (0, 255) if rng.random() < 0.7 else (int(rng.integers(150, 256)), int(rng.integers(0, 100)))
    page = Image.new("L", (int(rng.integers(300, 700)), int(rng.integers(300, 700))), paper)
    draw, y = ImageDraw.Draw(page), 10
    sizes = rng.integers(10, 48, 2)
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:!?")
    while y < page.height:
        size = int(sizes[int(rng.random() < 0.2)])
        words = ("".join(rng.choice(letters, int(rng.integers(1, 10)))) for _ in range(page.width // size))
        draw.text((10, y), " ".join(words), fill=ink, font=ImageFont.load_default(size))
        y += round(size * 1.4)
    return page.convert("RGB")


def drawing(rng: np.random.Generator) -> Image.Image:
    """Lines, boxes, circles and polygons, outlined or filled, on paper."""
    size = [int(v) for v in rng.integers(250, 640, 2)]
    picture = Image.new(
        "RGB", (size[0], size[1]), "white" if rng.random() < 0.6 else tuple(rng.integers(0, 256, 3).tolist())
    )
    draw, outlined = ImageDraw.Draw(picture), rng.random() < 0.5
    for _ in range(int(rng.integers(10, 60))):
        points = (rng.random((int(rng.integers(2, 7)), 2)) * size).round().astype(int).tolist()
        colour = (0, 0, 0) if outlined else tuple(rng.integers(0, 256, 3).tolist())
        flat = [tuple(point) for point in points]
        box = [min(p[0] for p in flat), min(p[1] for p in flat), max(p[0] for p in flat), max(p[1] for p in flat)]
        shape, width = int(rng.integers(0, 4)), int(rng.integers(1, 6))
        fill: Any = None if outlined else colour
        if shape == 0:
            draw.line(flat, colour, width)
        elif shape == 1:
            draw.rectangle(box, fill, colour, width)
        elif shape == 2:
            draw.ellipse(box, fill, colour, width)
        else:
            draw.polygon(flat, fill, colour)
    return picture


def texture(rng: np.random.Generator) -> Image.Image:
    """Noise with a random spectrum: plain, with two levels, repeated as tiles, or added to a gradient."""
    side, slope = 384, rng.uniform(0.6, 2.2)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None] * rng.uniform(0.4, 1), np.fft.rfftfreq(side)) + 1 / side
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / frequency**slope, (side, side))
    field = (field - field.mean()) / field.std()
    kind = int(rng.integers(0, 4))
    if kind == 1:
        field = np.sign(field)
    elif kind == 2:
        cell = int(rng.integers(20, 90))
        field = np.tile(field[:cell, :cell], (side // cell + 1, side // cell + 1))[:side, :side]
    elif kind == 3:
        field = field * 0.2 + np.linspace(-2, 2, side)[None, :]
    level = np.clip(128 + field * rng.uniform(15, 60), 0, 255).astype(np.uint8)
    return Image.fromarray(level).convert("RGB")


def flat(rng: np.random.Generator) -> Image.Image:
    """One colour or a gradient, with or without faint noise: its keypoints are artefacts of the encoder."""
    across = np.linspace(0, rng.uniform(0, 120), 400)[None, :, None] * rng.random(3)
    level = rng.uniform(20, 230, 3) + across + rng.normal(0, rng.choice([0, 1, 3]), (300, 400, 3))
    return Image.fromarray(np.clip(level, 0, 255).astype(np.uint8))


def sources(photographs: Path, n_generated: int, seed: int) -> Iterator[tuple[Iterator[Image.Image], str]]:
    """(views, kind) of each source."""
    data = Path(skimage.__file__).parent / "data"
    paths = sorted(p for p in photographs.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not paths:
        sys.exit(f"no photographs under {photographs}")
    for at, path in enumerate(paths):
        with Image.open(path) as file:
            yield views(file.convert("RGB"), PHOTOGRAPH_VIEWS, np.random.default_rng([seed, 0, at])), "photographs"
    for at, name in enumerate(REFERENCE_IMAGES):
        with Image.open(data / name) as file:
            yield views(file.convert("RGB"), REFERENCE_VIEWS, np.random.default_rng([seed, 1, at])), "scikit-image"
    for kind, make in enumerate((text_page, drawing, texture, flat)):
        for at in range(n_generated):
            rng = np.random.default_rng([seed, 2 + kind, at])
            picture = make(rng)
            yield iter([through_jpeg(picture, rng) if rng.random() < 0.8 else picture]), make.__name__


def descriptors_of(picture: Image.Image) -> Pixels:
    """The descriptors of the thumbnail, as in the hash stage."""
    thumbnail = make_thumbnail(np.ascontiguousarray(picture.convert("RGB")), SIDE_PX)
    grey: Any = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY)
    return extract_features(grey, MAX_KEYPOINTS).descriptors


def collect(photographs: Path, n_generated: int, seed: int) -> tuple[Pixels, NDArray[np.int64]]:
    """Descriptors, uint8 (n, 128), and the source of each, int64 (n,)."""
    found, owners, totals = [], [], dict[str, list[int]]()
    for at, (pictures, kind) in enumerate(sources(photographs, n_generated, seed)):
        mine = np.concatenate([descriptors_of(picture) for picture in pictures])
        found.append(mine)
        owners.append(np.full(len(mine), at, np.int64))
        total = totals.setdefault(kind, [0, 0])
        total[0], total[1] = total[0] + 1, total[1] + len(mine)
    for kind, (n, n_descriptors) in totals.items():
        print(f"{kind}: {n} sources, {n_descriptors} descriptors")
    return np.concatenate(found), np.concatenate(owners)


def main() -> None:
    """Collects descriptors, trains, writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--photographs", type=Path, required=True, metavar="DIR", help="searched for JPEG and PNG files"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generated", type=int, default=150, metavar="N", help="pictures of each generated kind")
    parser.add_argument("--iterations", type=int, default=DEFAULT_ITERATIONS)
    parser.add_argument("--stop-words", type=int, default=DEFAULT_STOP_WORDS)
    parser.add_argument("--out", type=Path, default=ASSET, metavar="FILE")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    start = time.monotonic()
    descriptors, owners = collect(args.photographs, args.generated, args.seed)
    print(f"{len(descriptors)} descriptors in {time.monotonic() - start:.0f} s", flush=True)
    vocabulary = train_vocabulary(descriptors, owners, args.seed, args.iterations, args.stop_words)
    save_vocabulary(vocabulary, args.out)
    print(
        f"{args.out}: version {vocabulary.version}, {len(vocabulary.stop_words)} stop words, "
        f"{args.out.stat().st_size} bytes, {time.monotonic() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
