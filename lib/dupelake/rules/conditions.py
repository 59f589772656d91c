"""A rule as SQL: conditions on an image, on a pair of contents, and on two images."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dupelake.pair_rules import Both, Side
from dupelake.warehouse.reader import quoted, quoted_list

_SAME = {"same_format": "format", "same_captured_at": "captured_at", "same_scope": "own_scope"}
_SAME |= {"same_partition": "partition"}
_RATIOS = {"pixel_ratio": "pixels", "byte_ratio": "byte_size"}


def of_image(side: Side, row: str = "") -> str:
    """The condition on a row of the table `shown`; `row` is its name and a dot."""
    found = []
    if side.path:
        found.append(_any_fits(f"{row}uri", side.path))
    if side.not_path:
        found.append(f"NOT {_any_fits(f'{row}uri', side.not_path)}")
    if side.format:
        found.append(f"upper({row}format) IN {quoted_list(one.upper() for one in side.format)}")
    if side.partition:
        found.append(f"{row}partition IN {quoted_list(side.partition)}")
    if side.has_exif is not None:
        found.append(f"{row}has_exif = {_flag(side.has_exif)}")
    found += _bounds(f"{row}jpeg_quality", side.min_jpeg_quality, side.max_jpeg_quality)
    return _all(found)


def of_contents(pair: Both) -> str:
    """The condition on a row of `edges` or `equals`, with the columns kind, is_duplicate and score."""
    found = []
    if pair.kind:
        found.append(f"coalesce(kind, 'none') IN {quoted_list(pair.kind)}")
    if pair.accepted is not None:
        found.append(f"is_duplicate = {_flag(pair.accepted)}")
    return _all(found + _bounds("score", pair.min_score, pair.max_score))


def of_two(pair: Both) -> str:
    """The condition on two rows a and b of `shown`, and on their tier."""
    found = [
        f"(a.{column} = b.{column}) = {_flag(is_same)}"
        for name, column in _SAME.items()
        if (is_same := getattr(pair, name)) is not None
    ]
    for name, column in _RATIOS.items():
        ratio = f"CAST(a.{column} AS DOUBLE) / b.{column}"
        found += _bounds(ratio, getattr(pair, f"min_{name}"), getattr(pair, f"max_{name}"))
    if pair.tier:
        found.append(f"{TIER} IN {quoted_list(pair.tier)}")
    return _all(found)


def told_apart(pair: Both) -> list[str]:
    """Columns of `shown` that conditions on two images compare, so that one image of a content is not enough."""
    return [column for name, column in _SAME.items() if getattr(pair, name) is not None]


# Of two rows of `shown` in one group, of which one shows what the keeper shows: the tier of the other.
TIER = """CASE WHEN a.grp = b.grp THEN
    CASE WHEN a.place = b.keeper_place THEN b.tier WHEN b.place = a.keeper_place THEN a.tier END END"""


def pattern_of(glob: str) -> str:
    """The regular expression of a pattern of paths, anchored, for engines without looking around."""
    parts = re.split(r"(\*+|\?)", glob)
    letters = {"*": ".*", "?": "."}
    body = "".join(letters[part[0]] if part[:1] in letters else re.escape(part) for part in parts if part)
    return f"(?s)^{'' if '/' in glob else '(.*/)?'}{body}$"


def _any_fits(column: str, globs: Iterable[str]) -> str:
    return "(" + " OR ".join(f"regexp_like({column}, {quoted(pattern_of(glob))})" for glob in globs) + ")"


def _bounds(value: str, low: float | None, high: float | None) -> list[str]:
    return [f"{value} {sign} {at!r}" for sign, at in ((">=", low), ("<=", high)) if at is not None]


def _flag(value: bool) -> str:
    return str(value).lower()


def _all(conditions: Iterable[str]) -> str:
    return " AND ".join(conditions) or "true"
