"""Second shots, made: what is photographed twice is no copy, however much the two photographs have in common.

Kinds:

- stereo: regions of scikit-image's stereo pair of a motorcycle (Middlebury 2014: a real scene, two real cameras), the
  right one moved by the median disparity of the region, so that only parallax is left. Regions that are nearly one
  plane are left out: two shots of a wall cannot be told from copies.
- burst: the next frame of a photograph of a person or a sign, at two paces. What stands before the background (GrabCut)
  moves, turns, comes nearer and bends a little; the camera moves otherwise; what was hidden is filled in; light and
  noise are others.
- other_colour: the same garment in another colour, photographed again: another pose (folds move by some 4 % of the
  width), another place and size in the frame, other lightness and colour. A mere recolouring would be an alternate.

Each shot is a picture of its own in the truth, also against the photograph that it was made from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dupelake.recall.edits import RGB

SIDES = ("left", "right")
STEREO_REGIONS = (3, 2)  # columns, rows
MIN_PARALLAX_PX = 3.0  # standard deviation of disparity from its best plane, over a region of some 250 px
MASK_SHARE = (0.08, 0.6)  # of the frame; outside it GrabCut found no object

Float = NDArray[np.float32]

Movement = Callable[[RGB, NDArray[np.uint8], np.random.Generator, float], RGB]
PACES = (1.0, 0.5)  # of bursts; even at half of it the subject moves by 5 px of a thumbnail


def make(
    data: Path, scenes: list[str], garments: list[str], images: Path, n: int, seed: int
) -> list[dict[str, object]]:
    """Writes the images; returns their rows of the truth, as `corpus.Row` takes them.

    Args:
        data: folder of the real images.
        scenes: paths of photographs, relative to `data`, of which bursts are made.
        garments: the same for other colours.
        images: folder to write to.
        n: images of a kind, at most as many as there are photographs with an object; the stereo pairs are always all.
        seed: chooses everything.
    """
    rows: list[dict[str, object]] = []

    def add(kind: str, i: int, rgb: RGB, source: str, strength: float = 0.0) -> None:
        name = f"{kind}{i:03d}.jpg"
        Image.fromarray(rgb).save(images / name, quality=90)
        rows.append(
            {"image": name, "group": name[:-4], "edit": kind, "strength": strength, "kept_fraction": 1.0}
            | {"short_side_px": min(rgb.shape[:2]), "relation": "original", "source": source}
        )

    for i, view in enumerate(view for pair in stereo_pairs() for view in pair):
        add("stereo", i, view, f"skimage/motorcycle_{SIDES[i % 2]}.png")
    kinds: dict[str, tuple[list[str], Movement, float, tuple[float, ...]]] = {
        "burst": (scenes, next_frame, 0.45, PACES),  # a drawing of a sign fills its frame, and has no next one
        "other_colour": (garments, other_colour, MASK_SHARE[1], (1.0,)),
    }
    for number, (kind, (sources, movement, largest, paces)) in enumerate(kinds.items()):
        rng = np.random.default_rng([seed, 3, number])
        made = 0
        for c in rng.permutation(len(sources)):
            if made == n:
                break
            with Image.open(data / sources[c]) as image:
                rgb = np.array(ImageOps.exif_transpose(image).convert("RGB"))
            mask = object_mask(rgb)
            if mask is not None and mask.mean() < largest:
                pace = paces[made % len(paces)]
                add(kind, made, movement(rgb, mask, rng, pace), sources[c], pace)
                made += 1
    return rows


def stereo_pairs() -> list[tuple[RGB, RGB]]:
    """Left and right view of each region with depth; no two regions overlap."""
    folder = Path(skimage.__file__).parent / "data"
    left, right = (cv2.cvtColor(cv2.imread(str(folder / f"motorcycle_{s}.png")), cv2.COLOR_BGR2RGB) for s in SIDES)
    disparity = np.load(folder / "motorcycle_disp.npz")["arr_0"]
    height, width = left.shape[0] // STEREO_REGIONS[1], left.shape[1] // STEREO_REGIONS[0]
    pairs: list[tuple[RGB, RGB]] = []
    for y in range(0, height * STEREO_REGIONS[1], height):
        for x in range(0, width * STEREO_REGIONS[0], width):
            region = disparity[y : y + height, x : x + width]
            known = np.isfinite(region)
            places = np.column_stack([*np.nonzero(known), np.ones(known.sum())])
            plane = np.linalg.lstsq(places, region[known], rcond=None)[0]
            if (region[known] - places @ plane).std() < MIN_PARALLAX_PX:
                continue
            at = max(0, x - round(float(np.median(region[known]))))
            pairs.append((left[y : y + height, x : x + width], right[y : y + height, at : at + width]))
    return [(np.ascontiguousarray(a), np.ascontiguousarray(b)) for a, b in pairs]


def object_mask(rgb: RGB) -> NDArray[np.uint8] | None:
    """uint8 (h, w), 1 on what stands in the middle (GrabCut, Rother et al. 2004); None where nothing is found."""
    height, width = rgb.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    box = (round(width * 0.08), round(height * 0.05), round(width * 0.84), round(height * 0.92))
    cv2.setRNGSeed(1)
    cv2.grabCut(rgb, mask, box, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_RECT)
    found = np.asarray((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD), np.uint8)
    found = np.asarray(cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)), np.uint8)
    return found if MASK_SHARE[0] < found.mean() < MASK_SHARE[1] else None


def next_frame(rgb: RGB, mask: NDArray[np.uint8], rng: np.random.Generator, pace: float = 1.0) -> RGB:
    """Another frame of the same burst.

    Args:
        rgb: uint8 (h, w, 3).
        mask: of `object_mask`.
        rng: chooses all movements.
        pace: of the subject; 1 moves it by 3 to 6 % of the width and turns it by 2 to 4 degrees.
    """
    camera = _affine(rgb.shape, rng, turn=1.5, zoom=0.02, shift=(0.01, 0.025))
    subject = _affine(rgb.shape, rng, turn=4.0 * pace, zoom=0.06 * pace, shift=(0.03 * pace, 0.06 * pace))
    return _shot(rgb, mask, camera, subject, 0.012 * pace, rng)


def other_colour(rgb: RGB, mask: NDArray[np.uint8], rng: np.random.Generator, pace: float = 1.0) -> RGB:
    """The same garment in another colour, photographed again; arguments as of `next_frame`."""
    lab = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.float32)
    inside = mask > 0
    mean = lab[inside].mean(axis=0)
    angle = np.arctan2(mean[2] - 128, mean[1] - 128) + rng.uniform(1.5, 4.8)  # far from its own hue
    target = 128 + rng.uniform(30, 55) * np.array([np.cos(angle), np.sin(angle)])
    lightness = rng.uniform(35, 60) * (-1 if mean[0] > 128 else 1)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.5)[:, :, None]
    changed = np.concatenate([lab[:, :, :1] + lightness, target + 0.4 * (lab[:, :, 1:] - mean[1:])], axis=2)
    lab = lab * (1 - soft) + changed * soft
    dyed = cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
    camera = _affine(rgb.shape, rng, turn=0.5, zoom=0.01, shift=(0.0, 0.01))
    subject = _affine(rgb.shape, rng, turn=4.0 * pace, zoom=0.08 * pace, shift=(0.03 * pace, 0.06 * pace))
    return _shot(np.asarray(dyed, np.uint8), mask, camera, subject, 0.04 * pace, rng)


def _affine(
    shape: tuple[int, ...], rng: np.random.Generator, *, turn: float, zoom: float, shift: tuple[float, float]
) -> Float:
    """A movement about the middle: degrees and zoom between half and all of what is named, shift in widths."""
    height, width = shape[:2]
    sign, angle = rng.choice((-1, 1), 2), rng.uniform(0, 2 * np.pi)
    turned = float(sign[0] * rng.uniform(turn / 2, turn))
    scale = float(1 + sign[1] * rng.uniform(zoom / 2, zoom))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turned, scale)
    matrix[:, 2] += rng.uniform(*shift) * width * np.array([np.cos(angle), np.sin(angle)])
    return np.asarray(matrix, np.float32)


def _shot(
    rgb: RGB, mask: NDArray[np.uint8], camera: Float, subject: Float, bend: float, rng: np.random.Generator
) -> RGB:
    """Background and object, each moved on its own; the object bends by `bend` widths (deviation of its grid)."""
    height, width = rgb.shape[:2]
    hole = cv2.dilate(mask, np.ones((9, 9), np.uint8))
    behind = cv2.inpaint(rgb, hole, 5, cv2.INPAINT_TELEA)
    behind = cv2.warpAffine(behind, camera, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    grid = rng.normal(0, bend * width, (2, 5, 4)).astype(np.float32)
    dx, dy = (np.asarray(cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC)) for one in grid)
    back = np.asarray(cv2.invertAffineTransform(subject), np.float32)
    from_x = back[0, 0] * x + back[0, 1] * y + back[0, 2] + dx
    from_y = back[1, 0] * x + back[1, 1] * y + back[1, 2] + dy
    before = cv2.remap(rgb, from_x, from_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)
    cover = cv2.remap(mask.astype(np.float32), from_x, from_y, cv2.INTER_LINEAR)
    cover = cv2.GaussianBlur(cover, (0, 0), 1.0)[:, :, None]
    out = before * cover + behind.astype(np.float32) * (1 - cover)
    light = rng.uniform(0.93, 1.07) * rng.uniform(0.98, 1.02, 3)
    noise = rng.normal(0, rng.uniform(2.5, 5), out.shape)
    return np.clip(out * light + noise + 0.5, 0, 255).astype(np.uint8)
