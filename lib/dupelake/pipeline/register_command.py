"""The command `dupelake register`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from dupelake.errors import ConfigError, NotFoundError
from dupelake.pipeline.arguments import (
    SESSION,
    STARTS_SPARK,
    add_spark,
    check_tables,
    faults_of_secrets,
    spark_settings,
)

# This is a command of a terminal.
# ruff: noqa: T201


def add_register(commands: Any) -> None:
    """Add the command to those of the parser."""
    register: argparse.ArgumentParser = commands.add_parser(
        "register", help="the tables, and views for analysts, in a Spark catalogue (docs/sql.md)"
    )
    register.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are; they are only read")
    register.add_argument("--schema", required=True, metavar="NAME", help="the schema; it is made if there is none")
    register.add_argument(
        "--catalog", default=SESSION, metavar="NAME", help=f"the catalogue (default: {SESSION}, that of the session)"
    )
    register.add_argument(
        "--print", choices=["duckdb"], dest="printed", help="start no Spark; print the script that does it in DuckDB"
    )
    add_spark(register)
    register.set_defaults(call=_register)


def _register(args: argparse.Namespace) -> int:
    from dupelake.pipeline.command_lines import check_holds_images, faults_of_warehouse

    faults: list[str] = []
    settings = spark_settings(args.spark, faults)
    faults += [f"--{flag}: is empty; give a name" for flag in ("schema", "catalog") if not getattr(args, flag).strip()]
    found = faults_of_warehouse(args.warehouse, settings, is_written=False)
    if not found:
        check_holds_images(args, found)
    faults += found + faults_of_secrets(args.warehouse)
    if not args.printed and "PYSPARK_GATEWAY_PORT" not in os.environ:
        faults += _fault_of_memory(args.catalog, settings.get)
    if faults:
        raise ConfigError(faults)
    if args.printed:
        print(_script(args.warehouse, args.schema))
        return 0
    return _in_spark(args, settings)


def _in_spark(args: argparse.Namespace, settings: dict[str, str]) -> int:
    from dupelake.pipeline.register import register
    from dupelake.runtime.session import build_session

    print(f"dupelake register: {STARTS_SPARK}", file=sys.stderr, flush=True)
    spark = build_session("dupelake-register", settings)
    args.watch(spark)
    if faults := _fault_of_memory(args.catalog, lambda key: spark.conf.get(key, None)):
        raise ConfigError(faults)
    done = register(spark, args.warehouse, args.schema, args.catalog)
    print(
        f"{args.catalog}.{args.schema}: {len(done.made)} tables and views made, {len(done.changed)} views brought up "
        f"to date, {len(done.kept)} there already"
    )
    if done.missing:
        print(f"The warehouse has no {', '.join(done.missing)} yet; register again after the next run.")
    return 0


def _fault_of_memory(catalog: str, setting: Callable[[str], str | None]) -> list[str]:
    """The fault of a catalogue that ends with the session of this command, by settings of Spark."""
    known = setting(f"spark.sql.catalog.{SESSION}")
    is_other = known is not None and not known.endswith(".DeltaCatalog")  # such as Unity's
    if catalog != SESSION or is_other or setting("spark.sql.catalogImplementation") == "hive":
        return []
    return [
        f"--catalog {SESSION}: is in memory and ends with this command; add --spark "
        "spark.sql.catalogImplementation=hive, name another catalogue, or call dupelake.register(spark, ...) in the "
        "session that asks"
    ]


def _script(root: str, schema: str) -> str:
    from dupelake.warehouse.duckdb_script import duckdb_script
    from dupelake.warehouse.reader import Reader
    from dupelake.warehouse.rules import TABLES

    reader, there = Reader(root), []
    for name in TABLES:
        try:
            reader.version(name)
        except NotFoundError:
            continue
        there.append(name)
    check_tables(root, there)
    return duckdb_script(reader.root, schema, there)
