"""A run as a user starts it, in a difficult environment: interrupted, and run again to the end.

Folders with letters beyond ASCII and brackets, under LC_ALL=C, in zones far from UTC, with a secret among its settings,
on a machine that has no name for the user: one run each way would cost minutes.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import deltalake
import pytest
from pictures import OPTIONS, photograph

from dupelake.cli import main
from dupelake.warehouse.schema import ALL_TABLES, RUNS
from dupelake.warehouse.schema_types import TIME

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCY"  # noqa: S105
TOLD_LINES = 15  # of Spark's and Java's own, at their start


def command(words: list[str], etc: Path, **env: str) -> tuple[list[str], dict[str, str]]:
    """The command `dupelake` for a user without a name; files of `etc` may replace those of /etc."""
    line = [sys.executable, "-m", "dupelake.cli", *words]
    etc.mkdir(exist_ok=True)
    (etc / "passwd").write_text("nobody:x:65534:65534:nobody:/:/bin/false\n", encoding="utf-8")
    (etc / "nsswitch.conf").write_text("passwd: files\nhosts: files dns\n", encoding="utf-8")  # else systemd knows root
    cover = 'for name in passwd nsswitch.conf; do mount --bind "$0/$name" /etc/$name || exit 1; done; exec "$@"'
    covered = ["unshare", "-m", "sh", "-c", cover, str(etc)]
    if os.geteuid() == 0 and subprocess.run([*covered, "true"], capture_output=True, check=False).returncode == 0:
        line = [*covered, *line]
    held = {name: value for name, value in os.environ.items() if name not in ("HOME", "LANG", "USER", "LOGNAME")}
    return line, held | {"LC_ALL": "C", **env}


def rows(root: Path, table) -> list[dict]:
    return deltalake.DeltaTable(str(root / table.name)).to_pyarrow_table().to_pylist()


@pytest.mark.timeout(900)
@pytest.mark.long
def test_interrupted_and_run_again(spark, tmp_path: Path, monkeypatch, capsys):
    home = tmp_path / "Zürich [x]"
    (home / "bilder ß").mkdir(parents=True)
    photograph("astronaut.png").save(home / "bilder ß" / "a é.png")
    photograph("astronaut.png").resize((200, 200)).save(home / "bilder ß" / "b [1].jpg")
    photograph("coffee.png").save(home / "bilder ß" / "c.png")
    root, events = home / "wh ü[x]", home / "events.jsonl"
    words = ["run", str(home / "bilder ß"), "--warehouse", str(root), *OPTIONS, "--set", f"run.event_log={events}"]
    words += ["--spark", f"spark.hadoop.fs.s3a.secret.key={SECRET}", "--spark", "spark.driver.memory=1g"]

    line, env = command(words, tmp_path / "etc", TZ="America/New_York")
    first = time.time()
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stderr is not None
    said = []
    while text := process.stderr.readline():
        said.append(text)
        if " hash: started" in text:
            java = f"/proc/{process.pid}/task/{process.pid}/children"
            child = Path(java).read_text(encoding="ascii").split()[0]
            assert SECRET not in Path(f"/proc/{child}/cmdline").read_text(encoding="utf-8"), "every user reads that"
            process.send_signal(signal.SIGINT)
            break
    said += process.stderr.readlines()
    assert process.wait(60) == 130, "".join(said)
    foreign = [text for text in said if not re.search(r"\[\d{8}T\d{6}-", text)]
    assert len(foreign) < TOLD_LINES, "".join(said)
    assert not [text for text in said if "Traceback" in text or "\tat " in text or "Exception" in text], "".join(said)
    assert [text for text in said if "stopped by SIGINT" in text and "run the same command again" in text]
    assert not (root / "_lock.json").exists()
    assert not list((root / "_staging").glob("*"))
    (row,) = rows(root, RUNS)
    assert (row["status"], row["tables"]) == ("failed", None)
    assert "stopped by SIGINT" in row["error_message"]

    line, env = command(words, tmp_path / "etc", TZ="Asia/Kolkata")
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=env, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "3 read = 3 hashed + 0 skipped + 0 failed" in done.stdout
    took = time.time() - first
    last = max(rows(root, RUNS), key=lambda row: row["started_at"])
    assert last["status"] == "succeeded"
    told = float(done.stdout.rsplit("; ", 1)[1].split(" in all")[0])
    assert abs(sum(seconds for _, seconds in last["seconds"]) - told) < 15, "what is told is what is stored"
    spent = (last["finished_at"] - last["started_at"]).total_seconds() + dict(last["seconds"])["start"]
    assert abs(told - spent) < 15, "and what the clock says"
    assert told < took

    for table in ALL_TABLES:
        for column in (field.name for field in table.schema.fields if field.dataType == TIME):
            for stored in rows(root, table):
                at = stored[column]
                assert at is None or first - 1 <= at.timestamp() <= time.time() + 1, (table.name, column, at)
    held = json.dumps(rows(root, RUNS), default=str) + events.read_text(encoding="utf-8") + done.stderr + done.stdout
    assert SECRET not in held
    assert "spark.hadoop.fs.s3a.secret.key=*********(redacted)" in held

    with monkeypatch.context() as patch:  # the other commands, on the same warehouse
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        where, setting = ["--warehouse", str(root)], ["--spark", "spark.sql.shuffle.partitions=3"]
        assert main(["report", *where, "--png", str(tmp_path / "sheet.png")]) == 0
        assert main(["review", *where, "--out", str(tmp_path / "review")]) == 0
        keeper = str(home / "bilder ß" / "a é.png")
        assert main(["decide", keeper, "keeper", *where, *setting, "--author", "ana"]) == 0
        assert main(["plan", str(home / "bilder ß"), *where, *OPTIONS, *setting]) == 0
    time.tzset()
    assert "for Spark's start and the small queries" in capsys.readouterr().out
    (decided,) = rows(root, next(table for table in ALL_TABLES if table.name == "decisions"))
    assert abs(decided["decided_at"].timestamp() - time.time()) < 600
