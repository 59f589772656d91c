"""A check of a folder in which a folder cannot be listed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from made_lake import CONFIG, make_night
from pictures import SCENES, photograph
from serving import encoded

from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER


def test_a_folder_that_cannot_be_listed_is_an_image_that_cannot_be_read():
    """A gate must not let through what nobody has read, whatever endings the nights read."""
    with tempfile.TemporaryDirectory() as place:  # pytest closes its folders to others
        root, given = Path(place, "lake"), Path(place, "given")
        Path(place).chmod(0o755)
        (given / "closed").mkdir(parents=True)
        (given / "new.png").write_bytes(encoded(photograph(SCENES[1], 64)))
        config = replace(CONFIG, manifest=replace(CONFIG.manifest, extensions=("png",)))
        make_night(root, {f"/photos/{SCENES[0]}": encoded(photograph(SCENES[0], 64))}, config=config)
        build_index(str(root), root / FOLDER)
        (given / "closed").chmod(0)
        command = [sys.executable, "-m", "dupelake.cli", "check", str(given), "--warehouse", str(root), "--json"]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", *command]
        done = subprocess.run(
            [*command, "--on-duplicate", "reject"], capture_output=True, text=True, check=False, cwd=place
        )
        (given / "closed").chmod(0o755)
    answers = {row["image"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert {Path(name).name: row["status"] for name, row in answers.items()} == {"new.png": "new", "closed": "failed"}
    assert answers[str(given / "closed")]["action"] == "skip"
    assert "2 images: 0 copies, 1 not readable" in done.stderr
    assert done.returncode == 3
