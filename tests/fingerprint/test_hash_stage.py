"""The hash stage in Spark: names, failures as rows, fetched bytes, counts, batches."""

from __future__ import annotations

import collections
import datetime
import errno
import functools
import io
import os
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from dupelake import cli
from dupelake.config import Config, DecodeConfig, FeaturesConfig, FetchConfig, HashConfig
from dupelake.errors import VersionMixError
from dupelake.fingerprint.fingerprint import content_id, fingerprint_image
from dupelake.fingerprint.hashing import hash_version
from dupelake.fingerprint.isolate import Guard
from dupelake.fingerprint.stage import HASHED, _mapper, hash_images, read_local
from dupelake.ingest.access import Access
from dupelake.ingest.fetch_stage import FETCHED
from dupelake.pipeline import hash as job
from dupelake.pipeline import vocabulary as vocabulary_job
from dupelake.pipeline.options import HashOptions
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import FEATURES, GROUPS, HASHES, IMAGES, MANIFEST, RUNS
from dupelake.warehouse.tables import Warehouse
from dupelake.words.keypoints import extract_features
from dupelake.words.vocabulary import feature_version, load_vocabulary
from dupelake.words.vocabulary_training import train_vocabulary

INPUT = T.StructType([*MANIFEST.fields, T.StructField("attempts", T.IntegerType()), T.StructField("fetched", FETCHED)])
NAMES = [
    "plain.png",
    "with space.png",
    "100%.png",
    "50%20off.png",
    "a#b.png",
    "what?.png",
    "ünïcode 猫.png",
    "a:b.png",
    "quote'\".png",
    "back\\slash.png",
    "emoji 🐈.png",
]


def png(seed: int, side: int = 90) -> bytes:
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8))
    out = io.BytesIO()
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def manifest(spark: SparkSession, rows: list[dict]):
    full = [
        {
            "image_id": f"i{at}",
            "partition": "2026-01-01",
            "scope": "s",
            "captured_at": None,
            "extra": {"k": "v"},
            "reason": None,
            "error_message": None,
            "marks": None,
            "last_partition": "2026-01-01",
            "source": "m",
            "is_deleted": False,
            "n_rows": 1,
            "place": None,
            "attempts": 0,
            "fetched": None,
            **row,
        }
        for at, row in enumerate(rows)
    ]
    return spark.createDataFrame([tuple(row[name] for name in INPUT.fieldNames()) for row in full], INPUT)


def run(spark: SparkSession, rows: list[dict], cfg: Config = Config()) -> list[Row]:  # noqa: B008 - frozen
    hashed = hash_images(manifest(spark, rows).repartition(2), cfg, ["/"])
    return sorted(hashed.collect(), key=lambda r: int(r.image_id[1:]))


def test_schema_is_that_of_the_tables():
    names = HASHED.fieldNames()
    for table, left_out in (
        (IMAGES, {"ingested_at", "deleted_at", "deleted_reason"}),
        (HASHES, {"content_id"}),
        (FEATURES, {"content_id", "error_message"}),
    ):
        for field in table.schema.fields:
            if field.name not in left_out:
                assert HASHED[field.name].dataType == field.dataType
    assert {"thumbnail_bytes", "thumbnail_width_px", "thumbnail_height_px", "features_error"} < set(names)


def test_names_survive(spark, tmp_path: Path):
    rows, expected = [], []
    for seed, name in enumerate(NAMES):
        path = tmp_path / name
        path.write_bytes(png(seed))
        for uri in (str(path), f"file://{quote(str(path))}", f"file:{quote(str(path))}"):
            rows.append({"uri": uri})
            expected.append(fingerprint_image(png(seed), DecodeConfig(), HashConfig()))
    (tmp_path / "link.png").symlink_to(tmp_path / NAMES[3])
    rows.append({"uri": str(tmp_path / "link.png")})
    expected.append(expected[9])
    literal = tmp_path / "not%20encoded.png"  # a file: URI that someone pasted together without encoding it
    literal.write_bytes(png(0))
    rows.append({"uri": f"file://{literal}"})
    expected.append(expected[0])
    got = run(spark, rows)
    assert len(got) == len(rows)
    for row, want, given in zip(got, expected, rows, strict=True):
        assert (row.status, row.reason, row.error_message, row.uri) == ("ok", None, None, given["uri"])
        for name, value in vars(want).items():
            assert row[name] == value, (given, name)
        assert (row.partition, row.scope, row.extra) == ("2026-01-01", "s", {"k": "v"})
        assert (row.hash_version, row.feature_version) == (hash_version(Config()), feature_version(Config()))
        assert row.n_keypoints > 20
    files = [row.file_id for row in got]
    assert [files[at : at + 3].count(files[at]) for at in range(0, 3 * len(NAMES), 3)] == [3] * len(NAMES)
    assert (files[-2], len(set(files))) == (files[9], len(NAMES) + 1), "the link is its target, all others differ"


