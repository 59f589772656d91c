"""Candidates: which pairs of contents are worth measuring. The list of generators, and what joins their pairs.

Each generator has a file of its own and says there which pairs it finds, by which keys (generator_stage.py).
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
"""All candidate generators, in the order of their names within found_by."""

NAMES = tuple(each.name for each in GENERATORS)
Filters = Mapping[str, Broadcast[Any]]
"""Bytes of a filter, by name of the generator."""


def generators_of(inputs: JoinInputs, actions: Actions) -> list[CandidateGenerator]:
    """The generators that take part in a join, bound to its contents."""
    return [each(inputs, actions) for each in GENERATORS if each.is_wanted(inputs)]


def code_generators(generators: Sequence[CandidateGenerator]) -> list[CodeGenerator]:
    """Those among them that join bit codes."""
    return [each for each in generators if isinstance(each, CodeGenerator)]


def promises(cfg: LshConfig) -> Promises:
    """What brute force holds the generators to."""
    made = {each.name: each.promise(cfg) for each in GENERATORS}
    return {name: promise for name, promise in made.items() if promise is not None}


def join_version(cfg: LshConfig, compared: Mapping[str, str | None]) -> str:
    """`versions.join_version` of the listed generators."""
    return versions.join_version(cfg, compared, [n for each in GENERATORS for n in each.revisions(cfg)])


def joinable_units(images: DataFrame, hashes: DataFrame, cfg: LshConfig) -> DataFrame:
    """What takes part in the join: one row per scope and picture, contents of equal pixels counting once.

    Args:
        images: IMAGES; only rows with status ok that are not deleted count.
        hashes: HASHES of one version. Its smallest content id per pixel_digest represents those pixels in every scope,
            whichever of their files a scope holds; `verify.score_stage.pixel_pairs` ties the others to it.
        cfg: scope `across` puts all images in one scope, ''.

    Returns:
        (scope, content_id), one row each; no picture without information.
    """
    live = live_images(images)
    held = live.select(scope_of(cfg), "content_id").distinct()
    pictures = (
        held.join(hashes.where(~F.col("is_low_information")).select("content_id", "pixel_digest"), "content_id")
        .select("scope", "pixel_digest")
        .distinct()
    )  # before the join below, so that no digest is hot in it
    representatives = pixel_representatives(hashes).withColumnRenamed("class_id", "content_id")
    return pictures.join(representatives, "pixel_digest").select("scope", "content_id")


def probed_keys(generators: Sequence[CandidateGenerator]) -> DataFrame | None:
    """(generator string, bitmap binary): filters of the keys that new units probe, to be joined by or; None without."""
    made = [(each.name, each.filters()) for each in generators]
    named = [rows.select(F.lit(name).alias("generator"), "bitmap") for name, rows in made if rows is not None]
    return reduce(DataFrame.unionAll, named) if named else None


def candidate_pairs(
    generators: Sequence[CandidateGenerator],
    filters: Filters | None = None,
    checkpoint: Callable[[DataFrame], DataFrame] | None = None,
) -> DataFrame:
    """Pairs that the generators propose, of which one unit at least is new; over nights, the pairs of one batch.

    Args:
        generators: of `generators_of`, and others whose names are among NAMES.
        filters: of the keys that new units probe, as `probed_keys` makes them; a generator without one shuffles every
            key of every unit.
        checkpoint: materialises a DataFrame; with it one generator works after the other, so that the keys of one lie
            on disk at a time, and not those of all.

    Returns:
        (src_id, dst_id, found_by): src_id < dst_id, each pair once, found_by the generators that found it, joined
        by '+'.

    Raises:
        ConfigError: the wanted cosine cannot be had by projections of this model.
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
