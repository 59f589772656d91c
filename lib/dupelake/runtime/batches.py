"""Cuts Arrow batches into slices, to bound intermediate arrays; the session's settings bound the batches."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

Batches = Iterator[pa.RecordBatch]

SLICE_BYTES = 16 << 20  # of one intermediate array in a Python worker, for batches of any size


def sliced(batches: Batches, n_rows: int) -> Batches:
    """The rows of `batches` in slices of at most `n_rows`."""
    for whole in batches:
        for start in range(0, whole.num_rows, n_rows):
            yield whole.slice(start, n_rows)


def sliced_by_bytes(batches: Batches) -> Batches:
    """The rows of `batches` in slices of at most about a quarter of `SLICE_BYTES`."""
    for whole in batches:
        step = max(1, whole.num_rows * SLICE_BYTES // max(SLICE_BYTES, 4 * whole.nbytes))
        yield from sliced(iter((whole,)), step)
