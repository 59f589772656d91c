"""The alignment stage on real thumbnails: one row per pair, even if it fails, and equal rows in any partitioning."""

from __future__ import annotations

import collections
import itertools
import subprocess
import sys

import cv2
import numpy as np
import pytest
from skimage import data

from dupelake.fingerprint.fingerprint import encode_thumbnail, make_thumbnail
from dupelake.fingerprint.thumbnails import decode_thumbnail
from dupelake.verify.pair import pair_seed, verify_pair
from dupelake.verify.picture import Picture
from dupelake.verify.stage import _MAX_TASK_PAIRS, ALIGNED, _assign_tasks, align_pairs
from dupelake.words.keypoints import extract_features, pack_features

A, B, C, D, E = (f"{k}" * 32 for k in "abcde")


@pytest.fixture(scope="module")
def pictures():
    full = data.astronaut()
    crop = full[60:400, 80:420]
    return {A: full, B: np.ascontiguousarray(crop[:, ::-1]), C: data.coffee()}


def side(rgb):
    thumbnail = make_thumbnail(rgb, 320)
    features = extract_features(cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY), 400)
    return encode_thumbnail(thumbnail, 92), thumbnail.shape[1], thumbnail.shape[0], *pack_features(features)


@pytest.fixture(scope="module")
def tables(spark, pictures):
    rows = {key: side(rgb) for key, rgb in pictures.items()}
    rows[D] = (b"no picture", 10, 10, b"", b"")
    thumbnails = spark.createDataFrame(
        [(key, bytearray(r[0]), r[1], r[2]) for key, r in rows.items()],
        "content_id string, bytes binary, width_px int, height_px int",
    )
    features = spark.createDataFrame(
        [(key, bytearray(r[3]), bytearray(r[4])) for key, r in rows.items() if key != D],
        "content_id string, keypoints binary, descriptors binary",
    )
    sizes = spark.createDataFrame(
        [(key, rgb.shape[1]) for key, rgb in pictures.items()], "content_id string, full_width_px int"
    )
    return thumbnails, features, sizes


def aligned(spark, tables, pairs, n_tasks, *, are_few=False):
    rows = spark.createDataFrame(pairs, "src_id string, dst_id string")
    found = align_pairs(rows, *tables, n_tasks, are_few=are_few)
    assert found.schema == ALIGNED
    return {(r["src_id"], r["dst_id"]): r for r in found.collect()}


def test_every_pair_has_a_row_and_an_error_affects_only_its_own_pair(spark, tables, pictures):
    pairs = [(A, B), (A, C), (A, D), (B, C), (C, E)]
    found = aligned(spark, tables, pairs, 3)
    assert set(found) == set(pairs)
    assert "cannot be decoded" in found[A, D]["error_message"]
    assert E in found[C, E]["error_message"]
    crop = found[A, B]
    assert crop["error_message"] is None
    assert crop["is_mirrored"]
    assert crop["n_inliers"] >= 12
    assert crop["aligned_ncc"] > 0.8
    assert crop["dst_overlap"] > 0.95
    assert crop["src_overlap"] == pytest.approx(340 * 340 / 512 / 512, abs=0.05)
    assert crop["scale"] == pytest.approx(1.0, abs=0.02)  # in full-size pixels, not in thumbnail pixels
    assert found[A, C]["aligned_ncc"] is None or found[A, C]["agreeing_share"] < 0.5
    assert aligned(spark, tables, pairs[::-1], 1) == found
    assert aligned(spark, tables, pairs, 3, are_few=True) == found


def test_pairs_of_a_cluster_share_a_task_up_to_the_maximum_of_a_task(spark):
    clusters = [[f"{cluster:02d}{i:03d}" for i in range(12)] for cluster in range(40)]
    pairs = [pair for cluster in clusters for pair in itertools.combinations(cluster, 2)]
    large = [f"x{i:03d}" for i in range(80)]
    pairs += itertools.combinations(large, 2)
    rows = _assign_tasks(spark.createDataFrame(pairs, "src_id string, dst_id string"), 10_000).collect()
    assert sorted((r["src_id"], r["dst_id"]) for r in rows) == sorted(pairs)
    tasks_of = collections.defaultdict(set)
    for row in rows:
        tasks_of[row["src_id"][:2]].add(row["task"])
    assert all(len(tasks_of[cluster[0][:2]]) == 1 for cluster in clusters)
    n_large = collections.Counter(r["task"] for r in rows if r["src_id"].startswith("x"))
    assert max(n_large.values()) <= _MAX_TASK_PAIRS
    assert len(n_large) == -(-len(list(itertools.combinations(large, 2))) // _MAX_TASK_PAIRS)


def test_the_stage_measures_what_verify_pair_measures(spark, tables):
    row = aligned(spark, tables, [(A, B)], 1)[A, B]
    thumbnails, features, _ = (t.where(f"content_id in ('{A}', '{B}')").orderBy("content_id").collect() for t in tables)
    from dupelake.words.keypoints import unpack_features

    src, dst = (
        Picture(decode_thumbnail(bytes(t["bytes"])), unpack_features(bytes(f["keypoints"]), bytes(f["descriptors"])))
        for t, f in zip(thumbnails, features, strict=True)
    )
    wanted = verify_pair(src, dst, pair_seed(A, B))
    assert wanted is not None
    for name in ("n_inliers", "aligned_ncc", "agreeing_share", "contradicting_share", "largest_local_difference"):
        assert row[name] == getattr(wanted, name), name
    assert tuple(row["difference_box"]) == wanted.difference_box


def test_a_process_that_aligns_uses_one_core():
    code = "import dupelake.verify.stage, cv2; print(cv2.getNumThreads())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
