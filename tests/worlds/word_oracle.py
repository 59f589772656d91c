"""Random pictures of words with copies among them, and the word generator by brute force, one pair at a time."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from dupelake.words.keypoints import Features
from dupelake.words.vocabulary import NO_WORD, PackedWords, Words, mirrored_words, pack_words, unpack_words

N_CELLS = 400  # few, so that strangers share words by chance


def packed(rng, stored, second, xy, scale, angle, width=320, height=240):
    n = len(stored)
    probes = np.stack([stored, second], axis=1).astype(np.uint32)
    words = Words(np.arange(n, dtype=np.uint16), probes[:, 0].copy(), probes)
    features = Features(
        np.asarray(xy, np.float32).reshape(-1, 2),
        np.asarray(scale, np.float32),
        np.mod(np.asarray(angle, np.float32), np.float32(360)),
        np.zeros((n, 128), np.uint8),
    )
    return pack_words(words, features, width, height)


def cells_of(rng, n):
    cells = rng.choice(N_CELLS, 2 * n, replace=False).astype(np.uint32)
    first, second = cells[:n] % 20 * 2048 + cells[:n] // 20, cells[n:] % 20 * 2048 + cells[n:] // 20
    second[rng.random(n) < 0.2] = NO_WORD
    return first.astype(np.uint32), second.astype(np.uint32)


def random_picture(rng, n_words=30):
    n = int(rng.integers(0, n_words + 1))
    first, second = cells_of(rng, n)
    # Positions on a coarse grid, so that some words lie at one point
    xy = rng.integers(0, 40, (n, 2)) * [7, 5]
    return packed(rng, first, second, xy, 2.0 ** rng.uniform(1, 5, n), rng.uniform(0, 360, n))


def copy_of(rng, data, n_kept, *, is_mirrored, noise):
    """A rotated, enlarged, possibly mirrored copy with `n_kept` of the words, half of them with their second cell."""
    source = unpack_words(data)
    rows = rng.permutation(len(source))[:n_kept]
    xy, angle, stored, second = source.xy[rows].copy(), source.angle[rows], source.stored[rows], source.probes[rows, 1]
    if is_mirrored:
        xy[:, 0] = source.width_px - 1 - xy[:, 0]
        angle, stored, second = 180.0 - angle, mirrored_words(stored), mirrored_words(second)
    flip = (rng.random(len(rows)) < 0.4) & (second != NO_WORD)
    stored, second = np.where(flip, second, stored), np.where(flip, stored, second)
    _, once = np.unique(stored, return_index=True)
    once.sort()
    xy, angle, stored, second, scale = xy[once], angle[once], stored[once], second[once], source.scale[rows][once]
    turn, ratio = rng.uniform(0, 360), rng.uniform(0.6, 1.2)
    cos, sin = math.cos(math.radians(turn)) * ratio, math.sin(math.radians(turn)) * ratio
    moved = xy @ np.array([[cos, -sin], [sin, cos]]).T + [500, 500] + rng.normal(0, noise, xy.shape)
    scale = scale * ratio * 2.0 ** rng.normal(0, 0.03 * noise, len(scale))
    return packed(rng, stored, second, moved, scale, angle + turn + rng.normal(0, 2 * noise, len(angle)))


def random_corpus(seed, n):
    """Packed words by content id: unrelated pictures, and copies of every strength."""
    rng = np.random.default_rng(seed)
    pictures = [random_picture(rng) for _ in range(n)]
    for step in range(0, n - 1, 3):
        pictures[step + 1] = copy_of(
            rng, pictures[step], 3 + step % 11, is_mirrored=bool(step % 2), noise=(0.3, 1.0, 3.0)[step % 9 // 3]
        )
    return {rng.bytes(16).hex(): data for data in pictures}


def matches_of(a: PackedWords, b: PackedWords, *, is_mirrored, left_out=frozenset()):
    """Pairs of words (i, j): one of both cells of a word equals the stored cell of the other word."""
    of_a, of_b = (a.mirrored, b.mirrored) if is_mirrored else (a.probes, b.probes)
    hot = np.array(sorted(left_out), np.uint32)
    found = set()
    for k in (0, 1):
        meets = (of_a[:, None, k] == b.stored[None, :]) & (of_a[:, None, k] != NO_WORD)
        meets &= ~np.isin(a.probes[:, None, k], hot) & ~np.isin(b.stored[None, :], hot)
        found |= {(int(i), int(j)) for i, j in np.argwhere(meets)}
        meets = (of_b[None, :, k] == a.stored[:, None]) & (of_b[None, :, k] != NO_WORD)
        meets &= ~np.isin(b.probes[None, :, k], hot) & ~np.isin(a.stored[:, None], hot)
        found |= {(int(i), int(j)) for i, j in np.argwhere(meets)}
    return sorted(found)


def pair_oracle(a, b, *, is_mirrored, left_out=frozenset(), relative=0.07, pixels=4.0, point=3.0, hypotheses=16):
    """(votes in the best window, consistent points of the best guess) of two unpacked pictures, a the lower id."""
    matches = matches_of(a, b, is_mirrored=is_mirrored, left_out=left_out)
    if len(matches) < 3:
        return len(matches), 0
    turned = [180.0 - a.angle[i] if is_mirrored else a.angle[i] for i, _ in matches]
    rotation = [float(b.angle[j] - t) % 360.0 for (_, j), t in zip(matches, turned, strict=True)]
    octaves = [math.log2(float(b.scale[j]) / float(a.scale[i])) for i, j in matches]
    best, inside = 0, []
    for bin_, low in ((r, s / 2 - 8) for r in range(16) for s in range(0, 32)):
        held = [
            m
            for m, r, o in zip(matches, rotation, octaves, strict=True)
            if (r - 22.5 * bin_) % 360.0 < 45.0 and low <= o < low + 1
        ]
        votes = min(len({i for i, _ in held}), len({j for _, j in held}))
        if votes > best:
            best, inside = votes, held
    points = 0
    for i, j in inside[:hypotheses]:
        at = matches.index((i, j))
        ratio, turn = float(b.scale[j]) / float(a.scale[i]), math.radians(rotation[at])
        here, there = set(), set()
        for k, m in matches:
            p, q = _place(a, k, is_mirrored), b.xy[m].astype(float)
            d, e = p - _place(a, i, is_mirrored), q - b.xy[j]
            x = ratio * (math.cos(turn) * d[0] - math.sin(turn) * d[1])
            y = ratio * (math.sin(turn) * d[0] + math.cos(turn) * d[1])
            if math.hypot(x - e[0], y - e[1]) <= pixels * max(ratio, 1.0) + relative * math.hypot(*e):
                here.add(tuple(np.floor(p / point)))
                there.add(tuple(np.floor(q / point)))
        points = max(points, min(len(here), len(there)))
    return best, points


def _place(picture, word, is_mirrored):
    x, y = picture.xy[word].astype(float)
    return np.array([picture.width_px - 1 - x if is_mirrored else x, y])


def corpus_oracle(corpus, left_out=frozenset(), **options):
    """(low id, high id, is_mirrored) -> (votes, points) of all pairs with three votes or more."""
    unpacked = {key: unpack_words(data) for key, data in sorted(corpus.items())}
    cells = {
        key: {int(c) for c in p.probes.ravel()} | {int(c) for c in p.mirrored.ravel()} for key, p in unpacked.items()
    }
    found = {}
    for a, b in combinations(unpacked, 2):
        if len((cells[a] & cells[b]) - {NO_WORD}) < 3:
            continue
        for is_mirrored in (False, True):
            votes, points = pair_oracle(unpacked[a], unpacked[b], is_mirrored=is_mirrored, left_out=left_out, **options)
            if votes >= 3:
                found[a, b, is_mirrored] = votes, points
    return found


def key_oracle(picture: PackedWords, neighbours=6):
    """Keys of neighbouring words as tuples, one pair of words at a time; equal if the keys of the product are equal."""
    pairs = set()
    for i in range(len(picture)):
        near = []
        for j in range(len(picture)):
            d2 = float(((picture.xy[i] - picture.xy[j]) ** 2).sum())
            if i != j and d2 >= 4.0 and abs(math.log2(float(picture.scale[i]) / float(picture.scale[j]))) <= 1.01:
                near.append((int(d2 * 16), j))
        pairs |= {(min(i, j), max(i, j)) for _, j in sorted(near)[:neighbours]}
    keys = set()
    for i, j in pairs:
        for ki, kj in ((0, 0), (1, 0), (0, 1)):
            cells = np.array([picture.probes[i, ki], picture.probes[j, kj]], np.uint32)
            if (cells == NO_WORD).any():
                continue
            straight = _seen(picture, i, j, *cells.tolist(), 1)
            keys.add(min(straight, _seen(picture, i, j, *mirrored_words(cells).tolist(), -1)))
    return keys


def _seen(picture, i, j, first, second, sense):
    """Two words and their relative pose, seen from the word with the lower number."""
    if second < first:
        i, j, first, second = j, i, second, first
    turn = float(picture.angle[j]) - float(picture.angle[i])
    octaves = math.log2(float(picture.scale[j]) / float(picture.scale[i]))
    dx, dy = (float(v) for v in picture.xy[j] - picture.xy[i])
    side = math.degrees(math.atan2(dy, dx)) - float(picture.angle[i])
    sectors = [round(sense * degrees / 60.0) % 6 for degrees in (turn, side)]
    return (first, second, (octaves > 0.51) - (octaves < -0.51), *sectors)
