"""One Spark session for all tests, real data where it is present, and a guard against leaked caches."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

os.environ["PYSPARK_PYTHON"] = sys.executable
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers are one core each

ROOT = Path(__file__).resolve().parents[1]
STARTED = time.monotonic()
SHARED_DATA = Path(os.environ.get("DUPELAKE_TEST_DATA", ROOT.parent / "shared" / "data"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, help="skip the tests that have not begun by then")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what would begin too late, before its fixtures are set up."""
    minutes = item.config.getoption("--minutes")
    if minutes and time.monotonic() > STARTED + 60 * minutes:
        pytest.skip(f"not begun within {minutes:g} minutes (--minutes)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the shared session: `-m 'not spark'` is the quick part. The longest files come first, nights
    before other Spark tests: two processes that take a file each end together only if the last files are short.
    """
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.spark)
    with_spark = {item.path for item in items if item.get_closest_marker("spark")}
    items.sort(key=lambda item: (item.path.parent.name != "pipeline", item.path not in with_spark))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, driven by Playwright; the test skips, loudly, where one of them is absent.

    Of one module, because two drivers of Playwright cannot be open in one process.
    """
    pytest.importorskip("playwright.sync_api", reason="Playwright is absent: pip install '.[test]'")
    from scripts.chromium import executable, launched

    if executable() is None:
        pytest.skip("no browser: install chromium (apt-get install chromium) to test the pages")
    with launched() as opened:
        yield opened


@pytest.fixture(scope="session")
def reader_jar() -> Path:
    """lib/dupelake/jars/dupelake-reader.jar, built before the shared session starts, which takes it up."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "build_jar.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return ROOT / "lib" / "dupelake" / "jars" / "dupelake-reader.jar"


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory, reader_jar: Path):
    """A local session with Delta Lake, two cores, its own warehouse folder."""
    from dupelake.runtime.session import build_session

    folder = tmp_path_factory.mktemp("spark")
    session = build_session(
        "dupelake-tests",
        {
            "spark.master": "local[2]",
            "spark.driver.memory": "3g",
            "spark.sql.shuffle.partitions": "4",
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.local.dir": str(folder / "local"),
        },
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def small_lake(spark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images`, `dupes`, the warehouse that two real nights made of them, and `first`, a copy of that
    warehouse from after the first night. The processes of a run of the tests share it: they only read it, or a copy.
    """
    from pictures import OPTIONS, write_two_nights

    from dupelake.pipeline import nightly

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "small_lake"
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that ended before it was done
            images = write_two_nights(folder / "images")
            for night in ("2026-11-01", "2026-11-02"):
                asked = [str(images), "--warehouse", str(folder / "dupes"), "--partitions", night, *OPTIONS]
                assert nightly.main(asked) == 0
                if not (folder / "first").exists():
                    shutil.copytree(folder / "dupes", folder / "first")
            (folder / "done").touch()
    return folder


@pytest.fixture(autouse=True)
def no_leaked_cache(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that used Spark must leave nothing persisted behind."""
    yield
    if "spark" in request.fixturenames:
        session = request.getfixturevalue("spark")
        held = session.sparkContext._jsc.getPersistentRDDs().values()
        names = [str(rdd.name()) for rdd in held]
        left = [name for name in names if "Delta Table State" not in name]  # Delta keeps its own snapshots
        assert not left, f"persisted and left behind: {left}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images; the test skips, loudly, where it is absent."""
    if not (SHARED_DATA / "README.md").is_file():
        pytest.skip(f"real images are absent: no {SHARED_DATA}; set DUPELAKE_TEST_DATA to the folder")
    return SHARED_DATA
