"""Stable group ids and the events of groups. Each scope is one example; all run in the same nights."""

from __future__ import annotations

import logging
from datetime import datetime
from types import SimpleNamespace

import pytest
from group_corpus import Corpus, Nights, parquet_checkpoint, stars_of
from pyspark.sql import functions as F

from dupelake.pipeline.cluster import _count_cuts
from dupelake.runtime.counts import Counts
from dupelake.warehouse.schema import GROUPS


@pytest.fixture(scope="module")
def checkpoint(spark, tmp_path_factory):
    return parquet_checkpoint(spark, tmp_path_factory.mktemp("groups"))


def nights_of_change():
    """Five nights; each scope is one example."""
    c = Corpus()
    for scope in ("grow", "merge", "merge_weak", "split", "end", "heir", "reborn", "swap"):
        c.ladder(scope, *(f"{scope}_{i}" for i in range(8)))
        c.drop(*(f"{scope}_{i}" for i in range(8)))

    def show(scope, *numbers):
        for i in numbers:
            c.images[f"{scope}_{i}"]["deleted_at"] = None

    def link(scope, *pairs, score=0.9):
        for a, b in pairs:
            c.pair(f"{scope}_{a}", f"{scope}_{b}", score=score, kind="near" if score >= 0.5 else None)

    show("grow", 1, 2), link("grow", (1, 2), (0, 1), (0, 2), (1, 3), (0, 3))
    show("merge", 4, 5), link("merge", (4, 5))
    show("merge_weak", 1, 2, 3, 5, 6), link("merge_weak", (1, 2), (1, 3), (5, 6))
    show("split", 1, 2, 3, 4, 5), link("split", (1, 2), (1, 3), (1, 4), (1, 5), (3, 4), (3, 5))
    show("end", 1, 2), link("end", (1, 2))
    show("heir", 1, 2, 3), link("heir", (1, 2), (1, 3), (2, 3))
    show("reborn", 1, 2), link("reborn", (1, 2))
    show("swap", 1, 2, 3), link("swap", (1, 2), (1, 3), (1, 4))
    yield c
    show("grow", 3)  # a worse one joins
    show("merge", 1, 2), link("merge", (1, 2))  # a better pair beside the old one
    link("split", (1, 3), (1, 4), (1, 5), score=0.3)  # measured anew: 3, 4, 5 are a picture of their own
    c.drop("end_2", "heir_1", "reborn_1", "swap_2")
    show("swap", 4)
    c.drop("merge_weak_1")  # a keeper without whom its members go to another group
    link("merge_weak", (2, 5), (3, 5), (2, 6), (2, 3))
    yield c
    show("grow", 0)  # a better one takes the keeper's place
    link("merge", (1, 4), (1, 5))  # two keepers in one group: the older group lives on
    show("reborn", 1)
    yield c
    c.drop("reborn_1")
    yield c
    show("reborn", 1)
    yield c


@pytest.fixture(scope="module")
def life(spark, checkpoint):
    nights, seen, ids = Nights(spark, checkpoint), [], {}
    for corpus in nights_of_change():
        rows, events = nights.run(corpus)
        ids |= {row.group_id: row.scope for row in rows}
        seen.append(({row.image_id: row for row in rows}, events))
    return seen, ids


def told(life, scope):
    """Events of a scope by night, with ids replaced by the order of their first occurrence."""
    seen, ids = life
    order = {}
    out = []
    for _, events in seen:
        mine = [e for e in events if ids[e.group_id] == scope]
        for event in sorted(mine, key=lambda e: e.event != "born"):
            order.setdefault(event.group_id, len(order))
        out.append(sorted((e.event, order[e.group_id], order.get(e.other_group_id), e.n_images) for e in mine))
    return out


