"""The progress of a step: what the driver learns of rows while Spark works, on a terminal and in a log."""

from __future__ import annotations

import io
import logging
import re
import time
from itertools import pairwise
from logging.handlers import BufferingHandler
from pathlib import Path

import pyarrow as pa
import pytest
from screens import screen

from dupelake.runtime import progress
from dupelake.runtime.bars import Bar, duration, how_far
from dupelake.runtime.progress import Progress, RowsBack, Work

N = 60


class Terminal(io.StringIO):
    def isatty(self):
        return True


def slow_rows(folder: str):
    """A function for mapInArrow that gives one row back for each, ten a second and task, and notes each in `folder`."""

    def noted(batches):
        for batch in batches:
            for at in range(batch.num_rows):
                time.sleep(0.1)
                Path(folder, str(batch.column(0)[at])).touch()
                filling = pa.array([b"0" * 70_000])  # more than the buffer of the worker's answer
                yield pa.RecordBatch.from_arrays([batch.column(0).slice(at, 1), filling], names=["id", "filling"])

    return noted


def write(spark, folder: Path) -> None:
    (folder / "rows").mkdir()
    rows = spark.range(N).repartition(2, "id").mapInArrow(slow_rows(str(folder / "rows")), "id long, filling binary")
    rows.write.parquet(str(folder / "out"))


def test_a_bar_follows_the_rows_that_tasks_have_done_and_never_leads(spark, tmp_path):
    class Watched(Terminal):
        def write(self, text):
            for done in re.findall(r"\| (\d+) of 100 images", text):
                seen.append((int(done), len(list((tmp_path / "rows").glob("*")))))
            return super().write(text)

    seen: list[tuple[int, int]] = []
    with Progress(spark, "hash", Work(100, "images", "noted", done=40), Watched()) as shown:
        write(spark, tmp_path)
    told = [done for done, _ in seen]
    assert told == sorted(told)
    assert len({done for done in told if 40 < done < 100}) >= 3, "the bar moves while tasks run"
    assert all(done <= 40 + noted for done, noted in seen), seen
    assert shown._done() == 100
    assert screen(shown._stream.getvalue())[0].startswith("hash      100% |"), "what is done stays as a line"


def test_rows_of_other_functions_and_of_earlier_queries_do_not_count(spark, tmp_path):
    write(spark, tmp_path)
    rows = RowsBack(spark, "noted")
    assert rows() == 0

    def other(batches):
        yield from batches

    assert spark.range(7).mapInArrow(other, "id long").collect()
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty(5000)
    assert rows() == 0
    assert RowsBack(spark, "other")() == 0


def test_a_log_gets_lines_at_growing_intervals(spark, monkeypatch, caplog):
    monkeypatch.setattr(progress, "_FIRST_LINE_S", 0.2)
    monkeypatch.setattr(progress, "_MOST_S", 0.8)
    # Not the records of caplog: its handler is on this logger, on the root or on both, as the tests before left them.
    told, logger = BufferingHandler(1000), logging.getLogger("dupelake")
    monkeypatch.setattr(logger, "handlers", [told])
    monkeypatch.setattr(logger, "propagate", False)
    caplog.set_level(logging.INFO, logger="dupelake")
    with Progress(spark, "cluster", None, io.StringIO()):
        assert spark.range(100).repartition(3).count() == 100
        time.sleep(3)
    lines = [record.getMessage() for record in told.buffer]
    assert lines[0] == "cluster: started"
    assert re.fullmatch(r"cluster: done in \d+\.\d s", lines[-1])
    when = [record.created for record in told.buffer[:-1]]
    gaps = [after - before for before, after in pairwise(when)]
    assert len(gaps) >= 3
    assert all(gap > least - 0.05 for gap, least in zip(gaps, [0.2, 0.4, *[0.8] * len(gaps)], strict=False)), gaps
    for line in lines[1:-1]:
        assert re.fullmatch(r"cluster: \d+ tasks of Spark(, [\d.]+ a second)?, \d+ s", line), line
    n_tasks = int(lines[-2].split()[1])
    assert 1 <= n_tasks < 30, "of this step alone"


def test_a_step_without_a_known_total_has_no_bar_and_leaves_no_line(spark):
    terminal = Terminal()
    with Progress(spark, "join", None, terminal):
        assert spark.range(10).count() == 10
        time.sleep(1.2)
    assert "tasks of Spark" in terminal.getvalue()
    assert "%" not in terminal.getvalue()
    assert "left" not in terminal.getvalue()
    assert screen(terminal.getvalue()) == []


def test_a_step_that_fails_leaves_no_bar(spark):
    terminal = Terminal()
    with pytest.raises(ValueError, match="broken"), Progress(spark, "hash", Work(1, "images", "f"), terminal):
        raise ValueError("broken")
    assert screen(terminal.getvalue()) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((0, 5000, "images", 3.0), "0 of 5,000 images, 3 s"),
        ((1200, 5000, "images", 60.0), "1,200 of 5,000 images, 20.0 a second, 3 min 10 s left"),
        ((1200, 5000, "images", 60.0, 600), "1,200 of 5,000 images, 10.0 a second, 6 min 20 s left"),
        ((5000, 5000, "images", 125.0), "5,000 images, 40.0 a second, 2 min 5 s"),
        ((1200, None, "pairs", 60.0), "1,200 pairs, 20.0 a second, 1 min 0 s"),
        ((0, None, "pairs", 0.0), "0 pairs, 0 s"),
    ],
)
def test_how_far_in_words(given, told):
    assert how_far(*given) == told


def test_durations():
    assert [duration(s) for s in (0.4, 59.6, 125, 3599.7, 3661, 86_400)] == [
        "0 s", "1 min 0 s", "2 min 5 s", "1 h 0 min", "1 h 1 min", "24 h 0 min",
    ]  # fmt: skip


def test_a_bar_never_goes_back_and_never_passes_its_total():
    terminal = Terminal()
    bar = Bar(terminal, "align", "pairs", 10)
    for done in (4, 2, 30):
        bar.show(done)
    bar.end(is_kept=True)
    counts = re.findall(r"\| (\d+) (?:of 10 )?pairs", terminal.getvalue())
    assert counts[:4] == ["0", "4", "4", "10"]
