"""What each profile finds and costs, on the corpus of the edits bench, without Spark: the figures of profiles.md.

    .venv/bin/python -m benchmarks.edits.run --data ../shared/data --work W --small --steps corpus
    .venv/bin/python -m benchmarks.profiles --work W [--photographs 25] [--copies W/results/dupelake/missed.csv]

Run in the root of the repository, on one core. For each profile it fingerprints the images, proposes pairs by the
definitions of the generators (hash codes and embeddings by brute force, words as the join by blocks does), aligns them
and decides. A copy is found if its pair with its original is accepted; pairs of two copies are not aligned. It prints
Markdown: copies found, wrong pairs, proposed pairs, and core-milliseconds beside Pillow's decoding of the same files.
`--photographs N` takes the first N photographs with their copies and leaves the distractors out; `--copies` takes the
copies that a CSV names (column image), such as those that a run of the bench missed, with their originals.

Pairs that cannot be aligned (flat pictures) count as not accepted, and groups find more than pairs. So the shares are
lower bounds, and comparable with each other.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.edits import corpus
from benchmarks.edits.corpus import ORIGINAL
from benchmarks.edits.registry import EDITS
from benchmarks.edits.report_decisions import table
from benchmarks.edits.score import Share
from PIL import Image

from dupelake.config import Config, EmbedConfig, load_config
from dupelake.embed.embedding import FloatArray, get_embedder, limit_threads
from dupelake.embed.stage import FEW_KEYPOINTS
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.profiles import PROFILES
from dupelake.propose.word_blocks_stage import proposed
from dupelake.recall.brute_force import near_codes, near_vectors
from dupelake.verify.decision import copy_probability
from dupelake.verify.pair import pair_seed, verify_pair
from dupelake.verify.picture import stored_picture
from dupelake.words.keypoints import unpack_features
from dupelake.words.vocabulary import PACKED_HEADER, load_vocabulary
from dupelake.words.votes import LEFT, RIGHT, unpack_block

Pairs = set[tuple[int, int]]
COSTS = ("hash, core-ms an image", "embed, core-ms an image", "align, core-ms a pair")


@dataclass
class Outcome:
    """Of one profile: core-seconds by step, and accepted pairs of images (indices)."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    n_proposed: int = 0
    n_aligned: int = 0
    accepted: Pairs = field(default_factory=set)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="the work folder of the edits bench")
    parser.add_argument("--photographs", type=int, help="the first N of them, without distractors; default: everything")
    parser.add_argument("--copies", type=Path, help="a CSV with the column image")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    limit_threads(1)
    folder = Path(args.work) / "corpus"
    rows = chosen(corpus.read_truth(folder), args.photographs, args.copies)
    data = [(folder / "images" / row.image).read_bytes() for row in rows]
    plain = timed(lambda: [Image.open(io.BytesIO(one)).convert("RGB").load() for one in data])[1]
    found = {name: run(rows, data, load_config(None, [], name)) for name in PROFILES}
    print(f"{len(rows)} images. Pillow decodes them in {1000 * plain / len(rows):.1f} core-ms an image.\n")
    print(summary(rows, found))
    print(by_edit_of(rows, {name: copies_found(rows, one.accepted) for name, one in found.items()}))
    return 0


