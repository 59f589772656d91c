"""The questions that people ask of a warehouse, as SQL of DataFusion."""

from __future__ import annotations

from collections.abc import Sequence

from dupelake.warehouse.reader import quoted, quoted_list
from dupelake.warehouse.rules import COMPLETE, MEMBER_ORDER, SUCCEEDED

# Names are of the schema, and texts are quoted.
# ruff: noqa: S608

ORDER = {
    "images": "image_id",
    "pairs": "src_id, dst_id",
    "groups": f"group_size DESC, group_id, {MEMBER_ORDER}",
}
"""The order of the rows of these tables."""

LAST_OPTIONS = f"SELECT config FROM runs WHERE {SUCCEEDED} ORDER BY started_at DESC LIMIT 1"

REMOVABLE = "SELECT * FROM removable ORDER BY group_id, image_id"


def run_of(run_id: str) -> str:
    """(run_id, tables) of the run, if it left all tables up to date."""
    return f"SELECT run_id, tables FROM runs WHERE {COMPLETE} AND run_id = {quoted(run_id)}"


def history_of(group_id: str, last: int) -> str:
    """What happened to a group, and to its images, up to the change `last` of `groups`.

    Later events are of a run that was killed before it changed `groups`; the next run makes them again.
    """
    group = quoted(group_id)
    return f"""
SELECT sequence, changed_at, run_id, group_id, event, image_id, is_keeper, other_group_id, n_images FROM (
  SELECT 0 AS rank, sequence, changed_at, run_id, group_id, event, CAST(NULL AS STRING) AS image_id,
         CAST(NULL AS BOOLEAN) AS is_keeper, other_group_id, n_images
  FROM group_changes WHERE group_id = {group} OR other_group_id = {group}
  UNION ALL
  SELECT 1, sequence, changed_at, run_id, {group},
         CASE WHEN from_group_id IS DISTINCT FROM to_group_id
              THEN CASE WHEN to_group_id = {group} THEN 'entered' ELSE 'left' END
              WHEN is_keeper THEN 'became_keeper' ELSE 'was_keeper' END,
         image_id, is_keeper,
         CASE WHEN from_group_id IS DISTINCT FROM to_group_id
              THEN CASE WHEN to_group_id = {group} THEN from_group_id ELSE to_group_id END END,
         CAST(NULL AS INT)
  FROM group_moves WHERE from_group_id = {group} OR to_group_id = {group}
)
WHERE sequence <= {last}
ORDER BY sequence, rank, event, group_id, image_id
"""


def groups_named(name: str) -> str:
    """(group_id) of the groups, present and past, whose id begins with `name`; two at most."""
    begins = f"starts_with(group_id, {quoted(name)})"
    return (
        f"SELECT group_id FROM (SELECT group_id FROM groups WHERE {begins} "
        f"UNION SELECT group_id FROM group_changes WHERE {begins}) ORDER BY group_id LIMIT 2"
    )


def images_named(name: str, uris: Sequence[str]) -> str:
    """The image of that id, else the images of one of these URIs that were read, two at most; with group and pixels."""
    return f"""
SELECT i.image_id, i.uri, i.scope, i.status, i.reason AS failed, i.deleted_reason, i.content_id, h.pixel_digest,
       g.group_id, g.relation, g.is_keeper, g.reason
FROM images i
LEFT JOIN hashes h ON h.content_id = i.content_id
LEFT JOIN groups g ON g.image_id = i.image_id
WHERE i.image_id = {quoted(name)} OR i.uri IN {quoted_list(uris)}
ORDER BY i.image_id <> {quoted(name)}, i.image_id LIMIT 2
"""


def pair_of(contents: Sequence[str], digests: Sequence[str]) -> str:
    """The measured pair of two contents, or of others with the pixels of these: equal pixels are measured once.

    Args:
        contents: both content ids.
        digests: both pixel digests, in the same order.
    """
    if digests[0] == digests[1]:
        return f"SELECT * FROM pairs WHERE src_id = {quoted(min(contents))} AND dst_id = {quoted(max(contents))}"
    pictures = f"SELECT content_id, pixel_digest FROM hashes WHERE pixel_digest IN {quoted_list(digests)}"
    return f"""
SELECT p.* FROM pairs p
JOIN ({pictures}) s ON s.content_id = p.src_id
JOIN ({pictures}) d ON d.content_id = p.dst_id
WHERE s.pixel_digest <> d.pixel_digest
ORDER BY p.score DESC, p.src_id, p.dst_id LIMIT 1
"""
