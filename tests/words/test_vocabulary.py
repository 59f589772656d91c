"""vocabulary and its training: words compared with brute force, mirroring, batching, files, versions."""

from __future__ import annotations

import dataclasses
import pickle
import zipfile
from importlib import resources
from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrored import mirrored_features
from pictures import photograph
from PIL import Image

from dupelake.config import Config, FeaturesConfig, HashConfig
from dupelake.errors import ModelError
from dupelake.words import vocabulary as v
from dupelake.words.keypoints import Features, extract_features, no_features
from dupelake.words.vocabulary_training import most_frequent_words, train_codebook, train_vocabulary

SHIPPED = v.load_vocabulary()


def some_features(n: int, seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    return Features(
        rng.uniform(0, 319, (n, 2)).astype(np.float32),
        rng.uniform(1, 60, n).astype(np.float32),
        rng.uniform(0, 360, n).astype(np.float32),
        rng.integers(0, 256, (n, 128), np.uint8),
    )


def real_features(name: str = "astronaut.png") -> Features:
    return extract_features(np.asarray(photograph(name, 320).convert("L")), 400)


def nearest_cells(descriptor: np.ndarray, vocabulary: v.Vocabulary) -> list[int]:
    """The two nearest of all four million cells, computed with integers."""
    first = ((vocabulary.first.astype(np.int64) - descriptor[:64]) ** 2).sum(axis=1)
    second = ((vocabulary.second.astype(np.int64) - descriptor[64:]) ** 2).sum(axis=1)
    cost = (first[:, None] + second[None]).ravel()
    nearest = int(cost.argmin())
    cost[nearest] = cost.max()
    return [nearest, int(cost.argmin())]


def test_words_are_the_nearest_cells_of_all():
    descriptors = np.concatenate([real_features().descriptors[:6], some_features(3).descriptors])
    found = v.nearest_words(descriptors, SHIPPED)
    for row, descriptor in zip(found.tolist(), descriptors, strict=True):
        assert row == nearest_cells(descriptor.astype(np.int64), SHIPPED)


@given(st.integers(0, 2**32 - 1), st.integers(1, 600))
@settings(max_examples=15, deadline=None)
def test_a_word_depends_on_its_descriptor_alone(seed, n):
    descriptors = some_features(n, seed).descriptors
    whole = v.nearest_words(descriptors, SHIPPED)
    cut = n // 3
    assert (
        np.concatenate([v.nearest_words(descriptors[:cut], SHIPPED), v.nearest_words(descriptors[cut:], SHIPPED)])
        == whole
    ).all()
    at = seed % n
    assert (v.nearest_words(descriptors[at : at + 1], SHIPPED)[0] == whole[at]).all()


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png"])
def test_mirrored_words_are_those_of_the_mirrored_picture(name):
    features = real_features(name)
    words = v.make_words(features, SHIPPED, 150)
    mirrored = v.make_words(mirrored_features(features, 320), SHIPPED, 150)
    assert len(words) > 50
    assert (words.keypoint == mirrored.keypoint).all()
    assert (words.mirrored == mirrored.probes).all()
    assert (mirrored.mirrored == words.probes).all()


def in_turn(scale: np.ndarray) -> list[int]:
    """Small and large keypoints alternating, then the rest of the more frequent kind."""
    small, large = ([int(i) for i in np.flatnonzero(side)] for side in (scale < 4, scale >= 4))
    pairs = zip_longest(small, large)
    return [i for pair in pairs for i in pair if i is not None]


def test_words_leave_out_stop_words_and_repeat_none():
    features = real_features()
    order = in_turn(features.scale)
    assert order != sorted(order)
    cells = v.nearest_words(features.descriptors, SHIPPED)[order]
    bare = v.make_vocabulary(SHIPPED.first, np.empty(0, np.uint32))
    everything = v.make_words(features, bare, 400)
    assert everything.stored.tolist() == list(dict.fromkeys(cells[:, 0].tolist()))  # first of each, in order
    stopped, second = cells[0, 0], cells[5, 1]
    stops = np.array([stopped, second], np.uint32)
    words = v.make_words(features, v.make_vocabulary(SHIPPED.first, stops), 400)
    assert stopped not in words.stored
    assert not np.isin(words.probes, stops).any()
    assert not np.isin(words.mirrored, v.mirrored_words(stops)).any()
    assert (words.probes == v.NO_WORD).sum() >= 1
    assert ((words.probes == v.NO_WORD) == (words.mirrored == v.NO_WORD)).all()
    assert (words.probes[:, 0] == words.stored).all()
    few = v.make_words(features, bare, 40)
    assert few.stored.tolist() == everything.stored[:40].tolist()
    assert few.keypoint.tolist() == everything.keypoint[:40].tolist()
    assert (features.scale[few.keypoint] >= 4).sum() == 20


def test_more_keypoints_than_a_block_make_the_same_words():
    some = np.concatenate([real_features(name).descriptors for name in ("astronaut.png", "coffee.png", "rocket.jpg")])
    bare = v.make_vocabulary(SHIPPED.first, np.empty(0, np.uint32))
    stored = v.nearest_words(some, bare)[:, 0]
    distinct = some[np.sort(np.unique(stored, return_index=True)[1])][:290]
    assert len(distinct) == 290
    repeated = dataclasses.replace(
        some_features(600), descriptors=distinct[np.arange(600) % 290], scale=np.full(600, 2, np.float32)
    )
    words = v.make_words(repeated, bare, 1000)
    assert words.keypoint.tolist() == list(range(290))


def test_packed_words_come_back():
    features = real_features()
    words = v.make_words(features, SHIPPED, 150)
    data = v.pack_words(words, features, 320, 213)
    assert len(data) == 4 + 16 * len(words) < 5000
    back = v.unpack_words(data)
    assert (back.width_px, back.height_px, len(back)) == (320, 213, len(words))
    for name in ("stored", "probes", "mirrored"):
        assert (getattr(back, name) == getattr(words, name)).all()
        assert getattr(back, name).dtype == np.uint32
    assert np.abs(back.xy - features.xy[words.keypoint]).max() <= 1 / 64
    assert np.abs(back.scale - features.scale[words.keypoint]).max() <= 1 / 64
    assert np.abs(back.angle - features.angle[words.keypoint]).max() < 0.01


def test_no_keypoints_no_words():
    words = v.make_words(no_features(), SHIPPED, 150)
    back = v.unpack_words(v.pack_words(words, no_features(), 7, 320))
    assert (len(words), len(back), back.width_px, back.height_px) == (0, 0, 7, 320)
    assert back.probes.shape == back.mirrored.shape == (0, 2)
    assert len(v.unpack_words(v.pack_words(v.no_words(), no_features(), 1, 1))) == 0


def test_the_shipped_vocabulary():
    folder = resources.files("dupelake").joinpath("assets")
    note = folder.joinpath(v.DEFAULT_ASSET.replace(".npz", ".txt")).read_text(encoding="utf-8")
    assert f"version {SHIPPED.version}" in note, "the note tells of another vocabulary"
    assert len(folder.joinpath(v.DEFAULT_ASSET).read_bytes()) < 1_000_000
    assert len(np.unique(SHIPPED.first, axis=0)) > 2000
    assert np.isin(v.mirrored_words(SHIPPED.stop_words), SHIPPED.stop_words).all()
    assert v.load_vocabulary() is SHIPPED
    again = pickle.loads(pickle.dumps(SHIPPED))  # noqa: S301 - as Spark sends it to its workers
    assert (
        v.nearest_words(some_features(9).descriptors, again) == v.nearest_words(some_features(9).descriptors, SHIPPED)
    ).all()


@pytest.mark.parametrize("name", ["astronaut.png", "chelsea.png", "coffee.png"])
def test_copies_share_words(name):
    picture = photograph(name, 400)
    copy = picture.crop((30, 20, 350, 260)).resize((320, 240), Image.Resampling.BICUBIC)
    one = v.make_words(extract_features(np.asarray(picture.convert("L")), 400), SHIPPED, 150)
    other = v.make_words(extract_features(np.asarray(copy.convert("L")), 400), SHIPPED, 150)
    assert np.isin(one.probes, other.stored).any(axis=1).sum() >= 15
    for stranger in {"astronaut.png", "chelsea.png", "coffee.png"} - {name}:
        unlike = v.make_words(real_features(stranger), SHIPPED, 150)
        assert np.isin(one.probes, unlike.stored).any(axis=1).sum() <= 5


def test_files(tmp_path):
    path = tmp_path / "own.npz"
    own = v.make_vocabulary(SHIPPED.first[::-1].copy(), np.array([5, 2048 * 7 + 3], np.uint32))
    v.save_vocabulary(own, path)
    back = v.load_vocabulary(str(path))
    assert (back.version, back.stop_words.tolist()) == (own.version, [5, 3 * 2048 + 7, 5 * 2048, 2048 * 7 + 3])
    assert v.load_vocabulary(str(path)) is back
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", first=SHIPPED.first[:10], stop_words=own.stop_words)
    np.savez(tmp_path / "pickled.npz", first=np.array([{}], object), stop_words=own.stop_words)
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    for name in ("gone", "text", "other", "pickled", "empty"):
        with pytest.raises(ModelError, match=name):
            v.load_vocabulary(str(tmp_path / f"{name}.npz"))
    with pytest.raises(ValueError, match="2048"):
        v.make_vocabulary(SHIPPED.first, np.array([2048 * 2048], np.uint32))


def test_every_option_that_changes_features_changes_the_version(tmp_path):
    path = tmp_path / "own.npz"
    v.save_vocabulary(v.make_vocabulary(SHIPPED.first, np.array([1], np.uint32)), path)
    versions = [
        v.feature_version(Config()),
        v.feature_version(Config(features=FeaturesConfig(max_keypoints=300))),
        v.feature_version(Config(features=FeaturesConfig(max_words=100))),
        v.feature_version(Config(features=FeaturesConfig(vocabulary=str(path)))),
        v.feature_version(Config(hash=HashConfig(thumbnail_side_px=256))),
    ]
    assert len(set(versions)) == 5
    v.save_vocabulary(SHIPPED, tmp_path / "copy.npz")
    same = Config(features=FeaturesConfig(vocabulary=str(tmp_path / "copy.npz")))
    assert v.feature_version(same) == versions[0], "the contents count, not the path"
    assert v.feature_version(Config(hash=HashConfig(batch_bytes=1 << 20))) == versions[0]


def test_k_means_lowers_the_distance_and_revives_empty_centroids():
    rng = np.random.default_rng(1)
    centres = rng.integers(20, 236, (v.N_CENTROIDS, 64))
    halves = (np.repeat(centres, 6, axis=0) + rng.integers(-3, 4, (6 * v.N_CENTROIDS, 64))).astype(np.uint8)
    halves[:4096] = halves[0]  # one row many times: most centroids that start there lose all their rows

    def distance(codebook: np.ndarray) -> float:
        near = np.full(len(halves), np.inf)
        for at in range(0, v.N_CENTROIDS, 512):
            some = codebook[at : at + 512].astype(np.float32)
            cross = halves.astype(np.float32) @ some.T
            near = np.minimum(near, ((some**2).sum(axis=1) - 2 * cross).min(axis=1))
        return float((near + (halves.astype(np.float64) ** 2).sum(axis=1)).mean())

    steps = [distance(train_codebook(halves, 0, n)) for n in (0, 1, 4)]
    assert steps[0] > steps[1] > steps[2]
    assert len(np.unique(train_codebook(halves, 0, 0), axis=0)) < 1600
    assert len(np.unique(train_codebook(halves, 0, 4), axis=0)) > 1900
    assert steps[2] < 0.4 * steps[0]


def test_training_is_seeded_and_needs_enough():
    rng = np.random.default_rng(2)
    base = rng.integers(0, 120, (3000, 128), np.uint8)
    descriptors = (base[rng.integers(0, 3000, 41_000)] + rng.integers(0, 8, (41_000, 128))).astype(np.uint8)
    pictures = np.repeat(np.arange(410), 100)
    one, again = (train_vocabulary(descriptors, pictures, 3, 1, 500) for _ in range(2))
    assert one.version == again.version
    halves = descriptors[:3000, :64]
    assert (train_codebook(halves, 3, 0) != train_codebook(halves, 4, 0)).any()
    assert 500 <= len(one.stop_words) <= 1000
    with pytest.raises(ModelError, match="too few"):
        train_vocabulary(descriptors[:100], pictures[:100])


def test_stop_words_are_what_many_pictures_hold():
    words = np.array([7, 7, 7, 9, 9, 4, 8 * 2048], np.uint32)
    pictures = np.array([0, 0, 0, 1, 2, 1, 2])  # 7 stands thrice in one picture, 9 in two, 8 straight and mirrored
    assert most_frequent_words(words, pictures, 10).tolist() == [9, 9 * 2048]
    words = np.append(words, np.uint32(8))
    pictures = np.append(pictures, 3)
    assert most_frequent_words(words, pictures, 10).tolist() == [8, 9, 8 * 2048, 9 * 2048]
    assert most_frequent_words(words, pictures, 1).tolist() == [8]
