"""Which counts each job writes into `runs.counts`: people's queries and alerts read them by name."""

from __future__ import annotations

import json

import pytest
from pictures import write_two_nights
from pyspark.sql import functions as F

from dupelake.pipeline import cluster, embed, forget, hash, lsh_join, maintain, nightly
from dupelake.warehouse.schema import ALL_TABLES, GROUPS, RUNS
from dupelake.warehouse.tables import Warehouse

HASH = "hashed failed contents_new features_failed removed moved changed retried returned read skipped"
FAILED = "failed.empty failed.truncated failed.undecodable"
EMBED = "embedded embed_failed embed_retried embed_waiting"
JOIN = "pairs_measured pairs_withdrawn"
MEASURE = "burst_followers words_dropped exact_pairs_missed pairs_not_aligned copies_planted copies_found"
CLUSTER = "contents_regrouped bridges_cut conflicts components_split"
STANDS = """groups images_grouped copies removable removable_bytes may_go.identical may_go.identical_bytes
    may_go.verified may_go.verified_bytes may_go.copies may_go.copies_bytes"""
KINDS = "pairs.pixel pairs.near pairs.mirrored pairs.recoloured"
PURGED = "purged.join_keys purged.thumbnails purged.embeddings purged.features purged.hashes"


@pytest.mark.long
def test_each_job_writes_its_counts(spark, tmp_path):
    images, warehouse = str(write_two_nights(tmp_path / "tree")), Warehouse(spark, str(tmp_path / "wh"))
    similar = ["--set", "cluster.similar_groups=true"]

    def counts(main, *arguments, code=0):
        events, metrics = tmp_path / "events", tmp_path / "metrics"
        events.unlink(missing_ok=True)
        watched = ["--set", f"run.event_log={events}", "--set", f"run.metrics_file={metrics}"]
        assert main([*arguments, "--warehouse", warehouse.root, *watched]) == code
        row = warehouse.read(RUNS).orderBy(F.desc("started_at")).first()
        last = json.loads(events.read_text(encoding="utf-8").splitlines()[-1])
        assert last["counts"] == row["counts"]
        text = metrics.read_text(encoding="utf-8")
        for name, n in row["counts"].items():
            key = f'reason="{name.removeprefix("failed.")}"' if name.startswith("failed.") else f'name="{name}"'
            assert f"{key}}} {n}\n" in text
        return row["counts"]

    def names(text, *more):
        return {name for part in (text, *more) for name in part.split()}

    assert set(counts(hash.main, images, "--partitions", "2026-11-01")) == names(HASH)
    assert set(counts(embed.main)) == names(EMBED)
    assert set(counts(lsh_join.main)) == names(JOIN, MEASURE, "pairs.near")
    assert set(counts(cluster.main)) == names(CLUSTER, STANDS, "changes.born")
    night = counts(nightly.main, images, *similar)
    assert set(night) == names(
        *(HASH, FAILED, EMBED, JOIN, MEASURE, KINDS, CLUSTER, STANDS), "changes.born changes.grew similar_groups"
    )
    again = counts(nightly.main, images, *similar)
    zero = names(JOIN, CLUSTER, EMBED) - {"components_split", "embed_retried"}
    assert set(again) == names(HASH, STANDS, KINDS, "nothing_changed") | zero
    assert {name: again[name] for name in names(STANDS, KINDS)} == {name: night[name] for name in names(STANDS, KINDS)}
    assert {again[name] for name in zero} == {0}
    keeper = warehouse.read(GROUPS).where("is_keeper").orderBy("image_id").first()["image_id"]
    gone = counts(forget.main, "--image", keeper, "--image", "none", "--purge", code=3)
    joined = {name for name in gone if not name.startswith("changes.")}
    assert joined == names("named forgotten unknown", PURGED, JOIN, KINDS, CLUSTER, STANDS)
    assert set(counts(forget.main, "--image", keeper, "--undo")) == names("named undone unknown")
    kept = counts(maintain.main)
    assert set(kept) == {f"files.{table.name}" for table in ALL_TABLES}
