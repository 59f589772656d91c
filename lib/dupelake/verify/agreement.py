"""Agreement of two aligned pictures: correlation of their gradients, cell by cell."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.verify.cells import FloatArray, Mask, cell_means, gradients, median, whole_cells
from dupelake.verify.decision import MIN_AGREEING
from dupelake.verify.shifts import MAX_SHIFT_PX, cell_shifts

AGREEING_NCC = 0.6  # correlation above which a cell agrees
_FLAT_ENERGY = 0.5  # mean squared gradient (levels per pixel) below which a cell has no structure
MIN_CELLS = 6  # structured cells; fewer prove nothing
_MIN_STRUCTURED_SHARE = 0.04
_CELL_PX = (8, 24)
_CELLS_ACROSS = 14
_MIN_CELL_SHARE = 0.4  # share of a cell that must be inside the overlap
_ALIKE_RATIO = 0.35  # ratio of contrasts above which both sides have structure in a differing cell
_FLAT_SHARE = 0.5  # share of the pixels near one level, above which a picture has a flat background
_PAPER_SHARPNESS = 3.5  # thin strokes; photographs measure 1.9 to 4.5, but do not have a background of one level
_PAPER_NCC = 0.8
_PAPER_WEIGHT = 6.0  # weight of a differing cell
_ROW_CELL_PX = 8  # about three rows of text on a thumbnail of a page
_ROW_NCC = 0.5  # correlation, in one direction of the gradients, below which a cell differs
_ROW_STRUCTURE = 0.1  # share of the mean gradient energy above which a cell has structure in one direction
# Weight of the share of differing cells. Measured: copies of pages are below .025, nearly all below .005; pages that
# share a template but no row of text measure .03 to .31.
_ROW_WEIGHT = 12.0
_ROW_CONTRADICTION = 6.0  # high, so that a few differing rows already contradict
MARGIN = np.ones((7, 7), np.uint8)  # resampling and JPEG mix outside pixels into this margin


class Agreement(NamedTuple):
    """Agreement of the gradients of both sides over the overlap.

    Attributes:
        ncc: -1 to 1, correlation over the agreeing cells, or over all structured cells where none agrees.
        share: 0 to 1, agreeing cells as a share of the structured cells; 0 where too few are structured.
        contradicting: 0 to 1, share of the structured cells in which each side shows what the other lacks. What an
            edit adds or covers counts on one side only.
        isotropy: 0 to 1, ratio of the weakest to the strongest direction of the shared gradients. Near 0 the overlap
            shows only stripes or one edge, which agree at many placements.
        shift: 0 to 2 pixels, median shift between the two sides over the cells with structure in both; 2 where there
            are none.
    """

    ncc: float
    share: float
    contradicting: float
    isotropy: float = 1.0
    shift: float = MAX_SHIFT_PX

    def quality(self) -> float:
        """Quality of an alignment, 0 to 1; the better of two alignments has the higher value."""
        return self.share * max(0.0, self.ncc)


def _sharpness(grey: FloatArray, mask: FloatArray) -> float:
    """Gradient energy divided by that of the smoothed picture: falls with blur, rises with noise and thin strokes."""
    fine, coarse = 0.0, 0.0
    for d in gradients(grey):
        fine += float(np.dot((d * mask).ravel(), d.ravel()))
    half = grey.shape[1] // 2 or 1, grey.shape[0] // 2 or 1
    smooth = cv2.GaussianBlur(cv2.resize(grey, half, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    inside = cv2.resize(mask, half, interpolation=cv2.INTER_NEAREST)
    for d in gradients(smooth):
        coarse += float(np.dot((d * inside).ravel(), d.ravel()))
    # the half has a quarter of the pixels, each with twice the gradient, so no factor is needed
    return fine / (coarse + 1e-6)


def _match_sharpness(
    first: FloatArray, second: FloatArray, mask: FloatArray, sharpness: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Blur the sharper picture until it is as soft as the other, so that both have the same effective resolution."""
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
    """Compare gradients cell by cell; each cell may be shifted by one pixel.

    Args:
        src: float32 (h, w), grey.
        dst: float32 (h, w), grey, aligned.
        mask: uint8 (h, w), 1 where both show content.
    """
    found, is_flat = _cell_agreement(src, dst, mask)
    if not is_flat or found.share <= 0.0:
        return found
    differing_rows = _differing_row_share(src, dst, mask)
    return found._replace(
        share=min(found.share, max(0.0, 1.0 - _ROW_WEIGHT * differing_rows)),
        contradicting=max(found.contradicting, min(1.0, _ROW_CONTRADICTION * differing_rows)),
    )


