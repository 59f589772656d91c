"""`dupelake register`: the tables of a warehouse, and views for analysts, in a Spark catalogue. Writes no table."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pyspark.sql import SparkSession

from dupelake.errors import ConfigError
from dupelake.runtime.counts import Counts
from dupelake.warehouse.catalogue import Catalogue
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


def register(spark: SparkSession, warehouse: str, schema: str, catalog: str = "spark_catalog") -> Registered:
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
    lake, where = Warehouse(spark, warehouse), Catalogue(spark, catalog, schema)
    tables = [table for table in ALL_TABLES if lake.exists(table)]
    there = {table.name for table in tables}
    lacking = [name for name in sorted({n for view in VIEWS.values() for n in view.tables}) if name not in there]
    if lacking:
        raise ConfigError([f"--warehouse {warehouse}: holds no table {', '.join(lacking)}; run `dupelake run` first"])
    found = {name: where.find(name) for name in (*there, *VIEWS)} if where.has_schema() else {}
    faults = []
    for name, one in found.items():
        if one is not None:
            is_view = name in VIEWS
            faults.append(
                where.fault_of_view(name, one) if is_view else where.fault_of_table(name, _path(lake, name), one)
            )
    if told := sorted(filter(None, faults)):
        raise ConfigError(told)
    where.make_schema()
    new = [table.name for table in tables if found.get(table.name) is None]
    for name in new:
        where.make_table(name, _path(lake, name))
    changed = [view.name for view in VIEWS.values() if where.make_view(view, _MEANINGS, found.get(view.name))]
    made = [*new, *(name for name in changed if found.get(name) is None)]
    return Registered(
        made,
        [name for name in changed if name not in made],
        [name for name in (*there, *VIEWS) if name not in (*made, *changed)],
        [table.name for table in ALL_TABLES if table.name not in there],
    )


def _path(lake: Warehouse, name: str) -> str:
    return f"{lake.root}/{name}"
