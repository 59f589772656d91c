"""Verification of the real sets by the shipped decision: true pairs pass, look-alikes do not.

It does not use Spark: pictures are prepared as the hash stage prepares them, and tests/worlds/shipped_rule.py applies
the shipped models. It skips, with a message, where the images are absent.
"""

from __future__ import annotations

import csv
import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from shipped_rule import is_altered, is_edited, is_same
from test_verify import EDITS, prepared

from dupelake.verify.pair import verify_pair
from dupelake.verify.picture import Picture

BLANK = ("uniform-", "proportions/")  # pictures of one colour cannot be aligned
OTHER_SHOTS = ("exif-rotn/", "custom/")  # consecutive shots of one table, and of one sky (benchmarks/quality.py)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def groups(shared_data: Path, name: str) -> dict[str, list[str]]:
    found = defaultdict(list)
    with (shared_data / "truth" / name).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found[row["group"]].append(row["path"])
    return found


# Three of 100 pairs are altered by the shipped model: strong noise on dark, smooth places looks like a change of tone.
CALLED_ALTERED = {f"Crop_Canon5D2_5_160_6400_{name}" for name in ("bicycle_8", "desk_10", "desk_5")}


def test_noisy_shots_of_one_scene_are_copies(shared_data):
    missed, altered = [], []
    for name, paths in groups(shared_data, "polyu_pairs.csv").items():
        found = verify_pair(*(prepared(opened(shared_data / p)) for p in sorted(paths)), 1)
        if not is_same(found):
            missed.append((name, found))
        elif is_altered(found):
            altered.append(name)
    assert not missed
    assert set(altered) <= CALLED_ALTERED


def test_groups_of_other_tools_align(shared_data):
    missed, n_pairs = [], 0
    small = groups(shared_data, "small_sets_groups.csv")
    for paths in (*small.values(), *groups(shared_data, "exif_orientation_groups.csv").values()):
        pictures = [(p, prepared(opened(shared_data / p))) for p in sorted(paths) if not any(b in p for b in BLANK)]
        for (a, first), (b, second) in itertools.combinations(pictures, 2):
            n_pairs += 1
            if is_same(verify_pair(first, second, 1)) == any(folder in a for folder in OTHER_SHOTS):
                missed.append((a, b))
    assert n_pairs > 500
    assert not missed


def test_hydrus_rules_scale_and_quality_make_copies_but_colour_and_correction_do_not(shared_data):
    folder = shared_data / "hydrus" / "static" / "testing"
    names = ("original", "scale", "grunky", "colour", "correction")
    pictures = {n: prepared(opened(folder / f"visual_dupe_{n}.jpg")) for n in names}
    wrong = set()
    for a, b in itertools.combinations(names, 2):
        found = verify_pair(pictures[a], pictures[b], 1)
        assert is_same(found)
        if is_altered(found) != bool({"colour", "correction"} & {a, b}):
            wrong.add((a, b))
        elif "correction" in (a, b):
            assert is_edited(found), (a, b)
    # The small local correction is not told from the loss of the strongly compressed copy.
    assert wrong <= {("grunky", "correction")}


def likeliest_pairs(pictures: list[Picture], min_ncc: float) -> list[tuple[int, int]]:
    """Pairs whose pictures, resized to a square, correlate in one of the eight symmetries of the square."""
    plain = np.stack([p.small(p.whole).ravel() for p in pictures])
    best = np.full((len(pictures), len(pictures)), -1.0)
    for way in range(8):
        turned = np.stack([p.turned(p.whole)[way] for p in pictures])
        best = np.maximum(best, plain @ turned.T)
    rows, columns = np.nonzero(np.triu(np.maximum(best, best.T) >= min_ncc, 1))
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "min_ncc", "at_least"), [("clothing_small", 0.8, 1000), ("imagenet_sample", 0.6, 200)]
)
def test_distinct_photographs_that_look_alike_are_not_the_same(name, min_ncc, at_least, shared_data):
    paths = sorted(p for p in (shared_data / name).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    pictures = [prepared(opened(p)) for p in paths]
    pairs = likeliest_pairs(pictures, min_ncc)
    if name == "clothing_small":
        place = {str(p.relative_to(shared_data)): i for i, p in enumerate(paths)}
        with (shared_data / "truth" / "clothing_pairs.csv").open(newline="", encoding="utf-8") as file:
            pairs += [(place[r["path_a"]], place[r["path_b"]]) for r in csv.DictReader(file)]
    assert len(pairs) >= at_least
    wrong = [(paths[i].name, paths[j].name) for i, j in pairs if is_same(verify_pair(pictures[i], pictures[j], 1))]
    assert not wrong


def test_edits_of_other_photographs_pass(shared_data):
    paths = sorted((shared_data / "imagenet_sample").glob("*.JPEG"))[1::2][::6]  # images that were not used for tuning
    missed = defaultdict(list)
    n = 0
    for path in paths:
        original = opened(path)
        original.thumbnail((640, 640), Image.Resampling.LANCZOS)
        if min(original.size) < 8 * 40:  # an eighth of it would show next to nothing
            continue
        n += 1
        first = prepared(original)
        for name, edit in EDITS.items():
            if not is_same(verify_pair(first, prepared(edit(original)), 1)):
                missed[name].append(path.name)
    assert n >= 15
    total = sum(map(len, missed.values()))
    assert total <= 0.01 * n * len(EDITS), dict(missed)