class Prepared(NamedTuple):
    """Both sides, equally sharp and without shading, padded to whole cells.

    Attributes:
        a: float32 (h, w), the source.
        b: float32 (h, w), the destination.
        src_gradients: of `a`.
        dst_gradients: of `b`.
        inside: float32 (h, w), 1 inside the overlap.
        side: of a cell, in pixels.
        is_flat: whether both have a flat background (a page, a drawing, a glyph).
        is_paper: whether they are pages.
    """

    a: FloatArray
    b: FloatArray
    src_gradients: Gradients
    dst_gradients: Gradients
    inside: FloatArray
    side: int
    is_flat: bool
    is_paper: bool

    def cells(self) -> Cells | None:
        """The cells inside the overlap; None where there are too few."""
        share = cell_means(self.inside, self.side)
        return _overlap_cells(*_correlate(self.src_gradients, self.dst_gradients, self.side, share), share)

    def shifts(self) -> tuple[FloatArray, FloatArray]:
        """The shift of each cell, x and y, in pixels; float32 (rows, columns) each."""
        return cell_shifts(self.a, self.b, self.src_gradients, self.dst_gradients, self.inside, self.side)


def prepared(src: FloatArray, dst: FloatArray, mask: Mask) -> Prepared:
    """Both sides of an overlap, as their cells are compared; the arguments are those of `agreement`."""
    side = int(np.clip(round(max(src.shape) / _CELLS_ACROSS), *_CELL_PX))
    inner = cv2.erode(mask, MARGIN, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    whole = whole_cells(inner, side, cv2.BORDER_CONSTANT)
    inside = whole.astype(np.float32)
    src, dst = (whole_cells(g, side, cv2.BORDER_REPLICATE) for g in (src, dst))
    a, b = (cv2.GaussianBlur(g, (0, 0), 1.0) for g in (src, dst))
    sharpness = _sharpness(a, inside), _sharpness(b, inside)
    is_flat = all(_paper_share(g, whole) > _FLAT_SHARE for g in (src, dst))
    is_paper = is_flat and min(sharpness) > _PAPER_SHARPNESS
    a, b = _match_sharpness(a, b, inside, sharpness)
    wide = (2 * side + 1, 2 * side + 1)
    a, b = (g - cv2.blur(g, wide) for g in (a, b))  # remove shading wider than a cell, such as a vignette
    src_gradients, dst_gradients = (_masked(gradients(g), inside) for g in (a, b))
    return Prepared(a, b, src_gradients, dst_gradients, inside, side, is_flat, is_paper)


def _cell_agreement(src: FloatArray, dst: FloatArray, mask: Mask) -> tuple[Agreement, bool]:
    """Agreement of large cells, and whether both sides have a flat background."""
    both = prepared(src, dst, mask)
    cells = both.cells()
    if cells is None:
        return Agreement(0.0, 0.0, 0.0), both.is_flat
    found = _summarise(cells, both.is_paper)
    if found.share >= MIN_AGREEING:
        isotropy = _isotropy(both.src_gradients, both.dst_gradients)
        found = found._replace(isotropy=isotropy, shift=_median_shift(cells, np.hypot(*both.shifts())))
    return found, both.is_flat


Gradients = tuple[FloatArray, FloatArray]  # gradients, 0 outside the overlap


def _masked(xy: Gradients, inside: FloatArray) -> Gradients:
    return xy[0] * inside, xy[1] * inside


class Cells(NamedTuple):
    """The n cells inside the overlap.

    Attributes:
        valid: bool (rows, columns), which cells of the grid are inside.
        ncc: float32 (n,), correlation of gradients.
        src: float32 (n,), gradient energy of the source.
        dst: float32 (n,), gradient energy of the destination.
        in_src: bool (n,), whether the source has structure in the cell.
        in_dst: bool (n,), whether the destination has.
    """

    valid: NDArray[np.bool_]
    ncc: FloatArray
    src: FloatArray
    dst: FloatArray
    in_src: NDArray[np.bool_]
    in_dst: NDArray[np.bool_]


def _overlap_cells(ncc: FloatArray, src_energy: FloatArray, dst_energy: FloatArray, share: FloatArray) -> Cells | None:
    """The cells inside the overlap; None where there are too few."""
    valid = share > _MIN_CELL_SHARE
    if valid.sum() < MIN_CELLS:
        return None
    n, s, d = ncc[valid], src_energy[valid] / share[valid], dst_energy[valid] / share[valid]
    return Cells(valid, n, s, d, s > _structure_threshold(s, d, n), d > _structure_threshold(d, s, n))


def _median_shift(cells: Cells, shifts: FloatArray) -> float:
    """Weighted median shift of the cells with structure on both sides; strong edges weigh more."""
    both = cells.in_src & cells.in_dst
    if both.sum() < MIN_CELLS:
        return MAX_SHIFT_PX
    weight = np.sqrt(cells.src * cells.dst)[both]
    weight = np.minimum(weight, median(weight)) + 1e-9
    moved = shifts[cells.valid][both]
    order = np.argsort(moved, kind="stable")
    middle = int(np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2))
    return min(MAX_SHIFT_PX, float(moved[order][min(middle, len(order) - 1)]))


