"""Files for other tools, read back by the tools themselves where they are installed (benchmarks/export.md has all)."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import uuid
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from exported import IDENTICAL, VERIFIED, export, members_in, picture, with_columns
from grouped_lake import Member, copy, keeper, make_lake, written


def uris(members: list[Member], ids) -> set[str]:
    return {one.uri for one in members if one.image_id in ids}


def test_dupe_scanner_gets_keepers_with_what_may_go(lake, tmp_path, members):
    found = json.loads(export("dupe-scanner", lake, tmp_path / "x.json").read_text(encoding="utf-8"))
    assert list(found) == ["group-1", "group-2", "group-3", "group-4"]
    assert {files[0] for files in found.values()} == uris(members, {"k1", "k2", "k3", "k4"})
    assert {name for files in found.values() for name in files[1:]} == uris(members, VERIFIED)
    whole = json.loads(export("dupe-scanner", lake, tmp_path / "x.json", "--members", "all").read_text("utf-8"))
    assert {name for files in whole.values() for name in files} == uris(
        members, {o.image_id for o in members if o.group}
    )
    strict = json.loads(export("dupe-scanner", lake, tmp_path / "x.json", "--tier", "identical").read_text("utf-8"))
    assert {name for files in strict.values() for name in files[1:]} == uris(members, IDENTICAL)


def test_files_without_groups_are_files(tmp_path):
    lake = make_lake(tmp_path / "lake", [Member("s", "/a.png", b"1")])
    assert json.loads(export("dupe-scanner", lake, tmp_path / "x").read_text()) == {}
    assert json.loads(export("imagededup", lake, tmp_path / "x").read_text()) == {"/a.png": []}
    assert pq.read_table(export("fiftyone", lake, tmp_path / "x")).num_rows == 0
    assert pq.read_table(export("datasets", lake, tmp_path / "x"))["file_name"].to_pylist() == ["/a.png"]
    assert export("immich", lake, tmp_path / "x").read_text() == ""


def duplicate_map(path: Path) -> dict[str, list[tuple[str, float]]]:
    """As docs/export.md reads it."""
    return {name: [tuple(pair) for pair in pairs] for name, pairs in json.loads(path.read_text("utf-8")).items()}


@pytest.mark.parametrize("more", [(), ("--members", "all")], ids=["removable", "all"])
def test_the_map_of_imagededup_has_each_pair_twice_and_each_file_once(lake, tmp_path, members, more):
    found = duplicate_map(export("imagededup", lake, tmp_path / "x.json", *more))
    assert set(found) == {one.uri for one in members if one.image_id not in ("f1", "d1")}
    assert {(a, b, score) for a in found for b, score in found[a]} == {(b, a, s) for a in found for b, s in found[a]}
    assert all(a != b for a in found for b, _ in found[a])
    (first,) = uris(members, {"k1"})
    assert [score for _, score in found[first]] == ([1.0, 0.97, 0.9, 0.8] if more else [1.0, 0.97])
    assert len(found[str(tmp_path / "pictures" / "shared.png")]) == 2  # the keepers of both its scopes


def test_names_that_are_not_utf8_come_back_as_python_lists_them(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.png"
    members = written(
        [keeper("k", str(tmp_path / "k.png"), b"1", "g"), copy("c", f"file://{tmp_path}/%FF.png", b"1", "g")]
    )
    lake = make_lake(tmp_path / "lake", members)
    (files,) = json.loads(export("dupe-scanner", lake, tmp_path / "x.json").read_text()).values()
    assert os.fsencode(files[1]) == name
    assert Path(files[1]).read_bytes() == b"1"


def test_imagededup_reads_it(lake, tmp_path, members):
    pytest.importorskip("imagededup", reason="imagededup is not installed: pip install imagededup")
    from imagededup.evaluation import evaluate
    from imagededup.utils import plot_duplicates
    from imagededup.utils.general_utils import get_files_to_remove

    folder = tmp_path / "pictures"
    found = duplicate_map(export("imagededup", lake, tmp_path / "x.json", "--folder", str(folder)))
    assert set(get_files_to_remove(found)) == {str(Path(uri).relative_to(folder)) for uri in uris(members, VERIFIED)}
    plain = {name: [other for other, _ in pairs] for name, pairs in found.items()}
    metrics = evaluate(plain, plain, metric="all")
    assert (metrics["map"], metrics["jaccard"]) == (1.0, 1.0)
    plot_duplicates(folder, found, "one/a.png", outfile=str(tmp_path / "plot.png"))
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_columns_say_what_groups_say(lake, tmp_path, members):
    fields = pq.read_table(export("fiftyone", lake, tmp_path / "x.parquet")).to_pylist()
    everything = pq.read_table(export("datasets", lake, tmp_path / "y.parquet")).to_pylist()
    assert len(fields) == len({row["filepath"] for row in fields}) == 11  # shared.png is one file of two images
    assert {row["filepath"] for row in fields if row["is_removable"]} == uris(members, VERIFIED)
    assert {row["file_name"] for row in everything if row["is_removable"]} == uris(members, VERIFIED)
    assert {row["file_name"] for row in everything} - {row["filepath"] for row in fields} == uris(members, {"s1"})
    by_name = {row["filepath"]: row for row in fields}
    one = by_name[str(tmp_path / "pictures" / "two" / "=HYPERLINK(1).jpg")]
    assert one | {"reason": ""} == {
        "filepath": str(tmp_path / "pictures" / "two" / "=HYPERLINK(1).jpg"),
        "group_id": "g1", "relation": "copy", "is_removable": True, "tier": "verified", "score": 0.97, "kind": "near",
        "keeper": str(tmp_path / "pictures" / "one" / "a.png"), "reason": "",
    }  # fmt: skip
    (single,) = [row for row in everything if row["file_name"].endswith("single.png")]
    assert (single["is_removable"], single["group_id"], single["keeper"]) == (False, None, None)


def test_datasets_reads_it(lake, tmp_path, members, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install 'dupelake[test]'")
    out = export("datasets", lake, tmp_path / "x.parquet")
    found = datasets.load_dataset("parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    kept = found.filter(lambda row: not row["is_removable"])
    assert set(found["file_name"]) - set(kept["file_name"]) == uris(members, VERIFIED)
    shown = kept.rename_column("file_name", "image").cast_column("image", datasets.Image())
    assert all(row["image"].size == (8, 8) for row in shown)
    folder = tmp_path / "pictures"
    for name in ("broken.png", "deleted.png"):  # the other files that are no images of the night
        (folder / name).unlink(missing_ok=True)
    export("datasets", lake, folder / "metadata.parquet", "--folder", str(folder))
    seen = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(seen["is_removable"]) == sorted(found["is_removable"])
    assert {row["group_id"] for row in seen if row["is_removable"]} == {"g1", "g2", "g3"}


def test_fiftyone_reads_it(lake, tmp_path, members):
    pytest.importorskip("fiftyone", reason="FiftyOne is not installed: pip install fiftyone")
    if "FIFTYONE_DATABASE_URI" not in os.environ:
        pytest.skip("FiftyOne needs a MongoDB: set FIFTYONE_DATABASE_URI")
    import fiftyone

    files = sorted({one.uri for one in members if one.data is not None})
    dataset = fiftyone.Dataset(f"dupelake-{uuid.uuid4()}")
    dataset.add_samples([fiftyone.Sample(filepath=path) for path in files])
    fields = pq.read_table(export("fiftyone", lake, tmp_path / "x.parquet"))
    paths = fields["filepath"].to_pylist()
    for name in fields.column_names[1:]:
        values = {path: value for path, value in zip(paths, fields[name].to_pylist(), strict=True) if value is not None}
        dataset.set_values(name, values, key_field="filepath")
    gone = dataset.match(fiftyone.ViewField("is_removable"))
    assert set(gone.values("filepath")) == uris(members, VERIFIED)
    assert set(dataset.match(fiftyone.ViewField("relation") == "alternate").values("filepath")) == uris(
        members, {"alt1"}
    )
    (score,) = dataset.match(fiftyone.ViewField("tier") == "copies").values("score")
    assert score == 0.9
    dataset.delete()


def immich_world(tmp_path: Path, *, in_column: bool) -> tuple[Path, dict[str, str]]:
    """The warehouse of a manifest that names immich's assets; and image ids by asset."""
    members = with_columns(members_in(tmp_path), "train.tar")
    names = {one.extra["asset"]: one.image_id for one in members}
    if not in_column:
        members = [replace(one, image_id=one.extra["asset"]) for one in members]
    return make_lake(tmp_path / "lake", members, "verified"), names


