"""Embeddings of thumbnails at once, and back from the stored bytes."""

from __future__ import annotations

import numpy as np


def embed_jpegs(embedder, jpegs):
    """float32 (n, dim), zero for an error, and for each thumbnail None or the error."""
    vectors, errors = [np.zeros((0, embedder.dim), np.float32)], []
    for rows, faults in embedder.stream(jpegs):
        vectors.append(rows)
        errors.extend(faults)
    return np.concatenate(vectors), errors


def from_float16_bytes(rows, dim):
    """float32 (n, dim), rows of unit length, from the bytes of `to_float16_bytes`."""
    vectors = np.frombuffer(b"".join(rows), dtype="<f2").reshape(len(rows), dim).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
