"""Airflow 3: plan, run, once a week maintain, report. Copy it into the folder of DAGs; docs/install.md says more.

A code that another try cannot mend fails its task at once (docs/operations.md, "Exit codes"): 2 is refused, 3 is a
limit that was passed, after all was written. 4 skips the night, because another run is at work. Everything else is
tried again: a run that was killed goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.providers.standard.operators.weekday import BranchDayOfWeekOperator
from airflow.sdk import DAG, BaseOperator, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

NOT_MENDED = {2: "it was refused", 3: "it passed a limit; what it found is written"}
ANOTHER_RUN = 4


class DupelakeOperator(BaseOperator):
    """Runs one command of dupelake; its output is the task's log.

    For a cluster give `command` the spark-submit line of docs/install.md instead, in client mode: in cluster mode
    spark-submit does not end with the exit code of the run.

    Args:
        command: the program and its arguments; each may be a template.
    """

    template_fields: Sequence[str] = ("command",)
    hook: SubprocessHook | None = None

    def __init__(self, *, command: list[str], **settings: Any) -> None:
        super().__init__(**settings)
        self.command = command

    def execute(self, context: Any) -> None:
        """Waits for the command; the exit code decides what becomes of the task."""
        self.hook = SubprocessHook()
        code = self.hook.run_command([argument for argument in self.command if argument]).exit_code
        if code == ANOTHER_RUN:
            raise AirflowSkipException("another run holds the warehouse (exit code 4)")
        if code in NOT_MENDED:
            raise AirflowFailException(f"{NOT_MENDED[code]} (exit code {code}); the last lines of the log say why")
        if code:
            raise AirflowException(f"dupelake ended with exit code {code}")

    def on_kill(self) -> None:
        """SIGTERM: the run cancels its jobs, gives back its lock and ends (docs/operations.md)."""
        if self.hook:
            self.hook.send_sigterm()


with DAG(
    dag_id="dupelake_nightly",
    schedule="15 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,  # one night reads all that is new, whatever was missed
    max_active_runs=1,
    params={
        "dupelake": Param("/opt/dupelake/bin/dupelake", type="string", description="the program"),
        "manifests": Param("/data/manifests", type="string", description="a manifest, or a folder"),
        "warehouse": Param("/data/dupes", type="string", description="where the tables are"),
        "config": Param("", type="string", description="a YAML file of options; empty for the defaults"),
        "report": Param("/data/report.html", type="string", description="the page that each night writes again"),
    },
    default_args={"retries": 1, "retry_delay": timedelta(minutes=5), "execution_timeout": timedelta(hours=8)},
    doc_md=__doc__,
    tags=["dupelake"],
) as dag:
    _PROGRAM, _WAREHOUSE = "{{ params.dupelake }}", "--warehouse={{ params.warehouse }}"
    _CONFIG = "{% if params.config %}--config={{ params.config }}{% endif %}"  # an empty argument is left out

    plan = DupelakeOperator(
        task_id="plan",
        command=[_PROGRAM, "plan", "{{ params.manifests }}", _WAREHOUSE, _CONFIG],
        doc_md="What the run will do, in the log; a fault of options or manifests ends the night here.",
    )
    # A run that was killed on another host leaves a lock that holds for run.lock_stale_s (900).
    _WAIT = "--set=run.lock_wait_s=1200"
    run = DupelakeOperator(
        task_id="run", command=[_PROGRAM, "run", "{{ params.manifests }}", _WAREHOUSE, _CONFIG, _WAIT]
    )
    is_sunday = BranchDayOfWeekOperator(
        task_id="is_sunday",
        week_day="Sunday",
        use_task_logical_date=True,
        follow_task_ids_if_true="maintain",
        follow_task_ids_if_false="report",
    )
    maintain = DupelakeOperator(task_id="maintain", command=[_PROGRAM, "maintain", _WAREHOUSE, _CONFIG])
    report = DupelakeOperator(
        task_id="report",
        command=[_PROGRAM, "report", _WAREHOUSE, "--out={{ params.report }}"],
        trigger_rule="none_failed_min_one_success",  # on six days maintain is skipped
    )

    plan >> run >> is_sunday >> [maintain, report]
    maintain >> report
