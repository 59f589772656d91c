"""`dupelake evaluate`: figures compared with an enumeration of all pairs, listed pairs, files, errors."""

from __future__ import annotations

import csv
import io
import json

import pytest
from benchmarks.pair_scores import unordered
from evaluation_world import GroupTruth, PairTruth, World, by_enumeration, grouped, image, pair, write_lake
from PIL import Image, ImageDraw, ImageOps

from dupelake import cli
from dupelake.config import Config
from dupelake.evaluate.evaluation import evaluate, thresholds
from dupelake.evaluate.files import _mark
from dupelake.evaluate.matching import AGAIN, MATCHED, NONE, SEVERAL
from dupelake.evaluate.scores import sweep
from dupelake.evaluate.truth import read_truth
from dupelake.warehouse.reader import Reader

AT = thresholds(Config().decide.min_score)


def n_passed(row):
    """Number of thresholds of two signals that a measured pair passes; PDQ of low quality has no value."""
    bits = min(row["pdq_bits"], row["pdq_mirrored_bits"]) if row["pdq_quality"] >= 50 else None
    return {
        "score": sum(row["score"] >= t for t in AT["score"]),
        "pdq_bits": 0 if bits is None else sum(bits <= t for t in AT["pdq_bits"]),
        "cosine": 0,
    }


WORLD = 3  # seed


@pytest.mark.parametrize(("across", "make", "closed"), [(False, GroupTruth, True), (True, PairTruth, False)])
def test_figures_are_those_of_enumerating_all_pairs(tmp_path, across, make, closed):
    world = World(WORLD)
    world.across = across
    truth = make(world)
    read = read_truth(truth.write(tmp_path / "truth.csv"))
    assert read.form == truth.form
    result = evaluate(Reader(world.write(tmp_path / "wh")), read, by="auto", closed=closed, n_shown=1000)
    wanted = by_enumeration(world, truth, closed, n_passed)
    assert result.names[MATCHED] == len(truth.names)
    assert (result.pairs, result.groups) == (wanted["pairs"], wanted["groups"])
    for scores in (result.pairs, result.groups):
        assert 0 < scores.n_hit < min(scores.n_found, scores.n_true)
    assert (result.n_unnamed_pairs, result.n_unnamed_group_pairs) == wanted["unnamed"]
    assert all(wanted["unnamed"]) != closed
    assert result.b_cubed.precision == pytest.approx(wanted["b_cubed"].precision)
    assert result.b_cubed.recall == pytest.approx(wanted["b_cubed"].recall)
    rows = {row[0]: row[1:] for row in result.relations}
    assert rows.pop("all") == tuple(map(sum, zip(*wanted["relations"].values(), strict=True)))
    assert rows == wanted["relations"]
    for signal in ("score", "pdq_bits", "cosine"):
        expected = sweep(AT[signal], wanted["buckets"][signal], wanted["equal"], wanted["pairs"].n_true)
        assert list(result.sweeps[signal]) == expected
    assert dict(result.sweeps["score"])[0.5] == result.pairs
    # what is shown: every false pair is false and found, every missed pair true and in no common group
    shown = [unordered(p.a.image_id, p.b.image_id) for p in result.false_pairs]
    assert len(shown) == len(set(shown)) > 0
    for ends in shown:
        assert ends in wanted["in_pairs"] | wanted["in_groups"]
        assert not set(ends) <= set(truth.names) or truth.says(*ends) is False
    missed = {unordered(p.a.image_id, p.b.image_id) for p in result.missed_pairs}
    assert missed == set(truth.relations()) - wanted["in_groups"]


