"""The corpus of the edits bench: originals, edited copies, distractors, and the truth about them.

Originals: the photographs of imagenet_sample, one region of each photograph of polyu (regions of one photograph
overlap, so that two of them would be copies), and one picture of each photographic family of the small sets. Every
original gets as many edits as bring each (edit, strength) to about 42 samples; which ones, the seed says. Distractors:
the clothing photographs, odd pictures of the small sets, real look-alikes (people, motorbikes, airliners, signs,
banknotes, drawings, paintings; copies among them are one group), the made hard negatives of `distractors`, and the
second shots of `shots`. Pairs of look-alikes that nobody can tell stand in unscored.csv.

The pictures beside the original in a collage are parts of scikit-image's photographs, each used once, and stand nowhere
else in the corpus.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import skimage
from benchmarks.edits import distractors, shots
from benchmarks.edits.registry import EDITS, apply_edit, grid
from benchmarks.pair_scores import Pair, unordered
from benchmarks.quality import LOOKALIKE_KINDS, load_truth
from PIL import Image, ImageOps

from dupelake.recall.edits import RGB

DISTRACTORS_VERSION = 3  # real look-alikes and second shots, bursts at two paces
LOOKALIKES_PER_FOLDER_SMALL = 12
SEED = 20261124
SAMPLES_PER_CELL = 42
EDITS_PER_BASE_SMALL = 8
ORIGINAL, AMBIGUOUS = "original", "ambiguous"
SUFFIX = {"JPEG": "jpg", "WEBP": "webp"}
TILE_PX = 128
TILE_SOURCES = (
    "astronaut.png",
    "chelsea.png",
    "rocket.jpg",
    "ihc.png",
    "retina.jpg",
    "hubble_deep_field.jpg",
)
PHOTOGRAPHS = (  # one picture of each family; more than one would be copies of each other
    *(f"imagededup/tests/data/base_images/ukbench{n}.jpg" for n in ("00120", "01380", "08976", "08996", "09012")),
    *(f"imagededup/tests/data/base_images/ukbench{n}.jpg" for n in ("09040", "09060", "09268", "09348", "09380")),
    "pdq/pdq/data/bridge-mods/aaa-orig.jpg",
    "pdq/pdq/data/reg-test-input/pen-and-coaster.png",
    "pdq/pdq/data/reg-test-input/exif-rotn/exif-rotn-1.jpg",
    *(f"pdq/pdq/data/reg-test-input/labelme-subset/q{n}.jpg" for n in ("0291", "1050")),
    "images4/testdata/custom/1.jpg",
    "images4/testdata/euclidean/large.jpg",
    "exif_orientation/Landscape_1.jpg",
    "exif_orientation/Portrait_1.jpg",
)
ODD_PICTURES = (  # flat skies, stripes, drawings, text: alone in the corpus
    *(f"pdq/pdq/data/reg-test-input/labelme-subset/q{n}.jpg" for n in ("0003", "0004", "0122", "0746", "2821")),
    "pdq/pdq/data/misc-images/small.jpg",
    "hydrus/static/testing/visual_dupe_original.jpg",
    "hydrus/static/testing/muh_jpg.jpg",
    "hydrus/static/testing/jpeg_progressive.jpg",
    "hydrus/static/testing/dupe_test_1.gif",
    "imagededup/tests/data/formats_images/Iggy.1024.ppm",
    "imagededup/tests/data/formats_images/copyleft.tiff",
    "images4/testdata/euclidean/uniform-black.png",
    "images4/testdata/euclidean/uniform-green.png",
    "images4/testdata/euclidean/uniform-white.png",
)


@dataclass(frozen=True)
class Row:
    """One image of the corpus: a line of truth.csv.

    Attributes:
        image: file name in images/.
        group: images of one group show the same picture.
        edit: `original`, a name of EDITS, or the kind of a made distractor.
        strength: in the edit's unit; 0 for originals.
        kept_fraction: share of the original's area that can still be seen.
        short_side_px: short side of what shows the original, never more than the original's own.
        relation: copy, alternate, original, or ambiguous (may stand with its group or not).
        source: set and file that it was made of.
    """

    image: str
    group: str
    edit: str
    strength: float
    kept_fraction: float
    short_side_px: int
    relation: str
    source: str


def load(path: Path) -> RGB:
    """Upright RGB pixels, uint8 (h, w, 3)."""
    with Image.open(path) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def originals(data: Path, small: bool) -> list[str]:
    """Paths of the photographs that get copies, relative to the data folder."""
    imagenet = [f"imagenet_sample/{p.name}" for p in sorted((data / "imagenet_sample").glob("*.JPEG"))]
    polyu: dict[str, str] = {}
    for path in sorted((data / "polyu" / "CroppedImages").glob("*_mean.JPG")):
        polyu.setdefault(path.name.rsplit("_", 2)[0].rstrip("_"), f"polyu/CroppedImages/{path.name}")
    if small:
        return imagenet[::7] + list(polyu.values())[::4] + list(PHOTOGRAPHS[::3])
    return imagenet + list(polyu.values()) + list(PHOTOGRAPHS)


def chosen_edits(n_bases: int, per_base: int, rng: np.random.Generator) -> list[list[tuple[str, float]]]:
    """For each original distinct cells of the grid, so that all cells get equally many samples, give or take one."""
    cells = grid()
    used = np.zeros(len(cells), np.int64)
    out = []
    for _ in range(n_bases):
        order = np.lexsort((rng.random(len(cells)), used))[:per_base]
        used[order] += 1
        out.append([cells[i] for i in sorted(order)])
    return out


def collage_tiles(rng: np.random.Generator) -> list[RGB]:
    """Parts of scikit-image's photographs that do not overlap, in an order of the seed; nearly flat ones left out."""
    folder = Path(skimage.__file__).parent / "data"
    tiles = []
    for name in TILE_SOURCES:
        rgb = load(folder / name)
        for y in range(0, rgb.shape[0] - TILE_PX + 1, TILE_PX):
            for x in range(0, rgb.shape[1] - TILE_PX + 1, TILE_PX):
                tile = rgb[y : y + TILE_PX, x : x + TILE_PX]
                if tile.std() > 12:
                    tiles.append(np.ascontiguousarray(tile))
    return [tiles[i] for i in rng.permutation(len(tiles))]


