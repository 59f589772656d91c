"""docs/tutorial.md and docs/ways: what they say is run, and what the tutorial shows is what is printed.

The short tests need no Spark and take 50 s in all: tests/worlds/demo_lake.py makes the demo's warehouse. The long ones
begin with nothing, as a newcomer does.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_lake import make_demo
from scripts.tutorial import PAGE, Block, blocks, environment, printed_by, settled

WAYS = Path(__file__).parents[2] / "docs" / "ways"
TUTORIAL = list(blocks(PAGE.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with `demo-output`, as `dupelake demo` leaves it."""
    folder = tmp_path_factory.mktemp("clone")
    make_demo(folder / "demo-output")
    shutil.copytree(folder / "demo-output" / "warehouse", folder / "before")
    return folder


@pytest.fixture
def clone(made) -> Iterator[Path]:
    """The same. Afterwards the warehouse is as it was; what a script writes elsewhere stays."""
    yield made
    shutil.rmtree(made / "demo-output" / "warehouse")
    shutil.copytree(made / "before", made / "demo-output" / "warehouse")


def way(name: str, folder: Path, *words: str) -> str:
    """What a script prints that runs in `folder`."""
    command = ["python" if name.endswith(".py") else "bash", str(WAYS / name), *words]
    return printed_by(shlex.join(command), folder)


def test_each_way_is_tested():
    names = {path.name for path in WAYS.iterdir()}
    assert names == {"analyst.sh", "data_engineer.sh", "ml_engineer.py", "seen_before.sh"}


def test_the_analysts_way(clone):
    said = way("analyst.sh", clone)
    assert "camera original.png and camera mirrored.jpg: in one group: Copy: mirror image" in said
    assert "camera original.png and coins original.png: never proposed" in said
    assert "1 verdicts added" in said
    assert "1 moved, 0 moved before, 0 refused" in said
    assert "1 put back, 0 in their places, 0 refused" in said
    assert (clone / "demo-output/images/date=2026-11-02/same bytes, 100 % #1.png").is_file()
    assert (clone / "demo-output/images/date=2026-11-01/astronaut original.png").is_file()
    assert not list((clone / "demo-output" / "analyst" / "quarantine").rglob("*.png"))


@pytest.mark.skipif(None in map(shutil.which, ("git", "curl")), reason="the way needs git and curl")
def test_the_way_of_who_asks_whether_an_image_is_known(clone):
    said = way("seen_before.sh", clone)
    known, new = (re.search(rf"^\S*{name}.jpg: .*$", said, flags=re.M) for name in ("known", "new"))
    assert known is not None
    assert "coffee original.png" in known[0]
    assert new is not None
    assert "new.jpg: new" in new[0]
    for told in ("new.jpg: committed", "known.jpg: refused", "exit code 10", "known.jpg: copy, action link, use /"):
        assert told in said


def test_the_tutorial(clone):
    """Each block prints what the page shows, but for those that start Spark."""
    n_compared = 0
    for block in TUTORIAL:
        if not block.commands.startswith(("dupelake demo", "dupelake run")):
            assert settled(printed_by(block.commands, clone), clone) == settled(block.printed or "")
            n_compared += block.printed is not None
    assert (n_compared, len(TUTORIAL)) == (7, 9)


def test_what_varies_is_settled():
    given = "Run 20261130T124932-267131 (nightly), 4 min 25 s on the clock\n  seconds  start 1.0\n/clone/a.png 1.5 s\n"
    assert settled(given, "/clone") == (
        "Run RUN (nightly), DURATION on the clock\n  seconds\n/home/ana/dupelake/a.png DURATION"
    )
    (one, other) = blocks("```bash\nls\n```\n\n```text\na\n```\n\ntext\n\n```bash\nid\n```\n")
    assert (one, other) == (Block("ls\n", "a\n"), Block("id\n", None))


# With nothing there, as in a fresh clone


@pytest.mark.spark
@pytest.mark.long
def test_the_tutorial_from_nothing(tmp_path):
    for block in TUTORIAL:
        assert settled(printed_by(block.commands, tmp_path), tmp_path) == settled(block.printed or "")


@pytest.mark.spark
@pytest.mark.long
def test_the_data_engineers_way(tmp_path):
    said = way("data_engineer.sh", tmp_path)
    assert "3 of 25 images failed" in said
    assert '"exit_code": 0' in said
    for told in ("truncated", "undecodable", "empty", "dupelake_run_success"):
        assert told in said
    assert (tmp_path / "nightly-output" / "report.html").is_file()


@pytest.mark.spark
@pytest.mark.long
def test_the_ml_engineers_way(tmp_path):
    said = way("ml_engineer.py", tmp_path)
    assert "tea" in said
    assert "images show a picture that both sets have" in said


@pytest.mark.spark
@pytest.mark.long
def test_the_other_ways_make_the_demo_where_there_is_none(tmp_path):
    assert "1 verdicts added" in way("analyst.sh", tmp_path)
    assert (tmp_path / "demo-output" / "report.html").is_file()
    done = subprocess.run(
        ["bash", str(WAYS / "seen_before.sh")],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
