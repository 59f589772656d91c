"""The tables and views of a warehouse for DuckDB, as a script that its user runs; DuckDB is not imported."""

from __future__ import annotations

from collections.abc import Collection

from dupelake.warehouse.reader import quoted
from dupelake.warehouse.rules import TABLES
from dupelake.warehouse.views import DUCKDB, VIEWS


def duckdb_script(root: str, schema: str, there: Collection[str]) -> str:
    """Statements that make a schema with a view for each table, and the views for analysts. What exists stays.

    Args:
        root: the folder or prefix of the warehouse. DuckDB knows `s3a://` as `s3://`.
        schema: the schema of DuckDB.
        there: names of the tables that the warehouse has.
    """
    root = "s3://" + root.removeprefix("s3a://") if root.startswith("s3a://") else root

    def named(name: str) -> str:
        return f"{_quoted(schema)}.{_quoted(name)}"

    lines = ["INSTALL delta;", "LOAD delta;", f"CREATE SCHEMA IF NOT EXISTS {_quoted(schema)};"]
    for table in filter(there.__contains__, TABLES):
        scan = f"delta_scan({quoted(f'{root}/{table}')})"
        lines.append(f"CREATE VIEW IF NOT EXISTS {named(table)} AS FROM {scan};")
    for view in VIEWS.values():
        lines.append(f"CREATE VIEW IF NOT EXISTS {named(view.name)} AS\n{view.sql(DUCKDB, named)};")
        lines.append(f"COMMENT ON VIEW {named(view.name)} IS {quoted(view.comment)};")
    return "\n".join(lines)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
