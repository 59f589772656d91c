"""Options of the last run, which reports about its tables must use as well."""

from __future__ import annotations

import json
from dataclasses import replace

from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.warehouse.schema import RUNS
from dupelake.warehouse.tables import Warehouse


def last_options(warehouse: Warehouse) -> Config:
    """The defaults with `lsh.scope` and `decide.min_score` of the last run that succeeded."""
    last = warehouse.read(RUNS).where("status = 'succeeded'").orderBy(F.desc("started_at")).select("config").first()
    used = {} if last is None else json.loads(last["config"])
    config = Config()
    scope = used.get("lsh", {}).get("scope", config.lsh.scope)
    min_score = float(used.get("decide", {}).get("min_score", config.decide.min_score))
    return replace(config, lsh=replace(config.lsh, scope=scope), decide=replace(config.decide, min_score=min_score))
