"""The page: its template, its style and its scripts, which are files of this package."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

STYLE, SCRIPTS = "review.css", ("stage.js", "store.js", "review.js")
MIME = {STYLE: "text/css; charset=utf-8", **dict.fromkeys(SCRIPTS, "text/javascript; charset=utf-8")}
"""The files of the page, and their types."""
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'"
SERVED_POLICY = (
    f"{_NOTHING}; frame-ancestors 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:"
)
"""What the served page may load: files of its server."""


def served_page(*, needs_token: bool) -> str:
    """The page that asks a server."""
    return _render(mode="server", needs_token=needs_token, policy=None, title="", script_names=SCRIPTS)


def whole_page(title: str, data: dict[str, Any]) -> str:
    """The page in one file, with its pairs inside; it loads nothing.

    Args:
        title: shown until the pairs are.
        data: values of JSON; `store.js:pageStore` says which.
    """
    style, scripts = text_of(STYLE), [text_of(name) for name in SCRIPTS]
    allowed = f"script-src {' '.join(map(_digest, scripts))}; style-src {_digest(style)}"
    return _render(
        mode="page",
        needs_token=False,
        policy=f"{_NOTHING}; {allowed}; img-src data:",
        title=title,
        style=Markup(style),  # noqa: S704 - a file of this package
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        data=data,
    )


@cache
def text_of(name: str) -> str:
    """One of the files of MIME."""
    return files("dupelake.review").joinpath("static", name).read_text(encoding="utf-8")


def _render(**values: Any) -> str:
    return _environment().get_template("page.html").render(values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("dupelake.review"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
