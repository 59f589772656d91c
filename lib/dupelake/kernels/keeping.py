"""Which of two copies of one picture careful people keep, and why: the first difference that counts decides.

In this order: the one that shows more; true resolution; nothing around or laid over it, in colour; the least damaged
(blur, sharpening, noise, compression, tone edits); the richer file. Each rule has a margin within which both count as
equal, and where none decides, the two are level.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dupelake.kernels.bridges import FINER as FINER_SCALE
from dupelake.kernels.bridges import WHOLE
from dupelake.kernels.stars import standing

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]

(LEVEL, FULLER, FINER, LARGER, ENLARGED, BARE, CLEAN, COLOURED, SOFT, SHARPENED, NOISY, COMPRESSED, RESAVED) = range(13)
CLIPPED, COMBED, DULL, RICHER = range(13, 17)

MORE = 0.015  # what the fuller picture must show beside the shared part,
MORE_FRAMED = 0.05  # where either has a frame, whose edge may pass for picture
# By so much more of itself must a picture be frame than the other; one line of the grid it is seen on is .021.
FRAMED = 0.03
COARSE = 0.6  # linear resolution of the shared part below which the fuller picture is no substitute
_LARGER = 1.002
_ENLARGED = 0.9  # of the other's measured resolution; an enlarged copy measures .89 of it and less
_SHARP, _LOWEST_DETAIL = 0.83, 0.18  # of what an enlarged copy was made from; what kernels.detail cannot tell from less
_ADDED = 0.004  # of the overlap
_COLOURLESS, _COLOURS = 0.6, 3.5  # levels of colourfulness
_SOFTER, _SOFTER_TONED, _LESS_DETAIL = (0.88, 0.7, 0.9)  # of the other's sharpness and detail
_SHARPENED, _SHARPENED_TONED = 1.2, 1.4
_NOISE, _NOISE_SHARE, _MUCH_NOISE = (0.4, 0.35, 2.2)  # levels, share of the other's, and levels
_TEXTURE = 3.0  # levels of noise in the calmest tenth from which on it is grass or gravel
_SMOOTHING, _HEAVY = (93.0, 55.0)  # JPEG qualities below which noise is lost, and much noise
_TRACE, _BLOCKS = 0.03, 0.12
_WAS_JPEG = 0.03
_QUALITY = 3.0
_RECOLOURED = 0.05
_RECOLOURED_TRACE, _RECOLOURED_BLOCKS = 0.05, 1.4
_USUAL_CONTRAST = 150.0
_CLIPPED_TIMES, _CLIPPED, _RAISED, _MUCH_CLIPPED = 1.5, 0.03, 1.1, 0.15
_COMB_SHARE, _COMB, _CLEAR_COMB = 1.25, 0.06, 0.12
_EVEN = 75.0  # JPEG quality from which on compression leaves histograms even
_DULL = 0.93
_LOSSLESS = 101.0
_HEAVY_LOSS = 5


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
    displaced_trace: Floats
    blockiness: Floats
    noise: Floats
    sharpness: Floats
    clipped: Floats
    comb: Floats
    contrast: Floats
    colourfulness: Floats
    richness: Floats


_NAMES = tuple(field.name for field in fields(Side))
OF_PAIR, OWN = _NAMES[:4], _NAMES[4:]
"""Fields of `Side` that the pair gives, and those of the picture itself."""


def better_side(src: Side, dst: Side, scale: Floats, recoloured: Floats) -> tuple[Codes, Codes]:
    """Which end of an edge is the better keeper: 1 the source, -1 the destination, 0 neither; and by which rule.

    Args:
        src: the sources.
        dst: the destinations.
        scale: full-size pixels of the destination for one of the source.
        recoloured: 0 to 1, by how much colours differ (kernels.colour_differences.Difference.colour).

    Returns:
        int8 (E,) twice: the better end, and the code of the rule (FULLER, ...; LEVEL where none decides).
    """
    n = len(scale)
    better, by, tones = (np.zeros(n, np.int8), np.zeros(n, np.int8), np.nan_to_num(recoloured))
    with np.errstate(invalid="ignore", divide="ignore"):
        for rule in _RULES:
            both = rule(src, dst, scale, tones), rule(dst, src, 1 / scale, tones)
            for (code, for_src), (_, for_dst) in zip(*both, strict=True):
                new = (better == 0) & (for_src != for_dst)
                better[new], by[new] = np.where(for_src[new], 1, -1), code
    return better, by


Found = list[tuple[int, Flags]]


class Order(NamedTuple):
    """Vertices in the order in which they become keepers, and what it rests on; int64 (n,) each.

    Attributes:
        vertices: best first.
        n_better: of each vertex, how many neighbours are better by what they show, at which resolution, or unaltered.
        standing: as kernels.stars.standing has it.
        n_sounder: how many neighbours are better by a later rule: less damaged, or richer.
    """

    vertices: Ints
    n_better: Ints
    standing: Ints
    n_sounder: Ints


def _resolution(own: Side, other: Side, scale: Floats) -> Floats:
    """Measured pixels of the other for one of own; detail takes away what enlarging added, and never adds."""
    return np.clip(scale * other.detail / own.detail, np.minimum(scale, 1.0), np.maximum(scale, 1.0))


def _fuller(own: Side, other: Side, scale: Floats, recoloured: Floats) -> Found:
    """Own shows all of the other and more; not so where it shows that at a fraction of the other's resolution."""
    more = _shows_more(own, other) & ~_shows_more(other, own) & (other.overlap >= WHOLE)
    less = _shows_more(other, own) & ~_shows_more(own, other) & (own.overlap >= WHOLE)
    resolution = _resolution(own, other, scale)
    return [(FULLER, more & (resolution * COARSE <= 1)), (FINER, less & (resolution < COARSE))]


