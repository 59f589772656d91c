"""The visual-words generator on real photographs with edited copies: candidates, recall, bytes shuffled, seconds.

    .venv/bin/python benchmarks/words_generator.py --data ../shared/data [--copies 3] [--nights 1] [--cache F] [--sweep]

Pictures are the photographs of imagenet_sample, clothing_small and polyu, edge drawings made from the first set, pages
of rendered text, and `copies` seeded edits of every photograph of the first two sets. True pairs are a picture with its
copies, two copies of a picture if both keep at least 45 % of it, and polyu's pairs.

One run in Spark gives join figures and bytes. `--sweep` adds recall and candidates by number of votes and by strictness
of the check, in numpy.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import tempfile
import time
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dupelake.config import Config, LshConfig
from dupelake.propose.word_blocks_stage import BLOCK_UNITS, word_pairs
from dupelake.runtime.session import build_session
from dupelake.words.keypoints import extract_features
from dupelake.words.positions import consistent_points
from dupelake.words.vocabulary import NO_WORD, load_vocabulary, make_words, mirrored_words, pack_words
from dupelake.words.votes import LEFT, RIGHT, Matches, WordBlock, shared_words, unpack_block

Picture = np.ndarray
Pair = tuple[str, str]
THUMBNAIL_PX = 320


def _crop(share: float) -> Callable[[Picture, np.random.Generator], Picture]:
    def cut(img: Picture, rng: np.random.Generator) -> Picture:
        h, w = img.shape[:2]
        side = share**0.5
        ch, cw = max(8, round(h * side)), max(8, round(w * side))
        y, x = int(rng.integers(0, h - ch + 1)), int(rng.integers(0, w - cw + 1))
        return img[y : y + ch, x : x + cw]

    return cut


def _rotate(img: Picture, degrees: float) -> Picture:
    h, w = img.shape[:2]
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), degrees, 1.0)
    return cv2.warpAffine(img, turn, (w, h), borderMode=cv2.BORDER_CONSTANT, borderValue=(255, 255, 255))


def _caption(img: Picture, rng: np.random.Generator) -> Picture:
    out = img.copy()
    h, w = out.shape[:2]
    cv2.rectangle(out, (0, int(0.8 * h)), (w, h), (255, 255, 255), -1)
    text = "".join(chr(int(c)) for c in rng.integers(97, 123, 14))
    cv2.putText(out, text, (5, int(0.92 * h)), cv2.FONT_HERSHEY_SIMPLEX, w / 350, (0, 0, 0), max(1, w // 200))
    return out


def _jpeg(img: Picture, quality: int) -> Picture:
    return cv2.imdecode(cv2.imencode(".jpg", img, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


EDITS: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "crop80": _crop(0.8),
    "crop50": _crop(0.5),
    "crop30": _crop(0.3),
    "mirror": lambda img, rng: img[:, ::-1],
    "mirror_crop60": lambda img, rng: _crop(0.6)(img[:, ::-1], rng),
    "jpeg15": lambda img, rng: _jpeg(img, 15),
    "resize40": lambda img, rng: cv2.resize(img, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA),
    "rotate8": lambda img, rng: _rotate(img, 8),
    "quarter": lambda img, rng: np.rot90(img),
    "caption": _caption,
    "squash80": lambda img, rng: cv2.resize(img, None, fx=0.8, fy=1.0, interpolation=cv2.INTER_AREA),
    "gamma": lambda img, rng: (((img / 255.0) ** 1.8) * 255).astype(np.uint8),
    "blur": lambda img, rng: cv2.GaussianBlur(img, (0, 0), max(img.shape[:2]) / 320 * 1.2),
}
LEAVES_LESS = ("crop30",)  # two such copies of one picture may show nothing in common


def thumbnail(img: Picture) -> Picture:
    """The thumbnail as the hash stage makes it: longest side at most 320 px, JPEG of quality 92."""
    scale = THUMBNAIL_PX / max(img.shape[:2])
    if scale < 1:
        size = max(1, round(img.shape[1] * scale)), max(1, round(img.shape[0] * scale))
        img = cv2.resize(img, size, interpolation=cv2.INTER_AREA)
    return _jpeg(np.ascontiguousarray(img), 92)


def originals(data: Path) -> Iterator[tuple[str, str, str, Picture]]:
    """(set, name, group, picture); pictures of one group are copies of each other."""
    for folder in ("imagenet_sample", "clothing_small"):
        for path in sorted(p for p in (data / folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg")):
            img = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if img is None:
                raise SystemExit(f"{path} cannot be read")
            yield folder, str(path.relative_to(data)), str(path.relative_to(data)), img
            if folder == "imagenet_sample":
                small = thumbnail(img)
                edges = 255 - cv2.Canny(cv2.GaussianBlur(small, (0, 0), 1.2), 60, 160)
                name = f"drawing:{path.name}"
                yield "drawing", name, name, cv2.cvtColor(edges, cv2.COLOR_GRAY2BGR)
    with (data / "truth" / "polyu_pairs.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield "polyu", row["path"], row["group"], cv2.imread(str(data / row["path"]), cv2.IMREAD_COLOR)
    for page in range(100):
        rng = np.random.default_rng(page)
        img = np.full((440, 320, 3), 255, np.uint8)
        for line in range(24):
            text = " ".join("".join(chr(int(c)) for c in rng.integers(97, 123, rng.integers(2, 9))) for _ in range(6))
            cv2.putText(img, text, (12, 24 + 17 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
        yield "text", f"page:{page}", f"page:{page}", img


def build_corpus(data: Path, copies: int) -> pa.Table:
    """(content_id, set, group, edit, words): originals with edit '', then their copies."""
    cfg = Config().features
    vocabulary = load_vocabulary()
    rows: list[dict[str, Any]] = []

    def add(which: str, name: str, group: str, edit: str, img: Picture) -> None:
        small = thumbnail(img)
        features = extract_features(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), cfg.max_keypoints)
        words = pack_words(make_words(features, vocabulary, cfg.max_words), features, small.shape[1], small.shape[0])
        content_id = np.random.default_rng(zlib.crc32(f"{name}|{edit}".encode())).bytes(16).hex()
        rows.append({"content_id": content_id, "set": which, "group": group, "edit": edit, "words": words})

    for which, name, group, img in originals(data):
        add(which, name, group, "", img)
        if which in ("imagenet_sample", "clothing_small"):
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            for edit in rng.choice(list(EDITS), copies, replace=False):
                add(which, name, group, str(edit), EDITS[str(edit)](img, rng))
    return pa.Table.from_pylist(rows)


def true_pairs(corpus: pa.Table) -> tuple[dict[Pair, str], set[Pair]]:
    """{(low, high) content ids: the edit, 'copies' of one picture, or 'polyu'}; and the pairs that are not scored."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in corpus.select(["content_id", "group", "edit"]).to_pylist():
        groups.setdefault(row["group"], []).append(row)
    true: dict[Pair, str] = {}
    left_out: set[Pair] = set()
    for members in groups.values():
        for a, b in itertools.combinations(members, 2):
            edits = sorted(e for e in (a["edit"], b["edit"]) if e)
            key = min(a["content_id"], b["content_id"]), max(a["content_id"], b["content_id"])
            if len(edits) == 2 and any(e in LEAVES_LESS for e in edits):
                left_out.add(key)
            else:
                true[key] = "copies" if len(edits) == 2 else (edits[0] if edits else "polyu")
    return true, left_out


