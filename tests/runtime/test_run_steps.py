"""Spark's UI and event log show the step of each job of a run."""

from __future__ import annotations

import pytest

from dupelake.config import Config
from dupelake.runtime.run_record import Run
from dupelake.warehouse.tables import Warehouse

DESCRIPTION = "spark.job.description"


@pytest.fixture
def run(spark, tmp_path) -> Run:
    return Run("nightly", Config(), Warehouse(spark, str(tmp_path)))


def test_jobs_carry_the_name_of_their_step(spark, run):
    context = spark.sparkContext
    context.setJobDescription("of the caller")
    try:
        with run.step("align"):
            assert context.getLocalProperty(DESCRIPTION) == f"dupelake align, run {run.run_id}"
            with run.step("words"):
                assert spark.range(3).count() == 3
                assert context.getLocalProperty(DESCRIPTION) == f"dupelake words, run {run.run_id}"
            assert context.getLocalProperty(DESCRIPTION) == f"dupelake align, run {run.run_id}"
        assert context.getLocalProperty(DESCRIPTION) == "of the caller"
    finally:
        context.setLocalProperty(DESCRIPTION, None)


def test_a_failed_step_gives_the_name_back_and_is_timed(spark, run):
    with pytest.raises(ValueError, match="broken"), run.step("hash"):
        raise ValueError("broken")
    assert spark.sparkContext.getLocalProperty(DESCRIPTION) is None
    assert run.seconds["hash"] >= 0
