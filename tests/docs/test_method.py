"""docs/method.md: its pictures are those that the code draws now, and what it says of them is so. 25 s in all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scripts import method_pictures as pictures
from scripts import method_world as world
from scripts.cell_map import cell_map

REPO = Path(__file__).parents[2]
PAGE = (REPO / "docs" / "method.md").read_text(encoding="utf-8")


def measured(pair: tuple[world.Seen, world.Seen]):
    both = world.laid(*pair)
    assert both is not None
    cells = cell_map(both.src, both.dst, both.mask)
    assert cells is not None
    return world.judged(*pair), cells


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_a_picture_is_what_the_code_draws(name, tmp_path):
    pictures.write(pictures.PICTURES[name](), tmp_path / name)
    assert f"images/{name})" in PAGE
    committed = REPO / "docs" / "images" / name
    assert committed.stat().st_size <= pictures.MAX_BYTES
    with Image.open(tmp_path / name) as now, Image.open(committed) as then:
        assert now.size == then.size
        a, b = (np.asarray(one.convert("RGB"), np.float32) for one in (now, then))
    assert np.abs(a - b).mean() < 3, "draw it again: python scripts/method_pictures.py"


def test_a_sticker_is_on_one_side_only():
    row, cells = measured(pictures.edited_pair())
    assert (row["is_duplicate"], row["kind"]) == (True, "edited")
    assert row["contradicting_share"] < 0.05
    assert cells.agrees.sum() > 0.9 * cells.structured.sum()
    assert 0 < min(cells.lost.sum(), cells.gained.sum()) < max(cells.lost.sum(), cells.gained.sum())


def test_another_picture_in_the_scene_contradicts_and_the_scene_fits():
    row, cells = measured(pictures.hung_pair())
    assert not row["is_duplicate"]
    assert row["contradicting_share"] > 0.22
    border = np.ones_like(cells.agrees)
    border[2:-2, 3:-3] = False
    assert cells.agrees[border & cells.structured].mean() > 0.9


def test_another_camera_moves_the_cells():
    row, _ = measured(pictures.shot_pair())
    assert (row["is_duplicate"], row["kind"]) == (False, "similar")
    assert row["cell_shift_px"] > 1


def test_a_fifth_of_contradicting_cells_makes_another_picture():
    (_, content) = pictures.aligned_model().factors
    of = {"contradicting_share": np.array([0.19, 0.24])}
    before, after = pictures._factor(content, of)
    assert before > 0.5 > after


def test_a_chain_makes_no_group_and_a_caption_is_an_alternate():
    rows, pairs = world.grouped(pictures.chain())
    assert len({row["star"] for row in rows}) == 2
    assert {row["relation"] for row in rows} == {"keeper", "alternate"}
    ends = {frozenset((row["src_id"], row["dst_id"])) for row in pairs}
    first, *_, last = (one.shown.content_id for one in pictures.chain())
    assert frozenset((first, last)) not in ends
    family, _ = world.grouped(pictures.family())
    told = {row["image_id"]: row for row in family}
    assert told["original"]["reason"].startswith("Kept: shows the whole picture, largest (600x400)")
    assert told["caption"]["relation"] == "alternate"
    assert {row["compared_with"] for row in family if not row["is_keeper"]} == {"original"}


def test_the_limits_that_the_page_names():
    lsh = world.CONFIG.lsh
    assert (lsh.phash_max_bits, lsh.pdq_max_bits, lsh.embedding_min_cosine) == (7, 31, 0.92)
    assert "7 of 64, or 31 of 256" in PAGE
    assert "at least 0.92" in PAGE
    assert (world.CONFIG.features.max_keypoints, world.CONFIG.features.max_words) == (400, 150)
