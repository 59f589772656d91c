"""On a warehouse that nights made by Spark: equal answers on all ways, stored groups, and verdicts of both engines."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pictures import SCENES, photograph
from pyspark.sql import functions as F
from serving import Server, encoded

import dupelake
from dupelake import cli
from dupelake.errors import ConfigError
from dupelake.group.giving import Line, give
from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER
from dupelake.pipeline.decisions import decide
from dupelake.serve import examples
from dupelake.serve.book import DeltaBook
from dupelake.warehouse.schema import DECIDED, DECISIONS, HASHES, IMAGES
from dupelake.warehouse.tables import Warehouse


@pytest.fixture(scope="module")
def lake(small_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with an index, to write to."""
    root = tmp_path_factory.mktemp("lake") / "dupes"
    shutil.copytree(small_lake / "dupes", root)
    build_index(str(root), root / FOLDER)
    return root


def plain(answer: dict) -> dict:
    kept = {key: value for key, value in answer.items() if key != "action"}
    return kept | {"index": {key: value for key, value in kept["index"].items() if key != "age_s"}}


def test_http_python_and_the_command_give_equal_answers(lake, tmp_path, capsys):
    files = []
    for number, name in enumerate((*SCENES, "retina.jpg")):
        data = encoded(photograph(name, 150 + 20 * number), "JPEG", quality=70 + number)
        (tmp_path / f"{number}.jpg").write_bytes(data)
        files.append(data)
    with Server(lake, "--processes", "1") as server:
        by_http = [server.check(data).answer for data in files]
        groups = {one["group"]["group_id"] for one in by_http if one["group"] and one["group"]["group_id"]}
        shown = [server.get(f"/groups/{group}") for group in groups]
        openapi = server.get("/openapi.json").json
    by_python = [json.loads(json.dumps(one.as_dict())) for one in dupelake.check(files, lake)]
    assert [plain(one) | {"image": ""} for one in by_http] == [plain(one) | {"image": ""} for one in by_python]
    assert sum(one["status"] == "copy" for one in by_http) >= 8
    capsys.readouterr()
    assert cli.main(["check", str(tmp_path), "--warehouse", str(lake), "--json", "--processes", "1"]) == 0
    lines = {one["image"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    of_path = ("image", "image_id", "index")  # a file has an id of its own
    for number, answer in enumerate(by_http):
        line = lines[str(tmp_path / f"{number}.jpg")]
        left_out = dict.fromkeys((*of_path, "group"))
        assert line | left_out == answer | left_out
        if answer["group"]:
            names = ("group_id", "size", "keeper", "relation", "kind", "reason", "score_to_keeper")
            assert [line["group"][name] for name in names] == [answer["group"][name] for name in names]
    stored = dupelake.open(lake).groups().to_pylist()
    for reply in shown:
        wanted = [row["image_id"] for row in stored if row["group_id"] == reply.json["group_id"]]
        assert [one["image_id"] for one in reply.json["images"]] == wanted
        assert reply.json["images"][0].keys() >= examples.GROUP["images"][0].keys()
    copy = next(one for one in by_http if one["group"] and one["pairs"])
    assert_like(examples.ANSWER, copy)
    assert {"/check", "/groups/{group_id}", "/images/{image_id}", "/decisions"} <= openapi["paths"].keys()


def assert_like(example: dict, real: dict) -> None:
    """The example has the fields of a real answer, of `measures` and `versions` some."""
    assert example.keys() == real.keys()
    for name in ("group", "index"):
        assert example[name].keys() == real[name].keys()
    assert example["pairs"][0].keys() == real["pairs"][0].keys()
    assert example["pairs"][0]["measures"].keys() <= real["pairs"][0]["measures"].keys()


def rows_of(warehouse: Warehouse, author: str) -> list[tuple]:
    rows = warehouse.read(DECISIONS).where(f"author = '{author}'").collect()
    pins = {(row.image_id, row.decided_at): (row.content_id, row.scope) for row in warehouse.read(DECIDED).collect()}
    return sorted(
        (row.image_id, row.other_image_id or "", row.verdict, row.note, pins[row.image_id, row.decided_at])
        for row in rows
    )


def test_both_engines_write_the_same_and_know_each_other(spark, lake):
    images = dupelake.open(lake).images(["image_id", "uri"], where="status = 'ok'").to_pylist()
    a, b, c = images[0], images[1], images[2]
    lines = [
        Line("1", a["image_id"], "not_duplicate", b["uri"]),
        Line("2", "file://" + c["uri"].replace(" ", "%20").replace("#", "%23"), "keeper", note="sharp"),
        Line("3", b["image_id"], "alternate", c["image_id"]),
    ]
    warehouse, book = Warehouse(spark, str(lake)), DeltaBook(lake, 10)
    now = dt.datetime(2026, 11, 1, 12, 0, 0, 123_457, tzinfo=dt.UTC)  # before the verdicts below
    assert (decide(warehouse, lines, "spark", now=now).added, give(book, lines, "delta", now=now).added) == (3, 3)
    assert rows_of(warehouse, "spark") == rows_of(warehouse, "delta")
    assert warehouse.read(DECIDED).where(f"decided_at = TIMESTAMP '{now.isoformat()}'").count() == 3  # by key, once
    assert (decide(warehouse, lines, "delta").known, give(book, lines, "spark").known) == (3, 3)
    latest = [Line("1", b["image_id"], "duplicate", a["image_id"])]
    assert give(book, latest, "spark").added == 1
    assert decide(warehouse, latest, "spark").known == 1
    row = (
        warehouse.read(IMAGES)
        .where(f"image_id = '{c['image_id']}'")
        .select("content_id")
        .join(warehouse.read(HASHES), "content_id")
    )
    warehouse.append(HASHES, row.withColumn("content_id", F.lit("e" * 32)).select(HASHES.columns))
    other = row.withColumns({"content_id": F.lit("f" * 32), "pixel_digest": F.lit("other")})
    warehouse.append(HASHES, other.select(HASHES.columns))
    for content, n in (("e" * 32, 0), ("f" * 32, 2)):  # with equal pixels nothing is new
        shown = {"content_id": f"'{content}'"}
        DeltaTable(str(lake / IMAGES.name)).update(predicate=f"image_id = '{c['image_id']}'", updates=shown)
        assert (decide(warehouse, lines[1:], "delta").added, give(book, lines[1:], "spark").added) == (n, n)
    assert (decide(warehouse, lines[1:], "spark").known, give(book, lines[1:], "delta").known) == (2, 2)


def test_both_engines_refuse_the_same(spark, lake):
    image = dupelake.open(lake).images(["image_id", "uri"], where="status = 'ok'").to_pylist()[0]
    failed = dupelake.open(lake).images(["image_id"], where="status = 'failed'").to_pylist()[0]["image_id"]
    lines = [
        Line("1", "/no/such", "keeper"),
        Line("2", failed, "keeper"),
        Line("3", image["uri"], "duplicate", image["image_id"]),
        Line("4", image["uri"], "maybe"),
        Line("5", image["uri"], "keeper"),
        Line("6", image["image_id"], "withdrawn"),
        Line("7", "%", "duplicate", "/."),
        Line("8", "", "keeper"),
    ]
    with pytest.raises(ConfigError) as by_spark:
        decide(Warehouse(spark, str(lake)), lines, "ann")
    with pytest.raises(ConfigError) as by_delta:
        give(DeltaBook(lake, 10), lines, "ann")
    assert by_spark.value.faults == by_delta.value.faults
    assert len(by_delta.value.faults) >= 7
