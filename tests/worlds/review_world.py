"""Warehouses to review, without Spark: real photographs, copies of them with known edits, pairs of the real kernels."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path
from typing import Any

from deltalake import write_deltalake
from made_lake import CONFIG, arrow, make_night
from pictures import photograph
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from dupelake.frames.functions import locally
from dupelake.lookup.measure import Measured, measured_pairs
from dupelake.lookup.reading import image_id_of
from dupelake.stage_versions import StageVersions
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import GROUPS, HASHES, IMAGES, PAIRS, THUMBNAILS

AT = dt.datetime(2026, 11, 1, 1, tzinfo=dt.UTC)
HOSTILE = "<img src=x onerror=alert(1)> \"'&=cmd.jpg"
SCENES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


def caption(picture: Image.Image) -> Image.Image:
    """A black bar with words over the lowest tenth."""
    out, top = picture.copy(), round(0.9 * picture.height)
    draw = ImageDraw.Draw(out)
    draw.rectangle([0, top, out.width, out.height], fill=(0, 0, 0))
    draw.text((8, top + 4), "a caption", fill=(255, 255, 255))
    return out


def sticker(picture: Image.Image) -> Image.Image:
    """A disc at the top left."""
    out = picture.copy()
    ImageDraw.Draw(out).ellipse([20, 20, 90, 90], fill=(250, 220, 0), outline=(200, 0, 0), width=6)
    return out


EDITS = {
    "caption": caption,
    "sticker": sticker,
    "half": lambda picture: picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS),
    "mirrored": ImageOps.mirror,
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.4),
    "crop": lambda picture: picture.crop((60, 40, picture.width - 20, picture.height - 30)),
}


def encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=90)
    return buffer.getvalue()


def make_review(folder: Path) -> Path:
    """The warehouse `folder/lake` of four photographs and six edits of each, with their files in `folder/images`.

    Each edit is in a pair with its photograph. The scores of half of the pairs are moved next to the threshold, as if
    the decision had been close. One file has a hostile name.
    """
    images, root = folder / "images", folder / "lake"
    images.mkdir(parents=True)
    pictures: dict[str, bytes] = {}
    edited: dict[str, str] = {}
    for scene in SCENES:
        stem, picture = Path(scene).stem, photograph(scene)
        original = images / f"{stem}.png"
        pictures[str(original)] = encoded(picture, "PNG")
        for name, edit in EDITS.items():
            hostile = scene == SCENES[0] and name == "caption"
            path = images / (HOSTILE.replace("/", "") if hostile else f"{stem} {name}.jpg")
            pictures[str(path)] = encoded(edit(picture), "JPEG")
            edited[str(path)] = str(original)
    for path, data in pictures.items():
        Path(path).write_bytes(data)
    make_night(root, pictures)
    reader = Reader(root)
    contents = {row["uri"]: row["content_id"] for row in reader.table(IMAGES.name).to_pylist()}
    rows = _measured(reader, [(contents[a], contents[b]) for a, b in edited.items()])
    for row, score in zip(rows[::2], (0.47, 0.52, 0.45, 0.56, 0.4, 0.6) * len(rows), strict=False):
        row |= {"score": score, "is_duplicate": score >= CONFIG.decide.min_score}
        row["kind"] = row["kind"] if row["is_duplicate"] else None
    write_deltalake(str(root / PAIRS.name), arrow(PAIRS, rows), mode="append")
    write_deltalake(str(root / GROUPS.name), arrow(GROUPS, _groups(contents, edited, rows)), mode="append")
    return root


def _measured(reader: Reader, ends: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """The rows of PAIRS of the real kernels."""
    hashes = {row["content_id"]: row for row in reader.table(HASHES.name).to_pylist()}
    thumbnails = {row["content_id"]: row for row in reader.table(THUMBNAILS.name).to_pylist()}
    features = {row["content_id"]: row for row in reader.table("features").to_pylist()}
    widths = {row["content_id"]: row["width_px"] for row in reader.table(IMAGES.name).to_pylist()}
    measured = {}
    for key, row in hashes.items():
        parts = {"thumbnail": thumbnails[key]["bytes"], "width_px": thumbnails[key]["width_px"]}
        parts |= {"full_width_px": widths[key]}
        parts |= {name: features[key][name] for name in ("keypoints", "descriptors")}
        measured[key] = Measured(row, parts, None)
    versions = StageVersions(CONFIG)
    named = {"join": versions.join(None, None), "verify": versions.verify, "model": None, "preprocess": None}
    with locally():
        pairs = {(min(pair), max(pair)): "pdq+words" for pair in ends}
        return measured_pairs(pairs, measured, named, CONFIG.decide)


def _groups(contents: dict[str, str], edited: dict[str, str], pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each photograph with its accepted edits."""
    accepted = {frozenset((row["src_id"], row["dst_id"])): row for row in pairs if row["is_duplicate"]}
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for copy, original in edited.items():
        pair = accepted.get(frozenset((contents[copy], contents[original])))
        if pair is not None:
            found.setdefault(original, []).append((copy, pair))
    rows = []
    for original, copies in found.items():
        shared = {"group_id": contents[original], "scope": "", "group_size": 1 + len(copies), "updated_at": AT}
        keeper = {"is_keeper": True, "relation": "keeper", "is_removable": False, "score_to_keeper": 1.0}
        named = {"image_id": image_id_of(original, "", ""), "content_id": contents[original]}
        rows.append({**shared, **keeper, **named, "reason": "Kept: most pixels."})
        for copy, pair in copies:
            relation = "alternate" if pair["kind"] in ("edited", "recoloured") else "copy"
            told = {"is_keeper": False, "relation": relation, "is_removable": False, "kind": pair["kind"]}
            named = {"image_id": image_id_of(copy, "", ""), "content_id": contents[copy]}
            rows.append(
                {**shared, **told, **named, "score_to_keeper": pair["score"], "reason": f"{relation.capitalize()}."}
            )
    return rows


def make_many(folder: Path, n: int) -> Path:
    """The warehouse of `make_review` with its measured pairs repeated, under other ids, until there are `n` close ones.

    The pictures, measures and thumbnails are real; the ids and scores are made up.
    """
    root = make_review(folder)
    reader = Reader(root)
    pairs = reader.table(PAIRS.name).to_pylist()
    copied = {table.name: table for table in (IMAGES, HASHES, THUMBNAILS)}
    by_content = {name: {row["content_id"]: row for row in reader.table(name).to_pylist()} for name in copied}
    new: dict[str, list[dict[str, Any]]] = {name: [] for name in (*copied, PAIRS.name)}
    for number in range(n):
        pair = pairs[number % len(pairs)]
        ids = {old: f"{2 * number + end:032x}" for end, old in enumerate((pair["src_id"], pair["dst_id"]))}
        for old, content in ids.items():
            for name, rows in by_content.items():
                new[name].append({**rows[old], "content_id": content})
            new[IMAGES.name][-1] |= {"image_id": f"many-{content}", "file_id": None}
            new[HASHES.name][-1] |= {"pixel_digest": content}
        score = 0.26 + 0.48 * number / n
        low, high = sorted(ids.values())
        made = {"src_id": low, "dst_id": high, "score": score, "is_duplicate": score >= 0.5}
        new[PAIRS.name].append({**pair, **made, "kind": "edited" if score >= 0.5 else None})
    for table in (PAIRS, GROUPS):  # only the made ones are close
        write_deltalake(str(root / table.name), arrow(table, []), mode="overwrite")
    for name, rows in new.items():
        write_deltalake(str(root / name), arrow((copied | {PAIRS.name: PAIRS})[name], rows), mode="append")
    return root
