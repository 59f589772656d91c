"""The rules of giving verdicts: what is refused, what was said before, and in which order the tables are written.

`serve/book.py` applies them by delta-rs to local warehouses (`dupelake decide`, `POST /decisions`), and
`pipeline/decisions.py` by Spark to those of object stores, whose lock needs Hadoop.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from dupelake.errors import ChangedError, ConfigError
from dupelake.group.verdicts import ALTERNATE, DUPLICATE, KEEPER, NOT_DUPLICATE, RULE, WITHDRAWN
from dupelake.ingest.uris import text_uri

PAIR_WORDS, WORDS = (DUPLICATE, NOT_DUPLICATE, ALTERNATE), (DUPLICATE, NOT_DUPLICATE, ALTERNATE, KEEPER, WITHDRAWN)
WAIT_S, STALE_S = 600.0, 120.0
"""Seconds that a writer of verdicts waits for the lock, and after which a lock that is not renewed expires."""

Key = tuple[str, str]
Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One verdict as somebody wrote it; images by id or uri. `where` names the place for messages.

    `content` and `other_content` are the content ids that the images showed to the author, where that is known.
    """

    where: str
    image: str
    verdict: str
    other: str | None = None
    note: str | None = None
    content: str | None = None
    other_content: str | None = None

    @classmethod
    def of(cls, where: str, image: str | None, verdict: str | None, *more: str | None) -> Line:
        """The line of texts as they were given: without spaces around them. Empty texts after `verdict` are none."""
        parts = [(text or "").strip() for text in (image, verdict, *more)]
        return cls(where, parts[0], parts[1], *(text or None for text in parts[2:]))

    @property
    def key(self) -> Key:
        """The images of the verdict, in one order."""
        return min(self.image, self.other or self.image), max(self.image, self.other or "")


@dataclass(frozen=True)
class Added:
    """The number of added verdicts, and of verdicts that their author had already given."""

    added: int
    known: int


@dataclass(frozen=True)
class Named:
    """The image of a name.

    Attributes:
        image_id: of the image; the least where several images have the uri.
        content_id: what it shows.
        scope: its scope.
        n: number of images with this name.
    """

    image_id: str
    content_id: str
    scope: str
    n: int


@dataclass(frozen=True)
class Latest:
    """The latest verdict of an author on the images of a key.

    Attributes:
        verdict: the word.
        shown: what each image of the key showed; None where nothing is stored, so that the present content counts.
    """

    verdict: str
    shown: tuple[str | None, str | None]


