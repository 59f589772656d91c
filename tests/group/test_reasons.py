"""Words of reasons (group/keeper_reasons.py, group/reasons.py): each phrase where its evidence is, only there."""

from __future__ import annotations

import pytest

from dupelake.group import keeping as rules
from dupelake.group.keeper_reasons import PHRASES
from dupelake.group.reasons import reason_of

LINK = {
    "favours": -1, "rule": rules.LOWER, "overlap": 1.0, "other_overlap": 1.0, "frame": 0.0, "other_frame": 0.0,
    "added": 0.0, "other_added": 0.0, "covers": False, "other_covers": False, "scale": 1.0, "rotation": None,
    "is_upright": True, "aligned": True, "pdq_bits": 4, "phash_bits": 2, "colour": 0.0, "box": None, "box_is_own": True,
}  # fmt: skip
ROW = {
    "image_id": "m", "vertex": "m/", "width_px": 640, "height_px": 480, "format": "JPEG", "jpeg_quality": 60.0,
    "is_web_lossy": False, "group_size": 2, "verdicts": None, "in_set": False, "in_conflict": False, "n_cut": 0,
    "is_composite": False,
}  # fmt: skip
OTHER = {"image_id": "k", "width_px": 640, "height_px": 480, "jpeg_quality": None}
CORNER = {"x": 0.0, "y": 0.8, "width": 0.2, "height": 0.1}
VERDICTS = dict.fromkeys(("confirmed_by", "alternate_by", "apart_text", "chosen_by", "chosen_image"))


def member(kind="near", relation="copy", other=OTHER, link=LINK, **differs):
    """The reason of a member whose pair differs from LINK, and whose own facts differ from ROW."""
    own = {name: differs.pop(name) for name in list(differs) if name not in LINK}
    facts = {"is_keeper": False, "relation": relation, "kind": kind, "is_keepers_file": False, "is_indirect": False,
             "is_finer": False, "other": other, "link": link and link | differs}  # fmt: skip
    return reason_of(ROW | facts | own)


def keeper(
    worse=None, *, decided=True, twin=False, loss=(0, 0, 0, 0), next_loss=(0, 0, 0, 0), next_rank="z", **differs
):
    names = ("n_fuller", "n_better", "doubt", "disagreement")
    following = {"vertex": "m/" if twin else "n/", "rank": {"pixels": -9, "image_id": next_rank}, "is_worse": decided,
                 "loss": dict(zip(names, next_loss, strict=True))}  # fmt: skip
    facts = {"is_keeper": True, "worse": dict.fromkeys(PHRASES, 0) | (worse or {}), "shows_all": True,
             "is_largest": True, "is_beaten": False, "rank": {"pixels": -9, "image_id": "m"}, "captured": None,
             "loss": dict(zip(names, loss, strict=True)), "next": following}  # fmt: skip
    return reason_of(ROW | facts | differs)


@pytest.mark.parametrize(
    ("differs", "reason"),
    [
        ({"width_px": 320, "height_px": 240, "scale": 0.5, "rule": rules.LARGER},
         "Copy: same picture at half the size (320x240 against 640x480), JPEG quality about 60."),
        ({"kind": "crop", "other_overlap": 0.54, "rule": rules.FULLER, "width_px": 480, "height_px": 360},
         "Copy: crop that shows 54 % of the keeper at the same resolution (480x360), JPEG quality about 60."),
        ({"kind": "exact", "link": None}, "Copy: same bytes as the keeper."),
        ({"kind": "edited", "relation": "alternate", "other_overlap": 0.94, "frame": 0.06, "covers": True,
          "jpeg_quality": None, "format": "PNG", "rule": rules.FULLER},
         "Alternate: a bar over an edge hides about 6 % of the picture, at the same size."),
        # what the bar hides is measured as if it lay over the keeper, and the bar changes the colours
        ({"kind": "edited", "relation": "alternate", "other_overlap": 0.94, "frame": 0.06, "covers": True,
          "other_added": 0.02, "added": 0.02, "colour": 0.2, "rule": rules.FULLER},
         "Alternate: a bar over an edge hides about 6 % of the picture, at the same size, JPEG quality about 60."),
        # a caption below the picture, or a screen around it, is nothing of the picture that the keeper lacks
        ({"kind": "crop", "relation": "alternate", "overlap": 0.75, "frame": 0.25, "height_px": 640,
          "rule": rules.UNFRAMED},
         "Alternate: same picture, a frame around the picture (border, bar or screen) takes up 25 %, at the same "
         "resolution (640x640), JPEG quality about 60."),
        ({"kind": "crop", "other_overlap": 0.25, "other_frame": 0.75, "width_px": 320, "height_px": 240,
          "rule": rules.LARGER},
         "Copy: same picture without the frame around the keeper (border, bar or screen) at the same resolution "
         "(320x240), JPEG quality about 60."),
        ({"kind": "crop", "overlap": 0.96, "rule": rules.RICHER},
         "Copy: same picture at the same size, JPEG quality about 60; it has less camera data, colour profile or bit "
         "depth."),
        ({"kind": "edited", "relation": "alternate", "added": 0.05, "colour": 0.3, "is_upright": False,
          "rule": rules.CLEAN},
         "Alternate: mirrored, something is laid over it (text, a logo or the like), at the same size, JPEG quality "
         "about 60."),
    ],
)  # fmt: skip
def test_whole_sentences_about_members(differs, reason):
    assert member(**differs) == reason


