"""Geometric verification of one pair of pictures: find the best alignment and measure the pair."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from dupelake.verify.agreement import Agreement, agreement
from dupelake.verify.align import (
    Matrix,
    Overlap,
    box_transform,
    corners,
    find_overlap,
    linear_part,
    overlap_shares,
    refine_transform,
    transform_points,
)
from dupelake.verify.changes import find_changes
from dupelake.verify.frames import ContentShares, content_shares
from dupelake.verify.matching import Consensus, find_consensus, find_support, fit_homography
from dupelake.verify.picture import TURNS, Picture

VERIFY_REVISION = 9  # raise it with any change in verify/ that changes a measured number
_MIN_SMALL_NCC = 0.7  # correlation of 32 x 32 pixels above which whole pictures are aligned directly
_MIN_INLIERS = 5
_MIN_ISOTROPY = 0.004  # one straight horizon has less than 0.0002; true pairs of smooth cut-outs have 0.0075 or more
_CONFIRMING_INLIERS = 12  # so many keypoints confirm an alignment
_TINY_RATE = 2.0  # enlargement of overlaps of 64 px or less
_TINY_PX = 64  # longer side; the content boxes of two smaller glyphs fit each other whatever the glyphs are
_REFINE_ROUNDS = 3
_MIN_GAIN = 1.02  # ratio of qualities above which another round of refinement is tried
_MAX_SURE_SHIFT_PX = 0.5
_MAX_EXACT_SHIFT_PX = 0.25  # median shift of cells; copies reach .02 to .15
_CONFIRMED_SLACK = 0.2  # share of the longer side by which refinement may move a corner, if keypoints confirm the map
_SNAP_MIN, _SNAP_MAX = 0.004, 0.05  # distance from whole-to-whole, as a share of the longer side, that is tried as such
_WHOLE_SHARE = 0.992  # share of both pictures above which the whole is aligned with the whole
_SNAP_MIN_QUALITY = 0.97  # quality of whole-to-whole relative to that of the alignment found
_CLOSE_NCC = 0.95  # correlation of 32 x 32 pixels above which whole pictures may need no refinement


@dataclass(frozen=True)
class Alignment:
    """Measures of a pair after alignment.

    Attributes:
        n_inliers: matched keypoints at distinct points that fit the alignment; 0 if aligned without keypoints.
        inlier_spread: 0 to 1, share of the overlap's 4 x 4 cells that contain an inlier; 0 without keypoints.
        aligned_ncc: -1 to 1, correlation of gradients over the overlap.
        agreeing_share: 0 to 1, share of the overlap's structured cells that agree.
        contradicting_share: 0 to 1, share of the structured cells in which each side shows what the other lacks, such
            as two people in front of one wall. An edit only adds or only covers.
        src_overlap: 0 to 1, share of the source's content (without flat frames) that the destination shows.
        dst_overlap: the same for the destination.
        src_beyond: 0 to 1, share of the source's content that the destination lacks and that continues the scene.
        dst_beyond: the same for the destination.
        src_frame: 0 to 1, share of the source that is a frame: borders, bars, captions, screens.
        dst_frame: the same for the destination.
        src_added: 0 to 1, share of the overlap that an overlay covers in the source only.
        dst_added: the same for the destination.
        scale: thumbnail pixels of dst for one of src.
        rotation_degrees: -180 to 180, clockwise from the source (mirrored first) to the destination.
        is_mirrored: whether one is the mirror image of the other.
        largest_local_difference: 0 to 1, difference of the cell that differs most; 1 where less than 0.3 of the cells
            agree.
        difference_box: x, y, width, height of the differing region, as fractions of src; zeros where nothing differs.
        colour_difference: 0 to 1, change of colour over the overlap; 0 (not measured) where less than 0.3 of the cells
            agree.
        cell_shift_px: 0 to 2 pixels of the overlap, median shift of the cells with structure in both pictures, caused
            by parallax, another pose or another shape; 2 where there are no such cells.
        unexplained_colour: 0 to 64 levels, median over the overlap of the colour that a smooth colour map does not
            predict.
        difference_coherence: 0 to 1, share of the brightness that this map does not predict which is left when it is
            averaged over cells of 8 pixels; low for noise and encoding.
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
    difference_coherence: float


