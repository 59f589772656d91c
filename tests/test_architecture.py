"""Walls between the rooms, as executable rules (design §1; reference/style.md §5.3)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

LIB = Path(__file__).parents[1] / "lib" / "dupelake"
FILES = sorted(LIB.rglob("*.py"))


def imports(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def room(path: Path) -> str:
    parts = path.relative_to(LIB).parts
    return parts[0] if len(parts) > 1 else path.stem


def top_level(tree: ast.Module) -> ast.Module:
    return ast.Module(body=[n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], type_ignores=[])


FORBIDDEN = {
    "kernels": ("pyspark", "delta", "dupelake.stages", "dupelake.warehouse.tables", "dupelake.runtime", "dupelake.jobs"),
    "config": ("pyspark", "delta", "dupelake.kernels", "dupelake.stages", "dupelake.warehouse.tables"),
    "errors": ("pyspark", "delta", "dupelake."),
    "schema": ("delta", "dupelake.kernels", "dupelake.stages", "dupelake.warehouse.tables", "dupelake.runtime"),
    "stages": ("delta", "dupelake.warehouse.tables", "dupelake.runtime", "dupelake.jobs", "dupelake.ingest.manifests"),
    "manifests": ("delta", "dupelake.warehouse.tables", "dupelake.runtime", "dupelake.jobs"),
    **dict.fromkeys(
        ("manifest_place", "manifest_text", "manifest_parquet", "trees"),
        ("delta", "dupelake.warehouse.tables", "dupelake.runtime", "dupelake.jobs", "dupelake.ingest.manifests"),
    ),
    "tables": ("dupelake.stages", "dupelake.runtime", "dupelake.jobs", "dupelake.kernels"),
    "staging": ("delta", "dupelake.stages", "dupelake.runtime", "dupelake.jobs", "dupelake.kernels"),
    "fence": ("delta", "dupelake.warehouse.tables", "dupelake.runtime", "dupelake.jobs"),
    "paths": ("delta", "dupelake.warehouse.tables", "dupelake.runtime", "dupelake.jobs"),
}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIB)))
def test_imports_stay_inside_the_walls(path):
    names = imports(ast.parse(path.read_text(encoding="utf-8")))
    for forbidden in FORBIDDEN.get(room(path), ()):
        bad = {n for n in names if n == forbidden.rstrip(".") or n.startswith(forbidden.rstrip(".") + ".")}
        assert not bad, f"{path.name} imports {bad}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIB)))
def test_only_tables_knows_delta_and_only_session_builds_sessions(path):
    text = path.read_text(encoding="utf-8")
    if path.name != "tables.py":
        assert "delta" not in {n.split(".")[0] for n in imports(ast.parse(text))}
    if path != LIB / "runtime" / "session.py":
        assert "SparkSession.builder" not in text


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIB)))
def test_torch_is_imported_only_inside_functions(path):
    names = {n.split(".")[0] for n in imports(top_level(ast.parse(path.read_text(encoding="utf-8"))))}
    assert not names & {"torch", "timm", "torchvision"}


@pytest.mark.parametrize("path", [p for p in FILES if room(p) == "stages"], ids=lambda p: p.name)
def test_stages_do_not_act(path):
    acts = {"collect", "count", "toPandas", "first", "take", "foreach", "toLocalIterator", "isEmpty"}
    if path.name in (
        "components.py",
        "groups.py",
        "group_ids.py",
        "words.py",
    ):  # components loops till it converges, and
        acts -= {"first", "isEmpty", "count"}  # the others size their buckets; all are handed a checkpoint to act with
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
    assert len(text.splitlines()) <= 400, "a file past 400 lines wants another thought"


def test_jobs_are_thin():
    for path in (LIB.parents[1] / "jobs").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
