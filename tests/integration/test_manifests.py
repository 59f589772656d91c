"""Reading manifests of every kind, and trees of images."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from dupelake.config import ManifestConfig
from dupelake.errors import ManifestError
from dupelake.kernels.uris import local_path
from dupelake.manifests import read_manifest, read_manifests

ODD = "odd [x]{y}* 100% %41 #1 ü 東京"
URIS = [
    "/d/plain.jpg",
    "/d/with space.jpg",
    '/d/quote".jpg',
    "/d/comma,.jpg",
    "/d/100%25 #.jpg",
    "/d/Grüße 東京\u2028.jpg",
    "/d/back\\slash.jpg",
    " /d/leading space.jpg",
    "/d/007",
]


def rows(frame: DataFrame) -> list[dict[str, Any]]:
    return sorted((row.asDict(recursive=True) for row in frame.collect()), key=str)


def read(spark: SparkSession, path: Path | str, **options: Any) -> list[dict[str, Any]]:
    return rows(read_manifest(spark, str(path), ManifestConfig(**options)))


def csv_text(uris: list[str]) -> str:
    return "uri,n\n" + "".join('"' + uri.replace('"', '""') + '",007\n' for uri in uris)


def put(path: Path, text: str | bytes = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


class TestFiles:
    def test_csv_uris_survive_to_the_letter(self, spark: SparkSession, tmp_path: Path) -> None:
        put(tmp_path / ODD / f"{ODD}.csv", csv_text(URIS))
        got = read(spark, tmp_path / ODD / f"{ODD}.csv")
        assert got == sorted(({"uri": uri, "n": "007"} for uri in URIS), key=str)
        assert read(spark, tmp_path / ODD) == got
        assert read(spark, (tmp_path / ODD).as_uri()) == got

    def test_csv_with_bom_gzip_crlf_and_unnamed_index(self, spark: SparkSession, tmp_path: Path) -> None:
        path = put(tmp_path / "m.csv.gz", gzip.compress("\ufeffuri,scope,\r\n/a.jpg,,0\r\n/b.jpg,me,1\r\n".encode()))
        assert [(row["uri"], row["scope"]) for row in read(spark, path)] == [("/a.jpg", None), ("/b.jpg", "me")]

    def test_csv_header_may_carry_spaces_and_capitals(self, spark: SparkSession, tmp_path: Path) -> None:
        path = put(tmp_path / "m.csv", "Scope, URI\nme,/a.jpg\n")
        united = read_manifests(spark, [str(path)], ManifestConfig())
        assert rows(united) == [{"scope": "me", "uri": "/a.jpg"}]

    def test_json_lines_keep_text_and_nested_values(self, spark: SparkSession, tmp_path: Path) -> None:
        lines = [{"uri": uri, "image_id": 7, "exif": {"iso": 100}} for uri in URIS]
        path = put(tmp_path / "m.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        got = read(spark, path)
        assert {row["uri"] for row in got} == set(URIS)
        assert {(row["image_id"], row["exif"]["iso"]) for row in got} == {("7", "100")}

    def test_parquet_and_delta(self, spark: SparkSession, tmp_path: Path) -> None:
        frame = spark.createDataFrame([(uri, dt.date(2026, 11, 1)) for uri in URIS], "uri string, partition date")
        frame.write.parquet(str(tmp_path / "p"))
        frame.write.format("delta").partitionBy("partition").save(str(tmp_path / "delta 100% #"))
        expected = rows(frame)
        assert read(spark, tmp_path / "p") == expected
        assert read(spark, tmp_path / "delta 100% #") == expected

    def test_several_are_united_by_name_as_text(self, spark: SparkSession, tmp_path: Path) -> None:
        put(tmp_path / "a.csv", "uri,partition\n/a.jpg,2026-11-02\n")
        spark.createDataFrame([("/b.jpg", dt.date(2026, 11, 1), 5)], "URI string, partition date, n int").write.parquet(
            str(tmp_path / "b")
        )
        got = read_manifests(spark, [str(tmp_path / "a.csv"), str(tmp_path / "b")], ManifestConfig())
        assert rows(got) == [
            {"uri": "/a.jpg", "partition": "2026-11-02", "n": None},
            {"uri": "/b.jpg", "partition": "2026-11-01", "n": "5"},
        ]


class TestFolders:
    @pytest.mark.parametrize("value", ["2026-11-01", "007", "1e3", "20261101"])
    def test_partition_folders_stay_text(self, spark: SparkSession, tmp_path: Path, value: str) -> None:
        put(tmp_path / f"partition={value}" / "m.csv", csv_text(["/a.jpg"]))
        put(tmp_path / "_SUCCESS", "")
        before = spark.conf.get("spark.sql.sources.partitionColumnTypeInference.enabled")
        assert read(spark, tmp_path) == [{"uri": "/a.jpg", "n": "007", "partition": value}]
        assert spark.conf.get("spark.sql.sources.partitionColumnTypeInference.enabled") == before

    def test_csv_files_of_different_columns_are_read_by_name(self, spark: SparkSession, tmp_path: Path) -> None:
        put(tmp_path / "partition=1" / f"{ODD}.csv", "uri,scope\n/a.jpg,me\n")
        put(tmp_path / "partition=2" / "m.csv", "camera,scope,uri\nx,you,/b.jpg\n")
        assert read(spark, tmp_path) == sorted(
            [
                {"uri": "/a.jpg", "scope": "me", "camera": None, "partition": "1"},
                {"uri": "/b.jpg", "scope": "you", "camera": "x", "partition": "2"},
            ],
            key=str,
        )

    def test_parquet_files_of_different_columns(self, spark: SparkSession, tmp_path: Path) -> None:
        spark.sql("select '/a.jpg' uri").write.parquet(str(tmp_path / "partition=1"))
        spark.sql("select '/b.jpg' uri, 'x' camera").write.parquet(str(tmp_path / "partition=2"))
        assert {(row["uri"], row["camera"]) for row in read(spark, tmp_path)} == {("/a.jpg", None), ("/b.jpg", "x")}

    def test_one_image_makes_a_tree(self, spark: SparkSession, tmp_path: Path) -> None:
        put(tmp_path / "a.csv", "uri\n")
        put(tmp_path / "b.jpg")
        assert {row["uri"] for row in read(spark, tmp_path)} == {str(tmp_path / "a.csv"), str(tmp_path / "b.jpg")}


class TestTrees:
    def test_names_links_and_hidden_files(self, spark: SparkSession, tmp_path: Path) -> None:
        root = tmp_path / ODD
        kept = [
            put(root / name)
            for name in ("top.jpg", "a:b.jpg", "_DSC1.JPG", f"sub/{ODD}.jpg", "sub/deep/er/x", "line\nbreak.jpg")
        ]
        for name in (".hidden.jpg", ".git/x.jpg", "sub/.thumb/x.jpg", "_SUCCESS", "sub/_delta_log/0.json"):
            put(root / name)
        outside = put(tmp_path / "outside" / "o.jpg")
        (root / "link.jpg").symlink_to(outside)
        (root / "dangling.jpg").symlink_to(tmp_path / "gone")
        (root / "linked-folder").symlink_to(outside.parent)
        (root / "sub" / "circle").symlink_to(root)
        os.mkfifo(root / "sub" / "pipe.jpg")
        kept += [root / "link.jpg", root / "dangling.jpg"]
        got = read(spark, root)
        assert sorted(row["uri"] for row in got) == sorted(map(str, kept))
        assert set(got[0]) == {"uri", "partition"}

    def test_a_name_that_is_not_utf8_survives_as_uri(self, spark: SparkSession, tmp_path: Path) -> None:
        name = os.fsdecode(b"caf\xe9 %41.jpg")
        put(tmp_path / os.fsdecode(b"d\xe9") / name)
        [row] = read(spark, tmp_path)
        assert local_path(row["uri"]) == str(tmp_path / os.fsdecode(b"d\xe9") / name)

    def test_extensions_ignore_case(self, spark: SparkSession, tmp_path: Path) -> None:
        for name in ("a.jpg", "b.JPG", "c.Jpeg", "d.png", "jpg", "e.jpg.txt", "f.dir.jpg/g"):
            put(tmp_path / name)
        got = read(spark, tmp_path, extensions=("jpg", ".JPEG"))
        assert [Path(row["uri"]).name for row in got] == ["a.jpg", "b.JPG", "c.Jpeg"]

    def test_partition_is_a_folder_else_the_day(self, spark: SparkSession, tmp_path: Path) -> None:
        for folder in ("partition=2026-11-01/x", "dt=7/date=8", "plain", "mydate=3"):
            path = put(tmp_path / folder / "a.jpg")
            os.utime(path, (0, dt.datetime(2020, 2, 3, 23, 59, tzinfo=dt.UTC).timestamp()))
        got = {str(Path(row["uri"]).parent.relative_to(tmp_path)): row["partition"] for row in read(spark, tmp_path)}
        assert got == {
            "partition=2026-11-01/x": "2026-11-01",
            "dt=7/date=8": "8",
            "plain": "2020-02-03",
            "mydate=3": "2020-02-03",
        }

    def test_remote_tree_through_sparks_lister(self, spark: SparkSession, tmp_path: Path) -> None:
        name = f"dupelaketree{os.getpid()}"
        spark.sparkContext._jsc.hadoopConfiguration().set(f"fs.viewfs.mounttable.{name}.link./p", tmp_path.as_uri())
        for sub in (f"{ODD}/{ODD}.jpg", f"{ODD}/dt=9/b.JPG", f"{ODD}/c.txt"):
            os.utime(put(tmp_path / sub), (0, 86_400 * 366))
        got = read(spark, f"viewfs://{name}/p/{ODD}", extensions=("jpg",))
        assert got == sorted(
            [
                {"uri": f"viewfs://{name}/p/{ODD}/{ODD}.jpg", "partition": "1971-01-02"},
                {"uri": f"viewfs://{name}/p/{ODD}/dt=9/b.JPG", "partition": "9"},
            ],
            key=str,
        )


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("m.csv", "uri,scope,uri\n/a,b,c\n", "twice: uri"),
            ("m.csv", "uri, URI \n/a,b\n", "twice: uri"),
            ("m.csv", '"uri","x","X"\n/a,b,c\n', "twice: x"),
            ("m.csv", "url,n\n/a,1\n", r"no column `uri`; its columns are \['url', 'n'\]"),
            ("m.csv", "", "no header line"),
            ("m.csv", "\n\nurl\n/a\n", "no column `uri`"),
            ("m.json", '{"uri": "/a", "URI": "/b"}\n', "(?i)uri"),
            ("m.json", '{"url": "/a"}\n', "no column `uri`"),
            ("m.json", '[\n{"uri":\n"/a"}\n]\n', "one object a line"),
            ("m.parquet", "not parquet", "cannot be read as parquet"),
            ("m.dat", "x", "cannot tell the format"),
            ("sub/a.csv", "url\n/a\n", "no column `uri`"),
        ],
    )
    def test_unusable_files(self, spark: SparkSession, tmp_path: Path, name: str, text: str, message: str) -> None:
        put(tmp_path / name, text)
        with pytest.raises(ManifestError, match=message):
            read(spark, tmp_path / name.split("/", maxsplit=1)[0])

    def test_twice_in_parquet(self, spark: SparkSession, tmp_path: Path) -> None:
        spark.conf.set("spark.sql.caseSensitive", "true")
        try:
            spark.sql("select '/a' uri, '/b' URI").write.parquet(str(tmp_path / "p"))
        finally:
            spark.conf.unset("spark.sql.caseSensitive")
        with pytest.raises(ManifestError, match=r"(?i)uri"):
            read(spark, tmp_path / "p")

    def test_twice_in_a_later_file_of_a_folder(self, spark: SparkSession, tmp_path: Path) -> None:
        put(tmp_path / "a.csv", "uri,n\n/a,1\n")
        put(tmp_path / "b.csv", "uri,n,N\n/a,1,2\n")
        with pytest.raises(ManifestError, match=r"b\.csv names a column twice: n"):
            read(spark, tmp_path)

    def test_absent_empty_mixed(self, spark: SparkSession, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="there is no"):
            read(spark, tmp_path / "none.csv")
        (tmp_path / "e" / "sub").mkdir(parents=True)
        put(tmp_path / "e" / ".hidden")
        for kind in ("auto", "directory"):
            with pytest.raises(ManifestError, match=r"is empty|holds no file"):
                read(spark, tmp_path / "e", format=kind)
        put(tmp_path / "mixed" / "a.csv", "uri\n")
        put(tmp_path / "mixed" / "a.json", "{}\n")
        with pytest.raises(ManifestError, match="mixes csv and json"):
            read(spark, tmp_path / "mixed")
        with pytest.raises(ManifestError, match="cannot be reached"):
            read(spark, "nosuch://h/m.csv")
        with pytest.raises(ManifestError, match="no manifest"):
            read_manifests(spark, [], ManifestConfig())
