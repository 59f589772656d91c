"""Which of two copies of one picture to keep, and by which rule.

The picture that shows more is kept, unless it has only a fraction of the other's resolution. Else the larger one is
kept, unless it was enlarged (`group/traces.py`). Else a linear model decides on frames, overlays, colours, blur, noise,
compression, uneven histograms and camera data. `benchmarks/keeper.py` fits its weights (`assets/keeper.json`). The
reason is the term with the largest contribution that a person can see. If both are nearly equal, neither is better.
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
from dupelake.group.traces import enlarged_logit, fine_difference, fit_at
from dupelake.shipped import shipped_asset

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]

LEVEL, FULLER, FINER, LARGER, ENLARGED, UNFRAMED, CLEAN, COLOURED = range(8)
SOFT, SHARPENED, NOISY, WEB, BLOCKY, RESAVED, COMBED, LOWER, RICHER = range(8, 17)

MORE = 0.015  # smallest share beyond the overlap for a picture that shows more
MORE_FRAMED = 0.05  # the same if either has a frame, whose edge may be measured as content
# Smallest difference between the frame shares of two pictures; one line of the grid of measured points is .021.
FRAMED = 0.03
_AROUND = 1.2  # ratio of frame to beyond above which beyond is part of the frame, such as filled corners
COARSE = 0.6  # linear resolution of the shared part below which the picture that shows more is not kept
_LEVEL = 0.1  # logit below which neither is better: a probability of .525
_LARGER, _ENLARGED_BY = 1.002, 1.01  # ratios of sides; a border makes the file larger, not what it shows
_LARGER_FRAMED = 1.015  # the same if either has a frame: then the ratio is measured by the alignment
_ENLARGED = 0.9  # ratio of measured resolutions; an enlarged copy has .89 or less
_MADE_FROM = 1.0  # logit above which a larger picture counts as enlarged: benchmarks/enlarged.py has the shares
_SHARP, _LOWEST_DETAIL = 0.83, 0.18  # detail of a sharp picture; lowest detail that fingerprint/detail.py can measure
ADDED = 0.004  # share of the overlap
_COLOURLESS, _COLOURS = 0.6, 3.5  # levels of colourfulness
_SOFTER, _LESS_DETAIL = 0.88, 0.9  # ratio to the other's sharpness and detail
_NOISE, _NOISE_LOST, _NOISE_TIMES = 1.0, 2.0, 1.5  # levels, levels, and a ratio to the other's noise
_TEXTURE = 3.0  # levels of noise from which it is texture, such as grass or gravel
_GRAINY, _GRAINY_TIMES = 0.4, 1.35  # noise that is measured as detail
_WAS_JPEG = 0.03  # jpeg_trace of a picture that was a JPEG before
_QUALITY, _MUCH_QUALITY = 2.0, 6.0  # differences of JPEG quality that count, and that count fully
_BLOCKS, _BLOCKIER = 0.8, 0.12
_AS_BLOCKY = 0.9  # ratio of blockiness; of a file without loss to its JPEG of quality 95 it is .77, of 85 .43
# Fits of an earlier quantiser that count (chance reaches .12) and that count fully; least fit of a file's own
_FIT, _CLEAR_FIT, _OWN_FIT = 0.12, 0.32, 0.3
_NAMED = 0.5  # contribution to the logit from which a rule is named before an uneven histogram
_COMBED = 0.3  # logarithm of a ratio of combs that chance and encoding reach
# Limits within which two pictures differ by their encoding only
_SAME_AGREEMENT, _SAME_OVERLAP, _SAME_FRAME, _SAME_ADDED, _SAME_SCALE = 990, 0.99, 0.01, 0.001, 0.003
_SOFTER_DB, _FINER_DB, _NOISIER, _SAME_SHARPNESS = 3.0, 2.0, 0.25, 0.12  # of the file of higher quality
_LOSSLESS = 101.0
_USUAL_SHARPNESS = 1.75  # the median of photographs
# Margins of the rules of content and size, and the largest of the model: thousandths of a logit (group/keeper_order.py)
MORE_MARGIN, _SIZE_MARGIN, _MOST_MARGIN = 7_000, 3_000, 6_000


@dataclass(frozen=True)
class Side:
    """One end of each edge; float64 (E,) each, NaN if not measured.

    Attributes:
        overlap: share of it that the other shows, 0 to 1.
        beyond: share that the other lacks and that continues the same scene.
        frame: share that is a frame around the picture.
        added: share of the overlap that an overlay covers on this side only.
        area: pixels.
        detail: 0 to 1, share of its linear resolution that carries detail.
        jpeg_quality: 1 to 100; NaN if it is not a JPEG.
        earlier_quality: of an earlier JPEG that its pixels show; NaN if they show none.
        is_web_lossy: 1 if the file is another lossy format (WebP, AVIF), else 0.
        jpeg_trace: this and the following as in `fingerprint.condition.Condition`.
        richness: number of kinds of camera data that the file still has.
        fits: float64 (E, 77), result of `group.traces.fits_of`.
        levels: float64 (E, 64), result of `group.traces.levels_of`.
    """

    overlap: Floats
    beyond: Floats
    frame: Floats
    added: Floats
    area: Floats
    detail: Floats
    jpeg_quality: Floats
    earlier_quality: Floats
    is_web_lossy: Floats
    jpeg_trace: Floats
    blockiness: Floats
    noise: Floats
    sharpness: Floats
    comb: Floats
    colourfulness: Floats
    richness: Floats
    fits: Floats
    levels: Floats


_NAMES = tuple(field.name for field in fields(Side))
OF_PAIR, OWN = _NAMES[:4], _NAMES[4:-2]
"""Fields of `Side` measured on the pair, and numbers measured on the picture."""


class Judgement(NamedTuple):
    """Which end of each edge is the better keeper.

    Attributes:
        better: int8 (E,), 1 the source, -1 the destination, 0 neither.
        rule: int8 (E,), the code of the rule (FULLER, ...; LEVEL where none decides).
        margin: int64 (E,), thousandths of the logit that the source is better; 0 where neither is.
    """

    better: Codes
    rule: Codes
    margin: Ints


def better_side(src: Side, dst: Side, scale: Floats, agreement: Ints) -> Judgement:
    """Judge which end of each edge is the better keeper.

    Args:
        src: the sources.
        dst: the destinations.
        scale: full-size pixels of the destination for one pixel of the source.
        agreement: int64 (E,), result of `group.stars.agreement_of`, 0 for a mirrored or turned pair.
    """
    better, by = by_content_and_size(src, dst, scale)
    weights = np.array([keeper_weights()[term.name] for term in TERMS])
    contributions = terms_of(src, dst, scale, agreement) * weights
    logit = contributions.sum(axis=1)
    sign = np.where(np.abs(logit) < _LEVEL, 0, np.sign(logit)).astype(np.int8)
    codes = _codes_of(contributions * sign[:, None])
    kept_sharper = np.where(sign > 0, src.sharpness > dst.sharpness, dst.sharpness > src.sharpness)
    codes = np.where((codes == SHARPENED) & kept_sharper, SOFT, codes)
    is_open = better == 0
    by_model = np.clip(np.rint(1000 * logit), -_MOST_MARGIN, _MOST_MARGIN).astype(np.int64) * np.abs(sign)
    by_rule = better * np.where((by == FULLER) | (by == FINER), MORE_MARGIN, _SIZE_MARGIN).astype(np.int64)
    return Judgement(
        np.where(is_open, sign, better),
        np.where(is_open, np.where(sign == 0, LEVEL, codes), by).astype(np.int8),
        np.where(is_open, by_model, by_rule),
    )


def _codes_of(contributions: Floats) -> Codes:
    """The rule that says most for the better end, int8 (E,); a histogram is named where nothing else says much.

    Frames, overlays and compression make histograms uneven, too, and are what a person sees.

    Args:
        contributions: float64 (E, len(TERMS)), to the logit that the better end is better.
    """
    codes = np.array([term.code for term in TERMS], np.int8)
    others = np.where(codes == COMBED, -np.inf, contributions)
    named = np.where(others.max(axis=1, keepdims=True) >= _NAMED, others, contributions)
    return codes[named.argmax(axis=1)]


def by_content_and_size(src: Side, dst: Side, scale: Floats) -> tuple[Codes, Codes]:
    """The better end and the rule, decided by content and size only; 0 and LEVEL where the model must decide."""
    n = len(scale)
    better, by = np.zeros(n, np.int8), np.zeros(n, np.int8)
    for sign, own, other, rate in ((1, src, dst, scale), (-1, dst, src, 1 / scale)):
        more = _shows_more(own, other) & ~_shows_more(other, own) & (other.overlap >= WHOLE)
        is_coarse = _resolution(own, other, rate) * COARSE > 1
        better[more] = np.where(is_coarse[more], -sign, sign)
        by[more] = np.where(is_coarse[more], FINER, FULLER)
    with np.errstate(invalid="ignore", divide="ignore"):
        for code, rule in ((LARGER, _is_larger), (ENLARGED, _is_not_enlarged)):
            for_src, for_dst = rule(src, dst, scale), rule(dst, src, 1 / scale)
            is_new = (better == 0) & (for_src != for_dst)
            better[is_new], by[is_new] = np.where(for_src, 1, -1)[is_new], code
    return better, by


def terms_of(src: Side, dst: Side, scale: Floats, agreement: Ints) -> Floats:
    """Values of the terms, float64 (E, len(TERMS)); positive for the source, negative for the destination."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = [np.nan_to_num(term.of(src, dst, scale), posinf=0.0, neginf=0.0) for term in TERMS]
        same = _is_same(src, dst, scale, agreement)
    for term, value in zip(TERMS, values, strict=True):
        if term.of_same is not None:
            value[same != term.of_same] = 0.0
    return np.stack(values, axis=1)


