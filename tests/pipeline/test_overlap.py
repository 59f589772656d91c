"""The overlap job on drawn warehouses: against brute force, night after night, and what it refuses."""

from __future__ import annotations

import csv
import datetime as dt
import os
import random
import re
import signal
import subprocess
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import networkx
import pytest

from dupelake import cli
from dupelake.csv_cells import unescape
from dupelake.overlap import sketches
from dupelake.pipeline import overlap
from dupelake.runtime.run_record import table_versions
from dupelake.warehouse.schema import GROUPS, IMAGES, OVERLAP_SETS, OVERLAPS, RUNS
from dupelake.warehouse.tables import Warehouse

NOON = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
REPO = Path(__file__).parents[2]
PAGE = REPO / "docs" / "overlap.md"
N_SETS = 40
LABELS = ("cat", "dog", "", None)


class Corpus:
    """Images of vendors in three scopes. Groups are of one scope; contents may be in several."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311
        self.images: dict[str, dict] = {}
        for vendor in range(N_SETS):
            self.add(vendor, self.rng.choice((1, 3, 20, 60, 300)))
        self.groups: dict[str, dict] = {}
        for scope in "rst":  # a tenth of the contents of each scope are in groups of three
            held = sorted({row["content_id"] for row in self.images.values() if row["scope"] == scope})
            for number in range(len(held) // 30):
                for content in self.rng.sample(held, 3):
                    self.groups.setdefault(f"{scope}/{content}", {"group_id": f"g-{scope}-{number}"})

    def add(self, vendor: int, n: int) -> None:
        """Pictures out of a part of the universe that neighbouring vendors have in common."""
        for _ in range(n):
            content = f"c{100 * (vendor // 4) + self.rng.randrange(400):05}"
            self.images[f"i{len(self.images):05}"] = {
                "uri": f"/x/{len(self.images)}.png",
                "partition": self.rng.choice(("2026-11-01", "2026-11-02")),
                "scope": "rst"[vendor % 3],
                "content_id": content,
                "extra": {"vendor": f"=vendor {vendor:02}", "label": self.rng.choice(LABELS), "source": "x"},
                "status": "failed" if self.rng.random() < 0.02 else "ok",
                "reason": "missing",
                "deleted_at": NOON if self.rng.random() < 0.05 else None,
                "source": f"/m/{vendor % 5}.csv",
            }

    def live(self) -> list[tuple[str, dict]]:
        return [(i, row) for i, row in self.images.items() if row["status"] == "ok" and row["deleted_at"] is None]

    def pictures(self) -> dict[str, str]:
        """{image_id: a name of its picture}, by networkx: a group and its contents are one."""
        graph = networkx.Graph()
        for _, row in self.live():
            group = self.groups.get(f"{row['scope']}/{row['content_id']}")
            graph.add_edge(row["content_id"], row["content_id"] if group is None else group["group_id"])
        name = {node: min(part) for part in networkx.connected_components(graph) for node in part}
        return {image: name[row["content_id"]] for image, row in self.live()}

    def sets(self, value) -> dict[str, set[str]]:
        found, pictures = defaultdict(set), self.pictures()
        for image, row in self.live():
            if value(row):
                found[value(row)].add(pictures[image])
        return found

    def write(self, warehouse: Warehouse) -> None:
        spark = warehouse.spark
        base = {"width_px": 1, "height_px": 1, "ingested_at": NOON}
        images = [
            tuple(({"image_id": i} | base | row).get(name) for name in IMAGES.columns) for i, row in self.images.items()
        ]
        fixed = {"is_keeper": False, "relation": "copy", "is_removable": False, "score_to_keeper": 1.0, "reason": "r"}
        fixed |= {"group_size": 3, "updated_at": NOON}
        groups = [
            fixed | row | {"image_id": i, "scope": row["scope"]} | self.groups[f"{row['scope']}/{row['content_id']}"]
            for i, row in self.live()
            if f"{row['scope']}/{row['content_id']}" in self.groups
        ]
        warehouse.ensure()
        warehouse.overwrite(IMAGES, spark.createDataFrame(images, IMAGES.schema))
        rows = [tuple(row.get(name) for name in GROUPS.columns) for row in groups]
        warehouse.overwrite(GROUPS, spark.createDataFrame(rows, GROUPS.schema))


def vendor_of(row: dict) -> str:
    return row["extra"]["vendor"]


def expected(sets: dict[str, set[str]], share: float) -> set[tuple]:
    found = set()
    for a, b in combinations(sorted(sets), 2):
        n = len(sets[a] & sets[b])
        if n and n / min(len(sets[a]), len(sets[b])) >= share:
            found.add((a, b, len(sets[a]), len(sets[b]), n))
    return found


def counts(warehouse: Warehouse, by: str) -> set[tuple]:
    rows = warehouse.read(OVERLAPS).where(f"sets_by = '{by}'").collect()
    assert len({(row["set_a"], row["set_b"]) for row in rows}) == len(rows)
    return {tuple(row[name] for name in ("set_a", "set_b", "n_a", "n_b", "n_shared")) for row in rows}


def last_counts(warehouse: Warehouse) -> dict[str, int]:
    return warehouse.read(RUNS).orderBy("started_at", ascending=False).first()["counts"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: unescape(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def night(spark, tmp_path_factory):
    """One run with everything: (corpus, warehouse, folder of the files)."""
    folder = tmp_path_factory.mktemp("overlap")
    corpus, warehouse = Corpus(1), Warehouse(spark, str(folder / "wh"))
    corpus.write(warehouse)
    words = ["overlap", "--by", "vendor", "--conflicts", "label", "--between", "=vendor 04", "=vendor 05"]
    assert cli.main([*words, "--out", str(folder / "out"), "--warehouse", warehouse.root]) == 0
    return corpus, warehouse, folder / "out"


def test_every_pair_and_count_is_that_of_brute_force(night):
    corpus, warehouse, _ = night
    wanted = expected(corpus.sets(vendor_of), 0.1)
    assert counts(warehouse, "extra.vendor") == wanted
    assert len(wanted) > 60
    assert any(n_a > sketches.SAMPLED < n_b for _, _, n_a, n_b, _ in wanted), "samples do not hold all of a set"
    held = {row["set_id"]: row["n_pictures"] for row in warehouse.read(OVERLAP_SETS).collect()}
    assert held == {name: len(pictures) for name, pictures in corpus.sets(vendor_of).items()}


def test_examples_are_images_of_the_two_sets_that_show_one_picture(night):
    corpus, warehouse, _ = night
    pictures = corpus.pictures()
    for row in warehouse.read(OVERLAPS).collect():
        assert len(row["examples"]) == min(3, row["n_shared"])
        assert row["share_a"] == row["n_shared"] / row["n_a"]
        for shown in row["examples"]:
            ends = [corpus.images[shown[image]] for image in ("image_a", "image_b")]
            assert [vendor_of(end) for end in ends] == [row["set_a"], row["set_b"]]
            assert pictures[shown["image_a"]] == pictures[shown["image_b"]]


def test_files_say_what_the_table_says(night):
    _, warehouse, out = night
    rows = rows_of(out / "overlaps.csv")
    told = {(r["set_a"], r["set_b"], *(int(r[n]) for n in ("n_a", "n_b", "n_shared"))) for r in rows}
    assert told == counts(warehouse, "extra.vendor")
    shared = [int(row["n_shared"]) for row in rows]
    assert shared == sorted(shared, reverse=True)
    assert (out / "overlaps.png").read_bytes().startswith(b"\x89PNG")


def test_images_of_pictures_of_both_sets_are_listed(night):
    corpus, _, out = night
    sets, pictures = corpus.sets(vendor_of), corpus.pictures()
    both = sets["=vendor 04"] & sets["=vendor 05"]
    wanted = {(vendor_of(row), i) for i, row in corpus.live() if pictures[i] in both}
    wanted = {(vendor, i) for vendor, i in wanted if vendor in ("=vendor 04", "=vendor 05")}
    assert {(row["set"], row["image_id"]) for row in rows_of(out / "shared.csv")} == wanted != set()


def test_pictures_with_several_labels_are_listed(night):
    corpus, warehouse, out = night
    labels, images, pictures = defaultdict(set), defaultdict(set), corpus.pictures()
    for image, row in corpus.live():
        if row["extra"]["label"]:
            labels[pictures[image]].add(row["extra"]["label"])
            images[pictures[image]].add(image)
    wanted = {image for picture, values in labels.items() if len(values) > 1 for image in images[picture]}
    rows = rows_of(out / "conflicts.csv")
    assert {row["image_id"] for row in rows} == wanted != set()
    assert {row["n_values"] for row in rows} == {"2"}
    assert last_counts(warehouse)["label_conflicts"] == sum(len(values) > 1 for values in labels.values())


def test_a_run_over_the_same_pictures_changes_nothing(night, tmp_path):
    _, warehouse, _ = night
    before = [warehouse.version(table) for table in (OVERLAPS, OVERLAP_SETS)]
    nights = table_versions(warehouse)
    assert overlap.main(["--by", "vendor", "--out", str(tmp_path), "--warehouse", warehouse.root]) == 0
    assert [warehouse.version(table) for table in (OVERLAPS, OVERLAP_SETS)] == before
    assert table_versions(warehouse) == nights
    assert not {OVERLAPS.name, OVERLAP_SETS.name} & nights.keys(), "a night need not look again because of them"
    assert last_counts(warehouse)["overlap_sets_changed"] == 0


def test_many_runs_equal_one(spark, tmp_path):
    """Vendors grow, shrink, come and go; groups merge. Only sets with other pictures are sketched again."""
    corpus, warehouse = Corpus(2), Warehouse(spark, str(tmp_path / "wh"))
    words = ["--by", "vendor", "--min-share", "0.2", "--out", str(tmp_path / "out")]
    corpus.write(warehouse)
    assert overlap.main([*words, "--warehouse", warehouse.root]) == 0
    before = corpus.sets(vendor_of)
    for image in corpus.images.values():
        if vendor_of(image) in ("=vendor 03", "=vendor 11"):
            image["deleted_at"] = NOON
    corpus.add(7, 40)
    corpus.add(N_SETS, 30)
    for row in corpus.groups.values():
        if row["group_id"] == "g-s-2":
            row["group_id"] = "g-s-1"
    corpus.write(warehouse)
    assert overlap.main([*words, "--warehouse", warehouse.root]) == 0
    after = corpus.sets(vendor_of)
    assert counts(warehouse, "extra.vendor") == expected(after, 0.2)
    n_changed = last_counts(warehouse)["overlap_sets_changed"]
    assert sum(before.get(name) != pictures for name, pictures in after.items()) <= n_changed < N_SETS / 2
    fresh = Warehouse(spark, str(tmp_path / "fresh"))
    corpus.write(fresh)
    assert overlap.main([*words, "--warehouse", fresh.root]) == 0
    for table in (OVERLAPS, OVERLAP_SETS):
        assert sorted(fresh.read(table).collect()) == sorted(warehouse.read(table).collect())
    assert overlap.main(["--by", "vendor", "--out", str(tmp_path / "out"), "--warehouse", warehouse.root]) == 0
    assert counts(warehouse, "extra.vendor") == expected(after, 0.1), "another share compares all sets again"


@pytest.mark.parametrize(
    ("by", "value"),
    [
        ("source", lambda row: row["source"]),
        ("partition", lambda row: row["partition"]),
        ("scope", lambda row: row["scope"]),
        ("extra.source", lambda row: row["extra"]["source"]),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_other_ways_to_make_sets(night, tmp_path, by, value):
    corpus, warehouse, _ = night
    assert overlap.main(["--by", by, "--out", str(tmp_path), "--warehouse", warehouse.root]) == 0
    assert counts(warehouse, by) == expected(corpus.sets(value), 0.1)
    assert len(counts(warehouse, "extra.vendor")) > 60, "another way keeps its rows"


def killed_after_the_pairs(words: list[str], once: Path) -> None:
    fault = {"DUPELAKE_FAULT": "kill:after:overlaps", "DUPELAKE_FAULT_ONCE": str(once)}
    command = [sys.executable, str(REPO / "jobs" / "overlap.py"), *words]
    done = subprocess.run(command, env=os.environ | fault, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-3000:]


@pytest.mark.long
def test_what_a_killed_run_compared_is_compared_again_though_sets_and_options_are_those_of_before(spark, tmp_path):
    corpus, warehouse = Corpus(4), Warehouse(spark, str(tmp_path / "wh"))
    corpus.write(warehouse)
    words = ["--by", "vendor", "--out", str(tmp_path / "out"), "--warehouse", warehouse.root]
    assert overlap.main(words) == 0
    before = counts(warehouse, "extra.vendor")
    n_images = len(corpus.images)
    corpus.add(N_SETS, 300)  # a set that only the killed run sees
    corpus.write(warehouse)
    killed_after_the_pairs([*words, "--min-share", "0.5"], tmp_path / "once")
    left = counts(warehouse, "extra.vendor")
    assert before - left, "pairs were removed"
    assert any(f"=vendor {N_SETS}" in row for row in left)
    corpus.images = dict(list(corpus.images.items())[:n_images])
    corpus.write(warehouse)
    assert overlap.main(words) == 0
    assert counts(warehouse, "extra.vendor") == before == expected(corpus.sets(vendor_of), 0.1)
    assert {row["set_id"] for row in warehouse.read(OVERLAP_SETS).collect()} == corpus.sets(vendor_of).keys()


@pytest.mark.long
def test_killed_between_its_commits_it_goes_on(spark, night, tmp_path):
    corpus, _, _ = night
    warehouse, once = Warehouse(spark, str(tmp_path / "wh")), tmp_path / "once"
    corpus.write(warehouse)
    words = ["--by", "vendor", "--out", str(tmp_path / "out"), "--warehouse", warehouse.root]
    killed_after_the_pairs(words, once)
    rows = sorted(warehouse.read(OVERLAPS).collect())
    assert overlap.main(words) == 0
    assert sorted(warehouse.read(OVERLAPS).collect()) == rows, "the rows were there"
    assert counts(warehouse, "extra.vendor") == expected(corpus.sets(vendor_of), 0.1)
    assert warehouse.read(OVERLAP_SETS).count() == len(corpus.sets(vendor_of))


@pytest.fixture
def views(spark, night):
    """The views of the page over the tables of the night, with its columns."""
    _, warehouse, _ = night
    spark.sql("CREATE DATABASE dupes")
    for table in (IMAGES, GROUPS):
        spark.sql(f"CREATE TABLE dupes.{table.name} USING delta LOCATION '{warehouse.path(table)}'")
    (block,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    for word, ours in (("['split']", "['vendor']"), ("'test'", "'=vendor 04'"), ("'train'", "'=vendor 05'")):
        block = block.replace(word, ours)
    for statement in filter(str.strip, block.split(";")):
        spark.sql(statement)
    yield
    spark.sql("DROP DATABASE dupes CASCADE")


def test_the_views_of_the_page_find_leakage_and_label_conflicts(spark, night, views):
    corpus, _, _ = night
    rows, of = dict(corpus.live()), {}
    for image, row in rows.items():
        group = corpus.groups.get(f"{row['scope']}/{row['content_id']}")
        of[image] = row["content_id"] if group is None else group["group_id"]
    train = {of[image] for image, row in rows.items() if vendor_of(row) == "=vendor 05"}
    leaked = {image for image, row in rows.items() if vendor_of(row) == "=vendor 04" and of[image] in train}
    found = spark.sql("SELECT * FROM dupes.leakage").collect()
    assert {row["image_id"] for row in found} == leaked
    assert len(found) == len(leaked) > 0
    assert all(of[row["train_image_id"]] == row["picture"] == of[row["image_id"]] for row in found)
    labels = defaultdict(set)
    for image, row in rows.items():
        if row["extra"]["label"]:
            labels[of[image]].add(row["extra"]["label"])
    several = {i for i, row in rows.items() if len(labels[of[i]]) > 1 and row["extra"]["label"]}
    assert {row["image_id"] for row in spark.sql("SELECT * FROM dupes.label_conflicts").collect()} == several != set()


def test_a_column_that_no_image_has_is_refused_with_those_that_there_are(night, tmp_path, capfd):
    _, warehouse, _ = night
    words = ["--by", "seller", "--conflicts", "class", "--out", str(tmp_path / "none"), "--warehouse", warehouse.root]
    assert overlap.main(words) == 2
    told = capfd.readouterr().err
    assert re.search(r"--by seller: no live image has this column.*there are label, source, vendor", told)
    assert "--conflicts class: no live image" in told
    assert not (tmp_path / "none").exists()


def test_a_set_that_no_image_is_in_is_refused(night, tmp_path, capfd):
    _, warehouse, _ = night
    words = ["--by", "vendor", "--between", "=vendor 04", "nobody", "--out", str(tmp_path)]
    assert overlap.main([*words, "--warehouse", warehouse.root]) == 2
    assert "--between nobody: no live image is in this set of --by extra.vendor" in capfd.readouterr().err


def test_too_many_sets_are_refused(night, tmp_path, monkeypatch, capfd):
    _, warehouse, _ = night
    monkeypatch.setattr(overlap, "MAX_SETS", 10)
    assert (
        overlap.main(["--by", "vendor", "--out", str(tmp_path), "--warehouse", warehouse.root, "--min-share", "1"]) == 2
    )
    assert "--by extra.vendor: makes more than 10 sets" in capfd.readouterr().err


def test_frequent_pictures_count_and_are_told(spark, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sketches, "FREQUENT_SETS", 8)
    corpus, warehouse = Corpus(3), Warehouse(spark, str(tmp_path / "wh"))
    corpus.write(warehouse)
    assert overlap.main(["--by", "vendor", "--out", str(tmp_path / "out"), "--warehouse", warehouse.root]) == 0
    assert last_counts(warehouse)["overlap_frequent"] > 0
    assert "but propose no pairs" in capfd.readouterr().out
    wanted, found = expected(corpus.sets(vendor_of), 0.1), counts(warehouse, "extra.vendor")
    assert found <= wanted, "what is found is exact"
    assert len(found) >= 0.5 * len(wanted)
