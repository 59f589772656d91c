"""An evaluation as text for the terminal, as CSV and JSON, and as pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dupelake.csv_cells import write_rows
from dupelake.evaluate.curves import draw_curves
from dupelake.evaluate.evaluation import Evaluation, as_dict
from dupelake.evaluate.matching import AGAIN, MATCHED, NONE, SEVERAL, plain_path
from dupelake.evaluate.scores import wilson_interval
from dupelake.evaluate.worst import ShownPair, Side
from dupelake.report.pair_sheet import PairCard, Picture, draw_pair_sheet
from dupelake.runtime.out_files import written_whole
from dupelake.warehouse.schema import PAIRS

_CARDS_A_SHEET = 18
_RELATIONS_SHOWN = 25
_EVIDENCE = [name for name in PAIRS.columns if name not in ("src_id", "dst_id", "is_duplicate")]


def describe(result: Evaluation) -> str:
    """The figures as lines for a terminal."""
    n = result.names
    lines = [
        f"Truth    {result.form}; {sum(n.values())} images named, {n[MATCHED]} matched"
        + "".join(f", {n[word]} {text}" for word, text in _OUTCOMES.items() if n[word])
        + (f"; {result.n_failed} of the matched failed in the hash stage" if result.n_failed else ""),
        f"         {result.n_true} true pairs; "
        + (
            "closed: images that it does not name have no duplicate"
            if result.closed
            else f"not scored, because the truth does not name an image: {result.n_unnamed_pairs} found pairs, "
            f"{result.n_unnamed_group_pairs} of groups"
        ),
        "",
        f"{'':10}{'precision':>10}{'recall':>9}{'F1':>9}{'found':>12}{'right':>12}{'wrong':>10}{'missed':>10}",
    ]
    for name, s in (("pairs", result.pairs), ("groups", result.groups)):
        lines.append(
            f"{name:10}{s.precision:>10.4f}{s.recall:>9.4f}{s.f1:>9.4f}{s.n_found:>12}{s.n_hit:>12}"
            f"{s.n_found - s.n_hit:>10}{s.n_true - s.n_hit:>10}"
        )
    b = result.b_cubed
    lines += [f"{'B-cubed':10}{b.precision:>10.4f}{b.recall:>9.4f}{b.f1:>9.4f}   (groups)", ""]
    width = max([len("relation"), *(len(r[0]) for r in result.relations[:_RELATIONS_SHOWN])])
    lines.append(f"{'relation':{width}}  {'true':>8}  {'recall of pairs, 95 %':>24}  {'recall of groups, 95 %':>24}")
    for relation, true, pairs, groups in _shown_relations(result):
        lines.append(f"{relation:{width}}  {true:>8}  {_share(pairs, true):>24}  {_share(groups, true):>24}")
    if len(result.relations) > _RELATIONS_SHOWN + 1:
        lines.append(f"({len(result.relations) - 1 - _RELATIONS_SHOWN} more relations in recall_by_relation.csv)")
    lines += ["", f"{'signal':12}{'best threshold':>15}{'precision':>11}{'recall':>9}{'F1':>9}{'area':>9}"]
    for name, area in result.average_precision.items():
        if not result.is_measured(name):
            lines.append(f"{name:12}{'not measured':>15}")
            continue
        threshold, s = result.best(name)
        lines.append(f"{name:12}{threshold:>15g}{s.precision:>11.4f}{s.recall:>9.4f}{s.f1:>9.4f}{area:>9.4f}")
    return "\n".join(lines)


_OUTCOMES = {NONE: "match no image", SEVERAL: "match several", AGAIN: "match an image of an earlier name"}


def write_files(result: Evaluation, out: Path) -> list[Path]:
    """Write all files into the folder `out`, created if missing; returns their paths.

    Files of an earlier evaluation are replaced, all at the end, and its additional sheets are removed.
    """
    files: list[Path] = []
    with ExitStack() as stack:

        def file(name: str) -> Path:
            files.append(out / name)
            return stack.enter_context(written_whole(files[-1]))

        _write_all(result, file)
    for old in {*out.glob("false-pairs-*.png"), *out.glob("missed-pairs-*.png")}.difference(files):
        if _is_ours(old):
            old.unlink()
    return files


def _write_all(result: Evaluation, file: Callable[[str], Path]) -> None:
    """Write each file at the path that `file` gives for its name."""
    text = json.dumps(as_dict(result), indent=2, ensure_ascii=False) + "\n"
    file("evaluation.json").write_text(text, encoding="utf-8")
    _write_csv(file("recall_by_relation.csv"), _RELATION_HEADER, _relation_rows(result))
    _write_csv(file("thresholds.csv"), _SWEEP_HEADER, _sweep_rows(result))
    _write_csv(file("unmatched.csv"), ("row", "name", "outcome", "images"), result.unmatched)
    points = {"pairs": result.pairs, "groups": result.groups}
    title = f"{result.n_true} true pairs; B-cubed F1 {result.b_cubed.f1:.3f}"
    draw_curves(result.sweeps, points, result.min_score, title, file("curves.png"))
    for frame, pairs in (("false", result.false_pairs), ("missed", result.missed_pairs)):
        _write_csv(file(f"{frame}_pairs.csv"), _PAIR_HEADER, (_pair_row(pair) for pair in pairs))
        n_sheets = max(1, -(-len(pairs) // _CARDS_A_SHEET))
        for i in range(n_sheets):
            cards = [_card(pair) for pair in pairs[i * _CARDS_A_SHEET : (i + 1) * _CARDS_A_SHEET]]
            of = f" ({i + 1} of {n_sheets})" if n_sheets > 1 else ""
            sheet = draw_pair_sheet(cards, f"{_TITLES[frame]}{of}", frame)
            sheet.save(file(f"{frame}-pairs-{i + 1}.png"), format="PNG", pnginfo=_mark())


_SOFTWARE = "dupelake evaluate"  # written into each sheet, so that only our own sheets are removed


def _mark() -> PngInfo:
    mark = PngInfo()
    mark.add_text("Software", _SOFTWARE)
    return mark


def _is_ours(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == _SOFTWARE
    except (OSError, SyntaxError, ValueError):  # not a picture
        return False


_TITLES = {"false": "False pairs, highest score first", "missed": "Missed pairs, measured ones first"}
_RELATION_HEADER = (
    "relation",
    "true_pairs",
    "in_pairs",
    "recall_pairs",
    "recall_pairs_low",
    "recall_pairs_high",
    "in_groups",
    "recall_groups",
    "recall_groups_low",
    "recall_groups_high",
)
_SWEEP_HEADER = ("signal", "threshold", "found", "right", "precision", "recall", "f1")
_PAIR_HEADER = ("truth", "state", "source", "other", "source_id", "other_id", "source_group", "other_group", *_EVIDENCE)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, header, rows)


def _relation_rows(result: Evaluation) -> Iterable[Sequence[Any]]:
    for relation, true, pairs, groups in result.relations:
        row: list[Any] = [relation, true]
        for found in (pairs, groups):
            low, high = wilson_interval(found, true)
            row += [found, f"{found / true:.6f}" if true else "", f"{low:.6f}", f"{high:.6f}"]
        yield row


def _sweep_rows(result: Evaluation) -> Iterable[Sequence[Any]]:
    for signal, rows in result.sweeps.items():
        for threshold, s in rows:
            ratios = (f"{value:.6f}" for value in (s.precision, s.recall, s.f1))
            yield [signal, f"{threshold:g}", s.n_found, s.n_hit, *ratios]


def _shown_relations(result: Evaluation) -> list[tuple[str, int, int, int]]:
    if len(result.relations) <= _RELATIONS_SHOWN + 1:
        return list(result.relations)
    return [*result.relations[:_RELATIONS_SHOWN], result.relations[-1]]


def _share(found: int, true: int) -> str:
    if not true:
        return "none"
    low, high = wilson_interval(found, true)
    return f"{found / true:.3f} [{low:.3f}, {high:.3f}]"


def _card(pair: ShownPair) -> PairCard:
    a, b = pair.groups
    if a is None and b is None:
        note = "neither is in a group"
    elif a == b:
        note = f"both in group {str(a)[:12]}"
    else:
        note = f"groups {_group(a)} and {_group(b)}"
    return PairCard(_picture(pair.a), _picture(pair.b), f"{pair.truth}; {pair.state}", pair.evidence, note)


def _group(group_id: str | None) -> str:
    return "none" if group_id is None else group_id[:12]


def _picture(side: Side) -> Picture:
    # file names of copies are often equal, so show the folder as well
    name = "/".join(plain_path(side.uri).split("/")[-2:]) if side.uri else side.image_id
    return Picture(name, side.thumbnail, side.width_px, side.height_px)


def _pair_row(pair: ShownPair) -> list[Any]:
    evidence = pair.evidence or {}
    box = evidence.get("difference_box")
    values = {name: evidence.get(name) for name in _EVIDENCE}
    values["difference_box"] = " ".join(f"{value:.4f}" for value in box.values()) if box else None
    sides = (pair.a.uri, pair.b.uri, pair.a.image_id, pair.b.image_id)
    return [pair.truth, pair.state, *sides, *pair.groups, *(values[name] for name in _EVIDENCE)]
