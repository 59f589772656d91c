"""How far a score is a probability: share of true pairs by score, expected calibration error, and a diagram.

Bins are of equal width over [0, 1] (Niculescu-Mizil and Caruana 2005); the error is the mean over pairs of the distance
between a bin's mean score and its share of true pairs (Naeini et al. 2015).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from dupelake.evaluate.scores import wilson_interval
from dupelake.recall.edits import font

N_BINS = 10


@dataclass
class Bin:
    """Pairs whose score lies in one tenth of [0, 1]."""

    n: int = 0
    n_true: int = 0
    total: float = 0.0

    @property
    def score(self) -> float:
        """Mean score."""
        return self.total / self.n

    @property
    def share(self) -> float:
        """Share of true pairs."""
        return self.n_true / self.n


def binned(scored: Iterable[tuple[float, bool]]) -> list[Bin]:
    """Ten bins of (score, is true); 1 falls into the last."""
    bins = [Bin() for _ in range(N_BINS)]
    for value, is_true in scored:
        one = bins[min(int(value * N_BINS), N_BINS - 1)]
        one.n, one.n_true, one.total = one.n + 1, one.n_true + is_true, one.total + value
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error, 0 to 1; 0 of no pairs."""
    n = sum(one.n for one in bins)
    return sum(one.n * abs(one.score - one.share) for one in bins if one.n) / n if n else 0.0


def lines(bins: Sequence[Bin]) -> list[tuple[str, ...]]:
    """Rows of a table: score, pairs, mean score, share of true pairs with its interval."""
    out: list[tuple[str, ...]] = []
    for i, one in enumerate(bins):
        span = f"{i / N_BINS:.1f} to {(i + 1) / N_BINS:.1f}"
        if one.n:
            low, high = wilson_interval(one.n_true, one.n)
            out.append((span, str(one.n), f"{one.score:.3f}", f"{one.share:.3f} ({low:.3f} to {high:.3f})"))
    return out


def draw(curves: Sequence[tuple[str, Sequence[Bin]]], path: Path) -> None:
    """Writes a PNG of some 15 KB: share of true pairs over score, one colour a curve; bars are 95 % intervals."""
    side, left, top = 360, 60, 40
    image = Image.new("RGB", (left + side + 24, top + side + 56), (255, 255, 255))
    pen = ImageDraw.Draw(image)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x * side, top + (1 - y) * side

    pen.rectangle((*at(0, 1), *at(1, 0)), outline=(120, 120, 120))
    pen.line((at(0, 0), at(1, 1)), fill=(190, 190, 190), width=2)
    pen.line((at(0.5, 0), at(0.5, 1)), fill=(225, 225, 225))
    for tick in (0, 0.25, 0.5, 0.75, 1):
        pen.text((at(tick, 0)[0], top + side + 6), f"{tick:g}", 0, font(11), anchor="mt")
        pen.text((left - 6, at(0, tick)[1]), f"{tick:g}", 0, font(11), anchor="rm")
    pen.text((left, 8), "Share of true pairs, by the score of a pair", 0, font(14))
    pen.text((left + side / 2, top + side + 24), "score; bars: 95 % intervals", 0, font(11), anchor="mt")
    for place, (name, bins) in enumerate(curves):
        colour = COLOURS[place % len(COLOURS)]
        points = [at(one.score, one.share) for one in bins if one.n]
        if len(points) > 1:
            pen.line(points, fill=colour, width=2)
        for one in bins:
            if one.n:
                x, y = at(one.score, one.share)
                low, high = wilson_interval(one.n_true, one.n)
                pen.line((at(one.score, low), at(one.score, high)), fill=colour)
                pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
        pen.text((left + 8, top + 8 + 16 * place), f"{name}: error {calibration_error(bins):.3f}", colour, font(12))
    image.quantize(32).save(path, optimize=True)


COLOURS = ((42, 120, 142), (180, 60, 40), (110, 160, 50), (120, 70, 150))
