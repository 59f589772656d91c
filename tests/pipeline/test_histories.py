"""Random histories of a corpus through the cluster job: incremental equals batch, ids last, the events replay."""

from __future__ import annotations

import hashlib
import random

import pytest
from group_corpus import Corpus
from lineage import facts, grouped, parts, replayed, sizes_by_events, sizes_now
from pyspark.sql import functions as F

from dupelake.pipeline import cluster
from dupelake.warehouse.schema import CLUSTERED, GROUPS, HASHES, IMAGES, PAIRS, RUNS
from dupelake.warehouse.tables import Warehouse

STEPS = 4


def store(spark, warehouse: Warehouse, corpus: Corpus, seed: int) -> None:
    images, hashes, pairs = corpus.frames(spark, seed=seed)
    for table, frame in ((IMAGES, images), (HASHES, hashes.withColumn("pdq", F.lit(bytes(32)))), (PAIRS, pairs)):
        warehouse.overwrite(table, frame)


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
@pytest.mark.long
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
    assert sizes_by_events(nightly) == sizes_now(nightly)
    runs = nightly.read(RUNS).orderBy("started_at").collect()
    assert any(0 < r["counts"]["contents_regrouped"] < len(corpus.pixels) for r in runs[1:]), "all was grouped again"
