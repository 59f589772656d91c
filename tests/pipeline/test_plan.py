"""The forecast of a run in words: what it would do; and its time, of which every night takes a part."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pictures import FASTEST, png
from pyspark.sql import SparkSession

from dupelake.config import load_config
from dupelake.embed.stage import describe_model
from dupelake.errors import ManifestError
from dupelake.pipeline import hash
from dupelake.pipeline.options import HashOptions
from dupelake.pipeline.plan import Rates, _cost, describe_plan
from dupelake.warehouse.schema import EMBEDDINGS, IMAGES
from dupelake.warehouse.tables import Warehouse


def test_a_few_images_take_as_long_as_any_night():
    rates = Rates(160.0, 0.05, 0.5, 0.1, 1000.0)
    lines = list(_cost(rates, 12))
    assert lines[0].startswith("12 images, 11.7 KiB; about 6 pairs; about 0.0 min at the rate of past runs")
    assert lines[1].startswith("about 2.7 min for Spark's start")
    assert lines[2] == "about 2.7 min in all"
    assert list(_cost(rates, 12_000))[2] == "about 22.7 min in all"  # 160 s + 600 s + 600 s


def test_nothing_to_read_takes_time_too():
    (line,) = _cost(Rates(160.0, 0.05, None, None, None), 0)
    assert line.startswith("no image is read; about 2.7 min for Spark's start")


def test_before_the_first_night_nothing_is_known_but_the_fixed_part():
    for rates in (Rates(None, None, None, None, None), Rates(None, 0.05, None, None, None)):
        (line,) = _cost(rates, 12)
        assert line.startswith("unknown: no night is on record")
        assert "2 to 3 min" in line


def test_what_the_run_would_do(spark: SparkSession, tmp_path: Path, capsys) -> None:
    warehouse, manifest = Warehouse(spark, str(tmp_path / "wh")), tmp_path / "manifest.csv"
    names = ("a", "b", "c", "d")
    for at, name in enumerate(names):
        (tmp_path / name).write_bytes(png(at))

    def write(rows: dict[str, str]) -> None:
        with manifest.open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(("image_id", "uri", "partition", "deleted"))
            lines.writerows((name, tmp_path / name, "1", deleted) for name, deleted in rows.items())

    def plan(*settings: str, partitions: list[str] | None = None, **options: bool) -> str:
        config = load_config(None, [*FASTEST[1::2], *settings])
        return describe_plan(warehouse, config, HashOptions((str(manifest),), partitions, **options))

    write(dict.fromkeys(names, ""))
    assert "4 to read and hash (4 new)" in plan(), "there is no warehouse yet"
    assert not Path(warehouse.root).exists()
    assert hash.main([str(manifest), "--warehouse", warehouse.root, *FASTEST]) == 0
    before = sorted(Path(warehouse.root).rglob("*"))

    write(dict.fromkeys(names, "") | {"d": "yes"})
    stone = "removed  1 of the stored images would be marked as deleted (1 tombstone)"
    for options in ({}, {"partitions": ["1"]}, {"listing": True}):
        assert stone in plan(**options)
    other = plan("hash.thumbnail_side_px=288", full=True)
    assert "3 to read and hash (3 again)" in other
    assert stone in other
    assert "is refused" not in other, "the only image that is left out is marked as deleted"
    write({"a": ""})
    assert "the run is refused, for its manifests leave out 3" in plan("hash.thumbnail_side_px=288", full=True)
    assert "removed" not in plan()
    with pytest.raises(ManifestError, match="3 of the 4 images that it covers are not in it"):
        plan(listing=True)
    told = plan("manifest.max_removed_fraction=1", "hash.thumbnail_side_px=288", listing=True, full=True)
    assert "removed  3 of the stored images would be marked as deleted (3 not_listed)" in told
    assert "is refused" not in told

    assert sorted(Path(warehouse.root).rglob("*")) == before, "nothing is written"
    with_model = ("embed.model=default", "embed.contents=all")
    model_id, preprocess_id, _ = describe_model(load_config(None, list(with_model)).embed)
    row = {"model_id": model_id, "preprocess_id": preprocess_id, "error_message": "no memory", "attempts": 1}
    row["content_id"] = warehouse.read(IMAGES).select("content_id").first()[0]
    warehouse.append(EMBEDDINGS, spark.createDataFrame([row], EMBEDDINGS.schema))
    assert "3 contents have no embedding by " in plan(*with_model), "one has one: few_words was asked for before"
    capsys.readouterr()