def _shows_more(side: Side, other: Side) -> Flags:
    framed = np.maximum(side.frame, other.frame) >= FRAMED
    around = (side.frame - other.frame >= FRAMED) & (side.frame >= side.beyond)
    return np.asarray((side.beyond >= np.where(framed, MORE_FRAMED, MORE)) & ~around)


def _bare(own: Side, other: Side, scale: Floats, recoloured: Floats) -> Found:
    """Nothing was put around own, and the framed one is not clearly finer."""
    framed = other.frame - own.frame >= FRAMED
    neither = ~_shows_more(own, other) & ~_shows_more(other, own)
    return [(BARE, neither & framed & (own.overlap >= WHOLE) & (_resolution(own, other, scale) <= FINER_SCALE))]


def _finer(own: Side, other: Side, scale: Floats, recoloured: Floats) -> Found:
    """Own has more pixels to the picture, and they carry detail; or the other has, and was enlarged."""
    whole = (own.overlap >= WHOLE) & (other.overlap >= WHOLE)
    scale = np.where(np.maximum(own.frame, other.frame) < FRAMED, np.sqrt(other.area / own.area), scale)
    own_enlarged, other_enlarged = (_is_enlarged(own, other, 1 / scale), _is_enlarged(other, own, scale))
    return [(LARGER, whole & (scale * _LARGER < 1) & ~own_enlarged), (ENLARGED, whole & other_enlarged)]


def _is_enlarged(large: Side, small: Side, scale: Floats) -> Flags:
    """Whether one has more pixels than the other, and less detail than the other, which is sharp."""
    measured = (small.detail >= _SHARP) & (large.detail >= _LOWEST_DETAIL)
    return np.asarray((scale > _LARGER) & measured & (scale * large.detail < _ENLARGED * small.detail))


