"""Forecasts the size and the time of a join by arithmetic on the numbers of units, slots and probes.

How many pictures will meet under the keys is not counted, which would take a pass over all codes and words. The seconds
include what drawn contents meet (benchmarks/scale.md), and a run scales them by the error of the last forecast
(`pipeline/planning.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

# Core-seconds on the machine of benchmarks/scale.md (2 cores).
_SECONDS_PER_CODE_KEY = 5.8e-7  # to make, send and sort a key, and to compare the codes that meet
_SECONDS_PER_WORD_KEY = 5.0e-7  # to make, send and sort a key
_SECONDS_PER_BLOCK_PAIR = 1.5e-7
SECONDS_PER_WORD_PAIR = 1.3e-4
"""Core-seconds to compare two pictures by words; half of it is for fetching the words (benchmarks/scale.md)."""
_SHARE_MET = 2.7e-5  # of all pairs of pictures: those that share enough word keys and are compared
_BYTES_PER_CODE_KEY = 8
_BYTES_PER_WORD_KEY = 14  # including its share of the unit's record
_BYTES_OF_WORDS = 2_400  # for each picture


@dataclass(frozen=True)
class Forecast:
    """Forecast for one generator.

    Attributes:
        n_keys: number of shuffled keys; 0 for words by blocks.
        n_meetings: number of pairs of pictures whose words are compared; 0 for bit codes.
        n_bytes: shuffled bytes; bit codes themselves add some 10 %.
        core_seconds: for the whole join.
    """

    n_keys: int
    n_meetings: int
    n_bytes: int
    core_seconds: float


def of_codes(n_keys: float) -> Forecast:
    """Forecast for a generator of bit codes with so many stored and probing keys."""
    return Forecast(round(n_keys), 0, round(n_keys * _BYTES_PER_CODE_KEY), n_keys * _SECONDS_PER_CODE_KEY)


def of_word_keys(n_keys: float, n_units: int, n_new: int) -> Forecast:
    """Forecast for words by keys, if all units have one scope."""
    n_pairs = _n_pairs(n_units, n_new) * _SHARE_MET
    n_bytes = n_keys * _BYTES_PER_WORD_KEY + n_pairs * 2 * _BYTES_OF_WORDS
    seconds = n_keys * _SECONDS_PER_WORD_KEY + n_pairs * SECONDS_PER_WORD_PAIR
    return Forecast(round(n_keys), round(n_pairs), round(n_bytes), seconds)


def of_word_blocks(n_units: int, n_new: int, block_units: int) -> Forecast:
    """Forecast for words by blocks of so many units, if all units have one scope.

    Each unit is sent to every block that it must meet, and to at least one.
    """
    new_blocks, old_blocks = (max(1.0, n / block_units) for n in (n_new, n_units - n_new))
    n_sent = n_new * (new_blocks + old_blocks) + (n_units - n_new) * new_blocks
    n_pairs = _n_pairs(n_units, n_new)
    return Forecast(0, n_pairs, round(n_sent * _BYTES_OF_WORDS), n_pairs * _SECONDS_PER_BLOCK_PAIR)


def _n_pairs(n_units: int, n_new: int) -> int:
    """Number of pairs with a new unit."""
    return n_new * (n_units - n_new) + n_new * (n_new - 1) // 2
