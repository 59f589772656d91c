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


def marks_differ(old: Column, new: Column) -> Column:
    """Whether two maps of marks show different bytes: by the etags if both have one, else by any other common mark.

    A mark that one map lacks is ignored.
    """
    other = {name: F.try_element_at(old, F.lit(name)) != F.try_element_at(new, F.lit(name)) for name in MARKS}
    rest = F.coalesce(other["last_modified"], F.lit(False)) | F.coalesce(other["byte_size"], F.lit(False))
    return F.coalesce(other["etag"], rest)
