"""Arrow batches cut into pieces: a batch is bounded by the session's settings, what is computed of it by these."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

Batches = Iterator[pa.RecordBatch]

SLICE_BYTES = 16 << 20  # of one intermediate array in a Python worker, whatever the size of a batch


def sliced(batches: Batches, n_rows: int) -> Batches:
    """The rows of `batches` in pieces of `n_rows` at most."""
    for whole in batches:
        for start in range(0, whole.num_rows, n_rows):
            yield whole.slice(start, n_rows)


def sliced_by_bytes(batches: Batches) -> Batches:
    """The rows of `batches` in pieces, four times the bytes of which are some `SLICE_BYTES` at most."""
    for whole in batches:
        step = max(1, whole.num_rows * SLICE_BYTES // max(SLICE_BYTES, 4 * whole.nbytes))
        yield from sliced(iter((whole,)), step)
