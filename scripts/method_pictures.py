"""Draws the pictures of docs/method.md: `make screenshots`, or `python scripts/method_pictures.py [--out DIR]`.

Everything that they show is what dupelake finds in the photographs (scripts/method_world.py).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "lib")]

import matplotlib as mpl  # noqa: E402 - after the path

mpl.use("agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.patches import Arc, ConnectionPatch, Rectangle  # noqa: E402
from PIL import Image, ImageFilter  # noqa: E402
from scripts import method_world as world  # noqa: E402
from scripts.cell_map import CellMap, cell_map  # noqa: E402
from scripts.method_world import Seen, cut, judged, laid, ordered, photograph, resized, saved  # noqa: E402

from dupelake.verify.decision import aligned_model  # noqa: E402
from dupelake.verify.matching import find_consensus  # noqa: E402
from dupelake.verify.pair import pair_seed  # noqa: E402

MAX_BYTES = 150 * 1024
_DPI = 110
GREEN, RED, BLUE, GREY, INK = "#1a9850", "#d73027", "#2166ac", "#bbbbbb", "#222222"
plt.rcParams |= {"font.size": 9, "axes.titlesize": 9, "text.color": INK, "figure.constrained_layout.use": True}


# The pairs


def edited_pair() -> tuple[Seen, Seen]:
    """A photograph, and a part of it: turned, smaller, saved again, with a sticker."""
    whole = photograph("coffee.png")
    part = cut(whole.rotate(-6, Image.Resampling.BICUBIC), 0.14, 0.12, 0.9, 0.86)
    sticker = photograph("chelsea.png").crop((120, 40, 300, 220)).resize((70, 70))
    part.paste(sticker, (part.width - 84, 14))
    return saved("a photograph", whole), saved("a part of it: turned, smaller, a sticker", resized(part, 0.8), 70)


def hung_pair() -> tuple[Seen, Seen]:
    """One scene, and another picture in a frame before it."""

    def hung(name: str) -> Image.Image:
        scene = photograph("coffee.png")
        frame = Image.new("RGB", (390, 260), (238, 234, 222))
        frame.paste(photograph(name).resize((370, 240)), (10, 10))
        scene.paste(frame, (105, 70))
        return scene

    return saved("a scene with one picture", hung("chelsea.png")), saved("with another", hung("motorcycle_left.png"))


def shot_pair() -> tuple[Seen, Seen]:
    """Two photographs of one motorcycle, by two cameras side by side."""
    return saved("camera A", photograph("motorcycle_left.png")), saved("camera B", photograph("motorcycle_right.png"))


# The pictures


def matches() -> Any:
    """The keypoints of two pictures that fit one map."""
    src, dst = ordered(*edited_pair())
    seed = pair_seed(src.shown.content_id, dst.shown.content_id)
    found = find_consensus(src.picture.features, dst.picture.features, False, seed)
    if found is None:
        raise SystemExit("matches: no keypoints fit")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for axis, one in zip(axes, (src, dst), strict=True):
        axis.imshow(one.picture.rgb)
        axis.scatter(*one.picture.features.xy.T, s=3, c="white", alpha=0.45, linewidths=0)
        axis.set_title(f"{one.name}\nthumbnail {one.picture.rgb.shape[1]} x {one.picture.rgb.shape[0]}, "
                       f"{len(one.picture.features)} keypoints")  # fmt: skip
        axis.axis("off")
    for i, (a, b) in enumerate(zip(found.src_xy, found.dst_xy, strict=True)):
        colour = plt.get_cmap("turbo")(i / len(found.src_xy))
        line = ConnectionPatch(a, b, "data", "data", axesA=axes[0], axesB=axes[1], color=colour, lw=0.6, alpha=0.8)
        figure.add_artist(line)
    figure.suptitle(f"{found.n_inliers} matches fit one map", fontsize=10)
    return figure


def overlap() -> Any:
    """The two pictures laid on each other, and their cells."""
    pair = edited_pair()
    both, row = laid(*pair), judged(*pair)
    cells = None if both is None else cell_map(both.src, both.dst, both.mask)
    if both is None or cells is None:
        raise SystemExit("overlap: no alignment")
    names = [one.name for one in ordered(*pair)]
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.6))
    masked = np.where(both.mask > 0, 1.0, np.nan)
    for axis, image, title in zip(
        axes,
        (both.src, both.dst, np.abs(both.src - both.dst)),
        (f"source: {names[0]}", f"destination, laid on it:\n{names[1]}", "difference of brightness"),
        strict=False,
    ):
        axis.imshow(image * masked, cmap="gray", vmin=0, vmax=255)
        axis.set_title(_folded(title, 34))
    axes[3].imshow(both.src * masked, cmap="gray", vmin=0, vmax=255)
    _draw_cells(axes[3], cells)
    axes[3].set_title(f"cells: {_share(row['agreeing_share'])} agree,\n{_share(row['contradicting_share'])} contradict")
    for axis in axes:
        axis.axis("off")
    return figure


def contradiction() -> Any:
    """Three pairs, and what tells the copy from the others."""
    figure, grid = plt.subplots(3, 3, figsize=(9.5, 8.2), gridspec_kw={"width_ratios": [1, 1, 1.05]})
    for axes, pair in zip(grid, (edited_pair(), hung_pair(), shot_pair()), strict=True):
        src, dst = ordered(*pair)
        both, row = laid(*pair), judged(*pair)
        cells = None if both is None else cell_map(both.src, both.dst, both.mask)
        if both is None or cells is None:
            raise SystemExit(f"contradiction: {src.name}: no alignment")
        for axis, one in zip(axes, (src, dst), strict=False):
            axis.imshow(one.picture.rgb)
            axis.set_title(_folded(one.name, 40))
        axes[2].imshow(np.where(both.mask > 0, both.src, np.nan), cmap="gray", vmin=0, vmax=255, alpha=0.6)
        _draw_cells(axes[2], cells)
        _draw_shifts(axes[2], cells)
        axes[2].set_title(
            f"agree {_share(row['agreeing_share'])}, contradict {_share(row['contradicting_share'])}, "
            f"moved by {row['cell_shift_px']:.2f} px\nscore {row['score']:.3f}: {_outcome(row)}"
        )
        for axis in axes:
            axis.axis("off")
    return figure


def score() -> Any:
    """The two factors of the score, with the three pairs in them."""
    rows = {name: judged(*pair()) for name, pair in _PAIRS.items()}
    exposure, content = aligned_model().factors
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8))
    x, y = np.linspace(0.02, 2.0, 200), np.linspace(0.3, 20, 200)
    xx, yy = np.meshgrid(x, y)
    of = {"cell_shift_px": xx.ravel(), "unexplained_colour": yy.ravel()}
    chance = _factor(exposure, of).reshape(xx.shape)
    shown = left.pcolormesh(xx, yy, chance, cmap="RdYlGn", vmin=0, vmax=1, shading="auto", rasterized=True)
    left.contour(xx, yy, chance, levels=[0.5], colors=INK, linewidths=1)
    figure.colorbar(shown, ax=left, label="probability")
    left.set(xlabel="cell_shift_px: how far cells have moved", ylabel="unexplained_colour: light that no smooth\nmap "
             "explains", title="same position and light")  # fmt: skip
    share = np.linspace(0, 0.45, 200)
    right.plot(share, _factor(content, {"contradicting_share": share}), c=INK)
    right.axhline(0.5, c=GREY, lw=0.8, ls=":")
    right.set(xlabel="contradicting_share", ylabel="probability", title="same content", ylim=(-0.05, 1.05))
    for (name, row), mark in zip(rows.items(), "osD", strict=True):
        left.plot(row["cell_shift_px"], min(row["unexplained_colour"], 19.5), mark, c=BLUE, mec="white", ms=9)
        right.plot(
            row["contradicting_share"],
            _factor(content, {"contradicting_share": np.array([row["contradicting_share"]])}),
            mark, c=BLUE, mec="white", ms=9, ls="", label=f"{name}: score {row['score']:.3f}",
        )  # fmt: skip
    right.legend(fontsize=8)
    return figure


def generators() -> Any:
    """Which generator proposes which copy."""
    whole = photograph("coffee.png")
    given = saved("original", whole)
    smooth = photograph("rocket.jpg", 400).filter(ImageFilter.GaussianBlur(12))
    copies = {
        "JPEG quality 30": saved("a", whole, 30),
        "a third of the size": saved("b", resized(whole, 1 / 3)),
        "mirrored": saved("c", whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        "caption": saved("d", world.captioned(whole, "Good morning")),
        "squashed to 3:4": saved("e", whole.resize((300, 400))),
        "80 % of each side": saved("f", cut(whole, 0.1, 0.1, 0.9, 0.9)),
        "half of each side": saved("g", cut(whole, 0.25, 0.25, 0.75, 0.75)),
        "turned by a quarter": saved("h", whole.transpose(Image.Transpose.ROTATE_90)),
        "in grey": saved("i", whole.convert("L").convert("RGB")),
    }
    rows = [(name, one, given) for name, one in copies.items()]
    blurred = saved("blurred", smooth)
    rows.append(("a blurred picture, 90 % of each side", saved("j", cut(smooth, 0.05, 0.05, 0.95, 0.95), 60), blurred))
    figure, axis = plt.subplots(figsize=(9, 4.4))
    heads = ("pHash\nbits of 64", "PDQ\nbits of 256", "words", "embedding\ncosine")
    for y, (_, one, other) in enumerate(rows):
        found = world.found_by(one, other, judged(one, other))
        for x, (name, (value, proposes)) in enumerate(found.items()):
            colour = GREEN if proposes else "#eeeeee"
            axis.add_patch(Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, color=colour, alpha=0.85 if proposes else 1))
            told = {"words": "proposes" if proposes else "does not"}.get(name, f"{value:.3g}")
            axis.text(x, y, told, ha="center", va="center", color="white" if proposes else "#666666")
    axis.set(xlim=(-0.5, 3.5), ylim=(len(rows) - 0.5, -0.5))
    axis.set_xticks(range(4), heads)
    axis.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    return figure


def family() -> list[Seen]:
    """A photograph and copies of it."""
    whole = photograph("coffee.png")
    return [
        saved("original", whole, 95),
        saved("half the size", resized(whole, 0.5)),
        saved("mirrored", whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 70),
        saved("a part", cut(whole, 0.3, 0.2, 0.8, 0.9)),
        saved("caption", world.captioned(whole, "Good morning"), 80),
    ]


def chain() -> list[Seen]:
    """Parts of one photograph, from left to right, each of which overlaps the next."""
    long = photograph("motorcycle_left.png")
    return [saved(f"part {i + 1}", cut(long, 0.075 * i, 0, 0.075 * i + 0.4, 1)) for i in range(9)]


def groups() -> Any:
    """A group around its keeper, and a chain of parts of one photograph that becomes more than one group."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(10, 6), height_ratios=[1.3, 1])
    around = [(0.5, 0.55), (0.12, 0.82), (0.12, 0.28), (0.88, 0.82), (0.88, 0.28)]
    _draw_groups(top, family(), around, 0.36)
    top.set_title("A group: the keeper is compared with each member directly", fontsize=10)
    line = [(0.06 + 0.11 * i, 0.3) for i in range(9)]
    _draw_groups(bottom, chain(), line, 0.36, is_line=True)
    bottom.set_title(
        "Overlapping parts of a long photograph: pairs connect all of them, and no group goes from the first to the "
        "last", fontsize=10)  # fmt: skip
    return figure


