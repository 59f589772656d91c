"""Overlaps, shared pictures and conflicts as CSV files, and overlaps as a picture of a matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dupelake.csv_cells import write_rows
from dupelake.runtime.out_files import refusals_of, written_whole

_NAME_CHARACTERS = 28  # of a set, in the picture
_CELLS_WITH_NUMBERS = 20  # sets up to which each cell says its share
OVERLAP_HEADER = ("set_a", "set_b", "n_a", "n_b", "n_shared", "share_a", "share_b", "example_a", "example_b")


def write_overlaps(path: Path, rows: Iterable[Any]) -> None:
    """Write rows of schema.OVERLAPS with the images of the first example."""

    def cells(row: Any) -> Sequence[Any]:
        first = row["examples"][0] if row["examples"] else {"image_a": None, "image_b": None}
        counts = (row["n_a"], row["n_b"], row["n_shared"], round(row["share_a"], 6), round(row["share_b"], 6))
        return row["set_a"], row["set_b"], *counts, first["image_a"], first["image_b"]

    _write(path, OVERLAP_HEADER, map(cells, rows))


def write_shared(path: Path, rows: Iterable[Any]) -> None:
    """Write rows (set_id, picture, image_id, uri)."""
    header = ("picture", "set", "image_id", "uri")
    _write(path, header, ((row["picture"], row["set_id"], row["image_id"], row["uri"]) for row in rows))


def write_conflicts(path: Path, rows: Iterable[Any]) -> None:
    """Write rows (set_id, picture, image_id, uri, n_values)."""
    header = ("picture", "n_values", "value", "image_id", "uri")
    cells = ((row["picture"], row["n_values"], row["set_id"], row["image_id"], row["uri"]) for row in rows)
    _write(path, header, cells)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with refusals_of("--out", path), written_whole(path) as out, out.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, header, rows)


def write_matrix(path: Path, names: Sequence[str], cells: Iterable[tuple[str, str, float, float]], title: str) -> None:
    """Draw the share of the pictures of each set (row) that each other set (column) has too.

    Args:
        path: PNG, overwritten.
        names: the sets, in the order of rows and columns.
        cells: (set_a, set_b, share_a, share_b) of pairs of these sets; a pair that is not given is empty.
        title: above the matrix.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n = max(1, len(names))
    place = {name: i for i, name in enumerate(names)}
    shares = np.full((n, n), np.nan)
    for a, b, share_a, share_b in cells:
        shares[place[a], place[b]], shares[place[b], place[a]] = share_a, share_b
    side = 3.2 + 0.34 * n
    figure = Figure(figsize=(side + 1.2, side), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    drawn = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    shown = [name if len(name) <= _NAME_CHARACTERS else f"…{name[1 - _NAME_CHARACTERS :]}" for name in names]
    shown = [name.replace("$", r"\$") for name in shown]  # a dollar begins a formula
    axes.set_xticks(range(len(names)), shown, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), shown, fontsize=8)
    if n <= _CELLS_WITH_NUMBERS:
        for row, column in np.argwhere(~np.isnan(shares)):
            share = shares[row, column]
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_title(f"{title}: share of the row's pictures that the column has", fontsize=9, parse_math=False)
    figure.colorbar(drawn, ax=axes, shrink=0.8)
    with refusals_of("--out", path), written_whole(path) as out:
        figure.savefig(out, format="png", metadata={"Software": None})  # equal input gives equal bytes
