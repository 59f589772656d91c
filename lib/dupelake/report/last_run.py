"""Options of the last run, which reports about its tables must use as well."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from dupelake.config import Config
from dupelake.warehouse.rules import SUCCEEDED

if TYPE_CHECKING:  # readers without Spark use `options_in` alone
    from dupelake.warehouse.tables import Warehouse


def last_options(warehouse: Warehouse) -> Config:
    """The defaults with `lsh.scope` and `decide.min_score` of the last run that succeeded."""
    from dupelake.warehouse.schema import RUNS

    last = warehouse.read(RUNS).where(SUCCEEDED).orderBy("started_at", ascending=False).select("config").first()
    return options_in(None if last is None else last["config"])


def options_in(config: str | None) -> Config:
    """The defaults with `lsh.scope` and `decide.min_score` of `runs.config`; None is no run."""
    used = {} if config is None else json.loads(config)
    found = Config()
    scope = used.get("lsh", {}).get("scope", found.lsh.scope)
    min_score = float(used.get("decide", {}).get("min_score", found.decide.min_score))
    return replace(found, lsh=replace(found.lsh, scope=scope), decide=replace(found.decide, min_score=min_score))
