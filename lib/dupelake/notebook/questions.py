"""The questions that people ask of a warehouse, as SQL of DataFusion."""

from __future__ import annotations

from collections.abc import Sequence

from dupelake.config import TIERS
from dupelake.ingest.members import SEPARATOR
from dupelake.warehouse.reader import quoted, quoted_list
from dupelake.warehouse.rules import FILE_ID, MEMBER_ORDER
from dupelake.warehouse.views import CURRENT, GOING, WITH_KEEPERS

# Names are of the schema, and texts are quoted.
# ruff: noqa: S608

ORDER = {
    "images": "image_id",
    "pairs": "src_id, dst_id",
    "groups": f"group_size DESC, group_id, {MEMBER_ORDER}",
}
"""The order of the rows of these tables."""

REMOVABLE = "SELECT * FROM removable ORDER BY group_id, image_id"

_INSIDE = f"{{file}} LIKE '%{SEPARATOR}%'"
IS_MEMBER = _INSIDE.format(file=FILE_ID)
"""Of `images`: it lies inside of another file. Without a file id, a file in a folder `x!` counts as a member too."""


def removable_of(part: str = "true", tiers: Sequence[str] = TIERS) -> str:
    """The images that may go, each with its keeper: the view `removable` for a part of the groups, and for some tiers.

    A test compares it with the view (tests/export/test_shared_files.py).

    Args:
        part: a condition on rows of `groups`, whose members are asked for.
        tiers: of the images. A file goes only if all its names are of these tiers.

    Returns:
        The query of (image_id, uri, group_id, keeper_id, keeper_uri, tier, kind, score_to_keeper, reason, byte_size,
        freed_bytes), then content_id, keeper_content_id, keeper_byte_size, is_member, keeper_is_member (IS_MEMBER).
    """
    inside, keeper_inside = (_INSIDE.format(file=file) for file in ("i.file", "kept.file"))
    return f"""
SELECT image_id, uri, group_id, keeper_id, keeper_uri, tier, kind, score_to_keeper, reason, byte_size, freed_bytes,
       content_id, keeper_content_id, keeper_byte_size, is_member, keeper_is_member
FROM (
  SELECT {GOING}, g.content_id, kept.content_id AS keeper_content_id, kept.byte_size AS keeper_byte_size,
         {inside} AS is_member, {keeper_inside} AS keeper_is_member, g.is_asked,
         -- rows of older releases have no tier
         min(CASE WHEN coalesce(g.tier, '{TIERS[-1]}') IN {quoted_list(tiers)} THEN 1 ELSE 0 END)
           OVER (PARTITION BY i.content_id, i.file) AS goes
  -- names of these files may be members of groups of other scopes
  FROM (SELECT DISTINCT content_id FROM groups WHERE is_removable AND ({part})) c
  JOIN (SELECT *, ({part}) AS is_asked FROM groups WHERE is_removable) g ON g.content_id = c.content_id
  {WITH_KEEPERS.format(groups="groups", images="images")}
  WHERE {CURRENT.format(images="images")}
) r
WHERE goes = 1 AND is_asked
ORDER BY group_id, image_id
"""


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
