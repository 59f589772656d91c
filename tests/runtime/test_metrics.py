"""The Prometheus text and the event log: what collectors read."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from pathlib import Path

import pytest

from dupelake.config import load_config
from dupelake.errors import ConfigError
from dupelake.pipeline import nightly
from dupelake.runtime.counts import Counts
from dupelake.runtime.logs import EventLog
from dupelake.runtime.metrics import prometheus_text, write_metrics

START = dt.datetime(2026, 11, 1, 3, 0, 0)
# The text format's own grammar, but for comments: name, labels, value, and no time.
SAMPLE = re.compile(
    r'^([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$'
)


def samples(text: str) -> dict[tuple[str, str], float]:
    found = {}
    declared = set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("#"):
            declared.add(line.split()[2])
            continue
        match = SAMPLE.match(line)
        assert match, line
        assert match[1] in declared
        assert (match[1], match[2]) not in found
        found[match[1], match[2]] = float(match[3])
    return found


def text(code: int = 0, **counts: int) -> str:
    finished = START + dt.timedelta(minutes=2)
    return prometheus_text("nightly", code, START, finished, Counts.of(counts), {"hash": 1.25, 'odd "\\\n': 2.0})


def test_a_run_in_prometheus_text() -> None:
    got = samples(text(read=9, hashed=7, **{"failed.missing": 2, "pairs.near": 3}))
    job = 'job="nightly"'
    assert got["dupelake_run_success", job] == 1
    assert got["dupelake_run_finished_timestamp_seconds", job] == START.replace(tzinfo=dt.UTC).timestamp() + 120
    assert got["dupelake_run_step_seconds", f'{job},step="hash"'] == 1.25
    assert got["dupelake_run_step_seconds", f'{job},step="odd \\"\\\\\\n"'] == 2
    assert got["dupelake_run_failed_images", f'{job},reason="missing"'] == 2
    assert got["dupelake_run_count", f'{job},name="pairs.near"'] == 3
    failed = samples(text(3))
    assert (failed["dupelake_run_success", job], failed["dupelake_run_exit_code", job]) == (0, 3)


def test_the_file_is_replaced_as_a_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "dupelake.prom"
    path.write_text("old", encoding="utf-8")
    with path.open(encoding="utf-8") as reader:  # opened before, reads the old file to its end
        write_metrics(str(path), text())
        assert reader.read() == "old"
    assert path.read_text(encoding="utf-8") == text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["dupelake.prom"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_metrics(str(tmp_path / "folder"), text())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dupelake.prom", "folder"], "nothing is left behind"


def test_events_are_one_json_object_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "events.jsonl"
    for run in ("r1", "r2"):
        log = EventLog(str(path), run, "hash")
        log.emit("run_started", arguments=["a\nb"])
        log.emit("image_failed", reason="missing", count=2)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(e["run_id"], e["job"], e["event"]) for e in lines] == [
        (run, "hash", event) for run in ("r1", "r2") for event in ("run_started", "image_failed")
    ]
    assert lines[1]["count"] == 2
    assert dt.datetime.fromisoformat(lines[0]["time"]).tzinfo == dt.UTC
    EventLog("-", "r3", "hash").emit("run_started")
    EventLog("", "r4", "hash").emit("run_started")
    said = capsys.readouterr().err
    assert json.loads(said)["run_id"] == "r3"


def test_a_log_that_cannot_be_written_is_warned_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A handler of its own: what a run before set up for the loggers above it must not count the lines.
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    monkeypatch.setattr(handler, "emit", records.append)
    monkeypatch.setattr(logging.getLogger("dupelake.runtime.logs"), "handlers", [handler])
    log = EventLog(str(tmp_path), "r", "hash")  # a folder
    log.emit("run_started")
    log.emit("run_finished")
    assert len(records) == 1


def test_files_for_collectors_are_checked_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"run.event_log={tmp_path}/none/e.jsonl", f"run.metrics_file={tmp_path}"])
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["run.event_log", "run.metrics_file"]
    file = tmp_path / "c.yaml"
    file.write_text("run: {event_log: [a]}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run.event_log: must be text"):
        load_config(file)
    fine = load_config(None, ["run.event_log=-", f"run.metrics_file={tmp_path}/m.prom"])
    assert fine.run.event_log == "-"


def test_a_run_that_is_refused_tells_collectors(tmp_path: Path) -> None:
    events, metrics = tmp_path / "events", tmp_path / "dupelake.prom"
    options = ["--set", f"run.event_log={events}", "--set", f"run.metrics_file={metrics}"]
    assert nightly.main([str(tmp_path / "nothing"), "--warehouse", str(tmp_path / "wh"), *options]) == 2
    (event,) = map(json.loads, events.read_text(encoding="utf-8").splitlines())
    assert (event["event"], event["job"], event["exit_code"]) == ("run_refused", "nightly", 2)
    assert "there is nothing" in event["error"]
    got = samples(metrics.read_text(encoding="utf-8"))
    assert got["dupelake_run_exit_code", 'job="nightly"'] == 2
    assert not (tmp_path / "wh").exists()