def jpeg(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG")
    return buffer.getvalue()


def drawn(colour, shape="ellipse"):
    picture = Image.new("RGB", (160, 120), colour)
    getattr(ImageDraw.Draw(picture), shape)([40, 20, 120, 100], fill=(250, 240, 30))
    return picture


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A few pictures: one copy found, one false, one measured and missed, one never proposed, one failed."""
    pictures = {
        "sun": drawn((20, 60, 200)),
        "sun2": drawn((20, 60, 200)),
        "mirror": ImageOps.mirror(drawn((20, 60, 200))),
        "box": drawn((20, 60, 200), "rectangle"),
        "crop": drawn((20, 60, 200)).crop((40, 20, 120, 100)),
        "far": drawn((20, 160, 40)),
    }
    content = {name: f"{i:032x}" for i, name in enumerate(pictures)}
    images = [image(f"i-{name}", f"s3://b/photos/{name}/a.jpg", c) for name, c in content.items()]
    images += [image("i-bad", "s3://b/photos/bad/a.jpg", None, status="failed")]
    images += [image("i-twin", "s3://b/other/sun/a.jpg", content["far"])]
    box = {"x": 0.25, "y": 0.1, "width": 0.5, "height": 0.75}
    local = dict(difference_box=box, largest_local_difference=0.61, n_inliers=31, aligned_ncc=0.84)
    pairs = [
        pair(content["sun"], content["sun2"], 0.97, "near", pdq_bits=2, pdq_mirrored_bits=90, pdq_quality=90),
        pair(content["sun"], content["box"], 0.66, "edited", **local),
        pair(content["sun"], content["crop"], 0.41, n_inliers=9, aligned_ncc=0.7),
    ]
    groups = [grouped(f"i-{n}", "g1", "", content[n], n == "sun") for n in ("sun", "sun2", "box")]
    thumbnails = [
        dict(content_id=content[n], bytes=jpeg(p), width_px=p.width, height_px=p.height) for n, p in pictures.items()
    ]
    root = tmp_path_factory.mktemp("story") / "wh"
    write_lake(root, images, {c: c for c in content.values()}, pairs, groups, thumbnails)
    return root


TRUTH = """original,copy,relation
photos/sun/a.jpg,photos/sun2/a.jpg,resized
photos/sun/a.jpg,s3://b/photos/mirror/a.jpg,mirrored
photos/sun/a.jpg,i-crop,crop
photos/sun/a.jpg,photos/bad/a.jpg,crop
photos/box/a.jpg,photos/sun/a.jpg,different
photos/far/a.jpg,nowhere/a.jpg,crop
sun/a.jpg,photos/far/a.jpg,crop
photos/sun2/a.jpg,i-sun,resized
"""


def test_command_writes_figures_and_sheets(story, tmp_path, capsys):
    truth, out = tmp_path / "truth.csv", tmp_path / "out"
    truth.write_text(TRUTH, encoding="utf-8")
    out.mkdir()
    Image.new("RGB", (4, 4)).save(out / "false-pairs-7.png", pnginfo=_mark())  # of an earlier evaluation
    (out / "false-pairs-holiday.png").write_bytes(b"of somebody else")
    assert cli.main(["evaluate", "--warehouse", str(story), "--truth", str(truth), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "10 images named, 7 matched, 1 match no image, 1 match several, 1 match an image of an earlier name" in said
    assert "1 of the matched failed in the hash stage" in said
    figures = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert figures["truth"]["names"] == {MATCHED: 7, NONE: 1, SEVERAL: 1, AGAIN: 1}
    assert (figures["pairs"]["n_found"], figures["pairs"]["n_true"], figures["pairs"]["n_hit"]) == (2, 4, 1)
    assert figures["relations"]["crop"] == {"true": 2, "in_pairs": 0, "in_groups": 0}
    with (out / "unmatched.csv").open(newline="", encoding="utf-8") as file:
        rows = [(r["row"], r["name"], r["outcome"]) for r in csv.DictReader(file)]
    assert rows == [("7", "nowhere/a.jpg", NONE), ("8", "sun/a.jpg", SEVERAL), ("9", "i-sun", AGAIN)]
    with (out / "false_pairs.csv").open(newline="", encoding="utf-8") as file:
        (false,) = csv.DictReader(file)
    assert (false["source_id"], false["other_id"], false["kind"], false["score"]) == (
        "i-sun",
        "i-box",
        "edited",
        "0.66",
    )
    assert false["difference_box"] == "0.2500 0.1000 0.5000 0.7500"
    with (out / "missed_pairs.csv").open(newline="", encoding="utf-8") as file:
        missed = [(r["other_id"], r["state"], r["n_inliers"]) for r in csv.DictReader(file)]
    assert missed[0] == ("i-crop", "measured, not accepted", "9")
    assert sorted(state for _, state, _ in missed[1:]) == [
        "never measured: one image failed in the hash stage",
        "never proposed",
    ]
    assert sorted(p.name for p in out.glob("*.png")) == [
        "curves.png",
        "false-pairs-1.png",
        "false-pairs-holiday.png",
        "missed-pairs-1.png",
    ]
    with Image.open(out / "false-pairs-1.png") as sheet:
        colours = dict(map(reversed, sheet.convert("RGB").getcolors(1 << 24)))
    assert colours[235, 30, 140] > 100  # the outline of the local difference
    with Image.open(out / "curves.png") as curves:
        assert curves.size == (1260, 540)


def test_all_faults_are_named_at_once(tmp_path, capsys):
    truth = tmp_path / "truth.csv"
    truth.write_text("a,b,label\nx,y,perhaps\nx,x,1\n", encoding="utf-8")
    where = ["--warehouse", str(tmp_path / "none"), "--truth", str(truth), "--candidates", "-1"]
    assert cli.main(["evaluate", *where]) == 2
    said = capsys.readouterr().err
    for part in ("--candidates -1", "there is no such folder", "row 2: the label 'perhaps'", "row 3: a pair of 'x'"):
        assert part in said


def test_truth_that_names_nothing_in_the_tables_is_refused_with_an_example(story, tmp_path, capsys):
    truth = tmp_path / "truth.csv"
    truth.write_text("image,group\nq.png,1\nr.png,1\n", encoding="utf-8")
    assert cli.main(["evaluate", "--warehouse", str(story), "--truth", str(truth), "--out", str(tmp_path / "o")]) == 2
    said = capsys.readouterr().err
    assert "'q.png'" in said
    assert "s3://b/other/sun/a.jpg" in said
    assert not (tmp_path / "o").exists()
