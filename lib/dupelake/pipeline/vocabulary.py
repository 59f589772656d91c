"""Train a vocabulary of visual words on the pictures of a warehouse: `dupelake vocabulary`. Tables are only read."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import functions as F

from dupelake.runtime.out_files import refusals_of
from dupelake.warehouse.schema import FEATURES, GROUPS
from dupelake.warehouse.tables import Warehouse
from dupelake.words.keypoints import DESCRIPTOR_DIM
from dupelake.words.vocabulary import Vocabulary, save_vocabulary
from dupelake.words.vocabulary_training import train_vocabulary

log = logging.getLogger(__name__)

MAX_IMAGES = 10_000
"""Of 450 keypoints each: 576 MB of descriptors, which the driver holds."""


def train_on_warehouse(warehouse: Warehouse, out: Path, seed: int, n_images: int) -> Vocabulary:
    """Train on a seeded sample of the contents, and write the file.

    Known copies are left out where groups exist: words that only copies share would pass for frequent ones.

    Args:
        warehouse: with features.
        out: file to write.
        seed: of the sample and of the training; the same tables and seed give the same file.
        n_images: at most, up to MAX_IMAGES.

    Raises:
        ModelError: too few descriptors.
    """
    descriptors, pictures = sample_descriptors(warehouse, seed, min(n_images, MAX_IMAGES))
    log.info("%d descriptors of %d pictures", len(descriptors), len(np.unique(pictures)))
    vocabulary = train_vocabulary(descriptors, pictures, seed)
    with refusals_of("--out", out):
        save_vocabulary(vocabulary, out)
    return vocabulary


def sample_descriptors(warehouse: Warehouse, seed: int, n_images: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Descriptors, uint8 (n, 128), of `n_images` contents chosen by a hash of their ids; whose each is, int64 (n,)."""
    features = warehouse.read(FEATURES).where("n_keypoints > 0")
    members = warehouse.read(GROUPS)
    kept = members.where("is_keeper").select("content_id")
    copies = members.where("NOT is_keeper").select("content_id").join(kept, "content_id", "left_anti").distinct()
    chosen = (
        features.select("content_id")
        .join(copies, "content_id", "left_anti")
        .orderBy(F.xxhash64(F.lit(seed), "content_id"), "content_id")
        .limit(n_images)
    )
    rows = features.join(F.broadcast(chosen), "content_id").select("content_id", "descriptors").collect()
    found = [np.frombuffer(row["descriptors"], np.uint8).reshape(-1, DESCRIPTOR_DIM) for row in sorted(rows)]
    if not found:
        return np.empty((0, DESCRIPTOR_DIM), np.uint8), np.empty(0, np.int64)
    return np.concatenate(found), np.repeat(np.arange(len(found)), [len(one) for one in found])
