"""The report as one HTML file that asks the network for nothing: templates of `templates/`, filled by Jinja2.

Every text of the tables passes through Jinja2's escaping, or is JSON in a script element in which `<`, `>` and `&` are
escaped. The page's policy (CSP) runs no script but its own and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from dupelake.report.charts import charts_of, freed_unit
from dupelake.report.facts import Facts, read_facts
from dupelake.report.listing import MEMBERS_LISTED, Listing, columns_of, read_group, read_listing
from dupelake.report.pictures import PER_BLOCK, Pictures, read_pictures
from dupelake.report.questions import last_complete
from dupelake.runtime.redaction import redact_uris
from dupelake.runtime.run_report import human_bytes
from dupelake.version import __version__
from dupelake.warehouse.reader import Reader

GROUPS_LISTED = 10_000
MAX_MB = 32
"""The default weight of a page, in MB of 1,000,000 bytes."""
_TEXT_SHARE = 0.75  # of the weight, that texts may take; pictures take the rest


@dataclass(frozen=True)
class Page:
    """A report that is written.

    Attributes:
        html: the file.
        n_listed: groups on it.
        n_groups: groups of the warehouse.
    """

    html: str
    n_listed: int
    n_groups: int


def warehouse_page(
    reader: Reader, run_id: str | None = None, n_groups: int = GROUPS_LISTED, max_mb: int = MAX_MB
) -> Page:
    """The report of a warehouse, or of the tables of one night.

    Args:
        reader: of the tables, each at one version.
        run_id: the night whose tables the reader reads, if it is not the last one.
        n_groups: list at most so many groups, those of most images.
        max_mb: the page weighs at most so many MB. Groups and then pictures are left out for it, and the page says so.
    """
    night = _night(reader, run_id)
    facts = read_facts(reader, run_id)
    return _page(reader, read_listing(reader, n_groups, night), facts, max_mb, run_id)


def group_page(reader: Reader, name: str, max_mb: int = MAX_MB) -> Page:
    """The report of one group, by its id or the beginning of its id.

    Raises:
        NotFoundError: no group has such an id now.
        QueryError: several groups have ids that begin so.
    """
    return _page(reader, read_group(reader, name, _night(reader, None)), None, max_mb, None)


def _night(reader: Reader, until: str | None) -> str | None:
    found = reader.query(last_complete(until))["run_id"].to_pylist()
    return str(found[0]) if found else None


def _page(reader: Reader, listing: Listing, facts: Facts | None, max_mb: int, run_id: str | None) -> Page:
    weight = max_mb * 1_000_000
    listing, data = _fitting(listing, int(weight * _TEXT_SHARE))
    told = {
        "facts": facts,
        "charts": charts_of(facts) if facts is not None else {},
        "freed_unit": freed_unit(facts)[0] if facts is not None else "",
        "listing": listing,
        "data": data,
        "root": redact_uris(reader.root),
        "run_id": run_id,
        "max_mb": max_mb,
        "made_at": datetime.now(UTC),
    }
    rest = len(_render(told | {"pictures": Pictures([], 0, None)}).encode())
    # each script element of pictures has a tag of some 60 bytes
    budget = weight - rest - 1000 - 60 * (listing.members.num_rows // PER_BLOCK + 1)
    pictures = read_pictures(reader, listing.members, budget)
    return Page(_render(told | {"pictures": pictures}), listing.groups.num_rows, listing.n_groups)


def _fitting(listing: Listing, max_bytes: int) -> tuple[Listing, Markup]:
    """The first groups whose texts weigh at most `max_bytes`, and their JSON: half of the groups while it is more."""
    while True:
        data = htmlsafe_json_dumps(columns_of(listing), ensure_ascii=False, separators=(",", ":"))
        if len(data.encode()) <= max_bytes or not listing.groups.num_rows:
            return listing, data
        listing = listing.first(listing.groups.num_rows // 2)


def _render(told: dict[str, Any]) -> str:
    environment = _environment()
    script = Markup(environment.get_template("script.js").render())  # noqa: S704 - our own files, nothing filled in
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    template = environment.get_template("report.html")
    return template.render(
        **told, script=script, script_digest=digest, members_listed=MEMBERS_LISTED, version=__version__
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dupelake.report"),
        autoescape=True,  # whatever the name of the file; style sheet and script have nothing to escape
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": human_bytes, "n": "{:,}".format, "percent": _percent}
    return environment


def _percent(share: float) -> str:
    """A share as a percentage; never rounded to 0 % or 100 % where it is neither."""
    text = f"{100 * share:.1f}"
    shown = {"100.0": "100" if share == 1 else "over 99.9", "0.0": "0" if share == 0 else "under 0.1"}.get(text, text)
    return f"{shown}\N{NO-BREAK SPACE}%"
