"""Forecasts the cost of a candidate generator's join from the counts of its slot values.

Slot values alone decide which codes meet: a value that s codes have and p codes probe makes s * p meetings. Counting
the values takes one pass and a table of a megabyte for each slot. Four slots are counted and scaled to all. For these
slots the number of meetings and the most common key are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dupelake.propose.mih import Codes, SlotPlan, probe_masks, slot_keys

SLOTS = 4
"""Number of counted slots of each generator, spread over the code."""
_BITS = 17  # bits of a value that are counted; wider slots are folded, which counts too many meetings, never too few
N_VALUES = 1 << _BITS
"""Number of counted values of a slot."""
# Core-seconds on the machine of benchmarks/scale.md (2 cores): to make, send and sort a key; to compare two codes.
_SECONDS_PER_KEY = 5.0e-7
_SECONDS_PER_MEETING = 2.0e-8
_BYTES_PER_KEY = 8
SECONDS_PER_WORD_PAIR = 1.3e-4
"""Core-seconds to compare two pictures by words; half of it is for fetching the words (benchmarks/scale.md)."""
_SECONDS_PER_BLOCK_MEETING = 1.5e-7
_BYTES_PER_WORD_KEY = 14  # including its share of the unit's record
_BYTES_OF_WORDS = 2_400  # for each picture

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Forecast:
    """Forecast for one generator.

    Attributes:
        n_stored: number of stored keys, after the filter of a small night.
        n_probing: number of probing keys.
        n_meetings: number of pairs of codes with an equal key; each is compared.
        hottest: largest number of meetings of one key.
        n_bytes: shuffled bytes of keys; codes add some 10 %.
        core_seconds: for the whole join.
    """

    n_stored: int
    n_probing: int
    n_meetings: int
    hottest: int
    n_bytes: int
    core_seconds: float


@dataclass(frozen=True)
class WordForecast:
    """Forecast for the words generator, by keys or by blocks.

    Attributes:
        n_meetings: number of pairs of pictures whose words are compared.
        n_bytes: shuffled bytes.
        core_seconds: for the whole join.
    """

    n_meetings: int
    n_bytes: int
    core_seconds: float


def words_by_keys(n_keys: float, n_pairs: float) -> WordForecast:
    """Forecast for `n_keys` joined keys and `n_pairs` compared pairs."""
    n_bytes = n_keys * _BYTES_PER_WORD_KEY + n_pairs * 2 * _BYTES_OF_WORDS
    return WordForecast(round(n_pairs), round(n_bytes), n_keys * _SECONDS_PER_KEY + n_pairs * SECONDS_PER_WORD_PAIR)


def words_by_blocks(n_units: int, n_new: int, same_scope: float, block_units: int) -> WordForecast:
    """Forecast for blocks: all new units meet all units of their scope.

    Each unit is sent to every block that it must meet, and to at least one.

    Args:
        n_units: number of units.
        n_new: number of new units.
        same_scope: probability that two units have the same scope.
        block_units: units of a block.
    """
    n_old = n_units - n_new
    n_meetings = (n_new * n_old + n_new * (n_new - 1) // 2) * same_scope
    new_blocks, old_blocks = (max(1.0, same_scope * n / block_units) if n else 0.0 for n in (n_new, n_old))
    n_sent = n_new * (new_blocks + old_blocks) + n_old * new_blocks
    return WordForecast(round(n_meetings), round(n_sent * _BYTES_OF_WORDS), n_meetings * _SECONDS_PER_BLOCK_MEETING)


def counted_slots(plan: SlotPlan) -> list[int]:
    """Indexes of the slots that are counted."""
    n = min(SLOTS, plan.n_slots)
    return [at * plan.n_slots // n for at in range(n)]


def count_values(codes: Codes, plan: SlotPlan, scope_keys: NDArray[np.int64]) -> Counts:
    """The number of codes with each value of the counted slots, int64 (slots, 2^17).

    Args:
        codes: uint64 (n, plan.n_words).
        plan: the slots.
        scope_keys: int64 (n,): permutes the values of a scope, so that codes of two scopes meet only by chance.
    """
    slots = counted_slots(plan)
    if not len(codes):
        return np.zeros((len(slots), N_VALUES), np.int64)
    values = slot_keys(codes, plan)[:, slots] ^ scope_keys[:, None]
    return np.stack(
        [np.bincount(values[:, i] & (_mask(plan, slot)), minlength=N_VALUES) for i, slot in enumerate(slots)]
    )


def forecast(stored: Counts, probing: Counts, plan: SlotPlan, *, is_filtered: bool, new_share: float = 1.0) -> Forecast:
    """Forecast the join of stored and probing codes.

    Args:
        stored: counts of the stored codes, as `count_values` gives them.
        probing: counts of the probing codes, likewise.
        plan: the slots.
        is_filtered: whether keys that nothing probes are dropped before the shuffle.
        new_share: the share of the probing codes that will be joined, taken at random.
    """
    n_stored = n_probing = n_meetings = hottest = 0.0
    for i, slot in enumerate(counted_slots(plan)):
        masks = probe_masks(min(plan.slots[slot][1], _BITS), plan.probe_bits)
        sought = sum(probing[i][np.arange(N_VALUES) ^ mask] for mask in masks.tolist())
        meetings = stored[i] * sought * new_share
        # the probability that at least one code that probes a key is in the share
        is_sought = sought > 0 if new_share >= 1 else 1.0 - (1.0 - new_share) ** sought
        passed = stored[i] * is_sought if is_filtered else stored[i]
        n_stored += float(passed.sum())
        n_probing += float(probing[i].sum()) * len(masks) * new_share
        n_meetings += float(meetings.sum())
        hottest = max(hottest, float(meetings.max()))
    scale = plan.n_slots / len(counted_slots(plan))
    n_stored, n_probing, n_meetings = n_stored * scale, n_probing * scale, n_meetings * scale
    n_keys = n_stored + n_probing
    seconds = n_keys * _SECONDS_PER_KEY + n_meetings * _SECONDS_PER_MEETING
    return Forecast(
        round(n_stored), round(n_probing), round(n_meetings), round(hottest), round(n_keys * _BYTES_PER_KEY), seconds
    )


def _mask(plan: SlotPlan, slot: int) -> int:
    return (1 << min(plan.slots[slot][1], _BITS)) - 1