def chosen(rows: Sequence[corpus.Row], n_photographs: int | None, copies: Path | None) -> list[corpus.Row]:
    if copies is not None:
        with copies.open(newline="", encoding="utf-8") as file:
            named = {row["image"] for row in csv.DictReader(file)}
        groups = {row.group for row in rows if row.image in named}
        return [row for row in rows if row.image in named or (row.group in groups and row.edit == ORIGINAL)]
    if n_photographs is None:
        return list(rows)
    first = sorted({row.group for row in rows if row.edit in EDITS})[:n_photographs]
    return [row for row in rows if row.group in first]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and core-seconds."""
    start = time.process_time()
    return work(), time.process_time() - start


def run(rows: Sequence[corpus.Row], data: Sequence[bytes], config: Config) -> Outcome:
    out = Outcome()
    vocabulary = load_vocabulary(config.features.vocabulary)
    prints, out.seconds["hash"] = timed(
        lambda: [fingerprint_image(one, config.decode, config.hash, config.features, vocabulary) for one in data]
    )
    broken = [one for one in prints if not isinstance(one, Fingerprint)]
    assert not broken, broken[:3]
    if config.embed.model != "none":
        get_embedder(config.embed, "cpu")  # loads the model, once in a process
    vectors, out.seconds["embed"] = timed(lambda: embeddings(prints, config.embed))
    pairs, out.seconds["propose"] = timed(lambda: proposals(prints, vectors, config))
    out.n_proposed = len(pairs)
    pairs = {(a, b) for a, b in pairs if rows[a].group != rows[b].group or ORIGINAL in (rows[a].edit, rows[b].edit)}
    out.n_aligned = len(pairs)
    out.accepted, out.seconds["align"] = timed(lambda: accepted(prints, pairs, config))
    return out


def embeddings(prints: Sequence[Fingerprint], cfg: EmbedConfig) -> dict[int, FloatArray]:
    """{index: vector} of the images that are embedded where there is no GPU."""
    if cfg.model == "none":
        return {}
    wanted = [i for i, one in enumerate(prints) if cfg.contents == "all" or one.n_keypoints < FEW_KEYPOINTS]
    embedder = get_embedder(cfg, "cpu")
    vectors, _ = embedder.embed_jpegs([prints[i].thumbnail_bytes for i in wanted])
    return dict(zip(wanted, vectors, strict=True))


def proposals(prints: Sequence[Fingerprint], vectors: dict[int, FloatArray], config: Config) -> Pairs:
    """Pairs that a generator proposes; equal contents are left out."""
    lsh = config.lsh
    rich = [i for i, one in enumerate(prints) if not one.is_low_information]
    found: Pairs = set()
    for straight, mirrored, bits in (
        ([prints[i].phash for i in rich], [prints[i].phash_mirrored for i in rich], lsh.phash_max_bits),
        ([prints[i].pdq for i in rich], [prints[i].pdq_mirrored for i in rich], lsh.pdq_max_bits),
    ):
        codes = as_codes(straight)
        found |= {
            (rich[a], rich[b])
            for a, b in zip(*near_codes(codes, as_codes(mirrored), codes, as_codes(mirrored), bits), strict=True)
        }
    embedded = sorted(set(vectors) & set(rich))
    if embedded:
        matrix = np.stack([vectors[i] for i in embedded]).astype(np.float16)
        near = near_vectors(matrix, matrix, lsh.embedding_min_cosine)
        found |= {(embedded[a], embedded[b]) for a, b in zip(*near, strict=True)}
    worded = [i for i, one in enumerate(prints) if lsh.words and len(one.words) > PACKED_HEADER.itemsize]
    if worded:
        block = unpack_block([prints[i].words for i in worded])
        scopes, sides = np.zeros(len(worded), np.int64), np.full(len(worded), LEFT | RIGHT, np.uint8)
        for low, high in proposed(block, scopes, sides, lsh):
            found |= {(worded[a], worded[b]) for a, b in zip(low, high, strict=True)}
    return {(a, b) for a, b in found if a < b and prints[a].content_id != prints[b].content_id}


def as_codes(values: Sequence[Any]) -> np.ndarray:
    """uint64 (n, words) of hash codes."""
    if isinstance(values[0], bytes):
        return np.frombuffer(b"".join(values), "<u8").reshape(len(values), -1)
    return np.array(values, np.int64).view(np.uint64).reshape(-1, 1)


def accepted(prints: Sequence[Fingerprint], pairs: Pairs, config: Config) -> Pairs:
    pictures = {
        i: stored_picture(prints[i].thumbnail_bytes, unpack_features(prints[i].keypoints, prints[i].descriptors))
        for i in {i for pair in pairs for i in pair}
    }
    kept: Pairs = set()
    for a, b in sorted(pairs):
        src, dst = sorted((a, b), key=lambda i: prints[i].content_id)
        seed = pair_seed(prints[src].content_id, prints[dst].content_id)
        alignment = verify_pair(pictures[src], pictures[dst], seed)
        score = None if alignment is None else copy_probability(vars(alignment))
        if score is not None and score >= config.decide.min_score:
            kept.add((a, b))
    return kept


def copies_found(rows: Sequence[corpus.Row], pairs: Pairs) -> dict[str, Share]:
    """Copies whose pair with their original is accepted, by edit."""
    linked = {i for a, b in pairs if rows[a].group == rows[b].group for i in (a, b)}
    shares: defaultdict[str, Share] = defaultdict(Share)
    for i, row in enumerate(rows):
        if row.edit in EDITS and row.group.startswith("photo"):
            shares[row.edit].add(i in linked)
    return shares


def found_line(rows: Sequence[corpus.Row], pairs: Pairs) -> str:
    """Copies found, and pairs of different pictures among all pairs, as cells of a table."""
    shares = copies_found(rows, pairs).values()
    total = Share(sum(s.hits for s in shares), sum(s.n for s in shares))
    wrong = sum(rows[a].group != rows[b].group for a, b in pairs)
    return f"{total.hits} of {total.n} ({total.value:.1%}) | {wrong} of {len(pairs)}"


def summary(rows: Sequence[corpus.Row], found: dict[str, Outcome]) -> str:
    """One line a profile."""
    lines = []
    for name, one in found.items():
        costs = [1000 * one.seconds[step] / len(rows) for step in ("hash", "embed")]
        costs.append(1000 * one.seconds["align"] / max(1, one.n_aligned))
        spent = (f"{cost:.1f}" for cost in costs)
        lines.append((name, *found_line(rows, one.accepted).split(" | "), one.n_proposed, *spent))
    header = ("profile", "copies found", "wrong pairs", "pairs proposed", *COSTS)
    return table(header, lines)


def by_edit_of(rows: Sequence[corpus.Row], shares: dict[str, dict[str, Share]]) -> str:
    """Copies found by edit, over its strengths; edits of which everyone finds all are one line."""
    lines, full = [], []
    first = next(iter(shares.values()))
    for edit in sorted(first, key=lambda edit: (first[edit].value, edit)):
        of_edit = [found[edit] for found in shares.values()]
        if all(share.hits == share.n for share in of_edit):
            full.append(edit.replace("_", " "))
        else:
            lines.append((edit.replace("_", " "), of_edit[0].n, *(f"{share.value:.2f}" for share in of_edit)))
    text = table(("edit", "copies", *shares), lines)
    return text + (f"\nAll find all copies of: {', '.join(full)}.\n" if full else "")


if __name__ == "__main__":
    sys.exit(main())