@pytest.mark.parametrize(
    ("scope", "nights"),
    [
        ("grow", [[("born", 0, None, 2)], [("grew", 0, None, 3)], [("grew", 0, None, 4)], [], []]),
        (
            "merge",
            [[("born", 0, None, 2)], [("born", 1, None, 2)], [("grew", 0, None, 4), ("merged_into", 1, 0, 0)], [], []],
        ),
        (
            "split",
            [
                [("born", 0, None, 5)],
                [("born", 1, None, 3), ("shrank", 0, None, 2), ("split_from", 1, 0, 3)],
                [],
                [],
                [],
            ],
        ),
        ("end", [[("born", 0, None, 2)], [("ended", 0, None, 0)], [], [], []]),
        ("heir", [[("born", 0, None, 3)], [("shrank", 0, None, 2)], [], [], []]),
        (
            "reborn",
            [
                [("born", 0, None, 2)],
                [("ended", 0, None, 0)],
                [("born", 1, None, 2)],
                [("ended", 1, None, 0)],
                [("born", 2, None, 2)],
            ],
        ),
        ("swap", [[("born", 0, None, 3)], [], [], [], []]),
    ],
)
def test_the_life_of_a_group(life, scope, nights):
    assert told(life, scope) == nights


def test_a_group_that_lost_its_keeper_merges_into_the_one_that_took_its_members(life):
    seen, _ = life
    small = seen[0][0]["merge_weak_5"].group_id
    large = seen[0][0]["merge_weak_1"].group_id
    assert small != large
    # 2 is the best now and takes 3, 5 and 6: 5, the keeper of the small group, has first claim
    assert {seen[1][0][f"merge_weak_{i}"].group_id for i in (2, 3, 5, 6)} == {small}
    assert [(e.event, e.other_group_id, e.n_images) for e in seen[1][1] if e.group_id == large] == [
        ("merged_into", small, 0)
    ]


def test_a_new_keeper_takes_over_the_id(life):
    seen, _ = life
    assert seen[1][0]["grow_1"].is_keeper
    assert seen[2][0]["grow_0"].is_keeper
    assert len({seen[night][0]["grow_2"].group_id for night in range(5)}) == 1


def test_updated_at_moves_with_the_row_only(life):
    seen, _ = life
    at = [[seen[night][0][name].updated_at for night in range(5)] for name in ("grow_2", "heir_2")]
    days = [datetime(2026, 11, 1 + n, 12) for n in range(1, 6)]
    assert [[moment.replace(tzinfo=None) for moment in row] for row in at] == [
        [days[0], days[1], days[2], days[2], days[2]],
        [days[0], days[1], days[1], days[1], days[1]],
    ]


def test_a_group_is_never_of_one_image_and_has_one_keeper(life):
    for rows, _ in life[0]:
        for keeper, members in stars_of(rows.values()).items():
            assert members, keeper


def test_an_id_in_use_is_not_given_to_a_newborn(spark, checkpoint):
    """Even if the events are lost and only the stored groups contain the id."""
    c = Corpus()
    c.ladder("s", "a", "b", "c")
    c.pair("a", "b")
    nights = Nights(spark, checkpoint)
    rows, _ = nights.run(c)
    stored = [(name, *tuple(row)[1:]) for row, name in zip(rows, ("x", "y"), strict=True)]
    nights.groups = spark.createDataFrame(stored, GROUPS.schema)  # its images are gone, the id is not
    nights.changes = nights.changes.where(F.lit(False))
    again, events = nights.run(c)
    assert {row.group_id for row in again}.isdisjoint({row.group_id for row in rows})
    assert sorted(e.event for e in events) == ["born", "ended"]


def test_the_run_counts_what_was_cut_and_its_log_names_some(spark, caplog):
    run = SimpleNamespace(counts=Counts())
    cuts = spark.createDataFrame(
        [("c1", "a/s", "b/s", 1), ("c1", "a/s", "d/s", 3), ("c2", "e/", "f/", 2)],
        "component string, src string, dst string, cut bigint",
    )
    with caplog.at_level(logging.INFO, logger="dupelake"):
        _count_cuts(run, cuts)
    assert run.counts == {"bridges_cut": 3, "components_split": 2}
    assert "a and d (the second is a composite); e and f (the first is a composite)" in caplog.text
    _count_cuts(run, cuts.where("cut > 9"))
    assert run.counts == {"bridges_cut": 0, "components_split": 0}
