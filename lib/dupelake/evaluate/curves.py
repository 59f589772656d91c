"""Draw the precision-recall curve and the threshold sweep as one picture, with matplotlib and without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dupelake.evaluate.scores import Scores

Sweep = Sequence[tuple[float, Scores]]

# Okabe and Ito's colours, which are distinct for colour-blind people; dashes make lines distinct in grey.
_STYLES = {
    "score": ("#000000", "-", 2.4),
    "pdq_bits": ("#0072B2", "-", 1.4),
    "phash_bits": ("#56B4E9", "--", 1.4),
    "cosine": ("#E69F00", "-", 1.4),
    "n_inliers": ("#009E73", "-", 1.4),
    "aligned_ncc": ("#CC79A7", "--", 1.4),
}


def draw_curves(
    sweeps: Mapping[str, Sweep], points: Mapping[str, Scores], threshold: float, title: str, path: Path
) -> None:
    """Draw two panels into the PNG `path`: precision against recall by signal, and the sweep of the score.

    Args:
        sweeps: signal to (threshold, Scores) from the loosest to the strictest; `score` is required. A signal that no
            pair has, or that finds nothing, is not drawn, and the legend says that it is not measured.
        points: scores of the tables (`pairs`, `groups`), drawn as marks.
        threshold: threshold of the score, marked in the second panel.
        title: title above both panels.
        path: overwritten.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 5.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    left, right = figure.subplots(1, 2)
    for name, rows in sweeps.items():
        colour, line, width = _STYLES[name]
        found = [scores for _, scores in rows if scores.n_found]
        if not found or len({scores.n_found for _, scores in rows}) == 1:
            left.plot([], [], color=colour, linestyle=":", label=f"{name}: not measured")
            continue
        recall, precision = [s.recall for s in found], [s.precision for s in found]
        left.plot(recall, precision, color=colour, linestyle=line, linewidth=width, marker=".", ms=4, label=name)
    for mark, (name, scores) in zip("o^sD", points.items(), strict=False):
        label = f"{name}: P {scores.precision:.3f}, R {scores.recall:.3f}"
        left.plot([scores.recall], [scores.precision], mark, color="#D55E00", ms=9, mec="white", label=label, zorder=5)
    left.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    left.set_title("precision against recall, by signal", fontsize=10)
    left.legend(loc="lower left", fontsize=8)
    at = [value for value, _ in sweeps["score"]]
    for name, colour, line in (("precision", "#0072B2", "-"), ("recall", "#E69F00", "-"), ("f1", "#000000", "--")):
        values = [getattr(scores, name) for _, scores in sweeps["score"]]
        right.plot(at, values, color=colour, linestyle=line, label="F1" if name == "f1" else name)
    right.axvline(threshold, color="#D55E00", linestyle=":", label=f"accepted from {threshold:g}")
    right.set(xlabel="threshold on the score", xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    right.set_title("threshold on the score", fontsize=10)
    right.legend(loc="lower left", fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, format="png", metadata={"Software": None})  # so that equal input gives equal bytes
