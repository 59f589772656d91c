"""Geometric verification of one pair of pictures: the entry point of matching, alignment and differences."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from dupelake.verify.align import (
    Matrix,
    Overlap,
    box_transform,
    corners,
    lay,
    linear_part,
    move,
    refine_transform,
    shared_shares,
    warp,
)
from dupelake.verify.colour_differences import FULL, Difference, difference
from dupelake.verify.decision import MIN_AGREEING
from dupelake.verify.differences import Agreement, agreement
from dupelake.verify.frames import Shares, shares
from dupelake.verify.matching import Consensus, find_consensus, find_support, fit_homography
from dupelake.verify.picture import TURNS, Picture
from dupelake.verify.sides import SEEN, Added, added

VERIFY_REVISION = 5  # raise it with any change here, in matching, align or differences that changes a number
_MIN_SMALL_NCC = 0.7  # of 32 x 32 pixels, for a look at the whole
_MIN_INLIERS = 5
_MIN_ISOTROPY = 0.004  # one straight horizon: below 0.0002; cut-outs of smooth things, true pairs: 0.0075 and more
_VOUCHING = 12  # inliers
_TINY_RATE = 2.0  # of enlargement: overlaps of 64 px and less
_TINY_PX = 64  # of the longer side; the ink of a smaller glyph, laid onto that of another, fits whatever they are
_REFINE_ROUNDS = 3
_GAIN = 1.02  # of quality, from which another round may gain more
_SURE_PX = 0.5
_IN_PLACE_PX = 0.25  # median shift of cells; copies end at .02 to .15
_VOUCHED_SLACK = 0.2  # of the overlap's longer side: how far refinement may move a corner that keypoints vouch for
# Of the longer side: between these an alignment is held against the whole on the whole.
_STRAIGHT_FROM, _STRAIGHT_TO = 0.004, 0.05
_ON_EACH_OTHER = 0.992  # of either picture
_STRAIGHT = 0.97  # of the quality, beside what is found so
_CLOSE_NCC = 0.95  # of 32 x 32 pixels, from which whole pictures may lie on each other as they are


@dataclass(frozen=True)
class Alignment:
    """What was measured of a pair after one picture was laid onto the other.

    Attributes:
        n_inliers: matched keypoints at distinct points that fit the alignment; 0 when aligned without keypoints.
        inlier_spread: 0 to 1, share of the overlap's 4 x 4 cells that hold an inlier; 0 without keypoints.
        aligned_ncc: -1 to 1, correlation of gradients over the overlap.
        agreeing_share: 0 to 1, share of the overlap's structured cells that agree.
        contradicting_share: 0 to 1, share of the structured cells in which each side shows what the other lacks: two
            people before one wall; an edit only adds or only covers.
        src_overlap: 0 to 1, share of the source's content (flat frames are none) that the other shows.
        dst_overlap: the same of the destination.
        src_beyond: 0 to 1, share of the source's content that the other lacks and that continues the same picture.
        dst_beyond: the same of the destination.
        src_frame: 0 to 1, share of the source that was put around the picture: borders, bars, captions, screens.
        dst_frame: the same of the destination.
        src_added: 0 to 1, share of the overlap over which something was laid that the destination lacks.
        dst_added: the same of the destination.
        scale: thumbnail pixels of dst for one of src.
        rotation_degrees: -180 to 180, clockwise from source (mirrored first) to destination.
        is_mirrored: one is the mirror image of the other.
        largest_local_difference: 0 to 1, of the cell that differs most; 1 where less than 0.3 of the cells agree.
        difference_box: x, y, width, height of what differs, in fractions of src; zeros where nothing does.
        colour_difference: 0 to 1, of colours over the overlap; 0, not measured, where less than 0.3 of the cells agree.
        cell_shift_px: 0 to 2 pixels of the overlap, median shift against each other of the cells in which both sides
            show something: parallax, another pose, another shape; 2 where there are none.
        unexplained_colour: 0 to 64 levels, median over the overlap of what a smooth map of colours leaves unexplained.
    """

    n_inliers: int
    inlier_spread: float
    aligned_ncc: float
    agreeing_share: float
    contradicting_share: float
    src_overlap: float
    dst_overlap: float
    src_beyond: float
    dst_beyond: float
    src_frame: float
    dst_frame: float
    src_added: float
    dst_added: float
    scale: float
    rotation_degrees: float
    is_mirrored: bool
    largest_local_difference: float
    difference_box: tuple[float, float, float, float]
    colour_difference: float
    cell_shift_px: float
    unexplained_colour: float


def pair_seed(src_id: str, dst_id: str) -> int:
    """Seed of what is random in the verification of a pair: 63 bits, a function of the two ids alone."""
    return int.from_bytes(hashlib.blake2b(f"{src_id}\n{dst_id}".encode(), digest_size=8).digest(), "little") >> 1


def verify_pair(src: Picture, dst: Picture, seed: int) -> Alignment | None:
    """Lay one picture onto the other and measure how far they agree; None where no alignment was found.

    The cheapest hypothesis first: the whole pictures (or their contents without borders) on each other, straight,
    mirrored and turned by quarters; then keypoints, straight and mirrored. The first that agrees nearly everywhere is
    taken, else the one that agrees best.
    """
    if min(max(one.rgb.shape[:2]) for one in (src, dst)) <= _TINY_PX:
        src, dst = src.as_whole(), dst.as_whole()
    best: _Fit | None = None
    for alike, transform in _direct_transforms(src, dst):
        best = _better(best, _fit(src, dst, transform, None, is_close=alike >= _CLOSE_NCC))
        if best is not None and best.is_sure():
            return _measure(src, dst, best if best.is_plain() else _supported(src, dst, best))
    for mirrored in (False, True):
        consensus = find_consensus(src.features, dst.features, mirrored, seed)
        if consensus is None or consensus.n_inliers < _MIN_INLIERS:
            continue
        if mirrored and best is not None and best.is_likelier_than(consensus):
            continue
        fit = _fit(src, dst, fit_homography(consensus), consensus)
        if fit is not None and fit.overlap.rate >= _TINY_RATE and consensus.n_inliers < _VOUCHING:
            continue  # so few strokes fit some map whatever they are
        best = _better(best, fit)
        if best is not None and best.is_sure():  # a face also matches its mirror image somewhat
            break
    return None if best is None else _measure(src, dst, _supported(src, dst, best))


class _Fit(NamedTuple):
    """One alignment and how far it holds."""

    overlap: Overlap
    transform: Matrix
    agreement: Agreement
    consensus: Consensus | None

    def is_sure(self) -> bool:
        """Whether nothing that agrees better is left to be found: what differs is an edit, no misalignment."""
        found = self.agreement
        return found.share >= 0.75 and found.ncc >= 0.88 and found.contradicting <= 0.15 and found.shift <= _SURE_PX

    def is_exact(self) -> bool:
        """Whether what agrees does so too closely for refinement to gain anything."""
        return self.agreement.ncc >= 0.96 and self.agreement.shift <= _IN_PLACE_PX and self.is_sure()

    def is_likelier_than(self, mirrored: Consensus) -> bool:
        """Whether this straight alignment needs no comparison with a mirrored one that has fewer keypoints."""
        n_straight = 0 if self.consensus is None else self.consensus.n_inliers
        return self.agreement.share >= 0.5 and n_straight > mirrored.n_inliers

    def may_converge(self) -> bool:
        """Whether another round of refinement may bring it into place: it agrees closely, and is still shifted."""
        found = self.agreement
        return found.share >= 0.5 and found.ncc >= 0.88 and found.shift >= _IN_PLACE_PX

    def is_plain(self) -> bool:
        """Whether pixels alone tell that nothing differs: no keypoint needs to vouch for it."""
        found = self.agreement
        return found.share >= 0.95 and found.ncc >= 0.92 and found.isotropy >= _MIN_ISOTROPY


def _better(first: _Fit | None, second: _Fit | None) -> _Fit | None:
    """The one that agrees better; where they are close, the one that keypoints vouch for."""
    if first is None or second is None:
        return first or second
    lead = 0.9 if first.consensus is None and second.consensus is not None else 1.0
    return second if second.agreement.quality() > lead * first.agreement.quality() else first


def _supported(src: Picture, dst: Picture, fit: _Fit) -> _Fit:
    """With the keypoints that vouch for an alignment that was found without them.

    Stripes, which agree wherever they are laid, agree nowhere unless keypoints vouch for the place.
    """
    if fit.consensus is None:
        middle = move(fit.overlap.src_view, np.array([fit.overlap.mask.shape[::-1]]) / 2)[0]
        found = find_support(src.features, dst.features, fit.transform, (float(middle[0]), float(middle[1])))
        fit = fit._replace(consensus=found)
    if fit.agreement.isotropy < _MIN_ISOTROPY and fit.consensus is not None and fit.consensus.n_inliers < _VOUCHING:
        fit = fit._replace(agreement=fit.agreement._replace(share=0.0))
    return fit


def _fit(
    src: Picture, dst: Picture, transform: Matrix, consensus: Consensus | None, *, is_close: bool = False
) -> _Fit | None:
    """Lay, refine and compare; what is close is compared before, since most of it needs no refinement."""
    try:
        overlap = lay(src.grey, dst.grey, src.content, dst.content, transform)
        if overlap is None:
            return None
        first = None
        if is_close:
            first = _compared(overlap, transform, consensus)
            if first.is_exact():
                return first
        best = first
        is_vouched = consensus is not None and consensus.n_inliers >= _VOUCHING
        for _ in range(_REFINE_ROUNDS):
            refined = refine_transform(overlap, _VOUCHED_SLACK if is_vouched else None)
            if refined is not None:
                transform = refined
                overlap = lay(src.grey, dst.grey, src.content, dst.content, transform)
                if overlap is None:
                    return best
            fit = _compared(overlap, transform, consensus)
            is_better = best is None or fit.agreement.quality() > _GAIN * best.agreement.quality()
            best = _better(best, fit)
            if refined is None or not is_better or not fit.may_converge():
                break
    except np.linalg.LinAlgError:
        return None
    return best


def _direct_transforms(src: Picture, dst: Picture) -> list[tuple[float, Matrix]]:
    """The likeliest of the eight ways to lay the whole onto the whole, and content onto content, best first.

    Each with the correlation of 32 x 32 pixels.
    """
    found: list[tuple[float, Matrix]] = []
    for a, b in dict.fromkeys([(src.whole, dst.whole), (src.content, dst.content)]):
        values = (src.turned(a) @ dst.small(b).ravel()).tolist()
        which = int(np.argmax(values))
        if values[which] >= _MIN_SMALL_NCC:
            found.append((values[which], box_transform(a, b, TURNS[which])))
    found.sort(key=lambda item: -item[0])
    if len(found) == 2 and found[1][0] > 0.97:
        return found[:1]  # borders of a pixel or two: refinement reaches one from the other
    return found


def _straightened(src: Picture, dst: Picture, fit: _Fit) -> _Fit:
    """The whole on the whole, where that is close to the alignment that was found, and agrees as well.

    What lies over an edge leaves the map there to chance, and a crop of two in a hundred would be seen where none is.
    """
    outline = corners(src.whole)
    quad = move(fit.transform, outline)
    ways = [box_transform(src.whole, dst.whole, turn) for turn in TURNS]
    away = [float(np.abs(quad - move(way, outline)).max()) for way in ways]
    nearest = int(np.argmin(away))
    if not _STRAIGHT_FROM < away[nearest] / max(dst.whole[2:]) < _STRAIGHT_TO:
        return fit
    overlap = lay(src.grey, dst.grey, src.content, dst.content, ways[nearest])
    if overlap is None:
        return fit
    straight = _compared(overlap, ways[nearest], fit.consensus)
    return straight if straight.agreement.quality() >= _STRAIGHT * fit.agreement.quality() else fit


def _compared(overlap: Overlap, transform: Matrix, consensus: Consensus | None) -> _Fit:
    return _Fit(overlap, transform, agreement(overlap.src, overlap.dst, overlap.mask), consensus)


def _measure(src: Picture, dst: Picture, fit: _Fit) -> Alignment:
    fit = _straightened(src, dst, fit)
    overlap = fit.overlap
    size = overlap.mask.shape[1], overlap.mask.shape[0]
    half = max(1, size[0] // 2), max(1, size[1] // 2)
    differs = Difference(1.0, (0.0, 0.0, float(half[0]), float(half[1])), 0.0, FULL)
    laid = Added(0.0, 0.0)
    if fit.agreement.share >= MIN_AGREEING:
        shown = (
            warp(src.rgb, overlap.src_view @ _DOUBLE, half),
            warp(dst.rgb, overlap.dst_view @ _DOUBLE, half),
            cv2.resize(overlap.mask, half, interpolation=cv2.INTER_NEAREST),
        )
        differs = difference(*shown)
        if differs.largest >= SEEN:
            laid = added(*shown)
    middle = move(overlap.src_view, np.array([[size[0] / 2, size[1] / 2]]))[0]
    linear = linear_part(fit.transform, middle)
    mirrored = bool(np.linalg.det(linear) < 0)
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    src_shares, dst_shares = _shares(src, dst, fit)
    n_inliers, spread = 0, 0.0
    if fit.consensus is not None:
        n_inliers, spread = fit.consensus.n_inliers, _spread(fit.consensus, overlap)
    return Alignment(
        n_inliers=n_inliers,
        inlier_spread=spread,
        aligned_ncc=fit.agreement.ncc,
        agreeing_share=fit.agreement.share,
        contradicting_share=fit.agreement.contradicting,
        src_overlap=src_shares.overlap,
        dst_overlap=dst_shares.overlap,
        src_beyond=src_shares.beyond,
        dst_beyond=dst_shares.beyond,
        src_frame=src_shares.frame,
        dst_frame=dst_shares.frame,
        src_added=laid.src,
        dst_added=laid.dst,
        scale=float(np.sqrt(abs(np.linalg.det(linear)))),
        rotation_degrees=float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))),
        is_mirrored=mirrored,
        largest_local_difference=differs.largest,
        difference_box=_box_in_src(differs.box, overlap, src),
        colour_difference=differs.colour,
        cell_shift_px=fit.agreement.shift,
        unexplained_colour=differs.unexplained,
    )


def _shares(src: Picture, dst: Picture, fit: _Fit) -> tuple[Shares, Shares]:
    """What each picture shows beside the shared part; of whole pictures on each other that is nothing."""
    unframed = (src.shown, dst.shown) == (src.whole, dst.whole)
    a, b = shared_shares(src.whole, dst.whole, fit.transform)
    is_whole = min(a, b) > _ON_EACH_OTHER
    if is_whole and unframed:
        return Shares(1.0, 0.0, 0.0), Shares(1.0, 0.0, 0.0)
    of_src = shares(src.grey, src.shown, dst.grey, dst.shown, fit.transform, is_whole=is_whole)
    of_dst = shares(dst.grey, dst.shown, src.grey, src.shown, np.linalg.inv(fit.transform), is_whole=is_whole)
    if unframed and of_src.frame == of_dst.frame == 0.0:  # outlines tell a crop to a pixel, points to a fiftieth
        return Shares(a, 1.0 - a, 0.0), Shares(b, 1.0 - b, 0.0)
    return of_src, of_dst


def _spread(consensus: Consensus, overlap: Overlap) -> float:
    """Share of the 4 x 4 cells of the overlap's box that hold an inlier, of those that lie in the overlap."""
    height, width = overlap.mask.shape
    xy = move(np.linalg.inv(overlap.src_view), consensus.src_xy.astype(np.float64))
    cells = np.floor(xy / (width, height) * 4).astype(int)
    cells = cells[((cells >= 0) & (cells < 4)).all(axis=1)]
    held = len(np.unique(cells[:, 1] * 4 + cells[:, 0]))
    covered = int((cv2.resize(overlap.mask.astype(np.float32), (4, 4), interpolation=cv2.INTER_AREA) > 0.25).sum())
    return min(1.0, held / max(1, covered))


def _box_in_src(
    box: tuple[float, float, float, float] | None, overlap: Overlap, src: Picture
) -> tuple[float, float, float, float]:
    if box is None:
        return 0.0, 0.0, 0.0, 0.0
    x0, y0, x1, y1 = box
    edge = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) - 0.5
    size = np.array(src.rgb.shape[1::-1], np.float64)
    outline = np.clip((move(overlap.src_view @ _DOUBLE, edge) + 0.5) / size, 0.0, 1.0)
    low, high = outline.min(axis=0), outline.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


_DOUBLE = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]])
"""Pixels of a picture of half the size to pixels of the picture."""
