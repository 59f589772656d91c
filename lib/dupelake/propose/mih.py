"""Multi-index hashing: keys that any two codes within a Hamming radius share.

A code of b bits is cut into m slots. Two codes that differ in at most d bits differ, by the pigeonhole principle, in at
most floor(d / m) bits of some slot. So one side stores the value of each slot. The other side probes each value and all
values that differ in up to r = floor(d / m) bits. No pair within d is missed. The distance must still be checked,
because codes with a shared key may be farther apart.

Codes are uint64 (n, words). Bit 0 is the highest bit of word 0, as in the stored bytes of hashes.

Reference: Norouzi, Punjani, Fleet: Fast Search in Hamming Space with Multi-Index Hashing, CVPR 2012.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Codes = npt.NDArray[np.uint64]
Keys = npt.NDArray[np.int64]

VALUE_BITS = 48  # a key is slot << 48 | value, positive in an int64
MAX_PROBE_BITS = 2  # three bits of a slot of 16 bits would be 697 lookups
# Cost of one joined row that fails the check, relative to one shuffled and sorted row. Measured on Spark 4.2 (local
# mode, four words in a code): 0.05 and 0.8 us of CPU.
CANDIDATE_COST = 1 / 16


@dataclass(frozen=True)
class SlotPlan:
    """The bits that make keys, and the bits of a slot that a probe may change.

    Attributes:
        n_bits: length of a code.
        slots: (start, width) of each slot in bits; disjoint.
        probe_bits: largest number of differing bits of a slot that a probe covers, 0 to 2.
        max_bits: Hamming radius over the whole code; pairs outside are not proposed.
    """

    n_bits: int
    slots: tuple[tuple[int, int], ...]
    probe_bits: int
    max_bits: int

    def __post_init__(self) -> None:
        """Refuse slots that do not fit into the code or into a key."""
        end = 0
        for start, width in self.slots:
            if start < end or not 1 <= width <= VALUE_BITS:
                raise ValueError(f"slots {self.slots}: must be ascending, disjoint and 1 to {VALUE_BITS} bits wide")
            end = start + width
        if not self.slots or end > self.n_bits or len(self.slots) >= 1 << (63 - VALUE_BITS):
            raise ValueError(f"slots {self.slots}: must lie within {self.n_bits} bits")
        if not 0 <= self.probe_bits <= MAX_PROBE_BITS or self.max_bits < 0:
            raise ValueError(
                f"probe_bits {self.probe_bits} must be 0 to {MAX_PROBE_BITS}, max_bits {self.max_bits} not negative"
            )

    @property
    def n_slots(self) -> int:
        """Number of keys of a stored code."""
        return len(self.slots)

    @property
    def n_words(self) -> int:
        """Number of 64-bit words of a code."""
        return -(-self.n_bits // 64)

    @property
    def n_probes(self) -> int:
        """Number of keys of a probing code, over all slots."""
        return sum(_ball(width, self.probe_bits) for _, width in self.slots)

    @property
    def is_exact(self) -> bool:
        """Whether the pigeonhole principle guarantees every pair within `max_bits`."""
        return self.max_bits // self.n_slots <= self.probe_bits

    def random_candidates(self, n_items: float) -> float:
        """Expected number of `n_items` random stored codes that one probing code meets by chance."""
        return n_items * sum(_ball(width, self.probe_bits) / 2.0**width for _, width in self.slots)

    def cost(self, candidates: float) -> float:
        """Cost of one code on a first night: its rows on both sides, weighted by width, and its candidates."""
        rows = (self.n_slots + self.n_probes) * (0.5 + self.n_words / 8)  # 1.0 for a row of four words
        return rows + CANDIDATE_COST * candidates


def plan_exact(n_bits: int, max_bits: int, n_items: float) -> SlotPlan:
    """The cheapest plan (`SlotPlan.cost`) that finds every pair within `max_bits`.

    For each probe radius r the smallest number of slots, floor(max_bits / (r + 1)) + 1, is best. More slots would make
    more rows, and narrower slots have more chance meetings. So three plans are compared. Many items need wide slots:
    PDQ within 31 bits uses 32 slots of 8 bits for a few ten thousand items, and 16 slots of 16 bits with probes of one
    bit for more.

    Args:
        n_bits: length of a code.
        max_bits: Hamming radius, inclusive, below `n_bits`.
        n_items: number of codes to plan for; changes cost, never pairs.

    Raises:
        ValueError: no plan has this radius with these bits.
    """
    plans = [
        SlotPlan(n_bits, _even_slots(n_bits, n_slots), probe_bits, max_bits)
        for probe_bits in range(MAX_PROBE_BITS + 1)
        if 1 <= (n_slots := max_bits // (probe_bits + 1) + 1) <= n_bits
    ]
    if max_bits < 0 or not plans:
        raise ValueError(f"no slots find all pairs within {max_bits} of {n_bits} bits")
    return min(plans, key=lambda plan: plan.cost(plan.random_candidates(n_items)))


def _even_slots(n_bits: int, n_slots: int) -> tuple[tuple[int, int], ...]:
    """`n_slots` even slots over the whole code; each is cut to VALUE_BITS."""
    edges = [slot * n_bits // n_slots for slot in range(n_slots + 1)]
    return tuple((start, min(end - start, VALUE_BITS)) for start, end in itertools.pairwise(edges))


def _ball(width: int, radius: int) -> int:
    return sum(comb(width, bits) for bits in range(min(radius, width) + 1))


def slot_keys(codes: Codes, plan: SlotPlan) -> Keys:
    """The keys of the stored side, one for each slot.

    Args:
        codes: uint64 (n, plan.n_words).
        plan: the slots.

    Returns:
        int64 (n, plan.n_slots); two keys are equal if and only if slot and value are equal.
    """
    return _slot_values(codes, plan) | _slot_numbers(plan)


def probe_keys(codes: Codes, plan: SlotPlan) -> Keys:
    """The keys of the probing side: all values within `plan.probe_bits` of each slot. Keys of a row are all different.

    Args:
        codes: uint64 (n, plan.n_words).
        plan: the slots.

    Returns:
        int64 (n, plan.n_probes).
    """
    keys = slot_keys(codes, plan)
    return np.concatenate(
        [keys[:, slot, None] ^ probe_masks(width, plan.probe_bits) for slot, (_, width) in enumerate(plan.slots)],
        axis=1,
    )


def _slot_numbers(plan: SlotPlan) -> Keys:
    return np.arange(plan.n_slots, dtype=np.int64) << np.int64(VALUE_BITS)


def probe_masks(width: int, radius: int) -> Keys:
    """int64 (m,): every value of `width` bits with at most `radius` bits set; a probe is slot value xor mask."""
    flips = (bits for n in range(min(radius, width) + 1) for bits in itertools.combinations(range(width), n))
    return np.array([sum(1 << bit for bit in bits) for bits in flips], np.int64)


def _slot_values(codes: Codes, plan: SlotPlan) -> Keys:
    if codes.ndim != 2 or codes.shape[1] != plan.n_words or codes.dtype != np.uint64:
        raise ValueError(f"codes are {codes.dtype} {codes.shape}; uint64 (n, {plan.n_words}) is wanted")
    values = np.empty((len(codes), plan.n_slots), np.uint64)
    for slot, (start, width) in enumerate(plan.slots):
        word, offset = divmod(start, 64)
        spill = offset + width - 64  # bits of the slot that lie in the next word
        if spill <= 0:
            value = codes[:, word] >> np.uint64(-spill)
        else:
            value = (codes[:, word] << np.uint64(spill)) | (codes[:, word + 1] >> np.uint64(64 - spill))
        values[:, slot] = value & np.uint64((1 << width) - 1)
    return values.astype(np.int64)


def hamming_bits(left: Codes, right: Codes) -> npt.NDArray[np.int32]:
    """The number of differing bits of two codes, uint64 (..., words) each; shapes broadcast."""
    return np.bitwise_count(left ^ right).sum(axis=-1, dtype=np.int32)


def meeting(code: Codes, codes: Codes, plan: SlotPlan) -> npt.NDArray[np.int64]:
    """The codes that a join by this plan proposes for one code, by the definition and without keys.

    These are the codes within `max_bits` of which some slot differs in at most `probe_bits` bits. For an exact plan
    every code within `max_bits` has such a slot.

    Args:
        code: uint64 (words,).
        codes: uint64 (n, words); fastest in Fortran order.
        plan: the slots and the radius.

    Returns:
        int64 (k,): their indexes, ascending.
    """
    bits = np.zeros(len(codes), np.uint16)
    for word in range(plan.n_words):  # as `hamming_bits`, without an array of all words
        bits += np.bitwise_count(codes[:, word] ^ code[word])
    near = np.flatnonzero(bits <= plan.max_bits)
    if plan.is_exact or not len(near):
        return near
    differing = _slot_values(codes[near], plan) ^ _slot_values(code[None], plan)
    return near[(np.bitwise_count(differing) <= plan.probe_bits).any(axis=1)]


def words_of(digests: npt.NDArray[np.uint8]) -> Codes:
    """Convert stored bytes, uint8 (n, 8 * words) with the first bit highest, to codes, uint64 (n, words)."""
    return np.ascontiguousarray(digests).view(">u8").astype(np.uint64)


def binary_rows(column: pa.Array, n_bytes: int) -> npt.NDArray[np.uint8]:
    """A binary Arrow column without nulls as uint8 (n, n_bytes), without a Python object for each row.

    Raises:
        ValueError: a value has another length or is null.
    """
    if column.null_count:
        raise ValueError(f"{column.null_count} of {len(column)} values are null")
    try:
        fixed = column.cast(pa.binary(n_bytes))
    except pa.ArrowInvalid as error:
        raise ValueError(f"a value is not of {n_bytes} bytes: {error}") from error
    raw = np.frombuffer(fixed.buffers()[1] or b"", np.uint8, count=len(fixed) * n_bytes, offset=fixed.offset * n_bytes)
    return raw.reshape(len(fixed), n_bytes)


def binary_column(rows: npt.NDArray[np.uint8]) -> pa.Array:
    """The inverse of `binary_rows`: uint8 (n, n_bytes) as a binary Arrow column."""
    data = pa.py_buffer(np.ascontiguousarray(rows).tobytes())
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, data])
    return fixed.cast(pa.binary())