def _clean(own: Side, other: Side, scale: Floats, recoloured: Floats) -> Found:
    """Nothing was laid over own; own has colours that the other lacks."""
    laid = np.nan_to_num(other.added) - np.nan_to_num(own.added) >= _ADDED
    coloured = (own.colourfulness >= _COLOURS) & (other.colourfulness <= _COLOURLESS)
    return [(CLEAN, laid), (COLOURED, coloured)]


def _true(own: Side, other: Side, scale: Floats, recoloured: Floats) -> Found:
    """The other was blurred, or sharpened, or has noise that own lacks, though own was not compressed more."""
    toned = recoloured >= _RECOLOURED
    softer = other.sharpness < np.where(toned, _SOFTER_TONED, _SOFTER) * own.sharpness
    blurred = softer & (other.detail < _LESS_DETAIL * own.detail)
    blurred_self = own.detail < _LESS_DETAIL * other.detail
    most = np.where(toned, _SHARPENED_TONED, _SHARPENED)
    sharpened = (other.sharpness > most * own.sharpness) & (own.detail >= _SHARP)
    gain = np.where(toned, own.contrast / np.maximum(other.contrast, 1.0), 1.0)
    excess = other.noise * gain - own.noise
    coarser = _is_coarser(own, other)
    smoothed = coarser & ((own.jpeg_quality < _SMOOTHING) | (own.is_web_lossy > 0))
    noisy = (excess > _NOISE + _NOISE_SHARE * own.noise) & ~smoothed
    noisy |= (excess > _MUCH_NOISE) & ~(coarser & ((own.jpeg_quality < _HEAVY) | (own.is_web_lossy > 0)))
    noisy &= own.noise <= _TEXTURE
    return [
        (SOFT, blurred),
        (SHARPENED, sharpened),
        (NOISY, noisy & ~(blurred_self & (own.sharpness < _SOFTER * other.sharpness))),
    ]


def _is_coarser(one: Side, than: Side) -> Flags:
    """Whether compression left more in one than in the other."""
    more = (one.jpeg_trace > than.jpeg_trace + _TRACE) | (one.blockiness > than.blockiness + _BLOCKS)
    return np.asarray(more | ((one.is_web_lossy > 0) & ~(than.is_web_lossy > 0)))


def _combed(own: Side, other: Side, scale: Floats, recoloured: Floats) -> Found:
    """Gaps and peaks in the histogram that no compression makes: a curve was laid over the tones."""
    uneven = other.comb > own.comb * _COMB_SHARE + _CLEAR_COMB
    # tones that are cut off were spread before; a white background is none, and dulling leaves it where it is
    raised = (other.contrast >= _RAISED * own.contrast) | (other.clipped > own.clipped + _MUCH_CLIPPED)
    clipped = _is_clipped(own, other, recoloured) & raised
    return [(CLIPPED, clipped), (COMBED, uneven & ~(other.jpeg_quality < _EVEN) & ~(other.is_web_lossy > 0))]


def _is_clipped(own: Side, other: Side, recoloured: Floats) -> Flags:
    """Whether tones of the other are cut off that own has."""
    return np.asarray((other.clipped > _CLIPPED_TIMES * own.clipped + _CLIPPED) & (recoloured >= _RECOLOURED))


def _claim(side: Side) -> Floats:
    """How well a file says that it was compressed: the quality of its tables, or that nothing was lost."""
    return np.where(side.is_web_lossy > 0, 0.0, np.where(np.isnan(side.jpeg_quality), _LOSSLESS, side.jpeg_quality))


