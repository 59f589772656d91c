"""Sheets of pairs, and precision-recall curves."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dupelake.evaluate.curves import draw_curves
from dupelake.evaluate.scores import Scores
from dupelake.report.pair_sheet import (
    BOX_COLOUR,
    FRAME_COLOURS,
    TILE_PX,
    PairCard,
    Picture,
    draw_pair_sheet,
    evidence_lines,
)

BLUE, GREEN = (20, 30, 220), (20, 200, 30)


def jpeg(colour, size=(320, 240)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


def card(evidence, thumbnail=b""):
    other = Picture("e/b.jpg", jpeg(GREEN) if thumbnail == b"" else thumbnail, 320, 240)
    source = Picture("d/a.jpg", jpeg(BLUE), 640, 480)
    return PairCard(source, other, "truth: different; accepted", evidence, "both in group g")


EVIDENCE = {
    "score": 0.8312,
    "kind": "edited",
    "found_by": "pdq+words",
    "phash_bits": 12,
    "phash_mirrored_bits": 30,
    "pdq_bits": 40,
    "pdq_mirrored_bits": 121,
    "pdq_quality": 88,
    "cosine_similarity": None,
    "n_inliers": 45,
    "inlier_spread": 0.625,
    "aligned_ncc": 0.851,
    "agreeing_share": 0.75,
    "src_overlap": 0.54,
    "dst_overlap": 0.98,
    "scale": 0.5,
    "rotation_degrees": -3.2,
    "is_mirrored": True,
    "largest_local_difference": 0.31,
    "colour_difference": 0.02,
    "difference_box": {"x": 0.25, "y": 0.5, "width": 0.5, "height": 0.25},
}


def where(sheet, colour, slack=0):
    """(top, left, bottom, right) of the pixels of a colour."""
    hit = np.abs(np.asarray(sheet).astype(int) - colour).max(axis=2) <= slack
    rows, columns = np.nonzero(hit)
    return rows.min(), columns.min(), rows.max(), columns.max()


def test_both_pictures_stand_side_by_side_and_the_box_lies_where_the_evidence_says():
    sheet = draw_pair_sheet([card(EVIDENCE)], "one", "false")
    source, other = where(sheet, BLUE, 12), where(sheet, GREEN, 12)
    assert source[3] < other[1]
    assert (source[2] - source[0], source[3] - source[1]) == pytest.approx((TILE_PX * 3 / 4, TILE_PX), abs=2)
    top, left, bottom, right = where(sheet, BOX_COLOUR)
    height, width = source[2] - source[0], source[3] - source[1]
    assert (left - source[1], right - source[1]) == pytest.approx((0.25 * width, 0.75 * width), abs=2)
    assert (top - source[0], bottom - source[0]) == pytest.approx((0.5 * height, 0.75 * height), abs=2)


@pytest.mark.parametrize("box", [None, *(dict.fromkeys(("x", "y", "width", "height"), v) for v in (None, 0.0))])
def test_without_a_box_nothing_is_outlined(box):
    sheet = draw_pair_sheet([card(EVIDENCE | {"difference_box": box}), card(None)], "two", "missed")
    colours = {colour for _, colour in sheet.getcolors(1 << 24)}
    assert BOX_COLOUR not in colours
    assert FRAME_COLOURS["missed"] in colours


def test_boxes_beyond_the_picture_are_cut_at_its_edge():
    box = {"x": -0.5, "y": 0.9, "width": 3.0, "height": 0.5}
    sheet = draw_pair_sheet([card(EVIDENCE | {"difference_box": box})], "one", "false")
    source, outline = where(sheet, BLUE, 12), where(sheet, BOX_COLOUR)
    assert outline[1] == pytest.approx(source[1], abs=1)
    assert outline[3] == pytest.approx(source[3], abs=1)
    assert outline[3] < where(sheet, GREEN, 12)[1]


def test_missing_and_broken_thumbnails_and_no_cards_at_all():
    sheet = draw_pair_sheet([card(None, thumbnail=None), card(None, thumbnail=b"no jpeg")] * 3, "broken", "missed")
    assert sheet.height > draw_pair_sheet([card(None)], "one", "missed").height
    assert draw_pair_sheet([], "none", "false").height > 100


def test_evidence_says_all_that_was_measured_and_nothing_that_was_not():
    text = "\n".join(evidence_lines(EVIDENCE))
    for part in (
        "score 0.831, edited, proposed by pdq + words",
        "bits that differ: pHash 12 of 64, mirrored 30, PDQ 40 of 256, mirrored 121, PDQ quality 88",
        "45 keypoints fit, in 62% of the cells, correlation 0.851, cells that agree 75%",
        "shared part 54%, and 98%, scale 0.50, rotated by -3°, mirrored",
        "largest local difference 0.31, colour difference 0.02",
    ):
        assert part in text
    assert "cosine" not in text
    assert evidence_lines(None) == ["not measured"]
    little = {"score": 0.1, "kind": None, "found_by": "pdq", "is_mirrored": False, "error_message": "no thumbnail"}
    assert evidence_lines(little) == ["score 0.100, no duplicate, proposed by pdq", "not aligned: no thumbnail"]


def test_curves_show_each_signal_that_was_measured_and_equal_input_gives_equal_bytes(tmp_path):
    rising = [(t / 10, Scores(20 - t, 20, 18 - t)) for t in range(1, 10)]
    flat = [(t / 10, Scores(3, 20, 3)) for t in range(1, 10)]
    sweeps = {"score": rising, "n_inliers": rising, "cosine": flat}
    points = {"pairs": Scores(10, 20, 9), "groups": Scores(12, 20, 9)}
    for name, some in (("a", sweeps), ("b", sweeps), ("c", {"score": rising, "n_inliers": flat, "cosine": flat})):
        draw_curves(some, points, 0.5, "title", tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in (a, c)]
    greens = [dict(map(reversed, im.getcolors(1 << 24))).get((0, 158, 115), 0) for im in images]
    assert greens[0] > 2 * greens[1]  # the curve of n_inliers, against its line in the legend alone
