"""Identity of images: spellings of a URI, scopes, and files with several names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dupelake.config import ManifestConfig
from dupelake.ingest.new_images_stage import UNREAD, normalise, wanted_rows
from dupelake.ingest.removals_stage import expected_in_listing, forgotten, tombstoned, unlisted
from dupelake.warehouse.schema import IMAGES

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
SCHEMA = "image_id string, uri string, scope string, partition string, deleted string"


def night(spark: SparkSession, *rows: tuple[str | None, ...], default: str = "") -> DataFrame:
    """A manifest of rows (image_id, uri, scope, partition, deleted); missing values are null."""
    full = [(*row, *[None] * (5 - len(row))) for row in rows]
    found = normalise(spark.createDataFrame(full, SCHEMA), ManifestConfig(default_scope=default))
    return spark.createDataFrame(found.collect(), found.schema)  # without its plan: what follows plans only itself


class Store:
    """The images table in memory, after runs over manifests."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark, self.rows = spark, {}

    def frame(self) -> DataFrame:
        tuples = [tuple(row.get(name) for name in IMAGES.columns) for row in self.rows.values()]
        return self.spark.createDataFrame(tuples, IMAGES.schema)

    def run(self, manifest: DataFrame, **options: Any) -> dict[str, int]:
        """Processes a manifest; returns the number of rows by `why`."""
        found = wanted_rows(manifest, self.frame() if self.rows else None, **options).collect()
        assert len({row["image_id"] for row in found}) == len(found), "one image twice"
        counts: dict[str, int] = {}
        for row in found:
            counts[row["why"]] = counts.get(row["why"], 0) + 1
            known = self.rows.setdefault(row["image_id"], {"image_id": row["image_id"]})
            if row["why"] in UNREAD:
                known["scope"] = row["scope"]
                continue
            failed = row["reason"] is not None
            known |= {name: row[name] for name in ("uri", "partition", "scope", "reason", "marks", "source")}
            known |= {"status": "failed" if failed else "ok", "ingested_at": NOON, "attempts": 0, "deleted_at": None}
        return counts

    def state(self) -> set[tuple[str, str, str | None]]:
        return {(row["uri"], row["scope"], row["reason"]) for row in self.rows.values()}


def test_spellings_are_one_image(spark: SparkSession) -> None:
    names = ("/d/p.jpg", "file:///d/p.jpg", "file:/d/p.jpg", "/d//p.jpg", "/d/./p.jpg", "/d/../d/p.jpg", "/d/q.jpg")
    manifest = night(spark, *((None, name) for name in names))
    rows = {row["uri"]: row["n_rows"] for row in manifest.collect()}
    assert rows == {"/d/../d/p.jpg": 1, "/d/./p.jpg": 5, "/d/q.jpg": 1}
    store = Store(spark)
    assert store.run(night(spark, (None, "/d/p.jpg"))) == {"new": 1}
    assert store.run(manifest) == {"new": 2}
    # An older version made an id of each spelling.
    old = Store(spark)
    spelled = night(spark, (None, "file:///d/p.jpg")).select(F.sha2(F.lit("file:///d/p.jpg"), 256).substr(1, 32))
    (image_id,) = spelled.first()
    old.rows[image_id] = {"image_id": image_id, "uri": "file:///d/p.jpg", "scope": "", "status": "ok", "source": "m"}
    old.rows[image_id] |= {"partition": "all", "ingested_at": NOON}
    assert old.run(night(spark, (None, "file:///d/p.jpg"))) == {}
    assert old.run(night(spark, (None, "file:///d/p.jpg")), full=True) == {"again": 1}
    # An id that the manifest gives belongs to its image, for any spelling of the URI.
    ids = Store(spark)
    ids.run(night(spark, ("i", "/d/p.jpg"), ("j", "/d/j.jpg")))
    assert ids.run(night(spark, ("i", "file:/d//p.jpg"), ("j", "/d/k.jpg"))) == {"new": 1}, "j has another URI"
    images = ids.frame()
    stones = night(spark, ("i", "file:/d/p.jpg", None, "2", "yes"))
    assert [row["image_id"] for row in tombstoned(stones, images).collect()] == ["i"]
    by_uri = spark.createDataFrame([(None, "file:///d//j.jpg")], "image_id string, uri string")
    assert [row["image_id"] for row in forgotten(images, by_uri).collect()] == ["j"]


def test_scopes_are_memberships(spark: SparkSession) -> None:
    a, b = (None, "/x", "a"), (None, "file:/x", "b")
    nameless = (None, "/x")
    both = Store(spark)
    assert both.run(night(spark, a, b, nameless)) == {"new": 2}
    assert sum(row["n_rows"] for row in night(spark, a, b, nameless).collect()) == 3
    names = {("a", None), ("b", None)}
    for order in ((nameless, a, b), (b, nameless, a)):
        store = Store(spark)
        for row in order:
            store.run(night(spark, row))
        assert store.run(night(spark, *order)) == {}, "nothing new"
        assert {(scope, reason) for _, scope, reason in store.state()} == names, order
    moved = Store(spark)
    moved.run(night(spark, nameless, (None, "/y")))
    assert moved.run(night(spark, b, a)) == {"moved": 1, "new": 1}
    assert {scope for uri, scope, _ in moved.state() if uri != "/y"} == {"a", "b"}
    assert moved.run(night(spark, a, b, nameless), full=True) == {"again": 2}
    default = Store(spark)
    default.run(night(spark, nameless, default="a"))
    assert default.run(night(spark, nameless, default="b")) == {"new": 1}
    assert default.run(night(spark, nameless, default="b")) == {}
    assert {scope for _, scope, _ in default.state()} == {"a", "b"}


