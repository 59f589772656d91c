"""Shared parts of the command lines: the option --spark, and messages without secrets. Imports no Spark or torch."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from dupelake.errors import ConfigError
from dupelake.runtime.redaction import Redactor, redact_uris


class _Debug(argparse.Action):
    """Notes --debug, and sets the level of Spark's log, which a later --spark spark.log.level=... may change."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, *_: Any) -> None:
        namespace.debug = True
        if hasattr(namespace, "spark"):
            namespace.spark = ["spark.log.level=WARN", *namespace.spark]


# An empty note says nothing, and '' is a scope. `register` tells of its names together with its other faults.
_MAY_BE_EMPTY = ("note", "scope", "schema", "catalog")


class Parser(argparse.ArgumentParser):
    """A parser with the option --debug, which refuses empty values, and whose error messages contain no secrets."""

    _no_debug: Any = False
    """What `debug` is without the option."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.add_argument(
            "--debug",
            action=_Debug,
            nargs=0,
            default=self._no_debug,
            help="show tracebacks of errors, and warnings of Spark",
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As `argparse`. It refuses an empty value, which a shell makes of a variable that is not set."""
        found, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            given = getattr(found, action.dest, None)
            if action.dest not in _MAY_BE_EMPTY and (given == "" or (isinstance(given, list) and "" in given)):
                name = "/".join(action.option_strings) or action.metavar or action.dest
                self.error(f"argument {name}: is empty; give a value, or leave the option out")
        return found, rest

    def add_subparsers(self, **options: Any) -> Any:
        """As of argparse."""
        return super().add_subparsers(parser_class=_InnerParser, **options)

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        super().error(Redactor()(message))


class _InnerParser(Parser):
    """A parser inside another: it leaves alone what the option before its command said."""

    _no_debug = argparse.SUPPRESS


SESSION = "spark_catalog"
"""Spark's name of the catalogue of the session."""

STARTS_SPARK = "starts Spark, which takes some seconds"
"""What a command says before it starts Spark."""


def add_spark(parser: argparse.ArgumentParser) -> None:
    """Add the option --spark, which every command that starts Spark has."""
    parser.add_argument(
        "--spark",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a Spark setting, outside spark-submit; may be repeated (secrets: docs/operations.md)",
    )


def spark_settings(items: Sequence[str], faults: list[str]) -> dict[str, str]:
    """The settings of --spark. Faults in them are added to `faults`."""
    settings = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.startswith("spark."):
            faults.append(f"--spark {Redactor()(item)}: must be spark.KEY=VALUE")
        settings[key] = value
    return settings


def faults_of_secrets(warehouse: str) -> list[str]:
    """The fault of an address with a secret in it, which everybody could read in the catalogue."""
    if redact_uris(warehouse) == warehouse:
        return []
    return [f"--warehouse {redact_uris(warehouse)}: holds a secret, which a catalogue must not; give it as a setting"]


def check_tables(warehouse: str, there: Collection[str]) -> None:
    """Refuse a warehouse that lacks a table which a view reads.

    Raises:
        ConfigError: it lacks some.
    """
    from dupelake.warehouse.views import VIEWS

    lacking = {name for view in VIEWS.values() for name in view.tables}.difference(there)
    if lacking:
        told = ", ".join(sorted(lacking))
        raise ConfigError([f"--warehouse {warehouse}: holds no table {told}; run `dupelake run` first"])
