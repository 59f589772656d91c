"""Groups of similar pictures: compared with networkx, within scopes, and by the option."""

from __future__ import annotations

import random

import networkx
import pytest
from group_corpus import Corpus, parquet_checkpoint
from pictures import photograph

from dupelake.config import Config, LshConfig
from dupelake.group.similar_stage import similar_groups
from dupelake.pipeline import nightly
from dupelake.warehouse.schema import GROUPS, PAIRS, SIMILAR_GROUPS
from dupelake.warehouse.tables import Warehouse


def story(seed: int) -> Corpus:
    """Images of two scopes, some contents in both; random pairs, half of them duplicates and half similar."""
    rng, c = random.Random(seed), Corpus()  # noqa: S311
    for number in range(60):
        content = number % 40  # c05 and c35, and so on, have equal pixels
        c.image(
            f"a{number:02}",
            rng.choice("st"),
            content=f"c{content:02}",
            pixels=f"picture {content % 30}",
            deleted=number % 17 == 3 or number in (5, 45),
        )
    for _ in range(30):
        a, b = rng.sample(range(40), 2)
        kind = rng.choice(("near", "similar"))
        c.pair(f"c{a:02}", f"c{b:02}", kind=kind, score=0.9 if kind == "near" else 0.2)
    return c


def expected(c: Corpus, across: bool) -> set[tuple]:
    present = {i: r for i, r in c.images.items() if r["deleted_at"] is None}
    live = {i: (c.pixels[r["content_id"]], "" if across else r["scope"]) for i, r in present.items()}
    graph, shots = networkx.Graph(), set()
    for scope in ("s", "t", ""):
        for ends, pair in c.pairs.items():
            a, b = (c.pixels[end] for end in ends)
            if a != b and (a, scope) in live.values() and (b, scope) in live.values():
                graph.add_edge((a, scope), (b, scope))
                if pair["kind"] == "similar":
                    shots |= {(a, scope), (b, scope)}
    found = set()
    for component in networkx.connected_components(graph):
        if component & shots:
            images = sorted(i for i, vertex in live.items() if vertex in component)
            found |= {(i, images[0], live[i][1], present[i]["content_id"], len(images)) for i in images}
    return found


@pytest.fixture(scope="module")
def checkpoint(spark, tmp_path_factory):
    return parquet_checkpoint(spark, tmp_path_factory.mktemp("similar"))


@pytest.mark.parametrize(("seed", "scope"), [(0, "within"), (1, "within"), (2, "across")])
def test_components_of_shots_and_copies_of_one_scope(spark, checkpoint, seed, scope):
    c = story(seed)
    rows = similar_groups(*c.frames(spark, seed=seed), Config(lsh=LshConfig(scope=scope)), checkpoint).collect()
    assert {tuple(row) for row in rows} == expected(c, scope == "across")
    assert len(rows) == len({row["image_id"] for row in rows}) > 5


def test_copies_alone_are_no_other_shots(spark, checkpoint):
    c = Corpus()
    c.ladder("s", "a", "b")
    c.pair("a", "b", score=0.99)
    found = similar_groups(*c.frames(spark), Config(), checkpoint)
    assert found.columns == SIMILAR_GROUPS.columns
    assert found.isEmpty()


@pytest.mark.long
def test_the_option_fills_the_table_and_takes_it_back(spark, tmp_path):
    """A real night: two photographs of one motorcycle from two places, and another subject."""
    root, images = str(tmp_path / "wh"), tmp_path / "images"
    images.mkdir()
    for name in ("motorcycle_left.png", "motorcycle_right.png", "coffee.png"):
        photograph(name, 600).save(images / name)
    options = ["--warehouse", root, "--set", "embed.model=none", "--set", "run.planted_images=0"]
    assert nightly.main([str(images), *options, "--set", "cluster.similar_groups=true"]) == 0
    warehouse = Warehouse(spark, root)
    kinds = {row["kind"] for row in warehouse.read(PAIRS).collect()}
    assert kinds == {"similar"}
    rows = warehouse.read(SIMILAR_GROUPS).collect()
    assert [row["group_size"] for row in rows] == [2, 2]
    assert len({row["similar_group_id"] for row in rows}) == 1
    assert warehouse.read(GROUPS).isEmpty()
    assert nightly.main([str(images), *options]) == 0
    assert warehouse.read(SIMILAR_GROUPS).isEmpty()
