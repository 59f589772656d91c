"""Which images are read again: those whose marks changed, and failures that another night may find mended."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

MARKS = ("etag", "last_modified", "byte_size")

# What another night may find mended: files that come late, rights, networks, machines that were short of something.
# Not among them: what follows from the bytes (undecodable, too_large, bomb), from the name (not_a_file) or from the
# manifest (no_uri, image_id_conflict); such rows are read again when their marks change, or with --full.
_MAY_MEND = (
    "missing",
    "unreadable",
    "no_filesystem",
    "no_remote_reader",
    "not_allowed",
    "crashed",
    "timeout",
    "out_of_memory",
    "internal_error",
)
_UNFINISHED = ("empty", "truncated")  # perhaps an upload under way: marks, where there are some, tell when it is done


def may_mend(reason: Column, marks: Column) -> Column:
    """Whether another night may read what failed for `reason`; a file whose marks are known is not read for that."""
    return reason.isin(*_MAY_MEND) | (reason.isin(*_UNFINISHED) & marks.isNull())


def counts_as_try(reason: Column, marks: Column) -> Column:
    """Whether a failed row uses up one of run.max_attempts: not where an option kept the file from being touched."""
    return may_mend(reason, marks) & (reason != "not_allowed")


def marks_differ(old: Column, new: Column) -> Column:
    """Whether two maps of marks tell different bytes: by etags where both have one, else by any mark of both.

    A mark that one of them lacks tells nothing.
    """
    other = {name: F.try_element_at(old, F.lit(name)) != F.try_element_at(new, F.lit(name)) for name in MARKS}
    rest = F.coalesce(other["last_modified"], F.lit(False)) | F.coalesce(other["byte_size"], F.lit(False))
    return F.coalesce(other["etag"], rest)
