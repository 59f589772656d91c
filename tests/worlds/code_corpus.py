"""Contents with random bit codes and vectors, copies planted at and around each radius, and brute force over them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dupelake.propose.mih import hamming_bits, words_of

N, DIM = 1500, 128


def flip(rng, code, n_bits):
    out = np.unpackbits(code)
    out[rng.choice(len(out), n_bits, replace=False)] ^= 1
    return np.packbits(out)


class Corpus:
    """Random codes with planted copies at and around each radius; arrays in order of ids."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.ids = sorted(rng.bytes(16).hex() for _ in range(N))
        self.phash, self.phash_mirrored = (rng.integers(0, 256, (N, 8), np.uint8) for _ in range(2))
        self.pdq, self.pdq_mirrored = (rng.integers(0, 256, (N, 32), np.uint8) for _ in range(2))
        spread = rng.standard_normal((N, DIM))
        order = rng.permutation(N)
        copies = order[:1200].reshape(-1, 2)
        for a, b in order[1200:1300].reshape(-1, 2):  # near in their mirrored codes alone: no pair
            self.phash_mirrored[b] = flip(rng, self.phash_mirrored[a], 2)
            self.pdq_mirrored[b] = flip(rng, self.pdq_mirrored[a], 2)
        for step, (a, b) in enumerate(copies):
            phash_bits, pdq_bits = (0, 5, 6, 7, 7, 8, 9)[step % 7], (0, 12, 25, 30, 31, 31, 32, 33)[step % 8]
            # straight; mirrored one way, the other way, or both, by differing bits
            for name, bits in (("phash", phash_bits), ("pdq", pdq_bits)):
                plain, mirror = getattr(self, name), getattr(self, f"{name}_mirrored")
                if step % 4 == 0:
                    plain[b] = flip(rng, plain[a], bits)
                if step % 4 in (1, 3):
                    plain[b] = flip(rng, mirror[a], bits)
                if step % 4 in (2, 3):
                    mirror[b] = flip(rng, plain[a], bits)
            if step % 3 == 0:
                spread[b] = spread[a] + spread[b] * 0.5 * rng.random()
        for i in copies[:40, 0]:
            self.phash_mirrored[i] = self.phash[i]  # a symmetric picture is no copy of itself
        clones = order[1300:1325]
        self.pdq[clones] = self.pdq[clones[0]]  # equal codes of different pixels are all pairs
        spread[clones] = spread[clones[0]]
        vectors = spread / np.linalg.norm(spread, axis=1, keepdims=True)
        vectors[:, 0] += 0.5
        self.vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f2")
        self.centre = self.vectors.astype(np.float32).mean(axis=0)

    def table(self):
        def rows(array):
            return [row.tobytes() for row in array]

        return pa.table(
            {
                "content_id": self.ids,
                "phash": self.phash.view(">i8")[:, 0].astype(np.int64),
                "phash_mirrored": self.phash_mirrored.view(">i8")[:, 0].astype(np.int64),
                "pdq": rows(self.pdq),
                "pdq_mirrored": rows(self.pdq_mirrored),
                "embedding": [None if i == 0 else row.tobytes() for i, row in enumerate(self.vectors)],
            }
        )

    def near(self, name, max_bits, *, mirrored):
        """All pairs (i, j), i < j, within the radius, by brute force."""
        plain, mirror = words_of(getattr(self, name)), words_of(getattr(self, f"{name}_mirrored"))
        found = set()
        for i in range(N):
            distance = hamming_bits(plain, plain[i])
            if mirrored:
                for turned in (hamming_bits(mirror, plain[i]), hamming_bits(plain, mirror[i])):
                    distance = np.minimum(distance, turned)
            found |= {(i, int(j)) for j in np.flatnonzero(distance <= max_bits) if i < j}
        return {(self.ids[i], self.ids[j]) for i, j in found}

    def cosines(self):
        """float64 (N, N); -1 for what has no embedding."""
        wide = self.vectors.astype(np.float64)
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
        out = wide @ wide.T
        out[0] = out[:, 0] = -1
        return out

    def similar(self, min_cosine):
        """All pairs whose embeddings have at least this cosine, by brute force."""
        return {(self.ids[i], self.ids[j]) for i, j in np.argwhere(np.triu(self.cosines(), 1) >= min_cosine)}
