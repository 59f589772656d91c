"""A run whose lock was taken over commits nothing after the new run: real Delta, concurrent commits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from delta.exceptions import ConcurrentAppendException
from pyspark.sql import functions as F
from test_tables import NOW, hash_row, hashes

from dupelake.errors import BusyError
from dupelake.warehouse import fence as module
from dupelake.warehouse import tables
from dupelake.warehouse.schema import DECIDED, GROUP_CHANGES, GROUPS, HASHES
from dupelake.warehouse.staging import Staging
from dupelake.warehouse.tables import Warehouse

A, B, C, D = (letter * 32 for letter in "abcd")


@pytest.fixture
def root(tmp_path) -> str:
    return str(tmp_path / "wh")


class Slow:
    """Rows that, after `arm`, report when they are computed and wait for `go`: they simulate a very long commit."""

    def __init__(self, folder: Path) -> None:
        self.armed, self.begun, self.go = folder / "armed", folder / "begun", folder / "go"

    def rows(self, rows):
        armed, begun, go = self.armed, self.begun, self.go

        def wait(value: str) -> str:
            if armed.exists():
                begun.touch()
                for _ in range(600):
                    if go.exists():
                        break
                    time.sleep(0.1)
            return value

        return rows.coalesce(1).withColumn("content_id", F.udf(wait)("content_id"))

    def at_commit(self, point: str) -> None:
        """Arms the rows when the commit begins, not when they are computed before it."""
        if point.startswith("before:"):
            self.armed.touch()

    def meanwhile(self, commit, other) -> list[BaseException]:
        """Runs `other` during the work of `commit`; returns what `commit` raised."""
        raised: list[BaseException] = []

        def run() -> None:
            try:
                commit()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive() and not self.begun.exists():
            time.sleep(0.05)
        assert self.begun.exists()
        other()
        self.go.touch()
        thread.join()
        return raised


def ids(warehouse: Warehouse) -> list[str]:
    return sorted(row["content_id"] for row in warehouse.read(HASHES).select("content_id").collect())


@pytest.mark.parametrize("how", ["append", "merge"])
def test_a_commit_whose_work_goes_on_while_another_run_takes_over_writes_nothing(spark, root, tmp_path, how):
    old, new, slow = Warehouse(spark, root), Warehouse(spark, root), Slow(tmp_path)
    token = old.own([])
    old.append(HASHES, hashes(spark, hash_row(A)))
    old.at_commit = slow.at_commit
    rows = slow.rows(hashes(spark, hash_row(B)))

    def take() -> None:
        assert new.own([token]) > token
        new.append(HASHES, hashes(spark, hash_row(C)))

    raised = slow.meanwhile(lambda: getattr(old, how)(HASHES, rows), take)
    assert [type(error) for error in raised] == [BusyError], raised
    assert ids(new) == [A, C]


def test_all_that_an_overtaken_run_commits_later_is_refused(spark, root):
    old, new = Warehouse(spark, root), Warehouse(spark, root)
    token = old.own([])
    old.append(HASHES, hashes(spark, hash_row(A)))
    old.append(GROUP_CHANGES, spark.createDataFrame([], GROUP_CHANGES.schema))
    new.own([token])
    before = new.version(HASHES), new.version(GROUP_CHANGES)
    more = hashes(spark, hash_row(B))
    for commit in (
        lambda: old.append(HASHES, more),
        lambda: old.overwrite(HASHES, more),
        lambda: old.merge(HASHES, more),
        lambda: old.merge(HASHES, more, delete=hashes(spark, hash_row(A)).select("content_id")),
        lambda: old.delete(HASHES, "true"),
        lambda: old.append(GROUP_CHANGES, spark.createDataFrame([], GROUP_CHANGES.schema)),
    ):
        with pytest.raises(BusyError, match="took this warehouse over"):
            commit()
    assert (new.version(HASHES), new.version(GROUP_CHANGES)) == before
    new.append(HASHES, more)
    new.delete(HASHES, f"content_id = '{A}'")
    assert ids(new) == [B]


def test_what_delta_skips_in_silence_is_told(spark, root, monkeypatch):
    """A later run commits between our check of the table and Delta's check: Delta assumes a repeated write."""
    old, new = Warehouse(spark, root), Warehouse(spark, root)
    token = old.own([])
    old.append(HASHES, hashes(spark, hash_row(A)))

    def take(point: str) -> None:
        if point == "before:hashes":
            new.own([token])

    old.at_commit = take
    for commit in (
        lambda: old.append(HASHES, hashes(spark, hash_row(B))),
        lambda: old.merge(HASHES, hashes(spark, hash_row(B))),
        lambda: old.delete(HASHES, "true"),
    ):
        new._token = None
        old._token = token = new.own([old._token])
        new._token = None
        with pytest.raises(BusyError, match="took this warehouse over"):
            commit()
    assert ids(new) == [A]