def test_whole_sentences_about_keepers():
    assert keeper({"cropped": 7}) == "Kept: shows the whole picture; 7 others are crops of it."
    assert keeper({"noisy": 1}) == "Kept, because 1 other has more noise."
    assert keeper({"smaller": 1, "noisy": 2}) == (
        "Kept: largest (640x480); 1 other shows the picture smaller, 2 have more noise."
    )


@pytest.mark.parametrize(
    ("phrase", "without", "evidence"),
    [
        ("same size", {"width_px": 320, "height_px": 240, "scale": 0.5}, {}),
        ("enlarged", {"width_px": 1280, "height_px": 960, "scale": 2.0, "rule": rules.LOWER},
         {"width_px": 1280, "height_px": 960, "scale": 2.0, "rule": rules.ENLARGED}),
        ("stretched", {"width_px": 320, "height_px": 240, "scale": 0.5}, {"width_px": 320, "scale": 0.7}),
        ("JPEG quality", {"jpeg_quality": None, "format": "PNG"}, {}),
        ("60 against 90", {}, {"other": OTHER | {"jpeg_quality": 90.0}}),
        ("lossy WEBP", {"jpeg_quality": None, "format": "WEBP"},
         {"jpeg_quality": None, "format": "WEBP", "is_web_lossy": True}),
        ("more noise", {"favours": 1, "rule": rules.NOISY}, {"rule": rules.NOISY}),
        ("softer", {}, {"rule": rules.SOFT}),
        ("grey", {"rule": rules.SOFT}, {"rule": rules.COLOURED}),
        ("frame", {"frame": 0.02}, {"frame": 0.1}),
        ("frame", {"frame": 0.1, "covers": True, "kind": "edited"}, {"frame": 0.1, "kind": "edited"}),
        ("a bar over an edge hides about 10 %", {"frame": 0.1, "kind": "edited"},
         {"frame": 0.1, "covers": True, "kind": "edited"}),
        ("bar over an edge of the keeper", {"kind": "edited"},
         {"kind": "edited", "other_covers": True, "other_frame": 0.1}),
        ("laid over it", {"kind": "edited", "added": 0.001}, {"kind": "edited", "added": 0.01}),
        ("lacks what is laid over the keeper", {"kind": "edited", "other_added": 0.01},
         {"kind": "edited", "other_added": 0.01, "favours": 1}),
        ("text, a logo or the like differs", {"kind": "edited", "added": 0.01},
         {"kind": "edited", "other_added": 0.01}),
        ("text, a logo or the like differs", {"kind": "edited", "other_added": 0.01, "favours": 1},
         {"kind": "edited", "other_added": 0.01, "added": 0.01, "favours": 1}),
        ("rotated by 90 degrees", {"kind": "edited"}, {"kind": "edited", "rotation": 90.0, "is_upright": False}),
        ("other colours", {"kind": "edited", "colour": 0.2, "added": 0.01}, {"kind": "edited", "colour": 0.2}),
        ("other colours", {"kind": "edited", "colour": 0.01}, {"kind": "edited", "colour": 0.2}),
        ("other colours", {"kind": "recoloured", "box": CORNER},
         {"kind": "recoloured", "colour": 0.2}),
        ("at the bottom left (about 2 %", {"kind": "edited", "box": dict.fromkeys(CORNER, 0.0)},
         {"kind": "edited", "box": CORNER}),
        ("of the keeper (about", {"kind": "edited", "box": CORNER, "box_is_own": False},
         {"kind": "edited", "box": CORNER, "box_is_own": False, "other_overlap": 0.8}),
        ("crop", {}, {"kind": "crop", "other_overlap": 0.9}),
        ("shows more than the keeper", {"kind": "crop", "other_overlap": 0.9}, {"kind": "crop", "overlap": 0.9}),
        ("10 % of it is not in the keeper", {"overlap": 0.96}, {"overlap": 0.9}),
        ("shows 90 % of the keeper", {"kind": "mirrored"}, {"kind": "mirrored", "other_overlap": 0.9}),
        ("mirror image", {}, {"kind": "mirrored"}),
        ("rotated by 90", {}, {"kind": "rotated", "rotation": 90.0}),
        ("finer than the keeper", {"is_finer": True}, {"is_finer": True, "scale": 2.0}),
        ("which may be noise", {"is_finer": True, "scale": 2.0}, {"is_finer": True}),
        ("by its hashes (PDQ differs in 4", {"kind": "edited"}, {"kind": "edited", "aligned": False}),
        ("not compared with the keeper", {}, {"link": None}),
        ("the same file as the keeper", {"kind": "exact", "link": None},
         {"kind": "exact", "link": None, "is_keepers_file": True}),
        ("as a copy of image p only", {}, {"is_indirect": True, "other": OTHER | {"image_id": "p"}}),
        ("Confirmed by ann", {"verdicts": VERDICTS | {"confirmed_by": "ann"}},
         {"verdicts": VERDICTS | {"confirmed_by": "ann"}, "in_set": True}),
        ("alternate by ann", {"verdicts": VERDICTS | {"alternate_by": "ann"}},
         {"verdicts": VERDICTS | {"alternate_by": "ann"}, "relation": "alternate"}),
        ("apart from b by ann", {"verdicts": VERDICTS}, {"verdicts": VERDICTS | {"apart_text": "b by ann"}}),
        ("2 links to other images were cut, because the groups", {"n_cut": 2, "is_composite": True}, {"n_cut": 2}),
        ("1 link to another image was cut, because this one shows several", {"n_cut": 1},
         {"n_cut": 1, "is_composite": True}),
        ("nothing is removable", {}, {"in_conflict": True}),
    ],
)  # fmt: skip
def test_a_phrase_about_a_member_needs_its_evidence(phrase, without, evidence):
    assert phrase not in member(**without)
    assert phrase in member(**evidence)


