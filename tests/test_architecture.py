"""Habits of the code that `make check` does not see; the rooms are contracts of import-linter in pyproject.toml."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

LIB = Path(__file__).parents[1] / "lib" / "dupelake"
FILES = sorted(LIB.rglob("*.py"))
STAGES = [path for path in FILES if path.stem == "stage" or path.stem.endswith("_stage")]
MAX_FILE, MAX_FUNCTION = 400, 60


def imports(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def top_level(tree: ast.Module) -> ast.Module:
    return ast.Module(body=[n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], type_ignores=[])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIB)))
def test_only_session_builds_sessions(path):
    if path != LIB / "runtime" / "session.py":
        assert "SparkSession.builder" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIB)))
def test_torch_is_imported_only_inside_functions(path):
    names = {n.split(".")[0] for n in imports(top_level(ast.parse(path.read_text(encoding="utf-8"))))}
    assert not names & {"torch", "timm", "torchvision"}


@pytest.mark.parametrize("path", STAGES, ids=lambda p: str(p.relative_to(LIB)))
def test_stages_do_not_act(path):
    acts = {"collect", "count", "toPandas", "first", "take", "foreach", "toLocalIterator", "isEmpty"}
    # Components loop till they converge, and the others size their buckets; all are handed a checkpoint to act with.
    if str(path.relative_to(LIB)) in (
        "group/components_stage.py",
        "group/stage.py",
        "group/ids_stage.py",
        "propose/word_blocks_stage.py",
    ):
        acts -= {"first", "isEmpty", "count"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and not node.args and isinstance(node.func, ast.Attribute)
    }
    assert not called & acts, called & acts
    chained = {
        node.value.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute)
    }  # df.write.format, spark.read.parquet, df.rdd.map
    assert not chained & {"read", "write", "rdd"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIB)))
def test_forbidden_habits(path):
    text = path.read_text(encoding="utf-8")
    for habit in ("monotonically_increasing_id", "approxSimilarityJoin", ".crossJoin("):
        assert habit not in text
    for habit in ("tzinfo=None", "utcnow", "utcfromtimestamp"):  # Spark takes a time without zone for the driver's own
        assert habit not in text
    assert len(text.splitlines()) <= MAX_FILE, "a file past 400 lines wants another thought"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIB)))
def test_functions_are_short(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    long = {
        node.name: lines
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION
    }
    assert not long, "a function past 60 lines wants another thought"


def test_jobs_are_thin():
    for path in (LIB.parents[1] / "jobs").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
