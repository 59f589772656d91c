"""Measures and decides the candidate pairs of one content: the programs of the join job, on local tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pyspark.sql import DataFrame

from dupelake.config import DecideConfig
from dupelake.frames.frame import Frame
from dupelake.verify.aligning import MEASURES, PictureCache, align_row
from dupelake.verify.decide_stage import decide
from dupelake.verify.score_stage import measure_pairs, pixel_pairs, with_alignment
from dupelake.warehouse.schema import HASHES

Row = dict[str, Any]
_ALIGNED = ("src_id", "dst_id", *MEASURES, "error_message")


@dataclass(frozen=True)
class Measured:
    """What is known of one content for its pairs.

    Attributes:
        hashes: its row of schema.HASHES.
        parts: `verify.aligning.PARTS`, without those that are missing.
        embedding: little-endian float16, or None.
    """

    hashes: Row
    parts: Row
    embedding: bytes | None


def frame_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> DataFrame:
    """A local table for a stage."""
    return cast(DataFrame, Frame.of_rows(rows, names))


def rows_of(frame: DataFrame) -> list[Row]:
    """The rows of a local table."""
    return cast(Frame, frame).rows()


def measured_pairs(
    found: Mapping[tuple[str, str], str],
    contents: Mapping[str, Measured],
    versions: Mapping[str, str | None],
    cfg: DecideConfig,
) -> list[Row]:
    """Rows of schema.PAIRS, as the join job makes them. Call it within `locally()`.

    Args:
        found: (src_id, dst_id), src_id < dst_id: found_by.
        contents: both ends of each pair.
        versions: of the index: join, verify, model, preprocess.
        cfg: of the decision.
    """
    if not found:
        return []
    pairs = [{"src_id": src, "dst_id": dst, "found_by": by} for (src, dst), by in sorted(found.items())]
    hashes = frame_of([one.hashes for one in contents.values()], HASHES.columns)
    model = versions["model"]
    vectors = None
    if model is not None:
        known = {"model_id": model, "preprocess_id": versions["preprocess"]}
        rows = [{"content_id": key, "embedding": one.embedding, **known} for key, one in contents.items()]
        vectors = frame_of(rows, ["content_id", "model_id", "preprocess_id", "embedding"])
    given = frame_of(pairs, ["src_id", "dst_id", "found_by"])
    measured = measure_pairs(given, hashes, vectors, str(versions["join"]), model)
    cache = PictureCache()
    for content_id, one in contents.items():
        cache.received[content_id] = dict(one.parts)
    aligned = [align_row({"content_id": row["src_id"], "dst_id": row["dst_id"]}, cache) for row in pairs]
    evidence = with_alignment(measured, frame_of(aligned, _ALIGNED), str(versions["verify"]))
    return rows_of(decide(evidence, cfg))


def pairs_of_equal_pixels(hashes: Sequence[Row], cfg: DecideConfig) -> list[Row]:
    """Rows of schema.PAIRS for the contents of one pixel digest. Call it within `locally()`."""
    if len(hashes) < 2:
        return []
    return rows_of(pixel_pairs(frame_of(hashes, HASHES.columns), cfg))