# Parts of pictures

_PAIRS: dict[str, Callable[[], tuple[Seen, Seen]]] = {
    "a part with a sticker": edited_pair,
    "another picture in the scene": hung_pair,
    "another camera": shot_pair,
}


def _draw_cells(axis: Any, cells: CellMap) -> None:
    rows, columns = cells.structured.shape
    for y in range(rows):
        for x in range(columns):
            if not cells.structured[y, x]:
                continue
            differs = cells.lost[y, x] or cells.gained[y, x]
            colour = GREEN if cells.agrees[y, x] else RED if differs else GREY
            place = (x * cells.side, y * cells.side)
            axis.add_patch(Rectangle(place, cells.side, cells.side, fc=colour, ec="white", lw=0.4, alpha=0.5))


def _draw_shifts(axis: Any, cells: CellMap) -> None:
    """Arrows: how far each cell has moved, 8 times as long."""
    rows, columns = cells.structured.shape
    y, x = np.mgrid[0:rows, 0:columns] * cells.side + cells.side / 2
    dx, dy = cells.shifts[..., 0] * 8, cells.shifts[..., 1] * 8
    axis.quiver(x, y, dx, dy, angles="xy", scale_units="xy", scale=1, color=INK, width=0.004)


def _draw_groups(axis: Any, images: Sequence[Seen], places: Sequence[tuple[float, float]], size: float, *,
                 is_line: bool = False) -> None:  # fmt: skip
    """Thumbnails, the accepted pairs between them, and a frame in the colour of their group."""
    rows, pairs = world.grouped(images)
    of = {row["image_id"]: row for row in rows}
    stars = sorted({row["star"] for row in rows})
    at = {one.shown.content_id: place for one, place in zip(images, places, strict=True)}
    star_of = {one.shown.content_id: of[one.name]["star"] if one.name in of else None for one in images}
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.axis("off")
    for pair in pairs:
        a, b = at[pair["src_id"]], at[pair["dst_id"]]
        inside = star_of[pair["src_id"]] == star_of[pair["dst_id"]] is not None
        colour = plt.get_cmap("Dark2")(stars.index(star_of[pair["src_id"]])) if inside else GREY
        if is_line:
            wide, middle = abs(a[0] - b[0]), ((a[0] + b[0]) / 2, a[1] + size / 2)
            axis.add_patch(Arc(middle, wide, 2.6 * wide, theta2=180, color=colour))
        else:
            axis.plot([a[0], b[0]], [a[1], b[1]], c=colour, lw=1)
    for one, (x, y) in zip(images, places, strict=True):
        _draw_member(axis, one, of.get(one.name), stars, (x, y), size)


