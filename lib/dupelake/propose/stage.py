"""The list of candidate generators, the units of the join, and the union of the proposed pairs.

Each generator has a file of its own, which defines its keys and pairs (`propose/generator_stage.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.ingest.live_stage import live_images, pixel_representatives, scope_of
from dupelake.propose import versions
from dupelake.propose.code_join_stage import CodeGenerator
from dupelake.propose.embedding_stage import Embedding
from dupelake.propose.generator_stage import Actions, CandidateGenerator, JoinInputs
from dupelake.propose.pdq_stage import Pdq
from dupelake.propose.phash_stage import PHash
from dupelake.propose.promises import Promises
from dupelake.propose.words_stage import Words

GENERATORS: tuple[type[CandidateGenerator], ...] = (
    PHash,
    Pdq,
    Embedding,
    Words,
)
"""All candidate generators, in the order of their names in found_by."""

NAMES = tuple(each.name for each in GENERATORS)
Filters = Mapping[str, Broadcast[Any]]
"""Bytes of a filter, by the name of the generator."""


def generators_of(inputs: JoinInputs, actions: Actions) -> list[CandidateGenerator]:
    """The generators that take part in a join, bound to its contents."""
    return [each(inputs, actions) for each in GENERATORS if each.is_wanted(inputs)]


def code_generators(generators: Sequence[CandidateGenerator]) -> list[CodeGenerator]:
    """The generators that join bit codes."""
    return [each for each in generators if isinstance(each, CodeGenerator)]


def promises(cfg: LshConfig) -> Promises:
    """The promises that brute force checks."""
    made = {each.name: each.promise(cfg) for each in GENERATORS}
    return {name: promise for name, promise in made.items() if promise is not None}


def join_version(cfg: LshConfig, compared: Mapping[str, str | None]) -> str:
    """`versions.join_version` for the listed generators."""
    return versions.join_version(cfg, compared, [n for each in GENERATORS for n in each.revisions(cfg)])


def joinable_units(images: DataFrame, hashes: DataFrame, cfg: LshConfig) -> DataFrame:
    """The scoped contents (units) of the join: one row for each scope and pixel class.

    Args:
        images: IMAGES; only live images count.
        hashes: HASHES of one version. The smallest content id of a pixel_digest represents its pixel class in every
            scope, even if the scope has another file of the class. `verify.score_stage.pixel_pairs` connects the others
            to it.
        cfg: scope `across` puts all images in one scope, ''.

    Returns:
        (scope, content_id), one row each; contents of low information are left out.
    """
    live = live_images(images)
    held = live.select(scope_of(cfg), "content_id").distinct()
    pictures = (
        held.join(hashes.where(~F.col("is_low_information")).select("content_id", "pixel_digest"), "content_id")
        .select("scope", "pixel_digest")
        .distinct()
    )  # before the join below, so that no digest has very many rows in it
    representatives = pixel_representatives(hashes).withColumnRenamed("class_id", "content_id")
    return pictures.join(representatives, "pixel_digest").select("scope", "content_id")


def probed_keys(generators: Sequence[CandidateGenerator]) -> DataFrame | None:
    """(generator string, bitmap binary): filters of probed keys, to be combined by bitwise or; None without any."""
    made = [(each.name, each.filters()) for each in generators]
    named = [rows.select(F.lit(name).alias("generator"), "bitmap") for name, rows in made if rows is not None]
    return reduce(DataFrame.unionAll, named) if named else None


def candidate_pairs(
    generators: Sequence[CandidateGenerator],
    filters: Filters | None = None,
    checkpoint: Callable[[DataFrame], DataFrame] | None = None,
) -> DataFrame:
    """The pairs that the generators propose, with at least one new unit. Several nights give the pairs of one batch.

    Args:
        generators: those of `generators_of`, and others whose names are in NAMES.
        filters: of the keys that new units probe, as `probed_keys` makes them. A generator without a filter shuffles
            every key of every unit.
        checkpoint: materialises a DataFrame. With it the generators run one after the other, so only the keys of one
            generator are on disk at a time.

    Returns:
        (src_id, dst_id, found_by): src_id < dst_id, each pair once; found_by has the names of the generators that found
        it, joined by '+'.

    Raises:
        ConfigError: the wanted cosine is too low for this model.
    """
    proposed = []
    for each in generators:
        pairs = each.pairs((filters or {}).get(each.name)).select("low", "high", F.lit(each.name).alias("generator"))
        proposed.append(pairs if checkpoint is None else checkpoint(pairs))
    found = [F.max(F.col("generator") == name).alias(name) for name in NAMES]
    pairs = reduce(DataFrame.unionAll, proposed).groupBy("low", "high").agg(*found)
    return pairs.select(
        F.lower(F.hex("low")).alias("src_id"),
        F.lower(F.hex("high")).alias("dst_id"),
        F.concat_ws("+", *[F.when(F.col(name), F.lit(name)) for name in NAMES]).alias("found_by"),
    )
