"""Options of the last run, which reports about its tables must use as well."""

from __future__ import annotations

import json
from dataclasses import replace

from dupelake.config import Config
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.rules import LAST_CONFIG


def last_options(reader: Reader) -> Config:
    """Result of `options_in` for the last run that made the tables."""
    found = reader.query(LAST_CONFIG)["config"].to_pylist()
    return options_in(found[0] if found else None)


def options_in(config: str | None) -> Config:
    """The defaults with `lsh.scope`, `decide.min_score` and `cluster.removable` of `runs.config`; None is no run."""
    used = {} if config is None else json.loads(config)
    found = Config()
    scope = used.get("lsh", {}).get("scope", found.lsh.scope)
    min_score = float(used.get("decide", {}).get("min_score", found.decide.min_score))
    removable = used.get("cluster", {}).get("removable", found.cluster.removable)
    return replace(
        found,
        lsh=replace(found.lsh, scope=scope),
        decide=replace(found.decide, min_score=min_score),
        cluster=replace(found.cluster, removable=removable),
    )
