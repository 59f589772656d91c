"""Candidates: which pairs of contents are worth measuring, by equi-joins on keys of their codes.

Each leg gives every content a bit code, cuts it into keys (kernels.mih), and joins new units with all units of
their scope on equal keys. The Hamming distance is checked inside the join, so what leaves it are pairs within the
radius, and no pair within it is missing (the embedding leg: with a known probability).

Only ids, keys and codes are shuffled, packed (stages.code_join). Old units never meet old ones: they did on their
night, by the same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.errors import ConfigError
from dupelake.ingest.live_stage import live_images, scope_of
from dupelake.propose.code_join_stage import leg_filters, leg_pairs
from dupelake.propose.mih import SlotPlan, plan_exact
from dupelake.propose.srp import PLANNING_ITEMS, plan_srp

JOIN_REVISION = 2  # raise it when a change here, or in the kernels it calls, proposes other pairs
LEGS = ("phash", "pdq", "embedding", "words")  # order within found_by; the index is the leg's number
WORDS_LEG = LEGS.index("words")

Filters = Mapping[int, Broadcast[Any]]  # bytes of a filter, by leg


def joinable_units(images: DataFrame, hashes: DataFrame, cfg: LshConfig) -> DataFrame:
    """What takes part in the join: one row per scope and picture, contents of equal pixels counting once.

    Args:
        images: IMAGES; only rows with status ok that are not deleted count.
        hashes: HASHES of one version. Its smallest content id per pixel_digest represents those pixels in every scope,
            whichever of their files a scope holds; `stages.score.pixel_pairs` ties the others to it.
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
    representatives = hashes.groupBy("pixel_digest").agg(F.min("content_id").alias("content_id"))
    return pictures.join(representatives, "pixel_digest").select("scope", "content_id")


def candidate_pairs(
    units: DataFrame,
    hashes: DataFrame,
    codes: DataFrame | None,
    centre: npt.NDArray[np.float32] | None,
    cfg: LshConfig,
    *,
    words: DataFrame | None = None,
    n_items: float = PLANNING_ITEMS,
    n_units: int = 0,
    n_new: int | None = None,
    filters: Filters | None = None,
    checkpoint: Callable[[DataFrame], DataFrame] | None = None,
) -> DataFrame:
    """Propose pairs of which one unit at least is new; over nights, the pairs of one batch.

    Args:
        units: (scope, content_id, is_new boolean), one row per scope and content.
        hashes: HASHES of one version, a row for each unit.
        codes: (content_id, code binary) as `stages.join_keys` makes them, or None for the hash legs only; null ones
            are passed over.
        centre: float32 (dim,) of that model.
        cfg: radii, wanted cosine and recall.
        words: (low, high, leg) of what other legs found, as stages.words gives them for the same units, or None.
        n_items: about how many units to plan the slots for; changes cost, never pairs.
        n_units: about how many units there are; changes cost, never pairs.
        n_new: about how many of them are new; all unless told.
        filters: by leg, a broadcast filter (kernels.keyfilter) of the keys that new units probe, as `probed_keys` makes
            them; legs without one shuffle every key of every unit.
        checkpoint: materialises a DataFrame; with it one leg is joined after the other, so that the keys of one lie on
            disk at a time, and not those of all.

    Returns:
        (src_id, dst_id, found_by): src_id < dst_id, each pair once, found_by the legs that found it, joined by '+'.

    Raises:
        ConfigError: the wanted cosine cannot be had by projections of this model.

    Cost: a leg shuffles n_slots keys of 8 bytes a unit, and n_probes a new unit (twice both where mirrored), and each
    unit's code once for each part and batch. Contents with equal codes and different pixels are all true pairs of each
    other and come out as such, in each part that holds a slot of theirs: n of them make n^2 / 2 rows times the parts,
    n_slots at most, before the last aggregation.
    """
    by_leg = [
        leg_pairs(
            units,
            leg.codes,
            leg.plan,
            leg.number,
            mirrored=leg.is_mirrored,
            probed=(filters or {}).get(leg.number),
            n_units=n_units,
            n_new=n_units if n_new is None else n_new,
        )
        for leg in legs_of(hashes, codes, centre, cfg, n_items)
    ]
    found = reduce(DataFrame.unionAll, by_leg if checkpoint is None else map(checkpoint, by_leg))
    if words is not None:
        found = found.unionAll(words.select("low", "high", "leg"))
    legs = found.groupBy("low", "high").agg(*[F.max(F.col("leg") == leg).alias(name) for leg, name in enumerate(LEGS)])
    return legs.select(
        F.lower(F.hex("low")).alias("src_id"),
        F.lower(F.hex("high")).alias("dst_id"),
        F.concat_ws("+", *[F.when(F.col(name), F.lit(name)) for name in LEGS]).alias("found_by"),
    )


