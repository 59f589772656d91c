"""Edits that people make to pictures, in graded strengths: those of the edits bench.

`dupelake.recall.edits` has the edits that every run plants, and says how an edit depends on its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from benchmarks.edits import colour, drawn, geometry

from dupelake.recall import edits as planted
from dupelake.recall.edits import RGB, Change, Shown, changed, encoded, whole

COPY, ALTERNATE = "copy", "alternate"


@dataclass(frozen=True)
class Edited:
    """An edited picture, as a file.

    Attributes:
        data: bytes of the file.
        format: JPEG or WEBP.
        kept_fraction: 0 to 1, share of the original's area that can still be seen, however small or faint.
        width_px: width of the file's picture.
        height_px: height of the file's picture.
        picture_side_px: short side of what shows the original; less than both sides of the file inside a screenshot
            or a collage.
    """

    data: bytes
    format: str
    kept_fraction: float
    width_px: int
    height_px: int
    picture_side_px: int


@dataclass(frozen=True)
class Edit:
    """One kind of edit.

    Attributes:
        name: key in `EDITS`.
        family: heading in tables: encoding, size, crop, turn, frame, overlay, degrade, colour, combined.
        unit: meaning of a strength.
        strengths: the grades, mildest first.
        relation: relation of the result to the original: COPY shows nothing that the original lacks; ALTERNATE has
            something added or another colour.
        change: the edit on pixels; encoding follows.
        n_others: other pictures that strength `s` wants (a collage), else 0.
    """

    name: str
    family: str
    unit: str
    strengths: tuple[float, ...]
    relation: str
    change: Change
    n_others: Callable[[float], int] = lambda _: 0


def apply_edit(rgb: RGB, edit: str, strength: float, seed: int, others: Sequence[RGB] = ()) -> Edited:
    """Edit a picture and encode it: `file_of` of `edited_pixels`, with its arguments and errors."""
    return file_of(edited_pixels(rgb, edit, strength, seed, others))


def edited_pixels(rgb: RGB, edit: str, strength: float, seed: int, others: Sequence[RGB] = ()) -> Shown:
    """Edit a picture; the result is not yet encoded.

    Args:
        rgb: uint8 (h, w, 3), both sides at least 8 px.
        edit: a name of `EDITS`.
        strength: any sensible value of the edit's unit; `EDITS[edit].strengths` are the grades that the bench uses.
        seed: chooses positions, signs, colours and words; 0 to 2**63 - 1.
        others: the other pictures of a collage, `EDITS[edit].n_others(strength)` of them; when empty, drawn from the
            seed.

    Raises:
        ValueError: an unknown edit, a picture of another shape or too small, or the wrong number of other pictures.
    """
    if edit not in EDITS:
        raise ValueError(f"no edit {edit!r}; there are {', '.join(EDITS)}")
    change, wanted = EDITS[edit].change, EDITS[edit].n_others(strength)
    if wanted:
        if others and len(others) != wanted:
            raise ValueError(f"{edit} {strength:g} wants {wanted} other pictures, not {len(others)}")

        def change(rgb: RGB, strength: float, rng: np.random.Generator) -> Shown:
            tiles = others or [drawn.invented_picture(rng, rgb.shape) for _ in range(wanted)]
            return drawn.collage(rgb, tiles, rng)

    return changed(rgb, edit, change, strength, seed)


def file_of(shown: Shown) -> Edited:
    """The file of an edited picture."""
    height, width = shown.rgb.shape[:2]
    return Edited(encoded(shown), shown.format, shown.kept_fraction, width, height, shown.picture_side_px)


def grid() -> list[tuple[str, float]]:
    """Every (edit, strength) of the registry, in order."""
    return [(name, strength) for name, edit in EDITS.items() for strength in edit.strengths]


def _webp(rgb: RGB, quality: float, rng: np.random.Generator) -> Shown:
    return replace(whole(rgb), quality=round(quality), format="WEBP")


def _crop_jpeg_resize(rgb: RGB, area: float, rng: np.random.Generator) -> Shown:
    return replace(geometry.then(planted.crop(rgb, area, rng), planted.resize, 0.6, rng), quality=50)


def _mirror_crop(rgb: RGB, area: float, rng: np.random.Generator) -> Shown:
    return geometry.then(planted.mirror(rgb, 1.0, rng), planted.crop, area, rng)


def _caption_resize_jpeg(rgb: RGB, factor: float, rng: np.random.Generator) -> Shown:
    return replace(geometry.then(drawn.caption_bar(rgb, 0.2, rng), planted.resize, factor, rng), quality=40)


def _repost(rgb: RGB, factor: float, rng: np.random.Generator) -> Shown:
    """A screenshot of a phone that somebody shrank, recompressed and passed on."""
    return replace(geometry.then(drawn.screenshot_phone(rgb, 0.6, rng), planted.resize, factor, rng), quality=40)


def _grey_crop(rgb: RGB, area: float, rng: np.random.Generator) -> Shown:
    return geometry.then(colour.grey(rgb, 1.0, rng), planted.crop, area, rng)


_AREA, _SIDE, _DEGREES = "share of the area left", "factor of both sides", "degrees"
_COVERED, _FACTOR = "share of the picture covered", "factor"

_ALL = (
    Edit("jpeg", "encoding", "quality", (75, 50, 30, 15, 5), COPY, planted.jpeg),
    Edit("webp", "encoding", "quality", (80, 40, 10), COPY, _webp),
    Edit("resize", "size", _SIDE, (2, 1.5, 0.75, 0.5, 0.25, 0.125), COPY, planted.resize),
    Edit("squash", "size", "factor of one side", (0.9, 0.75, 0.5), COPY, geometry.squash),
    Edit("crop", "crop", _AREA, (0.8, 0.64, 0.5, 0.36, 0.25, 0.16, 0.1), COPY, planted.crop),
    Edit("perspective", "crop", "share of a side", (0.05, 0.1, 0.2), COPY, geometry.perspective),
    Edit("mirror", "turn", "", (1,), COPY, planted.mirror),
    Edit("flip", "turn", "", (1,), COPY, geometry.flip),
    Edit("quarter_turn", "turn", _DEGREES, (90, 180, 270), COPY, geometry.quarter_turn),
    Edit("rotate_filled", "turn", _DEGREES, (2, 5, 10, 20), COPY, geometry.rotate_filled),
    Edit("rotate_cropped", "turn", _DEGREES, (2, 5, 10, 20), COPY, planted.rotate_cropped),
    Edit("border_white", "frame", "share of the short side", (0.05, 0.15), COPY, geometry.border_white),
    Edit("border_black", "frame", "share of the short side", (0.05, 0.15), COPY, geometry.border_black),
    Edit("border_coloured", "frame", "share of the short side", (0.05, 0.15), COPY, geometry.border_coloured),
    Edit("letterbox", "frame", "share of bars", (0.15, 0.3, 0.5), COPY, geometry.letterbox),
    Edit("pillarbox", "frame", "share of bars", (0.3, 0.5), COPY, geometry.pillarbox),
    Edit("screenshot_phone", "frame", "share of the screen", (0.6, 0.35), ALTERNATE, drawn.screenshot_phone),
    Edit("screenshot_desktop", "frame", "share of the screen", (0.5, 0.25), ALTERNATE, drawn.screenshot_desktop),
    Edit("collage", "frame", "pictures", (2, 4), ALTERNATE, lambda rgb, s, rng: whole(rgb), lambda s: int(s) - 1),
    Edit("caption_bar", "overlay", "height over the picture's", (0.1, 0.2, 0.35), ALTERNATE, drawn.caption_bar),
    Edit("caption_over", "overlay", _COVERED, (0.1, 0.2, 0.3), ALTERNATE, drawn.caption_over),
    Edit("meme_text", "overlay", "letter height over the picture's", (0.08, 0.14), ALTERNATE, drawn.meme_text),
    Edit("sticker", "overlay", _COVERED, (0.02, 0.05, 0.1, 0.15), ALTERNATE, planted.sticker),
    Edit("watermark_corner", "overlay", "opacity", (0.35, 0.7), ALTERNATE, drawn.watermark_corner),
    Edit("watermark_tiled", "overlay", "opacity", (0.15, 0.3, 0.5), ALTERNATE, drawn.watermark_tiled),
    Edit("blur", "degrade", "sigma in % of the long side", (0.2, 0.5, 1.0), COPY, colour.blur),
    Edit("sharpen", "degrade", "% of unsharp mask", (100, 300), COPY, colour.sharpen),
    Edit("noise", "degrade", "sigma in grey levels", (6, 15, 30), COPY, colour.noise),
    Edit("salt_pepper", "degrade", "share of pixels", (0.01, 0.05, 0.1), COPY, colour.salt_pepper),
    Edit("gamma", "colour", "exponent", (0.7, 0.5, 1.4, 2.0), ALTERNATE, colour.gamma),
    Edit("brightness", "colour", _FACTOR, (0.8, 0.6, 1.25, 1.5), ALTERNATE, colour.brightness),
    Edit("contrast", "colour", _FACTOR, (0.75, 0.5, 1.3, 1.7), ALTERNATE, colour.contrast),
    Edit("grey", "colour", "", (1,), ALTERNATE, colour.grey),
    Edit("sepia", "colour", "", (1,), ALTERNATE, colour.sepia),
    Edit("colour_cast", "colour", "gain of a channel", (0.15, 0.3), ALTERNATE, colour.colour_cast),
    Edit("hue", "colour", _DEGREES, (30, 90, 180), ALTERNATE, colour.hue),
    Edit("saturation", "colour", _FACTOR, (0.4, 2.0), ALTERNATE, colour.saturation),
    Edit("posterise", "colour", "bits a channel", (4, 3, 2), ALTERNATE, colour.posterise),
    Edit("crop_jpeg_resize", "combined", _AREA, (0.7, 0.5, 0.3), COPY, _crop_jpeg_resize),
    Edit("mirror_crop", "combined", _AREA, (0.8, 0.5), COPY, _mirror_crop),
    Edit("caption_resize_jpeg", "combined", _SIDE, (0.5,), ALTERNATE, _caption_resize_jpeg),
    Edit("repost", "combined", _SIDE, (0.5,), ALTERNATE, _repost),
    Edit("grey_crop", "combined", _AREA, (0.6,), ALTERNATE, _grey_crop),
)

EDITS: dict[str, Edit] = {edit.name: edit for edit in _ALL}
"""Name to edit, in the order of tables."""
