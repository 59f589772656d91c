"""deploy/databricks and deploy/kubernetes, read by tools that know their schemas. Half a minute.

The bundle's jobs are read by the models of databricks-bundles. What else is in databricks.yml only the Databricks
CLI knows, which no package registry has.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv

import kubernetes_validate
import pytest
import yaml
from built_wheel import REPO, built_wheel
from databricks.bundles.jobs import Job, Task

from dupelake.runtime.session import jar_folder, read_properties

DEPLOY = REPO / "deploy"
BUNDLE = yaml.safe_load((DEPLOY / "databricks" / "databricks.yml").read_text(encoding="utf-8"))
CRONJOB = yaml.safe_load((DEPLOY / "kubernetes" / "cronjob.yaml").read_text(encoding="utf-8"))
KUBERNETES = "1.31"  # podFailurePolicy is stable since; newer ones take the same


def nightly() -> Job:
    return Job.from_dict(BUNDLE["resources"]["jobs"]["dupelake_nightly"])


def not_known_by_dupelake(command: list[str]) -> str:
    """The arguments that `dupelake` does not know, but for one that keeps it from starting."""
    program = [sys.executable, "-m", "dupelake.cli", *command, "--no-such-option"]
    env = os.environ | {"PYTHONPATH": str(REPO / "lib")}
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=env, timeout=60)
    assert done.returncode == 2, done
    return done.stderr.strip().rpartition("unrecognized arguments:")[2].replace("--no-such-option", "").strip()


def test_the_bundle_has_one_job_of_known_fields():
    assert list(BUNDLE["resources"]) == ["jobs"]
    assert list(BUNDLE["resources"]["jobs"]) == ["dupelake_nightly"]
    edges = {task.task_key: [(on.task_key, on.outcome) for on in task.depends_on] for task in nightly().tasks}
    assert edges == {
        "plan": [],
        "run": [("plan", None)],
        "is_sunday": [("run", None)],
        "maintain": [("is_sunday", "true")],
        "report": [("run", None), ("maintain", None)],
    }
    misspelt = copy.deepcopy(BUNDLE["resources"]["jobs"]["dupelake_nightly"])
    misspelt["tasks"][0]["max_retry"] = 1
    with pytest.raises(ValueError, match="max_retry"):
        Job.from_dict(misspelt)


def test_no_task_of_the_bundle_is_tried_again():
    scripts = [task for task in nightly().tasks if task.spark_python_task]
    assert len(scripts) == 4
    assert {task.max_retries for task in scripts} == {0}


@pytest.mark.parametrize("task", [task for task in nightly().tasks if task.spark_python_task], ids=lambda t: t.task_key)
def test_dupelake_knows_the_arguments_of_the_bundle(task: Task):
    script = task.spark_python_task
    assert (DEPLOY / "databricks" / script.python_file).is_file()
    files, home, command, *rest = script.parameters
    assert (str(files), home, command) == ("${workspace.file_path}", "/local_disk0/dupelake/env", task.task_key)
    assert not_known_by_dupelake([command, *rest]) == ""
    parameters = {parameter.name for parameter in nightly().parameters}
    assert set(re.findall(r"\{\{job\.parameters\.(\w+)\}\}", " ".join(rest))) <= parameters


def test_the_bundle_sends_what_the_script_needs():
    sent = [(DEPLOY / "databricks" / path).resolve() for path in BUNDLE["sync"]["paths"]]
    assert {path.relative_to(REPO).as_posix() for path in sent} == {
        "deploy/databricks",
        "conf",
        "dist",
        "constraints.txt",
    }
    assert BUNDLE["sync"]["include"] == ["../../dist/*.whl"]


def test_the_script_of_databricks_installs_and_ends_with_the_code(tmp_path):
    """The real script; only pip is told to leave out what the environment of the tests lends, and Maven has run."""
    files = tmp_path / "files"
    built_wheel(files / "dist")
    shutil.copytree(REPO / "conf", files / "conf")
    shutil.copy(REPO / "constraints.txt", files)
    home = tmp_path / "env"
    venv.create(home, symlinks=True)
    site = next(home.glob("lib/python*/site-packages"))
    (site / "packages-of-tests.pth").write_text(sysconfig.get_path("purelib") + "\n")

    script = [sys.executable, str(DEPLOY / "databricks" / "run_dupelake.py"), str(files), str(home)]
    jars = shutil.copytree(jar_folder(), tmp_path / "jars")  # those that read S3 come to them
    lent = {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "DUPELAKE_JARS": str(jars)}
    misleading = {
        "SPARK_HOME": "/databricks/spark",
        "PYSPARK_PYTHON": "/databricks/python",
        "PYTHONPATH": "/databricks",
    }

    def ran(*command: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | lent | misleading
        return subprocess.run([*script, *command], capture_output=True, text=True, check=False, env=env, timeout=300)

    first = ran("run", str(tmp_path / "none"), f"--warehouse={tmp_path / 'dupes'}", "--set=decide.min_score=7")
    assert (home / "bin" / "dupelake").exists(), first.stderr
    assert first.returncode == 2, first.stderr
    assert "decide.min_score" in first.stderr
    assert "unrecognized" not in first.stderr, "the settings of Spark are options that run knows"
    assert ran("report", "--help").returncode == 0, "a command that starts no Spark is given none"


def test_settings_of_databricks_are_options(monkeypatch):
    monkeypatch.syspath_prepend(str(DEPLOY / "databricks"))
    from run_dupelake import settings

    held = read_properties(REPO / "conf" / "spark-databricks.conf")
    assert settings(REPO) == [f"--spark={key}={value}" for key, value in held.items()]


def test_kubernetes_knows_the_cronjob():
    kubernetes_validate.validate(CRONJOB, KUBERNETES, strict=True)
    wrong = copy.deepcopy(CRONJOB)
    wrong["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]["onExitCode"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="onExitCode"):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_the_cronjob_is_a_night_of_the_image():
    job = CRONJOB["spec"]["jobTemplate"]["spec"]
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2, 3, 4]
    (container,) = job["template"]["spec"]["containers"]
    assert not_known_by_dupelake(container["args"]) == ""
    assert not_known_by_dupelake([*container["args"], "--wharehouse=x"]) == "--wharehouse=x"
    image = (REPO / "Containerfile").read_text(encoding="utf-8")
    assert f"--uid {job['template']['spec']['securityContext']['runAsUser']} " in image
