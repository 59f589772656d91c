"""What exports ask of the tables, as SQL of DataFusion. Which images may go: `notebook/questions.py:removable_of`."""

from __future__ import annotations

from collections.abc import Sequence

from dupelake.notebook.questions import IS_MEMBER, removable_of
from dupelake.warehouse.reader import Reader, quoted
from dupelake.warehouse.rules import LIVE, MEMBER_ORDER

# Names are of the schema, and texts are quoted.
# ruff: noqa: S608

PART_ROWS = 200_000
"""Rows of one query: what an export holds in memory at a time."""


def parts_of(reader: Reader, table: str, key: str, where: str = "true") -> list[str]:
    """Conditions that cut the rows of a table into parts of about PART_ROWS rows, equal keys into one part.

    Args:
        reader: of the table.
        table: its name.
        key: an expression of SQL that is text, such as a column.
        where: a condition; rows of which it does not hold are in no part.
    """
    n_rows = reader.query(f"SELECT count(*) AS n FROM {table} WHERE {where}")["n"][0].as_py()
    n_parts = -(-n_rows // PART_ROWS)
    if n_parts <= 1:
        return [where]
    edges = [f"{65_536 * i // n_parts:04x}" for i in range(1, n_parts)]
    digest = f"substr(md5({key}), 1, 4)"  # spread evenly, whatever the ids are
    return [
        f"({where}) AND {digest} >= '{low}' AND {digest} < '{high}'"
        for low, high in zip(["", *edges], [*edges, "g"], strict=True)
    ]


def members_of(part: str, tiers: Sequence[str], named_by: str | None = None) -> str:
    """All members of groups, each group with its keeper first.

    Args:
        part: a condition on rows of `groups`, which holds for all members of a group or for none.
        tiers: of the images that may go, as `removable_of` takes them.
        named_by: a column of the manifest, whose value becomes `name`; None for image_id.

    Returns:
        The query of (group_id, image_id, name, uri, relation, is_keeper, is_removable, tier, kind, score, reason,
        keeper_uri, is_member, keeper_is_member); is_removable: `removable_of` gives the image.
    """
    named = f"i.{_name_of(named_by)}"
    goes = f"SELECT image_id FROM ({removable_of(part, tiers)})"
    return f"""
SELECT g.group_id, g.image_id, {named} AS name, i.uri, g.relation, g.is_keeper, r.image_id IS NOT NULL AS is_removable,
       g.tier, g.kind, g.score_to_keeper AS score, g.reason, kept.uri AS keeper_uri,
       i.is_member, kept.is_member AS keeper_is_member
FROM (SELECT * FROM groups WHERE {part}) g
JOIN (SELECT image_id, uri, extra, {IS_MEMBER} AS is_member FROM images) i ON i.image_id = g.image_id
JOIN (SELECT image_id, group_id FROM groups WHERE is_keeper AND ({part})) k ON k.group_id = g.group_id
JOIN (SELECT image_id, uri, {IS_MEMBER} AS is_member FROM images) kept ON kept.image_id = k.image_id
LEFT JOIN ({goes}) r ON r.image_id = g.image_id
ORDER BY g.group_id, {", ".join(f"g.{column}" for column in MEMBER_ORDER.split(", "))}
"""


def in_no_group(part: str) -> str:
    """(image_id, uri, is_member) of live images without a group; `part` is a condition on rows of `images`."""
    return f"""
SELECT i.image_id, i.uri, i.is_member
FROM (SELECT image_id, uri, {IS_MEMBER} AS is_member FROM images WHERE {LIVE} AND {part}) i
LEFT JOIN (SELECT image_id FROM groups) g ON g.image_id = i.image_id
WHERE g.image_id IS NULL
ORDER BY i.image_id
"""


SHARED_URIS = f"SELECT uri FROM images WHERE {LIVE} GROUP BY uri HAVING count(*) > 1"
"""URIs of several live images: in several scopes, or with several ids."""


def shared_names(named_by: str | None) -> str:
    """(image_id, name) of images that have a name in common with others, the name in lower case.

    Images that could not be read count, and those that are deleted do not.

    Args:
        named_by: as in `members_of`.
    """
    names = f"SELECT image_id, lower({_name_of(named_by)}) AS name FROM images WHERE deleted_at IS NULL"
    shared = f"SELECT name FROM ({names}) n GROUP BY name HAVING count(*) > 1"
    return f"SELECT n.image_id, n.name FROM ({names}) n JOIN ({shared}) s ON s.name = n.name"


def _name_of(named_by: str | None) -> str:
    return "image_id" if named_by is None else value_of(named_by)


def value_of(column: str) -> str:
    """The value of a column of the manifest, as SQL on `images`."""
    return f"extra[{quoted(column)}]"


def samples_of(part: str, shard: str, key: str) -> str:
    """(image_id, shard, key) of the images of a WebDataset, by shard and key.

    Args:
        part: a condition on rows of `images`.
        shard: the column of the manifest that names the shard.
        key: the column that names the sample in it.
    """
    columns = f"image_id, {value_of(shard)} AS shard, {value_of(key)} AS key"
    return f"SELECT {columns} FROM images WHERE {part} ORDER BY shard, key, image_id"
