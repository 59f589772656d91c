"""The words leg of the join job: by blocks or by keys, and what it says of what it leaves out and of what it costs."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from pyspark import Broadcast
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.pipeline.planning import JoinPlan, block_units
from dupelake.propose.forecast import A_PAIR_OF_WORDS
from dupelake.propose.frequent_words_stage import CROWD_SHARE, NONE_HOT, HotWords, by_scope, count_hot_words, sampled
from dupelake.propose.join_keys_stage import by_keys
from dupelake.propose.word_blocks_stage import WordPairs, word_pairs
from dupelake.propose.word_keys_stage import check_words, meet_by_keys
from dupelake.runtime.run_record import Run
from dupelake.warehouse.tables import single_row

log = logging.getLogger(__name__)

FEW_PAIRS = 200_000  # whose ids are sent to every executor: some 200 bytes a pair
_MANY_MEETINGS = 10**10  # of two pictures in blocks: hours on a few cores
_MANY_PAIRS = 500  # a unit, compared word by word; 14 were measured among a million drawn contents


def words_leg(
    run: Run,
    plan: JoinPlan,
    units: DataFrame,
    features: DataFrame,
    keys: DataFrame,
    sizes: Row,
    probed: Broadcast[Any] | None,
) -> DataFrame:
    """(low, high, leg) of the words leg, staged.

    Args:
        run: its counts are filled.
        plan: of the join; the leg's forecast, and what came of it, are added.
        units: (scope, content_id, is_new).
        features: FEATURES of one version.
        keys: JOIN_KEYS of the units; read where words are joined by keys.
        sizes: how many units there are (units), and how many of them are new.
        probed: filter of the new units' keys, where there is one.
    """
    is_by_keys, hot = by_keys(run.config.lsh), NONE_HOT
    if plan.legs or (is_by_keys and sizes["units"] > run.config.lsh.word_key_max_images):
        sample = sampled(units, features, sizes["units"])
        sample = replace(sample, rows=run.staging.save(sample.rows, "sampled-words"))
        # A word is in more than 1 / CROWD_SHARE of a scope to be hot, and a picture stands under twice max_words words:
        # some 90,000 rows a scope at most, of scopes larger than the cap.
        rows = count_hot_words(sample, run.config.lsh).collect()
        hot = by_scope(rows)
        plan.plan_words(sample, hot, sizes["units"], sizes["new"])
        if is_by_keys:
            _tell_hot_words(run, rows)
    started = time.monotonic()
    if is_by_keys:
        pairs = _pairs_by_keys(run, units, features, keys, sizes, probed, hot)
    else:
        pairs = _pairs_by_blocks(run, units, features, sizes)
    plan.note_words(time.monotonic() - started, run.counts.get("word_pairs_checked"))
    return pairs


def _pairs_by_blocks(run: Run, units: DataFrame, features: DataFrame, sizes: Row) -> DataFrame:
    _warn_of_blocks(sizes)
    size = block_units(sizes["units"], run.warehouse.spark.sparkContext.defaultParallelism)
    found = word_pairs(units, features, run.config.lsh, run.staging.checkpoint, block_units=size)
    pairs = run.staging.save(found.pairs, "words")
    _report_dropped(run, found)
    return pairs


def _warn_of_blocks(sizes: Row) -> None:
    meetings = sizes["new"] * sizes["units"]
    if meetings > _MANY_MEETINGS:
        log.warning(
            "%d new contents meet %d by visual words in blocks, which costs the product of the two; for so many "
            "set lsh.word_join=keys and run once with --full (docs/operations.md)",
            *(sizes["new"], sizes["units"]),
        )


def _warn_of_pairs(n_pairs: int, n_units: int, lsh: LshConfig) -> None:
    if n_pairs > _MANY_PAIRS * n_units:
        log.warning(
            "%d pairs of pictures, %d a picture, share lsh.word_min_keys = %d keys or more and are compared by words, "
            "about %.1f core-hours: marks that many pictures bear (a watermark, a frame), but not more than "
            "lsh.word_key_max_images = %d of a scope and one in %d of them, do that; lower the limit or raise "
            "lsh.word_min_keys and run with --full",
            *(n_pairs, n_pairs // n_units, lsh.word_min_keys, n_pairs * A_PAIR_OF_WORDS / 3600),
            *(lsh.word_key_max_images, CROWD_SHARE),
        )


def _pairs_by_keys(
    run: Run,
    units: DataFrame,
    features: DataFrame,
    keys: DataFrame,
    sizes: Row,
    probed: Broadcast[Any] | None,
    hot: HotWords,
) -> DataFrame:
    lsh = run.config.lsh
    found = meet_by_keys(units, keys, lsh, sizes["units"], sizes["new"], probed, hot=hot)
    met = replace(found, met=run.staging.save(found.met, "met"))
    out = single_row(met.left_out())
    run.count("words_dropped", out["keys"] or 0)
    if out["keys"]:
        run.count("word_pairs_dropped", out["pairs"])
        log.warning(
            "%d pairs of neighbouring words are held by more than lsh.word_key_max_images = %d images, or have a word "
            "that is left out (the commonest of both is held by %d), and were left out of the join, with them %d "
            "meetings of two images, which may still meet by other keys and by the other legs; raise the limit if they "
            "do not",
            *(out["keys"], lsh.word_key_max_images, out["largest"], out["pairs"]),
        )
    pairs = run.staging.save(met.pairs(), "key-pairs")
    n_pairs = pairs.count()
    run.count("word_pairs_checked", n_pairs)
    _warn_of_pairs(n_pairs, sizes["units"], lsh)
    are_few = n_pairs <= min(FEW_PAIRS, sizes["units"] // 4)
    return run.staging.save(check_words(pairs, features, lsh, are_few=are_few, hot=hot), "words")


def _tell_hot_words(run: Run, rows: list[Row]) -> None:
    run.count("hot_words", len(rows))
    if rows:
        top = max(rows, key=lambda row: row["n_units"])
        log.warning(
            "%d visual words are held by more than lsh.word_key_max_images = %d images of a scope and more than one in "
            "%d of them (word %d by about %d) and are left out of the join, with all keys they make: a mark that many "
            "pictures bear (a watermark, a frame), or the vocabulary does not suit them; raise the limit, or train a "
            "vocabulary on these images (dupelake vocabulary)",
            *(len(rows), run.config.lsh.word_key_max_images, CROWD_SHARE, top["word"], top["n_units"]),
        )


def _report_dropped(run: Run, found: WordPairs) -> None:
    run.count("words_dropped", found.n_dropped_words)
    if found.n_dropped_words:
        totals = single_row(
            found.dropped.agg(
                F.sum("n_pairs").alias("pairs"), F.max_by(F.struct("word", "n_units"), "n_units").alias("top")
            )
        )
        run.count("word_pairs_dropped", totals["pairs"])
        log.warning(
            "%d visual words are held by more than lsh.word_max_images = %d images of a scope (word %d by %d) and "
            "were left out of the join, with them %d meetings of two images; raise the limit, or train a vocabulary on "
            "these images (dupelake vocabulary)",
            *(found.n_dropped_words, run.config.lsh.word_max_images),
            *(totals["top"]["word"], totals["top"]["n_units"], totals["pairs"]),
        )
