"""Checks images: opens the index, reads each image, and asks what a night would do with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from dupelake.errors import ConfigError, VersionMixError
from dupelake.ingest.failure import Failure
from dupelake.lookup.answer import FAILED, Answer
from dupelake.lookup.beside import Beside
from dupelake.lookup.index import Index, opened
from dupelake.lookup.manifest import FOLDER, place_of, read_manifest
from dupelake.lookup.night import Given, Night
from dupelake.lookup.reading import Item, Reader, Source, image_id_of, item_of
from dupelake.warehouse.paths import known_local

_AHEAD = 4  # images in work for each process


def index_folder(warehouse: str, index: str | os.PathLike[str] | None) -> Path:
    """The folder of the index: as given, else inside the warehouse.

    Raises:
        ConfigError: the warehouse is no local folder, and no folder of the index is given.
        VersionMixError: the given folder has the index of another warehouse, by a manifest that can be read.
    """
    if index is not None:
        folder = Path(index).absolute()
        try:
            held = read_manifest(folder)
        except VersionMixError:  # whoever opens it refuses it; a build replaces it
            return folder
        if held is not None and held.warehouse != place_of(warehouse):
            raise VersionMixError(f"the index {folder} is of the warehouse {held.warehouse}; give another folder")
        return folder
    local = known_local(warehouse)
    if local is None:
        raise ConfigError([f"--index: {warehouse} is no local folder; give a folder on this machine for the index"])
    return local / FOLDER


class Checker:
    """Answers for images against one index; a context. Not for several threads at once.

    Args:
        folder: of the index.
        scope: of the images; None for manifest.default_scope of the warehouse.
        n_processes: that check at the same time on this machine, for their share of memory.
        profile: `fast` compares by bytes, pixels and hashes alone; None compares as the nights do.
        timeout_s: to read one image; None for guard.timeout_s of the warehouse.

    Attributes:
        index: that is asked.
        scope: of the next images.

    Raises:
        VersionMixError: as `Index`.
        ConfigError: as `Index`.
    """

    def __init__(
        self,
        folder: Path,
        scope: str | None = None,
        n_processes: int = 1,
        profile: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.index = opened(folder, partial(Index, profile=profile))
        self.scope = self.index.config.manifest.default_scope if scope is None else scope
        self._reader = Reader(self.index, n_processes, timeout_s)

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self.index.close()

    def check(self, source: Source, number: int = 1) -> Answer:
        """The answer for one image."""
        return self.check_item(item_of(source, number))[0]

    def check_item(self, item: Item) -> tuple[Answer, Given | None]:
        """The answer for one image, and the image if it could be read and a night would take it in."""
        given = self._reader.read(item, self.scope)
        if isinstance(given, Failure):
            return self.failed(item, given), None
        answer = self._dated(Night(self.index, given).answer())
        return answer, None if answer.reason else given

    def failed(self, item: Item, failure: Failure) -> Answer:
        """The answer for an image that could not be read."""
        uri = item.uri or f"check:{failure.content_id or item.name}"
        image_id = image_id_of(uri, self.scope, self.index.config.manifest.default_scope)
        failed = Answer(
            image=item.name,
            status=FAILED,
            image_id=image_id,
            scope=self.scope,
            content_id=failure.content_id,
            reason=failure.reason,
            message=failure.message,
        )
        return self._dated(failed)

    def _dated(self, answer: Answer) -> Answer:
        shown = self.index.manifest.as_dict() | {"versions": self.index.versions, "profile": self.index.profile}
        return replace(answer, index=shown)


def check(
    images: Source | Iterable[Source],
    warehouse: str | os.PathLike[str],
    *,
    index: str | os.PathLike[str] | None = None,
    scope: str | None = None,
    profile: str | None = None,
) -> list[Answer]:
    """Ask of each image whether a warehouse has its picture, as the next night would decide. Nothing is written.

    Args:
        images: a path, bytes, a PIL image, uint8 pixels (h, w, 3) or (h, w), or several of them.
        warehouse: folder or URI of the tables.
        index: folder of the index; None for that inside the warehouse.
        scope: of the images; None for manifest.default_scope.
        profile: `fast` compares by bytes, pixels and hashes alone; None compares as the nights do.

    Returns:
        One answer for each image, in their order; `in_folder` names earlier ones that are copies of it.

    Raises:
        VersionMixError: there is no index, or it is of other versions; the message gives the command.
        ConfigError: the nights of the warehouse had another profile; the message names the option.
        TypeError: something given is no image.
    """
    many = [*images] if isinstance(images, (list, tuple, Iterator)) else [images]
    with Checker(index_folder(os.fspath(warehouse), index), scope, 1, profile) as checker:
        beside = Beside(checker.index)
        items = (item_of(source, number) for number, source in enumerate(many, 1))
        return [with_copies(beside, *checker.check_item(item)) for item in items]


def check_files(
    paths: Iterable[str],
    folder: Path,
    scope: str | None = None,
    n_processes: int | None = None,
    profile: str | None = None,
) -> Iterator[Answer]:
    """Answers for many files as they come, on all cores; each also names earlier files that are copies of it.

    Args:
        paths: the files.
        folder: of the index.
        scope: as for `check`.
        n_processes: None for one on each core.
        profile: as for `check`.

    Raises:
        VersionMixError: as `check`.
        ConfigError: as `check`.
    """
    n = n_processes or len(os.sched_getaffinity(0))
    with Checker(folder, scope, n, profile) as checker:
        beside = Beside(checker.index)
        if n == 1:
            for path in paths:
                yield with_copies(beside, *checker.check_item(item_of(path, 1)))
            return
        context = get_context("forkserver")
        context.set_forkserver_preload(["dupelake.lookup.checker"])
        with ProcessPoolExecutor(n, context, _open, (str(folder), scope, n, profile)) as pool:
            for answer, given in _in_flight(pool, iter(paths), n * _AHEAD):
                yield with_copies(beside, answer, given)


def _in_flight(pool: ProcessPoolExecutor, paths: Iterator[str], most: int) -> Iterator[tuple[Answer, Given | None]]:
    waiting: set[Future[tuple[Answer, Given | None]]] = {pool.submit(_check, path) for path in islice(paths, most)}
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        waiting |= {pool.submit(_check, path) for path in islice(paths, len(done))}
        for future in done:
            yield future.result()


def with_copies(beside: Beside, answer: Answer, given: Given | None) -> Answer:
    """The answer, which names earlier images of the check that are copies; the image is kept for later ones."""
    return answer if given is None else replace(answer, in_folder=beside.copies_of(given))


_HELD: list[Checker] = []  # of this worker process


def _open(folder: str, scope: str | None, n_processes: int, profile: str | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    _HELD.append(Checker(Path(folder), scope, n_processes, profile))


def _check(path: str) -> tuple[Answer, Given | None]:
    return _HELD[0].check_item(item_of(path, 1))
