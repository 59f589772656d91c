"""`dupelake demo`: two nights over photographs that ship with scikit-image, and copies of them with known edits.

It shows the product on a machine without images, and compares the result with the truth, which is known because the
demo makes the copies.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from dupelake.csv_cells import write_rows
from dupelake.errors import ConfigError, NotFoundError
from dupelake.lookup.manifest import FOLDER
from dupelake.lookup.manifest import NAME as MANIFEST
from dupelake.runtime.out_files import written_whole
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import ALL_TABLES

# Each photograph shows another scene. README.txt of skimage/data has the licences.
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
MARK = ".dupelake-demo.json"
"""Name of the file in a demo's folder that lists the files which the demo wrote, with their digests."""
_MADE_BY = "dupelake demo"
_NAMES = ("images", "warehouse", "truth.csv", "report.html", "contact-sheet.png")
_MAX_NAMES = 3  # foreign names that the error message lists


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


def clear(out: Path) -> None:
    """Remove the files that an earlier demo wrote under `out`, and nothing else.

    Raises:
        ConfigError: a name that the demo uses contains files that no demo wrote.
    """
    used = [name for name in _NAMES if os.path.lexists(out / name)]
    foreign = [name for name in used if (out / name).is_symlink()]
    mark = _read_mark(out)
    if used and mark is None:
        foreign = used
    elif mark is not None:
        foreign += _foreign(out, mark)
        foreign += filter(None, [_of_people(out, mark)])
    if foreign or (out.exists() and not out.is_dir()):
        what = ", ".join(foreign[:_MAX_NAMES]) or "a file"
        raise ConfigError([f"--out {out}: contains {what}, which no demo wrote; give another folder, or move it away"])
    for name in used:
        shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    (out / MARK).unlink(missing_ok=True)


def _read_mark(out: Path) -> dict[str, str] | None:
    """{path below `out`: digest} of the files that a demo wrote; None if there is no mark of a demo."""
    try:
        mark = json.loads((out / MARK).read_text(encoding="utf-8"))
        files = mark["files"] if mark["made_by"] == _MADE_BY else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(files) if isinstance(files, dict) else None


def _foreign(out: Path, made: dict[str, str]) -> list[str]:
    """Files below `out` that differ from those the demo wrote, and what in the warehouse is neither table nor index."""
    found = []
    for path in sorted((out / "images").rglob("*")):
        name = str(path.relative_to(out))
        if path.is_symlink() or (path.is_file() and made.get(name) != _digest(path)):
            found.append(name)
    tables = {table.name for table in ALL_TABLES}
    for path in sorted((out / "warehouse").glob("*")):
        is_table = path.name in tables and (path / "_delta_log").is_dir() and not path.is_symlink()
        is_index = path.name == FOLDER and (path / MANIFEST).is_file() and not path.is_symlink()
        if not is_table and not is_index and not path.name.startswith(("_staging", "_lock.json", "._lock.json")):
            found.append(str(path.relative_to(out)))
    truth = out / "truth.csv"
    if truth.is_file() and made.get(truth.name) != _digest(truth):
        found.append(truth.name)
    return found


def _of_people(out: Path, made: dict[str, str]) -> str:
    """What people put into the warehouse, in words: their verdicts, which the demo never writes, or other images."""
    try:
        reader = Reader(str(out / "warehouse"))
        if reader.query("SELECT 1 FROM decisions LIMIT 1").num_rows:
            return "verdicts in the warehouse"
        for batch in reader.batches_of("SELECT uri FROM images"):
            for uri in batch["uri"].to_pylist():
                if not any(uri.endswith(f"/{name}") for name in made):
                    return f"{uri} in the warehouse"
    except NotFoundError:  # the earlier demo was stopped before there were tables
        pass
    return ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_images(folder: Path) -> Path:
    """Write the sample images under `folder`, in two date partitions; returns the truth CSV (path, group, edit).

    The CSV and MARK are written beside `folder`; `clear` uses MARK to find the demo's files.

    The first night contains originals and some copies. The second contains the other copies and a few special files:
    a byte-identical copy under another name, a truncated file, an empty file and a file that is not an image.
    """
    import skimage

    source = Path(skimage.__file__).parent / "data"
    makers = edits()
    truth: list[tuple[str, str, str]] = []
    files: dict[str, bytes] = {}  # by path below `folder`
    for i, name in enumerate(PHOTOGRAPHS):
        with Image.open(source / name) as image:
            picture = image.convert("RGB")
        picture.info.pop("icc_profile", None)  # PNG would keep it and JPEG would not: their colours would differ
        scene = Path(name).stem
        chosen = ["original", *[list(makers)[1 + (i + k) % (len(makers) - 1)] for k in range(1 + i % 4)]]
        for k, edit in enumerate(chosen):
            suffix, data = makers[edit](picture)
            path = f"date={NIGHTS[0 if k < 2 else 1]}/{scene} {edit}.{suffix}"
            files[path] = data
            truth.append((path, scene, edit))
    last = f"date={NIGHTS[1]}"
    astronaut = files[f"date={NIGHTS[0]}/astronaut original.png"]
    files[f"{last}/same bytes, 100 % #1.png"] = astronaut
    truth.append((f"{last}/same bytes, 100 % #1.png", "astronaut", "same-bytes"))
    files[f"{last}/truncated.png"] = astronaut[:200_000]
    files[f"{last}/empty.jpg"] = b""
    files[f"{last}/not an image.jpg"] = b"plain text\n"
    rows = io.StringIO()
    write_rows(rows, ("path", "group", "edit"), truth)
    out, table = folder.parent, "truth.csv"
    made = {table: rows.getvalue().encode()} | {f"{folder.name}/{path}": data for path, data in files.items()}
    out.mkdir(parents=True, exist_ok=True)
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in made.items()}
    # Written first, so that the next demo can remove the files if this one is killed.
    (out / MARK).write_text(json.dumps({"made_by": _MADE_BY, "files": digests}, indent=1), encoding="utf-8")
    for path, data in made.items():
        with written_whole(out / path) as unfinished:
            unfinished.write_bytes(data)
    return out / table
