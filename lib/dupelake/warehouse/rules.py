"""Rules about rows of the tables, as SQL that Spark and DataFusion (delta-rs) read alike. Imports neither.

The jobs apply them in Spark; readers without Spark (`warehouse/reader.py` and the rooms that use it) apply the same
text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OK, FAILED = "ok", "failed"
"""The values of `images.status`."""

PDQ_MIN_QUALITY = 50
"""Of `hashes` and `pairs`: below it a PDQ hash is unreliable (advice of ThreatExchange)."""
EXTRA = "extra."
"""In `overlaps.sets_by`, before the name of a column of the manifest that `images.extra` holds."""

TABLES = (
    "images",
    "hashes",
    "thumbnails",
    "features",
    "models",
    "embeddings",
    "join_keys",
    "pairs",
    "joined",
    "clustered",
    "groups",
    "group_changes",
    "group_moves",
    "similar_groups",
    "decisions",
    "decided",
    "decision_conflicts",
    "overlaps",
    "overlap_sets",
    "runs",
)
"""The names of `schema.ALL_TABLES`, in its order."""

LIVE = f"status = '{OK}' AND deleted_at IS NULL"
"""Of `images`: it was read and is not deleted. Only live images are compared and grouped."""

FAILING = f"status = '{FAILED}' AND deleted_at IS NULL"
"""Of `images`: it could not be read, and is not deleted."""

FILE_ID = "coalesce(file_id, uri)"
"""Of `images`: its file. Older releases stored no file_id."""

OVERWRITTEN = f"""EXISTS (
  SELECT 1 FROM {{images}} o WHERE o.uri = {{image}}.uri AND o.content_id <> {{image}}.content_id
    AND o.ingested_at > {{image}}.ingested_at AND o.{LIVE}
)"""  # noqa: S608 - names of the schema
"""Of `image`, a row of `images`: a later night read other bytes of its file, for an image of another scope or id.

So the row is out of date, and nothing goes on its word.
"""

COMPLETE = "tables IS NOT NULL"
"""Of `runs`: the run left all tables up to date with each other; `tables` has their versions."""

SUCCEEDED = "status = 'succeeded'"
"""Of `runs`."""

OTHERS_WRITTEN = "the results of the others are written"
"""In `runs.error_message` of a run that read the manifests and passed a limit of failed images; it did all its work."""

DONE = f"({SUCCEEDED} OR {COMPLETE} OR error_message LIKE '%{OTHERS_WRITTEN}%')"
"""Of `runs`: the run did all its work. A run that was stopped, or that an error ended, did not."""

DECIDING = "job NOT IN ('maintain', 'forget', 'overlap')"
"""Of `runs`: jobs whose options made the tables; the others may run without a configuration."""

LAST_COMPLETE = (
    "SELECT run_id, started_at, tables, "  # noqa: S608
    f"(SELECT config FROM runs WHERE {COMPLETE} AND {DECIDING} ORDER BY started_at DESC LIMIT 1) AS config "
    f"FROM runs WHERE {COMPLETE} ORDER BY started_at DESC LIMIT 1"
)
"""The last run that left all tables up to date, and the options that made them."""

LAST_CONFIG = (
    f"SELECT config FROM runs WHERE {SUCCEEDED} AND {DECIDING} "  # noqa: S608
    "ORDER BY started_at DESC LIMIT 1"
)
"""The options of the last run that succeeded and made tables."""

MEMBER_ORDER = "is_keeper DESC, score_to_keeper DESC, image_id"
"""The order in which the members of a group are shown."""


def member_order(row: Mapping[str, Any]) -> tuple[bool, float, str]:
    """The sort key of MEMBER_ORDER for a row of `groups`."""
    return not row["is_keeper"], -row["score_to_keeper"], row["image_id"]


def scope_in_sql(scope: str, images: str) -> str:
    """The scope in which a row of `images`, by that name in the query, is compared; `scope` is `lsh.scope`."""
    return "''" if scope == "across" else f"{images}.scope"
