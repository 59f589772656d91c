"""Connected components compared with networkx: by one task, and by rounds of contraction."""

from __future__ import annotations

import functools
import itertools
import logging

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.errors import DupelakeError
from dupelake.group import components_stage as components
from dupelake.group.components_stage import connected_components

WAYS = {"one_task": {}, "rounds": {"finish_edges": 0}}
KINDS = {"bigint": lambda v: v, "string": lambda v: f"v{v:09d}", "binary": lambda v: b"%09d" % v}
SPECIAL = {
    "empty": [],
    "one_edge": [(7, 3)],
    "only_loops": [(1, 1), (5, 5), (5, 5)],
    "loops_beside_edges": [(1, 1), (1, 2), (2, 2), (9, 9)],
    "repeats_and_reversed": [(1, 2), (2, 1), (2, 1), (3, 2), (2, 3)],
    "chain_against_the_order": [(9, 1), (1, 8), (8, 2), (2, 7), (7, 3), (3, 6)],
    "two_blobs_and_a_bridge": [
        *itertools.combinations(range(9), 2),
        *itertools.combinations(range(20, 29), 2),
        (4, 24),
    ],
    "huge_longs": [(2**62, -(2**62)), (2**62, 5), (-1, 2**40)],
}


@pytest.fixture
def checkpoint(spark, tmp_path):
    number = itertools.count()

    def by_parquet(df):
        path = str(tmp_path / f"{next(number)}")
        df.write.parquet(path)
        return spark.read.schema(df.schema).parquet(path)

    return by_parquet


def frame(spark, edges, kind, partitions=2):
    convert = KINDS[kind]
    rows = [(convert(a), convert(b)) for a, b in edges]
    return spark.createDataFrame(rows, f"src {kind}, dst {kind}").repartition(partitions)


def expected(edges, kind="bigint"):
    graph = nx.Graph()
    graph.add_edges_from((KINDS[kind](a), KINDS[kind](b)) for a, b in edges)
    return sorted((vertex, min(part)) for part in nx.connected_components(graph) for vertex in part)


def labels(df):
    return sorted((bytes(v), bytes(c)) if isinstance(v, bytearray) else (v, c) for v, c in df.collect())


def random_edges(seed, density, n=250):
    rng = np.random.default_rng(seed)
    return [tuple(edge) for edge in rng.integers(0, n, (max(int(n * density), 1), 2)).tolist()]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", [0, 1])
def test_random_graphs_of_several_densities_equal_networkx(spark, checkpoint, seed, way):
    edges = [
        (a + 1000 * part, b + 1000 * part)
        for part, density in enumerate((0.2, 0.4, 0.5, 0.6, 0.8, 1.5, 4.0))
        for a, b in random_edges(100 * seed + part, density)
    ]
    assert labels(connected_components(frame(spark, edges, "bigint"), checkpoint, **WAYS[way])) == expected(edges)


def test_rounds_end_in_one_task_once_the_rest_is_small(spark, checkpoint, caplog):
    caplog.set_level(logging.INFO, "dupelake")
    edges = random_edges(3, 4.0)
    assert labels(connected_components(frame(spark, edges, "string"), checkpoint, finish_edges=62)) == expected(
        edges, "string"
    )
    assert any("round" in message for message in caplog.messages)
    assert "components: one task labels the rest" in caplog.messages


def test_coded_edges_that_fit_one_task_take_no_round(spark, checkpoint, caplog):
    caplog.set_level(logging.INFO, "dupelake")
    edges = random_edges(3, 4.0)
    assert len(edges) > 200
    found = connected_components(frame(spark, edges, "string"), checkpoint, finish_edges=200)
    assert labels(found) == expected(edges, "string")
    assert not [message for message in caplog.messages if "round" in message]


def test_repeated_edges_change_nothing(spark, checkpoint):
    edges = random_edges(5, 0.7)
    again = edges * 3 + [(b, a) for a, b in edges]
    for way in WAYS.values():
        assert labels(connected_components(frame(spark, again, "bigint"), checkpoint, **way)) == expected(edges)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["one_task", "rounds"])
def test_each_type_of_id(spark, checkpoint, kind, way):
    edges = random_edges(11, 0.6)
    assert labels(connected_components(frame(spark, edges, kind), checkpoint, **WAYS[way])) == expected(edges, kind)


def test_special_graphs_by_one_task(spark, checkpoint):
    for name, edges in SPECIAL.items():
        assert labels(connected_components(frame(spark, edges, "bigint"), checkpoint)) == expected(edges), name


def test_special_graphs_by_rounds(spark, checkpoint):
    """All graphs as components of one graph; the empty graph is the next test."""
    edges = []
    for number, graph in enumerate(SPECIAL.values()):
        edges += [(a + 1000 * number, b + 1000 * number) for a, b in graph]
    out = connected_components(frame(spark, edges, "bigint"), checkpoint, finish_edges=0)
    assert labels(out) == expected(edges)


def test_an_empty_graph_by_rounds(spark, checkpoint):
    assert labels(connected_components(frame(spark, [], "string"), checkpoint, finish_edges=-1)) == []


def test_a_null_end_is_no_edge(spark, checkpoint):
    edges = spark.createDataFrame([("a", "b"), ("c", None), (None, "d"), (None, None)], "src string, dst string")
    assert labels(connected_components(edges, checkpoint)) == [("a", "a"), ("b", "a")]