def test_failures_are_rows(spark, tmp_path: Path):
    good = png(1)
    files = {
        "good.png": good,
        "empty.png": b"",
        "text.txt": b"no image",
        "cut.png": good[: len(good) // 2],
        "big.png": good + bytes(200_000),
        "last.png": png(2),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "locked.png").write_bytes(good)
    (tmp_path / "locked.png").chmod(0)
    fetched = {"bytes": (good, None, None), "refused": (None, "missing", "no such object"), "none": (b"", None, None)}
    cases = [
        ({"uri": str(tmp_path / "good.png")}, None),
        ({"uri": str(tmp_path / "gone.png")}, "missing"),
        ({"uri": str(tmp_path / "good.png" / "below")}, "missing"),
        ({"uri": str(tmp_path / "dangling")}, "missing"),
        ({"uri": str(tmp_path / "folder")}, "not_a_file"),
        ({"uri": str(tmp_path / "pipe")}, "not_a_file"),
        ({"uri": str(tmp_path / "empty.png")}, "empty"),
        ({"uri": str(tmp_path / "text.txt")}, "undecodable"),
        ({"uri": str(tmp_path / "cut.png")}, "truncated"),
        ({"uri": str(tmp_path / "big.png")}, "too_large"),
        ({"uri": "nul\0byte.png"}, "unreadable"),
        ({"uri": "x" * 5000}, "unreadable"),
        ({"uri": None, "reason": "no_uri", "error_message": "the row has no uri"}, "no_uri"),
        ({"uri": str(tmp_path / "good.png"), "reason": "repeated_id", "error_message": "other uri"}, "repeated_id"),
        ({"uri": "s3a://bucket/a.png", "fetched": fetched["bytes"]}, None),
        ({"uri": "s3a://bucket/b.png", "fetched": fetched["refused"]}, "missing"),
        ({"uri": "s3a://bucket/c.png", "fetched": fetched["none"]}, "empty"),
        ({"uri": "s3a://bucket/d.png"}, "unreadable"),
        ({"uri": str(tmp_path / "last.png")}, None),
    ]
    if os.geteuid() != 0:
        cases.append(({"uri": str(tmp_path / "locked.png")}, "unreadable"))
    cfg = Config(decode=DecodeConfig(max_bytes=150_000))
    got = run(spark, [row for row, _ in cases], cfg)
    assert len(got) == len(cases)
    for row, (given, reason) in zip(got, cases, strict=True):
        assert row.reason == reason, (given, row.error_message)
        assert row.status == ("failed" if reason else "ok")
        if reason:
            assert row.error_message
            assert all(
                row[name] is None
                for name in (
                    "phash",
                    "pdq",
                    "pixel_digest",
                    "hash_version",
                    "width_px",
                    "thumbnail_bytes",
                    "is_low_information",
                    "n_keypoints",
                    "words",
                    "feature_version",
                )
            )
    assert len(got[8].content_id) == 32  # truncated, but read
    assert got[8].byte_size == len(files["cut.png"])
    assert got[9].byte_size == len(files["big.png"])
    assert got[1].content_id is None
    assert got[14].content_id == got[0].content_id


def one_batch(path: Path, n: int) -> pa.RecordBatch:
    """The input batch of the mapper for `n` rows of one local file."""
    row = {"uri": str(path), "partition": "p", "scope": ""}
    fetched = pa.struct([("data", pa.binary()), ("reason", pa.string()), ("message", pa.string())])
    texts = ("image_id", "uri", "partition", "scope", "reason", "error_message", "source")
    others = {
        "captured_at": pa.timestamp("us", "UTC"),
        "extra": pa.map_(pa.string(), pa.string()),
        "marks": pa.map_(pa.string(), pa.string()),
        "attempts": pa.int32(),
        "fetched": fetched,
        "place": pa.struct([("file", pa.string())]),
    }
    schema = pa.schema([*((name, pa.string()) for name in texts), *others.items()])
    return pa.RecordBatch.from_pylist(
        [dict.fromkeys(schema.names) | row | {"image_id": str(at)} for at in range(n)], schema
    )


def test_output_batches_are_bounded_in_bytes(tmp_path: Path):
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)).save(path)
    cfg = Config(hash=HashConfig(batch_bytes=1 << 20))
    out = list(_mapper(cfg, ["/"])(iter([one_batch(path, 24)])))
    assert len(out) > 2
    assert max(b.nbytes for b in out) < 1.5 * (1 << 20)
    assert [i for b in out for i in b.column("image_id").to_pylist()] == [str(at) for at in range(24)]
    assert list(_mapper(cfg, ["/"])(iter([]))) == []
    flat = tmp_path / "flat.png"  # a thumbnail of some KB, so that features fill a batch
    Image.fromarray(
        np.kron(np.random.default_rng(0).integers(0, 2, (32, 32), np.uint8) * 255, np.ones((10, 10))).astype(np.uint8)
    ).save(flat)
    (some,) = _mapper(cfg, ["/"])(iter([one_batch(flat, 1)]))
    weight = sum(len(some.column(name)[0].as_py()) for name in ("thumbnail_bytes", "keypoints", "descriptors", "words"))
    assert len(some.column("descriptors")[0].as_py()) > len(some.column("thumbnail_bytes")[0].as_py())
    first = next(_mapper(cfg, ["/"])(iter([one_batch(flat, 40)])))
    assert abs(first.num_rows - (1 << 20) / (weight + 512)) < 2


