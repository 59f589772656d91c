"""Read a truth file, which lists the copies among images as pairs or as groups; on the driver, without Spark.

The header decides the form. Two columns of images (`a`/`b`, `src`/`dst`, `image_1`/`image_2`, `path_a`/`path_b`,
`original`/`copy`, ...) mean a file of pairs; one column of images and one of groups means a file of groups.

A row takes about 300 bytes of memory: ten million rows take 3 GB.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dupelake.csv_cells import unescape
from dupelake.errors import ConfigError
from dupelake.group.unionfind import smallest_labels

DUPLICATE, DIFFERENT, AMBIGUOUS = "duplicate", "different", "ambiguous"
NO_RELATION = "(none)"
_FAULTS_SHOWN = 100

_NOUNS = ("image_id", "uri", "path", "image", "file", "filename", "file_name", "name", "url", "img", "id")
_ENDS = (("_a", "_b"), ("_1", "_2"), ("1", "2"), ("_0", "_1"), ("_left", "_right"), ("_src", "_dst"))
_PAIRS = (
    ("a", "b"),
    ("src", "dst"),
    ("src_id", "dst_id"),
    ("source", "target"),
    ("original", "copy"),
    ("query", "reference"),
    ("left", "right"),
    *((noun + one, noun + other) for noun in _NOUNS for one, other in _ENDS),
)
_IMAGE = (*_NOUNS, "image_path", "file_path", "picture")
_GROUP = ("group", "group_id", "duplicate_group", "cluster", "cluster_id", "family", "scene", "set", "label", "class")
_DIGEST = re.compile(r"(sha|md5|blake|digest|checksum)\w*")  # files of equal bytes: the digest is the group
_RELATION = ("relation", "edit", "variant", "role", "kind", "transform")
_LABEL = ("label", "is_duplicate", "duplicate", "verdict", "is_match", "match", "same")
_AMBIGUOUS = ("ambiguous", "is_ambiguous", "unsure")
_ORIGINALS = ("original", "base", "source", "reference", "keeper", "real")

_YES = frozenset(("1", "1.0", "true", "t", "yes", "y", "x"))
_NO = frozenset(("0", "0.0", "false", "f", "no", "n", "-1", "negative"))
_SAME_WORDS = _YES | {"duplicate", "dup", "copy", "same", "match", "positive", "alternate", "near"}
_UNSURE = frozenset(("ambiguous", "unsure", "unknown", "maybe", "?"))
_DIFFERENT = re.compile(  # whole words: a "distinctive crop" and a "non-uniform scaling" are copies
    r"((different|distinct|unrelated|no[ _-]match)(?![a-z])|not[ _-]|non[ _-](dup|match|cop|near))", re.IGNORECASE
)

_NO_PAIRS = pa.table({name: pa.array([], pa.string()) for name in ("a", "b", "verdict", "relation")})


@dataclass(frozen=True)
class Truth:
    """The content of a truth file.

    Attributes:
        form: `pairs` or `groups`.
        names: (name string, truth_group string, is_ambiguous bool, is_original bool, relation string, row int64), one
            row per named image; `row` is its first row in the file. Duplicates connect the images of one truth_group;
            an image without a duplicate is its own group. Relation and is_original are used in the form `groups`.
        pairs: (a string, b string, verdict string, relation string), names, each pair once; empty in the form `groups`.
    """

    form: str
    names: pa.Table
    pairs: pa.Table


@dataclass
class _Columns:
    """Index of the column for each purpose; None if there is none."""

    images: tuple[int, ...]
    group: int | None
    relation: int | None
    label: int | None
    ambiguous: int | None


@dataclass
class _Rows:
    """State of reading: names get numbers in order of appearance; faults are collected."""

    path: Path
    faults: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    first_row: list[int] = field(default_factory=list)

    def number(self, name: str, row: int) -> int:
        found = self.numbers.setdefault(name, len(self.numbers))
        if found == len(self.first_row):
            self.first_row.append(row)
        return found

    def fault(self, row: int, text: str) -> None:
        self.faults.append(f"{self.path} row {row}: {text}")


def read_truth(path: Path) -> Truth:
    """Read and check a truth file: CSV in UTF-8 with a header, separated by commas, tabs or semicolons.

    Args:
        path: a local file. Pairs may have a column `label` (duplicate, different, ambiguous, 1, 0). Both forms may have
            columns `relation` (free words; `different ...` and `ambiguous` have the meaning of a label) and `ambiguous`
            (1, 0). A blank group means that the image is its own group.

    Raises:
        ConfigError: the file cannot be read or its rows contradict each other; lists all faults with their rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header_line = file.readline()
            if not header_line.strip():
                raise ConfigError([f"{path}: is empty; give a CSV with a header"])
            file.seek(0)
            reader = csv.reader(file, delimiter=_delimiter(header_line))
            header = next(reader)
            columns, rows = _columns(path, header), _Rows(path)
            found = _cells(reader, len(header), rows)
            truth = (
                _read_groups(found, columns, rows) if len(columns.images) == 1 else _read_pairs(found, columns, rows)
            )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([f"{path}: cannot be read as CSV in UTF-8 ({error})"]) from error
    if not rows.numbers and not rows.faults:
        rows.faults.append(f"{path}: has no rows under its header")
    if rows.faults:
        more = len(rows.faults) - _FAULTS_SHOWN
        raise ConfigError(
            rows.faults[:_FAULTS_SHOWN] + ([f"{path}: {more} more faults like these"] if more > 0 else [])
        )
    return truth


