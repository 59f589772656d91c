"""What command lines share: the option --spark, and words that repeat no secret. Imports neither Spark nor torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from dupelake.runtime.redaction import Redactor


class Parser(argparse.ArgumentParser):
    """Repeats no secret when it refuses a command line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        super().error(Redactor()(message))


def add_spark(parser: argparse.ArgumentParser) -> None:
    """The option --spark of every command that starts Spark."""
    parser.add_argument(
        "--spark",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a Spark setting, outside spark-submit; may be repeated (secrets: docs/operations.md)",
    )


def spark_settings(items: Sequence[str], faults: list[str]) -> dict[str, str]:
    """The settings of --spark; what is wrong with them is added to `faults`."""
    settings = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.startswith("spark."):
            faults.append(f"--spark {Redactor()(item)}: must be spark.KEY=VALUE")
        settings[key] = value
    return settings
