"""The README's promises that can be run: its SQL, and the options and targets that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dupelake.warehouse.schema import ALL_TABLES
from dupelake.warehouse.tables import Warehouse

REPO = Path(__file__).parents[1]
README = (REPO / "README.md").read_text(encoding="utf-8")
QUERIES = [
    q.strip() for block in re.findall(r"```sql\n(.*?)```", README, flags=re.S) for q in block.split(";") if q.strip()
]


@pytest.fixture(scope="module")
def database(spark, tmp_path_factory):
    warehouse = Warehouse(spark, str(tmp_path_factory.mktemp("readme") / "wh"))
    warehouse.ensure()
    spark.sql("CREATE DATABASE dupes")
    for table in ALL_TABLES:
        spark.sql(f"CREATE TABLE dupes.{table.name} USING delta LOCATION '{warehouse.path(table)}'")
    yield
    spark.sql("DROP DATABASE dupes CASCADE")


@pytest.mark.parametrize("query", QUERIES, ids=lambda q: q.splitlines()[0].strip("- ")[:40])
def test_each_query_runs_on_the_tables_as_they_are(spark, database, query):
    assert spark.sql(query).collect() == []


def test_there_are_six_queries():
    assert len(QUERIES) == 6


def test_make_targets_and_files_that_are_named_exist():
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
    for path in set(re.findall(r"`((?:docs|conf|benchmarks|lib|jobs)/[\w./]+)`", README)):
        assert (REPO / path).exists(), path
