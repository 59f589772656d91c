"""Queries that a session has run, by the store behind Spark's SQL page."""

from __future__ import annotations

from pyspark.sql import SparkSession


def last_query(spark: SparkSession) -> int:
    """The number of the newest query, -1 before the first."""
    return max((number for number, _ in _queries(spark)), default=-1)


def n_queries(spark: SparkSession, after: int) -> int:
    """How many queries came after the one of that number; those that Delta runs within a query do not count."""
    return sum(number > after and number == root for number, root in _queries(spark))


def _queries(spark: SparkSession) -> list[tuple[int, int]]:
    """(number, number of the outermost query) of the last thousand."""
    found = spark._jsparkSession.sharedState().statusStore().executionsList()
    held = [found.apply(i) for i in range(found.size())]
    return [(int(one.executionId()), int(one.rootExecutionId())) for one in held]