def test_names_that_are_not_utf_8_may_be_in_the_message_of_a_failure(tmp_path: Path):
    name = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(name)
    os.symlink(os.fsencode(tmp_path) + b"/gone\xe9.jpg", name + b".jpg")
    (tmp_path / "in").mkdir()
    Path(os.fsdecode(name + b".png")).write_bytes(png(1))
    os.symlink(name + b".png", tmp_path / "in" / "link.png")
    for uri, roots, reason in (
        (f"file://{tmp_path}/gone%E9.jpg", ["/"], "missing"),
        (f"file://{tmp_path}/caf%E9.jpg", ["/"], "missing"),
        (f"file://{tmp_path}/caf%E9", ["/"], "not_a_file"),
        (f"file://{tmp_path}/in/link.png", [f"{tmp_path}/in"], "not_allowed"),
    ):
        batch = one_batch(Path("x"), 1)
        batch = batch.set_column(batch.schema.get_field_index("uri"), "uri", pa.array([uri]))
        (out,) = _mapper(Config(), roots)(iter([batch]))
        assert out.column("reason").to_pylist() == [reason], uri
        assert "\\udce9" in out.column("error_message").to_pylist()[0], uri


def test_equal_bytes_are_decoded_once_in_a_task(tmp_path: Path, monkeypatch):
    def counted(*args):
        with (tmp_path / "calls").open("a", encoding="utf-8") as file:  # it runs in the child
            file.write("x")
        return fingerprint_image(*args)

    monkeypatch.setattr("dupelake.fingerprint.stage.fingerprint_image", counted)
    (tmp_path / "a.png").write_bytes(png(1))
    (batch,) = _mapper(Config(), ["/"])(iter([one_batch(tmp_path / "a.png", 100)]))
    assert batch.num_rows == 100
    assert len(set(batch.column("pdq").to_pylist())) == 1
    assert (tmp_path / "calls").read_text() == "x"


def test_copies_of_a_crashing_image_cost_one_crash(tmp_path: Path, monkeypatch):
    forks = []

    def counted(guard):
        forks.append(1)
        return fork(guard)

    fork = Guard._fork
    monkeypatch.setattr(Guard, "_fork", counted)
    monkeypatch.setenv("DUPELAKE_BAD_IMAGE", "crash:poison")
    (tmp_path / "a.png").write_bytes(png(1) + b"poison")
    (batch,) = _mapper(Config(), ["/"])(iter([one_batch(tmp_path / "a.png", 20)]))
    assert set(batch.column("reason").to_pylist()) == {"crashed"}
    assert set(batch.column("content_id").to_pylist()) == {content_id(png(1) + b"poison")}
    assert len(forks) == 3  # the first, the second try, and one that knows these bytes


