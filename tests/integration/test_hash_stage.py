"""stages.hash on a real Spark: names, failures as rows, fetched bytes, counts, batches."""

from __future__ import annotations

import collections
import io
import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import Row, SparkSession
from pyspark.sql import types as T

from dupelake.config import Config, DecodeConfig, HashConfig
from dupelake.kernels.fingerprint import fingerprint_image
from dupelake.kernels.hashing import hash_version
from dupelake.schema import HASHES, IMAGES, MANIFEST
from dupelake.stages.fetch import FETCHED
from dupelake.stages.hash import HASHED, hash_images

INPUT = T.StructType([*MANIFEST.fields, T.StructField("fetched", FETCHED)])
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
            "fetched": None,
            **row,
        }
        for at, row in enumerate(rows)
    ]
    return spark.createDataFrame([tuple(row[name] for name in INPUT.fieldNames()) for row in full], INPUT)


def run(spark: SparkSession, rows: list[dict], cfg: Config = Config()) -> list[Row]:  # noqa: B008 - frozen
    return sorted(hash_images(manifest(spark, rows).repartition(2), cfg).collect(), key=lambda r: int(r.image_id[1:]))


def test_schema_is_that_of_the_tables():
    names = HASHED.fieldNames()
    for table, left_out in ((IMAGES, {"ingested_at", "deleted_at"}), (HASHES, {"content_id"})):
        for field in table.schema.fields:
            if field.name not in left_out:
                assert HASHED[field.name].dataType == field.dataType
    assert names[-3:] == ["thumbnail_bytes", "thumbnail_width_px", "thumbnail_height_px"]


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
        assert row.hash_version == hash_version(Config())


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
                )
            )
    assert len(got[8].content_id) == 32  # truncated, but read
    assert got[8].byte_size == len(files["cut.png"])
    assert got[9].byte_size == len(files["big.png"])
    assert got[1].content_id is None
    assert got[14].content_id == got[0].content_id


def test_output_batches_are_bounded_in_bytes(spark, tmp_path: Path):
    import pyarrow as pa

    from dupelake.stages.hash import _mapper

    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)).save(path)
    cfg = Config(hash=HashConfig(batch_bytes=1 << 20))
    batch = pa.RecordBatch.from_pylist(
        [
            {
                "image_id": str(at),
                "uri": str(path),
                "partition": "p",
                "scope": "",
                "captured_at": None,
                "extra": None,
                "reason": None,
                "error_message": None,
                "fetched": None,
            }
            for at in range(30)
        ],
        pa.schema(
            [
                ("image_id", pa.string()),
                ("uri", pa.string()),
                ("partition", pa.string()),
                ("scope", pa.string()),
                ("captured_at", pa.timestamp("us", "UTC")),
                ("extra", pa.map_(pa.string(), pa.string())),
                ("reason", pa.string()),
                ("error_message", pa.string()),
                ("fetched", pa.struct([("data", pa.binary()), ("reason", pa.string()), ("message", pa.string())])),
            ]
        ),
    )
    out = list(_mapper(cfg)(iter([batch])))
    assert len(out) > 2
    assert max(b.nbytes for b in out) < 2 * (1 << 20)
    assert [i for b in out for i in b.column("image_id").to_pylist()] == [str(at) for at in range(30)]
    assert list(_mapper(cfg)(iter([]))) == []


@pytest.mark.parametrize("folder", ["pillow_heif", "images4"])
def test_counts_add_up_on_real_files(spark, shared_data: Path, folder: str):
    paths = sorted(p for p in (shared_data / folder).rglob("*") if p.is_file())
    got = run(spark, [{"uri": str(path)} for path in paths])
    counts = collections.Counter(row.status for row in got)
    assert counts["ok"] + counts["failed"] == len(paths)
    assert counts["ok"] >= 20
    assert all(row.reason for row in got if row.status == "failed")
