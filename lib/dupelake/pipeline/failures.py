"""Failed images: counts by reason, log lines, and the limits that end a run with exit code 3."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.runtime.run_record import Run
from dupelake.warehouse.rules import OTHERS_WRITTEN
from dupelake.warehouse.schema import FAILED, IMAGES, OK

log = logging.getLogger(__name__)

FEW = 3  # fewer failed images say nothing about the night, because some files are always broken
_NAMED = 10  # partitions that the message of the gate names


@dataclass
class Failures:
    """The failed images of one run, over all its parts.

    Attributes:
        fresh: {reason: number of images that failed for the first time}.
        n_again: number of images that also failed on an earlier night, which reported them.
        examples: {reason: uri and message of one image}.
    """

    fresh: dict[str, int] = field(default_factory=dict)
    n_again: int = 0
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, run: Run, hashed: DataFrame) -> None:
        """Count the images of one part by status and reason, in one query.

        Args:
            run: its counts `hashed`, `failed` and `failed.REASON` are increased.
            hashed: rows of `fingerprint.stage.HASHED`.
        """
        is_again = ((F.col("status") == FAILED) & (F.col("attempts") > 0)).alias("is_again")
        first = F.min_by(F.struct("uri", "error_message"), "image_id").alias("first")
        rows = hashed.groupBy("status", "reason", is_again).agg(F.count(F.lit(1)).alias("n"), first).collect()
        by_reason: dict[str, int] = {}
        for row in rows:
            if row["status"] == OK:
                run.counts.hashed += row["n"]
                continue
            by_reason[row["reason"]] = by_reason.get(row["reason"], 0) + row["n"]
            self._note(row)
        for reason, n in sorted(by_reason.items()):
            run.counts.failed += n
            so_far = run.counts.failed_by_reason
            so_far[reason] = so_far.get(reason, 0) + n
            run.events.emit("image_failed", reason=reason, count=n)

    def _note(self, row: Row) -> None:
        reason = row["reason"]
        if row["is_again"]:
            self.n_again += row["n"]
        else:
            self.fresh[reason] = self.fresh.get(reason, 0) + row["n"]
            self.examples.setdefault(reason, f"{row['first']['uri']}: {row['first']['error_message']}")

    def check(self, run: Run, tried: DataFrame) -> None:
        """Report the failures. If there are more than the configuration allows, add a fault for the end of the run.

        Args:
            run: its counts are final.
            tried: (image_id, partition, attempts) of the images that the run read, of `ingest.new_images_stage.WANTED`.
        """
        n_failed, n_tried = sum(self.fresh.values()), run.counts.hashed + run.counts.failed - self.n_again
        if n_failed:
            reason = max(sorted(self.fresh), key=lambda name: self.fresh[name])
            told = (
                f"{n_failed} of {n_tried} images failed, most of them as `{reason}` ({self.fresh[reason]}, such as "
                f"{self.examples[reason]})"
            )
            if _is_too_much(run, n_failed, n_tried):
                limit = run.config.run.max_failed_fraction
                told += f"; that is more than run.max_failed_fraction = {limit} allows"
                run.gate_faults.append(f"{told}; {OTHERS_WRITTEN}")
            else:
                log.warning("%s", told)
        _check_partitions(run, tried)


def _is_too_much(run: Run, n_failed: int, n_tried: int) -> bool:
    """Whether more images failed than run.max_failed_fraction allows, and enough for a conclusion."""
    limit = run.config.run.max_failed_fraction
    if n_failed <= limit * n_tried:
        return False
    if n_failed >= FEW or limit == 0:
        return True
    # If a new warehouse can read no image at all, the path, the mount or the rights are wrong.
    return not run.counts.hashed and run.warehouse.read(IMAGES).where(F.col("status") == OK).isEmpty()


def _check_partitions(run: Run, tried: DataFrame) -> None:
    """Check run.max_failed_fraction_of_partition for each partition; known failures that failed again do not count."""
    limit = run.config.run.max_failed_fraction_of_partition
    if not run.counts.failed or limit >= 1:
        return
    failed = run.warehouse.read(IMAGES).where(F.col("status") == FAILED).select("image_id", F.lit(1).alias("failed"))
    is_again = F.col("failed").isNotNull() & (F.col("attempts") > 0)
    by_partition = tried.join(failed, "image_id", "left").where(~is_again).groupBy("partition")
    counted = by_partition.agg(F.count("failed").alias("failed"), F.count(F.lit(1)).alias("tried"))
    bad = counted.where(F.col("failed") > F.lit(limit) * F.col("tried"))
    worst = bad.orderBy((F.col("failed") / F.col("tried")).desc(), "partition").limit(_NAMED + 1).collect()
    if worst:
        named = ", ".join(f"{row['partition']} ({row['failed']} of {row['tried']})" for row in worst[:_NAMED])
        more = f" and {bad.count() - _NAMED} more" if len(worst) > _NAMED else ""
        run.gate_faults.append(
            f"more images failed than run.max_failed_fraction_of_partition = {limit} allows in the partitions "
            f"{named}{more}; {OTHERS_WRITTEN}"
        )
