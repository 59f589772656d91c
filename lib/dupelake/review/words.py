"""What the measures of a pair say, in plain words: the first thing that a reviewer reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dupelake.group.bridges import WHOLE
from dupelake.group.keeping import ADDED
from dupelake.group.reasons import OTHER_COLOUR, difference_in_words, is_whole_in_frame, place_of
from dupelake.verify.decide_stage import COVERED, SIMILAR
from dupelake.verify.decision import TURN_DEGREES

Row = Mapping[str, Any]

LEFT = "the left picture"
_LOCAL = 0.5  # share of the picture from which a difference is everywhere
_SAME_AREA = 0.02
_ALIKE = {
    True: "Alike, but probably not the same picture",
    False: "Alike by their hashes only: they could not be laid on each other",
}
_SHOT = "Probably another shot or version of one thing, not a copy"
_UNMEASURED = "These two were never compared"


def headline(left: Row, right: Row | None, evidence: Row | None, *, left_is_src: bool) -> tuple[str, str]:
    """What the right picture is relative to the left one: in a few words, and in full (empty if there is no more).

    Args:
        left: content_id, class_id, width_px, height_px, jpeg_quality, is_web_lossy, format.
        right: the same of the other picture; None if there is none.
        evidence: columns of PAIRS; None if the pair was never measured.
        left_is_src: whether the left picture is the source of the evidence.
    """
    if right is None:
        return "A verdict about one picture", ""
    if left["class_id"] == right["class_id"]:
        same = left["content_id"] == right["content_id"]
        return "The same file: equal bytes" if same else "Same pixels, in files with other bytes", ""
    if evidence is None:
        return _UNMEASURED, ""
    if not evidence["is_duplicate"]:
        return _SHOT if evidence["kind"] == SIMILAR else _ALIKE[evidence["aligned_ncc"] is not None], ""
    facts = _facts(left, right, evidence, left_is_src=left_is_src)
    said = difference_in_words(facts)
    return _in_short(facts), f"The right picture, compared with the left one: {said}."


def _in_short(facts: Row) -> str:
    link, kind = facts["link"], facts["kind"]
    if kind == "crop":
        return _in_short_of_crop(link)
    if kind == "mirrored":
        return "Mirror image of the left picture"
    if kind == "rotated":
        turn = link["rotation"]
        return "Same picture, rotated" + ("" if turn is None else f" by {turn:.0f}°")
    if kind in ("edited", "recoloured"):
        first = "Same picture, mirrored" if facts["is_mirrored"] else "Same picture"
        return ", ".join((first, *(_changes(link) or ["edited"])))
    return f"Same picture, {_size(facts)}"


def _in_short_of_crop(link: Row) -> str:
    if is_whole_in_frame(link):
        return "Same picture, with a frame, a bar or a screen around it"
    if is_whole_in_frame(link, other=True):
        return "Same picture, without the frame, bar or screen around the left one"
    if link["overlap"] >= WHOLE:
        return "A crop of the left picture"
    return "Shows more than the left picture" if link["other_overlap"] >= WHOLE else "Two parts of one picture"


def _changes(link: Row) -> list[str]:
    """What was added to one of the two, and whether their colours differ."""
    box = link["box"]
    place = f" at the {place_of(box)}" if box and 0 < box["width"] * box["height"] < _LOCAL else ""
    edge = place if place.count(" ") < 4 else place.rpartition(" ")[0]  # a bar runs along the whole edge
    said = []
    if min(link["added"], link["other_added"]) >= ADDED and not link["covers"] and not link["other_covers"]:
        return [f"text, a logo or the like differs{place}"]
    for here, there, where in (("", "other_", ""), ("other_", "", " to the left one")):
        if link[f"{here}covers"]:
            said.append(f"caption or bar added{where}{edge}")
        elif link[f"{here}added"] >= ADDED and not link[f"{there}covers"]:
            said.append(f"text or logo added{where}{place}")
    if not said and (link["colour"] or 0) >= OTHER_COLOUR:
        said.append("other colours or light")
    return said


def _size(facts: Row) -> str:
    own, other = (one["width_px"] * one["height_px"] for one in (facts, facts["other"]))
    if abs(own / max(1, other) - 1) <= _SAME_AREA:
        return "same size"
    return "smaller" if own < other else "larger"


def how_sure(evidence: Row | None) -> str:
    """How sure the program is; empty if it has not measured the pair."""
    if evidence is None:
        return ""
    share = 100 * evidence["score"]
    shown = "over 99" if 99.5 <= share < 100 else "under 1" if 0 < share < 0.5 else f"{share:.0f}"
    return f"{shown} % sure that it is one picture"


def _facts(left: Row, right: Row, evidence: Row, *, left_is_src: bool) -> dict[str, Any]:
    """The facts that `difference_in_words` reads, with the right picture as the member."""
    own, other = ("dst", "src") if left_is_src else ("src", "dst")
    is_mirrored = bool(evidence["is_mirrored"])
    overlap, other_overlap = (_or(evidence[f"{end}_overlap"], 1.0) for end in (own, other))
    frame, other_frame = (_or(evidence[f"{end}_frame"], 0.0) for end in (own, other))
    beyond, other_beyond = (_or(evidence[f"{end}_beyond"], 0.0) for end in (own, other))
    area = (right["width_px"] * right["height_px"]) / max(1, left["width_px"] * left["height_px"])
    scale = _or(evidence["scale"], area**0.5) if left_is_src else 1 / max(1e-9, _or(evidence["scale"], area**-0.5))
    link = {
        "favours": 0,
        "rule": 0,
        "overlap": overlap,
        "other_overlap": other_overlap,
        "frame": frame,
        "other_frame": other_frame,
        "added": _or(evidence[f"{own}_added"], 0.0),
        "other_added": _or(evidence[f"{other}_added"], 0.0),
        # as verify.decide_stage.covers_edge, on values
        "covers": frame >= COVERED and abs(frame - other_beyond) <= COVERED,
        "other_covers": other_frame >= COVERED and abs(other_frame - beyond) <= COVERED,
        "scale": scale,
        "rotation": None if evidence["rotation_degrees"] is None else abs(evidence["rotation_degrees"]),
        "is_upright": not is_mirrored and abs(evidence["rotation_degrees"] or 0.0) <= TURN_DEGREES,
        "aligned": evidence["aligned_ncc"] is not None,
        "pdq_bits": evidence["pdq_mirrored_bits" if is_mirrored else "pdq_bits"],
        "phash_bits": evidence["phash_mirrored_bits" if is_mirrored else "phash_bits"],
        "colour": evidence["colour_difference"],
        "box": evidence["difference_box"],
        "box_is_own": not left_is_src,
    }
    sizes = ("width_px", "height_px", "jpeg_quality")
    return {
        "name": LEFT,
        "is_mirrored": is_mirrored,
        "link": link,
        "kind": evidence["kind"],
        "is_keepers_file": False,
        "is_indirect": True,
        "in_set": False,
        "is_finer": False,
        "other": {name: left[name] for name in sizes},
        **{name: right[name] for name in (*sizes, "format", "is_web_lossy")},
    }


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)
