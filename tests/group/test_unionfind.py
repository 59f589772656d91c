"""Connected components in one task, compared with networkx."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest

from dupelake.group.unionfind import label_table, smallest_labels


def by_networkx(edges):
    graph = nx.Graph()
    graph.add_edges_from(edges)
    return {vertex: min(component) for component in nx.connected_components(graph) for vertex in component}


def by_us(edges, kind):
    src, dst = [a for a, _ in edges], [b for _, b in edges]
    out = label_table(pa.table({"src": pa.array(src, kind), "dst": pa.array(dst, kind)}))
    rows = list(zip(out["vertex"].to_pylist(), out["component"].to_pylist(), strict=True))
    assert len(rows) == len(dict(rows))
    return dict(rows)


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_equal_networkx(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 300))
    edges = rng.integers(0, n, (int(n * rng.choice([0.2, 0.5, 1, 3])) + 1, 2)).tolist()
    assert by_us(edges, pa.int64()) == by_networkx(edges)
    words = [(f"v{a:x}", f"v{b:x}") for a, b in edges]
    assert by_us(words, pa.string()) == by_networkx(words)
    raw = [(a.encode(), b.encode()) for a, b in words]
    assert by_us(raw, pa.binary()) == by_networkx(raw)


def test_strings_are_ordered_by_their_utf8_bytes_as_in_spark():
    # In UTF-16, U+1F600 sorts before U+FFFD; in UTF-8 after it.
    assert by_us([("\U0001f600", "\ufffd")], pa.string()) == {"\ufffd": "\ufffd", "\U0001f600": "\ufffd"}


def test_a_vertex_without_an_edge_labels_itself():
    assert smallest_labels(np.array([3]), np.array([1]), 5).tolist() == [0, 1, 2, 1, 4]


def test_nothing_gives_nothing():
    assert smallest_labels(np.empty(0, np.int64), np.empty(0, np.int64), 0).tolist() == []
    assert by_us([], pa.string()) == {}


def test_chunks_of_one_column_share_their_vertices():
    table = pa.concat_tables([pa.table({"src": ["a"], "dst": ["b"]}), pa.table({"src": ["b"], "dst": ["c"]})])
    assert label_table(table)["component"].to_pylist() == ["a", "a", "a"]


@pytest.mark.parametrize("n", [10_000, 200_000])
def test_a_sorted_path_is_one_component(n):
    path = np.arange(n)
    assert smallest_labels(path[:-1], path[1:], n).max() == 0
