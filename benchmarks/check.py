"""Time, bytes and memory of `dupelake check`: index, look-up and verification, on a warehouse or on drawn contents.

    python -m benchmarks.check --warehouse DIR --images DIR --work DIR
    python -m benchmarks.check --drawn 100000 --work DIR

The first builds the index of a warehouse and checks images one after the other, in one process: core milliseconds of
the parts, and wall time. The second draws an index of random contents with as many words as photographs have, and
measures the look-up alone: what grows with the corpus.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from dupelake.config import Config
from dupelake.lookup import candidates as candidates_module
from dupelake.lookup import night as night_module
from dupelake.lookup.build import build_index
from dupelake.lookup.candidates import Probe, candidates
from dupelake.lookup.checker import Checker
from dupelake.lookup.night import Given, Night
from dupelake.lookup.reading import files_of, item_of
from dupelake.lookup.segments import MAX_CONTENTS, Segment, SegmentWriter
from dupelake.propose.mih import plan_exact
from dupelake.words.keypoints import KEYPOINT
from dupelake.words.vocabulary import N_CENTROIDS, PACKED_HEADER, PACKED_WORD

N_WORDS = 150


def percentiles(name: str, seconds: Sequence[float]) -> None:
    values = np.percentile(np.array(seconds) * 1000, [50, 95, 99, 100])
    print(f"{name}: p50 {values[0]:.1f} ms, p95 {values[1]:.1f} ms, p99 {values[2]:.1f} ms, most {values[3]:.1f} ms")


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def children() -> list[Path]:
    """The processes of this process that read and decode the images, in /proc."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended; none of these has children
            found += (task / "children").read_text(encoding="utf-8").split()
    return [Path("/proc", child) for child in found]


def core_s() -> float:
    """Core-seconds of this process and of its children."""
    parts = [part / "schedstat" for child in children() for part in (child / "task").iterdir()]
    return time.process_time() + sum(int(part.read_text(encoding="utf-8").split()[0]) for part in parts) / 1e9


def own_mb() -> list[float]:
    """Memory of this process and of each child, without mapped files, MB."""
    lines = [(one / "status").read_text(encoding="utf-8").splitlines() for one in (Path("/proc/self"), *children())]
    return [round(int(line.split()[1]) / 1024) for some in lines for line in some if line.startswith("RssAnon")]


