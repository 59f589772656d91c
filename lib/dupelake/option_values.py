"""Values of options: read from a YAML file or from `--set`, and converted to the types of the options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError


class _Loader(yaml.SafeLoader):
    """YAML's safe loader. It refuses a key that stands twice, of which YAML would keep the last alone."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        """The node of a mapping.

        Raises:
            ComposerError: a key stands twice.
        """
        node = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"):
            if key.value in first:
                told = f"{key.value} stands twice, first in line {first[key.value]}; write it once"
                raise ComposerError(None, None, told, key.start_mark)
            first[key.value] = key.start_mark.line + 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """The value of a node.

        Raises:
            ConstructorError: a text looks like a date or a number and is none, such as 2026-02-30.
        """
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            told = f"{node.value} cannot be read ({error}); put it in quotes"
            raise ConstructorError(None, None, told, node.start_mark) from None


def read_file(path: str | Path, faults: list[str]) -> dict[str, dict[Any, Any]]:
    """{section: {option: value}} of a YAML file; its faults are added to `faults`."""
    try:
        # It is a safe loader.
        loaded = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        faults.append(f"--config {path}{f', line {at.line + 1}' if at else ''}: {error.problem}; correct it")
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        faults.append(f"--config {path}: cannot be read as YAML ({error}); give a readable YAML file")
        return {}
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        faults.append(f"--config {path}: holds a {type(loaded).__name__}; sections with options are expected")
        return {}
    values: dict[str, dict[Any, Any]] = {}
    for section, body in loaded.items():
        if body is not None and not isinstance(body, dict):
            faults.append(f"{section}: must hold options, not {body!r}; write '{section}:' and indent them below")
        else:
            values[str(section)] = dict(body or {})
    return values


def value_of(text: str, kind: Any) -> Any:
    """The value of `--set` for an option of type `kind`. Texts are taken as they are written: 007 stays 007.

    Raises:
        YAMLError: it cannot be read.
    """
    if kind == tuple[str, ...]:
        return yaml.load(text, yaml.BaseLoader)  # noqa: S506 - it makes texts alone
    if kind is not str:
        return yaml.load(text, _Loader)  # noqa: S506 - it is a safe loader
    text = text.strip()
    return yaml.load(text, yaml.BaseLoader) if text[:1] in ("'", '"') and text[-1:] == text[:1] else text  # noqa: S506


def converted(value: Any, kind: Any, meta: Mapping[str, Any]) -> Any:
    """`value` as `kind` within its range; raises ValueError with the allowed values otherwise."""
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {value!r}")
        return value
    if kind in (int, float):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or (kind is int and isinstance(value, float) and not value.is_integer()):
            raise ValueError(f"must be {'a whole number' if kind is int else 'a number'}, not {value!r}")
        low, high = meta["low"], meta["high"]
        if not (low <= value <= high):  # also refuses nan
            raise ValueError(f"is {value}; allowed is {low} to {high}")
        return kind(value)
    if kind is str:
        text = "" if value is None else as_text(value)
        if meta["one_of"] and text not in meta["one_of"]:
            raise ValueError(f"is {text!r}; allowed is one of {', '.join(meta['one_of'])}")
        return text
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"must be a list like [a, b], not {value!r}")  # noqa: TRY004 - one kind of fault
    return tuple(map(as_text, value))


def as_text(value: Any) -> str:
    """A text; raises ValueError for what YAML reads as something else: it would be another text than is written."""
    if not isinstance(value, str):
        raise ValueError(f"must be text, but YAML reads {value!r}; put it in quotes")  # noqa: TRY004 - as above
    return value
