"""Numbers of commits, by which a run that was overtaken is kept from committing after the run that took over.

Its lock was stale, or deleted by hand, and it works on. So every run has a token, larger than those of all runs before
it, and each of its commits carries a number that starts with it, as Delta's transaction identifier. Where the run
before did not end, the new one first writes its token to every table (`tables.Warehouse.own`): what the old one is
committing then conflicts, and what it commits later is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from pyspark.sql import SparkSession

from dupelake.errors import BusyError

APP_ID = "dupelake"  # of the numbers in a table's log
_BITS = 31  # of a number, for a count of the table's commits; above them is the token: seconds since 1970, or more
_COUNTS = (1 << _BITS) - 1


def count_of(number: int) -> int:
    """The part of a commit's number that counts; the whole of one from before there were tokens."""
    return number & _COUNTS


def token_above(others: Iterable[int], numbers: Iterable[int]) -> int:
    """A token larger than `others`, and than those that the numbers of commits start with."""
    return max(int(time.time()), *(token + 1 for token in others), *((number >> _BITS) + 1 for number in numbers))


def number_above(last: int, token: int | None, *, count: int | None = None) -> int:
    """The number of the next commit to a table.

    Args:
        last: of the newest one; 0 where there is none.
        token: of the run that commits; None keeps that of `last`.
        count: the part that counts; None is one more than in `last`.

    Raises:
        BusyError: `last` is of a run that came later.
    """
    if token is not None and last >> _BITS > token:
        raise BusyError("another run took this warehouse over; nothing more is written, start it again")
    return (last >> _BITS if token is None else token) << _BITS | (count_of(last) + 1 if count is None else count)


def options_of(number: int | None) -> dict[str, str]:
    """What makes a commit carry `number`, as that of an idempotent write: options of a writer."""
    return {} if number is None else {"txnAppId": APP_ID, "txnVersion": str(number)}


_SETTINGS = threading.RLock()  # they are the session's, and so of all threads


@contextmanager
def session_settings(spark: SparkSession, values: Mapping[str, str]) -> Iterator[None]:
    """Settings of the session for what is done within."""
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
    """What `options_of` gives as settings of the session, for commits that take no options (merge, delete)."""
    # Else Delta, which takes any source but its own tables for one that may change, first caches all of it.
    values = {"merge.materializeSource": "none"} | {f"write.{name}": value for name, value in options.items()}
    with session_settings(spark, {f"spark.databricks.delta.{name}": value for name, value in values.items()}):
        yield