class Book(Protocol):
    """The tables of verdicts, and the images that verdicts name."""

    def look_up(self, names: Collection[str]) -> Mapping[str, Named]:
        """The images of these names that were read, live or not. An image_id goes before a uri."""

    def held(self, who: str) -> AbstractContextManager[Callable[[], None]]:
        """Holds the lock for writing verdicts; gives a function that raises BusyError if the lock was lost."""

    def latest(self, author: str, keys: Collection[Key]) -> Mapping[Key, Latest]:
        """The latest verdict of an author on each of these images (`Line.key`)."""

    def pixels(self, contents: Collection[str]) -> Mapping[str, str]:
        """The pixel digests of these contents, where they are known."""

    def pin(self, rows: Sequence[Row]) -> None:
        """Add rows to DECIDED, in one commit, but those whose key is stored."""

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows to DECISIONS, in one commit."""


def faults_of_author(author: str, where: str = "author") -> list[str]:
    """The faults of the name of the person who decides."""
    if author.strip().startswith(RULE):
        return [f"{where}: {author.strip()!r} is the author of a rule; give the name of a person"]
    return [] if author.strip() else [f"{where}: is empty; give a name"]


def faults_of(lines: Iterable[Line]) -> list[str]:
    """The faults of each single line; one sentence for each fault, with the fix."""
    faults = []
    for line in lines:
        if line.verdict not in WORDS:
            faults.append(f"{line.where}: verdict {line.verdict!r}; allowed is one of {', '.join(WORDS)}")
        if not line.image:
            faults.append(f"{line.where}: no image; give the id or the uri of an image")
        if line.verdict in PAIR_WORDS and line.other is None:
            faults.append(f"{line.where}: {line.verdict} is about two images; give the second image")
        if line.verdict == KEEPER and line.other is not None:
            faults.append(f"{line.where}: keeper is about one image; leave the second image out")
        if line.other is not None and line.other == line.image:
            faults.append(f"{line.where}: names the image {line.image!r} twice; give two images")
    return faults


def give(
    book: Book, lines: Sequence[Line], author: str, *, again: bool = False, now: dt.datetime | None = None
) -> Added:
    """Add verdicts to DECISIONS, and the contents of their images to DECIDED; all verdicts or none.

    A verdict is not added if it equals the latest verdict of its author on these images, and they show the same pixels
    still. So the same lines given twice add nothing, even if others decided meanwhile.

    Args:
        book: of the warehouse.
        lines: the verdicts.
        author: name of the person who decides.
        again: also add verdicts that their author gave already.
        now: time of the decisions, UTC.

    Raises:
        ConfigError: the author is empty, a line has a fault (`faults_of`), an image is unknown or was never read, a uri
            belongs to several images, a line names one image twice, or two verdicts contradict each other. All faults
            are named at once, and nothing is written.
        ChangedError: an image shows another content than its line says that the author saw, and there is no other
            fault.
        BusyError: others held the lock for too long; nothing is written.
    """
    author = author.strip()
    # A file whose name is not UTF-8 is named by its URI, as in the tables.
    lines = [replace(one, image=text_uri(one.image), other=one.other and text_uri(one.other)) for one in lines]
    found = book.look_up({name for line in lines for name in (line.image, line.other) if name})
    named, unknown = _named(lines, found)
    faults = faults_of_author(author) + faults_of(lines) + unknown
    sound = [line for line, given in named if not faults_of([given])]
    faults += faults_of(sound)  # a uri and an id may name one image
    by_key: dict[Key, Line] = {}
    for line in sound:
        first = by_key.setdefault(line.key, line)
        if first.verdict != line.verdict:
            faults.append(f"{first.where} and {line.where} differ on the same images; leave one")
    changed = _changed(lines, found)
    if faults or changed:
        raise (ConfigError if faults else ChangedError)([*faults, *changed])
    with book.held(f"decide of {author}") as check:
        known = set() if again else _known(book, author, by_key, found)
        new = [line for key, line in by_key.items() if key not in known]
        if new:
            at = now or dt.datetime.now(dt.UTC)
            check()
            book.pin(_pins(new, found, at))
            # This commit comes last, because it makes the decision. Pins without a decision are harmless.
            check()
            book.add([_decision(line, author, at) for line in new])
    return Added(len(new), len(by_key) - len(new))


def _known(book: Book, author: str, by_key: Mapping[Key, Line], found: Mapping[str, Named]) -> set[Key]:
    """The keys of the verdicts that their author gave already, on the pixels that the images show now."""
    now = {one.image_id: one.content_id for one in found.values()}
    other_bytes: dict[Key, list[tuple[str, str]]] = {}  # (before, now)
    for key, last in book.latest(author, by_key).items():
        if last.verdict == by_key[key].verdict:
            both = [(was, now.get(image, was)) for image, was in zip(key, last.shown, strict=True) if was]
            other_bytes[key] = [(before, after) for before, after in both if before != after]
    contents = {one for pairs in other_bytes.values() for pair in pairs for one in pair}
    digests = book.pixels(contents) if contents else {}
    return {
        key
        for key, pairs in other_bytes.items()
        if all(digests.get(before, before) == digests.get(after, after) for before, after in pairs)
    }


def _changed(lines: Iterable[Line], found: Mapping[str, Named]) -> list[str]:
    """A fault for each image that shows another content than the author of the line saw. Its pin would be wrong."""
    return [
        f"{line.where}: {name!r} shows another picture than when the page was made; make the page again, or leave the "
        "row out"
        for line in lines
        for name, seen in ((line.image, line.content), (line.other, line.other_content))
        if name and seen and name in found and found[name].content_id != seen
    ]


def _decision(line: Line, author: str, at: dt.datetime) -> Row:
    said = {"image_id": line.image, "other_image_id": line.other, "verdict": line.verdict}
    return {**said, "author": author, "decided_at": at, "note": line.note}


def _pins(lines: Sequence[Line], found: Mapping[str, Named], at: dt.datetime) -> list[Row]:
    """What the images of the verdicts show now; an image that a withdrawal names may be unknown."""
    shown = {one.image_id: one for one in found.values() if one.n == 1}
    ids = sorted({name for line in lines for name in (line.image, line.other) if name} & shown.keys())
    return [
        {"image_id": one, "decided_at": at, "content_id": shown[one].content_id, "scope": shown[one].scope}
        for one in ids
    ]


def _named(lines: Sequence[Line], found: Mapping[str, Named]) -> tuple[list[tuple[Line, Line]], list[str]]:
    """(line with image ids instead of names, line as given), and faults for names of no image or of several."""
    named, faults = [], []
    for line in lines:
        ids: list[str | None] = []
        for name in (line.image, line.other):
            image = found.get(name) if name else None
            if name and image is None and line.verdict == WITHDRAWN:
                ids.append(name)  # withdraws a verdict on an unknown image
                continue
            if name and image is None:
                faults.append(f"{line.where}: no image {name!r} that was read; give an image_id or uri of table images")
            elif image is not None and image.n > 1:
                faults.append(f"{line.where}: {image.n} images have the uri {name!r}; give the image_id of one")
            ids.append(image.image_id if image is not None else None)
        if ids[0] is not None and (line.other is None or ids[1] is not None):
            named.append((replace(line, image=ids[0], other=ids[1]), line))
    return named, faults