@cache
def keeper_weights() -> dict[str, float]:
    """The shipped weight of each term."""
    return dict(json.loads(shipped_asset("keeper.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Term:
    """A term of the linear model.

    Attributes:
        name: key in the file of weights.
        code: rule that is reported if the term contributes most.
        of: function of sources, destinations and scales, float64 (E,); swapped ends give the negated value.
        of_same: True: counts only for pairs that differ by their encoding alone; False: only for the others.
    """

    name: str
    code: int
    of: Callable[[Side, Side, Floats], Floats]
    of_same: bool | None = None


def _rule_difference(rule: Callable[[Side, Side, Floats], Flags]) -> Callable[[Side, Side, Floats], Floats]:
    """1 where a rule holds for the source only, -1 where it holds for the destination only, else 0."""
    return lambda src, dst, scale: rule(src, dst, scale).astype(np.float64) - rule(dst, src, 1 / scale)


def _value_difference(value: Callable[[Side], Floats]) -> Callable[[Side, Side, Floats], Floats]:
    """The value of the source minus that of the destination."""
    return lambda src, dst, scale: value(src) - value(dst)


def _resolution(own: Side, other: Side, scale: Floats) -> Floats:
    """Measured pixels of the other for one pixel of own; detail corrects for enlarging only."""
    return np.clip(scale * other.detail / own.detail, np.minimum(scale, 1.0), np.maximum(scale, 1.0))


def _shows_more(side: Side, other: Side) -> Flags:
    around = (side.frame - other.frame >= FRAMED) & (side.frame >= _AROUND * side.beyond)
    return np.asarray((side.beyond >= np.where(_is_framed(side, other), MORE_FRAMED, MORE)) & ~around)


def _is_framed(one: Side, other: Side) -> Flags:
    return np.asarray(np.maximum(one.frame, other.frame) >= FRAMED)


def _is_unframed(own: Side, other: Side, scale: Floats) -> Flags:
    """Only the other has a frame, and it is not clearly finer."""
    framed = (other.frame - own.frame >= FRAMED) & (own.frame < FRAMED)
    neither = ~_shows_more(own, other) & ~_shows_more(other, own)
    return np.asarray(neither & framed & (own.overlap >= WHOLE) & (_resolution(own, other, scale) <= FINER_SCALE))


def _is_larger(own: Side, other: Side, scale: Floats) -> Flags:
    """Own has more pixels, and they carry detail."""
    whole = (own.overlap >= WHOLE) & (other.overlap >= WHOLE)
    aligned, scale = scale, _by_area(own, other, scale)
    least = np.where(_is_framed(own, other), _LARGER_FRAMED, _LARGER)
    enlarged = _is_enlarged_copy(own, other, 1 / scale) & (aligned * _ENLARGED_BY < 1)
    return np.asarray(whole & (scale * least < 1) & ~enlarged)


def _is_not_enlarged(own: Side, other: Side, scale: Floats) -> Flags:
    """The other has more pixels, because it was enlarged."""
    whole = (own.overlap >= WHOLE) & (other.overlap >= WHOLE)
    return np.asarray(whole & (scale > _ENLARGED_BY) & _is_enlarged_copy(other, own, _by_area(own, other, scale)))


def _by_area(own: Side, other: Side, scale: Floats) -> Floats:
    """Pixels of the other for one pixel of own; from the exact sizes if neither has a frame."""
    return np.where(_is_framed(own, other), scale, np.sqrt(other.area / own.area))


def _is_enlarged_copy(large: Side, small: Side, scale: Floats) -> Flags:
    """Whether `large` has more pixels than `small` but was made from it, by spectra or, without them, by detail."""
    logit = enlarged_logit(small.levels, large.levels, scale)
    measured = (small.detail >= _SHARP) & (large.detail >= _LOWEST_DETAIL)
    by_detail = measured & (scale * large.detail < _ENLARGED * small.detail)
    return np.asarray((scale > _LARGER) & np.where(np.isnan(logit), by_detail, logit > _MADE_FROM))


def _is_clean(own: Side, other: Side, scale: Floats) -> Flags:
    """The other has an overlay that own lacks."""
    return np.asarray(np.nan_to_num(other.added) - np.nan_to_num(own.added) >= ADDED)


def _is_coloured(own: Side, other: Side, scale: Floats) -> Flags:
    """The other has no colours. A grey frame hides those of a picture, so a framed one is not judged."""
    is_grey = (other.colourfulness <= _COLOURLESS) & (other.frame < FRAMED)
    return np.asarray((own.colourfulness >= _COLOURS) & is_grey)


def _is_sharp(own: Side, other: Side, scale: Floats) -> Flags:
    """The other is softer and has less detail, and own's detail is not noise."""
    softer = (other.sharpness < _SOFTER * own.sharpness) & (other.detail < _LESS_DETAIL * own.detail)
    return np.asarray(softer & ~(own.noise > _GRAINY + _GRAINY_TIMES * other.noise))


def _is_calm(own: Side, other: Side, scale: Floats) -> Flags:
    """The other has noise that own lacks; the limit is higher if own was compressed more, which removes noise."""
    least = np.where(_is_blockier(own, other), _NOISE_LOST, _NOISE)
    return np.asarray((other.noise > least + _NOISE_TIMES * own.noise) & (own.noise < _TEXTURE))


def _is_blockier(one: Side, than: Side) -> Flags:
    return np.asarray(one.blockiness > than.blockiness + _BLOCKIER)


def _is_same(src: Side, dst: Side, scale: Floats, agreement: Ints) -> Flags:
    """Nothing but the encoding differs. Less noise and fine detail are encoding if that file is compressed more."""
    shown = np.minimum(src.overlap, dst.overlap) > _SAME_OVERLAP
    bare = (np.abs(src.frame - dst.frame) < _SAME_FRAME) & (np.maximum(src.added, dst.added) < _SAME_ADDED)
    more = _claim(src) - _claim(dst)
    finer = np.sign(more) * fine_difference(src.levels, dst.levels, scale)
    noisier = np.sign(more) * np.log((src.noise + 0.2) / (dst.noise + 0.2))
    sharp = ~(np.abs(np.log(src.sharpness / dst.sharpness)) > _SAME_SHARPNESS)
    encoded = sharp & (finer > -_SOFTER_DB) & (finer < _FINER_DB)
    encoded &= (noisier < _NOISIER) | (np.abs(more) > _MUCH_QUALITY)
    alike = (agreement >= _SAME_AGREEMENT) & (np.abs(np.log(scale)) < _SAME_SCALE)
    return np.asarray(alike & shown & bare & encoded)


def _source(src: Side, dst: Side, scale: Floats) -> Floats:
    """How clearly the file that claims the higher quality shows the other's quantiser; positive for the other."""
    claims = _claim(src), _claim(dst)
    more = claims[1] - claims[0]
    of_src, of_dst = fit_at(dst.fits, src.jpeg_quality, claims[1]), fit_at(src.fits, dst.jpeg_quality, claims[0])
    shown = np.where(more > 0, of_src, of_dst)
    clear = np.clip((shown - _FIT) / (_CLEAR_FIT - _FIT), 0.0, 1.0)
    return np.where(np.abs(more) > _QUALITY, np.sign(more) * clear, 0.0)


def _is_earlier(own: Side, other: Side, scale: Floats) -> Flags:
    """The other's file claims less compression than own's, but its pixels show as many blocks."""
    was_jpeg = ~np.isnan(other.jpeg_quality) | (other.jpeg_trace >= _WAS_JPEG)
    claims_more = (_claim(other) > _claim(own) + _QUALITY) & ~(own.is_web_lossy > 0) & ~(other.is_web_lossy > 0)
    return np.asarray(claims_more & was_jpeg & (other.blockiness > _BLOCKS * own.blockiness))


def _claimed(src: Side, dst: Side, scale: Floats) -> Floats:
    """Difference of quality, -1 to 1, if the better file shows no trace of the other, where it would show.

    The quality of a file is that which it claims, or that of an earlier JPEG that its pixels show. The pixels of a file
    that claims no loss, but shows as many blocks as the other, went through another lossy format.
    """
    more = _quality(src) - _quality(dst)
    own = [fit_at(one.fits, one.jpeg_quality, _claim(one)) for one in (src, dst)]
    measurable = np.where(more > 0, own[1], own[0]) >= _OWN_FIT
    is_web = (src.is_web_lossy > 0) | (dst.is_web_lossy > 0)
    unrefuted = measurable & ~is_web & (_source(src, dst, scale) == 0)
    for sign, better, worse in ((1, src, dst), (-1, dst, src)):
        as_blocky = (_quality(better) == _LOSSLESS) & (better.blockiness > _AS_BLOCKY * worse.blockiness)
        unrefuted &= ~(as_blocky & (sign * more > 0))
    return np.where(unrefuted | _shows_earlier(src, dst), np.clip(more / _MUCH_QUALITY, -1.0, 1.0), 0.0)


def _shows_earlier(src: Side, dst: Side) -> Flags:
    """Whether the worse of the two shows the steps of an earlier JPEG: then its quality is measured, not claimed."""
    return np.asarray(np.where(_quality(src) > _quality(dst), dst.earlier_quality, src.earlier_quality) > 0)


def _quality(side: Side) -> Floats:
    return np.fmin(_claim(side), side.earlier_quality)


def _claim(side: Side) -> Floats:
    """Compression quality that the file claims: that of its JPEG tables; _LOSSLESS for every other format."""
    return np.where(np.isnan(side.jpeg_quality), _LOSSLESS, side.jpeg_quality)


def _comb(src: Side, dst: Side, scale: Floats) -> Floats:
    """Logarithm of the ratio of combs, without what chance and encoding reach."""
    more = np.log((src.comb + 0.03) / (dst.comb + 0.03))
    return np.asarray(np.sign(more) * np.maximum(np.abs(more) - _COMBED, 0.0))


def _is_richer(own: Side, other: Side, scale: Floats) -> Flags:
    return np.asarray(own.richness > other.richness)


TERMS = (
    Term("bare", UNFRAMED, _rule_difference(_is_unframed)),
    Term("clean", CLEAN, _rule_difference(_is_clean)),
    Term("coloured", COLOURED, _rule_difference(_is_coloured)),
    Term("not_blurred", SOFT, _rule_difference(_is_sharp)),
    Term(
        "unusual_sharpness", SHARPENED, _value_difference(lambda one: np.abs(np.log(one.sharpness / _USUAL_SHARPNESS)))
    ),
    Term("not_noisy", NOISY, _rule_difference(_is_calm)),
    Term("comb", COMBED, _comb),
    Term("source", RESAVED, _source),
    Term("earlier_file", RESAVED, _rule_difference(_is_earlier), of_same=False),
    Term("claim", LOWER, _claimed, of_same=True),
    Term("blockiness", BLOCKY, _value_difference(lambda one: np.minimum(one.blockiness, 3.0))),
    Term("web", WEB, _value_difference(lambda one: (one.is_web_lossy > 0).astype(np.float64))),
    Term("richer", RICHER, _rule_difference(_is_richer)),
)
"""Terms of the linear model; of two equal contributions the first is reported."""
