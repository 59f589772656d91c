"""Cost of each step of a run and of its most expensive stages, from Spark's event log.

    .venv/bin/python -m benchmarks.stages EVENT_LOG_FOLDER [--top 5]

The run must have been started with the options of `event_log`: `--spark spark.eventLog.enabled=true --spark
spark.eventLog.dir=FOLDER --spark spark.eventLog.compress=false --spark spark.eventLog.rolling.enabled=false`. Task
seconds are those of executor threads, including the Python workers that they wait for. JVM seconds are the CPU time of
these threads only. The seconds of a step, including planning on the driver, are in the table `runs`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_STEP = re.compile(r"dupelake (\S+), run")


@dataclass
class Spent:
    """Sums over tasks; `names` are the outermost operators, by which Spark names its RDDs."""

    tasks: int = 0
    task_s: float = 0.0
    jvm_s: float = 0.0
    longest_s: float = 0.0
    read: int = 0
    shuffled: int = 0
    spilled: int = 0
    names: str = ""

    def add(self, event: dict) -> None:
        """Add a task that ended."""
        metrics = event.get("Task Metrics") or {}
        seconds = metrics.get("Executor Run Time", 0) / 1e3
        self.tasks += 1
        self.task_s += seconds
        self.jvm_s += metrics.get("Executor CPU Time", 0) / 1e9
        self.longest_s = max(self.longest_s, seconds)
        self.read += metrics.get("Input Metrics", {}).get("Bytes Read", 0)
        self.shuffled += metrics.get("Shuffle Write Metrics", {}).get("Shuffle Bytes Written", 0)
        self.spilled += metrics.get("Disk Bytes Spilled", 0)

    def row(self) -> str:
        """Cells of a Markdown table."""
        mb = " | ".join(f"{value / 1e6:.1f}" for value in (self.read, self.shuffled, self.spilled))
        return f"{self.tasks} | {self.task_s:.1f} | {self.jvm_s:.1f} | {self.longest_s:.1f} | {mb}"


def event_log(folder: Path) -> list[str]:
    """Options of a run that logs its events into `folder`; logs of earlier runs are removed from it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = ("enabled=true", f"dir={folder.absolute().as_uri()}", "compress=false", "rolling.enabled=false")
    return [word for one in settings for word in ("--spark", f"spark.eventLog.{one}")]


def events_of(folder: Path, *kinds: str) -> Iterator[tuple[str, dict]]:
    """(name of the log, event) of the given kinds, of all event logs below `folder`."""
    wanted = tuple(f'{{"Event":"{kind}"' for kind in kinds)
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith((".", "appstatus"))):
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith(wanted):
                    yield path.name, json.loads(line)


def read(folder: Path) -> tuple[dict[str, Spent], dict[int, Spent], dict[int, str]]:
    """(by step, by stage, step of each stage); '-' is the name for everything outside of steps."""
    step_of: dict[int, str] = {}
    steps: dict[str, Spent] = defaultdict(Spent)
    stages: dict[int, Spent] = defaultdict(Spent)
    for _, event in events_of(folder, "SparkListenerJobStart", "SparkListenerTaskEnd"):
        if event["Event"] == "SparkListenerTaskEnd":
            steps[step_of.get(event["Stage ID"], "-")].add(event)
            stages[event["Stage ID"]].add(event)
            continue
        named = _STEP.search((event.get("Properties") or {}).get("spark.job.description") or "")
        for info in event["Stage Infos"]:
            step_of.setdefault(info["Stage ID"], named.group(1) if named else "-")
            names = [rdd["Name"] for rdd in info["RDD Info"]]
            scopes = [json.loads(rdd["Scope"])["name"] for rdd in info["RDD Info"] if "Scope" in rdd]
            stages[info["Stage ID"]].names = _told(scopes or names)
    return steps, stages, step_of


def _told(names: list[str]) -> str:
    seen = list(dict.fromkeys(re.sub(r" ?\(\d+\)|\s+", " ", name).strip() for name in names))
    return ", ".join(name for name in seen if name not in ("Exchange", "WholeStageCodegen", "mapPartitionsInternal"))[
        :90
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("--top", type=int, default=5)
    args = parser.parse_args()
    steps, stages, step_of = read(args.events)
    heads = "tasks | task s | of them JVM | longest | read MB | shuffled MB | spilled MB"
    print(f"| step | {heads} |\n|---|{'---|' * 7}")
    for name, spent in sorted(steps.items(), key=lambda item: -item[1].task_s):
        print(f"| {name} | {spent.row()} |")
    print(f"\n| stage | step | operators | {heads} |\n|---|---|---|{'---|' * 7}")
    for number, spent in sorted(stages.items(), key=lambda item: -item[1].task_s)[: args.top]:
        print(f"| {number} | {step_of.get(number, '-')} | {spent.names} | {spent.row()} |")


if __name__ == "__main__":
    main()
