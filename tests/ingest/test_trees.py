"""Trees of images with folders that cannot be listed to their end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from dupelake.config import ManifestConfig
from dupelake.ingest.manifests import read_manifests
from dupelake.ingest.trees import list_folder

LONGEST = 4095  # bytes of a path, on Linux


def with_a_path_too_long(root: Path) -> str:
    """A folder that can be listed, with a file of which nothing can be asked by its path, whoever asks."""
    path, folder = str(root), os.open(root, os.O_RDONLY)
    while LONGEST - len(path) > 250:
        name = "d" * 200
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        path, folder = f"{path}/{name}", inner
    os.close(os.open("f" * 246 + ".jpg", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    return path


def test_a_folder_with_a_file_that_cannot_be_asked_is_told(tmp_path: Path) -> None:
    folder = with_a_path_too_long(tmp_path)
    found = {file.uri: file.byte_size for file in list_folder(str(tmp_path), deep=True)}
    assert found == {f"{folder}/a.jpg": 0, folder: None}


def test_a_folder_that_may_be_read_but_not_searched_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        closed = Path(folder, "closed")
        closed.mkdir()
        (closed / "a.jpg").write_bytes(b"x")
        (Path(folder) / "dangling.jpg").symlink_to("nothing")
        (Path(folder) / "into.jpg").symlink_to("closed/a.jpg")
        closed.chmod(0o444)
        code = (
            "import sys; from dupelake.ingest.trees import list_folder\n"
            "for file in list_folder(sys.argv[1], deep=True): print(file.uri, file.byte_size is None)"
        )
        command = [sys.executable, "-c", code, folder]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        closed.chmod(0o755)
        wanted = [f"{folder}/dangling.jpg False", f"{folder}/into.jpg False", f"{closed} True"]
        assert done.stdout.split("\n")[:-1] == wanted, done.stderr


@pytest.mark.parametrize("extensions", [(), ("jpg",)])
def test_with_extensions_such_a_folder_is_a_row_too(
    spark: SparkSession, tmp_path: Path, extensions: tuple[str, ...]
) -> None:
    folder = with_a_path_too_long(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"x")
    raw = read_manifests(spark, [str(tmp_path)], ManifestConfig(format="directory", extensions=extensions))
    found = {row["uri"]: row["byte_size"] for row in raw.collect()}
    assert found == {f"{folder}/a.jpg": "0", folder: None} | ({} if extensions else {str(tmp_path / "a.txt"): "1"})
