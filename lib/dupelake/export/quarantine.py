"""A shell script that moves the files that may go to a quarantine folder, and a script beside it that puts them back.

The scripts delete nothing. The first checks before each move that the file and the one that is kept have the bytes that
dupelake read (size, and the first 32 hex digits of the SHA-256, which are the content id).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dupelake.errors import ConfigError
from dupelake.export.files import Written, beside
from dupelake.export.names import path_of
from dupelake.export.night import Night, Row
from dupelake.ingest.members import ALL_ARCHIVES
from dupelake.runtime.out_files import written_whole
from dupelake.runtime.redaction import redact_uris
from dupelake.runtime.run_report import human_bytes
from dupelake.shipped import shipped_asset
from dupelake.version import __version__


class Move(NamedTuple):
    """A file that may go, and the one that is kept: absolute paths, bytes, content ids."""

    path: bytes
    byte_size: int
    content_id: str
    kept: bytes
    kept_size: int
    kept_content_id: str


def write_quarantine(night: Night, out: Path, folder: str) -> Written:
    """Write the script `out` and, beside it, `...-undo.sh`.

    Args:
        night: the tables.
        out: the script.
        folder: the absolute path of the quarantine.

    Raises:
        ConfigError: one of both scripts exists, or the folder lies in a tree of images.
    """
    undo = beside(out, "-undo.sh")
    faults = [
        f"--out {out}: {path} exists, and the undo of files that were moved must not be lost; give another name"
        for path in (out, undo)
        if os.path.lexists(path)
    ][:1]
    faults += _faults_of_folder(night, folder)
    if faults:
        raise ConfigError(faults)
    n_moves = n_bytes = 0
    left_out: Counter[str] = Counter()
    with written_whole(out) as moves, written_whole(undo) as backs, moves.open("wb") as there, backs.open("wb") as back:
        what = f"{__version__}, of the run {night.run!a} of the warehouse {redact_uris(night.reader.root)!a}"
        _begin(there, f"Moves copies to a quarantine; nothing is deleted. Made by dupelake {what}.", folder, "move")
        _begin(back, f"Puts the files back that {out.name!a} moved. Made by dupelake {what}.", folder, "undo")
        for row in _rows(night):
            move = _move_of(row)
            if isinstance(move, str):
                left_out[move] += 1
                continue
            n_moves, n_bytes = n_moves + 1, n_bytes + row["freed_bytes"]
            sizes = (move.byte_size, move.content_id.encode(), move.kept_size, move.kept_content_id.encode())
            paths = (quoted(move.path), quoted(move.kept))
            place = _place_of(move.path)
            there.write(b"move %b %d %b %b %d %b%b\n" % (paths[0], *sizes[:2], paths[1], *sizes[2:], place))
            back.write(b"back %d %b %b%b\n" % (n_moves, paths[0], sizes[1], place))
        there.write(b"end \"$word\" 'moved before'\n")
        back.write(b"end 'put back' 'in their places'\n")
    notes = [why.format(n) for why, n in left_out.items()]
    return Written([out, undo], f"{n_moves} files to move, {human_bytes(n_bytes)} in all", notes)


def quoted(name: bytes) -> bytes:
    """A name as a word of a shell, whatever its bytes are."""
    return b"'" + name.replace(b"'", b"'\\''") + b"'"


def _place_of(path: bytes) -> bytes:
    """The last word of a line: where below the quarantine the file goes, if its own path would lead out of it."""
    return b" " + quoted(os.path.normpath(path)) if b".." in path.split(b"/") else b""


def _begin(file: BinaryIO, about: str, folder: str, script: str) -> None:
    file.write(f"#!/bin/sh\n# {about}\n".encode())
    file.write(b"quarantine=%b\n\n" % quoted(os.fsencode(folder)))
    for name in ("quarantine.sh", f"quarantine-{script}.sh"):
        file.write(shipped_asset(name).read_bytes() + b"\n")


def _rows(night: Night) -> Iterator[Row]:
    for batch in night.removable():
        yield from batch.to_pylist()


_MEMBER = "{} images that may go are members of archives, which no script can move; left out"
_KEPT_MEMBER = "the kept image of {} images that may go is a member of an archive, which no script can check; left out"
_ELSEWHERE = "{} images that may go, or whose kept image, are no local files; left out"


def _move_of(row: Row) -> Move | str:
    """Or why there is none, with {} for the number of images."""
    path, kept = path_of(row["uri"]), path_of(row["keeper_uri"])
    if path is None or kept is None:
        return _ELSEWHERE
    if row["is_member"]:
        return _MEMBER
    if row["keeper_is_member"]:
        return _KEPT_MEMBER
    return Move(
        os.fsencode(path),
        row["byte_size"],
        row["content_id"],
        os.fsencode(kept),
        row["keeper_byte_size"],
        row["keeper_content_id"],
    )


def _faults_of_folder(night: Night, folder: str) -> list[str]:
    """A quarantine in a tree of images would be read as new images; hidden folders are not."""
    rows = night.reader.query("SELECT DISTINCT source FROM images WHERE source LIKE '%/' ORDER BY source")
    for tree in filter(None, map(path_of, rows["source"].to_pylist())):
        inside = (folder + "/").removeprefix(tree.removesuffix(ALL_ARCHIVES))
        if inside != folder + "/" and not any(name.startswith(".") for name in inside.split("/")):
            return [
                f"--quarantine {folder}: lies in the tree {tree}, and the next run would read its files as new images; "
                "give a folder outside, or one whose name begins with a dot"
            ]
    return []