def _delimiter(header: str) -> str:
    return next((mark for mark in ",\t;" if mark in header), ",")


def _columns(path: Path, header: Sequence[str]) -> _Columns:
    names = [re.sub(r"[ \-]+", "_", name.strip().lower()) for name in header]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise ConfigError([f"{path}: the header names {', '.join(repeated)} more than once"])

    def find(words: Sequence[str]) -> int | None:
        return next((names.index(word) for word in words if word in names), None)

    relation, ambiguous = find(_RELATION), find(_AMBIGUOUS)
    ends = next(((names.index(a), names.index(b)) for a, b in _PAIRS if a in names and b in names), None)
    if ends is not None:
        return _Columns(ends, None, relation, find(_LABEL), ambiguous)
    image, group = find(_IMAGE), find(_GROUP)
    if group is None:
        group = next((i for i, name in enumerate(names) if _DIGEST.fullmatch(name)), None)
    if image is None or group is None:
        raise ConfigError(
            [
                f"{path}: the header {', '.join(names)} names neither two columns of images (as a and b, src and dst, "
                "image_1 and image_2, path_a and path_b, original and copy) nor an image and its group (as image or "
                "path, and group or cluster)"
            ]
        )
    return _Columns((image,), group, relation, None, ambiguous)


def _cells(reader: Iterator[list[str]], width: int, rows: _Rows) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not blank; rows with another number of cells are faults."""
    for cells in reader:
        row = int(reader.line_num)  # type: ignore[attr-defined]
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != width:
            rows.fault(row, f"{len(cells)} cells, where the header has {width}; quote names that hold the delimiter")
            continue
        yield row, [unescape(cell.strip()) for cell in cells]


def _verdict(row: int, cells: list[str], columns: _Columns, rows: _Rows) -> tuple[str, str]:
    """(verdict, relation) of a row."""
    relation = cells[columns.relation] if columns.relation is not None else ""
    verdicts = set()
    if columns.label is not None and cells[columns.label]:
        verdicts.add(_label(row, cells[columns.label], rows))
    if _DIFFERENT.match(relation):
        verdicts.add(DIFFERENT)
    elif relation.lower() in _UNSURE:
        verdicts.add(AMBIGUOUS)
    if columns.ambiguous is not None:
        word = cells[columns.ambiguous].lower()
        if word in _YES or word in _UNSURE:
            verdicts.add(AMBIGUOUS)
        elif word and word not in _NO:
            rows.fault(row, f"ambiguous is {word!r}; use 1 or 0")
    if AMBIGUOUS in verdicts:
        return AMBIGUOUS, relation or NO_RELATION
    if verdicts == {DUPLICATE, DIFFERENT}:
        rows.fault(row, f"the label says duplicate, the relation {relation!r} says different")
    return (DIFFERENT if DIFFERENT in verdicts else DUPLICATE), relation or NO_RELATION


def _label(row: int, label: str, rows: _Rows) -> str:
    word = label.lower()
    if word in _SAME_WORDS:
        return DUPLICATE
    if word in _UNSURE:
        return AMBIGUOUS
    if word not in _NO and not _DIFFERENT.match(word):
        rows.fault(row, f"the label {label!r} is not known; use duplicate, different or ambiguous, or 1 and 0")
    return DIFFERENT


def _read_pairs(found: Iterator[tuple[int, list[str]]], columns: _Columns, rows: _Rows) -> Truth:
    by_ends: dict[tuple[int, int], tuple[str, str, int]] = {}
    for row, cells in found:
        a, b = (cells[i] for i in columns.images)
        if not a or not b:
            rows.fault(row, "an image of the pair is blank")
            continue
        if a == b:
            rows.fault(row, f"a pair of {a!r} with itself")
            continue
        ends = rows.number(a, row), rows.number(b, row)
        verdict, relation = _verdict(row, cells, columns, rows)
        first = by_ends.setdefault((min(ends), max(ends)), (verdict, relation, row))
        if first[:2] != (verdict, relation):
            rows.fault(row, f"{a!r} and {b!r} are {verdict} {relation}, but {first[0]} {first[1]} in row {first[2]}")
    ends_array = np.array(list(by_ends), np.int64).reshape(-1, 2)
    verdicts = [verdict for verdict, _, _ in by_ends.values()]
    joined = ends_array[[verdict == DUPLICATE for verdict in verdicts]]
    groups = smallest_labels(joined[:, 0], joined[:, 1], len(rows.numbers))
    names = pa.array(list(rows.numbers), pa.string())
    pairs = pa.table(
        {
            "a": names.take(pa.array(ends_array[:, 0])),
            "b": names.take(pa.array(ends_array[:, 1])),
            "verdict": pa.array(verdicts, pa.string()),
            "relation": pa.array([relation for _, relation, _ in by_ends.values()], pa.string()),
        }
    )
    nothing = [False] * len(rows.numbers)
    return Truth("pairs", _names(rows, groups, nothing, nothing, [NO_RELATION] * len(rows.numbers)), pairs)


def _read_groups(found: Iterator[tuple[int, list[str]]], columns: _Columns, rows: _Rows) -> Truth:
    group_column = columns.group if columns.group is not None else 0
    by_name: dict[int, tuple[str, str, str]] = {}
    for row, cells in found:
        name, group = cells[columns.images[0]], cells[group_column]
        if not name:
            rows.fault(row, "the image is blank")
            continue
        verdict, relation = _verdict(row, cells, columns, rows)
        what = (group, verdict, relation)
        number = rows.number(name, row)
        if by_name.setdefault(number, what) != what:
            before = by_name[number]
            rows.fault(
                row,
                f"{name!r} is {verdict} {relation} in group {group!r}, but {before[1]} {before[2]} in group "
                f"{before[0]!r} in row {rows.first_row[number]}",
            )
    labels = np.arange(len(rows.numbers), dtype=np.int64)
    first: dict[str, int] = {}
    for number, (group, verdict, _) in by_name.items():
        if group and verdict != DIFFERENT:
            labels[number] = first.setdefault(group, number)
    ambiguous = [verdict == AMBIGUOUS for _, verdict, _ in by_name.values()]
    originals = [relation.lower() in _ORIGINALS for _, _, relation in by_name.values()]
    relations = [relation for _, _, relation in by_name.values()]
    return Truth("groups", _names(rows, labels, ambiguous, originals, relations), _NO_PAIRS)


def _names(
    rows: _Rows,
    groups: npt.NDArray[np.int64],
    ambiguous: Sequence[bool],
    originals: Sequence[bool],
    relations: Sequence[str],
) -> pa.Table:
    return pa.table(
        {
            "name": pa.array(list(rows.numbers), pa.string()),
            "truth_group": pa.array([f"t{group}" for group in groups.tolist()], pa.string()),
            "is_ambiguous": pa.array(ambiguous, pa.bool_()),
            "is_original": pa.array(originals, pa.bool_()),
            "relation": pa.array(relations, pa.string()),
            "row": pa.array(rows.first_row, pa.int64()),
        }
    )
