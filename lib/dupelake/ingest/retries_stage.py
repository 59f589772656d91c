"""Which stored images are read again: those whose marks changed, and those that failed for a transient reason."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

MARKS = ("etag", "last_modified", "byte_size")

# Transient reasons: late files, access rights, networks, machines short of memory, what an installation lacks. Not
# transient: faults of the bytes (undecodable, too_large, bomb), of the name (not_a_file) or of the manifest (no_uri,
# image_id_conflict). Such rows are read again only if their marks change, or with --full.
_TRANSIENT = (
    "missing",
    "unreadable",
    "no_filesystem",
    "no_remote_reader",
    "no_decoder",
    "not_allowed",
    "crashed",
    "timeout",
    "out_of_memory",
    "internal_error",
)
_UNFINISHED = ("empty", "truncated")  # the upload may be in progress: marks, if given, change when it is complete


def is_transient(reason: Column, marks: Column) -> Column:
    """Whether a failure for `reason` may be gone in another night; of an unfinished file only if it has no marks."""
    return reason.isin(*_TRANSIENT) | (reason.isin(*_UNFINISHED) & marks.isNull())


def counts_as_attempt(reason: Column, marks: Column) -> Column:
    """Whether a failed row uses up one of run.max_attempts; not if the access rules refused the file."""
    return is_transient(reason, marks) & (reason != "not_allowed")


def is_of_completed_run(at: Column, last_run: int | None) -> Column:
    """Whether an attempt at `at` belongs to a completed run, not to a killed run that the present run completes.

    Args:
        at: start of the run that made the attempt; null if it was not recorded.
        last_run: start of the last completed run, in microseconds since 1970; None if all runs count as completed.
    """
    if last_run is None:
        return F.lit(True)
    return F.coalesce(F.unix_micros(at) <= F.lit(last_run), F.lit(True))


def attempts_before(attempts: Column, is_over: Column) -> Column:
    """The failed attempts before the present run.

    Args:
        attempts: failed attempts as stored.
        is_over: whether the last attempt is of a completed run. If not, the present run makes the same attempt.
    """
    return F.greatest(attempts - F.when(is_over, 0).otherwise(1), F.lit(0))


def marks_differ(old: Column, new: Column) -> Column:
    """Whether two maps of marks show different bytes: by the etags if both have one, else by any other common mark.

    A mark that one map lacks is ignored.
    """
    other = {name: F.try_element_at(old, F.lit(name)) != F.try_element_at(new, F.lit(name)) for name in MARKS}
    rest = F.coalesce(other["last_modified"], F.lit(False)) | F.coalesce(other["byte_size"], F.lit(False))
    return F.coalesce(other["etag"], rest)
