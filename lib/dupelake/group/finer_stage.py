"""Which of two pictures shows the shared part finer: by pixels, and by the detail that was measured in them."""

from __future__ import annotations

from pyspark.sql import Column

from dupelake.frames.functions import F
from dupelake.group.bridges import FINER, FINER_DETAIL, WHOLE

# What noise, JPEG's blocks, sharpening and the edge of a frame add to the detail of a soft picture is no detail of the
# scene. A blurred copy of the edits bench has a 1.85th of the sharpness of the others or less. All its photographs were
# seen when these limits were chosen (benchmarks/quality.md).
_SHARPER = 1.7  # ratio of sharpness, in pixels of one picture
_NOISE = 8.0  # levels; grass and gravel have up to 5
_FRAMED = 0.03  # share; one line of the grid of measured points is .021


def resolution() -> Column:
    """Measured pixels of dst for one of src in the shared part, for an edge: from scale, overlaps, details, conditions.

    Detail corrects the ratio of pixels for enlarging. It makes a picture finer than its pixels only where that picture
    is much sharper, without noise or a frame. It is measured over a whole picture. So where the pictures show different
    parts it corrects for enlarging only: a sharp corner of a soft picture is not finer than the picture.
    """
    scale, both_whole = F.col("scale"), (F.col("src_overlap") >= WHOLE) & (F.col("dst_overlap") >= WHOLE)
    measured = scale * F.col("detail_dst") / F.col("detail_src")
    most = F.when(both_whole & _is_sharper("dst", "src", scale), measured).otherwise(F.greatest(scale, F.lit(1.0)))
    least = F.when(both_whole & _is_sharper("src", "dst", 1.0 / scale), measured).otherwise(F.least(scale, F.lit(1.0)))
    return F.least(F.greatest(measured, least), most)


def _is_sharper(own: str, other: str, scale: Column) -> Column:
    """Whether the picture at one end is much sharper, and neither noise nor a frame explains it; false if unknown.

    Args:
        own: src or dst.
        other: the other one.
        scale: pixels of own for one of the other; a picture that is made larger is softer, pixel by pixel.
    """
    sharper = F.col(f"{own}_condition.sharpness") * scale > _SHARPER * F.col(f"{other}_condition.sharpness")
    calm = F.col(f"{own}_condition.noise") < _NOISE
    bare = F.col(f"{own}_frame") - F.col(f"{other}_frame") < _FRAMED
    return F.coalesce(sharper & calm & bare, F.lit(False))


def is_finer() -> Column:
    """Whether a member is finer than the image it was compared with, by the limits of `group.bridges.is_finer`."""
    scale, measured = F.col("link.scale"), F.col("link.resolution")
    return ((measured > FINER) & (scale > FINER)) | (measured > FINER_DETAIL)
