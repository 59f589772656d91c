"""The column that holds the URIs: `uri`, or `url`, `path`, `file_name`, or the one that an option names."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from dupelake.config import ManifestConfig
from dupelake.errors import ManifestError
from dupelake.ingest.manifest_cells_stage import EXTRA
from dupelake.ingest.manifest_names import check_columns, find_uri_column
from dupelake.ingest.manifests import read_manifests


def found(spark: SparkSession, path: Path, uri_column: str = "") -> list[tuple[str, str | None]]:
    rows = read_manifests(spark, [str(path)], ManifestConfig(image_column=uri_column)).collect()
    return sorted((row["uri"], row[EXTRA]) for row in rows)


@pytest.mark.parametrize(
    ("names", "asked", "name"),
    [
        (["uri", "url", "path"], "", "uri"),
        (["n", " URL "], "", " URL "),
        (["File_Name"], "", "File_Name"),
        (["path", "url"], "", None),
        (["path", "url"], "URL", "url"),
        (["image"], "", None),
        (["image"], "image", "image"),
        (["uri", "image"], "image", None),
        (["url"], "image", None),
    ],
)
def test_one_certain_column(names: list[str], asked: str, name: str | None) -> None:
    assert find_uri_column(names, asked) == name
    if name is None:
        with pytest.raises(ManifestError, match=r"manifest\.image_column"):
            check_columns(names, "m.csv", asked)
    else:
        check_columns(names, "m.csv", asked)


@pytest.mark.parametrize("name", ["url", "path", "file_name", "URL"])
def test_every_format_takes_it(spark: SparkSession, tmp_path: Path, name: str) -> None:
    wanted = [(f"{tmp_path}/a.jpg", '{"n":"1"}'), ("https://e.org/b.jpg", '{"n":"2"}')]
    rows = [{name: "a.jpg", "n": "1"}, {name: "https://e.org/b.jpg", "n": "2"}]
    text = f"n;{name}\n" + "".join(f"{row['n']};{row[name]}\n" for row in rows)
    (tmp_path / "m.csv").write_text(text)
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    for file in ("m.csv", "m.csv.gz", "m.jsonl", "m.parquet"):
        got = [(uri, extra and extra.replace('": "', '":"')) for uri, extra in found(spark, tmp_path / file)]
        assert got == wanted, file
    absolute = [{**row, name: f"{tmp_path}/a.jpg" if row[name] == "a.jpg" else row[name]} for row in rows]
    spark.createDataFrame(absolute).write.format("delta").save(str(tmp_path / "delta"))
    assert found(spark, tmp_path / "delta") == wanted


def test_files_of_a_folder_may_differ_and_an_option_names_any_column(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("uri,url\na.jpg,https://e.org/a\n")
    (tmp_path / "b.csv").write_text("url\nhttps://e.org/b\n")
    assert [uri for uri, _ in found(spark, tmp_path)] == [f"{tmp_path}/a.jpg", "https://e.org/b"]
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "m.csv").write_text("path,url\nx.jpg,https://e.org/x\n")
    assert [uri for uri, _ in found(spark, tmp_path / "c", "url")] == ["https://e.org/x"]
    with pytest.raises(ManifestError, match="no column `image`"):
        found(spark, tmp_path / "c", "image")
