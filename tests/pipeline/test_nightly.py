"""The nightly job end to end on real photographs: nights against one batch, reruns, versions, single jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pictures import write_two_nights
from queries import last_query, n_queries

from dupelake.config import Config
from dupelake.pipeline import cluster, embed, hash, lsh_join, nightly
from dupelake.pipeline.failures import Failures
from dupelake.recall.edits import PLANTED
from dupelake.warehouse.schema import (
    ALL_TABLES,
    BESIDE_NIGHTS,
    EMBEDDINGS,
    FEATURES,
    GROUP_CHANGES,
    GROUPS,
    HASHES,
    IMAGES,
    JOIN_KEYS,
    JOINED,
    PAIRS,
    RUNS,
    THUMBNAILS,
)
from dupelake.warehouse.tables import Warehouse

FAST = ["--set", "embed.contents=all"]
MAX_QUERIES = 100
QUERIES: list[int] = []  # of each of the two nights


def rows(warehouse: Warehouse, table, drop=()) -> list[tuple]:
    columns = [c for c in table.columns if c not in drop]
    found = warehouse.read(table).select(columns).collect()
    return sorted((tuple(bytes(v) if isinstance(v, bytearray) else v for v in r) for r in found), key=repr)


def partition(warehouse: Warehouse) -> set[frozenset[str]]:
    groups: dict[str, set[str]] = {}
    for r in warehouse.read(GROUPS).collect():
        groups.setdefault(r["group_id"], set()).add(r["image_id"])
    return {frozenset(members) for members in groups.values()}


def versions(warehouse: Warehouse) -> dict[str, int]:
    return {t.name: warehouse.version(t) for t in ALL_TABLES if t not in BESIDE_NIGHTS}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return write_two_nights(tmp_path_factory.mktemp("images") / "tree")


@pytest.fixture(scope="module")
def two_nights(spark, images, tmp_path_factory) -> Warehouse:
    root = str(tmp_path_factory.mktemp("two") / "wh")
    for night in ("2026-11-01", "2026-11-02"):
        before = last_query(spark)
        assert nightly.main([str(images), "--warehouse", root, "--partitions", night, *FAST]) == 0
        QUERIES.append(n_queries(spark, before))
    return Warehouse(spark, root)


@pytest.fixture(scope="module")
def one_night(spark, images, tmp_path_factory) -> Warehouse:
    root = str(tmp_path_factory.mktemp("one") / "wh")
    assert nightly.main([str(images), "--warehouse", root, *FAST]) == 0
    return Warehouse(spark, root)


def names(warehouse: Warehouse) -> dict[str, str]:
    return {r["image_id"]: Path(r["uri"]).name for r in warehouse.read(IMAGES).collect()}


def test_two_nights_equal_one_batch(two_nights, one_night):
    assert rows(two_nights, HASHES) == rows(one_night, HASHES)
    assert rows(two_nights, PAIRS) == rows(one_night, PAIRS)
    kept = rows(two_nights, JOIN_KEYS)  # and that of a picture whose smallest content came in the second night
    assert set(rows(one_night, JOIN_KEYS)) <= set(kept)
    assert len(kept) == len({row[0] for row in kept})
    assert partition(two_nights) == partition(one_night)
    drop = ("group_id", "updated_at")
    assert rows(two_nights, GROUPS, drop) == rows(one_night, GROUPS, drop)


def test_a_night_takes_few_queries(two_nights):
    """Each is planned and compiled, which takes most of the time of a small night."""
    assert [n for n in QUERIES if not 20 < n <= MAX_QUERIES] == []


def test_known_copies_are_found_and_nothing_else(one_night):
    name = names(one_night)
    found = {frozenset(name[i] for i in group) for group in partition(one_night)}
    assert found == {
        frozenset(
            {"astronaut.png", "astronaut half.jpg", "astronaut q70 100%.jpg", "twin #1.png", "astronaut resaved.bmp"}
        ),
        frozenset({"camera.png", "camera mirrored.jpg"}),
        frozenset({"chelsea.png", "chelsea half.jpg"}),
        frozenset({"coffee.png", "coffee q70 100%.jpg"}),
        frozenset({"coins.png", "coins half.jpg"}),
        frozenset({"rocket.png", "rocket mirrored.jpg"}),
        frozenset({"ihc.png", "ihc half.jpg", "ihc q70 100%.jpg"}),
    }


def test_kinds_relations_and_keepers(one_night):
    name = names(one_night)
    by_name = {name[r["image_id"]]: r for r in one_night.read(GROUPS).collect()}
    twins = [by_name["astronaut.png"], by_name["twin #1.png"]]  # as many pixels as the BMP, and a colour profile
    keeper = twins[0] if twins[0]["is_keeper"] else twins[1]
    assert keeper["is_keeper"]
    assert keeper["kind"] is None
    assert {row["kind"] for row in twins} == {None, "exact"}
    resaved = by_name["astronaut resaved.bmp"]
    assert (resaved["kind"], resaved["tier"], resaved["is_removable"]) == ("pixel", "identical", True)
    assert resaved["compared_with"] == keeper["image_id"]
    assert by_name["astronaut half.jpg"]["kind"] == "near"
    half = by_name["astronaut half.jpg"]
    assert (half["relation"], half["is_removable"]) == ("copy", False)  # near: not removable unless configured
    mirrored = by_name["camera mirrored.jpg"]
    assert (mirrored["kind"], mirrored["relation"], mirrored["is_removable"]) == ("mirrored", "copy", False)
    assert all(r["score_to_keeper"] >= 0.5 for r in by_name.values())
    assert all(r["reason"] for r in by_name.values())


def test_planted_copies_are_found_counted_and_in_no_table(one_night):
    run = one_night.read(RUNS).orderBy("started_at").first()
    recall = json.loads(run["recall"])
    assert sorted(recall["by_edit"]) == sorted(f"{edit} {strength}" for edit, strength in PLANTED)
    n_parents = min(Config().run.planted_images, one_night.read(JOINED).count())
    assert {share["planted"] for share in recall["by_edit"].values()} == {n_parents}
    assert recall["all"]["planted"] == n_parents * len(PLANTED) == run["counts"]["copies_planted"]
    assert (
        recall["all"]["found"] == sum(s["found"] for s in recall["by_edit"].values()) >= 0.8 * n_parents * len(PLANTED)
    )
    assert all(0 <= s["low"] <= s["share"] <= s["high"] <= 1 for s in recall["by_edit"].values())
    assert recall["by_edit"]["jpeg 30.0"]["found"] == n_parents
    contents = {r["content_id"] for r in one_night.read(IMAGES).where("status = 'ok'").collect()}
    for table in (HASHES, THUMBNAILS, FEATURES, EMBEDDINGS, JOIN_KEYS, JOINED):
        assert {r["content_id"] for r in one_night.read(table).select("content_id").collect()} <= contents, table.name
    for side in ("src_id", "dst_id"):
        assert {r[side] for r in one_night.read(PAIRS).select(side).collect()} <= contents


def test_legs_are_held_against_brute_force(one_night):
    run = one_night.read(RUNS).orderBy("started_at").first()
    recall = json.loads(run["recall"])
    assert recall["checked"] == min(Config().run.checked_images, one_night.read(JOINED).count())
    for leg in ("phash", "pdq"):
        assert recall["legs"][leg]["found"] == recall["legs"][leg]["true"] > 0, leg
    assert "check" in run["seconds"]


@pytest.mark.long
def test_measuring_recall_changes_no_pair(spark, one_night, images, tmp_path):
    root = str(tmp_path / "wh")
    off = ["--set", "run.planted_images=0", "--set", "run.checked_images=0"]
    assert nightly.main([str(images), "--warehouse", root, *off, *FAST]) == 0
    without = Warehouse(spark, root)
    assert rows(without, PAIRS) == rows(one_night, PAIRS)
    assert without.read(RUNS).first()["recall"] is None


@pytest.mark.long
def test_a_night_in_parts_equals_one_in_one_part(spark, one_night, images, tmp_path, monkeypatch):
    root, kept = str(tmp_path / "wh"), []
    monkeypatch.setenv("DUPELAKE_CHUNK_ROWS", "7")

    add = Failures.add
    monkeypatch.setattr(Failures, "add", lambda self, run, part: (kept.append(_n_staged(run)), add(self, run, part)))
    off = ["--set", "run.planted_images=0", "--set", "run.checked_images=0"]
    assert nightly.main([str(images), "--warehouse", root, *off, *FAST]) == 0
    other = Warehouse(spark, root)
    assert kept == [1, 1, 1, 1], "a part's staged rows go with it"
    drop = ("updated_at", "ingested_at")
    for table in (IMAGES, HASHES, FEATURES, THUMBNAILS, EMBEDDINGS, JOIN_KEYS, JOINED, PAIRS, GROUPS):
        assert rows(other, table, drop) == rows(one_night, table, drop), table.name
    parts, whole = (wh.read(RUNS).orderBy("started_at").first()["counts"] for wh in (other, one_night))
    told = {"read", "hashed", "skipped", "failed", "contents_new", "features_failed", "embedded", "embed_failed"}
    told |= {name for name in whole if name.startswith(("failed.", "pairs.", "group"))}
    assert {name: parts[name] for name in told} == {name: whole[name] for name in told}
    assert (other.version(IMAGES), other.version(EMBEDDINGS)) == (4, 3), "a commit for each part"


def _n_staged(run):
    return len(list(Path(run.staging.root).glob("*-hashed")))


def test_counts_add_up_and_each_failure_has_its_reason(one_night):
    run = one_night.read(RUNS).orderBy("started_at").first()
    counts = run["counts"]
    assert counts["read"] == counts["hashed"] + counts["skipped"] + counts["failed"] == 24
    failed = {Path(r["uri"]).name: r for r in one_night.read(IMAGES).where("status = 'failed'").collect()}
    assert {n: r["reason"] for n, r in failed.items()} == {
        "empty.jpg": "empty",
        "text.jpg": "undecodable",
        "cut.png": "truncated",
    }
    assert all(r["error_message"] for r in failed.values())
    assert run["status"] == "succeeded"
    assert counts["groups"] == 7


def test_a_rerun_without_new_input_rewrites_nothing(two_nights, images):
    before, state = versions(two_nights), rows(two_nights, GROUPS)
    assert nightly.main([str(images), "--warehouse", two_nights.root, *FAST]) == 0
    assert versions(two_nights) == before
    assert rows(two_nights, GROUPS) == state


@pytest.mark.long
def test_full_run_with_nothing_changed_changes_nothing(one_night, images):
    before = versions(one_night)
    assert nightly.main([str(images), "--warehouse", one_night.root, "--full", *FAST]) == 0
    assert versions(one_night) == before


def test_groups_grew_and_kept_their_ids(two_nights):
    events = {(r["event"]) for r in two_nights.read(GROUP_CHANGES).collect()}
    assert events == {"born", "grew"}
    ids = {r["group_id"] for r in two_nights.read(GROUP_CHANGES).where("event = 'grew'").collect()}
    assert ids <= {r["group_id"] for r in two_nights.read(GROUPS).collect()}


@pytest.mark.long
def test_jobs_alone_give_the_same_tables(spark, one_night, images, tmp_path):
    root = str(tmp_path / "wh")
    assert hash.main([str(images), "--warehouse", root]) == 0
    assert embed.main(["--warehouse", root, *FAST]) == 0
    assert lsh_join.main(["--warehouse", root]) == 0
    assert cluster.main(["--warehouse", root]) == 0
    other = Warehouse(spark, root)
    assert rows(other, PAIRS) == rows(one_night, PAIRS)
    assert rows(other, GROUPS, ("updated_at",)) == rows(one_night, GROUPS, ("updated_at",))


@pytest.mark.long
def test_words_by_keys_in_two_nights_find_the_same_copies(spark, one_night, images, tmp_path):
    root = str(tmp_path / "wh")
    for night in ("2026-11-01", "2026-11-02"):
        options = ["--partitions", night, "--set", "lsh.word_join=keys", *FAST]
        assert nightly.main([str(images), "--warehouse", root, *options]) == 0
    keyed = Warehouse(spark, root)
    kept = keyed.read(JOIN_KEYS)
    assert kept.where("word_keys IS NOT NULL AND embedding_code IS NOT NULL").count() > 15
    assert kept.join(keyed.read(JOINED), "content_id", "left_semi").count() == keyed.read(JOINED).count()
    assert one_night.read(JOIN_KEYS).where("word_keys IS NOT NULL").isEmpty(), "blocks need none"
    assert partition(keyed) == partition(one_night)
    pairs = {(r["src_id"], r["dst_id"]): r["found_by"] for r in keyed.read(PAIRS).collect()}
    of_blocks = {(r["src_id"], r["dst_id"]): r["found_by"] for r in one_night.read(PAIRS).collect()}
    assert pairs.keys() <= of_blocks.keys()
    assert all(set(found.split("+")) <= set(of_blocks[pair].split("+")) for pair, found in pairs.items())
    assert sum("words" in found for found in pairs.values()) > 5
    assert keyed.read(RUNS).orderBy("started_at").first()["counts"]["word_pairs_checked"] >= len(pairs)


@pytest.mark.long
def test_new_thresholds_decide_again_without_touching_images(two_nights, images):
    before = versions(two_nights)
    strict = ["--set", "decide.min_score=0.999"]
    n_before = two_nights.read(PAIRS).where("is_duplicate").count()
    assert nightly.main([str(images), "--warehouse", two_nights.root, *strict, *FAST]) == 0
    after = versions(two_nights)
    assert {t for t in before if after[t] != before[t]} == {
        "pairs",
        "groups",
        "group_changes",
        "group_moves",
        "clustered",
    }
    assert two_nights.read(PAIRS).where("is_duplicate").count() < n_before
    assert nightly.main([str(images), "--warehouse", two_nights.root, *FAST]) == 0
    assert two_nights.read(PAIRS).where("is_duplicate").count() == n_before


@pytest.mark.parametrize(
    "option",
    [
        "lsh.mirrored=false",
        "lsh.word_join=keys",
        "decode.reduced_jpeg_min_side_px=0",
        "embed.model=none",
        "features.max_words=99",
    ],
)
@pytest.mark.long
def test_other_versions_are_refused_with_both_named(one_night, images, option, capsys):
    before = versions(one_night)
    assert nightly.main([str(images), "--warehouse", one_night.root, "--set", option]) == 2
    assert versions(one_night) == before
    failed = one_night.read(RUNS).where("status = 'failed'").orderBy("started_at", ascending=False).first()
    assert "--full" in failed["error_message"]
    capsys.readouterr()


@pytest.mark.long
def test_killed_in_the_middle_and_started_again_equals_an_unkilled_run(spark, one_night, images, tmp_path):
    """A real process, SIGKILLed with its JVM as soon as its first table of images is committed."""
    root = tmp_path / "wh"
    command = [sys.executable, "-m", "dupelake.cli", "run", str(images), "--warehouse", str(root), *FAST]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + 240
        commit = root / "hashes" / "_delta_log" / f"{1:020d}.json"
        while not commit.exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL, (tmp_path / "log").read_text()[-2000:]
    killed = Warehouse(spark, str(root))
    assert killed.read(GROUPS).isEmpty()
    assert nightly.main([str(images), "--warehouse", str(root), *FAST]) == 0
    for table in (HASHES, PAIRS):
        assert rows(killed, table) == rows(one_night, table), table.name
    drop = ("updated_at", "ingested_at")
    assert rows(killed, IMAGES, drop) == rows(one_night, IMAGES, drop)
    assert rows(killed, GROUPS, drop) == rows(one_night, GROUPS, drop)


def test_bad_command_line_is_refused_before_spark_all_at_once(tmp_path, capsys):
    code = nightly.main(
        [
            str(tmp_path / "nowhere"),
            "--warehouse",
            str(tmp_path / "wh"),
            "--set",
            "lsh.pdq=3",
            "--set",
            "decide.min_score=2",
        ]
    )
    said = capsys.readouterr().err
    assert code == 2
    for part in ("nowhere", "lsh.pdq: no such option", "decide.min_score: is 2"):
        assert part in said
    assert not (tmp_path / "wh").exists()


@pytest.mark.long
def test_too_many_failures_end_with_3_and_written_results(spark, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.jpg").write_text("no", encoding="utf-8")
    code = nightly.main([str(folder), "--warehouse", str(tmp_path / "wh"), *FAST])
    assert code == 3
    assert Warehouse(spark, str(tmp_path / "wh")).read(IMAGES).count() == 1
