"""Words that say what an image of a group is: how it differs from its keeper, or from another member.

Each phrase names evidence of the pair and is said only where that evidence holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dupelake.group import keeping as rules
from dupelake.group.bridges import FINER, WHOLE
from dupelake.group.keeper_reasons import PHRASES, keeper_reason
from dupelake.verify.decision import CROP_OVERLAP, TURN_DEGREES

Facts = Mapping[str, Any]

OTHER_COLOUR = 0.03  # colour_difference above what encoding causes
_SAME_SCALE = 0.02  # ratio of resolutions that counts as none
_ALL = 0.995  # share of a picture that rounds to all of it
_SAME_SHAPE = 0.02  # ratio of width to height, relative to the other's, that rounding explains
_SCALES = {0.25: "a quarter of", 1 / 3: "a third of", 0.5: "half", 2.0: "twice", 3.0: "three times", 4.0: "four times"}
# What the keeper lacks is said of the member, unless other words say so already (size, part, frame, what is over it).
_DAMAGE = {phrase.rule: phrase.other for phrase in PHRASES.values() if phrase.rule >= rules.COLOURED}


def reason_of(row: Facts) -> str:
    """All that is said of one image of a group: why it is the keeper or how it differs, cut links, and verdicts.

    Args:
        row: is_keeper, n_cut (links that were cut), is_composite, in_conflict (verdicts contradict each other),
            verdicts (None, or a struct of `group.stage`), and what `keeper_reason` or `member_reason` reads.
    """
    said = [keeper_reason(row) if row["is_keeper"] else member_reason(row)]
    if n := row["n_cut"]:
        links = "1 link to another image was" if n == 1 else f"{n} links to other images were"
        because = "this one shows several pictures" if row["is_composite"] else "the groups have nothing else in common"
        said.append(f"{links} cut, because {because}.")
    if row["verdicts"] and row["verdicts"]["apart_text"]:
        said.append(f"Kept apart from {row['verdicts']['apart_text']}.")
    if row["in_conflict"]:
        said.append("Verdicts contradict each other here (table decision_conflicts), so nothing is removable.")
    return " ".join(said)


def member_reason(row: Facts) -> str:
    """A sentence that says what a member is relative to the image it was compared with, and who confirmed it.

    Args:
        row: relation, kind, is_keepers_file, is_indirect (compared with `other`, which is a copy of the keeper), in_set
            (people confirmed it), verdicts, is_finer (see `group.tiers_stage`), format, is_web_lossy, and what `other`
            has too: image_id, width_px, height_px and jpeg_quality. `link` is the pair from the member's side, None if
            there is no pair: favours (1: the member is the better keeper, -1: the other is) and rule of
            `group.keeping`; overlap, frame and added (see `group.keeping.Side`), covers (its frame is a bar over an
            edge), and the same of the other as other_*; scale and rotation relative to the other; is_upright, neither
            mirrored nor rotated; aligned, whether the pair was aligned; phash_bits, pdq_bits; colour, as
            colour_difference of schema.PAIRS; box, of the largest difference, and box_is_own.
    """
    verdicts = row["verdicts"] or {}
    said = [f"{row['relation'].capitalize()}: {difference_in_words(row)}."]
    if row["is_indirect"] and row["kind"] not in ("exact", "pixel"):
        said.append(f"Kept, because it passes as a copy of {_name(row)} only, not of the keeper.")
    if row["in_set"]:
        said.append(f"Confirmed by {verdicts.get('confirmed_by') or 'people'}.")
    if row["relation"] == "alternate" and verdicts.get("alternate_by"):
        said.append(f"Called an alternate by {verdicts['alternate_by']}.")
    return " ".join(said)


def _name(row: Facts) -> str:
    if "name" in row:
        return str(row["name"])
    return f"image {row['other']['image_id']}" if row["is_indirect"] else "the keeper"


def difference_in_words(row: Facts) -> str:
    """What a picture is relative to another that it was compared with, as part of a sentence.

    Args:
        row: what `member_reason` reads of a member without verdicts; and name, what to call the other picture.
    """
    link, kind = row["link"], row["kind"]
    if row["is_keepers_file"]:
        return f"the same file as the keeper, image {row['other']['image_id']}, under another name"
    if kind == "exact":
        return "same bytes as the keeper"
    if kind == "pixel":
        return "same pixels as the keeper, in a file with other bytes"
    if link is None:
        brought = "same picture by a verdict" if row["in_set"] else "brought in by a verdict"
        return f"{brought}, not compared with the keeper; {_sizes(row)}"
    if not link["aligned"]:
        alike = "same picture, mirrored," if kind == "mirrored" else "same picture"
        bits = f" (PDQ differs in {link['pdq_bits']} of 256 bits, pHash in {link['phash_bits']} of 64)"
        known = "" if None in (link["pdq_bits"], link["phash_bits"]) else bits
        return f"{alike} by its hashes{known}, too plain to compare in detail; {_sizes(row)}"
    encoding = _encoding(row)
    content = [*_what(row), *_parts(row)]
    is_plain = content[1:] == [] and kind not in ("edited", "recoloured")
    text = f"{', '.join(content)}{' ' if is_plain else ', '}{_size(row)}{encoding and f', {encoding}'}"
    is_said = encoding and link["rule"] in (rules.WEB, rules.LOWER)
    if link["favours"] < 0 and link["rule"] in _DAMAGE and not is_said:
        text += f"; it {_DAMAGE[link['rule']]}"
    return text + _finer(row)


def _what(row: Facts) -> list[str]:
    link, kind = row["link"], row["kind"]
    if kind == "crop":
        return [_crop(link, _name(row))]
    if kind == "rotated":
        turn = link["rotation"]
        return ["rotated" if turn is None else f"rotated by {turn:.0f} degrees"]
    if kind in ("edited", "recoloured"):
        return _changes(row)
    return ["same picture" if kind == "near" else "mirror image"]


def _crop(link: Facts, name: str) -> str:
    """How much each of two shows of the other; a frame is no part of the picture."""
    if is_whole_in_frame(link) or (link["overlap"] >= WHOLE and link["other_overlap"] >= _ALL):
        return "same picture"
    if is_whole_in_frame(link, other=True):
        return f"same picture without the frame around {name} (border, bar or screen)"
    if link["overlap"] >= WHOLE:
        return f"crop that shows {_percent(link['other_overlap'])} of {name}"
    if link["other_overlap"] >= WHOLE:
        return f"shows more than {name}"
    return f"shows {_percent(link['other_overlap'])} of {name}"


def is_whole_in_frame(link: Facts, *, other: bool = False) -> bool:
    """Whether one of two shows the whole other picture, and nothing else but a frame (border, bar, screen).

    Args:
        link: as of `member_reason`.
        other: ask this of the other picture.
    """
    own, than = ("other_", "") if other else ("", "other_")
    is_framed = link[f"{own}frame"] - link[f"{than}frame"] >= rules.FRAMED
    return bool(is_framed and link[f"{than}overlap"] >= WHOLE and link[f"{own}overlap"] + link[f"{own}frame"] >= WHOLE)


def _changes(row: Facts) -> list[str]:
    """What was changed in one of the two.

    A bar, text or a logo changes the measured colours as well, and what a bar hides is measured as if it lay over the
    other picture: where one of these is named, the rest is not. Which of two has an overlay is not said where the
    evidence names both, or the one that is better all the same.
    """
    link, name = row["link"], _name(row)
    said, where, share = _turned(link), *_place(link, name)
    named = []
    if link["covers"]:
        named.append(f"a bar over an edge hides {_about(link['frame'])} of the picture")
    if link["other_covers"]:
        named.append(f"shows what a bar over an edge of {name} hides ({_about(link['other_frame'])})")
    if not named and max(link["added"], link["other_added"]) >= rules.ADDED:
        if link["other_added"] < rules.ADDED:
            named.append(f"something is laid over it (text, a logo or the like){where}{share}")
        elif link["added"] < rules.ADDED and link["favours"] >= 0:
            named.append(f"lacks what is laid over {name} (text, a logo or the like){where}{share}")
        else:
            named.append(f"text, a logo or the like differs{where}{share}")
    if not named and (link["colour"] or 0) >= OTHER_COLOUR:
        named.append("other colours, brightness or contrast" + (f", most{where}" if row["kind"] == "edited" else ""))
    return [*said, *(named or ["edited" + (f", most{where}{share}" if where else "")])]


def _turned(link: Facts) -> list[str]:
    """Says that an edited copy is rotated or mirrored."""
    turn = link["rotation"] or 0
    if turn > TURN_DEGREES:
        return [f"rotated by {turn:.0f} degrees"]
    return [] if link["is_upright"] else ["mirrored"]


def _place(link: Facts, name: str) -> tuple[str, str]:
    """Where the two differ most, and in how much of the picture; empty if not measured or if it is everywhere."""
    box = link["box"]
    if not box or not 0 < box["width"] * box["height"] < 0.5:
        return "", ""
    is_whole = min(link["overlap"], link["other_overlap"]) >= WHOLE and link["is_upright"]
    is_one_place = link["box_is_own"] or (is_whole and max(link["frame"], link["other_frame"]) < rules.FRAMED)
    of_other = "" if is_one_place else f" of {name}"
    return f" at the {place_of(box)}{of_other}", f" ({_about(box['width'] * box['height'])} of the area)"


def place_of(box: Facts) -> str:
    """Where in a picture a box lies, as `top left`; x, y, width and height are fractions of the picture."""
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    row = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""
    column = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    return " ".join(filter(None, (row, column))) or "centre"


def _parts(row: Facts) -> list[str]:
    """How much each shows of the other, and frames, where `_what` did not say so."""
    link, name, said = row["link"], _name(row), []
    if row["kind"] != "crop" and link["other_overlap"] < CROP_OVERLAP and not link["covers"]:
        said.append(f"shows {_percent(link['other_overlap'])} of {name}")
    if link["frame"] - link["other_frame"] >= rules.FRAMED and not link["covers"]:
        said.append(f"a frame around the picture (border, bar or screen) takes up {_percent(link['frame'])}")
    elif link["overlap"] < WHOLE and not link["other_covers"]:
        said.append(f"{_percent(1 - link['overlap'])} of it is not in {name}")
    return said


def _size(row: Facts) -> str:
    """How large the member is relative to the other; by resolution where the two differ in content."""
    link, other, scale = row["link"], row["other"], row["link"]["scale"]
    own, sizes = (row["width_px"], row["height_px"]), (other["width_px"], other["height_px"])
    if own in (sizes, sizes[::-1]) and abs(scale - 1) <= _SAME_SCALE:
        return "at the same size"
    is_whole = min(link["overlap"], link["other_overlap"]) >= CROP_OVERLAP
    if is_whole and max(link["frame"], link["other_frame"]) < rules.FRAMED:
        shape = own[0] * sizes[1] / (own[1] * sizes[0])
        if link["favours"] < 0 and link["rule"] == rules.ENLARGED:
            how = "enlarged"
        elif row["kind"] != "rotated" and abs(shape - 1) > _SAME_SHAPE:
            how = "stretched"
        else:
            how = f"at {_times(scale)} the size"
        return f"{how} ({_sizes(row)})"
    how = "the same" if abs(scale - 1) <= _SAME_SCALE else f"{_times(scale)} the"
    return f"at {how} resolution ({own[0]}x{own[1]})"


def _times(scale: float) -> str:
    for value, word in _SCALES.items():
        if abs(scale / value - 1) <= _SAME_SCALE:
            return word
    return f"{100 * scale:.0f} % of"


def _sizes(row: Facts) -> str:
    other = row["other"]
    return f"{row['width_px']}x{row['height_px']} against {other['width_px']}x{other['height_px']}"


def _encoding(row: Facts) -> str:
    quality, other = row["jpeg_quality"], row["other"]["jpeg_quality"]
    if quality:
        against = "" if not other or other == quality else f" against {other:.0f}"
        return f"JPEG quality about {quality:.0f}{against}"
    return f"lossy {row['format']}" if row["is_web_lossy"] else ""


def _finer(row: Facts) -> str:
    """Detail that the other lacks; without more pixels, it may be noise."""
    if not row["is_finer"]:
        return ""
    if row["link"]["scale"] > FINER:
        return f"; it is finer than {_name(row)}"
    return f"; more detail is measured in it than in {_name(row)}, which may be noise"


def _percent(share: float) -> str:
    n = round(100 * share)
    return "under 1 %" if n < 1 else "over 99 %" if n == 100 and share < 1 else f"{n} %"


def _about(share: float) -> str:
    return f"about {_percent(share)}".replace("about under", "under")