def test_rows_without_a_uri_never_share_an_id(spark: SparkSession) -> None:
    store = Store(spark)
    assert store.run(night(spark, ("i", None, "a"))) == {"new": 1}
    assert store.run(night(spark, ("i", "/x", "b"), ("i", None, "b"))) == {"new": 2}, "/x takes the id"
    assert store.state() == {("/x", "b", None), (None, "b", "no_uri")}
    assert store.run(night(spark, ("i", "/x", "b"), ("i", None, "b"))) == {}
    scopes = [("j", None, scope) for scope in "abc"]
    for full in (False, True):
        counts = Store(spark).run(night(spark, *scopes, ("j", "/y", "a")), full=full)
        assert counts == {"new": 4}
    claims = Store(spark)
    assert [claims.run(night(spark, *scopes)) for _ in range(2)] == [{"new": 3}, {}]


def test_an_id_has_one_scope(spark: SparkSession) -> None:
    store = Store(spark)
    store.run(night(spark, ("k", "/k", None, "1"), ("m", "/m", "a", "1")))
    assert store.run(night(spark, ("k", "/k", "a", "1"), ("m", "/m", None, "1"))) == {"moved": 1}
    rows = (("k", "/k", "a", "1"), ("k", "/k", "b", "2"))
    assert store.run(night(spark, *rows)) == {"moved": 1}, "the last partition counts"
    assert store.state() == {("/k", "b", None), ("/m", "a", None)}
    batch = Store(spark)
    assert batch.run(night(spark, *rows)) == {"new": 1}
    assert batch.state() == {("/k", "b", None)}
    clash = night(spark, ("k", "/k", "b", "3"), ("k", "/k", "a", "3"), ("k", "/k", "b", "3"))
    told = [row for row in clash.collect() if row["reason"]]
    assert [(row["reason"], row["scope"], row["n_rows"]) for row in told] == [("image_id_conflict", "b", 2)]
    assert "for the scopes a, b" in told[0]["error_message"]
    assert store.run(clash) == {"moved": 1, "new": 1}
    assert store.state() == {("/k", "a", None), ("/k", "b", "image_id_conflict"), ("/m", "a", None)}
    assert store.run(clash) == {}


@pytest.mark.parametrize(
    ("roots", "covered"),
    [
        (["/photos/"], {"/photos/a.jpg", "/photos/sub/b.jpg"}),
        (["/photos/*!/"], {"/photos/x.zip!/c.jpg", "/photos/sub/y.tar!/d.jpg", "/photos/sub/none.tar"}),
        (["/photos/sub/*!/"], {"/photos/sub/y.tar!/d.jpg", "/photos/sub/none.tar"}),
        (["/photos/x.zip!/"], {"/photos/x.zip!/c.jpg"}),
        (["/photos/x.zip!/", "/photos/sub/"], {"/photos/x.zip!/c.jpg", "/photos/sub/b.jpg"}),
    ],
)
def test_a_listing_of_images_covers_no_archive_and_the_reverse(
    spark: SparkSession, roots: list[str], covered: set[str]
) -> None:
    sources = {
        "/photos/a.jpg": "/photos/",
        "/photos/sub/b.jpg": "/photos/",
        "/photos/x.zip!/c.jpg": "/photos/x.zip!/",
        "/photos/sub/y.tar!/d.jpg": "/photos/sub/*!/",
        "/photos/sub/none.tar": "/photos/sub/*!/",
        "/photos/m.parquet!/0": "/photos/m.parquet",
    }
    store = Store(spark)
    store.run(night(spark, *((None, uri) for uri in sources)))
    for row in store.rows.values():
        row["source"] = sources[row["uri"]]
    listing = night(spark, (None, "/elsewhere/x.jpg")).withColumn("source", F.lit(roots[0]))
    found = expected_in_listing(listing, store.frame(), roots)
    assert {row["uri"] for row in found.collect()} == covered


def test_what_goes_from_a_scope(spark: SparkSession) -> None:
    a, b = (None, "/x", "a"), (None, "/x", "b")
    store = Store(spark)
    store.run(night(spark, a, b, (None, "/y", "a")))
    images = store.frame()
    scopes = {row["image_id"]: (row["uri"], row["scope"]) for row in images.collect()}

    def gone(found: DataFrame) -> set[tuple[str, str]]:
        return {scopes[row["image_id"]] for row in found.collect()}

    assert gone(tombstoned(night(spark, (*b, None, "yes")), images)) == {("/x", "b")}
    assert gone(tombstoned(night(spark, (None, "file:/x", None, None, "yes")), images)) == {("/x", "a"), ("/x", "b")}
    listing = night(spark, (None, "/x"), (None, "/z", "a"))
    assert gone(unlisted(listing, expected_in_listing(listing, images, []))) == {("/y", "a")}, (
        "a row without scope names each"
    )
    listing = night(spark, a, (None, "/z", "b"))
    assert gone(unlisted(listing, expected_in_listing(listing, images, []))) == {("/x", "b"), ("/y", "a")}
    # A forgotten image without a scope stays deleted, for any named scope.
    plain = Store(spark)
    plain.run(night(spark, (None, "/x")))
    (row,) = plain.rows.values()
    row |= {"deleted_at": None, "deleted_reason": "forgotten"}
    away = plain.frame().withColumn("deleted_at", F.current_timestamp())
    assert wanted_rows(night(spark, a, b), away).collect() == []