class Clock:
    """Adds up the core-seconds of functions of a module."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, module: object, name: str) -> None:
        """Measure calls of module.name from now on."""
        inner: Callable[..., object] = getattr(module, name)

        def timed(*args: object, **more: object) -> object:
            start = core_s()
            try:
                return inner(*args, **more)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + core_s() - start

        setattr(module, name, timed)


def measure_warehouse(warehouse: str, images: str, work: Path, scope: str | None, profile: str | None) -> None:
    start = time.perf_counter()
    manifest = build_index(warehouse, work / "index", full=True, told=print)
    seconds = time.perf_counter() - start
    print(
        f"index: {manifest.n_contents} contents in {seconds:.1f} s, {folder_bytes(work / 'index')} bytes,"
        f" {folder_bytes(work / 'index') / manifest.n_contents / 1000:.1f} KB a content"
    )
    start = time.perf_counter()
    build_index(warehouse, work / "index", told=print)
    print(f"index without changes: {time.perf_counter() - start:.2f} s")
    paths = list(files_of([images], ()))
    with Checker(work / "index", scope, profile=profile) as checker:
        measure_checks(checker, paths)
        compare_stores(checker, work)
    print(f"largest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def measure_checks(checker: Checker, paths: Sequence[str]) -> None:
    """Check images one after the other; wall time of all, and core time of the parts."""
    clock = Clock()
    for name in ("candidates", "measured_pairs", "member_rows"):
        clock.wrap(night_module, name)
    parts: dict[str, list[float]] = defaultdict(list)
    n_pairs, n_copies = [], 0
    for path in paths[:3]:
        checker.check(path)
    for path in paths:
        clock.seconds.clear()
        start, wall = core_s(), time.perf_counter()
        given = checker._reader.read(item_of(path, 1), checker.scope)
        parts["read"].append(core_s() - start)
        if isinstance(given, Given):
            answer = Night(checker.index, given).answer()
            n_pairs.append(len(answer.pairs))
            n_copies += answer.is_copy
        parts["all"].append(core_s() - start)
        parts["all, wall time"].append(time.perf_counter() - wall)
        for name in ("candidates", "measured_pairs", "member_rows"):
            parts[name].append(clock.seconds.get(name, 0.0))
    print(f"memory of this process and of that which reads images, without mapped files: {own_mb()} MB")
    print(f"{len(paths)} images checked: {n_copies} copies, {np.mean(n_pairs):.2f} pairs measured an image")
    print(f"pairs an image: p50, p95, p99, most: {np.percentile(n_pairs, [50, 95, 99, 100]).tolist()}")
    for name, seconds_of in parts.items():
        percentiles(name, seconds_of)


def compare_stores(checker: Checker, work: Path) -> None:
    """The bytes of random contents from the files of the index, and from one table of SQLite."""
    index, rng = checker.index, np.random.default_rng(1)
    kinds = ("thumbnail", "keypoints", "descriptors")
    numbers = rng.integers(0, len(index), min(2000, len(index)))
    database = sqlite3.connect(work / "store.sqlite")
    database.execute("CREATE TABLE IF NOT EXISTS held (number INTEGER PRIMARY KEY, thumbnail, keypoints, descriptors)")
    rows = ((n, *(index.blob(kind, n) for kind in kinds)) for n in range(len(index)))
    start = time.perf_counter()
    database.executemany("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?)", rows)
    database.commit()
    print(f"SQLite: written in {time.perf_counter() - start:.1f} s, {(work / 'store.sqlite').stat().st_size} bytes")
    start = time.perf_counter()
    for number in numbers.tolist():
        database.execute("SELECT thumbnail, keypoints, descriptors FROM held WHERE number = ?", (number,)).fetchone()
    of_sqlite = time.perf_counter() - start
    start = time.perf_counter()
    for number in numbers.tolist():
        for kind in kinds:
            index.blob(kind, number)
    of_files = time.perf_counter() - start
    n = len(numbers)
    print(f"one content: files {1e6 * of_files / n:.0f} us, SQLite {1e6 * of_sqlite / n:.0f} us (cached pages)")


def drawn_words(rng: np.random.Generator, n: int) -> list[bytes]:
    """Packed words: cells by a squared uniform draw, so that some words are frequent."""
    header = np.array([(320, 240)], PACKED_HEADER).tobytes()
    out = []
    for _ in range(n):
        packed = np.zeros(N_WORDS, PACKED_WORD)
        for kind in ("stored", "second"):
            packed[kind] = (rng.random(N_WORDS) ** 2 * N_CENTROIDS**2).astype(np.uint32)
        keypoints = np.zeros(N_WORDS, KEYPOINT)
        keypoints["x"], keypoints["y"] = rng.integers(0, 320 * 32, N_WORDS), rng.integers(0, 240 * 32, N_WORDS)
        keypoints["scale"], keypoints["angle"] = rng.integers(64, 640, N_WORDS), rng.integers(0, 65536, N_WORDS)
        packed["keypoint"] = keypoints
        out.append(header + packed.tobytes())
    return out


def measure_drawn(n: int, work: Path) -> None:
    rng, segments = np.random.default_rng(0), []
    start = time.perf_counter()
    for first in range(0, n, MAX_CONTENTS):
        some = min(MAX_CONTENTS, n - first)
        folder = work / f"drawn-{first}"
        folder.mkdir(parents=True, exist_ok=True)
        ids = sorted(rng.bytes(16).hex() for _ in range(some))
        writer = SegmentWriter(folder, ids, None, 0)
        writer._phash[:] = rng.integers(0, 2**64, writer._phash.shape, np.uint64)
        writer._pdq[:] = rng.integers(0, 2**64, writer._pdq.shape, np.uint64)
        for at in range(0, some, 4096):
            part = ids[at : at + 4096]
            writer.add_blobs("words", pa.array(part), pa.array(drawn_words(rng, len(part)), pa.binary()))
        writer.close()
        segments.append(Segment(folder))
    print(f"{n} drawn contents written in {time.perf_counter() - start:.0f} s, without thumbnails and descriptors")
    firsts = np.cumsum([0, *map(len, segments)])
    index = SimpleNamespace(
        config=Config(),
        plans={"phash": plan_exact(64, 7, 1e6), "pdq": plan_exact(256, 31, 1e6)},
        segments=segments,
        parts=lambda: list(zip(firsts.tolist(), segments, strict=False)),
        n_units=lambda scope: 20_000 if n > 20_000 else n,
        are_units=lambda scope: np.ones(n, bool),
        number=lambda content_id: None,
        content_id=lambda number: _locate(firsts, segments, number)[0].content_id(_locate(firsts, segments, number)[1]),
        blob=lambda kind, number: _locate(firsts, segments, number)[0].blob(kind, _locate(firsts, segments, number)[1]),
    )
    clock, seconds, found = Clock(), {"all": [], "_by_codes": [], "_by_words": []}, 0
    for name in ("_by_codes", "_by_words"):
        clock.wrap(candidates_module, name)
    for _ in range(100):
        codes = rng.integers(0, 2**64, 10, np.uint64)
        probe = Probe("0" * 32, codes[:2], codes[2:], None, drawn_words(rng, 1)[0])
        clock.seconds.clear()
        start = time.perf_counter()
        found += len(candidates(index, probe, [""]))
        seconds["all"].append(time.perf_counter() - start)
        for name in ("_by_codes", "_by_words"):
            seconds[name].append(clock.seconds[name])
    for name, values in seconds.items():
        percentiles(f"look-up, {name}", values)
    print(
        f"{found} candidates of 100 strangers; {folder_bytes(work) / n / 1000:.1f} KB a content on disk; "
        f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, mapped pages included"
    )


def _locate(firsts: np.ndarray, segments: list[Segment], number: int) -> tuple[Segment, int]:
    at = int(np.searchsorted(firsts, number, "right")) - 1
    return segments[at], int(number - firsts[at])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warehouse")
    parser.add_argument("--images")
    parser.add_argument("--drawn", type=int)
    parser.add_argument("--profile", help="of the checks: fast")
    parser.add_argument("--scope", help="of the images")
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    args.work.mkdir(parents=True, exist_ok=True)
    if args.drawn:
        measure_drawn(args.drawn, args.work)
    else:
        measure_warehouse(args.warehouse, args.images, args.work, args.scope, args.profile)


if __name__ == "__main__":
    main()