def pair_seed(src_id: str, dst_id: str) -> int:
    """Seed of the random samples for a pair: 63 bits, a function of the two ids only."""
    return int.from_bytes(hashlib.blake2b(f"{src_id}\n{dst_id}".encode(), digest_size=8).digest(), "little") >> 1


def verify_pair(src: Picture, dst: Picture, seed: int) -> Alignment | None:
    """Align two pictures and measure how far they agree; None where no alignment was found.

    Hypotheses are tried from cheap to expensive: first whole picture to whole picture (and content box to content box),
    straight, mirrored and turned by quarters; then keypoints, straight and mirrored. The first that agrees nearly
    everywhere is taken, else the best.
    """
    if _are_tiny(src, dst):
        src, dst = src.as_whole(), dst.as_whole()
    fit = _find_fit(src, dst, seed)
    return None if fit is None else _measure(src, dst, fit)


def find_map(src: Picture, dst: Picture, seed: int) -> Matrix | None:
    """The map of the alignment that `verify_pair` measures: float64 (3, 3), pixels of src to pixels of dst; or None."""
    if _are_tiny(src, dst):
        src, dst = src.as_whole(), dst.as_whole()
    fit = _find_fit(src, dst, seed)
    return None if fit is None else fit.transform


def _are_tiny(src: Picture, dst: Picture) -> bool:
    return min(max(one.rgb.shape[:2]) for one in (src, dst)) <= _TINY_PX


def _find_fit(src: Picture, dst: Picture, seed: int) -> _Fit | None:
    """The alignment of `verify_pair`."""
    best: _Fit | None = None
    for alike, transform in _direct_transforms(src, dst):
        best = _better(best, _refined_fit(src, dst, transform, None, is_close=alike >= _CLOSE_NCC))
        if best is not None and best.is_sure():
            return _snapped_to_whole(src, dst, best if best.is_plain() else _with_support(src, dst, best))
    for mirrored in (False, True):
        consensus = find_consensus(src.features, dst.features, mirrored, seed)
        if consensus is None or consensus.n_inliers < _MIN_INLIERS:
            continue
        if mirrored and best is not None and best.is_likelier_than(consensus):
            continue
        fit = _refined_fit(src, dst, fit_homography(consensus), consensus)
        if fit is not None and fit.overlap.rate >= _TINY_RATE and consensus.n_inliers < _CONFIRMING_INLIERS:
            continue  # some map always fits so few strokes
        best = _better(best, fit)
        if best is not None and best.is_sure():  # do not try the mirror image: a face resembles its own
            break
    return None if best is None else _snapped_to_whole(src, dst, _with_support(src, dst, best))


class _Fit(NamedTuple):
    """One alignment and its agreement."""

    overlap: Overlap
    transform: Matrix
    agreement: Agreement
    consensus: Consensus | None

    def is_sure(self) -> bool:
        """Whether no better alignment can be expected: the differences are edits and not misalignment."""
        found = self.agreement
        return (
            found.share >= 0.75
            and found.ncc >= 0.88
            and found.contradicting <= 0.15
            and found.shift <= _MAX_SURE_SHIFT_PX
        )

    def is_exact(self) -> bool:
        """Whether the agreement is too close for refinement to improve it."""
        return self.agreement.ncc >= 0.96 and self.agreement.shift <= _MAX_EXACT_SHIFT_PX and self.is_sure()

    def is_likelier_than(self, mirrored: Consensus) -> bool:
        """Whether this straight alignment need not be compared with a mirrored one that has fewer keypoints."""
        n_straight = 0 if self.consensus is None else self.consensus.n_inliers
        return self.agreement.share >= 0.5 and n_straight > mirrored.n_inliers

    def may_converge(self) -> bool:
        """Whether another round of refinement may improve it: it agrees closely, and is still shifted."""
        found = self.agreement
        return found.share >= 0.5 and found.ncc >= 0.88 and found.shift >= _MAX_EXACT_SHIFT_PX

    def is_plain(self) -> bool:
        """Whether the pixels alone prove that nothing differs, so that no keypoints are needed."""
        found = self.agreement
        return found.share >= 0.95 and found.ncc >= 0.92 and found.isotropy >= _MIN_ISOTROPY