def _differing_row_share(src: FloatArray, dst: FloatArray, mask: Mask) -> float:
    """Share of small cells, 0 to 1, in which both sides have structure and the structure differs.

    Two rows of text are two grey bars of one height, so that gradients across the row agree whatever the letters are.
    Therefore each direction of the gradients is compared separately, and the worse one counts.
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
        differs |= valid & in_own & in_other & (_best_correlation_within_a_pixel(own, other, side) < _ROW_NCC)
    return max(0.0, float(differs.sum()) - 1.0) / max(1, int(shown.sum()))  # one cell may be an error of the alignment


def _best_correlation_within_a_pixel(own: FloatArray, other: FloatArray, side: int) -> FloatArray:
    """For each cell, the best correlation of one derivative of both sides over nine shifts of `other`."""
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


def _isotropy(src: Gradients, dst: Gradients) -> float:
    """Isotropy of the gradients that both sides share. It uses products of both sides, in which noise cancels out."""
    (ax, ay), (bx, by) = src, dst
    xx, yy, xy = (float(np.dot(p.ravel(), q.ravel())) for p, q in ((ax, bx), (ay, by), (ax + ay, bx + by)))
    cross = (xy - xx - yy) / 2  # products of x with y, mean of both orders
    spread = float(np.hypot(xx - yy, 2 * cross))
    return max(0.0, (xx + yy - spread) / max(xx + yy + spread, 1e-9))


def _paper_share(grey: FloatArray, inside: Mask) -> float:
    """Share of the pixels within 6 levels (of 256) of the most common level."""
    quarters = (np.clip(grey, 0, 255) * (1 / 4)).astype(np.uint8)
    levels = cv2.calcHist([quarters], [0], inside, [64], [0, 64]).ravel().astype(np.float64)
    around = np.convolve(levels, np.ones(3), mode="same")
    return float(around[int(levels.argmax())] / max(levels.sum(), 1.0))


def _correlate(
    src: Gradients, dst: Gradients, side: int, share: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """For each cell: the best correlation of gradients within a shift of one pixel, and the energies of both sides."""
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
    along_x, along_y = np.empty_like(ax), np.empty_like(ay)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dx == dy == 0:
                continue
            here = slice(1 - dy, 1 - dy + h), slice(1 - dx, 1 - dx + w)
            energy = cell_means(b_energy[here], side)
            np.multiply(ax, bx[here], out=along_x)
            np.multiply(ay, by[here], out=along_y)
            along_x += along_y
            product = cell_means(along_x, side)
            ncc = np.maximum(ncc, product / np.sqrt(src_energy * energy + 1e-9))
    return ncc, src_energy, dst_energy


class Judged(NamedTuple):
    """What the cells say, bool (n,) each; `lost` and `gained` are those in which one side lacks what the other shows.

    Attributes:
        counted: the cells of which `ncc` is the mean.
        agrees: whether they agree.
        veiled: under a watermark; they do not count.
        n_structured: number of cells with structure.
    """

    counted: NDArray[np.bool_]
    agrees: NDArray[np.bool_]
    veiled: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    gained: NDArray[np.bool_]
    n_structured: int


def judge_cells(cells: Cells, is_paper: bool) -> Judged | None:
    """Which cells agree, and what the others lack; None where too few have structure."""
    _, n, s, d, in_src, in_dst = cells
    structured = in_src | in_dst
    count = int(structured.sum())
    if count < max(MIN_CELLS, _MIN_STRUCTURED_SHARE * len(n)):
        return None
    # pages made from one template share most of their structure: on paper only close agreement counts
    agrees = structured & (n > (_PAPER_NCC if is_paper else AGREEING_NCC))
    counted = agrees if agrees.any() else structured
    ratio = np.sqrt(d / np.maximum(s, 1e-6))
    ratio /= median(ratio[counted])  # relative to the usual change of contrast; above 1, dst has more structure
    part = n * np.maximum(ratio, 1.0 / np.maximum(ratio, 1e-6))  # share of the weaker side that the stronger contains
    veiled = structured & ~agrees & (n > 0.3) & (part > 0.7) & (part < 1.6)  # under a watermark: does not count
    if is_paper:
        veiled[:] = False
    differs = structured & ~agrees & ~veiled
    alike = (ratio > _ALIKE_RATIO) & (ratio < 1 / _ALIKE_RATIO)
    lost = differs & in_src & ((ratio < 1.0) | (in_dst & alike))
    gained = differs & in_dst & ((ratio >= 1.0) | (in_src & alike))
    return Judged(counted, agrees, veiled, lost, gained, count)


def _summarise(cells: Cells, is_paper: bool) -> Agreement:
    judged = judge_cells(cells, is_paper)
    if judged is None:
        return Agreement(0.0, 0.0, 0.0)
    weight = np.sqrt(cells.src * cells.dst)[judged.counted]
    weight = np.minimum(weight, median(weight)) + 1e-9  # limits the influence of a few strong edges
    correlation = float((cells.ncc[judged.counted] * weight).sum() / weight.sum())
    count = judged.n_structured
    clear = max(count // 2, count - int(judged.veiled.sum()))
    agreeing = float(judged.agrees.sum()) / clear
    if is_paper:
        agreeing = max(0.0, 1.0 - _PAPER_WEIGHT * (1.0 - agreeing))
    return Agreement(correlation, agreeing, float(min(judged.lost.sum(), judged.gained.sum())) / count)


def _structure_threshold(energy: FloatArray, other: FloatArray, ncc: FloatArray) -> float:
    """Energy above which a cell of one side has structure: more than a flat cell, and more than the side's noise.

    Noise is estimated from cells in which the other side is quiet: it is the energy that the other does not explain.
    """
    mean = float(energy.mean())
    quiet = other <= np.partition(other, len(other) // 4)[len(other) // 4]
    noise = float(median(energy[quiet] * (1.0 - np.square(np.clip(ncc[quiet], 0.0, 1.0)))))
    return max(_FLAT_ENERGY, 0.1 * mean, min(3.0 * noise, 0.3 * mean))
