"""dupelake: near-duplicate image detection for lakehouses, on Spark and Delta Lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from dupelake.version import __version__ as __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from dupelake.lookup.answer import Answer
    from dupelake.notebook.opened import OpenWarehouse
    from dupelake.pipeline.register import Registered


@overload
def open(
    warehouse: str | os.PathLike[str],
    frames: Literal["arrow"] = "arrow",
    *,
    run: str | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> OpenWarehouse[pa.Table]: ...
@overload
def open(
    warehouse: str | os.PathLike[str],
    frames: Literal["pandas"],
    *,
    run: str | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> OpenWarehouse[pd.DataFrame]: ...
@overload
def open(
    warehouse: str | os.PathLike[str],
    frames: Literal["polars"],
    *,
    run: str | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> OpenWarehouse[pl.DataFrame]: ...
@overload
def open(
    warehouse: str | os.PathLike[str],
    frames: Literal["spark"],
    *,
    run: str | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> OpenWarehouse[DataFrame]: ...
def open(
    warehouse: str | os.PathLike[str],
    frames: str = "arrow",
    *,
    run: str | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> OpenWarehouse[Any]:
    """Open a warehouse to read it, without Spark or Java.

    >>> import dupelake
    >>> lake = dupelake.open("dupes")
    >>> lake.groups().num_rows
    18
    >>> dupelake.open("dupes", "pandas").groups()["relation"].value_counts().to_dict()
    {'copy': 11, 'keeper': 7}

    Args:
        warehouse: the folder or object-store prefix of the tables.
        frames: the form of all rows: `arrow` (pyarrow.Table), `pandas`, `polars` (not installed with dupelake) or
            `spark` (of the active session, else of a local one). All rows pass through this process: read a table
            that is larger than its memory in parts (`where`), or by Spark itself.
        run: the id of a complete night, whose tables are read; None for the last one.
        storage_options: of the object store, as delta-rs takes them; they go over the variables AWS_*, AZURE_* and
            GOOGLE_* of the environment.

    Raises:
        NotFoundError: there is no warehouse, or no such complete night.
        QueryError: no such form of frames.
        EnvironmentFault: the store cannot be read.
    """
    from dupelake.notebook.opened import OpenWarehouse

    return OpenWarehouse(warehouse, frames, run, storage_options)


def check(
    images: Any | Iterable[Any],
    warehouse: str | os.PathLike[str],
    *,
    index: str | os.PathLike[str] | None = None,
    scope: str | None = None,
    profile: str | None = None,
) -> list[Answer]:
    """Ask of each image whether a warehouse has its picture, as the next night would decide. Nothing is written.

    It needs no Spark and no Java, but an index: `dupelake index --warehouse DIR`.

    Args:
        images: a path, bytes, a PIL image, uint8 pixels (h, w, 3) or (h, w), or several of them.
        warehouse: folder or URI of the tables.
        index: folder of the index; None for that inside the warehouse.
        scope: of the images; None for the option manifest.default_scope of the warehouse.
        profile: `fast` compares by bytes, pixels and hashes alone; None compares as the nights do.

    Returns:
        One `dupelake.lookup.answer.Answer` for each image, in their order.

    Raises:
        VersionMixError: there is no index, or it is of other versions; the message gives the command.
        ConfigError: the nights of the warehouse had another profile; the message names the option.
        TypeError: something given is no image.
    """
    from dupelake.lookup.checker import check as check_all

    return check_all(images, warehouse, index=index, scope=scope, profile=profile)


def register(
    spark: SparkSession, warehouse: str | os.PathLike[str], schema: str, catalog: str = "spark_catalog"
) -> Registered:
    """Make the tables of a warehouse, and the views for analysts, in a schema of a catalogue that a session knows.

    As `dupelake register` does, for sessions whose catalogue is in memory, and for notebooks (docs/sql.md).

    Args:
        spark: a session with Delta Lake.
        warehouse: the folder or object-store prefix of the tables.
        schema: the schema, which is made if there is none.
        catalog: the catalogue; by default that of the session.

    Raises:
        ConfigError: a table is missing, there is no such catalogue, or something else has the name of a table or view.
    """
    import os

    from dupelake.pipeline.register import register as register_all

    return register_all(spark, os.fspath(warehouse), schema, catalog)
