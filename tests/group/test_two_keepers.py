"""Which conflicts of two keepers hold still after a run that made a part of the groups again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from group_corpus import NOON, Corpus, parquet_checkpoint
from pyspark.sql import functions as F

from dupelake.frames.functions import locally
from dupelake.group.two_keepers_stage import conflicts_elsewhere
from dupelake.lookup.measure import frame_of, rows_of
from dupelake.pipeline.decisions import write_conflicts
from dupelake.warehouse.schema import DECIDED, DECISION_CONFLICTS, HASHES, IMAGES
from dupelake.warehouse.tables import Warehouse

OLD, COPY, NEW, B = "old", "copy", "new", "b"  # contents; OLD and COPY have equal pixels


@pytest.mark.parametrize(
    ("shown", "part", "holds"),
    [
        pytest.param({"a": OLD, "b": B}, (), True, id="nothing was made again"),
        pytest.param({"a": OLD, "b": B}, ("a", "b"), False, id="its groups were made again, and it was not found"),
        pytest.param({"a": NEW, "b": B}, ("b",), False, id="the keeper was overwritten: its picture is nowhere"),
        pytest.param({"a": NEW, "b": B}, (), False, id="and so it is in later nights"),
        pytest.param(
            {"a": NEW, "x": COPY, "b": B}, ("a",), True, id="the image is in other groups now, the picture not"
        ),
        pytest.param({"a": NEW, "x": COPY, "b": B}, ("x", "b"), False, id="the picture was grouped again"),
        pytest.param({"b": B}, (), False, id="the image was purged"),
    ],
)
def test_a_conflict_is_where_the_chosen_picture_is(shown, part, holds):
    conflict = {"conflict_id": "c", "kind": "two_keepers", "image_id": "a", "against_image_id": "b"}
    conflict |= {"verdict": "keeper", "author": "ann", "decided_at": NOON}
    pins = [{"image_id": "a", "decided_at": NOON, "content_id": OLD, "scope": ""}]
    pins += [{"image_id": "a", "decided_at": NOON + timedelta(hours=1), "content_id": NEW, "scope": ""}]  # of another
    images = [{"image_id": one, "content_id": content, "scope": "", "status": "ok"} for one, content in shown.items()]
    digests = {OLD: "1", COPY: "1", NEW: "2", B: "3"}
    hashes = [{"content_id": content, "pixel_digest": digest} for content, digest in digests.items()]
    other = conflict | {"conflict_id": "d", "kind": "same_time"}
    tables = (DECISION_CONFLICTS, [conflict, other]), (DECIDED, pins), (IMAGES, images), (HASHES, hashes)
    with locally():
        frames = [
            frame_of([{n: row.get(n) for n in table.columns} for row in rows], table.columns) for table, rows in tables
        ]
        made_again = frame_of([{"image_id": one} for one in part], ["image_id"])
        found = rows_of(conflicts_elsewhere(*frames, made_again))
    assert found == ([{"conflict_id": "c"}] if holds else [])


def test_only_the_rows_of_ended_conflicts_are_deleted(spark, tmp_path):
    """a was overwritten and its picture is nowhere; c too, but x shows its picture, in groups that stay as they are."""
    wh = Warehouse(spark, str(tmp_path / "wh"))
    corpus = Corpus()
    for name, content in (("a", "e"), ("b", "b"), ("c", "f"), ("x", "c"), ("d", "d")):
        corpus.image(name, "", content=32 * content)
    images, hashes, _ = corpus.frames(spark)
    wh.overwrite(IMAGES, images)
    wh.overwrite(HASHES, hashes.withColumn("pdq", F.lit(bytes(32))))
    ends, said = (("a", "b"), ("c", "d")), {"verdict": "keeper", "author": "ann", "decided_at": NOON}
    said |= {f"against_{name}": value for name, value in said.items()} | {"message": "told", "since": NOON}
    rows = [
        said | {"conflict_id": one, "kind": "two_keepers", "image_id": one, "against_image_id": other}
        for one, other in ends
    ]
    pins = [{"image_id": one, "decided_at": NOON, "content_id": 32 * one, "scope": ""} for one in ("a", "b", "c", "d")]
    for table, given in ((DECISION_CONFLICTS, rows), (DECIDED, pins)):
        wh.ensure(table)
        wh.append(table, spark.createDataFrame([tuple(map(row.get, table.columns)) for row in given], table.schema))
    none = wh.read(DECISION_CONFLICTS).limit(0)
    part = wh.read(IMAGES).where("image_id IN ('b', 'c')")  # a alone is in no group, and c has new copies
    write_conflicts(wh, none, parquet_checkpoint(spark, tmp_path / "steps"), part)
    assert [row.conflict_id for row in wh.read(DECISION_CONFLICTS).collect()] == ["c"]
