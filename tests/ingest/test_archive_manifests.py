"""Archives and Parquet files of images as manifests: rows, places, refusals, and nights over all kinds together."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import HF, add, write_hf, write_tar, write_zip
from pictures import FASTEST as FAST
from pictures import png
from pyspark.sql import SparkSession

from dupelake.config import FetchConfig, ManifestConfig
from dupelake.errors import ManifestError
from dupelake.ingest.manifests import read_manifests
from dupelake.ingest.new_images_stage import normalise
from dupelake.pipeline import hash as job
from dupelake.warehouse.schema import HASHES, IMAGES, RUNS
from dupelake.warehouse.tables import Warehouse


def content(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def rows(spark: SparkSession, *paths: Path, **options: Any) -> dict[str, dict[str, Any]]:
    """The rows of schema.MANIFEST by their URI below the folder of the first path."""
    raw = read_manifests(spark, [str(path) for path in paths], ManifestConfig(**options), FetchConfig())
    found = [row.asDict(recursive=True) for row in normalise(raw, ManifestConfig()).collect()]
    assert sum(row["n_rows"] for row in found) == len(found)
    return {row["uri"].removeprefix(f"{paths[0].parent}/"): row for row in found}


class TestArchives:
    def test_a_folder_of_shards(self, spark: SparkSession, tmp_path: Path) -> None:
        folder = tmp_path / "shards" / "date=2026-11-01"
        folder.mkdir(parents=True)
        write_tar(folder / "shard 000.tar", [("0001.png", b"a"), ("0001.json", b"{}"), ("0002.JPG", b"bb")])
        write_zip(folder / "more.zip", [("x/é.webp", b"ccc"), ("x.cls", b"")])
        write_tar(folder / "none.tar", [("a.json", b"{}")])
        (folder / "gone.tar").symlink_to(folder / "nowhere")
        (folder / "README.md").write_text("hello")
        os.utime(folder / "more.zip", (0, 0))
        found = rows(spark, tmp_path / "shards")
        base = "shards/date=2026-11-01"
        assert {uri: (row["reason"], row["partition"], row["source"]) for uri, row in found.items()} == {
            f"{base}/{name}": (reason, "2026-11-01", f"{tmp_path}/shards/*!/")
            for name, reason in (
                ("shard 000.tar!/0001.png", None),
                ("shard 000.tar!/0002.JPG", None),
                ("more.zip!/x/é.webp", None),
                ("none.tar", "empty"),
            )
        }
        in_zip, in_tar = found[f"{base}/more.zip!/x/é.webp"], found[f"{base}/shard 000.tar!/0002.JPG"]
        assert in_zip["marks"] == {
            "byte_size": "3",
            "last_modified": "1970-01-01 00:00:00",
            "etag": f"{zipfile.crc32(b'ccc'):08x}-3",
        }
        assert (in_tar["place"]["kind"], in_tar["place"]["byte_size"]) == ("tar", 2)
        assert found[f"{base}/none.tar"]["marks"]["byte_size"]

    def test_names_that_start_with_an_underscore(
        self, spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = tmp_path / "shards"
        (folder / "_old").mkdir(parents=True)
        write_tar(folder / "_000.tar", [("a.png", b"1")])
        write_tar(folder / "_old" / "1.tar", [("b.png", b"2")])
        assert rows(spark, folder).keys() == {"shards/_000.tar!/a.png", "shards/_old/1.tar!/b.png"}
        tables = tmp_path / "tables"
        tables.mkdir()
        for name in ("_1.parquet", "2.parquet"):
            write_hf(tables / name, [(b"x", "x.png")])
        (tables / "_SUCCESS").touch()
        assert rows(spark, tables).keys() == {"tables/2.parquet!/0"}
        assert f"1 files are not read, because names in their paths start with _, which Spark hides: {tables}/_1" in (
            caplog.text
        )

    def test_one_archive_covers_itself_and_options_name_endings(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write_tar(tmp_path / "a.tar", [("a.png", b"1"), ("b.seg", b"2")])
        assert {uri: row["source"] for uri, row in rows(spark, path).items()} == {"a.tar!/a.png": f"{path}!/"}
        assert list(rows(spark, path, extensions=(".SEG",))) == ["a.tar!/b.seg"]

    def test_refusals(self, spark: SparkSession, tmp_path: Path) -> None:
        (tmp_path / "mixed").mkdir()
        write_tar(tmp_path / "mixed" / "a.tar", [])
        (tmp_path / "mixed" / "m.csv").write_text("uri\n/a\n")
        with pytest.raises(ManifestError, match="mixes archive and csv"):
            rows(spark, tmp_path / "mixed")


class TestParquet:
    def test_rows_of_files(self, spark: SparkSession, tmp_path: Path) -> None:
        write_hf(tmp_path / "train 0.parquet", [(b"a", "a.png"), (b"b", None), (None, "c.png"), (b"d", "d.png")], 3)
        found = rows(spark, tmp_path / "train 0.parquet")
        assert {uri: (row["place"]["block"], row["place"]["at"]) for uri, row in found.items()} == {
            f"train 0.parquet!/{row}": (row // 3, row) for row in range(4)
        }
        first = found["train 0.parquet!/0"]
        assert first["extra"] == {"label": "0", "path": "a.png"}
        assert first["source"] == str(tmp_path / "train 0.parquet")
        assert first["marks"].keys() == {"etag", "last_modified"}

    def test_ids_name_rows_so_that_files_may_be_rewritten(self, spark: SparkSession, tmp_path: Path) -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        columns = {"image_id": ["a/1", " b#2 ", "a/1"], "jpg": [b"x", b"y", b"z"], "etag": ["1", None, "2"]}
        table = pa.table(columns | {"scope": ["s", "s", "s"]})
        pq.write_table(table, folder / "part-0.parquet")
        found = rows(spark, folder)
        repeated = found.pop("data!/a/1#1")
        assert (repeated["reason"], repeated["image_id"].startswith("a/1~")) == ("image_id_conflict", True)
        assert {uri: (row["image_id"], row["scope"], row["reason"]) for uri, row in found.items()} == {
            "data!/a/1": ("a/1", "s", None),
            "data!/b%232": ("b#2", "s", None),
        }
        assert found["data!/a/1"]["marks"] == {"etag": "1"}
        assert found["data!/b%232"]["marks"]["etag"].endswith("@1")

    @pytest.mark.parametrize(
        ("columns", "options", "column"),
        [
            ({"uri": ["/a.png"], "thumb": [b"x"]}, {}, None),
            ({"url": ["https://e.org/a"], "blob": [b"x"]}, {}, None),
            ({"url": ["https://e.org/a"], "blob": [b"x"]}, {"image_column": "blob"}, "blob"),
            ({"url": ["https://e.org/a"], "image": pa.array([{"bytes": b"x", "path": "p"}], HF)}, {}, "image.bytes"),
            ({"uri": ["/a.png"], "blob": [b"x"]}, {"image_column": "blob"}, "blob"),
            ({"image": [b"x"], "mask": [b"y"]}, {}, "image"),
            ({"left": [b"x"], "right": [b"y"]}, {}, "choose one: --set manifest.image_column=left"),
            ({"left": [b"x"], "right": [b"y"]}, {"image_column": "Right"}, "right"),
            ({"left": ["x"]}, {"image_column": "left"}, None),
            ({"left": ["x"]}, {"image_column": "right"}, "no column `right`"),
            ({"a.b": [b"x"]}, {}, "dot in its name"),
            ({"left": ["x"]}, {}, "no column `uri`"),
        ],
    )
    def test_which_column(
        self, spark: SparkSession, tmp_path: Path, columns: dict[str, Any], options: dict[str, str], column: str | None
    ) -> None:
        pq.write_table(pa.table(columns), tmp_path / "m.parquet")
        if column is not None and " " in column:
            with pytest.raises(ManifestError, match=column):
                rows(spark, tmp_path / "m.parquet", **options)
            return
        (row,) = rows(spark, tmp_path / "m.parquet", **options).values()
        assert (row["place"] and row["place"]["column"]) == column

    def test_other_columns_of_bytes_are_not_kept(self, spark: SparkSession, tmp_path: Path) -> None:
        mask = pa.array([{"bytes": b"m", "path": "m.png"}], HF)
        columns = {"image": pa.array([{"bytes": b"x", "path": "p"}], HF), "mask": mask, "raw": [b"y"], "label": [1]}
        pq.write_table(pa.table(columns | {"image_id": [b"k"]}), tmp_path / "m.parquet")
        ((uri, row),) = rows(spark, tmp_path / "m.parquet").items()
        assert (uri, row["image_id"], row["extra"]) == ("m.parquet!/k", "k", {"label": "1", "path": "p"})

    def test_a_shard_without_a_footer_is_a_row(self, spark: SparkSession, tmp_path: Path) -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        whole = write_hf(folder / "0.parquet", [(b"x", "x.png")]).read_bytes()
        (folder / "1.parquet").write_bytes(whole[:-20])
        (folder / "2.parquet").touch()
        found = rows(spark, folder)
        assert {uri: (row["reason"], row["marks"], row["place"] is None) for uri, row in found.items()} == {
            "data/0.parquet!/0": (None, found["data/0.parquet!/0"]["marks"], False),
            "data/1.parquet": ("unreadable_file", None, True),
            "data/2.parquet": ("unreadable_file", None, True),
        }
        pq.write_table(pa.table({"uri": ["/a.png"]}), folder / "0.parquet")
        with pytest.raises(ManifestError, match=r"1\.parquet cannot be read as parquet"):
            rows(spark, folder)

    @pytest.mark.parametrize("name", ["_dupelake_place", " _dupelake_place", "_Dupelake_PLACE "])
    def test_no_column_says_where_a_member_lies(self, spark: SparkSession, tmp_path: Path, name: str) -> None:
        place = '{"file": "/etc/passwd", "version": "1-1", "kind": "tar", "at": 0, "byte_size": 100}'
        pq.write_table(pa.table({"uri": ["/a.png"], name: [place]}), tmp_path / "m.parquet")
        (row,) = rows(spark, tmp_path / "m.parquet").values()
        assert (row["uri"], row["place"]) == ("/a.png", None)
        pq.write_table(pa.table({"image": [b"x"], name: [place]}), tmp_path / "i.parquet")
        (row,) = rows(spark, tmp_path / "i.parquet").values()
        assert row["place"]["file"] == str(tmp_path / "i.parquet")
        (tmp_path / "m.jsonl").write_text(json.dumps({"uri": "/a.png", name: place}))
        (row,) = rows(spark, tmp_path / "m.jsonl").values()
        assert (row["uri"], row["place"]) == ("/a.png", None)

    def test_a_linked_file_outside_is_refused(self, spark: SparkSession, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        write_hf(tmp_path / "out.parquet", [(b"a", "a")])
        (tmp_path / "in" / "a.parquet").symlink_to(tmp_path / "out.parquet")
        (row,) = rows(spark, tmp_path / "in").values()
        assert (row["reason"], row["place"]) == ("not_allowed", None)


class Lake:
    """Shards, a ZIP archive and a Parquet file of images, and a warehouse of them."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.folder, self.warehouse = folder, Warehouse(spark, str(folder / "wh"))
        self.shards, self.zip, self.parquet = folder / "shards", folder / "photos.zip", folder / "train.parquet"
        self.shards.mkdir()

    def night(self, *options: str, code: int = 0) -> dict[str, int]:
        paths = [str(self.shards), str(self.zip), str(self.parquet)]
        assert job.main([*paths, "--warehouse", str(self.folder / "wh"), *FAST, *options]) == code
        counts = dict(max(self.rows(RUNS), key=lambda row: row["started_at"])["counts"])
        assert code or counts["read"] == counts["hashed"] + counts["skipped"] + counts["failed"]
        return counts

    def rows(self, table: Any) -> list[dict[str, Any]]:
        return deltalake.DeltaTable(self.warehouse.path(table)).to_pyarrow_table().to_pylist()

    def images(self) -> dict[str, tuple[str | None, str | None]]:
        """(content id or reason, why it is gone) by URI below the folder."""
        return {
            row["uri"].removeprefix(f"{self.folder}/"): (row["reason"] or row["content_id"], row["deleted_reason"])
            for row in self.rows(IMAGES)
        }