def _draw_member(axis: Any, one: Seen, row: Any, stars: Sequence[str], at: tuple[float, float], size: float) -> None:
    inset = axis.inset_axes([at[0] - size / 6, at[1] - size / 2, size / 3, size])
    inset.imshow(one.picture.rgb, interpolation="lanczos")
    inset.set(xticks=[], yticks=[])
    colour = GREY if row is None else plt.get_cmap("Dark2")(stars.index(row["star"]))
    for side in inset.spines.values():
        side.set(color=colour, linewidth=3 if row is not None and row["is_keeper"] else 1.5)
    told = "in no group" if row is None else row["relation"]
    label = inset.set_xlabel(f"{one.name}\n{told}", fontsize=8, color=colour if row is not None else INK)
    label.set_bbox({"fc": "white", "ec": "none", "pad": 1})


def _factor(factor: Any, values: dict[str, np.ndarray[Any, Any]]) -> Any:
    logit = factor.intercept + sum(term.weight * term.of(values[term.column]) for term in factor.terms)
    return 1 / (1 + np.exp(-logit))


def _share(value: float) -> str:
    return f"{value:.0%}"


def _outcome(row: dict[str, Any]) -> str:
    return f"duplicate, kind {row['kind']}" if row["is_duplicate"] else f"no duplicate, kind {row['kind'] or 'none'}"


def _folded(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.fill(line, width) for line in text.split("\n"))


PICTURES: dict[str, Callable[[], Any]] = {
    "method-matches.jpg": matches,
    "method-overlap.jpg": overlap,
    "method-contradiction.jpg": contradiction,
    "method-score.png": score,
    "method-generators.png": generators,
    "method-groups.jpg": groups,
}


def write(figure: Any, path: Path) -> None:
    """Write a picture of at most MAX_BYTES."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=_DPI, facecolor="white", format="png")
    plt.close(figure)
    image = Image.open(buffer).convert("RGB")
    if path.suffix == ".png":
        image.quantize(64).save(path, optimize=True)
        return
    for quality in (88, 80, 70, 60):
        image.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            return


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(PICTURES)}")
    parser.add_argument("--out", type=Path, default=REPO / "docs" / "images", metavar="DIR", help="where they go")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        if not args.names or name in args.names:
            write(draw(), args.out / name)
            print(f"{args.out / name}: {(args.out / name).stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
