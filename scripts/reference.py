"""The reference pages of the site, made from the code: tables, views, options, commands, exit codes, events.

Each function gives the Markdown of one page. scripts/site_pages.py puts them into the site; nothing is committed, so
nothing can be out of date.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import datetime as dt
import importlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO / "lib")]

from dupelake import errors  # noqa: E402 - after the path
from dupelake.config import Config, options_of  # noqa: E402
from dupelake.profiles import PROFILES  # noqa: E402
from dupelake.replaced_options import REPLACED  # noqa: E402
from dupelake.runtime.counts import Counts  # noqa: E402

BASE = REPO / "conf" / "base.yaml"
_WIDTH = "110"  # of the text of --help
_RANGE = re.compile(r"^[\d.]+\.\.[\d.]+[:;]? ?")
"""The range at the beginning of a comment of conf/base.yaml; a column of its own has it."""
_PAGE = re.compile(r"\b(docs|benchmarks)/(\w+)\.md\b")
_TYPES = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}


def _page(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(str(value)) for value in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    one_line = text.replace("|", r"\|").replace("\n", " ")
    return one_line if "`" in text else one_line.replace("<", "&lt;")  # in code it is literal


def _linked(text: str) -> str:
    """The same, with links to the pages that it names."""
    places = {"docs": "../", "benchmarks": "../repository/benchmarks/"}
    return _PAGE.sub(lambda found: f"[{found[2]}]({places[found[1]]}{found[2]}.md)", text)


def _code(value: object) -> str:
    return f"`{value}`"


# Tables and views


def tables_page() -> str:
    """Every table and column, with its comment."""
    from dupelake.warehouse.schema import ALL_TABLES

    parts = [
        "# Tables",
        "All tables are Delta tables in the folder of the warehouse. The comments here are those that the tables carry "
        "themselves. [The views](views.md) answer most questions.",
        _table(("table", "what"), [(f"[`{t.name}`](#{t.name})", t.comment) for t in ALL_TABLES]),
    ]
    for table in ALL_TABLES:
        facts = [f"Key: {', '.join(map(_code, table.key))}." if table.key else "No key: rows are only added."]
        if table.partition_by:
            facts.append(f"Partitioned by {', '.join(map(_code, table.partition_by))}.")
        rows = [
            (_code(f.name), _code(f.dataType.simpleString()), "" if f.nullable else "never null", f.metadata["comment"])
            for f in table.schema.fields
        ]
        parts += [f"## {table.name}", table.comment, " ".join(facts), _table(("column", "type", "null", "what"), rows)]
        if table.checks:
            parts += ["What holds for each row:", _table(("constraint", "SQL"), _checks(table.checks))]
    return _page(*parts)


def _checks(checks: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((name, _code(sql)) for name, sql in checks.items())


def views_page() -> str:
    """Every view for analysts, with its columns as DataFusion gives them."""
    from dupelake.warehouse.schema import ALL_TABLES
    from dupelake.warehouse.views import VIEWS

    comments = {(t.name, f.name): f.metadata["comment"] for t in ALL_TABLES for f in t.schema.fields}
    counts = {field.name: field.metadata["meaning"] for field in dataclasses.fields(Counts)}
    types = _view_columns()
    parts = [
        "# Views",
        "`dupelake register` makes these in a catalogue ([Questions in SQL](../sql.md)); `dupelake.open(...).sql` "
        "knows them by the same names ([A warehouse in Python](../python.md)).",
    ]
    for view in VIEWS.values():
        rows = [
            (_code(name), _code(kind), view.comments.get(name) or _first(comments, view.tables, name) or counts[name])
            for name, kind in types[view.name]
        ]
        read = ", ".join(f"[`{name}`](tables.md#{name})" for name in view.tables)
        parts += [f"## {view.name}", view.comment, f"Made from {read}.", _table(("column", "type", "what"), rows)]
    return _page(*parts)


def _first(comments: Mapping[tuple[str, str], str], tables: Sequence[str], column: str) -> str:
    return next((comments[table, column] for table in tables if (table, column) in comments), "")


def _view_columns() -> dict[str, list[tuple[str, str]]]:
    """{view: [(column, type)]}, asked of empty tables."""
    import pyarrow as pa
    from deltalake import DeltaTable, QueryBuilder
    from pyspark.sql.pandas.types import to_arrow_schema

    from dupelake.warehouse.schema import ALL_TABLES
    from dupelake.warehouse.views import DATAFUSION, VIEWS

    builder = QueryBuilder()
    with tempfile.TemporaryDirectory() as folder:
        for table in ALL_TABLES:
            schema = to_arrow_schema(table.schema, timezone="UTC")
            builder.register(table.name, DeltaTable.create(f"{folder}/{table.name}", schema))
        found = {}
        for view in VIEWS.values():
            stream = builder.execute(view.sql(DATAFUSION))
            schema = pa.RecordBatchReader.from_stream(stream).schema
            found[view.name] = [(field.name, _sql_type(field.type)) for field in schema]
    return found


def _sql_type(kind: Any) -> str:
    from pyspark.sql.pandas.types import from_arrow_type

    text = str(kind)
    return "string" if "string" in text else str(from_arrow_type(kind).simpleString())


# Options


def options_page() -> str:
    """Every option: type, default, what is allowed, and its comment in conf/base.yaml."""
    comments = base_comments(BASE.read_text(encoding="utf-8"))
    config = Config()
    parts = [
        "# Options",
        "Give them in a YAML file (`--config FILE`), or one at a time (`--set SECTION.NAME=VALUE`), which goes over "
        "the file. An unknown name or a value that is not allowed is refused before anything starts, with all faults "
        "at once.",
    ]
    for section in dataclasses.fields(Config):
        held = getattr(config, section.name)
        about = comments.get(section.name) or _docline(type(held))
        rows = [
            (
                _code(f"{section.name}.{name}"),
                _kind(get_type_hints(type(held))[name]),
                _code(_yaml(getattr(held, name))),
                _allowed(option.metadata),
                _linked(_RANGE.sub("", comments.get(f"{section.name}.{name}", ""))),
            )
            for name, option in options_of(held).items()
        ]
        parts += [
            f"## {section.name}",
            _linked(_sentence(about)),
            _table(("option", "type", "default", "allowed", "what"), rows),
        ]
    parts += [
        "## Profiles",
        "A profile is a set of values ([figures](../repository/benchmarks/profiles.md)). `--config` and `--set` go "
        "over it.",
        _table(("profile", "sets"), [(_code(name), _values(values)) for name, values in PROFILES.items()]),
        "## Options of earlier releases",
        "They are refused, and the message says what to use.",
        _table(("option", "use"), [(_code(name), instead) for name, instead in sorted(REPLACED.items())]),
    ]
    return _page(*parts)


def base_comments(text: str) -> dict[str, str]:
    """{section or section.option: its comment} of a file like conf/base.yaml."""
    found: dict[str, list[str]] = {}
    section = name = ""
    for line in text.splitlines():
        head = re.match(r"(\w+):", line)
        option = re.match(r"  (\w+):", line)
        if head:
            section = name = head[1]
        elif option:
            name = f"{section}.{option[1]}"
        elif not re.match(r"\s+#", line):
            continue
        _, mark, comment = line.partition("# ")
        if mark and name:
            found.setdefault(name, []).append(comment.strip())
    return {name: " ".join(lines) for name, lines in found.items()}


def _kind(hint: Any) -> str:
    name = getattr(hint, "__name__", str(hint))
    return _TYPES.get(name, "list")


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return '""' if value == "" else str(value)


def _allowed(meta: Mapping[str, Any]) -> str:
    if meta.get("one_of"):
        return ", ".join(map(_code, meta["one_of"]))
    low, high = meta.get("low"), meta.get("high")
    return "" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else str(value)


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(_code(f"{name}={_yaml(value)}") for name, value in values.items()) or "the defaults"


def _docline(of: Any) -> str:
    return (of.__doc__ or "").strip().splitlines()[0]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:].rstrip(".") + "."


# Commands


def commands_page() -> str:
    """What `--help` says, of every command and of every job for spark-submit."""
    from dupelake.cli import command_parser, main

    parts = [
        "# Commands",
        "What `dupelake COMMAND --help` prints. Each command also takes `--debug`. [Exit codes](exit_codes.md) are the "
        "same for all.",
    ]
    for words in ([], *_commands(command_parser(), [])):
        parts += [f"## {' '.join(['dupelake', *words])}", _fenced(_help(main, [*words, "--help"]))]
    parts += [
        "## Jobs for spark-submit",
        "Each takes the options of its command, and the addresses that the cluster reads "
        "([Running dupelake every night](../operations.md)).",
    ]
    for path in sorted((REPO / "jobs").glob("*.py")):
        job = importlib.import_module(f"dupelake.pipeline.{path.stem}")
        call = getattr(job, "main", None)
        if call is not None:  # register is the command itself
            parts += [f"### jobs/{path.name}", _fenced(_help(call, ["--help"]))]
    return _page(*parts)


def _commands(parser: argparse.ArgumentParser, words: list[str]) -> Iterator[list[str]]:
    """The words of each command, those of its parts after it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, part in action.choices.items():
                yield [*words, name]
                yield from _commands(part, [*words, name])