def test_local_storage_that_fails_for_a_moment(tmp_path: Path, monkeypatch):
    cfg = Access(FetchConfig(retries=2, backoff_ms=1), (str(tmp_path), "/proc"))
    refused = read_local("/proc/self/mem", "/proc/self/mem", 1000, cfg)  # reading address 0 gives EIO
    assert (refused.reason, "(tried 3 times)" in refused.message) == ("unreadable", True)
    (tmp_path / "a").write_bytes(b"x")
    faults = [errno.ESTALE, errno.EIO]

    def flaky(*args, **kwargs):
        if faults:
            raise OSError(faults.pop(), "for a moment")
        return open(*args, **kwargs)

    monkeypatch.setattr("dupelake.fingerprint.stage.open", flaky, raising=False)
    assert read_local(str(tmp_path / "a"), "a", 1000, cfg) == b"x"
    faults = [errno.EACCES]
    assert read_local(str(tmp_path / "a"), "a", 1000, cfg).reason == "unreadable", "rights do not come back in a second"


def test_failed_features_are_no_failed_row(tmp_path: Path, monkeypatch):
    def fail(*_args):
        raise ValueError("no features in this one")

    monkeypatch.setattr("dupelake.fingerprint.fingerprint.extract_features", fail)
    (tmp_path / "a.png").write_bytes(png(1))
    (batch,) = _mapper(Config(), ["/"])(iter([one_batch(tmp_path / "a.png", 1)]))
    (row,) = batch.to_pylist()
    assert (row["status"], row["reason"], row["error_message"]) == ("ok", None, None)
    assert row["features_error"] == "ValueError: no features in this one"
    assert (row["n_keypoints"], row["keypoints"], row["descriptors"]) == (0, b"", b"")
    assert row["pdq"]
    assert row["feature_version"]


def no_memory(*_args):
    raise MemoryError("no room")


def opencv_without_memory(*_args):
    error = cv2.error("Failed to allocate 99 bytes")
    error.code = cv2.Error.StsNoMem
    raise error


@pytest.mark.parametrize("short", [no_memory, opencv_without_memory])
def test_a_lack_of_memory_for_features_is_tried_again(tmp_path: Path, monkeypatch, short):
    """It is tried again in another child and in another night; otherwise the content would never have features."""
    found = extract_features

    def fail_once(*args):
        try:
            (tmp_path / "failed").touch(exist_ok=False)
        except FileExistsError:
            return found(*args)
        short()

    (tmp_path / "a.png").write_bytes(png(1))
    monkeypatch.setattr("dupelake.fingerprint.fingerprint.extract_features", fail_once)
    ((row,),) = (batch.to_pylist() for batch in _mapper(Config(), ["/"])(iter([one_batch(tmp_path / "a.png", 1)])))
    assert (tmp_path / "failed").exists()
    assert (row["status"], row["features_error"]) == ("ok", None)
    assert row["n_keypoints"] > 0
    monkeypatch.setattr("dupelake.fingerprint.fingerprint.extract_features", short)
    ((row,),) = (batch.to_pylist() for batch in _mapper(Config(), ["/"])(iter([one_batch(tmp_path / "a.png", 1)])))
    assert (row["status"], row["reason"]) == ("failed", "out_of_memory"), "which later nights try again"


