"""The recall of a run: planted copies by edit, and the promises of generators on a sample."""

from __future__ import annotations

import logging

import scipy.special
from pyspark.sql import DataFrame

from dupelake.evaluate.scores import wilson_interval
from dupelake.propose.promises import WithinBits, WithinCosine, bits
from dupelake.propose.stage import promises
from dupelake.recall.brute_force_stage import near_sample, proposed_of, sample_of, sampled
from dupelake.recall.planted_stage import found_copies, sample_units
from dupelake.runtime.run_record import Run

log = logging.getLogger(__name__)

_CHANCE = 0.001  # probability of a false warning about a generator that keeps its promise


def certify_copies(run: Run, copies: DataFrame, decided: DataFrame) -> None:
    """Record in the run the number of found planted copies by edit, with 95 % intervals."""
    rows = sorted(found_copies(copies, decided).collect(), key=lambda row: row["edit"])  # one row per edit
    if not rows:
        return
    by_edit = {row["edit"]: _share(row["n_found"], row["n_planted"]) | {"proposed": row["n_proposed"]} for row in rows}
    total = _share(sum(r["n_found"] for r in rows), sum(r["n_planted"] for r in rows))
    run.note_recall({"all": total, "by_edit": by_edit})
    run.count("copies_planted", int(total["planted"]))
    run.count("copies_found", int(total["found"]))


def check_generators(
    run: Run, units: DataFrame, hashes: DataFrame, embeddings: DataFrame | None, candidates: DataFrame
) -> None:
    """Check the promises of the candidate generators by brute force on a sample of the new units.

    The share of each generator is recorded in the run. A generator that breaks its promise is logged.

    Args:
        run: `run.checked_images` of its configuration is the size of the sample.
        units: (scope, content_id, is_new), the joined units without planted copies.
        hashes: HASHES of the present version.
        embeddings: EMBEDDINGS of the present model, or None.
        candidates: (src_id, dst_id, found_by), staged.
    """
    cfg, promised = run.config, promises(run.config.lsh)
    if cfg.run.checked_images == 0:
        return
    with run.step("check"):
        few = sample_units(units, cfg.run.checked_images)
        rows = sampled(few, hashes, embeddings, promised).collect()  # at most run.checked_images rows
        if not rows:
            return
        sample = sample_of(rows, promised)
        if sample.vectors is None:
            embeddings = None
        sent = run.warehouse.spark.sparkContext.broadcast(sample)
        near = run.staging.save(near_sample(sent, units, hashes, embeddings, promised), "near")
        sent.destroy()
        found = sorted(proposed_of(near, candidates).collect(), key=lambda row: row["leg"])  # one row per generator
    by_generator = {row["leg"]: _share(row["n_proposed"], row["n_true"], of="true") for row in found}
    run.note_recall({"legs": by_generator, "checked": len(rows)})
    missed = sum(int(s["true"] - s["found"]) for name, s in by_generator.items() if name in bits(promised))
    run.count("exact_pairs_missed", missed)  # 0, or a defect: for metrics and alerts
    for name, share in by_generator.items():
        promise = promised[name]
        if isinstance(promise, WithinBits) and share["found"] < share["true"]:
            log.error(
                "the %s generator proposed %d of %d pairs that brute force finds around %d new images; it should "
                "propose all: please report this",
                *(name, share["found"], share["true"], len(rows)),
            )
        elif isinstance(promise, WithinCosine) and _is_below(share, promise.share):
            log.warning(
                "the embedding generator proposed %d of %d pairs at cosine %g or more around %d new images, less than "
                "the expected share of %g",
                *(share["found"], share["true"], promise.min_cosine, len(rows), promise.share),
            )


def _is_below(share: dict[str, float], promised: float) -> bool:
    """Whether the number of found pairs is improbably small if each is found with probability `promised` (binomial)."""
    return bool(scipy.special.bdtr(share["found"], int(share["true"]), promised) < _CHANCE)


def _share(n_found: int, n: int, of: str = "planted") -> dict[str, float]:
    low, high = wilson_interval(n_found, n)
    return {
        "found": n_found,
        of: n,
        "share": round(n_found / n, 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }
