"""Steps with one task do not include a scan: rows that one task counts or labels are computed in their own tasks."""

from __future__ import annotations

import numpy as np
import pytest
from group_corpus import parquet_checkpoint
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.group.components_stage import connected_components
from dupelake.group.decisions_stage import combine_verdicts
from dupelake.propose.bursts_stage import crowded_values

N_TASKS = 5  # of the scan


def tasks_of(spark, make):
    """(rows of the DataFrame that `make` returns, the number of tasks of each stage that ran for it)."""
    context = spark.sparkContext
    context.setJobGroup("scan tasks", "scan tasks")
    try:
        rows = make().collect()
        tracker = context.statusTracker()
        jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup("scan tasks")]
        stages = [tracker.getStageInfo(stage) for job in jobs if job for stage in job.stageIds]
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)
    return rows, [stage.numTasks for stage in stages if stage is not None and stage.numCompletedTasks]


def scan(spark, n=50):
    """Ids of contents in N_TASKS tasks, without a shuffle before them."""
    return spark.range(0, n, 1, N_TASKS).select(F.lpad(F.hex("id"), 32, "0").alias("content_id"))


@pytest.fixture
def hashes(spark):
    rng = np.random.default_rng(1)
    rows = [
        (f"{at:032X}", int(rng.integers(-(2**63), 2**63)), bytearray(rng.bytes(32)), 1, bytearray(32))
        for at in range(50)
    ]
    names = "content_id string, phash bigint, pdq binary, phash_mirrored bigint, pdq_mirrored binary"
    return F.broadcast(spark.createDataFrame(rows, names))


def units(spark):
    return scan(spark).select(F.lit("").alias("scope"), "content_id", F.lit(True).alias("is_new"))


def crowds(spark, hashes, checkpoint):
    return crowded_values(units(spark).drop("is_new"), hashes, LshConfig())


def components(spark, hashes, checkpoint):
    edges = spark.range(0, 50, 1, N_TASKS).select(F.col("id").alias("src"), (F.col("id") + 1).alias("dst"))
    return connected_components(edges, checkpoint)


def verdicts(spark, hashes, checkpoint):
    ends = F.format_string("%03d", "id"), F.format_string("%03d", F.col("id") + 1)
    columns = {
        "vertex": ends[0],
        "other_vertex": ends[1],
        "verdict": F.lit("duplicate"),
        "author": F.lit("ann"),
        "image_id": ends[0],
        "other_image_id": ends[1],
        "fault": F.lit(None).cast("string"),
        "decided_at": F.timestamp_seconds("id"),
    }
    return combine_verdicts(spark.range(0, 50, 1, N_TASKS).select(*[column.alias(n) for n, column in columns.items()]))


@pytest.mark.parametrize("step", [crowds, components, verdicts])
def test_a_step_of_one_task_leaves_the_scan_its_tasks(spark, hashes, step, tmp_path):
    checkpoint = parquet_checkpoint(spark, tmp_path)
    rows, tasks = tasks_of(spark, lambda: step(spark, hashes, checkpoint))
    assert rows
    assert max(tasks) >= N_TASKS, tasks
