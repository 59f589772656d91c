"""From a manifest as found to the rows that a run processes."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dupelake.config import ManifestConfig
from dupelake.errors import ManifestError
from dupelake.ingest.new_images_stage import UNREAD, normalise, wanted_rows
from dupelake.ingest.retries_stage import marks_differ
from dupelake.warehouse.schema import MANIFEST

CFG = ManifestConfig(default_scope="house")


def digest(text: str, digits: int = 32) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def loser(image_id: str, uri: str) -> str:
    return f"{image_id}~{digest(uri, 16)}"


def frame(spark: SparkSession, schema: str, *rows: tuple[Any, ...]) -> DataFrame:
    return spark.createDataFrame(list(rows), schema)


def new_rows(manifest, images, **options):
    """`wanted_rows` without the rows whose files are not read."""
    return wanted_rows(manifest, images, **options).where(~F.col("why").isin(*UNREAD))


def local(rows: DataFrame) -> DataFrame:
    """The same rows without their plan, so that what follows plans only itself."""
    return rows.sparkSession.createDataFrame(rows.collect(), rows.schema)


def normal(
    spark: SparkSession, *rows: tuple[Any, ...], schema: str = "image_id string, uri string, partition string"
) -> DataFrame:
    return local(normalise(frame(spark, schema, *rows), CFG))


def stored(manifest: DataFrame) -> DataFrame:
    """The rows of `images` after a run that read all of them."""
    images = manifest.select(
        "image_id",
        "uri",
        "partition",
        "scope",
        F.when(F.col("reason").isNull(), "ok").otherwise("failed").alias("status"),
        "reason",
        F.lit(None).cast("timestamp").alias("deleted_at"),
        F.lit(None).cast("string").alias("deleted_reason"),
        F.when(F.col("reason").isNull(), 0).otherwise(1).alias("attempts"),
        F.lit(None).cast("timestamp").alias("ingested_at"),
        "marks",
        "source",
    )
    return local(images)


def table(rows: DataFrame) -> dict[str, dict[str, Any]]:
    found = [row.asDict(recursive=True) for row in rows.collect()]
    by_id = {row["image_id"]: row for row in found}
    assert len(by_id) == len(found), "an image_id came out twice"
    return by_id


def ids(rows: DataFrame) -> dict[str, str | None]:
    return {key: row["reason"] for key, row in table(rows).items()}


class TestNormalise:
    def test_defaults_and_schema(self, spark: SparkSession) -> None:
        out = normal(spark, ("/a b%20#.jpg",), schema="URI string")
        assert [(f.name, f.dataType) for f in out.schema] == [(f.name, f.dataType) for f in MANIFEST]
        assert table(out) == {
            digest("/a b%20#.jpg"): {
                "image_id": digest("/a b%20#.jpg"),
                "uri": "/a b%20#.jpg",
                "partition": "all",
                "scope": "house",
                "captured_at": None,
                "extra": None,
                "reason": None,
                "error_message": None,
                "last_partition": "all",
                "marks": None,
                "source": "",
                "is_deleted": False,
                "n_rows": 1,
                "place": None,
            }
        }

    def test_given_values(self, spark: SparkSession) -> None:
        when = dt.datetime(2024, 5, 1, 12, 30, 0, 250_000)
        given = (" x ", " /a ", dt.date(2026, 11, 1), " me ", when, 7, (1, "z"), None, bytearray(b"\xff"), 1.5)
        out = normal(
            spark,
            given,
            schema="Image_ID string, Uri string, `PARTITION ` date, scope string, captured_at timestamp, "
            "n int, nested struct<a int, b string>, nothing string, raw binary, `dotted.name` double",
        )
        row = table(out)["x"]
        assert (row["uri"], row["partition"], row["scope"], row["captured_at"]) == (" /a ", "2026-11-01", "me", when)
        assert row["extra"] == {"n": "7", "nested": '{"a":1,"b":"z"}', "raw": "/w==", "dotted.name": "1.5"}

    def test_blank_values_are_no_values(self, spark: SparkSession) -> None:
        row = table(
            normal(spark, ("  ", "/a", " ", "\t"), schema="image_id string, uri string, partition string, scope string")
        )[digest("/a")]
        assert (row["partition"], row["scope"]) == ("all", "house")

    def test_captured_at(self, spark: SparkSession) -> None:
        times = {
            "2024-05-01": dt.datetime(2024, 5, 1),
            "2024-05-01T12:30:00Z": dt.datetime(2024, 5, 1, 12, 30),
            "2024-05-01T12:30:00+02:00": dt.datetime(2024, 5, 1, 10, 30),
            "2024:05:01 12:30:00": dt.datetime(2024, 5, 1, 12, 30),
            "12:30": None,
            "0000:00:00 00:00:00": None,
            "0000-01-01": None,
            "now": None,
            "soon": None,
            "2024-02-31": None,
            "1700000000": None,
            "20240501": None,
        }
        rows = table(normal(spark, *[(text, text) for text in times], schema="uri string, captured_at string"))
        assert {row["uri"]: row["captured_at"] for row in rows.values()} == times
        kept = {row["uri"]: row["extra"] for row in rows.values()}
        assert kept == {text: None if time else {"captured_at": text} for text, time in times.items()}

    def test_repeats_collapse_to_the_smallest_partition(self, spark: SparkSession) -> None:
        schema = "uri string, partition string, n string"
        rows = [("/a", "2", "x"), ("/a", "1", "z"), ("/a", "1", "y"), ("/b", "1", "x")]
        first = table(normal(spark, *rows, schema=schema))
        assert {(row["uri"], row["partition"]) for row in first.values()} == {("/a", "1"), ("/b", "1")}
        again = normalise(frame(spark, schema, *reversed(rows)).repartition(5), CFG)
        assert table(again) == first

    def test_conflicts(self, spark: SparkSession) -> None:
        rows = [
            ("i", "/b", "1"),
            ("i", "/a", "2"),
            ("i", "/c", "1"),
            ("i", "/c", "0"),
            ("i", "/a", "3"),
            ("k", "/a", "1"),
        ]
        out = table(normal(spark, *rows))
        assert {key: (row["uri"], row["partition"], row["reason"]) for key, row in out.items()} == {
            "i": ("/c", "0", None),
            loser("i", "/b"): ("/b", "1", "image_id_conflict"),
            loser("i", "/a"): ("/a", "2", "image_id_conflict"),
            "k": ("/a", "1", None),
        }
        message = out[loser("i", "/a")]["error_message"]
        assert "image_id i " in message
        assert message.endswith("/c")
        assert table(normal(spark, *reversed(rows))) == out

    def test_rows_without_uri(self, spark: SparkSession) -> None:
        rows = [
            ("i", None, "1"),
            ("j", "  ", "1"),
            (None, None, "1"),
            (None, "", "2"),
            (None, None, "1"),
            ("k", "/a", "9"),
            ("k", None, "1"),
        ]
        out = table(normal(spark, *rows))
        no_uri = {key for key, row in out.items() if row["reason"] == "no_uri"}
        assert len(out) == 6
        assert no_uri == set(out) - {"k"}
        assert {"i", "j", loser("k", "")} < no_uri, "a row without uri never takes the id of one with it"
        assert all(out[key]["uri"] is None and out[key]["error_message"] for key in no_uri)
        assert all(len(key) == 32 for key in no_uri - {"i", "j", loser("k", "")})

    def test_one_id_for_all_rows_still_gives_unique_ids(self, spark: SparkSession) -> None:
        raw = spark.range(5000).select(F.lit("unknown").alias("image_id"), F.concat(F.lit("/"), "id").alias("uri"))
        out = normalise(raw, CFG)
        assert out.count() == out.select("image_id").distinct().count() == 5000

    @pytest.mark.parametrize("schema", ["url string", "uri string, `Uri ` string", "uri string, x string, X string"])
    def test_unusable_columns(self, spark: SparkSession, schema: str) -> None:
        with pytest.raises(ManifestError, match=r"no column `uri`|twice"):
            normalise(spark.createDataFrame([], schema), CFG)


class TestNewRows:
    def test_first_run_takes_all_second_none(self, spark: SparkSession) -> None:
        night = normal(
            spark, ("i", "/a", "1"), ("i", "/b", "1"), ("j", None, "1"), (None, "/c", "2"), (None, None, "3")
        )
        first = local(new_rows(night, None))
        assert ids(first) == ids(night)
        assert new_rows(night, stored(first)).count() == 0

    def test_late_rows_of_old_partitions(self, spark: SparkSession) -> None:
        night = normal(spark, ("i", "/a", "2"))
        more = normal(spark, ("i", "/a", "2"), ("late", "/l", "1"), ("next", "/n", "3"))
        assert set(ids(new_rows(more, stored(night)))) == {"late", "next"}

    def test_options(self, spark: SparkSession) -> None:
        rows = normal(
            spark, ("a", "/a", "2026-11-01"), ("b", "/b", "2026-11-02"), ("c", "/c", "2026-11-03"), ("d", "/d", None)
        )
        images = stored(rows.where("image_id = 'b'"))
        assert set(ids(new_rows(rows, images, partitions=["2026-11-01", "2026-11-02"]))) == {"a"}
        assert set(ids(new_rows(rows, images, since="2026-11-02"))) == {"c", "d"}
        assert set(ids(new_rows(rows, images, since="2026-11-02", full=True))) == {"b", "c", "d"}
        assert set(ids(new_rows(rows, images, partitions=["2026-11-02"], full=True))) == {"b"}
        assert set(ids(new_rows(rows, None, partitions=[]))) == set()

    def test_another_uri_for_a_stored_id(self, spark: SparkSession) -> None:
        images = stored(normal(spark, ("i", "/a", "1")))
        night = normal(spark, ("i", "/b", "2"))
        first = local(new_rows(night, images))
        assert ids(first) == {loser("i", "/b"): "image_id_conflict"}
        assert table(first)[loser("i", "/b")]["error_message"].endswith("/a")
        assert new_rows(night, images.union(stored(first))).count() == 0
        assert ids(new_rows(night, images, full=True)) == {"i": None}, "full: the manifest wins"

    def test_a_late_smaller_partition_does_not_dethrone_the_stored_uri(self, spark: SparkSession) -> None:
        images = stored(normal(spark, ("i", "/new", "2")))
        both = normal(spark, ("i", "/new", "2"), ("i", "/late", "1"))
        assert ids(both) == {"i": None, loser("i", "/new"): "image_id_conflict"}
        first = local(new_rows(both, images))
        assert ids(first) == {loser("i", "/late"): "image_id_conflict"}
        assert new_rows(both, images.union(stored(first))).count() == 0

    def test_loser_whose_winner_is_not_asked_for_yet(self, spark: SparkSession) -> None:
        both = normal(spark, ("i", "/a", "1"), ("i", "/b", "2"))
        first = local(new_rows(both, spark.createDataFrame([], stored(both).schema), partitions=["2"]))
        assert ids(first) == {loser("i", "/b"): "image_id_conflict"}
        assert ids(new_rows(both, stored(first))) == {"i": None}

    def test_a_uri_that_was_lacking_is_filled_in(self, spark: SparkSession) -> None:
        images = stored(normal(spark, ("i", None, "1")))
        assert ids(new_rows(normal(spark, ("i", "/a", "1")), images)) == {"i": None}

    def test_a_uri_that_got_lost_does_not_overwrite(self, spark: SparkSession) -> None:
        images = stored(normal(spark, ("i", "/a", "1")))
        night = normal(spark, ("i", None, "1"))
        first = local(new_rows(night, images))
        assert ids(first) == {loser("i", ""): "no_uri"}
        assert new_rows(night, images.union(stored(first))).count() == 0

    def test_an_id_that_looks_like_a_losers(self, spark: SparkSession) -> None:
        odd = "x~0123456789abcdef"
        night = normal(spark, (odd, "/a", "1"), ("x", "/b", "1"))
        assert ids(new_rows(night, None)) == {odd: None, "x": None}
        assert new_rows(night, stored(night)).count() == 0

    def test_what_is_tried_again(self, spark: SparkSession) -> None:
        etag = F.create_map(F.lit("etag"), F.lit("1"))
        cases = {  # reason, attempts, marks, hour of the last attempt -> tried again
            "late": ("missing", 1, False, 1, True),
            "given up": ("missing", 3, False, 1, False),
            "killed meanwhile": ("missing", 1, False, 3, False),
            "native": ("crashed", 2, True, 1, True),
            "no picture": ("undecodable", 1, False, 1, False),
            "half an upload": ("truncated", 1, False, 1, True),
            "known to be whole": ("truncated", 1, True, 1, False),
        }
        schema = "uri string, why string, n int, marked boolean, hour long, again boolean"
        known = spark.createDataFrame([(uri, *case) for uri, case in cases.items()], schema)
        night = normalise(known.select("uri"), CFG)
        images = (
            stored(night)
            .drop("status", "reason", "attempts", "marks", "ingested_at")
            .join(known, "uri")
            .withColumns({"status": F.lit("failed"), "reason": F.col("why"), "attempts": F.col("n")})
            .withColumn("marks", F.when(F.col("marked"), etag))
            .withColumn("ingested_at", F.timestamp_seconds(F.col("hour") * 3600))
        )
        rows = new_rows(night, images, max_attempts=3, last_run=2 * 3600 * 1_000_000).collect()
        assert {row["uri"]: (row["why"], row["attempts"]) for row in rows} == {
            uri: ("retried", n) for uri, (_, n, _, _, again) in cases.items() if again
        }
        rows = new_rows(night, images, full=True, last_run=2 * 3600 * 1_000_000).collect()
        assert {row["uri"]: (row["why"], row["attempts"]) for row in rows} == {
            uri: ("again", n - (uri == "killed meanwhile")) for uri, (_, n, *_) in cases.items()
        }

    def test_marks(self, spark: SparkSession) -> None:
        cases = [  # stored, given -> changed
            ({"etag": "1", "byte_size": "5"}, {"etag": "1", "byte_size": "6"}, False),  # the etag decides
            ({"etag": "1"}, {"etag": "2"}, True),
            ({"byte_size": "5", "last_modified": "a"}, {"byte_size": "5", "last_modified": "b"}, True),
            ({"byte_size": "5"}, {"etag": "2"}, False),  # nothing to compare
            (None, {"etag": "2"}, False),
            ({"etag": "2"}, None, False),
        ]
        frame_ = spark.createDataFrame(cases, "old map<string,string>, new map<string,string>, changed boolean")
        got = frame_.select(marks_differ(F.col("old"), F.col("new")).alias("got"), "changed").collect()
        assert [row["got"] for row in got] == [row["changed"] for row in got]
        spellings = ("2026-11-01T00:00:00Z", "2026-11-01 00:00:00", "2026-11-01T01:00:00+01:00")
        rows = normal(spark, *[(f"/{at}", at) for at in spellings], schema="uri string, last_modified string")
        assert len({str(row["marks"]) for row in rows.collect()}) == 1
