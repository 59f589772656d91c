"""About 1,100 odd, broken and hostile files: each is hashed, or has a reason; what Pillow decodes is hashed."""

from __future__ import annotations

import collections
import csv

from dupelake.config import DecodeConfig, HashConfig
from dupelake.fingerprint.fingerprint import fingerprint_image
from dupelake.ingest.failure import Failure

REASONS = {"empty", "too_large", "bomb", "truncated", "undecodable"}


def test_every_file_is_hashed_or_explained(shared_data):
    with (shared_data / "truth" / "format_corpus_decode.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 1000
    lost, reasons, unturned = [], collections.Counter(), []
    for row in rows:
        result = fingerprint_image((shared_data / row["path"]).read_bytes(), DecodeConfig(), HashConfig())
        if isinstance(result, Failure):
            reasons[result.reason] += 1
            assert result.message
            assert result.byte_size == int(row["bytes"])
            if row["decodes_pillow13"] == "1":
                lost.append((row["path"], result))
        else:
            assert result.thumbnail_bytes
            size = {int(row["w"] or 0), int(row["h"] or 0)}
            if row["decodes_pillow13"] == "1" and {result.width_px, result.height_px} != size:
                unturned.append((row["path"], result.width_px, result.height_px))
    assert not lost
    assert not unturned
    assert set(reasons) <= REASONS
    assert reasons["truncated"] >= 10
    assert reasons["too_large"] >= 6
