"""The charts of the report: Vega-Lite specifications of `templates/charts`, drawn as SVG by vl-convert.

The page needs no script for them. Their colours are variables of the style sheet, so they follow dark and light.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from markupsafe import Markup

from dupelake.config import TIERS
from dupelake.report.facts import BINS, Facts, Recall, Run

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_NAMESPACES = (' xmlns="http://www.w3.org/2000/svg"', ' xmlns:xlink="http://www.w3.org/1999/xlink"')


def charts_of(facts: Facts) -> dict[str, Markup]:
    """All charts by name; a chart that has nothing to show is left out."""
    drawn = {}
    if facts.may_go_by_kind:
        drawn["freed"] = freed(facts)
    if facts.n_measured:
        drawn["scores"] = scores(facts)
    if facts.recall is not None and facts.recall.edits:
        drawn["recall"] = recall(facts.recall)
    if facts.nights:
        drawn |= {"read": read_images(facts.nights), "copies": copies(facts.nights)}
    return drawn


def draw(name: str, **rows: Iterable[Mapping[str, Any]]) -> Markup:
    """The chart `name` as an SVG element, which escapes all texts.

    Args:
        name: of a specification in `templates/charts`.
        rows: the values of each data set that it names.
    """
    import vl_convert  # starts V8, which takes half a second

    spec = _read(name) | {"config": _read("config"), "datasets": {key: list(found) for key, found in rows.items()}}
    svg = str(vl_convert.vegalite_to_svg(spec))
    for namespace in _NAMESPACES:  # an element of HTML needs none, and the page names no address
        svg = svg.replace(namespace, "", 1)
    return Markup(svg)  # noqa: S704 - of vl-convert, which escapes the values


def _read(name: str) -> dict[str, Any]:
    file = resources.files("dupelake.report").joinpath("templates", "charts", f"{name}.json")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def freed_unit(facts: Facts) -> tuple[str, int]:
    """The unit of the chart of freed bytes, and its bytes: that of the longest bar."""
    by_kind: dict[str, int] = {}
    for row in facts.may_go_by_kind:
        by_kind[row["kind"]] = by_kind.get(row["kind"], 0) + row["bytes"]
    longest = max(by_kind.values(), default=0)
    place = max((i for i in range(len(_UNITS)) if longest >= 1024**i), default=0)
    return _UNITS[place], 1024**place


def freed(facts: Facts) -> Markup:
    """Bytes that could be freed, by kind, each bar parted by tier."""
    _, unit = freed_unit(facts)
    return draw(
        "freed", rows=[{**row, "size": row["bytes"] / unit, "place": TIERS.index(row["tier"])}
                       for row in facts.may_go_by_kind]
    )  # fmt: skip


def scores(facts: Facts) -> Markup:
    """The measured pairs by score, with the threshold."""
    rows = [
        {
            "low": row["bin"] / BINS,
            "high": (row["bin"] + 1) / BINS,
            "n": row["n"],
            "verdict": "duplicate" if row["is_duplicate"] else "no duplicate",
        }
        for row in facts.scores
    ]
    return draw("scores", rows=rows, threshold=[{"score": facts.min_score}])


def recall(found: Recall) -> Markup:
    """The share of planted copies that were found, by edit, with 95 % intervals."""
    return draw("recall", rows=found.edits)


def read_images(nights: Sequence[Run]) -> Markup:
    """Images that each night hashed, and that failed."""
    return draw(
        "read", rows=[{"night": label, "n": run.counts.get(what, 0), "what": what, "place": place}
                      for run, label in _labelled(nights) for place, what in enumerate(("hashed", "failed"))]
    )  # fmt: skip


def copies(nights: Sequence[Run]) -> Markup:
    """Copies in all after each night."""
    return draw("copies", rows=[{"night": label, "n": run.counts.get("copies", 0)} for run, label in _labelled(nights)])


def _labelled(nights: Sequence[Run]) -> list[tuple[Run, str]]:
    """The nights with their dates, or with their times where two began on one day."""
    days = [f"{run.started_at:%d %b}" for run in nights]
    forms = days if len(set(days)) == len(days) else [f"{run.started_at:%d %b %H:%M}" for run in nights]
    if len(set(forms)) < len(forms):  # as of a script that runs night after night
        forms = [f"{run.started_at:%d %b %H:%M:%S}" for run in nights]
    return list(zip(nights, forms, strict=True))
