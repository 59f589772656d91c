"""Scoring of the edits bench on results whose figures can be counted by hand; the balance of its corpus."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from benchmarks.edits import words
from benchmarks.edits.corpus import Row, chosen_edits, collage_tiles
from benchmarks.edits.registry import grid
from benchmarks.edits.report import section, write_section
from benchmarks.edits.score import Result, read_result, score

from dupelake.evaluate.scores import wilson_interval


def row(image: str, group: str, edit: str = "original", relation: str = "original", kept: float = 1.0, side: int = 200):
    strength = {"crop": 0.36, "jpeg": 30.0, "sticker": 0.05}.get(edit, 0.0)
    return Row(image, group, edit, strength, kept, side, relation, "made")


TRUTH = [
    row("a", "photo0"),
    row("a.jpeg", "photo0", "jpeg", "copy"),
    row("a.crop", "photo0", "crop", "copy", 0.36),
    row("a.sticker", "photo0", "sticker", "alternate", 0.95),
    row("b", "photo1"),
    row("b.jpeg", "photo1", "jpeg", "copy", side=99),
    row("c", "alone0"),
    row("d", "alone1"),
    row("form0", "form0", "form"),
    row("c.studio", "alone0", "studio_frame", "ambiguous"),
]


def result(groups: dict[str, str], pairs: tuple[tuple[str, str], ...] = (), rows=None) -> Result:
    return Result("tool", {}, dict.fromkeys(pairs, "why"), groups, rows or {})


def test_perfect_groups_score_full_marks():
    one = score(result({r.image: r.group for r in TRUTH if r.group.startswith("photo")}), TRUTH)
    assert (one.copies.hits, one.copies.n) == (4, 4)
    assert (one.implied.hits, one.implied.n) == (7, 7)  # 4 over 2, and 1
    assert (one.groups.hits, one.groups.n) == (2, 2)
    assert not one.missed
    assert not one.wrong_groups


def test_a_wrong_member_costs_its_pairs_and_its_group():
    groups = {"a": "g", "a.jpeg": "g", "c": "g", "b": "h", "b.jpeg": "h", "d": "i", "form0": "i"}
    one = score(result(groups), TRUTH)
    assert (one.implied.hits, one.implied.n) == (2, 3 + 1 + 1)
    assert (one.groups.hits, one.groups.n) == (1, 3)
    assert one.wrong_groups == [["a", "a.jpeg", "c"], ["d", "form0"]]
    assert one.wrong_distractor_groups == 2
    assert {kind: share.hits for kind, share in one.kinds.items()} == {"odd pictures": 2, "form": 1, "studio_frame": 0}
    assert one.missed == ["a.crop", "a.sticker"]


def test_what_is_ambiguous_counts_neither_way_but_joins_nothing_else():
    joined = score(result({"c": "g", "c.studio": "g"}, (("c", "c.studio"),)), TRUTH)
    assert (joined.implied.n, joined.pairs.n, len(joined.wrong_groups)) == (0, 0, 0)
    wrong = score(result({"d": "g", "c.studio": "g"}, (("c.studio", "d"),)), TRUTH)
    assert (wrong.implied.hits, wrong.implied.n) == (0, 1)
    assert (wrong.pairs.hits, wrong.pairs.n) == (0, 1)
    assert wrong.wrong_pairs == [("c.studio", "d", "why")]


def test_goals_look_at_what_keeps_half_and_100_px():
    one = score(result({"a": "g", "a.jpeg": "g", "b": "h", "a.crop": "h"}), TRUTH)  # a.crop: in another group
    assert {edit: (s.hits, s.n) for edit, s in one.full.items()} == {"jpeg": (1, 1), "sticker": (0, 1)}
    assert (one.part.hits, one.part.n) == (0, 1)
    assert one.cells[("jpeg", 30.0)].n == 2


def test_relations_are_read_where_the_original_is_the_keeper():
    def said(group: str, relation: str, keeper: bool = False, removable: bool = False) -> dict[str, str]:
        return {"group": group, "relation": relation, "is_keeper": str(keeper), "is_removable": str(removable)}

    rows = {
        "a": said("g", "keeper", keeper=True),
        "a.jpeg": said("g", "alternate"),
        "a.sticker": said("g", "copy", removable=True),
        "b": said("h", "copy"),
        "b.jpeg": said("h", "keeper", keeper=True),
    }
    one = score(result({image: r["group"] for image, r in rows.items()}, rows=rows), TRUTH)
    assert one.relation == {("copy", "alternate"): 1, ("alternate", "copy"): 1}
    assert one.wrongly_removable == 1
    assert one.keepers == {"original": 1, "jpeg": 1}
    assert (one.kept.hits, one.kept.n) == (1, 2)
    assert {edit: (s.hits, s.n) for edit, s in one.not_beaten.items()} == {"jpeg": (1, 2), "sticker": (1, 1)}
    rows["b"]["kind"] = "pixel"  # equal to the keeper: as good as kept
    assert score(result({image: r["group"] for image, r in rows.items()}, rows=rows), TRUTH).kept.hits == 2


def test_statements_of_reasons_are_false_of_what_the_edit_did_not_do():
    told = [
        ("sticker", "Alternate: something is laid over it (text, a logo or the like), at the same size."),
        ("sticker", "Alternate: other colours, brightness or contrast, at the same size."),
        ("grey", "Alternate: other colours, brightness or contrast, at the same size; it is grey or tinted."),
        ("letterbox", "Copy: same picture, a frame around the picture (border, bar or screen) takes up 17 %."),
        ("screenshot_phone", "Alternate: shows more than the keeper, a frame around the picture takes up 65 %."),
        ("crop", "Copy: mirror image. Kept, because it passes as a copy of image b only, not of the keeper."),
    ]
    found = words.tally(told)
    assert {what: (one.n, dict(one.wrong)) for what, one in found.items() if one.wrong.total()} == {
        "other colours or light": (2, {"sticker": 1, "grey": 0}),
        "shows more": (1, {"screenshot_phone": 1}),
    }
    assert words.lines(found)[-1] == ("all", 7, 2, "")
    assert "is mirrored" not in found


def test_wilson_against_published_values():
    # Newcombe, Stat. Med. 17 (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson_interval(hits, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_results_that_name_no_image_of_the_corpus_are_refused(tmp_path):
    (tmp_path / "pairs.csv").write_text("a,b,value\nb,a,3\n", encoding="utf-8")
    (tmp_path / "groups.csv").write_text("image,group\na,1\nzebra,1\n", encoding="utf-8")
    (tmp_path / "meta.json").write_text(json.dumps({"tool": "x"}), encoding="utf-8")
    found = read_result(tmp_path)
    assert found.pairs == {("a", "b"): "3"}
    with pytest.raises(ValueError, match="zebra"):
        score(found, TRUTH)


def test_every_grade_gets_the_same_number_of_samples():
    chosen = chosen_edits(50, 15, np.random.default_rng(1))
    counts = Counter(cell for cells in chosen for cell in cells)
    assert set(counts) == set(grid())
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(len(set(cells)) == 15 for cells in chosen)


def test_pictures_beside_the_original_in_a_collage_are_used_once():
    tiles = collage_tiles(np.random.default_rng(1))
    assert len({tile.tobytes() for tile in tiles}) == len(tiles)
    assert len(tiles) >= 45 * 4  # 45 samples of collages of two and of four


def test_the_section_replaces_itself_and_leaves_the_rest_of_the_page(tmp_path):
    page = tmp_path / "quality.md"
    page.write_text("# Quality\n\nbefore\n", encoding="utf-8")
    one = result({"a": "g", "a.jpeg": "g"})
    text = section(TRUTH, [(one, score(one, TRUTH))], "command", small=True)
    write_section(page, text)
    page.write_text(page.read_text(encoding="utf-8") + "\nafter\n", encoding="utf-8")
    once = page.read_text(encoding="utf-8")
    write_section(page, text)
    assert page.read_text(encoding="utf-8") == once
    assert once.startswith("# Quality\n\nbefore\n")
    assert once.endswith("\nafter\n")
    assert once.count("| jpeg | 30 quality | 1.00 | 2 | 0.500 ") == 1
