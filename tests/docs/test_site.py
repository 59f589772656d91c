"""The site of docs/: it builds without a warning, holds every page, asks the network for nothing. 15 s in all."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

pytest.importorskip("mkdocs", reason="MkDocs is absent: pip install '.[docs]'")

from mkdocs.commands.build import build
from mkdocs.config import load_config
from scripts.site_pages import indented, linked, outside, page_of_script

REPO = Path(__file__).parents[2]
BLOCKS = ("h1", "h2", "h3", "ol", "ul", "li", "pre", "table", "tr", "blockquote", "img")
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "use": "href"}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` does; a warning ends the build."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(REPO / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def in_nav() -> set[str]:
    """The files that mkdocs.yml names."""
    return set(re.findall(r"^ +- (?:[^:\n]*: )?(\S+\.md)$", (REPO / "mkdocs.yml").read_text("utf-8"), flags=re.M))


def page_of(site: Path, name: str) -> Path:
    """The page that MkDocs makes of a Markdown file."""
    return (site / name).with_name("index.html") if name.endswith("README.md") else (site / name).with_suffix(".html")


def test_every_page_is_in_the_navigation(site):
    pages = {str(path.relative_to(REPO / "docs")) for path in (REPO / "docs").rglob("*.md")}
    pages |= {f"repository/{path.relative_to(REPO)}" for path in outside(REPO)}
    assert pages - in_nav() == set()
    for name in in_nav():
        assert page_of(site, name).is_file(), name


class Fetches(HTMLParser):
    """What a page fetches by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "link" and told.get("rel") in ("prev", "next", "canonical"):
            return
        self.found.append(told.get(FETCHED.get(tag, "")) or "")


def test_no_file_names_another_server(site):
    files = list(site.rglob("*"))
    fetched = {url for page in files if page.suffix == ".html" for url in Fetches(page.read_text("utf-8")).found}
    sheets = [path.read_text("utf-8") for path in files if path.suffix == ".css"]
    fetched |= {url for text in sheets for url in re.findall(r"(?:url\(|@import )[\"']?([^\"')]+)", text)}
    assert len(fetched) > 10
    assert [url for url in fetched if re.match(r"(https?:)?//", url)] == []


@pytest.fixture
def address(site) -> Iterator[str]:
    """The site on a web server."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_browser_asks_no_other_server_and_finds_words(browser, address):
    asked, errors = [], []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in ("index", "tutorial", "method", "reference/tables", "ways/analyst"):
        page.goto(f"{address}{name}.html", wait_until="networkidle")
    page.keyboard.press("/")
    page.keyboard.type("quarantine")
    page.wait_for_selector(".md-search-result__link")
    page.close()
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []
    assert errors == []


def source_of(name: str) -> Path:
    """The file of a page; it does not exist for pages that are made from the code."""
    return REPO / name.removeprefix("repository/") if name.startswith("repository/") else REPO / "docs" / name


@pytest.mark.parametrize("name", sorted(name for name in in_nav() if source_of(name).exists()))
def test_a_page_has_the_same_parts_as_elsewhere(site, name):
    """Python-Markdown reads some lists and tables otherwise than CommonMark, as GitHub and editors show them."""
    source = source_of(name)
    want = Counter(re.findall(r"<(\w+)", MarkdownIt("commonmark").enable("table").render(source.read_text("utf-8"))))
    html = page_of(site, name).read_text("utf-8")
    (article,) = re.findall(r"<article[^>]*>(.*)</article>", html, flags=re.S)
    got = Counter(re.findall(r"<(\w+)", article))
    assert {block: got[block] for block in BLOCKS} == {block: want[block] for block in BLOCKS}


KNOWN = {
    "a.md",
    "repository/README.md",
    "repository/benchmarks/b.md",
    "images/x.png",
    "reference/tables.md",
    "ways/w.sh",
    "ways/w.md",
}


@pytest.mark.parametrize(
    ("src", "given", "led"),
    [
        ("a.md", "[x](../README.md#six) ![p](images/x.png)", "[x](repository/README.md#six) ![p](images/x.png)"),
        ("repository/benchmarks/b.md", "[x](../docs/a.md)", "[x](../../a.md)"),
        (
            "repository/README.md",
            "![x](docs/images/x.png) [w](docs/ways/w.sh)",
            "![x](../images/x.png) [w](../ways/w.md)",
        ),
        ("ways/w.md", "[w](w.sh)", "[w](w.sh)"),
        ("reference/tables.md", "[x](../a.md#b), [y](#c)", "[x](../a.md#b), [y](#c)"),
        ("a.md", "[the code](../lib/dupelake/cli.py)", "the code"),
        ("a.md", "[x](https://example.org/a.md) [y](none.md)", "[x](https://example.org/a.md) [y](none.md)"),
        ("repository/README.md", "`docs/a.md`, `docs/no.md`", "[`docs/a.md`](../a.md), `docs/no.md`"),
        ("a.md", "```\n[x](../README.md)\n```", "```\n[x](../README.md)\n```"),
    ],
)
def test_links_lead_to_pages_of_the_site(src, given, led):
    assert linked(given, src, KNOWN) == led


def test_lists_are_indented_as_python_markdown_needs_them():
    given = "1. a\n\n   b\n2. c\n\nd\n   e\n\n- f\n  - g\n\n  h\n- i\n```\n- j\n  k\n```"
    want = "1. a\n\n    b\n\n2. c\n\nd\n   e\n\n- f\n    - g\n\n    h\n\n- i\n```\n- j\n  k\n```"
    assert indented(given) == want


def test_a_script_is_a_page(tmp_path):
    shell, python = tmp_path / "one.sh", tmp_path / "two.py"
    shell.write_text("#!/bin/sh\n# A title.\n#\n# Text.\nset -eu\n\nls  # here\n# More.\nid\n", encoding="utf-8")
    python.write_text('"""A title.\n\nText.\n"""\nimport os\n\n# More.\nx = 1\n', encoding="utf-8")
    want = (
        "# A title\n\n\nText.\n\n```{0}\n{1}\n```\n\nMore.\n\n```{0}\n{2}\n```\n\n\nThe whole script is [{3}]({3}).\n"
    )
    assert page_of_script(shell) == want.format("bash", "set -eu\n\nls  # here", "id", "one.sh")
    assert page_of_script(python) == want.format("python", "import os", "x = 1", "two.py")


def test_the_configuration_is_plain():
    """No plugin beside the search, so that nothing else has to be installed."""
    text = re.sub(r"!!python\S*", "", (REPO / "mkdocs.yml").read_text("utf-8"))
    assert yaml.safe_load(text)["plugins"] == ["search"]
