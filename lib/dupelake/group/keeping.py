"""Which of two copies of one picture careful people keep, and why.

The one that shows more is kept, whatever else is true of the two; unless it shows that at a fraction of the other's
resolution. Else the larger one, unless it was enlarged. Else a linear model weighs what speaks for either: a frame or
something laid over the picture, colours, blur, noise, compression, gaps in the histogram, camera data. Its weights are
a file (`assets/keeper.json`), which `benchmarks/keeper.py` fits on originals with edited copies of them. The reason is
the term that speaks most for the one that is kept. Where the two are as good as equal, they are level.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dupelake.group.bridges import FINER as FINER_SCALE
from dupelake.group.bridges import WHOLE
from dupelake.group.stars import standing
from dupelake.shipped import shipped_asset

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]

(LEVEL, FULLER, FINER, LARGER, ENLARGED, BARE, CLEAN, COLOURED, SOFT, SHARPENED, NOISY, COMPRESSED, RESAVED) = range(13)
COMBED, RICHER = 13, 14

MORE = 0.015  # what the fuller picture must show beside the shared part,
MORE_FRAMED = 0.05  # where either has a frame, whose edge may pass for picture
# By so much more of itself must a picture be frame than the other; one line of the grid it is seen on is .021.
FRAMED = 0.03
_AROUND = 0.6  # of what continues the picture, beyond which a frame is no edge of it: filled corners pass for both
COARSE = 0.6  # linear resolution of the shared part below which the fuller picture is no substitute
_LEVEL = 0.15  # of the logit: a probability of .54
_LARGER = 1.002
_ENLARGED = 0.9  # of the other's measured resolution; an enlarged copy measures .89 of it and less
_SHARP, _LOWEST_DETAIL = 0.83, 0.18  # of what an enlarged copy was made from; what kernels.detail cannot tell from less
_ADDED = 0.004  # of the overlap
_COLOURLESS, _COLOURS = 0.6, 3.5  # levels of colourfulness
_SOFTER, _LESS_DETAIL = 0.88, 0.9  # of the other's sharpness and detail
_NOISE, _NOISE_LOST, _NOISE_TIMES = 1.0, 2.0, 1.5  # levels, and times the other's
_TEXTURE = 3.0  # levels of noise from which on it is grass or gravel
_GRAINY, _GRAINY_TIMES = 0.4, 1.35  # noise that passes for detail
_WAS_JPEG = 0.03  # of jpeg_trace
_QUALITY, _BLOCKS, _BLOCKIER = 3.0, 0.8, 0.12
_SCALED = 12.0  # qualities by which a change of light shifts what is found
_LOSSLESS = 101.0
_USUAL_SHARPNESS = 1.75  # the median of photographs
_MORE_LOSS, _BETTER_LOSS = 10, 2


@dataclass(frozen=True)
class Side:
    """One end of each edge; float64 (E,) each, NaN where not measured.

    Attributes:
        overlap: share of it that the other shows, 0 to 1.
        beyond: share that the other lacks and that continues the same picture.
        frame: share that was put around the picture.
        added: share of the overlap over which something was laid that the other lacks.
        area: pixels.
        detail: 0 to 1, share of its linear resolution that carries detail.
        jpeg_quality: 1 to 100; NaN for what is no JPEG.
        is_web_lossy: 1 where the file is no JPEG and loses what its pixels were (WebP, AVIF), else 0.
        jpeg_trace: and the others as kernels.condition.Condition has them.
        richness: how much of what cameras write the file still has; compared only.
    """

    overlap: Floats
    beyond: Floats
    frame: Floats
    added: Floats
    area: Floats
    detail: Floats
    jpeg_quality: Floats
    is_web_lossy: Floats
    jpeg_trace: Floats
    earlier_quality: Floats
    blockiness: Floats
    noise: Floats
    sharpness: Floats
    comb: Floats
    colourfulness: Floats
    richness: Floats


_NAMES = tuple(field.name for field in fields(Side))
OF_PAIR, OWN = _NAMES[:4], _NAMES[4:]
"""Fields of `Side` that the pair gives, and those of the picture itself."""


def better_side(src: Side, dst: Side, scale: Floats) -> tuple[Codes, Codes]:
    """Which end of an edge is the better keeper: 1 the source, -1 the destination, 0 neither; and by which rule.

    Args:
        src: the sources.
        dst: the destinations.
        scale: full-size pixels of the destination for one of the source.

    Returns:
        int8 (E,) twice: the better end, and the code of the rule (FULLER, ...; LEVEL where none decides).
    """
    better, by = by_content_and_size(src, dst, scale)
    weights = np.array([keeper_weights()[term.name] for term in TERMS])
    speaks = terms_of(src, dst, scale) * weights
    logit = speaks.sum(axis=1)
    sign = np.where(np.abs(logit) < _LEVEL, 0, np.sign(logit)).astype(np.int8)
    most = (speaks * sign[:, None]).argmax(axis=1)
    codes = np.array([term.code for term in TERMS], np.int8)[most]
    kept_sharper = np.where(sign > 0, src.sharpness > dst.sharpness, dst.sharpness > src.sharpness)
    codes = np.where((codes == SHARPENED) & kept_sharper, SOFT, codes)
    is_open = better == 0
    return np.where(is_open, sign, better), np.where(is_open, np.where(sign == 0, LEVEL, codes), by).astype(np.int8)


def by_content_and_size(src: Side, dst: Side, scale: Floats) -> tuple[Codes, Codes]:
    """What is decided before the model is asked: the better end as `better_side` has it, and by which rule."""
    n = len(scale)
    better, by = np.zeros(n, np.int8), np.zeros(n, np.int8)
    for sign, own, other, rate in ((1, src, dst, scale), (-1, dst, src, 1 / scale)):
        more = _shows_more(own, other) & ~_shows_more(other, own) & (other.overlap >= WHOLE)
        is_coarse = _resolution(own, other, rate) * COARSE > 1
        better[more] = np.where(is_coarse[more], -sign, sign)
        by[more] = np.where(is_coarse[more], FINER, FULLER)
    with np.errstate(invalid="ignore", divide="ignore"):
        for code, rule in ((LARGER, _is_larger), (ENLARGED, _is_real)):
            for_src, for_dst = rule(src, dst, scale), rule(dst, src, 1 / scale)
            is_new = (better == 0) & (for_src != for_dst)
            better[is_new], by[is_new] = np.where(for_src, 1, -1)[is_new], code
    return better, by


def terms_of(src: Side, dst: Side, scale: Floats) -> Floats:
    """float64 (E, len(TERMS)): what speaks for the source; what speaks for the destination is below 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = [np.nan_to_num(term.of(src, dst, scale), posinf=0.0, neginf=0.0) for term in TERMS]
    return np.stack(values, axis=1)


