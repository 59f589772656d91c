"""`dupelake evaluate`: compare found pairs and groups with a truth file. It only reads tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dupelake.errors import ConfigError
from dupelake.evaluate import judgement, matching
from dupelake.evaluate.scores import BCubed, Scores, average_precision, sweep
from dupelake.evaluate.truth import Truth
from dupelake.evaluate.worst import ShownPair, false_pairs, missed_pairs
from dupelake.report.last_run import last_options
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.rules import FAILED
from dupelake.warehouse.scratch import Scratch, scratch_beside

# Names are of this room.
# ruff: noqa: S608

_MAX_UNMATCHED = 10_000  # names without an image that are listed


@dataclass(frozen=True)
class Evaluation:
    """All figures of one evaluation.

    Attributes:
        form: form of the truth, `pairs` or `groups`.
        closed: whether images that the truth does not name count as having no duplicate.
        min_score: `decide.min_score` of the last run.
        names: names of the truth by outcome (`matching`).
        unmatched: (row, name, outcome, images found) of names without an image, at most 10,000, by row.
        n_failed: number of named images that failed in the hash stage; their true pairs count as missed.
        n_true: number of pairs of the truth between matched images.
        pairs: scores of the accepted pairs of images.
        groups: scores of the pairs of images within groups.
        n_unnamed_pairs: accepted pairs that are left out because the truth does not name one of their images.
        n_unnamed_group_pairs: the same for pairs within groups.
        b_cubed: B-cubed of the groups.
        relations: (relation, number of true pairs, accepted ones, ones in one group).
        sweeps: signal to (threshold, Scores of pairs), from the loosest to the strictest threshold.
        false_pairs: the worst false pairs.
        missed_pairs: the worst missed pairs.
    """

    form: str
    closed: bool
    min_score: float
    names: Mapping[str, int]
    unmatched: Sequence[tuple[int, str, str, int]]
    n_failed: int
    n_true: int
    pairs: Scores
    groups: Scores
    n_unnamed_pairs: int
    n_unnamed_group_pairs: int
    b_cubed: BCubed
    relations: Sequence[tuple[str, int, int, int]]
    sweeps: Mapping[str, Sequence[tuple[float, Scores]]]
    false_pairs: Sequence[ShownPair]
    missed_pairs: Sequence[ShownPair]

    @property
    def average_precision(self) -> dict[str, float]:
        """Area under the precision-recall curve of each signal, over the thresholds of the sweep."""
        return {name: average_precision([s for _, s in reversed(rows)]) for name, rows in self.sweeps.items()}

    def is_measured(self, signal: str) -> bool:
        """Whether the thresholds of a signal give different numbers of pairs."""
        return len({scores.n_found for _, scores in self.sweeps[signal]}) > 1

    def best(self, signal: str) -> tuple[float, Scores]:
        """The threshold with the highest F1; at a tie the strictest."""
        return max(reversed(self.sweeps[signal]), key=lambda row: row[1].f1)


def evaluate(reader: Reader, truth: Truth, *, by: str, closed: bool, n_shown: int) -> Evaluation:
    """Compare the tables with a truth.

    Args:
        reader: of the warehouse.
        truth: result of `read_truth`.
        by: how names are matched, auto, image_id, uri or name.
        closed: whether the truth names every duplicate, so that images that it does not name have none.
        n_shown: maximum number of false pairs, and of missed pairs, that the result lists.

    Raises:
        ConfigError: no name of the truth matches an image.
        NotFoundError: the warehouse lacks a table.
    """
    options = last_options(reader)
    with scratch_beside(reader) as scratch:
        judgement.find_present(scratch, options.lsh)
        matching.match_names(scratch, truth.names, by)
        names, unmatched = matching.count_outcomes(scratch), _unmatched(scratch)
        if not names[matching.MATCHED]:
            raise ConfigError([_nothing_matches(names, unmatched, by, scratch)])
        matching.match_pairs(scratch, truth.pairs)
        case = judgement.build_case(scratch, is_pairs=truth.form == "pairs", closed=closed)
        n_true = judgement.count_true(case)
        min_score = options.decide.min_score
        at = thresholds(min_score)
        found = judgement.count_found_pairs(case, n_true, at)
        return Evaluation(
            form=truth.form,
            closed=closed,
            min_score=min_score,
            names=names,
            unmatched=unmatched,
            n_failed=case.row(f"SELECT count(*) AS n FROM items WHERE status = '{FAILED}'")[0],
            n_true=n_true,
            pairs=found.accepted,
            groups=judgement.tally(case, "label").scores(n_true),
            n_unnamed_pairs=found.n_unnamed,
            n_unnamed_group_pairs=judgement.count_unnamed(case, "label"),
            b_cubed=judgement.b_cubed_of(case),
            relations=judgement.count_relations(case),
            sweeps={name: sweep(at[name], found.buckets[name], found.equal, n_true) for name in judgement.SIGNALS},
            false_pairs=false_pairs(case, n_shown) if n_shown else [],
            missed_pairs=missed_pairs(case, n_shown) if n_shown else [],
        )


def thresholds(min_score: float) -> dict[str, list[float]]:
    """Thresholds of each signal, from the loosest to the strictest; those of the score include `min_score`."""
    scores = [*(i / 50 for i in range(1, 50)), 0.99, 0.999, 1.0, min_score]
    return {
        "score": sorted(set(scores)),
        "phash_bits": sorted(map(float, range(0, 33)), reverse=True),
        "pdq_bits": sorted(map(float, range(0, 129, 4)), reverse=True),
        "cosine": sorted({*(i / 100 for i in range(50, 101, 2)), *(i / 100 for i in range(91, 100, 2))}),
        "n_inliers": sorted(map(float, (*range(4, 20, 2), *range(20, 100, 5), *range(100, 401, 50)))),
        "aligned_ncc": [i / 50 for i in range(10, 51)],
    }


def _unmatched(scratch: Scratch) -> list[tuple[int, str, str, int]]:
    where = f"outcome <> '{matching.MATCHED}' ORDER BY row, name LIMIT {_MAX_UNMATCHED}"
    rows = scratch.query(f"SELECT row, name, outcome, n_images FROM matched WHERE {where}").to_pylist()
    return [(row["row"], row["name"], row["outcome"], row["n_images"]) for row in rows]


def _nothing_matches(
    names: Mapping[str, int], unmatched: Sequence[tuple[int, str, str, int]], by: str, scratch: Scratch
) -> str:
    first = scratch.query("SELECT uri FROM present ORDER BY uri NULLS FIRST LIMIT 1")["uri"].to_pylist()
    example = f"the tables contain, for example, {first[0]!r}" if first else "the tables have no image"
    way = "" if by == "auto" else f" by {by}"
    return (
        f"none of the {sum(names.values())} images of the truth matches one image{way} "
        f"({names[matching.NONE]} match none, {names[matching.SEVERAL]} several); the truth names, for example, "
        f"{unmatched[0][1]!r}, {example}; give image ids, uris, or ends of their paths that are unique"
    )


def as_dict(result: Evaluation) -> dict[str, Any]:
    """The figures as plain values without the listed pairs; ratios are rounded to 6 digits."""

    def figures(scores: Scores) -> dict[str, float | int]:
        ratios = {name: round(getattr(scores, name), 6) for name in ("precision", "recall", "f1")}
        return {**asdict(scores), **ratios}

    areas = {name: round(area, 6) for name, area in result.average_precision.items() if result.is_measured(name)}
    return {
        "truth": {
            "form": result.form,
            "closed": result.closed,
            "names": dict(result.names),
            "failed_images": result.n_failed,
            "true_pairs": result.n_true,
        },
        "pairs": figures(result.pairs) | {"left_out_unnamed": result.n_unnamed_pairs},
        "groups": figures(result.groups) | {"left_out_unnamed": result.n_unnamed_group_pairs},
        "b_cubed": {name: round(getattr(result.b_cubed, name), 6) for name in ("precision", "recall", "f1")},
        "relations": {
            relation: {"true": n, "in_pairs": pairs, "in_groups": groups}
            for relation, n, pairs, groups in result.relations
        },
        "average_precision": areas,
        "best_threshold": {
            name: {"threshold": threshold, **figures(scores)}
            for name in result.sweeps
            if result.is_measured(name)
            for threshold, scores in [result.best(name)]
        },
    }
