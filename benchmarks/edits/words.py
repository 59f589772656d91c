"""Whether the reasons of members are true: each statement, of copies whose keeper is their original, by their edit."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.edits.registry import EDITS

_INDIRECT = " only, not of the keeper."  # of a member that was compared with another copy


def _of(*families: str, also: str = "") -> frozenset[str]:
    return frozenset(name for name, edit in EDITS.items() if edit.family in families) | set(also.split())


_CUTS = _of("crop", also="rotate_cropped crop_jpeg_resize mirror_crop grey_crop")
_FRAMES = _of("frame", also="rotate_filled caption_bar caption_resize_jpeg repost")
_LAID_OVER = _of("overlay") - {"caption_bar"}
STATEMENTS: dict[str, tuple[str, frozenset[str]]] = {
    "crop that shows": ("is a crop", _CUTS),
    "shows more than": ("shows more", frozenset()),
    "of it is not in": ("shows more", frozenset()),
    "a frame around the picture": ("has a frame", _FRAMES),
    "something is laid over it": ("has an overlay", _LAID_OVER),
    "lacks what is laid over": ("the keeper has an overlay", frozenset()),
    "text, a logo or the like differs": ("an overlay differs", _LAID_OVER),
    "a bar over an edge hides": ("has a bar over an edge", _of(also="caption_over")),
    "shows what a bar over an edge": ("the keeper has a bar over an edge", frozenset()),
    "other colours, brightness or contrast": ("other colours or light", _of("colour", also="grey_crop")),
    "mirrored|mirror image": ("is mirrored", _of(also="mirror flip mirror_crop")),
    "rotated by": ("is rotated", _of(also="flip quarter_turn rotate_filled rotate_cropped")),
    "enlarged": ("is enlarged", _of(also="resize")),
    "stretched": ("is stretched", _of(also="squash")),
    "it is grey": ("is grey", _of(also="grey sepia grey_crop")),
    "it is softer": ("is softer", _of(also="blur resize")),
    "it has more noise": ("is noisier", _of(also="noise salt_pepper")),
    "a less even histogram": ("has a less even histogram", _of("colour", also="grey_crop")),
}
"""Pattern in a reason to what it says and the edits of which that is true."""


@dataclass
class Words:
    """How often one statement is made.

    Attributes:
        n: members.
        wrong: of them, those of which it is false, by edit.
    """

    n: int = 0
    wrong: Counter[str] = field(default_factory=Counter)


def tally(members: Iterable[tuple[str, str]]) -> dict[str, Words]:
    """Statements by what they say.

    Args:
        members: (edit, reason) of copies whose keeper is their original.
    """
    out: defaultdict[str, Words] = defaultdict(Words)
    for edit, reason in members:
        if reason.endswith(_INDIRECT):
            continue
        said = {what: edit in true_of for text, (what, true_of) in STATEMENTS.items() if re.search(text, reason)}
        for what, is_true in said.items():
            out[what].n += 1
            out[what].wrong[edit] += not is_true
    return dict(out)


HEADER = ("statement", "images", "false", "of what edits")


def lines(found: dict[str, Words]) -> list[tuple[object, ...]]:
    """Rows of a table under HEADER, and their sum."""
    out: list[tuple[object, ...]] = []
    for what in dict.fromkeys(what for what, _ in STATEMENTS.values()):
        if one := found.get(what):
            by_edit = ", ".join(f"{edit} {n}" for edit, n in one.wrong.most_common() if n)
            out.append((what, one.n, one.wrong.total(), by_edit or "-"))
    n, wrong = (sum(int(str(line[column])) for line in out) for column in (1, 2))
    return [*out, ("all", n, wrong, "")]