def edited_copies(data: Path, bases: list[str], per_base: int, images: Path) -> list[Row]:
    """Writes originals and their copies."""
    rng = np.random.default_rng(SEED)
    tiles = collage_tiles(rng)
    rows = []
    for i, (source, cells) in enumerate(zip(bases, chosen_edits(len(bases), per_base, rng), strict=True)):
        rgb = load(data / source)
        group, side = f"photo{i:04d}", min(rgb.shape[:2])
        name = f"{group}{Path(source).suffix.lower()}"
        shutil.copyfile(data / source, images / name)
        rows.append(Row(name, group, ORIGINAL, 0.0, 1.0, side, ORIGINAL, source))
        for edit, strength in cells:
            wanted = EDITS[edit].n_others(strength)
            if wanted > len(tiles):
                raise ValueError("not enough held-out pictures for the collages; fewer samples, or more TILE_SOURCES")
            others = [tiles.pop() for _ in range(wanted)]
            made = apply_edit(rgb, edit, strength, SEED + i, others)
            name = f"{group}.{edit}-{strength:g}.{SUFFIX[made.format]}"
            (images / name).write_bytes(made.data)
            short = min(made.picture_side_px, side)
            relation = EDITS[edit].relation
            rows.append(Row(name, group, edit, strength, made.kept_fraction, short, relation, source))
    return rows


def plain_distractors(data: Path, images: Path, small: bool) -> list[Row]:
    """Clothing photographs and odd pictures, each alone."""
    clothing = [str(p.relative_to(data)) for p in sorted((data / "clothing_small").rglob("*.jpg"))]
    rows = []
    for i, source in enumerate([*(clothing[::6] if small else clothing), *ODD_PICTURES]):
        group = f"alone{i:04d}"
        name = f"{group}{Path(source).suffix.lower()}"
        shutil.copyfile(data / source, images / name)
        rows.append(Row(name, group, ORIGINAL, 0.0, 1.0, min(load(data / source).shape[:2]), ORIGINAL, source))
    return rows


