"""What the join of a candidate generator will cost, told before it starts from how often each value of its slots comes.

Who meets whom is decided by the values of the slots alone: a value held by s codes, and looked for by p, makes s * p
meetings. Counting the values is one pass and a table of a megabyte a slot, so the meetings of a join are known exactly
but for the slots that are not counted (four stand for all), and so is its hottest key.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dupelake.propose.mih import Codes, SlotPlan, probe_masks, slot_keys

SLOTS = 4
"""Counted of each generator, spread over the code."""
_BITS = 17  # of a value that are told apart; wider slots are folded, which counts too many meetings, never too few
N_VALUES = 1 << _BITS
"""Of a counted slot."""
# Core-seconds on the machine of benchmarks/scale.md (2 cores): made, sent and sorted; compared.
_A_KEY = 5.0e-7
_A_MEETING = 2.0e-8
_BYTES_A_KEY = 8
A_PAIR_OF_WORDS = 1.3e-4
"""Core-seconds of comparing two pictures by words, half of it to bring these (benchmarks/scale.md)."""
_A_MEETING_IN_BLOCKS = 1.5e-7
_BYTES_A_WORD_KEY = 14  # with its share of the unit's record
_BYTES_OF_WORDS = 2_400  # of a picture

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Forecast:
    """Of one generator.

    Attributes:
        n_stored: keys that are stored, after the filter of a small night.
        n_probing: keys that are looked for.
        n_meetings: pairs of codes under an equal key, each of which is compared.
        hottest: meetings of the one key that makes the most.
        n_bytes: shuffled for keys; the codes beside them are some 10 % more.
        core_seconds: for all of that.
    """

    n_stored: int
    n_probing: int
    n_meetings: int
    hottest: int
    n_bytes: int
    core_seconds: float


@dataclass(frozen=True)
class WordForecast:
    """Of visual words, by one of its two ways.

    Attributes:
        n_meetings: pairs of pictures whose words are compared.
        n_bytes: shuffled.
        core_seconds: for all of that.
    """

    n_meetings: int
    n_bytes: int
    core_seconds: float


def words_by_keys(n_keys: float, n_pairs: float) -> WordForecast:
    """So many keys joined, so many pairs with enough of them in common compared."""
    n_bytes = n_keys * _BYTES_A_WORD_KEY + n_pairs * 2 * _BYTES_OF_WORDS
    return WordForecast(round(n_pairs), round(n_bytes), n_keys * _A_KEY + n_pairs * A_PAIR_OF_WORDS)


def words_by_blocks(n_units: int, n_new: int, same_scope: float, block_units: int) -> WordForecast:
    """All new units meet all units of their scope; each is sent to every block that it must meet, and to one at least.

    `same_scope`: how likely two units are of one scope.
    """
    n_old = n_units - n_new
    n_meetings = (n_new * n_old + n_new * (n_new - 1) // 2) * same_scope
    new_blocks, old_blocks = (max(1.0, same_scope * n / block_units) if n else 0.0 for n in (n_new, n_old))
    n_sent = n_new * (new_blocks + old_blocks) + n_old * new_blocks
    return WordForecast(round(n_meetings), round(n_sent * _BYTES_OF_WORDS), n_meetings * _A_MEETING_IN_BLOCKS)


def counted_slots(plan: SlotPlan) -> list[int]:
    """Numbers of the slots that are counted."""
    n = min(SLOTS, plan.n_slots)
    return [at * plan.n_slots // n for at in range(n)]


def count_values(codes: Codes, plan: SlotPlan, scope_keys: NDArray[np.int64]) -> Counts:
    """How many codes hold each value of the counted slots, int64 (slots, 2^17).

    Args:
        codes: uint64 (n, plan.n_words).
        plan: the slots.
        scope_keys: int64 (n,): turns the values of a scope among each other, so that scopes meet by chance alone.
    """
    slots = counted_slots(plan)
    if not len(codes):
        return np.zeros((len(slots), N_VALUES), np.int64)
    values = slot_keys(codes, plan)[:, slots] ^ scope_keys[:, None]
    return np.stack(
        [np.bincount(values[:, i] & (_mask(plan, slot)), minlength=N_VALUES) for i, slot in enumerate(slots)]
    )


def forecast(stored: Counts, probing: Counts, plan: SlotPlan, *, is_filtered: bool, new_share: float = 1.0) -> Forecast:
    """The join of codes `stored` and codes `probing`, both counted by `count_values`.

    Args:
        stored: of the codes that are stored.
        probing: of those that look.
        plan: the slots.
        is_filtered: whether keys that nobody looks for are dropped before they are sent.
        new_share: the join of so small a part of what probes, taken at random.
    """
    n_stored = n_probing = n_meetings = hottest = 0.0
    for i, slot in enumerate(counted_slots(plan)):
        masks = probe_masks(min(plan.slots[slot][1], _BITS), plan.probe_bits)
        sought = sum(probing[i][np.arange(N_VALUES) ^ mask] for mask in masks.tolist())
        meetings = stored[i] * sought * new_share
        # the chance that one at least of those that look for a key is among the new
        is_sought = sought > 0 if new_share >= 1 else 1.0 - (1.0 - new_share) ** sought
        passed = stored[i] * is_sought if is_filtered else stored[i]
        n_stored += float(passed.sum())
        n_probing += float(probing[i].sum()) * len(masks) * new_share
        n_meetings += float(meetings.sum())
        hottest = max(hottest, float(meetings.max()))
    scale = plan.n_slots / len(counted_slots(plan))
    n_stored, n_probing, n_meetings = n_stored * scale, n_probing * scale, n_meetings * scale
    n_keys = n_stored + n_probing
    seconds = n_keys * _A_KEY + n_meetings * _A_MEETING
    return Forecast(
        round(n_stored), round(n_probing), round(n_meetings), round(hottest), round(n_keys * _BYTES_A_KEY), seconds
    )


def _mask(plan: SlotPlan, slot: int) -> int:
    return (1 << min(plan.slots[slot][1], _BITS)) - 1
