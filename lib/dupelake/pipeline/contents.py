"""The contents of a join: read from the tables once, together with their versions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.ingest.live_stage import contents_of_pairs
from dupelake.pipeline.planning import is_small_night
from dupelake.pipeline.stored_keys import stored_keys
from dupelake.propose.generator_stage import JoinInputs
from dupelake.propose.versions import by_keys
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import EMBEDDINGS, FEATURES, IMAGES, OK, THUMBNAILS


@dataclass(frozen=True)
class Versions:
    """Versions of everything that the join compares, and of the join."""

    hash: str
    features: str
    verify: str
    model: str | None
    preprocess: str | None
    centre: npt.NDArray[np.float32] | None
    keys: str
    join: str


@dataclass(frozen=True)
class Contents:
    """The data for the candidate generators and for the measurement of their pairs.

    Attributes:
        join: input of the generators.
        thumbnails: THUMBNAILS.
        embeddings: EMBEDDINGS of one model; None if embeddings are not compared.
        sizes: (content_id, full_width_px) of images, any number of rows each.
    """

    join: JoinInputs
    thumbnails: DataFrame
    embeddings: DataFrame | None
    sizes: DataFrame

    def full_widths(self, pairs: DataFrame) -> DataFrame:
        """(content_id, full_width_px) of the contents of pairs (src_id, dst_id): of any image with equal pixels.

        The content that stands for its pixels may be one that no image has any more. Equal pixels have equal sizes.
        """
        digests = self.join.hashes.select("content_id", "pixel_digest")
        wanted = digests.join(contents_of_pairs(pairs), "content_id")
        equal = digests.join(wanted.select("pixel_digest").distinct(), "pixel_digest")
        width = F.min("full_width_px").alias("full_width_px")
        widths = self.sizes.join(equal, "content_id").groupBy("pixel_digest").agg(width)
        return wanted.join(widths, "pixel_digest").select("content_id", "full_width_px")


def read_contents(
    run: Run, units: DataFrame, n_units: int, n_new: int, hashes: DataFrame, versions: Versions
) -> Contents:
    """Read the contents of the units; join keys that are not stored yet are computed and stored.

    Args:
        run: its tables are read.
        units: (scope, content_id, is_new), staged.
        n_units: number of units.
        n_new: number of new units.
        hashes: HASHES of the present version.
        versions: the versions of this run.
    """
    lsh = run.config.lsh
    images = run.warehouse.read(IMAGES).where(F.col("status") == OK)
    sizes = images.select("content_id", F.col("width_px").alias("full_width_px"))
    thumbnails = run.warehouse.read(THUMBNAILS)
    features = run.warehouse.read(FEATURES).where(F.col("feature_version") == versions.features)
    embeddings = None
    if versions.model is not None:
        embeddings = run.warehouse.read(EMBEDDINGS).where(
            (F.col("model_id") == versions.model) & F.col("embedding").isNotNull()
        )
    units = units.select("scope", "content_id", "is_new")
    n_few = n_new if by_keys(lsh) and is_small_night(n_new, n_units) else 0
    with run.step("keys"):
        keys, new_keys = stored_keys(run, units, features, embeddings, versions.centre, versions.keys, n_few)
    join = JoinInputs(units, hashes, features, keys, new_keys, versions.centre, lsh, n_units, n_new)
    return Contents(join, thumbnails, embeddings, sizes)
