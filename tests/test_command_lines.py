"""What is refused before Spark starts, in a line each, whoever the user is and whatever the locale."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dupelake.cli import main

CONF, JOBS = (Path(__file__).parents[1] / name for name in ("conf", "jobs"))


def as_somebody(arguments: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    """`dupelake` as a user who owns nothing, and whom the system does not know."""
    command = [sys.executable, "-m", "dupelake.cli", *arguments]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | env)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A warehouse that the user may read, not write, in a folder that pytest does not close to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for table in ("images", "groups"):
            Path(folder, "wh", table, "_delta_log").mkdir(parents=True)
        Path(folder, "wh").chmod(0o555)
        yield Path(folder, "wh")
        Path(folder, "wh").chmod(0o755)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "{images}", "--warehouse", "{closed}"],
        ["run", "{images}", "--warehouse", "{closed}/new/one"],
        ["decide", "x", "keeper", "--author", "ana", "--warehouse", "{closed}"],
    ],
    ids=lambda words: words[0],
)
def test_a_warehouse_that_cannot_be_written_is_refused_in_a_line(closed, words):
    images = closed.parent / "pictures"
    images.mkdir()
    done = as_somebody([word.format(images=images, closed=closed) for word in words])
    assert done.returncode == 2, done.stderr
    assert "cannot write in" in done.stderr
    assert str(closed) in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3, done.stderr


def test_a_warehouse_that_cannot_be_read_is_refused_in_a_line(closed):
    closed.chmod(0o000)
    done = as_somebody(["report", "--warehouse", str(closed)])
    assert (done.returncode, "may not read it" in done.stderr) == (2, True), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_arguments_are_refused_as_arguments(tmp_path):
    done = as_somebody(["run", str(tmp_path / "none"), "--warehouse", str(tmp_path / "wh")])
    assert done.returncode == 2
    assert "refused; nothing was started" in done.stderr
    assert "configuration" not in done.stderr


HEAVY = ("pyspark", "pyarrow", "numpy", "pandas", "scipy", "torch", "PIL", "cv2", "matplotlib")


def heavy_after(code: str, *arguments: str) -> tuple[str, list[str]]:
    """What `code` says on stderr, and which of HEAVY it imports; each takes seconds on a slow machine."""
    told = f"import sys\n{code}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", told, *arguments], capture_output=True, text=True, check=True)
    return done.stderr, done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "words",
    [["--version"], ["--help"], *([name, "--help"] for name in ("run", "plan", "forget", "maintain", "overlap"))],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(words):
    code = "from dupelake.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass"
    assert heavy_after(code, *words) == ("", [])


def test_the_first_line_of_a_run_comes_before_what_is_heavy(tmp_path):
    code = (
        "from dupelake.pipeline.beginning import begin\nfrom dupelake.pipeline.job_commands import command_of\n"
        "begin('nightly', command_of('nightly', 'dupelake run'), sys.argv[1:])"
    )
    said, heavy = heavy_after(code, str(tmp_path), str(tmp_path), "--warehouse", "s3a://key:secret-key@bucket/dupes")
    first, *warnings = said.splitlines()
    assert "2 paths, warehouse s3a://" in first
    assert "starts Spark" in first
    assert "secret-key" not in said
    assert len(warnings) == 1
    assert heavy == []


@pytest.mark.parametrize("script", sorted(path.name for path in JOBS.glob("*.py")))
def test_a_python_without_what_dupelake_needs_is_told_in_a_line(script):
    """As spark-submit takes the first python3 of the PATH."""
    bare = [sys.executable, "-S", str(JOBS / script), "--help"]  # without site-packages
    env = os.environ | {"PYTHONPATH": str(JOBS.parent / "lib")}
    done = subprocess.run(bare, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 1
    assert "set PYSPARK_PYTHON" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_settings_for_clusters():
    from dupelake.runtime.session import read_properties

    held = read_properties(CONF / "spark-cluster.conf")
    assert held["spark.yarn.maxAppAttempts"] == "1", "exit codes 2, 3 and 4 are no reason to start the night again"
    assert held["spark.executorEnv.LC_ALL"] == held["spark.yarn.appMasterEnv.LC_ALL"] == "C.UTF-8"
    assert held["spark.kubernetes.driverEnv.LC_ALL"] == "C.UTF-8"
    assert held["spark.log.level"] == "WARN"


def test_rules_name_a_wrong_address_beside_other_faults(capsys):
    base = Path(__file__).parents[1] / "conf" / "base.yaml"
    assert main(["rules", "--apply", "--config", str(base), "--warehouse", "file://host/x"]) == 2
    said = capsys.readouterr().err
    assert "rules.list has no rule" in said
    assert said.count("it names the host host") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["forget", "--image", ""],
        ["forget", "--uri", "/x/a.jpg", "--uri", ""],
        ["forget", "--csv", ""],
        ["report", "--group", ""],
        ["report", "--run", ""],
        ["report", "--out", ""],
        ["run", "", "{lake}"],
        ["run", "{lake}", "--partitions", ""],
        ["run", "{lake}", "--since", ""],
        ["run", "{lake}", "--config", ""],
        ["plan", "{lake}", "--since", ""],
        ["overlap", "--by", "vendor", "--between", "a", ""],
        ["export", "csv", "--out", ""],
        ["check", "{lake}", "--index", ""],
        ["decide", "--author", "ann", "a", "duplicate", ""],
        ["rules", "--undo", ""],
        ["maintain", "--warehouse", ""],
    ],
    ids=" ".join,
)
def test_an_empty_value_is_refused_in_a_line(tmp_path, capsys, words):
    (tmp_path / "images").mkdir()
    lake = [] if "--warehouse" in words else ["--warehouse", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main([words[0], *(word.format(lake=tmp_path) for word in words[1:]), *lake])
    assert ended.value.code == 2
    assert "is empty; give a value, or leave the option out" in capsys.readouterr().err.splitlines()[-1]


def test_the_empty_scope_is_a_scope(tmp_path, capsys):
    assert main(["check", str(tmp_path), "--scope", "", "--warehouse", str(tmp_path / "none")]) == 2
    assert "is empty" not in capsys.readouterr().err


@pytest.mark.parametrize("hours", ["nan", "inf", "-inf", "1"])
def test_maintain_refuses_hours_that_are_no_number(tmp_path, capsys, hours):
    with pytest.raises(SystemExit):
        main(["maintain", "--warehouse", str(tmp_path), f"--retain-hours={hours}"])
    assert "must be a number of 168 or more" in capsys.readouterr().err


def test_maintain_makes_no_warehouse(tmp_path, capsys):
    assert main(["maintain", "--warehouse", str(tmp_path / "typo")]) == 2
    assert "holds no table images; give the folder of a warehouse" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("words", [["report", "--warehouse", "x"], ["run", "x", "--warehouse", "y"], ["--help"]])
def test_a_folder_that_was_removed_is_told_in_a_line(tmp_path, words):
    line = f'mkdir gone && cd gone && rmdir ../gone && "{sys.executable}" -m dupelake.cli "$@"'
    env = os.environ | {"PYTHONPATH": str(JOBS.parent / "lib")}
    done = subprocess.run(
        ["sh", "-c", line, "sh", *words], cwd=tmp_path, capture_output=True, text=True, check=False, env=env
    )
    said = "dupelake: the present folder was removed; change to one that exists\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