def stage_totals(spark: Any) -> Counter[str]:
    """Shuffle bytes and task seconds of all stages so far, from Spark's status API."""
    context = spark.sparkContext
    url = f"{context.uiWebUrl}/api/v1/applications/{context.applicationId}/stages"
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own session
        stages = json.load(answer)
    totals: Counter[str] = Counter()
    for stage in stages:
        totals["shuffle_bytes"] += stage["shuffleWriteBytes"]
        totals["spill_bytes"] += stage["diskBytesSpilled"]
        totals["task_seconds"] += stage["executorRunTime"] / 1000
    return totals


def run_spark(corpus: pa.Table, cfg: LshConfig, nights: int, block_units: int, folder: Path) -> set[Pair]:
    """Run the stage as the job does, in `nights`; prints seconds and bytes of each night, returns all pairs."""
    pq.write_table(corpus.select(["content_id", "words"]), folder / "features.parquet")
    settings = {"spark.master": "local[2]", "spark.driver.memory": "4g", "spark.ui.enabled": "true"}
    spark = build_session("words-generator", settings)
    features = spark.read.parquet(str(folder / "features.parquet"))
    ids = corpus["content_id"].to_pylist()
    night = np.random.default_rng(0).integers(0, nights, len(ids))
    found: set[Pair] = set()
    for now in range(nights):
        is_new = night[night <= now] == now
        rows = {"scope": [""] * len(is_new), "content_id": [i for i, n in zip(ids, night, strict=True) if n <= now]}
        pq.write_table(pa.table({**rows, "is_new": is_new}), folder / f"units{now}.parquet")
        units = spark.read.parquet(str(folder / f"units{now}.parquet"))
        before, started = stage_totals(spark), time.perf_counter()
        result = word_pairs(units, features, cfg, block_units=block_units)
        pairs = [(bytes(row["low"]).hex(), bytes(row["high"]).hex()) for row in result.pairs.collect()]
        seconds = time.perf_counter() - started
        spent = stage_totals(spark) - before
        found.update(pairs)
        print(
            f"Spark, night {now + 1} of {nights}: {is_new.sum()} new of {len(is_new)}, {seconds:.1f} s, "
            f"{spent['task_seconds']:.1f} task s, {spent['shuffle_bytes'] / is_new.sum():.0f} bytes shuffled a new "
            f"image, {spent['spill_bytes']} spilled, {len(pairs)} pairs, {len(result.dropped)} words dropped"
        )
    spark.stop()
    return found


def block_of(corpus: pa.Table) -> WordBlock:
    return unpack_block(corpus["words"].to_pylist())