def _better(first: _Fit | None, second: _Fit | None) -> _Fit | None:
    """The fit with the better agreement; if both are close, the one that keypoints confirm."""
    if first is None or second is None:
        return first or second
    lead = 0.9 if first.consensus is None and second.consensus is not None else 1.0
    return second if second.agreement.quality() > lead * first.agreement.quality() else first


def _with_support(src: Picture, dst: Picture, fit: _Fit) -> _Fit:
    """Add the keypoints that confirm an alignment found without keypoints.

    Stripes agree at many placements, so their share becomes 0 unless keypoints confirm the placement.
    """
    if fit.consensus is None:
        middle = transform_points(fit.overlap.src_view, np.array([fit.overlap.mask.shape[::-1]]) / 2)[0]
        found = find_support(src.features, dst.features, fit.transform, (float(middle[0]), float(middle[1])))
        fit = fit._replace(consensus=found)
    if (
        fit.agreement.isotropy < _MIN_ISOTROPY
        and fit.consensus is not None
        and fit.consensus.n_inliers < _CONFIRMING_INLIERS
    ):
        fit = fit._replace(agreement=fit.agreement._replace(share=0.0))
    return fit


def _refined_fit(
    src: Picture, dst: Picture, transform: Matrix, consensus: Consensus | None, *, is_close: bool = False
) -> _Fit | None:
    """Warp, refine and compare. A close hypothesis is compared before refinement, which it often does not need."""
    try:
        overlap = find_overlap(src.grey, dst.grey, src.content, dst.content, transform)
        if overlap is None:
            return None
        first = None
        if is_close:
            first = _fit_of(overlap, transform, consensus)
            if first.is_exact():
                return first
        best = first
        is_confirmed = consensus is not None and consensus.n_inliers >= _CONFIRMING_INLIERS
        for _ in range(_REFINE_ROUNDS):
            refined = refine_transform(overlap, _CONFIRMED_SLACK if is_confirmed else None)
            if refined is not None:
                transform = refined
                overlap = find_overlap(src.grey, dst.grey, src.content, dst.content, transform)
                if overlap is None:
                    return best
            fit = _fit_of(overlap, transform, consensus)
            is_better = best is None or fit.agreement.quality() > _MIN_GAIN * best.agreement.quality()
            best = _better(best, fit)
            if refined is None or not is_better or not fit.may_converge():
                break
    except np.linalg.LinAlgError:
        return None
    return best


def _direct_transforms(src: Picture, dst: Picture) -> list[tuple[float, Matrix]]:
    """The best of the eight symmetries for whole to whole, and for content box to content box, best first.

    Each map comes with its correlation of 32 x 32 pixels.
    """
    found: list[tuple[float, Matrix]] = []
    for a, b in dict.fromkeys([(src.whole, dst.whole), (src.content, dst.content)]):
        values = (src.turned(a) @ dst.small(b).ravel()).tolist()
        which = int(np.argmax(values))
        if values[which] >= _MIN_SMALL_NCC:
            found.append((values[which], box_transform(a, b, TURNS[which])))
    found.sort(key=lambda item: -item[0])
    if len(found) == 2 and found[1][0] > 0.97:
        return found[:1]  # borders of a pixel or two: refinement corrects them
    return found


