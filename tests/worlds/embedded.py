"""Embeddings back from the stored bytes."""

from __future__ import annotations

import numpy as np


def from_float16_bytes(rows, dim):
    """float32 (n, dim), rows of unit length, from the bytes of `to_float16_bytes`."""
    vectors = np.frombuffer(b"".join(rows), dtype="<f2").reshape(len(rows), dim).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
