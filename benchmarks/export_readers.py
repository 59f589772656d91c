"""Reads exports with the tools that they are for: `python export_readers.py TOOL FOLDER`, in the Python of a tool.

The folder has the files of benchmarks/export.py. Each reader compares with the removal list, which pyarrow or Python
itself reads, and prints what it found.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import tarfile
import uuid
from io import BytesIO
from pathlib import Path


def removable(folder: Path) -> set[str]:
    with (folder / "jsonl").open(encoding="utf-8") as file:
        return {json.loads(line)["path"] for line in file}


def lists(folder: Path) -> str:
    import duckdb
    import polars

    expected = removable(folder)
    with (folder / "csv").open(newline="", encoding="utf-8") as file:
        assert {row["path"] for row in csv.DictReader(file)} == expected
    assert set(polars.read_parquet(folder / "parquet")["path"]) == expected
    (found,) = duckdb.sql(f"SELECT count(*) FROM read_csv('{folder}/csv')").fetchall()  # noqa: S608
    assert found == (len(expected),)
    return f"csv, duckdb and polars read {len(expected)} rows"


def dupe_scanner(folder: Path) -> str:
    """The tool has no reader: its own output is read by json."""
    groups = json.loads((folder / "dupe-scanner").read_text(encoding="utf-8"))
    assert {path for files in groups.values() for path in files[1:]} == removable(folder)
    return f"{len(groups)} groups"


def imagededup(folder: Path) -> str:
    from imagededup.evaluation import evaluate
    from imagededup.utils.general_utils import get_files_to_remove

    text = (folder / "imagededup").read_text(encoding="utf-8")
    found = {name: [tuple(pair) for pair in pairs] for name, pairs in json.loads(text).items()}
    assert set(get_files_to_remove(found)) == removable(folder)
    plain = {name: [other for other, _ in pairs] for name, pairs in found.items() if pairs}
    metrics = evaluate(plain, plain, metric="map")
    return f"{len(found)} files, {len(removable(folder))} to remove; evaluate against itself: {metrics}"


def datasets(folder: Path) -> str:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from datasets import load_dataset

    files = str(folder / "datasets")
    found = load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "cache"))
    kept = found.filter(lambda row: not row["is_removable"])
    assert set(found["file_name"]) - set(kept["file_name"]) == removable(folder)
    return f"{found.num_rows} rows, {kept.num_rows} stay"


def fiftyone(folder: Path) -> str:
    import fiftyone as fo
    import pyarrow.parquet as pq

    fields = pq.read_table(folder / "fiftyone")
    paths = fields["filepath"].to_pylist()
    dataset = fo.Dataset(str(uuid.uuid4()))
    dataset.add_samples([fo.Sample(filepath=path) for path in paths], progress=False)
    for name in fields.column_names[1:]:
        values = {path: value for path, value in zip(paths, fields[name].to_pylist(), strict=True) if value is not None}
        if values:  # FiftyOne makes no field without a value
            dataset.set_values(name, values, key_field="filepath")
    gone = dataset.match(fo.ViewField("is_removable"))
    assert set(gone.values("filepath")) == removable(folder)
    told = f"{len(dataset)} samples, {len(gone)} removable, {len(dataset.distinct('group_id'))} groups"
    dataset.delete()
    return told


def webdataset(folder: Path) -> str:
    """Shards with the keys of the warehouse, one small member each; read without the copies."""
    import webdataset as wds

    with (folder / "webdataset").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    gone = {Path(path).stem.removeprefix("image ") for path in removable(folder)}
    shards = folder / "shards"
    shards.mkdir()
    for line in lines:
        first = int(line["url"].removeprefix("train-").removesuffix(".tar")) * 1000
        named = {*line["keep"], *(f"{n:08}" for n in range(first, first + 1000) if f"{n:08}" in gone)}
        with tarfile.open(shards / line["url"], "w") as tar:
            for key in sorted(named):
                entry = tarfile.TarInfo(f"{key}.txt")
                entry.size = 1
                tar.addfile(entry, BytesIO(b"x"))
    keep = {(str(shards / line["url"]), key) for line in lines for key in line["keep"]}
    read = wds.WebDataset([str(shards / line["url"]) for line in lines], shardshuffle=False)
    n_all = n_kept = 0
    for sample in read:
        n_all += 1
        if (sample["__url__"], sample["__key__"]) in keep:
            n_kept += 1
            assert sample["__key__"] not in gone
    assert n_all - n_kept == len(gone)
    return f"{len(lines)} shards, {n_all} samples, {n_kept} stay"


TOOLS = {
    "lists": lists,
    "dupe-scanner": dupe_scanner,
    "imagededup": imagededup,
    "datasets": datasets,
    "fiftyone": fiftyone,
    "webdataset": webdataset,
}

if __name__ == "__main__":
    print(TOOLS[sys.argv[1]](Path(sys.argv[2])))
