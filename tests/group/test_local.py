"""The groups of local tables (`dupelake.frames`) are those that Spark makes, in every column."""

from __future__ import annotations

import pytest
from group_corpus import Corpus, Nights, parquet_checkpoint, shapes
from test_decisions import Decided, Said
from test_decisions import corpus as with_verdicts

from dupelake.frames.frame import Frame
from dupelake.frames.functions import locally
from dupelake.group.decisions_stage import resolve_decisions
from dupelake.group.stage import member_rows
from dupelake.warehouse.schema import DECIDED, DECISIONS, GROUPS, HASHES, IMAGES, PAIRS

COLUMNS = [name for name in GROUPS.columns if name not in ("group_id", "updated_at")]


def frame(table, rows) -> Frame:
    return Frame.of_rows([row.asDict(recursive=True) for row in rows], table.columns)


def local_rows(nights, images, hashes, pairs, decisions=None) -> dict[str, dict]:
    with locally():
        tables = frame(IMAGES, images.collect()), frame(HASHES, hashes.collect()), frame(PAIRS, pairs.collect())
        verdicts = None
        if decisions is not None:
            said, pins = frame(DECISIONS, decisions.collect()), frame(DECIDED, nights.pins.collect())
            verdicts = resolve_decisions(said, pins, tables[0], tables[1], nights.cfg)
        accepted = tables[2].where("is_duplicate")
        found = member_rows(tables[0], tables[1], accepted, nights.cfg, lambda rows: rows, verdicts)
        return {row["image_id"]: {name: row[name] for name in COLUMNS} for row in found.rows.collect()}


def stored(rows) -> dict[str, dict]:
    return {row.image_id: {name: row.asDict(recursive=True)[name] for name in COLUMNS} for row in rows}


@pytest.fixture(scope="module")
def checkpoint(spark, tmp_path_factory):
    return parquet_checkpoint(spark, tmp_path_factory.mktemp("local"))


def test_groups_of_pictures_that_show_more_or_less_and_of_bridges(spark, checkpoint):
    corpus = Corpus()
    shapes(corpus)
    nights = Nights(spark, checkpoint)
    rows, _ = nights.run(corpus)
    made = local_rows(nights, *corpus.frames(spark))
    assert made
    assert made == stored(rows)


def test_groups_with_every_kind_of_verdict(spark, checkpoint):
    corpus, said = with_verdicts()
    assert isinstance(said, Said)
    nights = Decided(spark, checkpoint)
    rows, _, _ = nights.night(corpus, said)
    images, hashes, pairs = corpus.frames(spark)
    made = local_rows(nights, images, hashes, pairs, said.frame(spark))
    assert any("by" in row["reason"] for row in made.values())
    assert made == stored(rows.values())
