"""A verdict holds for files of equal pixels, also where the file that it names is purged or not hashed again."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from group_corpus import NOON, Corpus
from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.frames.functions import locally
from dupelake.group.decisions_stage import moved_pins, resolve_decisions
from dupelake.lookup.measure import frame_of, rows_of
from dupelake.pipeline import forget
from dupelake.pipeline.decisions import current_verdicts
from dupelake.warehouse.schema import DECIDED, DECISIONS, HASHES, IMAGES, Table
from dupelake.warehouse.tables import Warehouse

A, TWIN, B, LONE = (letter * 32 for letter in "aceb")  # contents; A and TWIN have equal pixels


def test_a_pin_on_a_content_that_goes_moves_to_equal_pixels_that_stay():
    def row(table: Table, **values: Any) -> dict[str, Any]:
        return {name: values.get(name) for name in table.columns}

    digests = {A: "d1", TWIN: "d1", "d" * 32: "d1", B: "d2", LONE: "d3"}
    hashes = [row(HASHES, content_id=content, pixel_digest=digest) for content, digest in digests.items()]
    pins = [
        row(DECIDED, image_id=name, decided_at=NOON, content_id=content, scope="s")
        for name, content in (("a.png", A), ("b.jpg", B), ("lone.png", LONE))
    ]
    with locally():
        given = (frame_of(rows, table.columns) for rows, table in ((pins, DECIDED), (hashes, HASHES)))
        moved = rows_of(moved_pins(*given, frame_of([{"content_id": one} for one in (A, LONE)], ["content_id"])))
        assert moved == [row(DECIDED, image_id="a.png", decided_at=NOON, content_id=TWIN, scope="s")]


def test_a_verdict_on_a_content_that_was_not_hashed_again_holds_for_its_pixels():
    def frame(table: Table, *rows: dict[str, Any]) -> Any:
        return frame_of([{name: row.get(name) for name in table.columns} for row in rows], table.columns)

    said = {"image_id": "a.png", "other_image_id": "b.jpg", "verdict": "not_duplicate", "author": "ann"}
    pins = [{"image_id": name, "content_id": one, "scope": ""} for name, one in (("a.png", A), ("b.jpg", B))]
    images = [
        {"image_id": name, "content_id": one, "scope": "", "status": "ok"}
        for name, one in (("a.png", A), ("a.bmp", TWIN), ("b.jpg", B))
    ]
    old, new = {"content_id": A, "pixel_digest": "d1"}, {"content_id": TWIN, "pixel_digest": "d1"}
    other = {"content_id": B, "pixel_digest": "d2"}
    with locally():
        given = [
            frame(DECISIONS, said | {"decided_at": NOON}),
            frame(DECIDED, *(pin | {"decided_at": NOON} for pin in pins)),
            frame(IMAGES, *images),
            frame(HASHES, new, other),
        ]
        (verdict,) = rows_of(resolve_decisions(*given, Config(), frame(HASHES, old, new, other)))
    assert {verdict["vertex"], verdict["other_vertex"]} == {f"{TWIN}/", f"{B}/"}


@pytest.mark.long
@pytest.mark.parametrize("is_pinned", [True, False])
def test_a_verdict_survives_the_purge_of_the_file_that_it_named(spark, tmp_path, is_pinned):
    corpus = Corpus()
    for name, content, pixels in (("a.png", A, "d1"), ("a.bmp", TWIN, "d1"), ("b.jpg", B, "d2"), ("lone", LONE, "d3")):
        corpus.image(name, "", content=content, pixels=pixels)
    images, hashes, _ = corpus.frames(spark)
    wh = Warehouse(spark, str(tmp_path / "wh"))
    for table, frame in ((IMAGES, images), (HASHES, hashes.withColumn("pdq", F.lit(bytes(32))))):
        wh.overwrite(table, frame)
    wh.ensure(DECIDED, DECISIONS)
    said = {"image_id": "a.png", "other_image_id": "b.jpg", "verdict": "not_duplicate", "author": "ann"}
    said |= {"decided_at": NOON + dt.timedelta(hours=1)}
    pins = [said | {"image_id": name, "content_id": one, "scope": ""} for name, one in (("a.png", A), ("b.jpg", B))]
    for table, rows in ((DECISIONS, [said]), (DECIDED, pins if is_pinned else [])):  # SQL inserts are not pinned
        tuples = [tuple(row.get(name) for name in table.columns) for row in rows]
        wh.append(table, spark.createDataFrame(tuples, table.schema))
    assert forget.main(["--warehouse", wh.root, "--image", "a.png", "--purge"]) == 0
    assert A not in {row["content_id"] for row in wh.read(HASHES).collect()}
    (verdict,) = current_verdicts(wh, Config(), lambda frame: frame).collect()
    assert {verdict["vertex"], verdict["other_vertex"]} == {f"{TWIN}/", f"{B}/"}
    version = wh.version(DECIDED)
    assert forget.main(["--warehouse", wh.root, "--image", "lone", "--purge"]) == 0
    assert wh.version(DECIDED) == version
