"""The wheel, in an environment of its own: all its files, its commands, a night and a check. About a minute."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from built_wheel import READ, REPO, built_wheel, environment_of, environment_with, two_images
from pictures import SCENES, photograph

from dupelake.runtime.session import jar_folder
from dupelake.version import __version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, reader_jar) -> Path:
    return built_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory) -> Path:
    return environment_with(wheel, tmp_path_factory.mktemp("elsewhere") / "env")


def ran(program: Path, *arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = environment_of(program) | more
    command = [str(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=600, cwd=cwd)


def shipped(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def test_wheel_has_every_file_of_the_package_and_of_conf(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    wanted = {f"dupelake/{name}" for name in shipped(REPO / "lib" / "dupelake")}
    wanted |= {f"dupelake/conf/{name}" for name in shipped(REPO / "conf")}
    assert {"dupelake/jars/dupelake-reader.jar", "dupelake/review/static/review.js"} <= wanted
    assert sorted(wanted - held) == []
    assert sorted(name for name in held - wanted if ".dist-info/" not in name) == []


ABOUT = """
import json, sys
import dupelake
from dupelake.cli import main
from dupelake.runtime.session import conf_file, local_jars
codes = {}
for command in sys.argv[1:]:
    try:
        codes[command] = main([command, "--help"])
    except SystemExit as end:
        codes[command] = end.code
found = {"package": dupelake.__file__, "conf": str(conf_file("spark-cluster.conf")), "jars": local_jars()}
print("\\n" + json.dumps(found | {"codes": codes}))
"""


def test_commands_are_those_of_the_wheel(programs, tmp_path):
    helped = ran(programs / "dupelake", "--help", cwd=tmp_path)
    assert helped.returncode == 0
    commands = re.search(r"\{([\w,]+)\}", helped.stdout).group(1).split(",")
    assert {"run", "check", "serve", "export", "jars"} <= set(commands)
    told = ran(programs / "python", "-c", ABOUT, *commands, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    for place in (found["package"], found["conf"], *found["jars"]):
        assert place.startswith(str(programs.parent)), place
    assert [Path(jar).name for jar in found["jars"]] == ["dupelake-reader.jar"], "Delta's jars are fetched once"
    assert found["codes"] == dict.fromkeys(commands, 0)
    assert ran(programs / "dupelake", "--version", cwd=tmp_path).stdout.strip() == __version__


@pytest.mark.spark
def test_a_night_and_a_check(programs, tmp_path):
    images = two_images(tmp_path / "images")
    picture = photograph(SCENES[0])
    picture.resize((picture.width // 3, picture.height // 3)).save(tmp_path / "new.jpg", quality=80)

    jars = {"DUPELAKE_JARS": str(jar_folder())}
    warehouse = ("--warehouse", str(tmp_path / "dupes"))
    night = ran(programs / "dupelake", "run", str(images), *warehouse, cwd=tmp_path, **jars)
    assert night.returncode == 0, night.stderr
    assert READ in night.stdout

    indexed = ran(programs / "dupelake", "index", *warehouse, cwd=tmp_path)
    assert indexed.returncode == 0, indexed.stderr
    check = ran(programs / "dupelake", "check", str(tmp_path / "new.jpg"), *warehouse, "--json", cwd=tmp_path)
    assert check.returncode == 0, check.stderr
    assert json.loads(check.stdout)["status"] == "copy"
