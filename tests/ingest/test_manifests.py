"""Reading manifests of all formats, and trees of images."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from dupelake.config import ManifestConfig
from dupelake.errors import ManifestError
from dupelake.ingest import manifest_text
from dupelake.ingest.manifest_cells_stage import EXTRA, FAULT
from dupelake.ingest.manifest_columns_stage import ORIGIN
from dupelake.ingest.manifests import read_manifests
from dupelake.ingest.new_images_stage import normalise
from dupelake.ingest.retries_stage import MARKS
from dupelake.ingest.uris import local_path
from dupelake.pipeline.common import explain

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
    """The cells that the manifests give, other columns unpacked; without what dupelake adds, and without nulls."""
    found = []
    for row in frame.drop(ORIGIN, FAULT, *MARKS).collect():
        cells = row.asDict()
        cells |= json.loads(cells.pop(EXTRA) or "{}")
        found.append({name: cell for name, cell in cells.items() if cell is not None})
    return sorted(found, key=str)


def read(spark: SparkSession, path: Path | str, **options: Any) -> list[dict[str, Any]]:
    return rows(read_manifests(spark, [str(path)], ManifestConfig(**options)))


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
        assert [(row["uri"], row.get("scope")) for row in read(spark, path)] == [("/a.jpg", None), ("/b.jpg", "me")]

    def test_csv_header_may_carry_spaces_and_capitals(self, spark: SparkSession, tmp_path: Path) -> None:
        path = put(tmp_path / "m.csv", "Scope, URI\nme,/a.jpg\n")
        united = read_manifests(spark, [str(path)], ManifestConfig())
        assert rows(united) == [{"scope": "me", "uri": "/a.jpg"}]

    def test_json_lines_keep_text_and_nested_values(self, spark: SparkSession, tmp_path: Path) -> None:
        lines = [{"uri": uri, "image_id": 7, "exif": {"iso": 100}} for uri in URIS]
        path = put(tmp_path / "m.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        got = read(spark, path)
        assert {row["uri"] for row in got} == set(URIS)
        assert {(row["image_id"], row["exif"]) for row in got} == {("7", '{"iso":100}')}

    def test_parquet_and_delta(self, spark: SparkSession, tmp_path: Path) -> None:
        frame = spark.createDataFrame([(uri, dt.date(2026, 11, 1)) for uri in URIS], "uri string, partition date")
        frame.write.parquet(str(tmp_path / "p"))
        frame.write.format("delta").partitionBy("partition").save(str(tmp_path / "delta 100% #"))
        expected = sorted(({"uri": uri, "partition": "2026-11-01"} for uri in URIS), key=str)
        assert read(spark, tmp_path / "p") == expected
        assert read(spark, tmp_path / "delta 100% #") == expected

    def test_several_are_united_by_name_as_text(self, spark: SparkSession, tmp_path: Path) -> None:
        put(tmp_path / "a.csv", "uri,partition\n/a.jpg,2026-11-02\n")
        spark.createDataFrame([("/b.jpg", dt.date(2026, 11, 1), 5)], "URI string, partition date, n int").write.parquet(
            str(tmp_path / "b")
        )
        got = read_manifests(spark, [str(tmp_path / "a.csv"), str(tmp_path / "b")], ManifestConfig())
        assert rows(got) == [
            {"uri": "/a.jpg", "partition": "2026-11-02"},
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
                {"uri": "/a.jpg", "scope": "me", "partition": "1"},
                {"uri": "/b.jpg", "scope": "you", "camera": "x", "partition": "2"},
            ],
            key=str,
        )

    def test_other_columns_travel_packed_with_what_folders_say(self, spark: SparkSession, tmp_path: Path) -> None:
        put(tmp_path / "csv" / "region=eu" / "partition=1" / "m.csv", "uri,n,Scope\n/a.jpg,007,me\n/b.jpg,,\n")
        put(tmp_path / "json" / "m.jsonl", '{"uri": "/c.jpg", "exif": {"iso": 1}}\n')
        rows = spark.sql("select '/d.jpg' uri, 1.5D x, cast(null as string) y")
        rows.write.parquet(str(tmp_path / "parquet" / "region=us"))
        paths = [str(tmp_path / name) for name in ("csv", "json", "parquet")]
        got = normalise(read_manifests(spark, paths, ManifestConfig()), ManifestConfig()).collect()
        assert {row["uri"]: (row["scope"], row["partition"], row["extra"]) for row in got} == {
            "/a.jpg": ("me", "1", {"n": "007", "region": "eu"}),
            "/b.jpg": ("", "1", {"region": "eu"}),
            "/c.jpg": ("", "all", {"exif": '{"iso":1}'}),
            "/d.jpg": ("", "all", {"x": "1.5", "region": "us"}),
        }

    def test_parquet_files_of_different_columns(self, spark: SparkSession, tmp_path: Path) -> None:
        spark.sql("select '/a.jpg' uri").write.parquet(str(tmp_path / "partition=1"))
        spark.sql("select '/b.jpg' uri, 'x' camera").write.parquet(str(tmp_path / "partition=2"))
        assert {(row["uri"], row.get("camera")) for row in read(spark, tmp_path)} == {("/a.jpg", None), ("/b.jpg", "x")}

    def test_one_image_makes_a_tree(self, spark: SparkSession, tmp_path: Path) -> None:
        put(tmp_path / "a.csv", "uri\n")
        put(tmp_path / "b.jpg")
        assert {row["uri"] for row in read(spark, tmp_path)} == {str(tmp_path / "a.csv"), str(tmp_path / "b.jpg")}

    @pytest.mark.parametrize("beside", ["README.md", "LICENSE", "notes.txt", "m.csv.sha256", "Thumbs.db", ".DS_Store"])
    def test_a_text_beside_manifests_makes_no_tree(
        self, spark: SparkSession, tmp_path: Path, beside: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        put(tmp_path / "a.csv", "uri,n\n/a.jpg,1\n")
        put(tmp_path / "sub" / beside, "# not,a,manifest\n")
        put(tmp_path / "_SUCCESS", "")
        caplog.set_level("WARNING", "dupelake")
        for kind in ("auto", "csv"):
            assert read(spark, tmp_path, format=kind) == [{"uri": "/a.jpg", "n": "1"}]
        assert (
            beside.startswith(".")
            or f"1 files are not read, because their names are not those of csv files: {beside}" in caplog.text
        )

    def test_images_with_sidecars_are_a_tree_with_a_warning(
        self, spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in ("a.jpg", "a.json", "b.JPG", "b.json", "README.md"):
            put(tmp_path / name)
        caplog.set_level("WARNING", "dupelake")
        assert len(read(spark, tmp_path)) == 5
        assert "3 files are not images by their names (2 json, 1 other texts)" in caplog.text
        assert "manifest.extensions" in caplog.text

    @pytest.mark.parametrize("other", ["a.jpg", "0001", "scan.xyz"])
    def test_a_mix_that_could_be_either_is_refused(self, spark: SparkSession, tmp_path: Path, other: str) -> None:
        for name in ("a.csv", "b.csv"):
            put(tmp_path / name, "uri\n/x\n")
        put(tmp_path / other)
        with pytest.raises(
            ManifestError, match=f"2 manifests .csv. and 1 other files, such as {other}; set manifest.for"
        ):
            read(spark, tmp_path)
        assert len(read(spark, tmp_path, format="csv")) == 2
        assert len(read(spark, tmp_path, format="directory")) == 3

    def test_a_delta_table_among_manifests_is_left_out(
        self, spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        pq.write_table(pa.table({"uri": ["/a"]}), put(tmp_path / "m" / "a.parquet"))
        deltalake.write_deltalake(tmp_path / "m" / "t", pa.table({"uri": ["/b"]}))
        caplog.set_level("WARNING", "dupelake")
        assert read(spark, tmp_path / "m") == [{"uri": "/a"}]
        assert "Delta tables in it are not read" in caplog.text


class TestText:
    def test_reports(self, spark: SparkSession, shared_data: Path, tmp_path: Path) -> None:
        folder = shared_data / "reports" / "manifests"
        expected = {"hostile.csv": [0, 2], "caption-first.csv": [0, 1, 2], "uri-first.csv": [0, 1, 2]}
        for name, numbers in expected.items():
            got = read(spark, put(tmp_path / name, (folder / name).read_bytes()))
            assert sorted(row["uri"] for row in got) == [f"/data/photos/p{n}.jpg" for n in numbers], name
        assert {(row["image_id"], row["caption"]) for row in got} == {
            ("i0", "two\nlines"),
            ("i1", "plain"),
            ("i2", 'a "quoted"\n\nword, and comma'),
        }

    def test_all_dialects_in_one_folder(self, spark: SparkSession, tmp_path: Path) -> None:
        text = 'uri,caption\n/{0},"two\nlines, ""q"""\n'
        contents = {
            "plain": text,
            "gz": text,
            "crlf": text.replace("\n", "\r\n"),
            "tab": text.replace(",", "\t", 1).replace("/{0},", "/{0}\t"),
        }
        for name, content in contents.items():
            data = content.format(name).encode()
            put(tmp_path / f"{name}.csv{'.gz' if name == 'gz' else ''}", gzip.compress(data) if name == "gz" else data)
        put(tmp_path / "utf16.csv", text.format("utf16").encode("utf-16"))
        put(tmp_path / "semi.tsv", "caption;uri\n'a';/semi\n".encode("utf-8-sig"))
        got = {row["uri"]: row["caption"] for row in read(spark, tmp_path)}
        two = 'two\nlines, "q"'
        assert got == {
            "/plain": two,
            "/gz": two,
            "/crlf": two.replace("\n", "\r\n"),
            "/tab": two,
            "/utf16": two,
            "/semi": "'a'",
        }

    @pytest.mark.parametrize("quoted", [False, True])
    def test_large_files_by_lines(
        self, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quoted: bool
    ) -> None:
        """Files with a quoted line end are read whole, others by several tasks."""
        monkeypatch.setattr(manifest_text, "_WHOLE_BYTES", 0)
        monkeypatch.setattr(manifest_text, "_WHOLE_PACKED_BYTES", 0)
        cell = '"x\ny"' if quoted else "x"
        text = "uri,n\r\n" + "".join(f'/{n},"a, ""b"" {n}"\r\n' for n in range(5000)) + f"/last,{cell}\r\n/bad\r\n"
        put(tmp_path / "big.csv", text)
        put(tmp_path / "packed.csv.gz", gzip.compress(text.replace("/", "/packed").encode()))
        spark.conf.set("spark.sql.files.maxPartitionBytes", "20000")
        try:
            frame = read_manifests(spark, [str(tmp_path)], ManifestConfig())
            assert quoted or frame.rdd.getNumPartitions() > 3
            got = frame.collect()
        finally:
            spark.conf.unset("spark.sql.files.maxPartitionBytes")
        names = [row["uri"] for row in got if row["uri"]]
        assert len(names) == len(set(names)) == 2 * 5001
        notes = {row["uri"]: json.loads(row[EXTRA])["n"] for row in got if row["uri"]}
        assert notes["/last"] == notes["/packedlast"] == cell.strip('"')
        assert notes["/17"] == 'a, "b" 17'
        faults = [row[FAULT] for row in got if row["uri"] is None]
        assert len(faults) == 2
        assert all("has 1 cells where the header has 2" in fault for fault in faults)

    def test_faults_of_rows_and_relative_uris(self, spark: SparkSession, tmp_path: Path) -> None:
        put(tmp_path / ODD / "m.csv", "uri,n\nsub/a.jpg,1\n/b.jpg,1,2\n")
        put(tmp_path / ODD / "m.jsonl", '{"uri": "c.jpg"}\n{"uri":\n')
        pq.write_table(pa.table({"URI": ["d+ %.jpg", "s3a://b/e"]}), put(tmp_path / ODD / "m.parquet"))
        deltalake.write_deltalake(tmp_path / "t", pa.table({"uri": ["f.jpg", "/g.jpg"]}))
        names = [f"{ODD}/m.csv", f"{ODD}/m.jsonl", f"{ODD}/m.parquet", "t"]
        raw = read_manifests(spark, [str(tmp_path / name) for name in names], ManifestConfig())
        got = {(row["uri"], row["reason"]) for row in normalise(raw, ManifestConfig()).collect()}
        here = str(tmp_path / ODD)
        assert got == {
            (f"{here}/sub/a.jpg", None),
            (None, "bad_row"),
            (f"{here}/c.jpg", None),
            (f"{here}/d+ %.jpg", None),
            ("s3a://b/e", None),
            ("f.jpg", "relative_uri"),
            ("/g.jpg", None),
        }

    def test_an_open_quote_is_refused_with_its_line(self, spark: SparkSession, tmp_path: Path) -> None:
        put(tmp_path / "m.csv", 'uri,n\n/a,1\n/b,"x\n/c,3\n')
        with pytest.raises(Exception, match=r"m\.csv, line 3: a quoted cell that begins here") as caught:
            read(spark, tmp_path / "m.csv")
        assert explain(caught.value)[0] == 2


