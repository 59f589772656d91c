"""deploy/airflow, parsed and run by Airflow itself, which has an environment of its own: its packages are not ours.

The short tests take ten seconds, the night two minutes (`long`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from built_wheel import REPO, two_images

from dupelake.runtime.session import jar_folder

DAGS = REPO / "deploy" / "airflow"
PYTHON = Path(os.environ.get("DUPELAKE_AIRFLOW", REPO / ".venv-airflow" / "bin" / "python"))
DUPELAKE = Path(sys.executable).parent / "dupelake"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(),
    reason="Airflow is absent: python3.11 -m venv .venv-airflow && .venv-airflow/bin/pip install apache-airflow==3.3.2",
)

HEAD = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1])
assert not bag.import_errors, bag.import_errors
dag = bag.dags["dupelake_nightly"]
"""
SHAPE = """
tasks = {
    task.task_id: {
        "next": sorted(task.downstream_task_ids), "retries": task.retries, "rule": str(task.trigger_rule.value),
        "hours": task.execution_timeout.total_seconds() / 3600, "command": getattr(task, "command", None),
    }
    for task in dag.tasks
}
limits = {"catchup": dag.catchup, "at_once": dag.max_active_runs}
print("\\n" + json.dumps({"dags": list(bag.dags), "tasks": tasks} | limits))
"""
CODES = """
operator = type(dag.get_task("run"))
told = {}
for name, command in json.loads(sys.argv[2]).items():
    try:
        operator(task_id=f"code_{name}", command=command).execute({})
        told[name] = "done"
    except Exception as error:
        told[name] = type(error).__name__
import threading
stopped = operator(task_id="stopped", command=["sh", "-c", "trap 'exit 143' TERM; sleep 60 & wait"])
stopped.on_kill()  # before it has begun
threading.Timer(1, stopped.on_kill).start()
try:
    stopped.execute({})
except Exception as error:
    told["stopped"] = str(error)
print("\\n" + json.dumps(told))
"""
NIGHT = """
import pendulum
done = dag.test(logical_date=pendulum.datetime(2026, 11, 29, 2, 15, tz="UTC"), run_conf=json.loads(sys.argv[2]))
states = {task.task_id: str(task.state) for task in done.get_task_instances()}
print("\\n" + json.dumps({"state": str(done.state), "tasks": states}))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> dict[str, str]:
    """Variables with which Airflow keeps its files in a folder of the tests."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYSPARK_PYTHON")}
    return clean | {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "DUPELAKE_JARS": str(jar_folder()),
    }


def answered(home: dict[str, str], script: str, *arguments: str) -> dict:
    command = [str(PYTHON), "-c", HEAD + script, str(DAGS), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=home, check=False, timeout=1200)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_airflow_imports_the_dag(home):
    found = answered(home, SHAPE)
    assert found["dags"] == ["dupelake_nightly"]
    assert (found["catchup"], found["at_once"]) == (False, 1)
    tasks = found["tasks"]
    assert {name: task["next"] for name, task in tasks.items()} == {
        "plan": ["run"],
        "run": ["is_sunday"],
        "is_sunday": ["maintain", "report"],
        "maintain": ["report"],
        "report": [],
    }
    assert {task["retries"] for task in tasks.values()} == {1}
    assert {task["hours"] for task in tasks.values()} == {8}
    assert tasks["report"]["rule"] == "none_failed_min_one_success"
    assert [tasks[name]["command"][1] for name in ("plan", "run", "maintain", "report")] == [
        "plan", "run", "maintain", "report",
    ]  # fmt: skip


def test_exit_codes_decide_what_is_tried_again(home, tmp_path):
    commands = {str(code): ["sh", "-c", f"exit {code}"] for code in (0, 1, 2, 3, 4, 143)}
    commands["refused"] = [str(DUPELAKE), "run", str(tmp_path / "none"), f"--warehouse={tmp_path / 'dupes'}", ""]
    assert answered(home, CODES, json.dumps(commands)) == {
        "0": "done",
        "1": "AirflowException",  # this one alone, and 143, is tried again
        "2": "AirflowFailException",
        "3": "AirflowFailException",
        "4": "AirflowSkipException",
        "143": "AirflowException",
        "refused": "AirflowFailException",
        "stopped": "dupelake ended with exit code 143",
    }


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_airflow_runs_a_night(home, tmp_path):
    images = two_images(tmp_path / "images")
    subprocess.run([str(PYTHON.parent / "airflow"), "db", "migrate"], env=home, check=True, capture_output=True)

    params = {"dupelake": str(DUPELAKE), "manifests": str(images), "warehouse": str(tmp_path / "dupes")}
    page = tmp_path / "report.html"
    found = answered(home, NIGHT, json.dumps(params | {"report": str(page)}))
    assert found["tasks"] == dict.fromkeys(("plan", "run", "is_sunday", "maintain", "report"), "success"), found
    assert found["state"] == "success"
    assert "half.jpg" in page.read_text(encoding="utf-8")
