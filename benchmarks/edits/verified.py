"""What the tiers of removal would lose, on thousands of pairs: an original with one seeded edit of it, without Spark.

    OMP_NUM_THREADS=1 nice python -m benchmarks.edits.verified --data ../shared/data --work DIR [--series 2] [--write]

Each photograph of `imagenet_sample`, `clothing_small` and `lookalikes` is fingerprinted with some seeded edits of it.
Each pair is aligned, decided and grouped by the programs of a night, on local tables (`dupelake.frames`), as a scope
of its own. Two in three edits are of those that `verified` is made for (encodings, sizes, crops), the others any.

DIR keeps the evidence, so that a run that was stopped goes on, and other rules decide it again. `--write` puts
the tables into benchmarks/quality.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import pickle
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import numpy as np
from benchmarks.edits import tiers as removal
from benchmarks.edits.registry import ALTERNATE, EDITS, edited_pixels, file_of, grid
from benchmarks.edits.report import write_section
from benchmarks.edits.report_decisions import table
from benchmarks.visibility import NOTICEABLE, seen_difference
from numpy.typing import NDArray
from PIL import Image

from dupelake.config import Config
from dupelake.fingerprint.decode import Decoded
from dupelake.fingerprint.decode import decode as decode_file
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.frames.functions import locally
from dupelake.group.stage import member_rows
from dupelake.lookup.measure import Measured, frame_of, measured_pairs, rows_of
from dupelake.lookup.night import hash_row, own_parts
from dupelake.lookup.state import columns_of
from dupelake.verify.decide_stage import decide
from dupelake.warehouse.schema import HASHES, IMAGES, OK, PAIRS

SEED = 20261130
EACH = 8
LONGEST_SIDE_PX, SHORTEST_SIDE_PX = 640, 64
PLAIN = ("encoding", "size", "crop")  # families of edits that `verified` is made for
PLAIN_SHARE = 0.65
SAME_SHARE = 0.01  # share of a picture that counts as nothing
BEGIN, END = "<!-- tiers: written by benchmarks/edits/verified.py -->", "<!-- tiers: end -->"
Row = dict[str, Any]
VERSIONS: dict[str, str | None] = {"join": "bench", "verify": "bench", "model": None, "preprocess": None}


@dataclass(frozen=True)
class Made:
    """An edit of a photograph; its difference is that of benchmarks/visibility.py, the rest that of `Edited`."""

    edit: str
    strength: float
    seed: int
    difference: float
    kept_fraction: float
    picture_side_px: int

    def is_unseen(self) -> bool:
        """Whether the edit should make an alternate, and nobody sees a difference."""
        return self.is_alternate() and self.difference < NOTICEABLE

    def is_alternate(self) -> bool:
        """Whether the edit changes what the picture shows."""
        return EDITS[self.edit].relation == ALTERNATE


@dataclass(frozen=True)
class Photograph:
    """A photograph with its edits: rows of schema.IMAGES (a scope for each edit), HASHES and PAIRS."""

    name: str
    made: tuple[Made, ...]
    images: list[Row]
    hashes: list[Row]
    pairs: list[Row]


@dataclass(frozen=True)
class Outcome:
    """What was decided about one pair; `fault` is one of `benchmarks.edits.tiers`, or empty."""

    photograph: str
    made: Made
    kind: str
    keeper: str  # original, edited, or empty where they are in no group
    tier: str
    fault: str


def photographs(data: Path) -> list[Path]:
    """Real pictures, without the made copies among the look-alikes."""
    found = [*(data / "imagenet_sample").glob("*.JPEG"), *(data / "clothing_small").rglob("*.jpg")]
    for folder in (data / "lookalikes").iterdir():
        if folder.is_dir() and folder.name not in ("Faces_easy", "mirrored_squashed"):
            found += [p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    return sorted(found)


def original(path: Path) -> tuple[bytes, NDArray[np.uint8]] | None:
    """The file and its pixels as a night decodes them; a larger one is reduced and saved again, a tiny one left out."""
    data = path.read_bytes()
    shown = pixels_of(data)
    if min(shown.shape[:2]) < SHORTEST_SIDE_PX:
        return None
    if max(shown.shape[:2]) > LONGEST_SIDE_PX:
        image = Image.fromarray(shown)
        image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=92)
        data = buffer.getvalue()
        shown = pixels_of(data)
    return data, shown


def pixels_of(data: bytes) -> NDArray[np.uint8]:
    """uint8 (h, w, 3): upright, without the colour profile that the file may have."""
    found = decode_file(data, Config().decode)
    assert isinstance(found, Decoded), found
    return np.ascontiguousarray(found.rgb)


def chosen(rng: np.random.Generator, each: int) -> list[tuple[str, float]]:
    """Edits of one photograph, all different."""
    cells = grid()
    is_plain = np.array([EDITS[edit].family in PLAIN for edit, _ in cells])
    chance = np.where(is_plain, PLAIN_SHARE / is_plain.sum(), (1 - PLAIN_SHARE) / (~is_plain).sum())
    return [cells[i] for i in rng.choice(len(cells), each, replace=False, p=chance)]


def measure(path: Path, each: int, name: str, series: int) -> Photograph | None:
    """A photograph and one series of edits: fingerprints and the evidence of the pairs; None if it is tiny."""
    cv2.setNumThreads(1)
    found = original(path)
    if found is None:
        return None
    data, rgb = found
    rng = np.random.default_rng([SEED, crc32(name.encode()), *([series] if series else [])])
    shown, made = [fingerprinted(data)], []
    for edit, strength in chosen(rng, each):
        seed = int(rng.integers(2**31))
        after = edited_pixels(rgb, edit, strength, seed)
        file = file_of(after)
        copy = fingerprinted(file.data)
        if copy.content_id != shown[0].content_id:
            shown.append(copy)
            seen = seen_difference(rgb, edit, strength, seed, after.rgb)
            made.append(Made(edit, strength, seed, seen, file.kept_fraction, file.picture_side_px))
    hashes = {one.content_id: hash_row(one, "bench") for one in shown}
    contents = {one.content_id: Measured(hashes[one.content_id], own_parts(one), None) for one in shown}
    ends = {_ends(shown[0], copy): "words" for copy in shown[1:]}
    with locally():
        pairs = measured_pairs(ends, contents, VERSIONS, Config().decide)
    images = [
        image_row(one, f"{role} {number}", str(number))
        for number, copy in enumerate(shown[1:])
        for role, one in (("original", shown[0]), ("edited", copy))
    ]
    return Photograph(name, tuple(made), images, list(hashes.values()), pairs)


def _ends(one: Fingerprint, other: Fingerprint) -> tuple[str, str]:
    return min(one.content_id, other.content_id), max(one.content_id, other.content_id)


def outcomes(one: Photograph) -> list[Outcome]:
    """Decide and group the pairs of a photograph by the present rules; each pair is a scope of its own."""
    config = Config()
    with locally():
        members = member_rows(
            frame_of(one.images, columns_of(IMAGES)),
            frame_of(one.hashes, HASHES.columns),
            decide(frame_of(one.pairs, PAIRS.columns), config.decide),
            config,
            lambda frame: frame,
        )
        rows = {row["scope"]: row for row in rows_of(members.rows) if not row["is_keeper"]}
    out = []
    for number, made in enumerate(one.made):
        row = rows.get(str(number))
        keeper = "" if row is None else "original" if row["image_id"].startswith("edited") else "edited"
        kind, tier = ("", "") if row is None else (row["kind"], row["tier"] or "")
        out.append(Outcome(one.name, made, kind, keeper, tier, lost(made, keeper) if keeper else ""))
    return out


def fingerprinted(data: bytes) -> Fingerprint:
    """The fingerprint of a file, which must be readable."""
    config = Config()
    found = fingerprint_image(data, config.decode, config.hash, config.features)
    assert isinstance(found, Fingerprint), found
    return found


def image_row(one: Fingerprint, image_id: str, scope: str) -> dict[str, Any]:
    """A row of schema.IMAGES."""
    read = {name: getattr(one, name) for name in ("content_id", "byte_size", "width_px", "height_px", "format")}
    names = {"image_id": image_id, "uri": image_id, "scope": scope, "status": OK, "file_id": image_id}
    return dict.fromkeys(columns_of(IMAGES)) | read | names


def lost(made: Made, keeper: str) -> str:
    """What is lost when the image goes that is not kept; the rule of `benchmarks.edits.score.lost_by_removal`."""
    if made.is_alternate():
        return "" if made.is_unseen() else removal.ALTERNATE if keeper == "original" else removal.MORE
    if keeper == "original":
        return ""
    return removal.MORE if made.kept_fraction < 1 - SAME_SHARE else removal.FINER


def held_in(held: Path, each: int, name: str, series: int = 0) -> Path:
    """The file that keeps what was measured of a photograph with one series of edits."""
    return held / f"{each}-{crc32(name.encode()):08x}{f'-{series}' if series else ''}.pickle"


def decided(path: Path, each: int, name: str, held: Path, series: int = 0) -> list[Outcome]:
    """The outcomes of one photograph, which is measured unless it was before."""
    file = held_in(held, each, name, series)
    if not file.exists():
        unfinished = file.with_suffix(".unfinished")
        found = measure(path, each, name, series)
        unfinished.write_bytes(pickle.dumps(found and dataclasses.asdict(found)))
        unfinished.rename(file)
    one = loaded(file)
    return [] if one is None else outcomes(one)


def loaded(file: Path) -> Photograph | None:
    """What was measured of a photograph; None if it is tiny."""
    held: dict[str, Any] | None = pickle.loads(file.read_bytes())  # noqa: S301  # this bench wrote it
    return held and Photograph(**held | {"made": tuple(Made(**one) for one in held["made"])})


def names_of(data: Path) -> list[str]:
    """The photographs in a seeded order."""
    names = [str(p.relative_to(data)) for p in photographs(data)]
    return [names[i] for i in np.random.default_rng(SEED).permutation(len(names))]


def run(data: Path, work: Path, each: int, processes: int, limit: int, n_series: int) -> list[Outcome]:
    """The outcomes of all photographs, or of the first `limit` of each series."""
    work.mkdir(parents=True, exist_ok=True)
    names = names_of(data)[: limit or None]
    calls = [(data / name, each, name, work, series) for series in range(n_series) for name in names]
    with ProcessPoolExecutor(processes) as pool:
        return [one for found in pool.map(decided, *zip(*calls, strict=True)) for one in found]


def section(found: list[Outcome], each: int) -> str:
    """The tables."""
    scored = [one for one in found if not one.made.is_unseen()]
    tiers = removal.tally({str(n): (one.tier, one.photograph, one.fault) for n, one in enumerate(scored)})
    unseen = Counter(one.made.edit for one in found if one.made.is_unseen())
    faults = Counter(
        f"{one.tier}: {one.made.edit} {one.made.strength:g}, {one.fault}"
        for one in scored
        if one.tier and one.fault in removal.WRONG
    )
    return "\n".join(
        (
            BEGIN,
            "## Tiers of removal, on an original and one edit of it",
            "",
            f"    python -m benchmarks.edits.verified --data ../shared/data --work DIR --each {each}",
            "",
            f"{len({one.photograph for one in found})} photographs, {len(found)} pairs; two edits of three are "
            "encodings, sizes or crops. Left out, because",
            f"nobody sees them (`benchmarks/visibility.py`): {_listed(unseen)}.",
            "",
            table(("edits", "pairs", "in one group", "the edit is kept", "in `verified`"), _by_edit(scored)),
            table(removal.HEADER, removal.lines(tiers)),
            f"Wrong, by the strictest tier: {_listed(faults)}.",
            END,
            "",
        )
    )


def _by_edit(scored: list[Outcome]) -> list[tuple[object, ...]]:
    groups: dict[str, list[Outcome]] = {"encodings, sizes, crops": [], "other copies": [], "alternates": []}
    for one in scored:
        family = EDITS[one.made.edit].family
        what = "alternates" if one.made.is_alternate() else "other copies"
        groups["encodings, sizes, crops" if family in PLAIN else what].append(one)
    return [
        (
            what,
            len(held),
            sum(bool(one.keeper) for one in held),
            sum(one.keeper == "edited" for one in held),
            sum(one.tier == "verified" for one in held),
        )
        for what, held in groups.items()
    ]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{what}: {n}" for what, n in sorted(counts.items())) or "none"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--each", type=int, default=EACH, help="edits of each photograph")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--limit", type=int, default=0, help="photographs of this call; 0 for all")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/quality.md")
    parser.add_argument("--series", type=int, default=1, help="how many times, each time with other edits")
    args = parser.parse_args()
    found = run(args.data, args.work, args.each, args.processes, args.limit, args.series)
    text = section(found, args.each)
    print(text)
    if args.write:
        write_section(Path(__file__).parents[1] / "quality.md", text, (BEGIN, END))


if __name__ == "__main__":
    main()
