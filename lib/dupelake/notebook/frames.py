"""The forms in which a notebook takes rows. The library of each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from dupelake.errors import EnvironmentFault, QueryError


def _to_pandas(table: pa.Table) -> Any:
    return table.to_pandas(maps_as_pydicts="strict")  # a map as a dict, not as a list of pairs


def _to_polars(table: pa.Table) -> Any:
    try:
        import polars
    except ImportError as error:
        raise EnvironmentFault("frames='polars' needs the package polars: pip install 'dupelake[polars]'") from error
    return polars.from_arrow(table)


def _to_spark(table: pa.Table) -> Any:
    from pyspark.sql import SparkSession

    from dupelake.runtime.session import build_session

    session = SparkSession.getActiveSession() or build_session("dupelake-notebook")
    return session.createDataFrame(table)


FRAMES: dict[str, Callable[[pa.Table], Any]] = {
    "arrow": lambda table: table,
    "pandas": _to_pandas,
    "polars": _to_polars,
    "spark": _to_spark,
}


def maker_of(frames: str) -> Callable[[pa.Table], Any]:
    """What makes a frame of that name from an Arrow table.

    Raises:
        QueryError: there is no such form.
    """
    if frames not in FRAMES:
        raise QueryError(f"frames={frames!r}: allowed is one of {', '.join(FRAMES)}")
    return FRAMES[frames]