@dataclass(frozen=True)
class Leg:
    """Codes of one leg: (content_id, code, mirror), binary of 8 bytes a word, and how they become keys.

    `number` is its place in LEGS; `mirror` is there where `is_mirrored`.
    """

    number: int
    codes: DataFrame
    plan: SlotPlan
    is_mirrored: bool


def legs_of(
    hashes: DataFrame,
    codes: DataFrame | None,
    centre: npt.NDArray[np.float32] | None,
    cfg: LshConfig,
    n_items: float = PLANNING_ITEMS,
) -> list[Leg]:
    """The legs of bit codes; arguments as for `candidate_pairs`."""
    phash = hashes.select(
        "content_id", _bigint_bytes("phash").alias("code"), _bigint_bytes("phash_mirrored").alias("mirror")
    )
    pdq = hashes.select("content_id", F.col("pdq").alias("code"), F.col("pdq_mirrored").alias("mirror"))
    legs = [
        Leg(0, phash, plan_exact(64, cfg.phash_max_bits, n_items), cfg.mirrored),
        Leg(1, pdq, plan_exact(256, cfg.pdq_max_bits, n_items), cfg.mirrored),
    ]
    if codes is not None:
        if centre is None:
            raise ValueError("codes of embeddings come without the centre of their model")
        legs.append(Leg(2, codes.where("code IS NOT NULL"), embedding_plan(centre, cfg), False))
    return legs


def probed_keys(
    units: DataFrame,
    hashes: DataFrame,
    codes: DataFrame | None,
    centre: npt.NDArray[np.float32] | None,
    cfg: LshConfig,
    n_new: int,
    *,
    n_items: float = PLANNING_ITEMS,
) -> DataFrame:
    """(leg int, bitmap binary): filters of the keys that new units probe, some rows a leg, to be joined by or.

    Args:
        units: as for `candidate_pairs`; the new ones are read.
        hashes: as for `candidate_pairs`.
        codes: as for `candidate_pairs`.
        centre: as for `candidate_pairs`.
        cfg: as for `candidate_pairs`.
        n_new: about how many new units there are; sizes the filters.
        n_items: as for `candidate_pairs`, which must be given the same.
    """
    return reduce(
        DataFrame.unionAll,
        [
            leg_filters(units, leg.codes, leg.plan, leg.number, n_new, mirrored=leg.is_mirrored)
            for leg in legs_of(hashes, codes, centre, cfg, n_items)
        ],
    )


def embedding_plan(centre: npt.NDArray[np.float32], cfg: LshConfig) -> SlotPlan:
    """The bands of the embedding leg: of the model and the configuration alone, never of the corpus.

    Raises:
        ConfigError: the wanted cosine is too low for this model.
    """
    try:
        norm2 = float(np.square(centre, dtype=np.float64).sum())
        return plan_srp(cfg.embedding_min_cosine, cfg.embedding_recall, norm2)
    except ValueError as error:
        raise ConfigError([f"lsh.embedding_min_cosine: {error}"]) from error


def _bigint_bytes(name: str) -> Column:
    return F.unhex(F.lpad(F.hex(name), 16, "0"))
