"""Commit numbers with fencing tokens: they stop a run from committing after another run has taken over its lock.

A run may continue after its lock became stale or was deleted by hand. So each run has a token that is larger than those
of all earlier runs, and each of its commits has a number that starts with the token, as Delta's transaction identifier.
If the previous run did not end, the new run first writes its token to every table (`tables.Warehouse.own`). A commit
that the old run has in progress then conflicts, and its later commits are refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dupelake.errors import BusyError

if TYPE_CHECKING:  # readers without Spark use this module as well
    from pyspark.sql import SparkSession

APP_ID = "dupelake"  # of the numbers in a table's log
_BITS = 31  # low bits of a number: the count of the table's commits; the bits above are the token (seconds since 1970)
_COUNTS = (1 << _BITS) - 1


def count_of(number: int) -> int:
    """The count in a commit's number. Numbers of versions without tokens are counts."""
    return number & _COUNTS


def token_above(others: Iterable[int], numbers: Iterable[int]) -> int:
    """A token larger than `others` and than the tokens in the numbers of commits."""
    return max(int(time.time()), *(token + 1 for token in others), *((number >> _BITS) + 1 for number in numbers))


def number_above(last: int, token: int | None, *, count: int | None = None) -> int:
    """The number of the next commit to a table.

    Args:
        last: number of the newest commit; 0 if there is none.
        token: of the run that commits; None keeps the token of `last`.
        count: the count; None is the count of `last` plus 1.

    Raises:
        BusyError: `last` is of a later run.
    """
    if token is not None and last >> _BITS > token:
        raise BusyError("another run took this warehouse over; nothing more is written, start it again")
    return (last >> _BITS if token is None else token) << _BITS | (count_of(last) + 1 if count is None else count)


def options_of(number: int | None) -> dict[str, str]:
    """The writer options that give a commit `number`, as that of an idempotent write."""
    return {} if number is None else {"txnAppId": APP_ID, "txnVersion": str(number)}


_SETTINGS = threading.RLock()  # settings belong to the session, which all threads share


@contextmanager
def session_settings(spark: SparkSession, values: Mapping[str, str]) -> Iterator[None]:
    """Sets settings of the session inside the context and restores them afterwards."""
    with _SETTINGS:
        before = {name: spark.conf.get(name, None) for name in values}
        try:
            for name, value in values.items():
                spark.conf.set(name, value)
            yield
        finally:
            for name, old in before.items():
                if old is None:
                    spark.conf.unset(name)
                else:
                    spark.conf.set(name, old)


@contextmanager
def carrying(spark: SparkSession, options: Mapping[str, str]) -> Iterator[None]:
    """Sets the options of `options_of` as settings of the session, for commits without options (merge, delete)."""
    # Otherwise Delta caches the whole source first, because it assumes that a source other than a Delta table may
    # change.
    values = {"merge.materializeSource": "none"} | {f"write.{name}": value for name, value in options.items()}
    with session_settings(spark, {f"spark.databricks.delta.{name}": value for name, value in values.items()}):
        yield