@pytest.mark.parametrize("in_column", [False, True])
def test_immich_gets_duplicate_ids_and_what_to_trash(tmp_path, in_column):
    lake, names = immich_world(tmp_path, in_column=in_column)
    out = export("immich", lake, tmp_path / "x.jsonl", *(["--id-column", "asset"] if in_column else []))
    groups = [json.loads(line) for line in out.read_text().splitlines()]
    assert [len(body["ids"]) for body in groups] == [5, 3, 2, 2]
    assert all(uuid.UUID(body["duplicateId"]).version == 5 for body in groups)
    ends = [json.loads(line)["groups"] for line in (tmp_path / "x-resolve.jsonl").read_text().splitlines()]
    for body, (group,) in zip(groups, ends, strict=True):
        assert group["duplicateId"] == body["duplicateId"]
        assert sorted(group["keepAssetIds"] + group["trashAssetIds"]) == sorted(body["ids"]), (
            "immich asks for each once"
        )
        assert group["keepAssetIds"]
    assert {names[asset] for (group,) in ends for asset in group["trashAssetIds"]} == VERIFIED


def test_immich_without_ids_of_assets_is_refused(lake, tmp_path, capsys):
    out = export("immich", lake, tmp_path / "x.jsonl", code=2)
    assert "--id-column: image_id has no UUIDs" in capsys.readouterr().err
    assert not out.exists()
    assert not (tmp_path / "x-resolve.jsonl").exists()