@pytest.mark.parametrize("way", ["one_task", "rounds"])
def test_order_and_partitions_change_nothing(spark, checkpoint, way):
    edges = random_edges(21, 0.7)
    mixed = [edge[::-1] for edge in edges[::-1]]
    one, eight = frame(spark, edges, "string", 1), frame(spark, mixed, "string", 8)
    spark.conf.set("spark.sql.shuffle.partitions", "8")
    try:
        many = labels(connected_components(eight, checkpoint, **WAYS[way]))
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", "4")
    assert many == labels(connected_components(one, checkpoint, **WAYS[way])) == expected(edges, "string")


def path_of(n, spark):
    return spark.range(n - 1).select(F.col("id").alias("src"), (F.col("id") + 1).alias("dst"))


def all_in(df, n):
    found = df.agg(F.count("*"), F.countDistinct("vertex"), F.min("component"), F.max("component")).first()
    return tuple(found) == (n, n, 0, 0)


@pytest.mark.parametrize("finish_edges", [components.FINISH_EDGES, 0])
def test_a_path_of_10000_takes_few_rounds(spark, checkpoint, finish_edges, caplog):
    caplog.set_level(logging.INFO, "dupelake")
    assert all_in(connected_components(path_of(10_000, spark), checkpoint, finish_edges=finish_edges), 10_000)
    rounds = sum("round" in message for message in caplog.messages)
    assert rounds <= (14 if finish_edges == 0 else 0)  # log2(10,000) = 13.3


@pytest.mark.parametrize("finish_edges", [components.FINISH_EDGES, 0])
@pytest.mark.parametrize("hub", [0, 100_000])
def test_a_star_of_100000_takes_few_rounds(spark, checkpoint, hub, finish_edges, caplog):
    caplog.set_level(logging.INFO, "dupelake")
    star = (
        spark.range(100_001)
        .where(F.col("id") != hub)
        .select(F.lit(hub).cast("bigint").alias("src"), F.col("id").alias("dst"))
    )
    assert all_in(connected_components(star, checkpoint, finish_edges=finish_edges), 100_001)
    rounds = sum("round" in message for message in caplog.messages)
    assert rounds <= (2 if finish_edges == 0 else 0)


def test_it_raises_rather_than_return_wrong_labels(spark, checkpoint):
    with pytest.raises(DupelakeError, match="after 2 rounds"):
        connected_components(path_of(300, spark), checkpoint, finish_edges=0, max_rounds=2)


def test_a_sample_that_shows_stars_alone_does_not_end_the_rounds(spark, checkpoint, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "dupelake")
    whole = components._are_stars
    monkeypatch.setattr(components, "_SAMPLED", 1)  # so that a part is asked
    monkeypatch.setattr(components, "_are_stars", lambda edges, one_in: one_in > 1 or whole(edges, 1))
    assert all_in(connected_components(path_of(300, spark), checkpoint, finish_edges=0), 300)
    assert sum("round" in message for message in caplog.messages) > 3


@pytest.mark.parametrize(
    ("labelled", "is_right"),
    [
        ([(1, 0), (2, 0)], True),
        ([(0, 0), (1, 0), (2, 0)], True),
        ([(1, 0), (2, 1)], False),  # the root of one is labelled itself
        ([(1, 0), (2, 0), (2, 1)], False),  # one has two labels
    ],
)
def test_labels_are_taken_only_where_each_vertex_has_one_and_roots_are_roots(spark, checkpoint, labelled, is_right):
    pairs = spark.createDataFrame([(0, 1), (1, 2)], "small bigint, big bigint")
    code = [components._code(F.lit(n).cast("bigint"), 3) for n in range(3)]
    rows = [spark.range(1).select(code[a].alias("vertex"), code[b].alias("component")) for a, b in labelled]
    found = components._decode(pairs, functools.reduce(DataFrame.union, rows), 3, checkpoint)
    assert found is None if not is_right else labels(found) == [(0, 0), (1, 0), (2, 0)]


def test_two_vertices_with_one_code_take_another_seed(spark, checkpoint, monkeypatch):
    code = components._code
    monkeypatch.setattr(components, "_code", lambda v, seed: F.pmod(code(v, seed), F.lit(2**63 - 1 if seed else 50)))
    edges = random_edges(31, 0.7)
    assert labels(connected_components(frame(spark, edges, "bigint"), checkpoint, finish_edges=0)) == expected(edges)


def test_when_no_seed_separates_the_vertices_it_raises(spark, checkpoint, monkeypatch):
    monkeypatch.setattr(components, "_code", lambda v, seed: F.lit(1).cast("bigint"))
    with pytest.raises(DupelakeError, match="one code to several"):
        connected_components(path_of(5, spark), checkpoint, finish_edges=0)


@pytest.mark.parametrize("seed", [41])
def test_a_large_sparse_graph_by_rounds(spark, checkpoint, seed):
    """15,000 edges over 20,000 vertices: a giant component among thousands of small ones."""
    edges = np.random.default_rng(seed).integers(0, 20_000, (15_000, 2))
    given = spark.createDataFrame(pd.DataFrame(edges, columns=["src", "dst"]))
    assert labels(connected_components(given, checkpoint, finish_edges=0)) == expected(edges.tolist())