def test_nights_over_all_kinds(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path)
    pictures = {name: png(at, 64) for at, name in enumerate("abcdefgh")}
    write_tar(lake.shards / "000.tar", [("a.png", pictures["a"]), ("a.json", b"{}"), ("b.png", pictures["b"])])
    with tarfile.open(lake.shards / "001.tar", "w") as archive:
        add(archive, "c.png", pictures["c"])
        add(archive, "../c.png", pictures["c"])
        add(archive, "link.png", kind=tarfile.SYMTYPE, link="c.png")
        add(archive, "text.png", b"no image")
    write_zip(lake.zip, [("d.png", pictures["d"]), ("e.png", pictures["e"]), ("copy of a.png", pictures["a"])])
    write_hf(lake.parquet, [(pictures["f"], "f.png"), (None, "none.png"), (pictures["a"], "a.png")], 2)
    expected = {
        "shards/000.tar!/a.png": content(pictures["a"]),
        "shards/000.tar!/b.png": content(pictures["b"]),
        "shards/001.tar!/c.png": content(pictures["c"]),
        "shards/001.tar!/%2E%2E/c.png": "unsafe_name",
        "shards/001.tar!/link.png": "not_a_file",
        "shards/001.tar!/text.png": "undecodable",
        "photos.zip!/d.png": content(pictures["d"]),
        "photos.zip!/e.png": content(pictures["e"]),
        "photos.zip!/copy of a.png": content(pictures["a"]),
        "train.parquet!/0": content(pictures["f"]),
        "train.parquet!/1": "empty",
        "train.parquet!/2": content(pictures["a"]),
    }
    counts = lake.night()
    assert (counts["read"], counts["hashed"], counts["failed"]) == (12, 8, 4)
    assert lake.images() == {uri: (what, None) for uri, what in expected.items()}
    assert {row["content_id"] for row in lake.rows(HASHES)} == {content(pictures[name]) for name in "abcdef"}
    files = [row["file_id"] for row in lake.rows(IMAGES) if row["file_id"]]
    assert len(files) == len(set(files)) == 10  # each member is a file of its own; faults of the archive have none

    # Members that are added, changed and removed. A tar archive that changed is read again, of a ZIP what changed is.
    write_tar(lake.shards / "000.tar", [("a.png", pictures["a"]), ("g.png", pictures["g"])])
    write_zip(lake.zip, [("copy of a.png", pictures["a"]), ("d.png", pictures["h"]), ("new.png", pictures["b"])])
    counts = lake.night("--listing")
    assert (counts["changed"], counts["removed"], counts["hashed"], counts["failed"]) == (2, 2, 4, 0)
    now = lake.images()
    changes = {
        "shards/000.tar!/b.png": (content(pictures["b"]), "not_listed"),
        "shards/000.tar!/g.png": (content(pictures["g"]), None),
        "photos.zip!/d.png": (content(pictures["h"]), None),
        "photos.zip!/e.png": (content(pictures["e"]), "not_listed"),
        "photos.zip!/new.png": (content(pictures["b"]), None),
    }
    assert now == {uri: (what, None) for uri, what in expected.items()} | changes

    # A damaged archive gives a row. A listing with it is refused, so nothing is removed.
    whole = (lake.shards / "001.tar").read_bytes()
    (lake.shards / "001.tar").write_bytes(whole[:700])
    lake.night("--listing", code=2)
    assert lake.images() == now
