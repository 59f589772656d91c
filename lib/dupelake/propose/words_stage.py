"""The candidate generator of visual words: pictures whose words agree in rotation and scale, and then in position.

Pictures meet in blocks, all with all (word_blocks_stage), or by keys of neighbouring words (word_keys_stage):
lsh.word_join. What is left out, and what costs much, is said in the log and counted.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import cached_property
from typing import Any

from pyspark import Broadcast
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.propose.forecast import A_PAIR_OF_WORDS
from dupelake.propose.frequent_words_stage import (
    CROWD_SHARE,
    NONE_HOT,
    HotWords,
    Sample,
    by_scope,
    count_hot_words,
    sampled,
)
from dupelake.propose.generator_stage import Actions, CandidateGenerator, JoinInputs
from dupelake.propose.versions import WORD_KEYS_REVISION, WORDS_REVISION, by_keys
from dupelake.propose.word_blocks_stage import WordPairs, units_per_block, word_pairs
from dupelake.propose.word_keys_stage import check_words, meet_by_keys, probed_word_keys

log = logging.getLogger(__name__)

FEW_PAIRS = 200_000  # whose ids are sent to every executor: some 200 bytes a pair
_MANY_MEETINGS = 10**10  # of two pictures in blocks: hours on a few cores
_MANY_PAIRS = 500  # a unit, compared word by word; 14 were measured among a million drawn contents


class Words(CandidateGenerator):
    """Pairs by visual words, computed at once.

    Attributes:
        seconds: that `pairs` took; 0 before.
        n_compared: pairs of pictures that `pairs` compared; None before, and where they were not counted.
    """

    name = "words"

    def __init__(self, inputs: JoinInputs, actions: Actions) -> None:
        super().__init__(inputs, actions)
        self.seconds = 0.0
        self.n_compared: int | None = None
        self._frequent: list[Row] | None = None

    @classmethod
    def is_wanted(cls, inputs: JoinInputs) -> bool:
        """Where lsh.words."""
        return inputs.cfg.words

    @classmethod
    def revisions(cls, cfg: LshConfig) -> tuple[int, ...]:
        """Of the rule by which two pictures agree, and of the keys where pictures meet by them."""
        return (WORDS_REVISION, WORD_KEYS_REVISION) if by_keys(cfg) else (WORDS_REVISION,)

    @cached_property
    def sample(self) -> Sample:
        """Some of the units with their words."""
        found = sampled(self.inputs.units, self.inputs.features, self.inputs.n_units)
        return replace(found, rows=self.actions.save(found.rows, "sampled-words"))

    @property
    def frequent(self) -> HotWords:
        """Words that a crowd of the sample bears; where pictures meet by keys they are left out."""
        if self._frequent is None:
            # A word is in more than 1 / CROWD_SHARE of a scope to be frequent, and a picture stands under twice
            # max_words words: some 90,000 rows a scope at most, of scopes larger than the cap.
            self._frequent = self.actions.rows(count_hot_words(self.sample, self.inputs.cfg))
        return by_scope(self._frequent)

    def filters(self) -> DataFrame | None:
        """Filters of the new units' keys; None in blocks, which have no keys."""
        if not by_keys(self.inputs.cfg):
            return None
        return probed_word_keys(self.inputs.units, self.inputs.new_keys, self.inputs.n_new)

    def pairs(self, probed: Broadcast[Any] | None = None) -> DataFrame:
        """Pairs that agree by words, staged; what is left out is counted and told."""
        hot = NONE_HOT
        is_large = self.inputs.n_units > self.inputs.cfg.word_key_max_images
        if by_keys(self.inputs.cfg) and (is_large or self._frequent is not None):
            hot = self.frequent
            self._tell_frequent_words(self._frequent or [])
        started = time.monotonic()
        found = self._pairs_by_keys(probed, hot) if by_keys(self.inputs.cfg) else self._pairs_by_blocks()
        self.seconds = time.monotonic() - started
        return found

    def _pairs_by_blocks(self) -> DataFrame:
        inputs = self.inputs
        _warn_of_blocks(inputs.n_new, inputs.n_units)
        size = units_per_block(inputs.n_units, inputs.units.sparkSession.sparkContext.defaultParallelism)
        found = word_pairs(
            inputs.units,
            inputs.features,
            inputs.cfg,
            lambda frame: self.actions.save(frame, "step"),
            block_units=size,
        )
        pairs = self.actions.save(found.pairs, "words")
        self._tell_dropped_words(found)
        return pairs

    def _pairs_by_keys(self, probed: Broadcast[Any] | None, hot: HotWords) -> DataFrame:
        inputs, lsh = self.inputs, self.inputs.cfg
        found = meet_by_keys(inputs.units, inputs.keys, lsh, inputs.n_units, inputs.n_new, probed, hot=hot)
        met = replace(found, met=self.actions.save(found.met, "met"))
        self._tell_dropped_keys(self.actions.rows(met.left_out())[0])
        pairs = self.actions.save(met.pairs(), "key-pairs")
        n_pairs = int(self.actions.rows(pairs.agg(F.count(F.lit(1)).alias("n")))[0]["n"])
        self.actions.count("word_pairs_checked", n_pairs)
        self.n_compared = n_pairs
        _warn_of_pairs(n_pairs, inputs.n_units, lsh)
        are_few = n_pairs <= min(FEW_PAIRS, inputs.n_units // 4)
        return self.actions.save(check_words(pairs, inputs.features, lsh, are_few=are_few, hot=hot), "words")

    def _tell_frequent_words(self, rows: list[Row]) -> None:
        self.actions.count("hot_words", len(rows))
        if rows:
            top = max(rows, key=lambda row: row["n_units"])
            log.warning(
                "%d visual words are held by more than lsh.word_key_max_images = %d images of a scope and more than "
                "one in %d of them (word %d by about %d) and are left out of the join, with all keys they make: a "
                "mark that many pictures bear (a watermark, a frame), or the vocabulary does not suit them; raise the "
                "limit, or train a vocabulary on these images (dupelake vocabulary)",
                *(len(rows), self.inputs.cfg.word_key_max_images, CROWD_SHARE, top["word"], top["n_units"]),
            )

    def _tell_dropped_keys(self, out: Row) -> None:
        self.actions.count("words_dropped", out["keys"] or 0)
        if out["keys"]:
            self.actions.count("word_pairs_dropped", out["pairs"])
            log.warning(
                "%d pairs of neighbouring words are held by more than lsh.word_key_max_images = %d images, or have a "
                "word that is left out (the commonest of both is held by %d), and were left out of the join, with "
                "them %d meetings of two images, which may still meet by other keys and by the other legs; raise the "
                "limit if they do not",
                *(out["keys"], self.inputs.cfg.word_key_max_images, out["largest"], out["pairs"]),
            )

    def _tell_dropped_words(self, found: WordPairs) -> None:
        self.actions.count("words_dropped", found.n_dropped_words)
        if found.n_dropped_words:
            top = F.max_by(F.struct("word", "n_units"), "n_units").alias("top")
            totals = self.actions.rows(found.dropped.agg(F.sum("n_pairs").alias("pairs"), top))[0]
            self.actions.count("word_pairs_dropped", totals["pairs"])
            log.warning(
                "%d visual words are held by more than lsh.word_max_images = %d images of a scope (word %d by %d) and "
                "were left out of the join, with them %d meetings of two images; raise the limit, or train a "
                "vocabulary on these images (dupelake vocabulary)",
                *(found.n_dropped_words, self.inputs.cfg.word_max_images),
                *(totals["top"]["word"], totals["top"]["n_units"], totals["pairs"]),
            )


def _warn_of_blocks(n_new: int, n_units: int) -> None:
    if n_new * n_units > _MANY_MEETINGS:
        log.warning(
            "%d new contents meet %d by visual words in blocks, which costs the product of the two; for so many "
            "set lsh.word_join=keys and run once with --full (docs/operations.md)",
            *(n_new, n_units),
        )


def _warn_of_pairs(n_pairs: int, n_units: int, lsh: LshConfig) -> None:
    if n_pairs > _MANY_PAIRS * n_units:
        log.warning(
            "%d pairs of pictures, %d a picture, share %d keys or more and are compared by words, "
            "about %.1f core-hours: marks that many pictures bear (a watermark, a frame), but not more than "
            "lsh.word_key_max_images = %d of a scope and one in %d of them, do that; lower that limit and run "
            "with --full",
            *(n_pairs, n_pairs // n_units, lsh.word_min_keys, n_pairs * A_PAIR_OF_WORDS / 3600),
            *(lsh.word_key_max_images, CROWD_SHARE),
        )