def _compressed(own: Side, other: Side, scale: Floats, recoloured: Floats) -> Found:
    """Own is the file that was compressed less, or the one that the other was made from.

    Pixels tell whether what a file says of itself is true. Where a file that claims to be better shows what the
    compression of the other left, it was made from the other.
    """
    claim, others = _claim(own), _claim(other)
    lossy = (other.is_web_lossy > 0) & ~(own.is_web_lossy > 0)
    borne_out = _is_borne_out(own, other, recoloured)
    close, more = np.abs(claim - others) <= _QUALITY, other.jpeg_trace - own.jpeg_trace
    even = close & (more > _TRACE) & (recoloured < _RECOLOURED)
    less = ((claim > others + _QUALITY) & borne_out) | lossy | even
    known = ~np.isnan(own.jpeg_trace) & ~np.isnan(other.jpeg_trace) & (claim > 0)
    source = (others > claim + _QUALITY) & ~_is_borne_out(other, own, recoloured) & known
    moved = (other.displaced_trace >= _WAS_JPEG) & ~(own.displaced_trace >= _WAS_JPEG)
    return [(RESAVED, moved), (COMPRESSED, less), (RESAVED, source)]


def _is_borne_out(better: Side, worse: Side, recoloured: Floats) -> Flags:
    """Whether the pixels of what claims to be compressed less show less of compression."""
    is_lossless = np.isnan(better.jpeg_quality) & ~(better.is_web_lossy > 0)
    virgin = is_lossless & ~(better.jpeg_trace >= _WAS_JPEG)
    toned = recoloured >= _RECOLOURED
    trace = worse.jpeg_trace > better.jpeg_trace + np.where(toned, _RECOLOURED_TRACE, _TRACE)
    # Tone edits of what was a JPEG take away zeros, where nothing was quantised after them, but leave the blocks.
    own_blocks = np.maximum(better.blockiness, 0.0) / np.where(toned, better.contrast, 1.0)
    its_blocks = worse.blockiness / np.where(toned, worse.contrast, 1.0)
    margin = np.where(toned, _BLOCKS / _USUAL_CONTRAST, _BLOCKS)
    blocks = its_blocks > own_blocks * np.where(toned, _RECOLOURED_BLOCKS, 1.0) + margin
    return np.asarray(virgin | blocks | (trace & ~is_lossless))


def _toned(own: Side, other: Side, scale: Floats, recoloured: Floats) -> Found:
    """Curves, stretching and posterising clip tones, leave gaps in the histogram, or take away contrast."""
    combed = other.comb > own.comb * _COMB_SHARE + _COMB
    dull = other.contrast < _DULL * own.contrast
    return [(CLIPPED, _is_clipped(own, other, recoloured)), (COMBED, combed), (DULL, dull)]


def _richer(own: Side, other: Side, scale: Floats, recoloured: Floats) -> Found:
    return [(RICHER, own.richness > other.richness)]


_RULES = (_fuller, _bare, _finer, _clean, _true, _combed, _compressed, _toned, _richer)


def order_of(a: Ints, b: Ints, better: Codes, rule: Codes, agreement: Ints, chosen: Flags, n: int) -> Order:
    """The order in which vertices become keepers, best first; see `Order`.

    What people chose goes first, then the vertex of the least loss, then the smaller number. A neighbour that is better
    by what it shows, by resolution or for being unaltered counts _HEAVY_LOSS; one that is less damaged or richer 1; and
    so does each twentieth by which a vertex agrees less with the rest than the one that agrees most. The outcome does
    not depend on the order of the edges.

    Args:
        a: one end of each edge, integers in [0, n); no loops, no repeats.
        b: the other end.
        better: int8 (E,), 1 where `a` is the better keeper, -1 where `b` is, else 0.
        rule: int8 (E,), by which rule.
        agreement: int64 (E,), as kernels.stars.standing takes it.
        chosen: bool (n,).
        n: number of vertices.
    """
    shows = rule <= COLOURED
    counts = []
    for which in (shows, ~shows):
        beaten = np.concatenate([a[which & (better < 0)], b[which & (better > 0)]])
        counts.append(np.bincount(beaten, minlength=n).astype(np.int64))
    stood = standing(a, b, agreement, n)
    loss = _HEAVY_LOSS * counts[0] + counts[1] + stood
    order = np.lexsort((np.arange(n), loss, ~chosen))
    return Order(order.astype(np.int64), counts[0], stood, counts[1])
