"""What a page of HTML says: its tables, texts and scripts, read by a parser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "input", "img", "br", "link", "hr"}


class Page(HTMLParser):
    """The page in `html`.

    Attributes:
        tables: rows of cells by the label of the region around the table.
        tiles: by heading, the value and the words of a tile.
        texts: the text of each section by the text of its heading.
        scripts: (attributes, text) of each script element.
        addresses: values of src, href and the like.
        styles: the text of each style element.
        tags: names of all elements.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[tuple[str, Mapping[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.tiles: dict[str, list[str]] = {}
        self.texts: dict[str, str] = {}
        self.scripts: list[tuple[Mapping[str, str | None], str]] = []
        self.addresses: list[str] = []
        self.styles: list[str] = []
        self.tags: set[str] = set()
        self._region = self._section = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.addresses += [
            value or ""
            for name, value in attrs
            if name in ("src", "srcset", "href", "xlink:href", "action", "data", "poster")
        ]
        if tag not in VOID:
            self.open.append((tag, given))
        if given.get("role") == "region":
            self._region = given.get("aria-label") or ""
        elif tag == "tr":
            self.tables.setdefault(self._region, []).append([])
        elif tag in ("td", "th"):
            self.tables[self._region][-1].append("")
        elif tag == "script":
            self.scripts.append((given, ""))
        elif "tile" in (given.get("class") or "").split():
            self.tiles[""] = []

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not self.open:
            return
        tags = [tag for tag, _ in self.open]
        if tags[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
            return
        if tags[-1] == "style":
            self.styles.append(data)
            return
        words = " ".join(data.split())
        if not words:
            return
        if ("td" in tags or "th" in tags) and self.tables.get(self._region):
            cells = self.tables[self._region][-1]
            cells[-1] = f"{cells[-1]} {words}".strip()
        if tags[-1] == "h2":
            self._section = words
            if "" in self.tiles:
                self.tiles[words] = self.tiles.pop("")
        elif any("tile" in (given.get("class") or "").split() for _, given in self.open):
            self.tiles[self._section].append(words)
        self.texts[self._section] = f"{self.texts.get(self._section, '')} {words}".strip()

    @property
    def data(self) -> dict[str, Any]:
        """The JSON of the groups."""
        (found,) = (text for given, text in self.scripts if given.get("id") == "data")
        return dict(json.loads(found))

    @property
    def pictures(self) -> list[str]:
        """The line of each image, up to the last one that has a picture."""
        return [
            line
            for given, text in self.scripts
            if (given.get("id") or "").startswith("pictures-")
            for line in text.split("\n")
        ]
