"""What a run was not allowed to read, told once at its end: how many rows, and the option that would allow them."""

from __future__ import annotations

import logging
import os

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.config import FetchConfig
from dupelake.ingest.access import NOT_ALLOWED, setting
from dupelake.runtime.run_record import Run

log = logging.getLogger(__name__)

_OPTION = r"fetch\.allowed_(schemes|hosts|roots)=\["
_FILE = r"(?s)^(.*?) (?:lies outside of the folders|is read only where)"
_LAST = r"(?s)[\[ ]([^\[ ]+)\]'?$"  # the value that the message of a row adds


def tell_refused(run: Run, tried: DataFrame) -> None:
    """Adds a note to the run, and a warning to its log, for each option that refused rows.

    Args:
        run: its count of images that failed as `not_allowed` says whether there is anything to tell.
        tried: rows of schema.IMAGES that the run tried.
    """
    if not run.counts.failed_by_reason.get(NOT_ALLOWED):
        return
    text = F.col("error_message")
    option = F.regexp_extract(text, _OPTION, 1)
    file = F.nullif(F.regexp_extract(text, _FILE, 1), F.lit(""))
    value = F.coalesce(F.when(option == "roots", file), F.regexp_extract(text, _LAST, 1))
    found = (
        tried.where(F.col("reason") == NOT_ALLOWED)
        .groupBy(option.alias("option"))
        .agg(
            F.count(F.lit(1)).alias("n"),
            F.min(value).alias("least"),
            F.max(value).alias("most"),
            F.min("uri").alias("uri"),
        )
    )
    for row in sorted(found.collect(), key=lambda row: str(row["option"])):  # one row an option
        note = _note(row, run.config.fetch)
        run.notes.append(note)
        log.warning("%s", note)


def _note(row: Row, cfg: FetchConfig) -> str:
    said = f"{row['n']} images were not read, for no option allows it (reason {NOT_ALLOWED}), such as {row['uri']}"
    option, least, most = row["option"], row["least"], row["most"]
    if not option:
        return f"{said}; the column images.error_message tells of each"
    wanted = _folders(least, most) if option == "roots" and least.startswith("/") else sorted({least, most})
    given = getattr(cfg, f"allowed_{option}")
    more = "" if len(wanted) == 1 else " (and perhaps others)"
    return f"{said}; if they are meant to be read: {setting(f'allowed_{option}', [*given, *wanted])}{more}"


def _folders(least: str, most: str) -> list[str]:
    """The innermost folder that holds all files between two, in the order of text; never all of the machine."""
    ends = sorted({os.path.dirname(least), os.path.dirname(most)})
    common = os.path.commonpath(ends)
    return ends if common == "/" else [common]
