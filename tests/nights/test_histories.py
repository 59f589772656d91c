"""Random histories of a corpus through the cluster job: incremental equals batch, ids last, the events replay."""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from dupelake.jobs import cluster
from dupelake.schema import CLUSTERED, GROUP_CHANGES, GROUP_MOVES, GROUPS, HASHES, IMAGES, PAIRS, RUNS
from dupelake.tables import Warehouse

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from group_corpus import Corpus

STEPS = 4
NAMES = ("group_id", "updated_at")  # history gives these; all else is a function of the corpus


def store(spark, warehouse: Warehouse, corpus: Corpus, seed: int) -> None:
    images, hashes, pairs = corpus.frames(spark, seed=seed)
    for table, frame in ((IMAGES, images), (HASHES, hashes.withColumn("pdq", F.lit(bytes(32)))), (PAIRS, pairs)):
        warehouse.overwrite(table, frame)


def grouped(warehouse: Warehouse) -> dict[str, tuple[str, bool]]:
    return {r["image_id"]: (r["group_id"], r["is_keeper"]) for r in warehouse.read(GROUPS).collect()}


def facts(warehouse: Warehouse) -> list[tuple]:
    columns = [c for c in GROUPS.columns if c not in NAMES]
    return sorted((tuple(r) for r in warehouse.read(GROUPS).select(columns).collect()), key=repr)


def parts(warehouse: Warehouse) -> set[frozenset[str]]:
    found: dict[str, set[str]] = {}
    for image, (group, _) in grouped(warehouse).items():
        found.setdefault(group, set()).add(image)
    return {frozenset(images) for images in found.values()}


def replayed(warehouse: Warehouse, last: int) -> dict[str, tuple[str, bool]]:
    """Groups after change number `last`, out of group_moves alone."""
    state = {}
    for r in warehouse.read(GROUP_MOVES).where(f"sequence <= {last}").orderBy("sequence").collect():
        assert state.get(r["image_id"], (None,))[0] == r["from_group_id"]
        if r["to_group_id"] is None:
            del state[r["image_id"]]
        else:
            state[r["image_id"]] = (r["to_group_id"], r["is_keeper"])
    return state


def sizes_by_events(warehouse: Warehouse) -> dict[str, int]:
    """Sizes of the groups that live, out of group_changes alone; no id comes twice."""
    sizes, dead = {}, set()
    rows = warehouse.read(GROUP_CHANGES).collect()
    for r in sorted(rows, key=lambda r: (r["sequence"], r["event"] != "born")):
        group, event = r["group_id"], r["event"]
        assert group not in dead, "an id was used again"
        if event == "born":
            assert group not in sizes
        if event in ("ended", "merged_into"):
            del sizes[group]
            dead.add(group)
        else:
            sizes[group] = r["n_images"]
    return sizes


def change(corpus: Corpus, rng: random.Random, step: int) -> None:
    """Images come and go, pairs appear, vanish and change; pixels turn out to be equal."""
    live = [i for i, row in corpus.images.items() if row["deleted_at"] is None]
    for k in range(rng.randint(2, 5)):
        name = hashlib.md5(f"{step} {k}".encode(), usedforsecurity=False).hexdigest()  # the content's id as well
        twin = rng.choice(live) if live and rng.random() < 0.3 else None
        pixels = corpus.pixels[corpus.images[twin]["content_id"]] if twin and rng.random() < 0.5 else None
        content = corpus.images[twin]["content_id"] if twin and pixels is None else None
        corpus.image(name, "s", content=content, pixels=pixels, side=rng.randint(50, 900))
        live.append(name)
    for _ in range(rng.randint(2, 6)):
        a, b = (corpus.images[i]["content_id"] for i in rng.sample(live, 2))
        if a != b:
            corpus.pair(a, b, score=rng.choice([0.3, 0.6, 0.9]))
    for key in rng.sample(sorted(corpus.pairs), min(2, len(corpus.pairs))):
        if rng.random() < 0.5:
            del corpus.pairs[key]
    if step and len(live) > 6:
        corpus.drop(*rng.sample(live, rng.randint(0, 2)))
    by_pixels: dict[str, list[str]] = {}
    for content, digest in corpus.pixels.items():
        by_pixels.setdefault(digest, []).append(content)
    for contents in by_pixels.values():
        for other in sorted(contents)[1:]:
            corpus.pair(min(contents), other, score=1.0, kind="pixel", found_by="pixel")


@pytest.mark.parametrize("seed", [2])
def test_histories(spark, tmp_path, seed):
    rng, corpus = random.Random(seed), Corpus()  # noqa: S311
    nightly, past = Warehouse(spark, str(tmp_path / "nightly")), {}
    for step in range(STEPS):
        change(corpus, rng, step)
        store(spark, nightly, corpus, seed=step)
        assert cluster.main(["--warehouse", nightly.root]) == 0
        past[nightly.last_sequence(GROUPS)] = grouped(nightly)
    batch = Warehouse(spark, str(tmp_path / "batch"))
    store(spark, batch, corpus, seed=99)
    assert cluster.main(["--warehouse", batch.root]) == 0
    assert parts(nightly)
    assert parts(nightly) == parts(batch)
    assert facts(nightly) == facts(batch)
    assert {r["content_id"]: r for r in nightly.read(CLUSTERED).collect()} == {
        r["content_id"]: r for r in batch.read(CLUSTERED).collect()
    }
    for sequence, state in past.items():
        assert replayed(nightly, sequence) == state
    counted: dict[str, int] = {}
    for group, _ in grouped(nightly).values():
        counted[group] = counted.get(group, 0) + 1
    assert sizes_by_events(nightly) == counted
    runs = nightly.read(RUNS).orderBy("started_at").collect()
    assert any(0 < r["counts"]["contents_regrouped"] < len(corpus.pixels) for r in runs[1:]), "all was grouped again"
