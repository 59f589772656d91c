"""What the wheel requires, what each extra adds, and what a program says where an extra is absent."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires

import pillow_heif
import pytest
from built_wheel import REPO
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pictures import SCENES, photograph

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
FOR_USERS = ("gpu", "heif", "polars", "serve")
# Modules of what another requirement brings.
BROUGHT_BY = {"markupsafe": "jinja2", "py4j": "pyspark", "pydantic": "fastapi", "starlette": "fastapi"}


def names(requirements: list[str]) -> list[str]:
    return [canonicalize_name(Requirement(one).name) for one in requirements]


def imported() -> set[str]:
    """The top-level names that lib/dupelake imports."""
    found = set()
    for path in (REPO / "lib" / "dupelake").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"dupelake", "__future__"}


def test_each_requirement_stands_once_and_is_pinned():
    pinned = {line.partition("==")[0] for line in (REPO / "constraints.txt").read_text().split() if "==" in line}
    pinned = {canonicalize_name(name) for name in pinned}
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        listed = names(group)
        assert len(listed) == len(set(listed)), sorted(name for name in listed if listed.count(name) > 1)
        assert sorted(set(listed) - pinned - {"dupelake"}) == []


def test_the_wheel_requires_what_its_code_imports():
    extras = [one for extra in FOR_USERS for one in PROJECT["optional-dependencies"][extra]]
    required = {*names(PROJECT["dependencies"]), *names(extras)}
    for module, by in BROUGHT_BY.items():
        assert by in required
        assert module in names(requires(by) or [])
    of_module = packages_distributions()
    absent = {
        module
        for module in imported() - set(BROUGHT_BY)
        if not {canonicalize_name(name) for name in of_module.get(module, [])} & required
    }
    assert sorted(absent) == []


def test_the_page_names_each_extra():
    page = (REPO / "docs" / "install.md").read_text(encoding="utf-8")
    assert set(FOR_USERS) | {"test", "dev", "docs"} == set(PROJECT["optional-dependencies"])
    assert set(re.findall(r"^\| `\[(\w+)\]` \|", page, re.M)) == set(FOR_USERS)


@pytest.mark.skipif(sys.platform != "linux", reason="the claim is about Linux")
def test_gpu_adds_nothing_because_torch_brings_cuda():
    brought = {
        canonicalize_name(Requirement(one).name)
        for one in requires("torch") or []
        if (marker := Requirement(one).marker) is None or marker.evaluate()
    }
    assert PROJECT["optional-dependencies"]["gpu"] == []
    assert {"cuda-toolkit", "nvidia-nccl-cu13"} <= brought, "say in pyproject.toml what [gpu] must add now"


DECODE = """
import sys
sys.modules["pillow_heif"] = None  # as if it were not installed
from dupelake.config import DecodeConfig
from dupelake.fingerprint.decode import decode
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        result = decode(file.read(), DecodeConfig())
    print(getattr(result, "reason", None), getattr(result, "message", result.__class__.__name__), sep="|")
"""


def test_heic_without_the_extra_is_a_reason_that_names_the_fix(tmp_path):
    picture = photograph(SCENES[0]).convert("RGB")
    heic = io.BytesIO()
    pillow_heif.from_pillow(picture).save(heic)
    assert heic.getvalue()[4:12] == b"ftypheic"
    for kind in ("jpeg", "avif"):
        picture.save(tmp_path / f"one.{kind}")
    (tmp_path / "phone.heic").write_bytes(heic.getvalue())
    (tmp_path / "other.heif").write_bytes(heic.getvalue().replace(b"ftypheic", b"ftypmif1", 1))
    files = [tmp_path / name for name in ("one.jpeg", "one.avif", "phone.heic", "other.heif")]
    env = os.environ | {"PYTHONPATH": str(REPO / "lib")}
    command = [sys.executable, "-c", DECODE, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    jpeg, avif, phone, other = (line.split("|") for line in done.stdout.splitlines())
    assert jpeg == avif == ["None", "Decoded"]
    for reason, message in (phone, other):
        assert reason == "no_decoder"
        assert "pip install 'dupelake[heif]'" in message
