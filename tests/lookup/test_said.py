"""The verdicts about some contents, by an index made without Spark, compared with a look at each verdict."""

from __future__ import annotations

import datetime as dt
import random

import pytest
from deltalake import write_deltalake
from made_lake import arrow, make_night
from pictures import SCENES, photograph
from serving import encoded

from dupelake.lookup.build import build_index
from dupelake.lookup.index import Index
from dupelake.lookup.manifest import FOLDER
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import DECIDED, DECISIONS, IMAGES

AT = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A warehouse of eight photographs with 12 verdicts, some of which name images that showed another content."""
    root = tmp_path_factory.mktemp("judged") / "dupes"
    make_night(root, {f"/photos/{name}": encoded(photograph(name)) for name in SCENES})
    rng = random.Random(5)  # noqa: S311
    ids = [row["image_id"] for row in Reader(root).table(IMAGES.name).to_pylist()][:6]  # two have no verdict
    contents = [row["content_id"] for row in Reader(root).table(IMAGES.name).to_pylist()]
    decisions, decided = [], []
    for n in range(12):
        first, second = rng.sample([*ids, "ghost"], 2)
        word = rng.choice(("duplicate", "alternate", "keeper"))
        named = {"image_id": first, "other_image_id": None if word == "keeper" else second}
        at = AT + dt.timedelta(seconds=n)
        decisions.append(named | {"verdict": word, "author": "ann", "decided_at": at})
        decided.append({"image_id": first, "decided_at": at, "content_id": rng.choice(contents[:7]), "scope": ""})
    for table, rows in ((DECISIONS, decisions), (DECIDED, decided)):
        write_deltalake(str(root / table.name), arrow(table, rows), mode="append")
    make_night(root, {}, 2)  # an index is of the tables of the last night
    build_index(str(root), root / FOLDER)
    return root


def test_the_verdicts_about_contents_are_those_that_name_an_image_that_shows_them(judged):
    reader, index = Reader(judged), Index(judged / FOLDER)
    decisions = reader.table(DECISIONS.name).to_pylist()
    decided, images = (reader.table(table.name).to_pylist() for table in (DECIDED, IMAGES))
    said = index.said
    n_without = 0
    for content in sorted({row["content_id"] for row in images}):
        showing = {row["image_id"] for row in (*decided, *images) if row["content_id"] == content}
        expected = [row for row in decisions if showing & {row["image_id"], row["other_image_id"]}]
        about = said.about({content})
        if about is None:
            assert not expected
            n_without += 1
            continue
        key = lambda row: row["decided_at"].timestamp()  # noqa: E731
        assert sorted(about.decisions, key=key) == sorted(expected, key=key)
        named = {row[name] for row in expected for name in ("image_id", "other_image_id")} - {None}
        assert {row["image_id"] for row in about.images} == named - {"ghost"}
        assert sorted(map(key, about.decided)) == sorted(key(row) for row in decided if row["image_id"] in named)
    assert n_without == 1
    index.close()