@pytest.mark.long
def test_the_job_keeps_features(spark, tmp_path: Path, monkeypatch):
    pictures, where = tmp_path / "pictures", str(tmp_path / "wh")
    pictures.mkdir()
    for seed in range(3):
        (pictures / f"{seed}.png").write_bytes(png(seed))
    (pictures / "twin.png").write_bytes(png(0))
    Image.new("RGB", (300, 200), "grey").save(pictures / "flat.png")

    def broken(rows, cfg, paths):
        error = F.when(F.col("uri").endswith("/1.png"), F.lit("MemoryError: no room"))
        return hash_images(rows, cfg, paths).withColumn("features_error", error)

    warehouse = Warehouse(spark, where)
    with monkeypatch.context() as patch:
        patch.setattr(job, "hash_images", broken)
        assert job.main([str(pictures), "--warehouse", where]) == 0
    last = warehouse.read(RUNS).orderBy(F.desc("started_at")).first()
    assert (last.counts["hashed"], last.counts["contents_new"], last.counts["features_failed"]) == (5, 4, 1)
    assert last.versions["feature"] == feature_version(Config())
    rows = {row.content_id: row for row in warehouse.read(FEATURES).collect()}
    assert len(rows) == 4
    for seed in range(3):
        want = fingerprint_image(png(seed), DecodeConfig(), HashConfig())
        row = rows[want.content_id]
        assert (row.n_keypoints, row.keypoints, row.descriptors, row.words) == (
            want.n_keypoints, want.keypoints, want.descriptors, want.words)  # fmt: skip
        assert row.error_message == ("MemoryError: no room" if seed == 1 else None)
    flat = fingerprint_image((pictures / "flat.png").read_bytes(), DecodeConfig(), HashConfig())
    assert (rows[flat.content_id].n_keypoints, rows[flat.content_id].error_message) == (0, None)

    other = ["--set", "features.max_words=20"]
    cfg = Config(features=FeaturesConfig(max_words=20))
    run = Run("hash", cfg, warehouse)
    with pytest.raises(VersionMixError, match=f"features of version {feature_version(Config())}.*--full"):
        job.check(run, HashOptions((str(pictures),)))
    assert job.main([str(pictures), "--warehouse", where, *other, "--full"]) == 0
    after = warehouse.read(FEATURES)
    assert {r.feature_version for r in after.collect()} == {feature_version(cfg)}
    assert after.where("error_message IS NOT NULL").isEmpty()
    assert after.agg(F.max(F.length("words"))).first()[0] == 4 + 16 * 20


def test_the_vocabulary_command(spark, tmp_path: Path, monkeypatch, capsys):
    where, out = str(tmp_path / "wh"), tmp_path / "own.npz"
    call = ["vocabulary", "--warehouse", where, "--out", str(out)]
    assert cli.main([*call, "--images", "0"]) == 2
    assert cli.main(call) == 2
    assert "there is no such folder; run `dupelake run` first" in capsys.readouterr().err
    rng = np.random.default_rng(0)
    base = rng.integers(0, 120, (3000, 128), np.uint8)
    rows = [(f"{at:032x}", 400, b"", base[rng.integers(0, 3000, 400)].tobytes(), b"", None, "f") for at in range(120)]
    warehouse = Warehouse(spark, where)
    warehouse.append(FEATURES, spark.createDataFrame(rows, FEATURES.schema).repartition(3))
    assert cli.main([*call, "--images", "50"]) == 2
    assert "20000 descriptors are too few" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.setattr(vocabulary_job, "train_vocabulary", functools.partial(train_vocabulary, n_iterations=1))
    assert cli.main([*call, "--images", "110"]) == 0
    made = load_vocabulary(str(out))
    assert made.version in capsys.readouterr().out
    assert len(made.stop_words) > 100
    one = vocabulary_job.sample_descriptors(warehouse, 0, 110)
    assert one[0].shape == (44_000, 128)
    assert np.bincount(one[1]).tolist() == [400] * 110
    again = vocabulary_job.sample_descriptors(Warehouse(spark, where), 0, 110)
    assert (one[0] == again[0]).all()
    assert (one[0] != vocabulary_job.sample_descriptors(warehouse, 1, 110)[0]).any()
    at_noon = datetime.datetime(2026, 1, 1, 12)
    filler = {T.StringType(): "x", T.BooleanType(): False, T.DoubleType(): 1.0, T.IntegerType(): 10}
    filler[T.TimestampType()] = at_noon
    group = [
        {f.name: filler.get(f.dataType) for f in GROUPS.schema.fields}
        | {"image_id": f"i{at}", "content_id": f"{at:032x}", "is_keeper": at == 0}
        | {"relation": "copy" if at else "keeper"}
        for at in range(10)
    ]
    warehouse.append(GROUPS, spark.createDataFrame([tuple(row.values()) for row in group], GROUPS.schema))
    assert len(np.unique(vocabulary_job.sample_descriptors(warehouse, 0, 200)[1])) == 111, "copies count once"


@pytest.mark.parametrize("folder", ["pillow_heif", "images4"])
def test_counts_add_up_on_real_files(spark, shared_data: Path, folder: str):
    paths = sorted(p for p in (shared_data / folder).rglob("*") if p.is_file())
    got = run(spark, [{"uri": str(path)} for path in paths])
    counts = collections.Counter(row.status for row in got)
    assert counts["ok"] + counts["failed"] == len(paths)
    assert counts["ok"] >= 20
    assert all(row.reason for row in got if row.status == "failed")