def _snapped_to_whole(src: Picture, dst: Picture, fit: _Fit) -> _Fit:
    """Replace an alignment by whole-to-whole where that is close to it and agrees nearly as well.

    An overlay on an edge makes the map inexact there, so that a crop of 2 % would be reported where there is none.
    """
    outline = corners(src.whole)
    quad = transform_points(fit.transform, outline)
    ways = [box_transform(src.whole, dst.whole, turn) for turn in TURNS]
    away = [float(np.abs(quad - transform_points(way, outline)).max()) for way in ways]
    nearest = int(np.argmin(away))
    if not _SNAP_MIN < away[nearest] / max(dst.whole[2:]) < _SNAP_MAX:
        return fit
    overlap = find_overlap(src.grey, dst.grey, src.content, dst.content, ways[nearest])
    if overlap is None:
        return fit
    straight = _fit_of(overlap, ways[nearest], fit.consensus)
    return straight if straight.agreement.quality() >= _SNAP_MIN_QUALITY * fit.agreement.quality() else fit


def _fit_of(overlap: Overlap, transform: Matrix, consensus: Consensus | None) -> _Fit:
    return _Fit(overlap, transform, agreement(overlap.src, overlap.dst, overlap.mask), consensus)


def _measure(src: Picture, dst: Picture, fit: _Fit) -> Alignment:
    overlap = fit.overlap
    size = overlap.mask.shape[1], overlap.mask.shape[0]
    colours, box, additions = find_changes(src, dst, overlap, fit.transform, fit.agreement.share)
    middle = transform_points(overlap.src_view, np.array([[size[0] / 2, size[1] / 2]]))[0]
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
        src_added=additions.src,
        dst_added=additions.dst,
        scale=float(np.sqrt(abs(np.linalg.det(linear)))),
        rotation_degrees=float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))),
        is_mirrored=mirrored,
        largest_local_difference=colours.largest,
        difference_box=box,
        colour_difference=colours.colour,
        cell_shift_px=fit.agreement.shift,
        unexplained_colour=colours.unexplained,
        difference_coherence=colours.coherence,
    )


def _shares(src: Picture, dst: Picture, fit: _Fit) -> tuple[ContentShares, ContentShares]:
    """Content shares of both pictures."""
    unframed = (src.shown, dst.shown) == (src.whole, dst.whole)
    a, b = overlap_shares(src.whole, dst.whole, fit.transform)
    is_whole = min(a, b) > _WHOLE_SHARE
    if is_whole and unframed:
        return ContentShares(1.0, 0.0, 0.0), ContentShares(1.0, 0.0, 0.0)
    of_src = content_shares(src.grey, src.shown, dst.grey, dst.shown, fit.transform, is_whole=is_whole)
    of_dst = content_shares(dst.grey, dst.shown, src.grey, src.shown, np.linalg.inv(fit.transform), is_whole=is_whole)
    if unframed and of_src.frame == of_dst.frame == 0.0:  # outlines tell a crop to a pixel, points to a fiftieth
        return ContentShares(a, 1.0 - a, 0.0), ContentShares(b, 1.0 - b, 0.0)
    return of_src, of_dst


def _spread(consensus: Consensus, overlap: Overlap) -> float:
    """Share of the 4 x 4 cells of the overlap's box that contain an inlier, among the cells inside the overlap."""
    height, width = overlap.mask.shape
    xy = transform_points(np.linalg.inv(overlap.src_view), consensus.src_xy.astype(np.float64))
    cells = np.floor(xy / (width, height) * 4).astype(int)
    cells = cells[((cells >= 0) & (cells < 4)).all(axis=1)]
    occupied = len(np.unique(cells[:, 1] * 4 + cells[:, 0]))
    covered = int((cv2.resize(overlap.mask.astype(np.float32), (4, 4), interpolation=cv2.INTER_AREA) > 0.25).sum())
    return min(1.0, occupied / max(1, covered))