def test_immichs_client_sends_it(tmp_path):
    """With the client that immich publishes, to a server of the test that records what arrives."""
    if "IMMICH_SDK" not in os.environ:
        pytest.skip("immich's client is absent: npm install @immich/sdk, and set IMMICH_SDK to that folder")
    lake, names = immich_world(tmp_path, in_column=False)
    out = export("immich", lake, tmp_path / "x.jsonl")
    bodies: list[tuple[str, dict]] = []

    class Server(BaseHTTPRequestHandler):
        def do_PUT(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append((f"{self.command} {self.path}", body))
            self.send_response(204 if self.command == "PUT" else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            if self.command == "POST":
                self.wfile.write(b"[]")

        do_POST = do_PUT

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    script = """
import { init, updateAssets, resolveDuplicates } from '@immich/sdk';
import { readFileSync } from 'node:fs';
const [url, ids, ends] = process.argv.slice(2);
const lines = (path) => readFileSync(path, 'utf8').split('\\n').filter(Boolean).map((line) => JSON.parse(line));
init({ baseUrl: url, apiKey: 'key' });
for (const assetBulkUpdateDto of lines(ids)) await updateAssets({ assetBulkUpdateDto });
for (const duplicateResolveDto of lines(ends)) await resolveDuplicates({ duplicateResolveDto });
"""
    sender = Path(os.environ["IMMICH_SDK"]) / f"send-{os.getpid()}.mjs"
    sender.write_text(script)
    try:
        url = f"http://127.0.0.1:{server.server_port}/api"
        subprocess.run(["node", sender, url, out, tmp_path / "x-resolve.jsonl"], check=True, timeout=60)
    finally:
        sender.unlink()
        server.shutdown()
    assert [where for where, _ in bodies] == ["PUT /api/assets"] * 4 + ["POST /api/duplicates/resolve"] * 4
    assert {names[asset] for _, body in bodies[4:] for asset in body["groups"][0]["trashAssetIds"]} == VERIFIED


def samples(tmp_path: Path) -> tuple[list[Member], dict[str, list[str]]]:
    """Samples of three shards; and the keys that stay."""
    spec = {
        "train-000.tar": ["a:k", "b:c", "sub/c:", "d:failed"],
        "train-001.tar": ["a:c", "e:c"],
        "train-002.tar": ["é f:", "g:c+k"],
    }
    members, number = [], 0
    for shard, keys in spec.items():
        for name in keys:
            key, _, roles = name.partition(":")
            for role in roles.split("+"):
                number += 1
                extra, data = {"shard": str(tmp_path / shard), "key": key}, picture(number)
                place = (f"i{number}", f"s3://b/{shard}/{number}.png", None if role == "failed" else data)
                made = {"k": keeper, "c": copy}.get(role)
                group = {} if made is None else {"group": "g"}
                members.append((made or Member)(*place, *group.values(), extra=extra))
    stays = {"train-000.tar": ["a", "d", "sub/c"], "train-002.tar": ["g", "é f"]}
    return [replace(m, relation="copy") if m.image_id != "i1" and m.group else m for m in members], stays


def test_shards_without_the_copies(tmp_path, capsys):
    members, stays = samples(tmp_path)
    lake = make_lake(tmp_path / "lake", [*members, Member("x", "/no/shard.png", b"x")])
    lines = map(json.loads, export("webdataset", lake, tmp_path / "x.jsonl").read_text("utf-8").splitlines())
    found = {Path(line["url"]).name: line for line in lines}
    assert {name: line["keep"] for name, line in found.items()} == stays
    assert [line["nsamples"] for line in found.values()] == [3, 2]
    told = capsys.readouterr()
    assert "5 samples stay, in 2 of 3 shards; 3 go" in told.out
    assert "1 images have no shard or no key and are left out" in told.err
    export("webdataset", lake, tmp_path / "y.jsonl", "--key-column", "nothing", code=2)
    assert "--key-column nothing: no image has both" in capsys.readouterr().err


def test_webdataset_reads_it(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed: pip install 'dupelake[test]'")
    members, stays = samples(tmp_path)
    shards: dict[str, dict[str, list[Member]]] = {}
    for one in members:
        shards.setdefault(one.extra["shard"], {}).setdefault(one.extra["key"], []).append(one)
    for shard, keys in shards.items():
        with webdataset.TarWriter(shard) as writer:
            for key, images in keys.items():
                data = {f"{i}.png": one.data or b"broken" for i, one in enumerate(images)}
                writer.write({"__key__": key, **data})
    out = export("webdataset", make_lake(tmp_path / "lake", members), tmp_path / "x.jsonl")
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    keep = {(line["url"], key) for line in lines for key in line["keep"]}
    read = webdataset.WebDataset([line["url"] for line in lines], shardshuffle=False)
    found: dict[str, list[str]] = {}
    for sample in read.select(lambda sample: (sample["__url__"], sample["__key__"]) in keep):
        found.setdefault(Path(sample["__url__"]).name, []).append(sample["__key__"])
    assert {shard: sorted(keys) for shard, keys in found.items()} == stays
