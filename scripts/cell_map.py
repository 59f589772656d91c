"""What the agreement of two aligned pictures looks like, cell by cell, for people. No decision reads it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dupelake.verify.agreement import judge_cells, prepared
from dupelake.verify.cells import FloatArray, Mask


class CellMap(NamedTuple):
    """The cells of an overlap, in rows and columns.

    Attributes:
        side: of a cell, in pixels of the overlap.
        structured: bool (rows, columns), whether one side has structure.
        ncc: float32 (rows, columns), correlation of gradients; NaN outside the overlap.
        agrees: bool (rows, columns).
        lost: bool (rows, columns), whether the source shows what the destination lacks.
        gained: bool (rows, columns), whether the destination shows what the source lacks.
        shifts: float32 (rows, columns, 2), in pixels, x and y; NaN without structure in both.
    """

    side: int
    structured: NDArray[np.bool_]
    ncc: FloatArray
    agrees: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    gained: NDArray[np.bool_]
    shifts: FloatArray


def cell_map(src: FloatArray, dst: FloatArray, mask: Mask) -> CellMap | None:
    """What `agreement` finds in each cell, for people to look at; None where the overlap has too few cells."""
    both = prepared(src, dst, mask)
    cells = both.cells()
    judged = None if cells is None else judge_cells(cells, both.is_paper)
    if cells is None or judged is None:
        return None
    dx, dy = both.shifts()

    def spread(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
        out = np.zeros_like(cells.valid)
        out[cells.valid] = flags
        return out

    ncc = np.full(cells.valid.shape, np.nan, np.float32)
    ncc[cells.valid] = cells.ncc
    has_shift = spread(cells.in_src & cells.in_dst)
    shifts = np.stack([np.where(has_shift, d, np.nan) for d in (dx, dy)], axis=-1)
    structured = spread(cells.in_src | cells.in_dst)
    return CellMap(
        both.side, structured, ncc, spread(judged.agrees), spread(judged.lost), spread(judged.gained), shifts
    )
