"""The words generator: pictures whose visual words agree in rotation and scale, and then in position.

The option lsh.word_join decides which pictures meet: all pairs in blocks (`propose/word_blocks_stage.py`), or those
that share keys of neighbouring words (`propose/word_keys_stage.py`). The log and the counts of the run say what is left
out and what is expensive.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from pyspark import Broadcast
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.propose.forecast import SECONDS_PER_WORD_PAIR
from dupelake.propose.frequent_words_stage import (
    CROWD_SHARE,
    NO_FREQUENT_WORDS,
    FrequentWords,
    by_scope,
    count_frequent_words,
    sampled,
)
from dupelake.propose.generator_stage import Actions, CandidateGenerator, JoinInputs
from dupelake.propose.versions import WORD_KEYS_REVISION, WORDS_REVISION, by_keys
from dupelake.propose.word_blocks_stage import units_per_block, word_pairs
from dupelake.propose.word_keys_stage import check_words, meet_by_keys, probed_word_keys

log = logging.getLogger(__name__)

FEW_PAIRS = 200_000  # up to so many pairs, their ids are broadcast: some 200 bytes for each pair
_MANY_MEETINGS = 10**10  # meetings of two pictures in blocks: hours on a few cores
_MANY_PAIRS = 500  # compared pairs for each unit; a random million of contents had 14


class Words(CandidateGenerator):
    """Proposes pairs by visual words. Unlike other generators it computes them when `pairs` is called.

    Attributes:
        seconds: wall time of `pairs`; 0 before the call.
        n_compared: number of pairs that `pairs` compared; None before the call and if they were not counted.
    """

    name = "words"

    def __init__(self, inputs: JoinInputs, actions: Actions) -> None:
        super().__init__(inputs, actions)
        self.seconds = 0.0
        self.n_compared: int | None = None

    @classmethod
    def is_wanted(cls, inputs: JoinInputs) -> bool:
        """Whether lsh.words is set."""
        return inputs.cfg.words

    @classmethod
    def revisions(cls, cfg: LshConfig) -> tuple[int, ...]:
        """The revision of the rule that compares two pictures, and that of word keys if they are used."""
        return (WORDS_REVISION, WORD_KEYS_REVISION) if by_keys(cfg) else (WORDS_REVISION,)

    def filters(self) -> DataFrame | None:
        """Filters of the word keys of new units; None for blocks, which use no keys."""
        if not by_keys(self.inputs.cfg):
            return None
        return probed_word_keys(self.inputs.units, self.inputs.new_keys, self.inputs.n_new)

    def pairs(self, probed: Broadcast[Any] | None = None) -> DataFrame:
        """Pairs whose words agree, staged. Counts and log lines say what is left out."""
        started = time.monotonic()
        found = self._pairs_by_keys(probed) if by_keys(self.inputs.cfg) else self._pairs_by_blocks()
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
        self._report_dropped_words(found.dropped)
        return pairs

    def _frequent_words(self) -> FrequentWords:
        """Frequent words of a sample of the units; the join by keys leaves them out."""
        if self.inputs.n_units <= self.inputs.cfg.word_key_max_images:
            return NO_FREQUENT_WORDS
        sample = sampled(self.inputs.units, self.inputs.features, self.inputs.n_units)
        # The rows are few. A frequent word is in more than 1 / CROWD_SHARE of a scope, and a picture has at most
        # 2 * max_words words. That is at most about 90,000 rows for each scope larger than the cap.
        rows = self.actions.rows(count_frequent_words(sample, self.inputs.cfg))
        self._report_frequent_words(rows)
        return by_scope(rows)

    def _pairs_by_keys(self, probed: Broadcast[Any] | None) -> DataFrame:
        inputs, lsh, frequent = self.inputs, self.inputs.cfg, self._frequent_words()
        found = meet_by_keys(inputs.units, inputs.keys, lsh, inputs.n_units, inputs.n_new, probed, frequent=frequent)
        met = replace(found, met=self.actions.save(found.met, "met"))
        self._report_dropped_keys(self.actions.rows(met.left_out())[0])
        pairs = self.actions.save(met.pairs(), "key-pairs")
        n_pairs = int(self.actions.rows(pairs.agg(F.count(F.lit(1)).alias("n")))[0]["n"])
        self.actions.count("word_pairs_checked", n_pairs)
        self.n_compared = n_pairs
        _warn_of_pairs(n_pairs, inputs.n_units, lsh)
        are_few = n_pairs <= min(FEW_PAIRS, inputs.n_units // 4)
        return self.actions.save(check_words(pairs, inputs.features, lsh, are_few=are_few, frequent=frequent), "words")

    def _report_frequent_words(self, rows: list[Row]) -> None:
        self.actions.count("hot_words", len(rows))
        if rows:
            top = max(rows, key=lambda row: row["n_units"])
            log.warning(
                "%d visual words are frequent: more than lsh.word_key_max_images = %d images of a scope, and more than "
                "one in %d of them, have the word (word %d: about %d images). The join leaves out these words and all "
                "their keys. Either many pictures have the same mark (a watermark, a frame), or the vocabulary does "
                "not suit the images. Raise the limit, or train a vocabulary on these images (dupelake vocabulary)",
                *(len(rows), self.inputs.cfg.word_key_max_images, CROWD_SHARE, top["word"], top["n_units"]),
            )

    def _report_dropped_keys(self, out: Row) -> None:
        self.actions.count("words_dropped", out["keys"] or 0)
        if out["keys"]:
            self.actions.count("word_pairs_dropped", out["pairs"])
            log.warning(
                "The join left out %d pairs of neighbouring words: more than lsh.word_key_max_images = %d images have "
                "them (the most common: %d images), or one of the words is frequent. This leaves out %d meetings of "
                "two images. Other keys and other candidate generators may still find these pairs; raise the limit "
                "if they do not",
                *(out["keys"], self.inputs.cfg.word_key_max_images, out["largest"], out["pairs"]),
            )

    def _report_dropped_words(self, rows: list[Row]) -> None:
        self.actions.count("words_dropped", len(rows))
        if rows:
            n_pairs, top = sum(row["n_pairs"] for row in rows), max(rows, key=lambda row: row["n_units"])
            self.actions.count("word_pairs_dropped", n_pairs)
            log.warning(
                "The join left out %d visual words that more than lsh.word_max_images = %d images of a scope have "
                "(word %d: %d images). This leaves out %d meetings of two images. Raise the limit, or train a "
                "vocabulary on these images (dupelake vocabulary)",
                *(len(rows), self.inputs.cfg.word_max_images, top["word"], top["n_units"], n_pairs),
            )


def _warn_of_blocks(n_new: int, n_units: int) -> None:
    if n_new * n_units > _MANY_MEETINGS:
        log.warning(
            "%d new contents are compared with %d contents by visual words in blocks. The cost is the product of the "
            "two. For so many contents set lsh.word_join=keys and run once with --full (docs/operations.md)",
            *(n_new, n_units),
        )


def _warn_of_pairs(n_pairs: int, n_units: int, lsh: LshConfig) -> None:
    if n_pairs > _MANY_PAIRS * n_units:
        log.warning(
            "%d pairs of pictures, %d a picture, share at least %d keys and are compared by words. This takes about "
            "%.1f core-hours. The usual cause is a mark (a watermark, a frame) that many pictures have, but not more "
            "than lsh.word_key_max_images = %d of a scope and one in %d of them. Lower this limit and run with --full",
            *(n_pairs, n_pairs // n_units, lsh.word_min_keys, n_pairs * SECONDS_PER_WORD_PAIR / 3600),
            *(lsh.word_key_max_images, CROWD_SHARE),
        )
