"""What no index is made of."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from deltalake import write_deltalake
from made_lake import arrow, make_night
from pictures import SCENES, photograph
from serving import encoded

from dupelake.config import load_config
from dupelake.errors import NotFoundError
from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER, config_of
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.rules import LAST_COMPLETE, LAST_CONFIG
from dupelake.warehouse.schema import RUNS


@pytest.mark.parametrize("is_there", [False, True])
def test_where_no_warehouse_is_nothing_is_made(tmp_path, is_there):
    warehouse = tmp_path / "wh"
    if is_there:
        warehouse.mkdir()
    with pytest.raises(NotFoundError, match=str(warehouse)):
        build_index(str(warehouse), warehouse / FOLDER)
    assert [path.name for path in tmp_path.rglob("*")] == (["wh"] if is_there else [])


def test_options_of_a_night_with_rules_can_be_used(tmp_path):
    given = tmp_path / "rules.yaml"
    given.write_text(
        "rules:\n  list:\n    - {name: archive, verdict: keeper, a: {path: '*/archive/*'}, b: {has_exif: true}}\n"
        "lsh: {scope: across}\n",
        encoding="utf-8",
    )
    stored = json.loads(json.dumps(load_config(str(given)).as_dict()))
    assert config_of(stored).lsh.scope == "across"


def test_the_options_of_maintenance_are_not_those_of_the_tables(tmp_path):
    """`dupelake maintain` runs from cron without a configuration, and may leave all tables up to date."""
    root = tmp_path / "dupes"
    make_night(root, {"/photos/a.png": encoded(photograph(SCENES[0], 64))})
    night = Reader(root).query("SELECT * FROM runs").to_pylist()[0]
    own = json.dumps(json.loads(night["config"]) | {"cluster": {"removable": "copies"}})
    later = {"started_at": night["started_at"] + dt.timedelta(hours=1), "config": own}
    write_deltalake(
        str(root / RUNS.name), arrow(RUNS, [night | later | {"run_id": "m", "job": "maintain"}]), mode="append"
    )
    assert Reader(root).query(LAST_CONFIG)["config"].to_pylist() == [night["config"]]
    last = Reader(root).query(LAST_COMPLETE).to_pylist()
    assert [(row["run_id"], row["config"]) for row in last] == [("m", night["config"])]
