"""What the first part of the report shows of a warehouse: totals, sizes, scores, recall, failures and runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dupelake.group.totals import may_go_by_kind, totals_of, what_may_go
from dupelake.report import questions
from dupelake.report.last_run import options_in
from dupelake.runtime.redaction import redact_uris
from dupelake.warehouse.reader import Reader

BINS = 20  # of the score
RUNS_SHOWN = 60
_EXAMPLES = 3  # of each reason
_NIGHTLY = "nightly"
_EDITS = {
    "crop": "cropped to {:.0%} of its area",
    "mirror": "mirrored",
    "jpeg": "JPEG of quality {:g}",
    "resize": "resized to {:.0%} of each side",
    "sticker": "sticker over {:.0%} of its area",
    "rotate_cropped": "rotated by {:g} degrees, then cropped",
}
"""The edits of `recall.edits.PLANTED` in words; the number is their strength."""


@dataclass(frozen=True)
class Failures:
    """Failed images of one reason.

    Attributes:
        reason: one word of `images.reason`.
        n: how many images.
        examples: (name, message) of the first of them.
    """

    reason: str
    n: int
    examples: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Recall:
    """What a run measured of its own recall.

    Attributes:
        run_id: the run that measured it.
        total: found, planted, share, low and high of all planted copies; None where none was planted.
        edits: the same by edit, each with `words`; the edit found least comes first.
        generators: found, true, share, low and high by candidate generator, against brute force.
        checked: around how many new images brute force searched.
    """

    run_id: str
    total: Mapping[str, Any] | None
    edits: Sequence[Mapping[str, Any]]
    generators: Mapping[str, Mapping[str, Any]]
    checked: int


@dataclass(frozen=True)
class Run:
    """One row of `runs`, with `counts` as a dictionary and `seconds` from its start to its end."""

    run_id: str
    job: str
    status: str
    started_at: datetime
    seconds: float
    counts: Mapping[str, int]
    error_message: str | None


@dataclass(frozen=True)
class Facts:
    """The figures of a warehouse; each is the answer to a question of `questions` or `group.totals`.

    Attributes:
        images: the row of IMAGES_BY_STATE.
        totals: the row of `totals_of`.
        may_go: the row of `what_may_go`.
        may_go_by_kind: the rows of `may_go_by_kind`.
        pairs: the rows of PAIRS_BY_KIND.
        scores: the rows of `scores`, in BINS bins.
        min_score: `decide.min_score` of the last run that succeeded.
        removable: `cluster.removable` of that run.
        failures: by reason, the most frequent first.
        recall: of the last run that measured it; None if no run did.
        runs: the last RUNS_SHOWN, the oldest first.
    """

    images: Mapping[str, int]
    totals: Mapping[str, int]
    may_go: Mapping[str, int]
    may_go_by_kind: Sequence[Mapping[str, Any]]
    pairs: Sequence[Mapping[str, Any]]
    scores: Sequence[Mapping[str, Any]]
    min_score: float
    removable: str
    failures: Sequence[Failures]
    recall: Recall | None
    runs: Sequence[Run]

    @property
    def nights(self) -> Sequence[Run]:
        """The runs of the nightly job that succeeded."""
        return [run for run in self.runs if run.job == _NIGHTLY and run.status == "succeeded"]

    @property
    def n_duplicates(self) -> int:
        """Accepted pairs."""
        return sum(row["n"] for row in self.pairs if row["is_duplicate"])

    @property
    def n_measured(self) -> int:
        """Measured pairs."""
        return sum(row["n"] for row in self.pairs)


def read_facts(reader: Reader, until: str | None = None) -> Facts:
    """The figures of the tables that `reader` reads; of `runs` those up to the run `until` (None: all)."""
    config = reader.query(questions.last_config(until))["config"].to_pylist()
    used = options_in(config[0] if config else None)
    return Facts(
        images=_row(reader, questions.IMAGES_BY_STATE),
        totals=_row(reader, totals_of()),
        may_go=_row(reader, what_may_go()),
        may_go_by_kind=reader.query(may_go_by_kind()).to_pylist(),
        pairs=reader.query(questions.PAIRS_BY_KIND).to_pylist(),
        scores=reader.query(questions.scores(BINS)).to_pylist(),
        min_score=used.decide.min_score,
        removable=used.cluster.removable,
        failures=_failures(reader.query(questions.failures(_EXAMPLES)).to_pylist()),
        recall=_recall(reader.query(questions.last_recall(until)).to_pylist()),
        runs=[_run(row) for row in reversed(reader.query(questions.runs_until(until, RUNS_SHOWN)).to_pylist())],
    )


def _row(reader: Reader, sql: str) -> Mapping[str, int]:
    (row,) = reader.query(sql).to_pylist()
    return dict(row)


def _failures(rows: Sequence[Mapping[str, Any]]) -> list[Failures]:
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:  # a few of each reason
        by_reason.setdefault(row["reason"], []).append(row)
    return [
        Failures(
            reason,
            found[0]["n"],
            [(redact_uris(row["uri"] or row["image_id"]), redact_uris(row["error_message"] or "")) for row in found],
        )
        for reason, found in by_reason.items()
    ]


def _recall(rows: Sequence[Mapping[str, Any]]) -> Recall | None:
    if not rows:
        return None
    told = json.loads(rows[0]["recall"])
    edits = [share | {"words": _in_words(edit)} for edit, share in told.get("by_edit", {}).items()]
    edits.sort(key=lambda share: (share["share"], share["words"]))
    generators, checked = told.get("legs", {}), int(told.get("checked", 0))
    return Recall(rows[0]["run_id"], told.get("all"), edits, generators, checked)


def _in_words(edit: str) -> str:
    """`crop 0.5` as "cropped to 50% of its area"; an edit that is not known stays as it is."""
    name, _, strength = edit.rpartition(" ")
    try:
        return _EDITS[name].format(float(strength))
    except (KeyError, ValueError):
        return edit


def _run(row: Mapping[str, Any]) -> Run:
    seconds = (row["finished_at"] - row["started_at"]).total_seconds()
    counts = dict(row["counts"] or ())
    error = row["error_message"]
    told = None if error is None else redact_uris(error)
    return Run(row["run_id"], row["job"], row["status"], row["started_at"], seconds, counts, told)
