"""`dupelake register`: the tables of a warehouse, and views for analysts, in a Spark catalogue. Writes no table."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

from pyspark.sql import SparkSession

from dupelake.errors import ConfigError
from dupelake.pipeline.arguments import SESSION, check_tables, faults_of_secrets
from dupelake.runtime.counts import Counts
from dupelake.warehouse.catalogue import Catalogue, Found
from dupelake.warehouse.schema import ALL_TABLES
from dupelake.warehouse.tables import Warehouse
from dupelake.warehouse.views import VIEWS

_MEANINGS = {one.name: str(one.metadata["meaning"]) for one in fields(Counts)}
"""Comments of the columns of `nightly` that are counts."""


@dataclass(frozen=True)
class Registered:
    """What `register` did, by the names of tables and views.

    Attributes:
        made: those that were made.
        changed: views of an earlier release that were brought up to date.
        kept: those that were there as they should be.
        missing: tables that the warehouse does not have yet; the next run makes them.
    """

    made: list[str]
    changed: list[str]
    kept: list[str]
    missing: list[str]


def register(spark: SparkSession, warehouse: str, schema: str, catalog: str = SESSION) -> Registered:
    """Make the tables of a warehouse as external tables in a schema, and the views for analysts beside them.

    It may be called again: what is there stays, and views of an earlier release are brought up to date. Nothing that
    dupelake did not make is replaced or dropped.

    Args:
        spark: a session with Delta Lake that knows the catalogue.
        warehouse: the folder or object-store prefix of the tables.
        schema: the schema, which is made if there is none.
        catalog: the catalogue; by default that of the session, such as a Hive metastore.

    Raises:
        ConfigError: the warehouse lacks a table that a view reads, there is no such catalogue, or something else has
            the name of a table or view. It names all faults, and nothing is made.
    """
    if faults := faults_of_secrets(warehouse):
        raise ConfigError(faults)
    lake, where = Warehouse(spark, warehouse), Catalogue(spark, catalog, schema)
    with ThreadPoolExecutor(max_workers=4) as pool:  # each waits for a log or the catalogue
        names = [
            table.name
            for table, is_there in zip(ALL_TABLES, pool.map(lake.exists, ALL_TABLES), strict=True)
            if is_there
        ]
        check_tables(warehouse, names)
        named = [*names, *VIEWS]
        found = (
            dict(zip(named, pool.map(where.find, named), strict=True)) if where.has_schema() else dict.fromkeys(named)
        )
    if faults := _faults(lake, where, found):
        raise ConfigError(faults)
    where.make_schema()
    new = [name for name in named if found[name] is None]
    for name in names:
        if name in new:
            where.make_table(name, f"{lake.root}/{name}")
    changed = [view.name for view in VIEWS.values() if where.make_view(view, _MEANINGS, found[view.name])]
    return Registered(
        made=new,
        changed=[name for name in changed if name not in new],
        kept=[name for name in named if name not in new and name not in changed],
        missing=[table.name for table in ALL_TABLES if table.name not in names],
    )


def _faults(lake: Warehouse, where: Catalogue, found: Mapping[str, Found | None]) -> list[str]:
    """What has the name of a table or view of ours and is not it, a sentence each."""
    there = [(name, one) for name, one in found.items() if one is not None]
    told = [
        where.fault_of_view(name, one) if name in VIEWS else where.fault_of_table(name, f"{lake.root}/{name}", one)
        for name, one in there
    ]
    return [fault for fault in told if fault is not None]