def all_matches(corpus: pa.Table, min_votes: int) -> tuple[WordBlock, list[Matches]]:
    block, n = block_of(corpus), len(corpus)
    sides = np.full(n, LEFT | RIGHT, np.uint8)
    return block, list(shared_words(block, np.zeros(n, np.int64), sides, min_votes))


def join_rows(corpus: pa.Table) -> int:
    """Number of matching words before any threshold: the rows that a join on words would shuffle."""
    block = block_of(corpus)
    kept = block.second[block.second != NO_WORD]
    held = dict(zip(*np.unique(block.stored, return_counts=True), strict=True))
    seconds = dict(zip(*np.unique(kept, return_counts=True), strict=True))

    def meetings(ours: dict[Any, int], theirs: dict[Any, int], turn: bool) -> int:
        cells = np.array(list(ours), np.uint32)
        targets = (mirrored_words(cells) if turn else cells).tolist()
        return sum(int(n) * int(theirs.get(t, 0)) for n, t in zip(ours.values(), targets, strict=True))

    alike = meetings(held, held, False) - len(block.stored)  # less each word with itself
    return sum(meetings(seconds, held, turn) for turn in (False, True)) + (alike + meetings(held, held, True)) // 2


def sweep(corpus: pa.Table) -> None:
    """Print candidates per image and recall by votes and consistent points, in numpy."""
    ids = corpus["content_id"].to_pylist()
    started = time.process_time()
    block, matches = all_matches(corpus, 3)
    joined = time.process_time()
    points = [consistent_points(block, m) for m in matches]
    n_pairs = sum(map(len, matches))
    print(
        f"numpy, {len(ids)} images: join {1e3 * (joined - started) / len(ids):.2f} ms an image, check "
        f"{1e6 * (time.process_time() - joined) / n_pairs:.0f} us a pair ({n_pairs} pairs with 3 votes)\n"
    )
    best: dict[Pair, list[tuple[int, int]]] = {}
    for m, p in zip(matches, points, strict=True):
        for low, high, votes, n in zip(m.low.tolist(), m.high.tolist(), m.votes.tolist(), p.tolist(), strict=True):
            best.setdefault((ids[low], ids[high]), []).append((votes, n))
    print("| votes | points | recall | candidates an image | false ones an image, by set |\n|---|---|---|---|---|")
    for votes, n in itertools.product((3, 4, 5, 6, 8), (1, 3, 4, 5, 6)):
        found = {pair for pair, got in best.items() if any(v >= votes and p >= n for v, p in got)}
        print(f"| {votes} | {n} | {summary(corpus, found)} |")


def summary(corpus: pa.Table, found: set[Pair]) -> str:
    true, left_out = true_pairs(corpus)
    of = dict(zip(corpus["content_id"].to_pylist(), corpus["set"].to_pylist(), strict=True))
    sizes = Counter(of.values())
    false = Counter(of[a] if of[a] == of[b] else "across" for a, b in found - true.keys() - left_out)
    shares = ", ".join(f"{name} {n / sizes.get(name, len(of)):.2f}" for name, n in sorted(false.items()))
    return f"{len(found & true.keys()) / len(true):.4f} | {len(found) / len(of):.2f} | {shares}"


def by_edit(corpus: pa.Table, found: set[Pair]) -> None:
    true, _ = true_pairs(corpus)
    total, hits = Counter(true.values()), Counter(true[pair] for pair in found & true.keys())
    print("\n| edit | pairs | found |\n|---|---|---|")
    for edit, n in sorted(total.items()):
        print(f"| {edit} | {n} | {hits[edit] / n:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real images")
    parser.add_argument("--copies", type=int, default=3, help="edited copies of each photograph")
    parser.add_argument("--cache", type=Path, help="a parquet file to keep the corpus in, or to read it from")
    parser.add_argument("--nights", type=int, default=1)
    parser.add_argument("--block-units", type=int, default=BLOCK_UNITS)
    parser.add_argument("--votes", type=int, default=LshConfig().word_min_votes)
    parser.add_argument("--sweep", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.cache and args.cache.is_file():
        corpus = pq.read_table(args.cache)
    else:
        corpus = build_corpus(args.data, args.copies)
        if args.cache:
            pq.write_table(corpus, args.cache)
    corpus = corpus.sort_by("content_id")
    rows = join_rows(corpus) / len(corpus)
    print(f"{len(corpus)} images {dict(Counter(corpus['set'].to_pylist()))}, {rows:.0f} matches of words an image\n")
    if args.sweep:
        sweep(corpus)
    _, matches = all_matches(corpus, args.votes)
    ids = corpus["content_id"].to_pylist()
    before = {(ids[a], ids[b]) for m in matches for a, b in zip(m.low.tolist(), m.high.tolist(), strict=True)}
    with tempfile.TemporaryDirectory() as folder:
        after = run_spark(corpus, LshConfig(word_min_votes=args.votes), args.nights, args.block_units, Path(folder))
    print("\n| | recall | candidates an image | false ones an image, by set |\n|---|---|---|---|")
    print(f"| {args.votes} votes | {summary(corpus, before)} |\n| and the check | {summary(corpus, after)} |")
    by_edit(corpus, after)


if __name__ == "__main__":
    main()
