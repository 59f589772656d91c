"""How many images are in groups, and what each tier would free, as SQL that Spark and DataFusion read alike."""

from __future__ import annotations

from dupelake.config import TIERS
from dupelake.warehouse.rules import FILE_ID, LIVE
from dupelake.warehouse.views import CURRENT, WITH_KEEPERS

# Names are of the schema.
# ruff: noqa: S608

_LEVELS = " ".join(f"WHEN '{tier}' THEN {place}" for place, tier in enumerate(TIERS, start=1))
_STAYS = len(TIERS) + 1


def totals_of(groups: str = "groups") -> str:
    """One row (images_grouped, groups, copies, removable): numbers of images, and of groups, in schema.GROUPS."""
    return f"""
SELECT count(*) AS images_grouped, count(*) FILTER (WHERE is_keeper) AS groups,
       count(*) FILTER (WHERE relation = 'copy') AS copies, count(*) FILTER (WHERE is_removable) AS removable
FROM {groups}
"""


def what_may_go(groups: str = "groups", images: str = "images") -> str:
    """One row: images and bytes that the removal of each tier would free, and removable_bytes; each file counts once.

    A file is freed only if all live images that name it are removed. A tier includes the stricter tiers. As in the view
    `removable`, nothing goes on the word of rows that are out of date.

    Args:
        groups: schema.GROUPS, as the query names it.
        images: schema.IMAGES.

    Returns:
        The query of (identical, identical_bytes, verified, verified_bytes, copies, copies_bytes, removable_bytes),
        bigint each.
    """
    sums = [
        f"coalesce(sum(CASE WHEN level <= {place} THEN {value} END), 0) AS {tier}{unit}"
        for place, tier in enumerate(TIERS, start=1)
        for value, unit in (("n", ""), ("size", "_bytes"))
    ]
    return f"""
SELECT {", ".join(sums)}, coalesce(sum(CASE WHEN goes THEN size END), 0) AS removable_bytes
FROM ({_files(groups, images)}) files
"""


def may_go_by_kind(groups: str = "groups", images: str = "images") -> str:
    """One row per kind and tier: (kind, tier, n, bytes), as `what_may_go` counts them, but each tier by itself.

    So the bytes of all rows are `copies_bytes` of `what_may_go`. A file is of the kind of the first of its names.
    """
    tiers = " ".join(f"WHEN {place} THEN '{tier}'" for place, tier in enumerate(TIERS, start=1))
    return f"""
SELECT kind, CASE level {tiers} END AS tier, sum(n) AS n, sum(size) AS bytes
FROM ({_files(groups, images)}) files WHERE level < {_STAYS} GROUP BY kind, level ORDER BY level, kind
"""


def may_go_by_group(groups: str = "groups", images: str = "images") -> str:
    """One row per group of which files may go: (group_id, bytes of each tier, with the stricter tiers).

    The sum over all groups is the row of `what_may_go`. A file in several groups counts in the first of them.
    """
    sums = [
        f"coalesce(sum(CASE WHEN level <= {place} THEN size END), 0) AS {tier}_bytes"
        for place, tier in enumerate(TIERS, start=1)
    ]
    return f"""
SELECT group_id, {", ".join(sums)}, coalesce(sum(CASE WHEN goes THEN size END), 0) AS removable_bytes
FROM ({_files(groups, images)}) files GROUP BY group_id
"""


def _files(groups: str, images: str) -> str:
    """One row per file of which a name is a copy: the tier that frees it, its names, its bytes, kind and group."""
    current = f"{WITH_KEEPERS} WHERE {CURRENT}".format(groups=groups, images=images)
    return f"""
  SELECT max(coalesce(level, {_STAYS})) AS level, count(*) AS n, max(byte_size) AS size, bool_or(is_removable) AS goes,
         min(kind) AS kind, min(group_id) AS group_id
  FROM (
    SELECT image_id, content_id, byte_size, {FILE_ID} AS file FROM {images}
    WHERE {LIVE} AND content_id IN (SELECT content_id FROM {groups} WHERE tier IS NOT NULL)
  ) named
  LEFT JOIN (
    SELECT g.image_id AS member, CASE g.tier {_LEVELS} ELSE {_STAYS} END AS level, g.is_removable, g.kind, g.group_id
    FROM {groups} g {current}
  ) known ON member = image_id
  GROUP BY content_id, file
"""
