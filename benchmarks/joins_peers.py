"""Joins of other tools over the files that benchmarks/joins.py exports, in their own environment, without dupelake.

    /tmp/peers-venv/bin/python benchmarks/joins_peers.py WAY FOLDER

FOLDER contains embeddings.npy (float32 (n, dim), unit rows), pdq.npy (uint8 (n, 32)), words.npz (values uint32, ends
int64) and settings.json. It writes FOLDER/WAY.npy, int64 (p, 2) with a < b, each pair once, and FOLDER/WAY.json.

- faiss-flat: IndexFlatIP.range_search, exact. faiss-ivf: IndexIVFFlat with 4 sqrt(n) lists, trained on 64 vectors a
  list at most, probing as many lists as settings.json says.
- faiss-pdq: IndexBinaryFlat.range_search, exact.
- datasketch: MinHashLSH of 128 permutations over each picture's set of words, Jaccard at least settings.json's.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

_AT_ONCE = 4_096  # queries


def ranges(index, queries, radius):
    """(i, j) with i < j within the radius."""
    found = []
    for start in range(0, len(queries), _AT_ONCE):
        limits, _, ids = index.range_search(queries[start : start + _AT_ONCE], radius)
        counts = np.diff(limits.astype(np.int64))
        i = start + np.repeat(np.arange(len(counts)), counts)
        kept = i < ids
        found.append(np.stack([i[kept], ids[kept]], axis=1))
    return np.concatenate(found)


def faiss_flat(folder, settings):
    import faiss

    vectors = np.load(folder / "embeddings.npy")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return ranges(index, vectors, settings["min_cosine"])


def faiss_ivf(folder, settings):
    import faiss

    vectors = np.load(folder / "embeddings.npy")
    n, dim = vectors.shape
    n_lists = int(4 * n**0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, n_lists, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[np.random.default_rng(0).permutation(n)[: 64 * n_lists]])
    index.add(vectors)
    index.nprobe = settings["n_probe"]
    return ranges(index, vectors, settings["min_cosine"])


def faiss_pdq(folder, settings):
    import faiss

    codes = np.load(folder / "pdq.npy")
    index = faiss.IndexBinaryFlat(256)
    index.add(codes)
    return ranges(index, codes, settings["pdq_max_bits"] + 1)  # it takes what is below


def datasketch_words(folder, settings):
    from datasketch import MinHash, MinHashLSH

    held = np.load(folder / "words.npz")
    starts = np.concatenate([[0], held["ends"][:-1]])
    lsh = MinHashLSH(threshold=settings["min_jaccard"], num_perm=128)
    sketches = []
    for at, (start, end) in enumerate(zip(starts.tolist(), held["ends"].tolist(), strict=True)):
        sketch = MinHash(num_perm=128)
        sketch.update_batch([word.tobytes() for word in held["values"][start:end]])
        lsh.insert(at, sketch)
        sketches.append(sketch)
    pairs = [(at, other) for at, sketch in enumerate(sketches) for other in lsh.query(sketch) if at < other]
    kept = [(a, b) for a, b in pairs if sketches[a].jaccard(sketches[b]) >= settings["min_jaccard"]]
    return np.array(kept, np.int64).reshape(-1, 2)


WAYS = {"faiss-flat": faiss_flat, "faiss-ivf": faiss_ivf, "faiss-pdq": faiss_pdq, "datasketch": datasketch_words}


def main():
    way, folder = sys.argv[1], Path(sys.argv[2])
    started = time.monotonic()
    pairs = WAYS[way](folder, json.loads((folder / "settings.json").read_text(encoding="utf-8")))
    np.save(folder / f"{way}.npy", pairs)
    (folder / f"{way}.json").write_text(json.dumps({"seconds": time.monotonic() - started}), encoding="utf-8")


if __name__ == "__main__":
    main()
