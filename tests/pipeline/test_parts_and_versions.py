"""Nothing lost by halves: `--full` over a part, embeddings that come later, jobs alone, gates."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pictures import OPTIONS, photograph
from PIL import Image
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dupelake.config import Config, load_config
from dupelake.fingerprint.hashing import hash_version
from dupelake.pipeline import cluster, embed, hash, lsh_join, nightly
from dupelake.warehouse.schema import (
    ALL_TABLES,
    BESIDE_NIGHTS,
    EMBEDDINGS,
    FEATURES,
    GROUPS,
    HASHES,
    IMAGES,
    JOIN_KEYS,
    JOINED,
    PAIRS,
    RUNS,
    THUMBNAILS,
    Table,
)
from dupelake.warehouse.tables import Warehouse

TIMES = {"ingested_at", "updated_at", "changed_at", "tried_at", "run_id", "group_id", "other_group_id"}
PLAIN = [word for option in ("run.planted_images=0", "run.checked_images=0") for word in ("--set", option)]
WITH_MODEL = [*PLAIN, "--set", "embed.contents=all"]
OTHER = ["--set", "hash.thumbnail_quality=80"]  # other hashes, and other thumbnails


class Lake:
    """Photographs and small copies of them in two partitions, a manifest, and warehouses."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder, self.manifest = spark, folder, folder / "manifest.csv"
        self.rows: dict[str, tuple[Path, str, str]] = {}
        for name, partition in (("chelsea.png", "1"), ("coffee.png", "1"), ("rocket.jpg", "2")):
            picture, stem = photograph(name, 300), Path(name).stem
            self.put(f"{stem}.png", partition, picture)
            self.put(f"{stem} half.png", partition, picture.resize((picture.width // 2, picture.height // 2)))
        self.write()

    def put(self, name: str, partition: str, picture: Any) -> None:
        path = self.folder / name
        path.write_text(picture) if isinstance(picture, str) else picture.save(path)
        self.rows[name] = (path, partition, "")

    def write(self) -> None:
        with self.manifest.open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(("image_id", "uri", "partition", "deleted"))
            lines.writerows((name, *row) for name, row in self.rows.items())

    def warehouse(self, name: str = "wh") -> Warehouse:
        return Warehouse(self.spark, str(self.folder / name))

    def run(self, job: Any, *options: str, name: str = "wh") -> int:
        paths = [str(self.manifest)] if job in (hash, nightly) else []
        code: int = job.main([*paths, "--warehouse", self.warehouse(name).root, *options])
        return code


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    return Lake(spark, tmp_path)


def raw(warehouse: Warehouse, table: Table) -> list[dict[str, Any]]:
    return deltalake.DeltaTable(warehouse.path(table)).to_pyarrow_table().to_pylist()


def rows(warehouse: Warehouse, table: Table, *, but: set[str] = TIMES) -> list[str]:
    return sorted(repr([row[name] for name in table.columns if name not in but]) for row in raw(warehouse, table))


def last(warehouse: Warehouse) -> dict[str, Any]:
    row = max(raw(warehouse, RUNS), key=lambda row: row["started_at"])
    return row | {name: None if row[name] is None else dict(row[name]) for name in ("counts", "tables")}


def versions(warehouse: Warehouse) -> dict[str, int]:
    return {table.name: warehouse.version(table) for table in ALL_TABLES if table not in BESIDE_NIGHTS}


def equal_but_for_history(one: Warehouse, other: Warehouse, *tables: Table) -> None:
    for table in tables:
        assert rows(one, table) == rows(other, table), table.name


@pytest.mark.long
def test_full_over_a_part_is_refused_and_over_all_gives_what_a_new_warehouse_has(lake: Lake, capsys) -> None:
    wh = lake.warehouse()
    assert lake.run(nightly, *OPTIONS) == 0
    before = versions(wh)
    assert lake.run(nightly, "--full", "--partitions", "2", *OPTIONS) == 0, "no version differs: a part may be read"
    assert versions(wh) == before
    for part in (["--partitions", "2"], ["--since", "2"]):
        assert lake.run(nightly, "--full", *part, *OPTIONS, *OTHER) == 2
        told = last(wh)["error_message"]
        assert "would leave out 4 images (4 contents)" in told
        assert "chelsea half.png" in told
        assert "Give all manifests" in told
    # The join and the grouping alone, with options that nothing was hashed by, withdraw nothing either.
    assert lake.run(lsh_join, "--full", *OPTIONS, *OTHER) == 2
    assert "6 images have hashes of version" in last(wh)["error_message"]
    assert versions(wh) == before

    # Contents that no image holds any more keep their version and stand in nobody's way; pixels that were equal by
    # an older version and are not by this one become a near pair.
    lake.rows["coffee half.png"] = (*lake.rows["coffee half.png"][:2], "yes")
    lake.write()
    of = {row["image_id"]: row["content_id"] for row in raw(wh, IMAGES)}
    star = sorted(of[name] for name in ("chelsea.png", "chelsea half.png"))
    same = {"pixel_digest": F.lit("x")}, F.col("content_id").isin(star)
    equal = {name: F.lit("pixel") for name in ("found_by", "join_version", "kind")}, F.col("src_id") == star[0]
    for table, (values, condition) in ((HASHES, same), (PAIRS, equal)):
        stored = wh.read(table)
        changed = {name: F.when(condition, value).otherwise(F.col(name)) for name, value in values.items()}
        wh.overwrite(table, lake.spark.createDataFrame(stored.withColumns(changed).collect(), table.schema))
    assert lake.run(nightly, "--full", *OPTIONS, *OTHER) == 0
    assert lake.run(nightly, *OPTIONS, *OTHER, name="new") == 0
    equal_but_for_history(wh, lake.warehouse("new"), PAIRS, JOINED, GROUPS)
    config = load_config(None, OTHER[1:])
    of_version = {row["content_id"]: row["hash_version"] for row in raw(wh, HASHES)}
    assert of_version.pop(of["coffee half.png"]) == hash_version(Config())
    assert set(of_version.values()) == {hash_version(config)}
    drawn = {row["content_id"]: row["bytes"] for row in raw(lake.warehouse("new"), THUMBNAILS)}
    assert drawn.items() <= {row["content_id"]: row["bytes"] for row in raw(wh, THUMBNAILS)}.items()

    lake.rows["coffee half.png"] = (
        *lake.rows["coffee half.png"][:2],
        "",
    )  # and is replaced when an image holds it again
    lake.write()
    assert lake.run(nightly, *OPTIONS, *OTHER) == 0, last(wh)["error_message"]
    assert last(wh)["counts"]["returned"] == 1
    assert lake.run(nightly, *OPTIONS, *OTHER, name="new") == 0
    equal_but_for_history(wh, lake.warehouse("new"), HASHES, THUMBNAILS, PAIRS, JOINED, GROUPS)
    capsys.readouterr()


@pytest.mark.long
def test_an_embedding_that_failed_is_tried_again_and_meets_the_others(lake: Lake, capsys) -> None:
    """As it is when the model's memory runs out one night, by the tables of a warehouse where it did not."""
    wh, environment = lake.warehouse(), lake.spark.sparkContext.environment
    for name in [name for name in lake.rows if not name.startswith("chelsea")]:
        del lake.rows[name]
    lake.write()
    environment["DUPELAKE_FAULT"] = "memory:worker:model"
    try:
        assert lake.run(nightly, *WITH_MODEL) == 0
        assert {(r["embedding"], r["attempts"]) for r in raw(wh, EMBEDDINGS)} == {(None, 1)}
        assert last(wh)["counts"]["embed_waiting"] == 2
        assert {row["cosine_similarity"] for row in raw(wh, PAIRS)} == {None}
        assert lake.run(nightly, *WITH_MODEL) == 0, "nothing is new, and what failed is due all the same"
        assert {(r["embedding"], r["attempts"]) for r in raw(wh, EMBEDDINGS)} == {(None, 2)}
    finally:
        del environment["DUPELAKE_FAULT"]
    before = versions(wh)
    assert lake.run(embed, *WITH_MODEL, "--set", "run.max_attempts=2") == 0
    assert last(wh)["counts"]["embed_waiting"] == 0
    assert versions(wh) == before, "given up"
    assert lake.run(nightly, *WITH_MODEL) == 0
    counts = last(wh)["counts"]
    assert (counts["embed_retried"], counts["embedded"], counts["embed_failed"], counts["embed_waiting"]) == (
        2,
        2,
        0,
        0,
    )
    assert lake.run(nightly, *WITH_MODEL, name="new") == 0
    new = lake.warehouse("new")
    equal_but_for_history(wh, new, EMBEDDINGS, JOIN_KEYS, JOINED, PAIRS, GROUPS)
    assert all(row["cosine_similarity"] > 0.9 and "embedding" in row["found_by"] for row in raw(new, PAIRS))
    assert last(wh)["tables"] == versions(wh)
    # A thumbnail that is no picture stays so: no later night tries it, --full does.
    stored = wh.read(EMBEDDINGS).withColumns(
        {
            "embedding": F.lit(None).cast("binary"),
            "error_message": F.lit("the thumbnail cannot be decoded: it is empty"),
            "attempts": F.lit(1),
        }
    )
    wh.overwrite(EMBEDDINGS, lake.spark.createDataFrame(stored.collect(), EMBEDDINGS.schema))
    assert lake.run(embed, *WITH_MODEL) == 0
    assert last(wh)["counts"]["embed_retried"] == 0
    assert lake.run(embed, "--full", *WITH_MODEL) == 0
    assert rows(wh, EMBEDDINGS) == rows(new, EMBEDDINGS)
    capsys.readouterr()


@pytest.mark.long
def test_contents_with_few_words_are_embedded_and_all_where_somebody_asks(lake: Lake, capsys) -> None:
    wh = lake.warehouse()
    sky = Image.linear_gradient("L").resize((320, 240)).convert("RGB")
    lake.put("sky.png", "1", sky)
    lake.put("sky half.png", "1", sky.resize((160, 120)))
    lake.write()
    assert lake.run(nightly, *PLAIN, "--set", "embed.contents=few_words") == 0
    few = {row["content_id"] for row in raw(wh, FEATURES) if row["n_keypoints"] < 100}
    skies = {row["content_id"] for row in raw(wh, IMAGES) if row["image_id"].startswith("sky")}
    assert skies <= few
    assert {row["content_id"] for row in raw(wh, EMBEDDINGS)} == few, "photographs have words enough"
    assert last(wh)["tables"] == versions(wh), "the night is complete without the other embeddings"
    assert lake.run(nightly, *WITH_MODEL) == 0
    assert lake.run(nightly, *WITH_MODEL, name="new") == 0
    equal_but_for_history(wh, lake.warehouse("new"), EMBEDDINGS, JOIN_KEYS, JOINED, PAIRS, GROUPS)
    capsys.readouterr()


@pytest.mark.long
def test_jobs_alone_are_complete_after_all_of_them(lake: Lake, capsys) -> None:
    wh = lake.warehouse()

    def complete(job: Any) -> bool:
        capsys.readouterr()
        assert lake.run(job, *OPTIONS) == 0
        return last(wh)["tables"] is not None

    assert not complete(hash)
    assert not complete(cluster)
    assert "6 contents or pairs are not as the join would leave them: run lsh_join.py" in capsys.readouterr().err
    assert not complete(lsh_join)
    assert complete(cluster)
    picture = photograph("chelsea.png", 300)
    picture.save(lake.folder / "again.bmp")
    lake.rows["again.bmp"] = (lake.folder / "again.bmp", "3", "")  # equal pixels: no new unit, but a pair
    lake.write()
    assert not complete(hash)
    assert not complete(cluster)
    assert "contents or pairs are not as the join would leave them: run lsh_join.py" in capsys.readouterr().err
    assert not complete(lsh_join)
    assert complete(cluster)
    assert last(wh)["tables"] == versions(wh)


@pytest.mark.long
def test_a_run_that_can_read_next_to_nothing_ends_with_3(lake: Lake, capsys) -> None:
    gate = ["--set", "embed.model=none"]
    good, lake.rows = lake.rows, {}
    lake.rows["gone"] = (lake.folder / "gone.png", "1", "")
    lake.write()
    assert lake.run(hash, *gate) == 3, "nothing could be read at all"
    assert "1 of 1 images failed, most of them as `missing` (1, such as" in last(lake.warehouse())["error_message"]
    assert lake.run(hash, *gate) == 0, "known to fail: told before"
    lake.rows |= good
    lake.write()
    assert lake.run(hash, *gate) == 0
    for at in range(5):
        lake.put(f"text {at}", "2" if at < 2 else "3", f"no image {at}")
    lake.write()
    capsys.readouterr()
    assert lake.run(hash, *gate, "--partitions", "2") == 0, "two broken files tell nothing of the night"
    assert "2 of 2 images failed, most of them as `undecodable`" in capsys.readouterr().err
    assert lake.run(hash, *gate) == 3
    told = last(lake.warehouse())
    assert "3 of 3 images failed, most of them as `undecodable` (3, such as" in told["error_message"]
    assert told["counts"]["failed"] == told["counts"]["failed.undecodable"] == 3
    assert len(raw(lake.warehouse(), IMAGES)) == 12, "the results stand"
