"""People decide at any time, several at once, beside a run: no verdict is lost, and none is taken for applied."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from group_corpus import Corpus, parquet_checkpoint
from pyspark.sql import functions as F

from dupelake import cli
from dupelake.group import giving
from dupelake.group.giving import Line
from dupelake.pipeline import cluster, decisions, maintain
from dupelake.pipeline.command_lines import cluster_command
from dupelake.pipeline.common import run_job
from dupelake.pipeline.decisions import decide, pin_decisions
from dupelake.runtime.lock import PEOPLE, lock_of
from dupelake.runtime.run_record import last_complete, table_versions
from dupelake.warehouse.schema import DECIDED, DECISIONS, GROUPS, HASHES, IMAGES, PAIRS
from dupelake.warehouse.tables import Warehouse

LIB = Path(__file__).parents[2] / "lib"
NAMES = tuple("abcdefgh")


@pytest.fixture
def warehouse(spark, tmp_path) -> Warehouse:
    """Images a to h of one story, a and b found as copies."""
    corpus = Corpus()
    for n, name in enumerate(NAMES):
        corpus.image(name, "", content=32 * name, side=100 + n)
    corpus.pair(32 * "a", 32 * "b", score=0.9)
    images, hashes, pairs = corpus.frames(spark)
    wh = Warehouse(spark, str(tmp_path / "wh"))
    for table, frame in ((IMAGES, images), (HASHES, hashes.withColumn("pdq", F.lit(bytes(32)))), (PAIRS, pairs)):
        wh.overwrite(table, frame)
    wh.ensure(DECIDED, DECISIONS)
    return wh


def said(warehouse: Warehouse) -> list[tuple[str, str, str]]:
    rows = warehouse.read(DECISIONS).collect()
    return sorted((row["author"], row["image_id"], row["other_image_id"]) for row in rows)


@pytest.mark.long
def test_no_verdict_of_several_people_at_once_is_lost(spark, warehouse, tmp_path):
    """Three in threads and one in a process of his own, each verdict by itself; one file is given twice at once."""
    pairs = [("a", "b"), ("c", "d"), ("e", "f")]
    table = tmp_path / "carl.csv"
    table.write_text("image_id,other_image_id,verdict\na,b,duplicate\nc,d,duplicate\n", encoding="utf-8")
    command = [sys.executable, "-m", "dupelake.cli", "decide", "--warehouse", warehouse.root, "--author", "carl"]
    env = os.environ | {"PYTHONPATH": str(LIB)}
    carl = subprocess.Popen([*command, "--csv", str(table)], stdout=subprocess.PIPE, text=True, env=env)
    faults: list[BaseException] = []

    def person(author: str) -> None:
        try:
            for image, other in pairs:
                decide(Warehouse(spark, warehouse.root), [Line("arguments", image, "not_duplicate", other)], author)
        except BaseException as error:
            faults.append(error)

    people = ["ann", "bob", "ann"]  # ann twice: her second window says what the first did
    threads = [threading.Thread(target=person, args=(author,)) for author in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told, _ = carl.communicate()
    assert faults == []
    assert carl.returncode == 0
    assert told.startswith("2 verdicts added")
    expected = [(author, *pair) for author in ("ann", "bob") for pair in pairs]
    assert said(warehouse) == sorted([*expected, ("carl", "a", "b"), ("carl", "c", "d")])
    pinned = warehouse.read(DECIDED).count()
    assert pinned == 2 * len(said(warehouse))
    assert not [path.name for path in Path(warehouse.root).iterdir() if path.name.startswith("_lock")]


def test_a_verdict_waits_while_a_run_writes_what_verdicts_are_about(spark, warehouse, tmp_path):
    decide(warehouse, [Line("arguments", "a", "duplicate", "b")], "ann")
    warehouse.delete(DECIDED, "true")  # as if SQL had inserted it
    run = Warehouse(spark, warehouse.root)
    run.own([])
    at_commit, go = threading.Event(), threading.Event()

    def wait(point: str) -> None:
        if point == "before:decided":
            at_commit.set()
            assert go.wait(60)

    run.at_commit, run.alone = wait, lambda table: decisions.alone(run, "run one", table)
    night = threading.Thread(target=pin_decisions, args=(run, parquet_checkpoint(spark, tmp_path)))
    person = threading.Thread(target=decide, args=(warehouse, [Line("arguments", "c", "duplicate", "d")], "bob"))
    night.start()
    assert at_commit.wait(60)
    person.start()
    person.join(3)
    assert person.is_alive(), "it did not wait"
    go.set()
    night.join()
    person.join()
    assert said(warehouse) == [("ann", "a", "b"), ("bob", "c", "d")]
    assert sorted(row["image_id"] for row in warehouse.read(DECIDED).collect()) == ["a", "b", "c", "d"]


def test_who_waits_in_vain_is_told_and_nothing_is_written(spark, warehouse, monkeypatch, capsys):
    monkeypatch.setattr(giving, "WAIT_S", 0.5)
    other = lock_of(spark, warehouse.root, "decide of bob", 0, 900, PEOPLE)
    other.acquire()
    before = warehouse.version(DECIDED), warehouse.version(DECISIONS)
    try:
        assert cli.main(["decide", "--warehouse", warehouse.root, "--author", "ann", "a", "duplicate", "b"]) == 4
    finally:
        other.release()
    told = capsys.readouterr().err
    assert "decide of bob (process" in told
    assert "try again" in told
    assert (warehouse.version(DECIDED), warehouse.version(DECISIONS)) == before


def night(run, options, versions) -> None:
    cluster.work(run, options, versions)
    run.is_complete = True  # as in a night, which embeds and joins first


@pytest.mark.long
def test_a_verdict_that_comes_during_a_run_is_the_next_ones(spark, warehouse):
    """The run neither fails nor says that it applied it."""
    root, ours = warehouse.root, ["--warehouse", warehouse.root]

    def decided_meanwhile(run, options, versions) -> None:
        inner = run.warehouse.at_commit

        def at_commit(point: str) -> None:
            if point == "before:groups":
                decide(Warehouse(spark, root), [Line("arguments", "a", "not_duplicate", "b")], "ann")
            inner(point)

        run.warehouse.at_commit = at_commit
        night(run, options, versions)

    command = cluster_command("cluster.py", "")
    assert run_job(replace(cluster.JOB, work=decided_meanwhile), command, ours) == 0
    assert warehouse.read(GROUPS).where("NOT is_keeper").count() == 1, "a and b are copies yet"
    assert said(warehouse) == [("ann", "a", "b")]
    assert last_complete(warehouse)["tables"] != table_versions(warehouse)
    assert run_job(replace(cluster.JOB, work=night), command, ours) == 0
    assert warehouse.read(GROUPS).isEmpty()
    assert last_complete(warehouse)["tables"] == table_versions(warehouse)


@pytest.mark.long
def test_a_verdict_that_comes_during_maintenance_is_the_next_nights(spark, warehouse, monkeypatch):
    ours = ["--warehouse", warehouse.root]
    decide(warehouse, [Line("arguments", "c", "duplicate", "d")], "ann")
    assert run_job(replace(cluster.JOB, work=night), cluster_command("cluster.py", ""), ours) == 0
    complete = last_complete(warehouse)
    assert complete is not None
    keep = Warehouse.maintain

    def decided_before(self, table, hours):
        if table is DECISIONS:
            decide(Warehouse(spark, warehouse.root), [Line("arguments", "a", "not_duplicate", "b")], "bob")
        return keep(self, table, hours)

    monkeypatch.setattr(Warehouse, "maintain", decided_before)
    assert maintain.main(ours) == 0
    assert last_complete(warehouse) == complete
    assert said(warehouse) == [("ann", "c", "d"), ("bob", "a", "b")]


def test_all_faults_of_a_file_are_named_at_once(warehouse, tmp_path, capsys):
    table = tmp_path / "bad.csv"
    table.write_text(
        "image_id,other_image_id,verdict\na,b,same\nghost,b,duplicate\nc,,duplicate\nd,e,duplicate\nd,e,alternate\n",
        encoding="utf-8",
    )
    assert cli.main(["decide", "--warehouse", warehouse.root, "--author", "ann", "--csv", str(table)]) == 2
    told = capsys.readouterr().err
    for words in (
        "row 2: verdict 'same'",
        "row 3: no image 'ghost'",
        "row 4: duplicate is about two",
        "row 5 and row 6",
    ):
        assert words in told
    assert warehouse.read(DECISIONS).isEmpty()
