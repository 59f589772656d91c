"""The questions of the contact sheet and of `dupelake report`, as SQL of DataFusion."""

from __future__ import annotations

from collections.abc import Sequence

from dupelake.warehouse.reader import quoted_list
from dupelake.warehouse.rules import MEMBER_ORDER

# Names are of the schema, and texts are quoted.
# ruff: noqa: S608

BY_REASON = "SELECT coalesce(reason, 'ok') AS reason, count(*) AS n FROM images GROUP BY 1 ORDER BY 1"
BY_KIND = "SELECT kind, count(*) AS n FROM pairs WHERE is_duplicate GROUP BY kind ORDER BY kind"
LAST_RUN = "SELECT job, run_id, status FROM runs ORDER BY started_at DESC LIMIT 1"
LAST_RECALL = "SELECT run_id, recall FROM runs WHERE recall IS NOT NULL ORDER BY started_at DESC LIMIT 1"


def largest_groups(n: int) -> str:
    """(group_id) of the `n` groups of most images."""
    return f"SELECT group_id FROM groups WHERE is_keeper ORDER BY group_size DESC, group_id LIMIT {n}"


def members_of(groups: Sequence[str], n: int) -> str:
    """The first `n` members of each group, with what a contact sheet draws."""
    return f"""
SELECT g.*, i.uri, i.width_px, i.height_px, i.byte_size, i.format, t.bytes FROM (
  SELECT *, row_number() OVER (PARTITION BY group_id ORDER BY {MEMBER_ORDER}) AS place
  FROM groups WHERE group_id IN {quoted_list(groups)}
) g
JOIN images i ON i.image_id = g.image_id
LEFT JOIN thumbnails t ON t.content_id = g.content_id
WHERE g.place <= {n}
ORDER BY g.group_size DESC, g.group_id, g.place
"""