def lookalikes(data: Path, images: Path, small: bool) -> tuple[list[Row], list[Pair]]:
    """Real look-alikes: copies among them in one group, and pairs of their images that are not scored."""
    truth = load_truth(data, "lookalikes")
    sources = []
    for folder in LOOKALIKE_KINDS:
        there = sorted(str(p.relative_to(data)) for p in (data / "lookalikes" / folder).iterdir())
        sources += there[:LOOKALIKES_PER_FOLDER_SMALL] if small else there
    first = {source: source for source in sources}
    for a, b in sorted(truth.relation):  # every pair of a group is listed, so that the smallest path is enough
        if a in first and b in first:
            first[b] = min(first[b], first[a])
    place = {source: i for i, source in enumerate(sources)}
    names, rows = {}, []
    for i, source in enumerate(sources):
        kind = LOOKALIKE_KINDS[Path(source).parts[1]]
        names[source] = f"look{i:04d}{Path(source).suffix.lower()}"
        shutil.copyfile(data / source, images / names[source])
        side = min(load(data / source).shape[:2])
        group = f"look{place[first[source]]:04d}"
        rows.append(Row(names[source], group, kind, 0.0, 1.0, side, ORIGINAL, source))
    unscored = [unordered(names[a], names[b]) for a, b in sorted(truth.ignore) if a in names and b in names]
    return rows, unscored


def build(data: Path, folder: Path, small: bool) -> list[Row]:
    """Writes images/, truth.csv and corpus.json under `folder`, unless they are there already.

    Raises:
        ValueError: the folder holds a corpus of other settings.
    """
    bases = originals(data, small)
    per_base = EDITS_PER_BASE_SMALL if small else -(-SAMPLES_PER_CELL * len(grid()) // len(bases))
    edits = {name: edit.strengths for name, edit in EDITS.items()}
    settings = {"seed": SEED, "small": small, "per_base": per_base, "edits": edits, "distractors": DISTRACTORS_VERSION}
    settings = json.loads(json.dumps(settings))
    done = folder / "corpus.json"
    if done.exists():
        if json.loads(done.read_text(encoding="utf-8"))["settings"] != settings:
            raise ValueError(f"{folder} holds a corpus of other settings; give another --work, or remove it")
        return read_truth(folder)
    images = folder / "images"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir(parents=True)
    rows = edited_copies(data, bases, per_base, images)
    alone = plain_distractors(data, images, small)
    carriers = [row for row in alone if row.source.startswith("clothing_small/")]
    n = 8 if small else 40
    made = distractors.make(data, [(row.group, row.source) for row in carriers], images, n, SEED)
    looks, unscored = lookalikes(data, images, small)
    scenes = [row.source for row in looks if Path(row.source).parts[1] in ("Faces", "stop_sign")]
    made += shots.make(data, scenes, [row.source for row in carriers], images, n, SEED)
    rows += alone + [Row(**one) for one in made] + looks
    with (folder / "unscored.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b"), *unscored])
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    counts = dict(Counter(row.edit for row in rows))
    summary = {"settings": settings, "images": len(rows), "originals": len(bases), "by_edit": counts}
    done.write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return rows


def read_unscored(folder: Path) -> set[Pair]:
    """The pairs of unscored.csv, smaller first."""
    with (folder / "unscored.csv").open(newline="", encoding="utf-8") as file:
        return {unordered(r["a"], r["b"]) for r in csv.DictReader(file)}


def read_truth(folder: Path) -> list[Row]:
    """The rows of truth.csv."""
    with (folder / "truth.csv").open(newline="", encoding="utf-8") as file:
        return [
            Row(
                r["image"],
                r["group"],
                r["edit"],
                float(r["strength"]),
                float(r["kept_fraction"]),
                int(r["short_side_px"]),
                r["relation"],
                r["source"],
            )
            for r in csv.DictReader(file)
        ]
