"""Figures of the benchmarks of decisions, counted by hand: distractors, keepers, tiers, scores."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks.edits import keepers, reliability, shots, tiers
from benchmarks.edits.corpus import Row, load
from benchmarks.edits.report import section
from benchmarks.edits.score import Result, lost_by_removal, score
from benchmarks.pair_scores import unordered
from benchmarks.quality import Found, Truth, load_truth
from PIL import Image

from benchmarks import lookalikes


def row(image: str, group: str, edit: str = "original", relation: str = "original", kept: float = 1.0, side: int = 200):
    return Row(
        image, group, edit, {"crop": 0.64, "jpeg": 30.0, "resize": 0.5}.get(edit, 0.05), kept, side, relation, "x"
    )


TRUTH = [
    row("a", "photo0"),
    row("a.jpeg", "photo0", "jpeg", "copy"),
    row("a.crop", "photo0", "crop", "copy", 0.64),
    row("a.sticker", "photo0", "sticker", "alternate", 0.95),
    row("a.resize", "photo0", "resize", "copy", side=100),
    row("f1", "look1", "people"),
    row("f1.crop", "look1", "people"),
    row("f2", "look2", "people"),
    row("f3", "look3", "people"),
    row("burst0", "burst0", "burst"),
]


def result(groups: dict[str, str], rows=None, measured=None) -> Result:
    return Result("tool", {}, {}, groups, rows or {}, measured or {})


def test_pairs_that_nobody_can_tell_cost_nothing_and_a_third_picture_does():
    unscored = {("f1", "f2")}
    right = score(result({"f1": "g", "f1.crop": "g"}), TRUTH, unscored)
    assert (right.implied.hits, right.implied.n, right.groups.hits) == (1, 1, 1)
    open_ = score(result({"f1": "g", "f2": "g"}), TRUTH, unscored)
    assert (open_.implied.n, len(open_.wrong_groups), open_.distractors.hits) == (0, 0, 0)
    wrong = score(result({"f1": "g", "f2": "g", "f3": "g"}), TRUTH, unscored)
    assert (wrong.implied.hits, wrong.implied.n) == (0, 2)
    assert (wrong.distractors.hits, wrong.distractors.n) == (3, 5)
    assert wrong.mean_of_kinds == pytest.approx((3 / 4 + 0 / 1) / 2)


@pytest.mark.parametrize(
    ("member", "kept", "fault"),
    [
        ("a.jpeg", "a", ""),
        ("a.crop", "a", ""),
        ("a.sticker", "a", tiers.ALTERNATE),
        ("a", "a.sticker", tiers.MORE),
        ("a.jpeg", "a.crop", tiers.MORE),
        ("a", "a.jpeg", tiers.FINER),
        ("a.jpeg", "a.resize", tiers.FINER),
        ("a.jpeg", "f1", tiers.OTHER),
        ("f1.crop", "f1", ""),
    ],
)
def test_what_is_lost_when_a_member_goes(member, kept, fault):
    by_image = {r.image: r for r in TRUTH}
    assert lost_by_removal(by_image[member], by_image[kept]) == fault


def test_tiers_hold_those_before_them_and_have_bounds():
    members = {f"m{i}": ("verified", "k", "") for i in range(300)} | {"i": ("identical", "k", "")}
    members |= {"x": ("copies", "k", tiers.ALTERNATE), "y": ("copies", "k", tiers.FINER), "z": ("", "k", tiers.OTHER)}
    out = tiers.tally(members)
    assert [(one.n, one.n_wrong) for one in out.values()] == [(1, 0), (301, 0), (303, 1)]
    assert out["verified"].bound() == "none (at most 1.00%)"  # 3 / 301
    assert out["copies"].bound().startswith("0.33% (0.06% to 1.8")
    assert out["copies"].faults[tiers.FINER] == 1
    assert out["copies"].examples == [("x", "k", tiers.ALTERNATE)]


def test_tiers_of_a_result_are_scored_against_the_image_that_a_member_was_compared_with():
    def said(keeper: bool = False, tier: str = "", compared_with: str = "") -> dict[str, str]:
        one = {"group": "g", "is_keeper": str(keeper), "tier": tier, "compared_with": compared_with}
        return one | {"relation": "copy", "kind": "near", "is_removable": "False"}

    rows = {"a.crop": said(keeper=True), "a": said(), "a.jpeg": said(tier="verified", compared_with="a")}
    one = score(result(dict.fromkeys(rows, "g"), rows), TRUTH)
    assert one.tiers["verified"].n_wrong == 0
    rows["a.jpeg"] = said(tier="verified")
    assert score(result(dict.fromkeys(rows, "g"), rows), TRUTH).tiers["verified"].faults == {tiers.MORE: 1}


def test_reliability_of_a_score_that_is_right_and_of_one_that_is_too_sure(tmp_path):
    right = reliability.binned([(0.75, i < 75) for i in range(100)] + [(1.0, True)] * 10)
    assert reliability.calibration_error(right) == pytest.approx(0)
    sure = reliability.binned([(0.95, i < 50) for i in range(100)])
    assert reliability.calibration_error(sure) == pytest.approx(0.45)
    assert reliability.lines(sure) == [("0.9 to 1.0", "100", "0.950", "0.500 (0.404 to 0.596)")]
    reliability.draw([("right", right), ("sure", sure)], tmp_path / "r.png")
    assert 1000 < (tmp_path / "r.png").stat().st_size < 50_000


def test_scores_count_measured_pairs_whether_accepted_or_not():
    measured = {("a", "a.jpeg"): (0.9, "near"), ("f1", "f3"): (0.2, "similar"), ("f1", "f2"): (0.6, "similar")}
    one = score(result({}, measured=measured), TRUTH, {("f1", "f2")})
    assert [(b.n, b.n_true) for b in one.bins if b.n] == [(1, 0), (1, 1)]
    assert one.similar == {"different": 1, "not scored": 1}


def test_cases_of_keepers_and_what_each_keeps(tmp_path):
    rows = [row("p", "photo0")]
    edits = ("jpeg", "webp", "resize", "blur", "noise", "mirror")
    rows += [row(f"p.{edit}", "photo0", edit, "copy") for edit in edits]
    rows += [row("p.small", "photo0", "gamma", "alternate", side=60), row("p.part", "photo0", "crop", "copy", 0.25)]
    some = keepers.cases([*rows, row("q", "photo1"), row("q.jpeg", "photo1", "jpeg", "copy")], small=True)
    pairs = {case.scope: case.images for case in some if case.scope.startswith("pair:")}
    assert set(pairs) == {f"pair:p.{edit}" for edit in edits} | {"pair:q.jpeg"}
    assert sorted(images[1].endswith(".png") for images in pairs.values()) == [False] * 6 + [True]  # one of two JPEGs
    assert [len(case.images) for case in some if case.scope.startswith("six:")] == [6]
    rows += [row("q.jpeg", "photo1", "jpeg", "copy")]
    lines = []
    for case in some:
        kept = case.images[1] if case.scope in ("pair:p.noise", "six:photo0", "pair:p.webp") else case.images[0]
        for image in case.images if case.scope != "pair:p.blur" else ():
            kind = "" if image == kept else "pixel" if case.scope == "pair:p.webp" else "near"
            lines.append((case.scope, image, "g", image == kept, "copy", kind, "why"))
    with (tmp_path / "keepers.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([keepers.COLUMNS, *lines])
    out = keepers.score(some, tmp_path / "keepers.csv", rows)
    assert (out.all_pairs.hits, out.all_pairs.n, out.alone) == (5, 6, 1)  # noise wrong, blur alone, webp equal
    assert (out.resaved.hits, out.resaved.n) == (1, 1)
    assert (out.sixes.hits, out.sixes.n) == (0, 1)
    assert sum(out.beaten.values()) == 1
    assert ("pair:p.noise", "p.noise", "why") in out.wrong


def test_copies_are_saved_again_as_png_with_the_same_pixels(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.jpg", quality=90)
    (tmp_path / "out").mkdir()
    case = keepers.Case("pair:p.jpg", ("o.jpg", "p.jpg.png"))
    keepers.write_manifest([case], tmp_path, tmp_path / "out" / "manifest.csv")
    with (tmp_path / "out" / "manifest.csv").open(newline="", encoding="utf-8") as file:
        uris = [r["uri"] for r in csv.DictReader(file)]
    assert uris[0] == str(tmp_path / "o.jpg")
    assert (load(Path(uris[1])) == load(tmp_path / "p.jpg")).all()


def test_the_report_says_where_tiers_are_absent():
    rows = {"a": {"group": "g", "is_keeper": "True", "relation": "keeper", "kind": "", "is_removable": "False"}}
    one = result({"a": "g"}, rows)
    text = section(TRUTH, [(one, score(one, TRUTH))], "command", small=True)
    assert "no column `tier`" in text
    assert "| look-alike distractors in wrong groups | 0.00% (0.00% to 43.45%), 0 of 5 | 0.2% | met |" in text


def test_the_stereo_pair_has_parallax_that_no_map_of_the_plane_explains():
    pairs = shots.stereo_pairs()
    assert len(pairs) == 6
    for left, right in pairs:
        assert left.shape == right.shape == (250, 247, 3)
        grey = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in (left, right)]
        flow = cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 4, 21, 3, 7, 1.5, 0)
        y, x = np.mgrid[0:250, 0:247]
        plane = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1).astype(np.float64)
        rest = flow[..., 0].ravel() - plane @ np.linalg.lstsq(plane, flow[..., 0].ravel(), rcond=None)[0]
        assert rest.std() > 1  # px; optical flow smooths: the true disparities leave 6 at least


def test_second_shots_of_real_photographs_differ_from_them_everywhere(shared_data):
    rng = np.random.default_rng(1)
    scene = load(shared_data / "lookalikes" / "Faces" / "image_0001.jpg")
    garment = load(sorted((shared_data / "clothing_small" / "test" / "t-shirt").iterdir())[0])
    for rgb, shot in ((scene, shots.next_frame), (garment, shots.other_colour)):
        mask = shots.object_mask(rgb)
        assert mask is not None
        made = shot(rgb, mask, rng)
        assert made.shape == rgb.shape
        inside = np.abs(made.astype(int) - rgb)[mask > 0].mean()
        outside = np.abs(made.astype(int) - rgb)[mask == 0].mean()
        assert inside > 10
        assert outside > 3


def found_of(edges, grouped=(), kinds=None) -> Found:
    one = Found({unordered(*p) for p in edges}, {unordered(*p) for p in grouped})
    one.measured = {
        unordered(*p): {"kind": (kinds or {}).get(p, "near"), "score": 0.9, "is_duplicate": True, "verify_version": "v"}
        for p in edges
    }
    return one


def test_lookalikes_are_scored_by_kind_without_the_ambiguous_ones():
    faces = [f"lookalikes/Faces/image_{i:04d}.jpg" for i in range(4)]
    easy = [f"lookalikes/Faces_easy/image_{i:04d}.jpg" for i in range(4)]
    bike = "lookalikes/Motorbikes/image_0001.jpg"
    truth = Truth({unordered(f, e): "crop" for f, e in zip(faces, easy, strict=True)}, {unordered(faces[0], faces[1])})
    edges = [(faces[0], easy[0]), (faces[1], easy[1]), (faces[0], faces[1]), (faces[2], faces[3]), (faces[0], bike)]
    found = found_of(edges, edges[:3], {edges[3]: "edited", edges[0]: "recoloured"})
    pairs, groups = lookalikes.scores(found, truth)
    assert (pairs.n_hit, pairs.n_found, pairs.n_true) == (2, 4, 4)
    assert (groups.n_hit, groups.n_found, groups.n_true) == (2, 2, 4)
    people, _ = lookalikes.scores(found, truth, lambda pair: lookalikes.kind_of(pair) == "people")
    assert (people.n_hit, people.n_found) == (2, 3)
    assert lookalikes.kind_of((faces[0], bike)) == lookalikes.MIXED
    listed = lookalikes.list_faults(found, truth)
    assert [what for what, *_ in listed] == ["missed", "missed", "wrong pair", "wrong pair"]


def test_halves_of_the_lookalikes_part_the_pictures_and_keep_copies_together(shared_data):
    truth = load_truth(shared_data, "lookalikes")
    pictures = [str(p.relative_to(shared_data)) for p in (shared_data / "lookalikes").rglob("*") if p.is_file()]
    even, _, of_even = lookalikes.half("even", pictures, Found(), truth)
    odd, _, of_odd = lookalikes.half("odd", pictures, Found(), truth)
    assert sorted(even + odd) == sorted(pictures)
    assert min(len(even), len(odd)) > 500
    in_halves = set(of_even.relation) | set(of_odd.relation)
    assert {truth.relation[pair] for pair in set(truth.relation) - in_halves} <= {
        "same picture",
        "crop or placed on a product",
    }