def test_the_sequence_of_groups_outlives_the_fence_and_older_warehouses(spark, root):
    row = ("i", "g", "", "c", True, "keeper", False, None, None, 1.0, None, "r", 2, NOW)
    groups = spark.createDataFrame([row], GROUPS.schema)
    first = Warehouse(spark, root)
    first.merge(GROUPS, groups, update_when="true", sequence=7)  # like a version without tokens
    assert first.last_sequence(GROUPS) == 7
    second = Warehouse(spark, root)
    token = second.own([])
    second.merge(GROUPS, groups, update_when="true", sequence=8)
    third = Warehouse(spark, root)
    third.own([token])
    assert third.last_sequence(GROUPS) == 8, "the fence is no change of groups"
    with pytest.raises(BusyError):
        second.merge(GROUPS, groups, update_when="true", sequence=9)
    assert third.last_sequence(GROUPS) == 8
    third.merge(GROUPS, groups, update_when="true", sequence=9)
    assert third.last_sequence(GROUPS) == 9


def test_a_clock_that_runs_behind_makes_no_smaller_token(spark, root, monkeypatch):
    first = Warehouse(spark, root)
    token = first.own([])
    first.append(HASHES, hashes(spark, hash_row(A)))
    monkeypatch.setattr(module.time, "time", lambda: 1000.0)
    assert Warehouse(spark, root).own([]) == token + 1
    assert Warehouse(spark, root).own([token + 5]) == token + 6


def test_another_commit_in_between_is_not_a_fault(spark, root, tmp_path):
    """People add verdicts, also by SQL, while a run writes the table `decided`."""
    night, somebody, slow = Warehouse(spark, root), Warehouse(spark, root), Slow(tmp_path)
    night.own([])
    night.ensure(DECIDED)
    night.at_commit = slow.at_commit
    rows, more = (spark.createDataFrame([(name, NOW, B, "")], DECIDED.schema) for name in "ij")
    raised = slow.meanwhile(lambda: night.merge(DECIDED, slow.rows(rows)), lambda: somebody.append(DECIDED, more))
    assert raised == []
    assert sorted(row["image_id"] for row in night.read(DECIDED).collect()) == ["i", "j"]


def test_only_folders_with_the_mark_are_removed_and_their_runs_are_fenced_off(spark, root, caplog):
    killed, wh = Warehouse(spark, root), Warehouse(spark, root)
    Staging(killed, "20261101T020000-abcdef").begin()
    left = Staging(killed, "20261101T020000-abcdef").save(spark.range(3))
    assert left.count() == 3
    killed.append(HASHES, hashes(spark, hash_row(A)))
    folder = Path(root, "_staging")
    (folder / "holiday").mkdir()
    (folder / "holiday" / "beach.jpg").write_bytes(b"a picture")
    (folder / "20251101T020000-012345").mkdir()  # named like one of ours
    (folder / "notes.txt").write_text("a note", encoding="utf-8")
    staging = Staging(wh, "20261102T020000-abcdef")
    staging.begin()
    names = {path.name for path in folder.iterdir()}
    assert names == {"holiday", "20251101T020000-012345", "notes.txt", "20261102T020000-abcdef"}
    assert (folder / "holiday" / "beach.jpg").read_bytes() == b"a picture"
    assert all(name in caplog.text for name in ("holiday", "20251101T020000-012345", "notes.txt"))
    with pytest.raises(BusyError):
        killed.append(HASHES, hashes(spark, hash_row(B)))
    version = wh.version(HASHES)
    staging.remove()
    Staging(Warehouse(spark, root), "20261103T020000-abcdef").begin()
    assert wh.version(HASHES) == version, "a run that ended needs no fence"
    assert {path.name for path in folder.iterdir()} == names - {staging.root.rpartition("/")[2]} | {
        "20261103T020000-abcdef"
    }


def test_a_table_that_others_change_all_the_time_is_given_up(spark, root, monkeypatch):
    tries: list[int] = []

    def write(_: dict[str, str]) -> None:
        tries.append(1)
        raise ConcurrentAppendException("somebody else was faster")

    monkeypatch.setattr(tables.time, "sleep", lambda _: None)
    with pytest.raises(BusyError, match="8 times") as raised:
        Warehouse(spark, root)._write(HASHES, write)
    assert (raised.value.exit_code, len(tries)) == (4, 8)