@pytest.mark.parametrize(
    ("phrase", "without", "evidence"),
    [
        ("the whole picture", {"worse": {"cropped": 1}, "shows_all": False}, {"worse": {"cropped": 1}}),
        ("more of the picture", {"worse": {"cropped": 1}}, {"worse": {"cropped": 1}, "shows_all": False}),
        ("crop", {"worse": {"covered": 1, "shorter": 2}}, {"worse": {"cropped": 1}}),
        ("bar over", {"worse": {"shorter": 1}}, {"worse": {"covered": 1}}),
        ("largest", {"worse": {"smaller": 1}, "is_largest": False}, {"worse": {"smaller": 1}}),
        ("enlarged", {"worse": {"smaller": 1}}, {"worse": {"enlarged": 1}}),
        ("frame", {"worse": {"covered": 1}}, {"worse": {"framed": 1}}),
        ("(JPEG quality about 60)", {"worse": {"resaved": 1}, "jpeg_quality": None}, {"worse": {"resaved": 1}}),
        ("looks most like", {"worse": {"noisy": 1}}, {"worse": {"noisy": 1}, "is_beaten": True}),
        ("looks more like the others than", {"decided": False, "next_loss": (0, 0, 0, 3)},
         {"decided": False, "loss": (0, 0, 0, 2), "next_loss": (0, 0, 0, 3)}),
        ("less, or coarser, than 0 of", {"decided": False, "next_loss": (0, 1, 3000, 0)},
         {"decided": False, "next_loss": (1, 0, 7000, 0)}),
        ("worse than 1 of the images compared with it; the next best than 2", {"decided": False},
         {"decided": False, "loss": (0, 1, 300, 0), "next_loss": (0, 2, 600, 0)}),
        ("compares more clearly with the others", {"decided": False},
         {"decided": False, "loss": (0, 1, 300, 0), "next_loss": (0, 1, 500, 0)}),
        ("ties", {"worse": {"noisy": 1}}, {"decided": False}),
        ("same pixels as the next best, and its image_id", {"decided": False}, {"decided": False, "twin": True}),
        ("chosen by ann, of 2", {"verdicts": VERDICTS, "worse": {"noisy": 1}},
         {"verdicts": VERDICTS | {"chosen_by": "ann", "chosen_image": "m"}}),
    ],
)  # fmt: skip
def test_a_phrase_about_a_keeper_needs_its_evidence(phrase, without, evidence):
    assert phrase not in keeper(**without)
    assert phrase in keeper(**evidence)


def test_each_rule_that_makes_a_keeper_has_words():
    assert {phrase.rule for phrase in PHRASES.values()} == set(range(rules.FULLER, rules.RICHER + 1))
