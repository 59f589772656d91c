"""Helpers of the joins of packed keys (`propose/keyjoin.py`): unit records, key filters, gathering of parts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.propose.keyfilter import make_bitmap, may_hold
from dupelake.propose.keyjoin import UNIT_MASK, Keys, Places
from dupelake.propose.mih import binary_column, binary_rows
from dupelake.runtime.batches import Batches

FILTER_TASKS = 4  # each makes a filter of up to 16 MB
KEYS_PER_PART = 16_000_000  # 128 MB of numbers to sort, and as much again while they are collected
FALSE_SHARE = 1 / 8  # share of the keys of old units that pass the filter of a night

Units = npt.NDArray[np.void]


def unit_columns() -> tuple[Column, Column, Column]:
    """(id, scope_key, scope_digest) of (content_id, scope): binary of 16 bytes, bigint, binary of 16 bytes.

    `scope_key` separates the keys of most scopes. `scope_digest` decides whether two units have one scope.
    """
    return F.unhex("content_id").alias("id"), F.xxhash64("scope").alias("scope_key"), scope_digest()


def scope_digest() -> Column:
    """`scope_digest` of (scope): binary of 16 bytes, equal only for equal scopes."""
    return F.unhex(F.substring(F.sha2("scope", 256), 1, 32)).alias("scope_digest")


def unit_type(*more: tuple[Any, ...]) -> np.dtype[np.void]:
    """The record of a unit: id (as two numbers, high bytes first), digest of its scope, and the fields `more`."""
    return np.dtype([("id", "<u8", 2), ("scope", "<u8", 2), *more])


def fill_units(units: Units, batch: pa.RecordBatch) -> None:
    """Write the ids and scopes of a batch with `unit_columns` into `units`, one record for each row."""
    units["id"] = binary_rows(batch["id"], 16).view(">u8").reshape(-1, 2)
    units["scope"] = binary_rows(batch["scope_digest"], 16).view("<u8").reshape(-1, 2)


def id_column(ids: npt.NDArray[np.uint64]) -> pa.Array:
    """The ids of records, uint64 (n, 2), as a binary column."""
    return binary_column(ids.astype(">u8").view(np.uint8))


def n_parts(frame: DataFrame, n_keys: float, keys_per_part: int = KEYS_PER_PART) -> tuple[int, int]:
    """(number of parts for about `n_keys` keys, number of tasks to spread `frame` over first)."""
    at_once = int(frame.sparkSession.conf.get("spark.sql.shuffle.partitions") or 200)
    return max(at_once, math.ceil(n_keys / keys_per_part)), at_once


def emit_bitmap(keys: Iterable[Keys], log2_bits: int) -> Batches:
    """One filter with all keys of a task; no row if there are no keys."""
    whole: npt.NDArray[np.uint8] | None = None
    for some in keys:
        bitmap = make_bitmap(some.view(np.int64), log2_bits)
        whole = bitmap if whole is None else whole | bitmap
    if whole is not None:
        yield pa.RecordBatch.from_arrays([pa.array([whole.tobytes()], pa.binary())], names=["bitmap"])


def bitmap_of(probed: Broadcast[Any] | None) -> npt.NDArray[np.uint8] | None:
    """The bytes of a filter. Call it once in each task."""
    return None if probed is None else np.frombuffer(probed.value, np.uint8)


def keys_passing_filter(owner: Places, keys: Keys, bitmap: npt.NDArray[np.uint8] | None) -> tuple[Places, Keys]:
    """The keys that pass a filter, with their owners; all keys if there is no filter."""
    if bitmap is None:
        return owner, keys
    kept = may_hold(bitmap, keys.view(np.int64))
    return owner[kept], keys[kept]


def gathered(batches: Batches, dtype: np.dtype[np.void], *names: str) -> tuple[Units, list[Keys]]:
    """The units of one part, and its numbers for each of the columns `names`.

    The positions in the numbers refer to the units of the whole part.

    Raises:
        ValueError: a part has more units than a number has positions for.
    """
    units: list[Units] = [np.empty(0, dtype)]
    numbers: list[list[Keys]] = [[np.empty(0, np.uint64)] for _ in names]
    n = 0
    for batch in batches:
        for row in zip(batch["units"], *(batch[name] for name in names), strict=True):
            held, *blobs = (value.as_buffer() for value in row)
            units.append(np.frombuffer(held, dtype))
            for column, blob in zip(numbers, blobs, strict=True):
                column.append(np.frombuffer(blob, np.uint64) + np.uint64(n))
            n += len(units[-1])
    if n > int(UNIT_MASK):
        raise ValueError(f"{n} units in one part do not fit a number; give each part fewer keys")
    return np.concatenate(units), [np.concatenate(column) for column in numbers]