@pytest.mark.parametrize("name", ["cut off.csv.gz", "cut off.jsonl.gz", "damaged.parquet"])
def test_a_file_that_cannot_be_read_to_its_end_is_named(spark: SparkSession, tmp_path: Path, name: str) -> None:
    uris = [f"/{hashlib.sha256(str(n).encode()).hexdigest()}.jpg" for n in range(20_000)]
    path = tmp_path / name
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"uri": uris}), path)
        pages = bytearray(path.read_bytes())
        pages[1000:-5000:37] = bytes(len(pages[1000:-5000:37]))
        path.write_bytes(pages)
    else:
        lines = ["uri", *uris] if ".csv" in name else [json.dumps({"uri": uri}) for uri in uris]
        path.write_bytes(gzip.compress("\n".join(lines).encode())[:-100_000])  # its head can be read
    with pytest.raises(Exception, match=r".") as caught:
        read(spark, path)
    code, message = explain(caught.value, str(tmp_path / name[:3]))  # not below a folder whose name begins alike
    assert code == 2
    assert message.startswith(f"{path} cannot be read to its end (")
    assert explain(caught.value, str(tmp_path))[0] == (2 if "jsonl" in name else 1)  # a file of a table is no manifest


class TestParquet:
    def test_types_as_pandas_and_others_write_them(
        self, spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        table = pa.table(
            {
                "uri": pa.array(["/a", "/b"]).dictionary_encode(),
                "image_id": pa.array([1.0, None]),
                "captured_at": pa.array([1_700_000_000_123_456_789, -1], pa.timestamp("ns")),
                "partition": pa.array([dt.date(2026, 11, 1)] * 2),
                "byte_size": pa.array([123, 2**64 - 1], pa.uint64()),
                "deleted": pa.array([0.0, float("nan")], from_pandas=False),
                "scope": pa.array([b"me", None], pa.large_binary()),
                "half": pa.array(np.array([1, 2], np.float16)),
                "clock": pa.array([1, 2], pa.time64("ns")),
                "wide": pa.array([1, 2]).cast(pa.decimal256(60, 2)),
                "nested": pa.array(
                    [{"t": 1, "x": [1]}, None], pa.struct({"t": pa.timestamp("ns"), "x": pa.list_(pa.int8())})
                ),
                "deep": pa.array([{"h": 1}, None], pa.struct({"h": pa.float16()})),
                "nothing": pa.nulls(2),
                "score": pa.array([1.0, 0.5]),
            }
        )
        pq.write_table(table, tmp_path / "m.parquet")
        caplog.set_level("WARNING", "dupelake")
        raw = read_manifests(spark, [str(tmp_path / "m.parquet")], ManifestConfig())
        first, second = sorted(normalise(raw, ManifestConfig()).collect(), key=lambda row: str(row["uri"]))
        assert (first["image_id"], first["partition"], first["scope"]) == ("1", "2026-11-01", "me")
        assert first["captured_at"] == dt.datetime(2023, 11, 14, 22, 13, 20, 123_456)
        assert first["marks"] == {"byte_size": "123"}
        assert first["extra"] == {"nested": '{"t":1,"x":[1]}', "score": "1.0"}
        assert second["captured_at"] == dt.datetime(1969, 12, 31, 23, 59, 59, 999_999)
        assert len(second["image_id"]) == 32
        assert second["marks"] == {"byte_size": str(2**64 - 1)}
        assert second["extra"] == {"score": "0.5"}, "NaN in `deleted` says nothing"
        assert all(f"{name} (" in caplog.text for name in ("half", "clock", "wide", "deep"))

    def test_columns_and_types_that_change_from_file_to_file(self, spark: SparkSession, tmp_path: Path) -> None:
        for name, ids in {
            "1": pa.array([7]),
            "2": pa.array(["x7"]),
            "3": pa.array([7.0]),
            "4": pa.array([b"y"]),
        }.items():
            pq.write_table(
                pa.table({"uri": [f"/{name}"], "image_id": ids}), put(tmp_path / f"partition={name}" / "m.parquet")
            )
        pq.write_table(
            pa.table({"uri": ["/5"], "half": np.array([1], np.float16)}), put(tmp_path / "partition=5" / "m.pq")
        )
        got = {row["uri"]: (row.get("image_id"), row["partition"]) for row in read(spark, tmp_path)}
        assert got == {"/1": ("7", "1"), "/2": ("x7", "2"), "/3": ("7", "3"), "/4": ("y", "4"), "/5": (None, "5")}

    @pytest.mark.parametrize("name", ["image_id", "Scope "])
    def test_a_needed_column_that_cannot_be_read_is_named(self, spark: SparkSession, tmp_path: Path, name: str) -> None:
        pq.write_table(pa.table({"uri": ["/a"], name: pa.array([b"0" * 16], pa.uuid())}), tmp_path / "m.parquet")
        with pytest.raises(ManifestError, match=f"m.parquet: columns of types that cannot be read .{name}: .*UUID"):
            read(spark, tmp_path / "m.parquet")


class TestTrees:
    def test_a_warehouse_and_other_tables_among_the_images_are_left_out(
        self, spark: SparkSession, tmp_path: Path
    ) -> None:
        for root in (tmp_path, tmp_path / "wh"):  # beside the images, and in a folder of its own
            for table in ("images", "runs"):
                deltalake.write_deltalake(
                    root / table, pa.table({"uri": ["/b"], "partition": ["1"]}), partition_by=["partition"]
                )
            for name in ("_staging/run/001-step/part-0.parquet", "_lock.json", "_lock.json.77.1"):
                put(root / name)
        kept = [put(tmp_path / name) for name in ("a.jpg", "wh/b.jpg", "other/_staging/c.jpg", "other/images/d.jpg")]
        assert sorted(row["uri"] for row in read(spark, tmp_path)) == sorted(map(str, kept))
        link = f"dupelaketables{os.getpid()}"
        spark.sparkContext._jsc.hadoopConfiguration().set(f"fs.viewfs.mounttable.{link}.link./p", tmp_path.as_uri())
        got = {row["uri"] for row in read(spark, f"viewfs://{link}/p")}
        assert got == {f"viewfs://{link}/p/{name}" for name in ("a.jpg", "wh/b.jpg", "other/images/d.jpg")}

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
            ("m.csv", "link,n\n/a,1\n", r"no column `uri` .*; its columns are \['link', 'n'\]"),
            ("m.csv", "url,path\n/a,1\n", r"url, path; choose one: --set manifest\.image_column=url"),
            ("m.csv", "", "no header line"),
            ("m.csv", "\n\nlink\n/a\n", "no column `uri`"),
            ("m.json", '{"uri": "/a", "URI": "/b"}\n', "(?i)uri"),
            ("m.json", '{"link": "/a"}\n', "no column `uri`"),
            ("m.json", "7\n", "must be objects"),
            ("m.json", "", "is empty"),
            ("sub/a.parquet", "", r"sub/a\.parquet cannot be read as parquet"),
            ("m.parquet", "not parquet", "cannot be read as parquet"),
            ("m.dat", "x", "cannot tell the format"),
            ("sub/a.csv", "link\n/a\n", "no column `uri`"),
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
        with pytest.raises(ManifestError, match="does not exist"):
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
