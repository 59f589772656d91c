"""Words that say why an image is the keeper: what the rules of `group/keeping.py` found about it and the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dupelake.group import keeping as rules
from dupelake.group.keeper_order import DISAGREEMENT_LOSS


class Phrase(NamedTuple):
    """Words for a rule of `group/keeping.py`.

    Attributes:
        rule: code of the rule.
        other: what is true of the worse image; begins with a word of _PLURAL.
        keeper: what is true of the better image; empty if `other` says it.
    """

    rule: int
    other: str
    keeper: str = ""

    def of_others(self, n: int) -> str:
        """`other`, said of n images."""
        verb, _, rest = self.other.partition(" ")
        return self.other if n == 1 else f"{_PLURAL[verb]} {rest.replace('a crop', 'crops')}"


_PLURAL = {"is": "are", "has": "have", "shows": "show", "was": "were"}
# By the way in which an image is worse than the keeper; the first are named first.
PHRASES = {
    "cropped": Phrase(rules.FULLER, "is a crop of it", "shows {whole} picture"),
    "covered": Phrase(rules.FULLER, "has a bar over an edge", "shows {whole} picture"),
    "shorter": Phrase(rules.FULLER, "shows less of it", "shows {whole} picture"),
    "coarse": Phrase(rules.FINER, "shows more, but much coarser", "shows a part at far higher resolution"),
    "smaller": Phrase(rules.LARGER, "shows the picture smaller", "{largest} ({size})"),
    "enlarged": Phrase(rules.ENLARGED, "was enlarged to more pixels", "not enlarged ({size})"),
    "framed": Phrase(rules.UNFRAMED, "has a frame around the picture (border, bar or screen)"),
    "overlaid": Phrase(rules.CLEAN, "has text, a logo or the like over the picture"),
    "grey": Phrase(rules.COLOURED, "is grey or tinted in one colour", "in colour"),
    "soft": Phrase(rules.SOFT, "is softer"),
    "sharpened": Phrase(rules.SHARPENED, "is sharper than photographs usually are"),
    "noisy": Phrase(rules.NOISY, "has more noise"),
    "web": Phrase(rules.WEB, "is in a lossy web format (WebP, AVIF or GIF)"),
    "blocky": Phrase(rules.BLOCKY, "has stronger marks of compression"),
    "resaved": Phrase(rules.RESAVED, "was saved again from a compressed picture", "the earlier file{quality}"),
    "lower": Phrase(rules.LOWER, "was saved in lower quality"),
    "combed": Phrase(rules.COMBED, "has a less even histogram"),
    "poorer": Phrase(rules.RICHER, "has less camera data, colour profile or bit depth"),
}
_LEADS = 2  # statements about the keeper


def keeper_reason(row: Mapping[str, Any]) -> str:
    """One or two sentences that say why the keeper ranks before the others.

    Args:
        row: the keeper's facts: verdicts, image_id, vertex, group_size, width_px, height_px, format, jpeg_quality and
            captured (text or None); `worse`, for each key of PHRASES the number of images that were compared with the
            keeper and are worse in this way; shows_all (no other shows what it lacks), is_largest (no other has more
            pixels); is_beaten (another is better by a rule); rank, the keys of the keeper order; loss, a struct of
            n_fuller, n_better, doubt and disagreement of `group.keeper_order.Order`; next, the next best, with its
            vertex, rank, loss, and is_worse: it was compared with the keeper and is worse by a rule.
    """
    verdicts, following = row["verdicts"], row["next"]
    is_twin = following["vertex"] == row["vertex"]
    # If the chosen image is gone or in another group, its vertex was chosen, and the order ranks equal pixels.
    if verdicts and verdicts["chosen_by"] and (verdicts["chosen_image"] == row["image_id"] or not is_twin):
        return f"Kept: chosen by {verdicts['chosen_by']}, of {row['group_size']} images."
    worse = {name: n for name in PHRASES if (n := row["worse"][name])}
    text = "Kept"
    if worse:
        leads = list(dict.fromkeys(filter(None, (_lead(name, row) for name in worse))))[:_LEADS]
        text += f": {', '.join(leads)}; {_others(worse)}." if leads else f", because {_others(worse)}."
    is_medoid = row["is_beaten"] and row["loss"]["disagreement"] == 0
    if is_medoid or not following["is_worse"]:
        text += f"{' It' if worse else ':'} {_by_group(row, is_medoid, is_twin)}."
    return text


def _lead(name: str, row: Mapping[str, Any]) -> str:
    quality = row["jpeg_quality"]
    return PHRASES[name].keeper.format(
        whole="the whole" if row["shows_all"] else "more of the",
        largest="largest" if row["is_largest"] else "larger",
        size=f"{row['width_px']}x{row['height_px']}",
        quality=f" (JPEG quality about {quality:.0f})" if quality else "",
    )


def _others(worse: Mapping[str, int]) -> str:
    said: list[str] = []
    for name, n in worse.items():
        noun = "" if said else " other" if n == 1 else " others"
        said.append(f"{n}{noun} {PHRASES[name].of_others(n)}")
    return ", ".join(said)


def _by_group(row: Mapping[str, Any], is_medoid: bool, is_twin: bool) -> str:
    """By what part of the loss (`group/keeper_order.py`) the keeper ranks before the next best, else by the order."""
    own, other = row["loss"], row["next"]["loss"]
    is_most = own["disagreement"] == 0
    like = "looks most like the others" if is_most else "looks more like the others than the next best does"
    if is_medoid:
        return like
    likeness = DISAGREEMENT_LOSS * (other["disagreement"] - own["disagreement"])
    sureness = other["doubt"] - own["doubt"]
    if likeness + sureness <= 0 or is_twin:
        tie = "has the same pixels as the next best" if is_twin else "ties with the next best"
        return f"{tie}, and {_first_difference(row)}"
    if likeness >= sureness:
        return like
    for name, text in (("n_fuller", "shows less, or coarser, than"), ("n_better", "is worse than")):
        if own[name] < other[name]:
            return f"{text} {own[name]} of the images compared with it; the next best than {other[name]}"
    return "compares more clearly with the others than the next best does"


def _first_difference(row: Mapping[str, Any]) -> str:
    """The first criterion of the keeper order that differs from the next best."""
    own, other = row["rank"], row["next"]["rank"]
    texts = {
        "richness": "has more camera data, colour profile or bit depth",
        "pixels": f"has more pixels with detail ({row['width_px']}x{row['height_px']})",
        "compression": f"has more bytes per pixel ({-8 * own.get('compression', 0):.2f} bits)",
        "format": f"its format ({row['format'] or 'unknown'}) is preferred",
        "captured_at": f"was captured first ({row['captured']})",
        "image_id": "its image_id is the first in order",
    }
    return texts[next(name for name in own if own[name] != other[name])]