@cache
def keeper_weights() -> dict[str, float]:
    """Of each term, as shipped."""
    return dict(json.loads(shipped_asset("keeper.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Term:
    """What speaks for one end.

    Attributes:
        name: in the file of weights.
        code: of the reason, where it speaks most.
        of: of sources, destinations and scales: float64 (E,), negated where the ends are swapped.
    """

    name: str
    code: int
    of: Callable[[Side, Side, Floats], Floats]


def _vote(rule: Callable[[Side, Side, Floats], Flags]) -> Callable[[Side, Side, Floats], Floats]:
    """1 where a rule speaks for the source alone, -1 where for the destination alone."""
    return lambda src, dst, scale: rule(src, dst, scale).astype(np.float64) - rule(dst, src, 1 / scale)


def _measure(value: Callable[[Side], Floats]) -> Callable[[Side, Side, Floats], Floats]:
    """By how much the source has more of a measure."""
    return lambda src, dst, scale: value(src) - value(dst)


class Order(NamedTuple):
    """Vertices in the order in which they become keepers, and what it rests on; int64 (n,) each.

    Attributes:
        vertices: best first.
        n_better: of each vertex, how many neighbours are better by what they show, by their pixels, or for being
            unaltered.
        standing: as kernels.stars.standing has it.
        n_sounder: how many neighbours are better by another term: less damaged, or richer.
    """

    vertices: Ints
    n_better: Ints
    standing: Ints
    n_sounder: Ints


def _resolution(own: Side, other: Side, scale: Floats) -> Floats:
    """Measured pixels of the other for one of own; detail takes away what enlarging added, and never adds."""
    return np.clip(scale * other.detail / own.detail, np.minimum(scale, 1.0), np.maximum(scale, 1.0))


def _shows_more(side: Side, other: Side) -> Flags:
    framed = np.maximum(side.frame, other.frame) >= FRAMED
    around = (side.frame - other.frame >= FRAMED) & (side.frame >= _AROUND * side.beyond)
    return np.asarray((side.beyond >= np.where(framed, MORE_FRAMED, MORE)) & ~around)


def _is_bare(own: Side, other: Side, scale: Floats) -> Flags:
    """Nothing was put around own, and the framed one is not clearly finer; a frame that was cut is one still."""
    framed = (other.frame - own.frame >= FRAMED) & (own.frame < FRAMED)
    neither = ~_shows_more(own, other) & ~_shows_more(other, own)
    return np.asarray(neither & framed & (own.overlap >= WHOLE) & (_resolution(own, other, scale) <= FINER_SCALE))


def _is_larger(own: Side, other: Side, scale: Floats) -> Flags:
    """Own has more pixels to the picture, and they carry detail."""
    whole = (own.overlap >= WHOLE) & (other.overlap >= WHOLE)
    scale = _by_area(own, other, scale)
    return np.asarray(whole & (scale * _LARGER < 1) & ~_has_made_up(own, other, 1 / scale))


def _is_real(own: Side, other: Side, scale: Floats) -> Flags:
    """The other has more pixels, and was enlarged."""
    whole = (own.overlap >= WHOLE) & (other.overlap >= WHOLE)
    return np.asarray(whole & _has_made_up(other, own, _by_area(own, other, scale)))


def _by_area(own: Side, other: Side, scale: Floats) -> Floats:
    """Pixels of the other for one of own; by the sizes where neither has a frame, for those are exact."""
    framed = np.maximum(own.frame, other.frame) >= FRAMED
    return np.where(framed, scale, np.sqrt(other.area / own.area))


def _has_made_up(large: Side, small: Side, scale: Floats) -> Flags:
    """Whether one has more pixels than the other, and less detail than the other, which is sharp."""
    measured = (small.detail >= _SHARP) & (large.detail >= _LOWEST_DETAIL)
    return np.asarray((scale > _LARGER) & measured & (scale * large.detail < _ENLARGED * small.detail))


def _is_clean(own: Side, other: Side, scale: Floats) -> Flags:
    """Something was laid over the other that own lacks."""
    return np.asarray(np.nan_to_num(other.added) - np.nan_to_num(own.added) >= _ADDED)


def _is_coloured(own: Side, other: Side, scale: Floats) -> Flags:
    return np.asarray((own.colourfulness >= _COLOURS) & (other.colourfulness <= _COLOURLESS))


def _is_sharp(own: Side, other: Side, scale: Floats) -> Flags:
    """The other is softer and has less detail, which is no grain of own."""
    softer = (other.sharpness < _SOFTER * own.sharpness) & (other.detail < _LESS_DETAIL * own.detail)
    return np.asarray(softer & ~(own.noise > _GRAINY + _GRAINY_TIMES * other.noise))


def _is_calm(own: Side, other: Side, scale: Floats) -> Flags:
    """The other has noise that own lacks; more of it where own was compressed more, which takes noise away."""
    least = np.where(_is_blockier(own, other), _NOISE_LOST, _NOISE)
    return np.asarray((other.noise > least + _NOISE_TIMES * own.noise) & (own.noise < _TEXTURE))


def _noise(src: Side, dst: Side, scale: Floats) -> Floats:
    """By how much the source is noisier, in logarithms; 0 where compression took it from the calmer one."""
    more = np.log(src.noise + 0.1) - np.log(dst.noise + 0.1)
    lost = np.where(more < 0, _is_blockier(src, dst), _is_blockier(dst, src))
    return np.where(lost, 0.0, more)


def _is_blockier(one: Side, than: Side) -> Flags:
    return np.asarray(one.blockiness > than.blockiness + _BLOCKIER)


def _is_earlier(own: Side, other: Side, scale: Floats) -> Flags:
    """The other claims to be compressed less, and its pixels belie it: they show as many blocks as those of own."""
    was_jpeg = ~np.isnan(other.jpeg_quality) | (other.jpeg_trace >= _WAS_JPEG)
    claims_more = (_claim(other) > _claim(own) + _QUALITY) & ~(own.is_web_lossy > 0)
    return np.asarray(claims_more & was_jpeg & (other.blockiness > _BLOCKS * own.blockiness))


def _is_richer(own: Side, other: Side, scale: Floats) -> Flags:
    return np.asarray(own.richness > other.richness)


def _claim(side: Side) -> Floats:
    """How well a file says that it was compressed: the quality of its tables, or that nothing was lost."""
    return np.where(side.is_web_lossy > 0, 0.0, np.where(np.isnan(side.jpeg_quality), _LOSSLESS, side.jpeg_quality))


def _is_source(own: Side, other: Side, scale: Floats) -> Flags:
    """The other was saved anew from a JPEG such as own: its pixels show the steps of own's quantiser, or nearly so."""
    close = np.abs(own.jpeg_quality - other.earlier_quality) <= _SCALED
    return np.asarray(close & np.isnan(own.earlier_quality))


def _is_untouched(side: Side) -> Floats:
    """1 where nothing was ever lost to compression, by the file and its pixels."""
    is_lossless = np.isnan(side.jpeg_quality) & ~(side.is_web_lossy > 0)
    return (is_lossless & (side.jpeg_trace < _WAS_JPEG)).astype(np.float64)


TERMS = (
    Term("bare", BARE, _vote(_is_bare)),
    Term("clean", CLEAN, _vote(_is_clean)),
    Term("coloured", COLOURED, _vote(_is_coloured)),
    Term("not_blurred", SOFT, _vote(_is_sharp)),
    Term("unusual_sharpness", SHARPENED, _measure(lambda one: np.abs(np.log(one.sharpness / _USUAL_SHARPNESS)))),
    Term("not_noisy", NOISY, _vote(_is_calm)),
    Term("noise", NOISY, _noise),
    Term("comb", COMBED, _measure(lambda one: np.log(one.comb + 0.03))),
    Term("earlier_file", RESAVED, _vote(_is_earlier)),
    Term("source", RESAVED, _vote(_is_source)),
    Term("untouched", COMPRESSED, _measure(_is_untouched)),
    Term("blockiness", COMPRESSED, _measure(lambda one: np.minimum(one.blockiness, 3.0))),
    Term("web", COMPRESSED, _measure(lambda one: (one.is_web_lossy > 0).astype(np.float64))),
    Term("richer", RICHER, _vote(_is_richer)),
)
"""What speaks for either end; in this order where two speak as much."""


def order_of(a: Ints, b: Ints, better: Codes, rule: Codes, agreement: Ints, chosen: Flags, n: int) -> Order:
    """The order in which vertices become keepers, best first; see `Order`.

    What people chose goes first, then the vertex of the least loss, then the smaller number. A neighbour that shows
    more counts _MORE_LOSS, one that is better otherwise _BETTER_LOSS, and each twentieth by which a vertex agrees less
    with the rest than the one that agrees most counts 1. The outcome does not depend on the order of the edges.

    Args:
        a: one end of each edge, integers in [0, n); no loops, no repeats.
        b: the other end.
        better: int8 (E,), 1 where `a` is the better keeper, -1 where `b` is, else 0.
        rule: int8 (E,), by which rule.
        agreement: int64 (E,), as kernels.stars.standing takes it.
        chosen: bool (n,).
        n: number of vertices.
    """

    def n_beaten_by(which: Flags) -> Ints:
        beaten = np.concatenate([a[which & (better < 0)], b[which & (better > 0)]])
        return np.bincount(beaten, minlength=n).astype(np.int64)

    n_better, n_sounder = n_beaten_by(rule <= COLOURED), n_beaten_by(rule > COLOURED)
    n_fuller = n_beaten_by((rule == FULLER) | (rule == FINER))
    stood = standing(a, b, agreement, n)
    loss = _MORE_LOSS * n_fuller + _BETTER_LOSS * (n_better + n_sounder - n_fuller) + stood
    order = np.lexsort((np.arange(n), loss, ~chosen))
    return Order(order.astype(np.int64), n_better, stood, n_sounder)
