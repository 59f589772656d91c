"""How far one picture that lies on another agrees with it, cell by cell of the structure of both."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.verify.cells import FloatArray, Mask, cell_means, gradients, whole_cells
from dupelake.verify.decision import MIN_AGREEING
from dupelake.verify.shifts import MAX_SHIFT_PX, cell_shifts

AGREEING_NCC = 0.6  # of a cell
_FLAT_ENERGY = 0.5  # mean squared gradient (levels per pixel) below which a cell shows nothing
MIN_CELLS = 6  # structured ones; fewer prove nothing
_MIN_STRUCTURED_SHARE = 0.04
_CELL_PX = (8, 24)
_CELLS_ACROSS = 14
_MIN_CELL_SHARE = 0.4  # of a cell that must lie in the overlap
_ALIKE_RATIO = 0.35  # of contrasts, from which both sides show something in a cell that differs
_PAPER_SHARPNESS = 3.5  # thin strokes; photographs lie at 1.9 to 4.5, but not on paper of one level
_PAPER_NCC = 0.8
_PAPER_WEIGHT = 6.0  # of a cell that differs
_ROW_CELL_PX = 8  # some three rows of text on a thumbnail of a page
_ROW_NCC = 0.5  # of one direction of the gradients of such a cell
_ROW_STRUCTURE = 0.1  # of the mean energy of the gradients, from which a direction of a cell shows something
_ROW_WEIGHT = 12.0  # of such cells as a share. Measured: copies of pages below .025, nearly
# all below .005; pages that share a template but no row of text .03 to .31
_ROW_CONTRADICTION = 6.0  # so that little of it passes for one picture written over
MARGIN = np.ones((7, 7), np.uint8)  # resampling and JPEG mix what lies beyond the edge into it


class Agreement(NamedTuple):
    """How far gradients of both sides agree over the overlap.

    Attributes:
        ncc: -1 to 1, correlation over the cells that agree; over all structured ones where none does.
        share: 0 to 1, of the structured cells, those that agree; 0 where too few are structured.
        contradicting: 0 to 1, share of the structured cells in which each side shows what the other lacks; what an
            edit adds or covers counts on one side alone.
        isotropy: 0 to 1, the weakest direction of shared gradients over the strongest; near 0, stripes or one edge
            are all there is, and they agree at many places.
        shift: 0 to 2 pixels, median shift against each other of the cells in which both sides show something; 2 where
            there are none.
    """

    ncc: float
    share: float
    contradicting: float
    isotropy: float = 1.0
    shift: float = MAX_SHIFT_PX

    def quality(self) -> float:
        """0 to 1, to choose the better of two alignments."""
        return self.share * max(0.0, self.ncc)


def _sharpness(grey: FloatArray, mask: FloatArray) -> float:
    """Energy of gradients over that of the smoothed picture's: falls with blur, rises with noise and thin strokes."""
    fine, coarse = 0.0, 0.0
    for d in gradients(grey):
        fine += float(np.dot((d * mask).ravel(), d.ravel()))
    half = grey.shape[1] // 2 or 1, grey.shape[0] // 2 or 1
    smooth = cv2.GaussianBlur(cv2.resize(grey, half, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    inside = cv2.resize(mask, half, interpolation=cv2.INTER_NEAREST)
    for d in gradients(smooth):
        coarse += float(np.dot((d * inside).ravel(), d.ravel()))
    return fine / (coarse + 1e-6)  # four times fewer pixels, each with twice the slope: no factor between them


def _match_sharpness(
    first: FloatArray, second: FloatArray, mask: FloatArray, sharpness: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Both, the sharper one blurred until it is as soft as the other: compare at the coarser resolution of the two."""
    a, b = sharpness
    if max(a, b) < 1.15 * min(a, b):
        return first, second
    sharper, target = (first, b) if a > b else (second, a)
    for sigma in (0.7, 1.0, 1.4, 2.0, 2.8, 4.0):
        soft = cv2.GaussianBlur(sharper, (0, 0), sigma)
        if _sharpness(soft, mask) <= 1.15 * target:
            break
    return (soft, second) if a > b else (first, soft)


def agreement(src: FloatArray, dst: FloatArray, mask: Mask) -> Agreement:
    """Compare gradients cell by cell, each cell with one pixel of play.

    Args:
        src: float32 (h, w), grey.
        dst: float32 (h, w), grey, aligned.
        mask: uint8 (h, w), 1 where both show content.
    """
    found, is_flat = _by_cells(src, dst, mask)
    if not is_flat or found.share <= 0.0:
        return found
    other_rows = _other_rows(src, dst, mask)
    return found._replace(
        share=min(found.share, max(0.0, 1.0 - _ROW_WEIGHT * other_rows)),
        contradicting=max(found.contradicting, min(1.0, _ROW_CONTRADICTION * other_rows)),
    )


def _by_cells(src: FloatArray, dst: FloatArray, mask: Mask) -> tuple[Agreement, bool]:
    """How far large cells agree, and whether both sides are mostly of one level: a page, a drawing, a glyph."""
    side = int(np.clip(round(max(src.shape) / _CELLS_ACROSS), *_CELL_PX))
    inner = cv2.erode(mask, MARGIN, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    inside = whole_cells(inner, side, cv2.BORDER_CONSTANT).astype(np.float32)
    src, dst = (whole_cells(g, side, cv2.BORDER_REPLICATE) for g in (src, dst))
    a, b = (cv2.GaussianBlur(g, (0, 0), 1.0) for g in (src, dst))
    sharpness = _sharpness(a, inside), _sharpness(b, inside)
    is_flat = min(_paper_share(g, inside) for g in (src, dst)) > 0.5
    is_paper = is_flat and min(sharpness) > _PAPER_SHARPNESS
    a, b = _match_sharpness(a, b, inside, sharpness)
    wide = (2 * side + 1, 2 * side + 1)
    a, b = (g - cv2.blur(g, wide) for g in (a, b))  # shading over more than a cell, a vignette, proves nothing
    share = cell_means(inside, side)
    src_slopes, dst_slopes = (_inside(gradients(g), inside) for g in (a, b))
    cells = _cells_of(*_correlate(src_slopes, dst_slopes, side, share), share)
    if cells is None:
        return Agreement(0.0, 0.0, 0.0), is_flat
    found = _judge(cells, is_paper)
    if found.share >= MIN_AGREEING:
        shifts = np.hypot(*cell_shifts(a, b, src_slopes, dst_slopes, inside, side))
        found = found._replace(isotropy=_isotropy(src_slopes, dst_slopes), shift=_median_shift(cells, shifts))
    return found, is_flat


Slopes = tuple[FloatArray, FloatArray]  # gradients, 0 outside the overlap


def _inside(slopes: Slopes, inside: FloatArray) -> Slopes:
    return slopes[0] * inside, slopes[1] * inside


class _Cells(NamedTuple):
    """The cells that lie in the overlap; n of them.

    Attributes:
        valid: bool (rows, columns), which they are.
        ncc: float32 (n,), correlation of gradients.
        src: float32 (n,), energy of the source's.
        dst: float32 (n,), energy of the destination's.
        in_src: bool (n,), the source shows something.
        in_dst: bool (n,), the destination does.
    """

    valid: NDArray[np.bool_]
    ncc: FloatArray
    src: FloatArray
    dst: FloatArray
    in_src: NDArray[np.bool_]
    in_dst: NDArray[np.bool_]


def _cells_of(ncc: FloatArray, src_energy: FloatArray, dst_energy: FloatArray, share: FloatArray) -> _Cells | None:
    """None where too few cells lie in the overlap."""
    valid = share > _MIN_CELL_SHARE
    if valid.sum() < MIN_CELLS:
        return None
    n, s, d = ncc[valid], src_energy[valid] / share[valid], dst_energy[valid] / share[valid]
    return _Cells(valid, n, s, d, s > _structure_threshold(s, d, n), d > _structure_threshold(d, s, n))


def _median_shift(cells: _Cells, shifts: FloatArray) -> float:
    """Of the cells in which both sides show something; strong edges weigh more."""
    both = cells.in_src & cells.in_dst
    if both.sum() < MIN_CELLS:
        return MAX_SHIFT_PX
    weight = np.sqrt(cells.src * cells.dst)[both]
    weight = np.minimum(weight, np.median(weight)) + 1e-9
    moved = shifts[cells.valid][both]
    order = np.argsort(moved, kind="stable")
    middle = int(np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2))
    return min(MAX_SHIFT_PX, float(moved[order][min(middle, len(order) - 1)]))


def _other_rows(src: FloatArray, dst: FloatArray, mask: Mask) -> float:
    """0 to 1: share of small cells in which both sides show something, and not the same.

    Two rows of text are two grey bars of one height: what runs along the row agrees whatever the letters are. So each
    direction of the gradients is compared by itself, and the worse one counts.
    """
    side = _ROW_CELL_PX
    inner = cv2.erode(mask, MARGIN, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    inside = whole_cells(inner, side, cv2.BORDER_CONSTANT).astype(np.float32)
    share = cell_means(inside, side)
    a, b = (cv2.GaussianBlur(whole_cells(g, side, cv2.BORDER_REPLICATE), (0, 0), 1.0) for g in (src, dst))
    a, b = _match_sharpness(a, b, inside, (_sharpness(a, inside), _sharpness(b, inside)))
    valid = share > _MIN_CELL_SHARE
    along = [tuple(g * inside for g in pair) for pair in zip(gradients(a), gradients(b), strict=True)]
    energies = [[cell_means(g * g, side) / np.maximum(share, 0.1) for g in pair] for pair in along]
    floor = _ROW_STRUCTURE * max(
        sum((float(pair[k][valid].mean()) for pair in energies), 0.0) if valid.any() else 0.0 for k in (0, 1)
    )
    floor = max(floor, _FLAT_ENERGY)
    shown, differs = np.zeros_like(valid), np.zeros_like(valid)
    for (own, other), (own_energy, other_energy) in zip(along, energies, strict=True):
        in_own, in_other = own_energy > floor, other_energy > floor
        shown |= valid & (in_own | in_other)
        differs |= valid & in_own & in_other & (_best_within_a_pixel(own, other, side) < _ROW_NCC)
    return max(0.0, float(differs.sum()) - 1.0) / max(1, int(shown.sum()))  # one cell may be what alignment leaves


def _best_within_a_pixel(own: FloatArray, other: FloatArray, side: int) -> FloatArray:
    """By cells: correlation of one derivative of both sides, the best of nine places of the other."""
    height, width = own.shape
    energy = cell_means(own * own, side)
    padded = cv2.copyMakeBorder(other, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    best: FloatArray = np.full(energy.shape, -1.0, np.float32)
    for dy in range(3):
        for dx in range(3):
            moved = padded[dy : dy + height, dx : dx + width]
            product = cell_means(own * moved, side)
            best = np.maximum(best, product / np.sqrt(energy * cell_means(moved * moved, side) + 1e-9))
    return best


def _isotropy(src: Slopes, dst: Slopes) -> float:
    """Of the gradients that both sides share: products of one with the other, in which noise cancels out."""
    (ax, ay), (bx, by) = src, dst
    xx, yy, xy = (float(np.dot(p.ravel(), q.ravel())) for p, q in ((ax, bx), (ay, by), (ax + ay, bx + by)))
    cross = (xy - xx - yy) / 2  # of x with y, the mean of both orders
    spread = float(np.hypot(xx - yy, 2 * cross))
    return max(0.0, (xx + yy - spread) / max(xx + yy + spread, 1e-9))


def _paper_share(grey: FloatArray, inside: FloatArray) -> float:
    """Share of the pixels at the commonest level, give or take 6 of 256."""
    levels = np.bincount((np.clip(grey, 0, 255) * (1 / 4)).astype(np.intp).ravel(), inside.ravel(), 64)
    around = np.convolve(levels, np.ones(3), mode="same")
    return float(around[int(levels.argmax())] / max(levels.sum(), 1.0))


def _correlate(src: Slopes, dst: Slopes, side: int, share: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """By cells: correlation of gradients, the best within one pixel of play, and the energies of both sides."""
    (ax, ay), (bx, by) = src, dst
    src_energy = cell_means(ax * ax + ay * ay, side)
    dst_energy = cell_means(bx * bx + by * by, side)
    ncc = cell_means(ax * bx + ay * by, side) / np.sqrt(src_energy * dst_energy + 1e-9)
    if ncc[(share > _MIN_CELL_SHARE) & (src_energy + dst_energy > _FLAT_ENERGY)].min(initial=1.0) > 0.9:
        return ncc, src_energy, dst_energy
    h, w = ax.shape
    bx, by, b_energy = (
        cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_CONSTANT) for image in (bx, by, bx * bx + by * by)
    )
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dx == dy == 0:
                continue
            here = slice(1 - dy, 1 - dy + h), slice(1 - dx, 1 - dx + w)
            energy = cell_means(b_energy[here], side)
            product = cell_means(ax * bx[here] + ay * by[here], side)
            ncc = np.maximum(ncc, product / np.sqrt(src_energy * energy + 1e-9))
    return ncc, src_energy, dst_energy


def _judge(cells: _Cells, is_paper: bool) -> Agreement:
    _, n, s, d, in_src, in_dst = cells
    structured = in_src | in_dst
    count = int(structured.sum())
    if count < max(MIN_CELLS, _MIN_STRUCTURED_SHARE * len(n)):
        return Agreement(0.0, 0.0, 0.0)
    # templates have most of their structure in common: on paper only what agrees closely counts
    agrees = structured & (n > (_PAPER_NCC if is_paper else AGREEING_NCC))
    counted = agrees if agrees.any() else structured
    weight = np.sqrt(s * d)[counted]
    weight = np.minimum(weight, np.median(weight)) + 1e-9  # no few strong edges may speak for the whole
    correlation = float((n[counted] * weight).sum() / weight.sum())
    ratio = np.sqrt(d / np.maximum(s, 1e-6))
    ratio /= np.median(ratio[counted])  # contrast may have changed; above 1, dst shows more than src does
    part = n * np.maximum(ratio, 1.0 / np.maximum(ratio, 1e-6))  # how much of the weaker side the stronger contains
    veiled = structured & ~agrees & (n > 0.3) & (part > 0.7) & (part < 1.6)  # under a watermark: counts neither way
    if is_paper:
        veiled[:] = False
    differs = structured & ~agrees & ~veiled
    alike = (ratio > _ALIKE_RATIO) & (ratio < 1 / _ALIKE_RATIO)
    lost = differs & in_src & ((ratio < 1.0) | (in_dst & alike))
    gained = differs & in_dst & ((ratio >= 1.0) | (in_src & alike))
    clear = max(count // 2, count - int(veiled.sum()))
    agreeing = float(agrees.sum()) / clear
    if is_paper:
        agreeing = max(0.0, 1.0 - _PAPER_WEIGHT * (1.0 - agreeing))
    return Agreement(correlation, agreeing, float(min(lost.sum(), gained.sum())) / count)


def _structure_threshold(energy: FloatArray, other: FloatArray, ncc: FloatArray) -> float:
    """The energy from which a cell of one side shows something: above flat, above its own noise.

    Noise is what the other side does not explain where the other side is quiet.
    """
    mean = float(energy.mean())
    quiet = other <= np.partition(other, len(other) // 4)[len(other) // 4]
    noise = float(np.median(energy[quiet] * (1.0 - np.square(np.clip(ncc[quiet], 0.0, 1.0)))))
    return max(_FLAT_ENERGY, 0.1 * mean, min(3.0 * noise, 0.3 * mean))
