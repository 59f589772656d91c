"""The end of a run as Prometheus text, for the textfile collector of node_exporter. Knows no Spark.

https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4). No sample carries a time of its own:
node_exporter refuses those. An alert on a night that did not happen watches
`dupelake_run_finished_timestamp_seconds`: a run that is killed writes nothing.
"""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dupelake.runtime.counts import Counts


def prometheus_text(
    job: str,
    exit_code: int,
    started_at: dt.datetime,
    finished_at: dt.datetime,
    counts: Counts,
    seconds: Mapping[str, float],
) -> str:
    """What one run did, as gauges with the label `job`.

    Args:
        job: hash, embed, lsh_join, cluster, nightly or forget.
        exit_code: as the process ends; 0 when all went well.
        started_at: with zone.
        finished_at: with zone.
        counts: of the run; failed images by reason have a metric of their own.
        seconds: wall-clock by step.
    """
    own = {"job": job}
    families: dict[str, tuple[str, list[tuple[dict[str, str], float]]]] = {
        "dupelake_run_success": ("1 when the last run ended with exit code 0.", [(own, float(exit_code == 0))]),
        "dupelake_run_exit_code": ("Exit code of the last run (docs/operations.md).", [(own, exit_code)]),
        "dupelake_run_started_timestamp_seconds": ("Start of the last run.", [(own, started_at.timestamp())]),
        "dupelake_run_finished_timestamp_seconds": ("End of the last run.", [(own, finished_at.timestamp())]),
        "dupelake_run_step_seconds": (
            "Wall-clock seconds of each step.",
            [({**own, "step": step}, value) for step, value in sorted(seconds.items())],
        ),
        "dupelake_run_failed_images": (
            "Images that could not be read, by reason.",
            [({**own, "reason": reason}, n) for reason, n in sorted(counts.failed_by_reason.items())],
        ),
        "dupelake_run_count": (
            "Counts of the last run, by name, as in the table `runs`.",
            [({**own, "name": name}, n) for name, n in sorted(counts.items()) if not name.startswith("failed.")],
        ),
    }
    lines: list[str] = []
    for name, (text, samples) in families.items():
        if samples:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def write_metrics(path: str, text: str) -> None:
    """Replace the file at `path` as a whole: a collector never reads half of it.

    Raises:
        OSError: the folder cannot be written.
    """
    target = Path(path).absolute()
    # In the same folder, for the rename to be one step; with another ending, for node_exporter reads *.prom.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # node_exporter runs as a user of its own
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 3))


def _labels(labels: Mapping[str, str]) -> str:
    escaped = (
        (name, value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")) for name, value in labels.items()
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