def _help(call: Callable[[list[str]], object], argv: list[str]) -> str:
    """What a command prints, in the width of a page and without colours."""
    said, before = io.StringIO(), dict(os.environ)
    os.environ |= {"COLUMNS": _WIDTH, "NO_COLOR": "1"}
    os.environ.pop("FORCE_COLOR", None)
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            call(argv)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return said.getvalue()


def _fenced(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


# Exit codes and events


def exit_codes_page() -> str:
    """Exit codes, of the errors and of the commands."""
    from dupelake.lookup import command_lines as check

    codes: list[tuple[int, str, str]] = [(0, "", "Done.")]
    for one in vars(errors).values():
        if isinstance(one, type) and issubclass(one, errors.DupelakeError) and one is not errors.DupelakeError:
            codes.append((one.exit_code, one.__name__, _paragraph(one)))
    codes += [
        (1, "", "Any other error. A line names it; `--debug` shows where it came from."),
        (check.UNREAD, "", "`dupelake check --on-duplicate reject`: no image is a copy, but one could not be read."),
        (check.FOUND, "", "`dupelake check --on-duplicate reject`: an image is a copy."),
        (130, "", "Stopped by SIGINT (Ctrl-C). What is committed stands."),
        (143, "", "Stopped by SIGTERM. What is committed stands."),
    ]
    rows = [(code, _code(name) if name else "", what) for code, name, what in sorted(codes)]
    return _page(
        "# Exit codes",
        "The class of an error decides the exit code. [Running dupelake every night](../operations.md#exit-codes) says "
        "what is written in each case.",
        _table(("code", "error", "when"), rows),
    )


def _paragraph(of: Any) -> str:
    return " ".join(line.strip() for line in (of.__doc__ or "").strip().split("\n\n")[0].splitlines())


def events_page() -> str:
    """The events of a run, its counts, and the metrics for Prometheus."""
    from dupelake.runtime.metrics import prometheus_text

    counts = [
        (
            _code(f"{field.metadata['prefix']}.*" if "prefix" in field.metadata else field.name),
            field.metadata["meaning"],
        )
        for field in dataclasses.fields(Counts)
    ]
    some = Counts.of({"read": 1, "failed.truncated": 1})
    now = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    told = prometheus_text("nightly", 0, now, now, some, {"hash": 1.0})
    metrics = re.findall(r"^# HELP (\w+) (.*)$", told, flags=re.M)
    labels = {name: sorted(set(re.findall(rf"^{name}{{(.*)}}", told, flags=re.M))) for name, _ in metrics}
    return _page(
        "# Events, counts and metrics",
        "[Running dupelake every night](../operations.md#events-and-metrics) says how to get them.",
        "## Events",
        "One JSON object a line, in the file of `run.event_log`. Each has `time`, `run_id` and `job`, too.",
        _table(("event", "fields"), [(_code(k), ", ".join(map(_code, v))) for k, v in _events().items()]),
        "## Counts",
        "In `runs.counts`, in the event `run_finished`, and as the metric `dupelake_run_count`. A name that "
        "ends with `*` stands for several counts, such as `failed.truncated`. A count that the run did not "
        "come to is absent.",
        _table(("count", "what"), counts),
        "## Metrics",
        "In the file of `run.metrics_file`, as gauges.",
        _table(
            ("metric", "labels", "what"),
            [(_code(k), ", ".join(re.findall(r"(\w+)=", labels[k][0])), _linked(what)) for k, what in metrics],
        ),
    )


def _events() -> dict[str, list[str]]:
    """{event: names of its fields}, of all calls of `emit` in the code."""
    found: dict[str, list[str]] = {}
    for path in sorted((REPO / "lib" / "dupelake").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            is_emit = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit"
            if is_emit and node.args and isinstance(node.args[0], ast.Constant):
                names = found.setdefault(str(node.args[0].value), [])
                for word in node.keywords:
                    fields = [word.arg] if word.arg else _keys_of(tree, word.value)
                    names += [name for name in fields if name not in names]
    return found


def _keys_of(tree: ast.Module, given: ast.expr) -> list[str]:
    """The keys of the dictionaries that a module assigns to the name `given`, as in `emit(..., **given)`."""
    values = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.dump(node.targets[0]).replace("Store", "Load") == ast.dump(given)
    ]
    dicts = [part for value in values for part in ast.walk(value) if isinstance(part, ast.Dict)]
    keys = [str(key.value) for one in dicts for key in one.keys if isinstance(key, ast.Constant)]
    return list(dict.fromkeys(keys))


PAGES: dict[str, Callable[[], str]] = {
    "commands": commands_page,
    "options": options_page,
    "tables": tables_page,
    "views": views_page,
    "exit_codes": exit_codes_page,
    "events": events_page,
}
"""The pages by the names of their files in reference/, without `.md`."""
