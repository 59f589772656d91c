"""spark-submit on a standalone master with two workers, all real processes on loopback, against local mode.

Everything as the README tells a user: the wheel by --py-files, the reader jar by --jars, the
dependencies in the Python that the workers use; dupelake itself is taken from the wheel.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from built_wheel import built_wheel
from pictures import SCENES, photograph
from PIL import Image
from standalone import cluster_of_two, submit

from dupelake.warehouse.schema import GROUPS, HASHES, MODELS, PAIRS
from dupelake.warehouse.tables import Warehouse

REPO = Path(__file__).parents[2]
VOLATILE = {"updated_at"}


@pytest.fixture
def master(tmp_path):
    """URL of a standalone master with two workers of one core each; all ended afterwards."""
    with cluster_of_two(tmp_path) as url:
        yield url


@pytest.fixture
def images(tmp_path) -> Path:
    """Eight photographs, each with a smaller JPEG copy, and one file that is no image."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in SCENES:
        picture = photograph(name)
        picture.save(folder / f"{Path(name).stem}.png")
        half = (picture.width // 2, picture.height // 2)
        picture.resize(half, Image.Resampling.LANCZOS).save(folder / f"{Path(name).stem} half.jpg", quality=85)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a jpeg")
    return folder


def rows(warehouse: Warehouse, table) -> list[tuple]:
    columns = [c for c in table.columns if c not in VOLATILE]
    return sorted(
        (
            tuple(bytes(v) if isinstance(v, bytearray) else v for v in r)
            for r in warehouse.read(table).select(columns).collect()
        ),
        key=repr,
    )


@pytest.mark.cluster
@pytest.mark.timeout(900)
@pytest.mark.long
def test_submitted_run_gives_the_tables_of_local_mode(spark, master, images, tmp_path):
    from dupelake.pipeline import nightly

    wheel = built_wheel(tmp_path / "dist")
    arguments = [str(images), "--warehouse", str(tmp_path / "cluster")]
    done = submit(master, REPO / "jobs" / "nightly.py", arguments, "--py-files", str(wheel), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "17 read = 16 hashed + 0 skipped + 1 failed" in done.stdout
    used = {p.name for p in tmp_path.glob("work*/app-*/*")}
    assert {"0", "1"} <= used, f"both workers must have run an executor: {used}"

    assert nightly.main([str(images), "--warehouse", str(tmp_path / "local")]) == 0
    ours, theirs = Warehouse(spark, str(tmp_path / "local")), Warehouse(spark, str(tmp_path / "cluster"))
    for table in (HASHES, MODELS, PAIRS, GROUPS):
        assert rows(ours, table) == rows(theirs, table), table.name
    assert len(rows(ours, GROUPS)) == 16
