"""The tables of a report, each at one version, so that its figures agree while a night is at work."""

from __future__ import annotations

from dupelake.errors import NotFoundError
from dupelake.report.questions import run_of
from dupelake.warehouse.reader import Reader

_READ = ("images", "hashes", "pairs", "groups", "thumbnails", "group_changes", "runs")


def open_tables(root: str, run_id: str | None = None) -> Reader:
    """The newest tables of a warehouse, or those after one night.

    Args:
        root: the folder or object-store prefix.
        run_id: `runs.run_id` of a complete night; None for the newest tables.

    Raises:
        NotFoundError: there is no warehouse there, or no such complete night.
        EnvironmentFault: the store cannot be read.
    """
    newest = Reader(root)
    if run_id is None:
        return newest.at({name: newest.version(name) for name in _READ})
    found = newest.query(run_of(run_id)).to_pylist()
    if not found:
        raise NotFoundError(f"--run {run_id}: no complete night has this id; the report of the warehouse lists them")
    return newest.at(dict(found[0]["tables"]))
