"""The views for analysts, as SQL that Spark, DuckDB and DataFusion (delta-rs) read alike. Imports none of them.

`dupelake register` makes them in a catalogue beside the tables; `Reader.query` knows them by their names. So each
question is answered by one text, whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dupelake.config import TIERS
from dupelake.warehouse.rules import COMPLETE, FAILING, FILE_ID, LIVE, OVERWRITTEN

# Names are of the schema.
# ruff: noqa: S608

SPARK, DUCKDB, DATAFUSION = "spark", "duckdb", "datafusion"
"""The dialects of SQL."""

_EPOCH = "date_part('epoch', finished_at) - date_part('epoch', started_at)"
_SECONDS = {
    SPARK: "(unix_micros(finished_at) - unix_micros(started_at)) / 1e6",
    DUCKDB: _EPOCH,
    DATAFUSION: _EPOCH,
}  # no function gives it in all three


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        name: in the catalogue.
        comment: of the view.
        tables: the tables of warehouse/schema.py that it reads.
        text: its query, with `{table}` for the name of a table and `{seconds}` for the seconds of a run.
        comments: of columns that are in no table, or mean something else here. Columns that a view takes from a table
            have the comment of the table.
    """

    name: str
    comment: str
    tables: tuple[str, ...]
    text: str
    comments: Mapping[str, str] = field(default_factory=dict)

    def sql(self, dialect: str, name_of: Callable[[str], str] = str) -> str:
        """Its query.

        Args:
            dialect: SPARK, DUCKDB or DATAFUSION.
            name_of: gives the name of a table in the query.
        """
        names = {table: name_of(table) for table in self.tables}
        return self.text.format(**names, seconds=_SECONDS[dialect]).strip()


_KEPT = {"keeper_id": "image_id of the keeper of the group", "keeper_uri": "uri of the keeper"}

_DUPLICATE_GROUPS = View(
    "duplicate_groups",
    "One row per image in a duplicate group, with its file and the keeper of the group.",
    ("groups", "images"),
    """
SELECT g.group_id, g.group_size, g.image_id, i.uri, g.relation, g.is_keeper, g.is_removable, g.tier, g.kind,
       g.score_to_keeper, g.reason, k.image_id AS keeper_id, kept.uri AS keeper_uri, g.compared_with,
       i.partition, g.scope, i.format, i.width_px, i.height_px, i.byte_size, i.captured_at, g.updated_at
FROM {groups} g
JOIN {images} i ON i.image_id = g.image_id
JOIN {groups} k ON k.group_id = g.group_id AND k.is_keeper
JOIN {images} kept ON kept.image_id = k.image_id
""",
    _KEPT,
)

GOING = """g.image_id, i.uri, g.group_id, k.image_id AS keeper_id, kept.uri AS keeper_uri,
       g.tier, g.kind, g.score_to_keeper, g.reason, i.byte_size,
       CASE WHEN row_number() OVER (PARTITION BY i.content_id, i.file ORDER BY g.image_id) = 1
            THEN i.byte_size ELSE 0 END AS freed_bytes"""
"""What is told of an image that may go. Several names of one file free its bytes once."""

WITH_KEEPERS = f"""
JOIN (
  SELECT image_id, uri, partition, content_id, byte_size, ingested_at, {FILE_ID} AS file FROM {{images}} WHERE {LIVE}
) i
  ON i.image_id = g.image_id AND i.content_id = g.content_id
JOIN {{groups}} k ON k.group_id = g.group_id AND k.is_keeper
JOIN (SELECT image_id, uri, content_id, byte_size, ingested_at, {FILE_ID} AS file FROM {{images}} WHERE {LIVE}) kept
  ON kept.image_id = k.image_id AND kept.content_id = k.content_id"""
"""What rows g of `groups` are joined with: the image i, the row k of the keeper, and the keeper's image.

What a run has changed and not grouped yet is left out.
"""

CURRENT = " AND ".join(f"NOT {OVERWRITTEN.format(images='{images}', image=image)}" for image in ("i", "kept"))
"""Of rows of WITH_KEEPERS: neither the image nor the keeper was overwritten since."""

_REMOVABLE = View(
    "removable",
    "One row per image that may go under cluster.removable, with the keeper that stays and the bytes that it frees.",
    ("groups", "images"),
    f"""
SELECT {GOING},
       i.partition, g.scope
FROM {{groups}} g{WITH_KEEPERS}
WHERE g.is_removable AND {CURRENT}
""",
    {**_KEPT, "freed_bytes": "bytes of the file, and 0 for its further names: the sum is what removal frees"},
)

GROUPED, GONE, APART, SIMILAR, REJECTED = "grouped", "gone", "apart", "similar", "rejected"
"""The values of `pairs_explained.outcome`."""

_PAIRS_EXPLAINED = View(
    "pairs_explained",
    "One row per measured pair of contents, with an image of each, what came of the pair, and the evidence.",
    ("pairs", "groups", "images"),
    f"""
WITH shown AS (
  SELECT content_id, min(image_id) AS image_id, count(*) AS n_images FROM {{images}} WHERE {LIVE} GROUP BY content_id
), named AS (
  SELECT shown.content_id, shown.image_id, shown.n_images, i.uri
  FROM shown JOIN {{images}} i ON i.image_id = shown.image_id
), members AS (
  SELECT DISTINCT content_id, group_id FROM {{groups}}
), together AS (
  SELECT p.src_id, p.dst_id, min(a.group_id) AS group_id
  FROM {{pairs}} p
  JOIN members a ON a.content_id = p.src_id
  JOIN members b ON b.content_id = p.dst_id AND b.group_id = a.group_id
  GROUP BY p.src_id, p.dst_id
), told AS (
  SELECT src_id, dst_id, min(reason) AS reason FROM (
    SELECT least(g.content_id, o.content_id) AS src_id, greatest(g.content_id, o.content_id) AS dst_id, g.reason
    FROM {{groups}} g JOIN {{groups}} o ON o.image_id = g.compared_with
  ) compared GROUP BY src_id, dst_id
)
SELECT p.src_id, p.dst_id, a.image_id, a.uri, b.image_id AS other_image_id, b.uri AS other_uri,
       CASE WHEN t.group_id IS NOT NULL THEN '{GROUPED}'
            WHEN p.is_duplicate AND (a.image_id IS NULL OR b.image_id IS NULL) THEN '{GONE}'
            WHEN p.is_duplicate THEN '{APART}'
            WHEN p.kind = 'similar' THEN '{SIMILAR}' ELSE '{REJECTED}' END AS outcome,
       p.score, p.kind, r.reason, t.group_id, p.is_duplicate, p.found_by,
       a.n_images, b.n_images AS n_other_images,
       p.phash_bits, p.pdq_bits, p.pdq_quality, p.cosine_similarity, p.n_inliers, p.aligned_ncc, p.agreeing_share,
       p.contradicting_share, p.src_overlap, p.dst_overlap, p.src_beyond, p.dst_beyond, p.src_frame, p.dst_frame,
       p.src_added, p.dst_added, p.scale, p.rotation_degrees, p.is_mirrored, p.largest_local_difference,
       p.colour_difference, p.error_message
FROM {{pairs}} p
LEFT JOIN named a ON a.content_id = p.src_id
LEFT JOIN named b ON b.content_id = p.dst_id
LEFT JOIN together t ON t.src_id = p.src_id AND t.dst_id = p.dst_id
LEFT JOIN told r ON r.src_id = p.src_id AND r.dst_id = p.dst_id
""",
    {
        "image_id": "the image of src_id with the smallest id; null if all are gone",
        "uri": "of image_id",
        "other_image_id": "the image of dst_id with the smallest id; null if all are gone",
        "other_uri": "of other_image_id",
        "outcome": f"{GROUPED}: both are in group_id; {GONE}: accepted, but src_id or dst_id has no live image; "
        f"{APART}: accepted, but the groups keep them apart; {SIMILAR}: another shot or version of one thing; "
        f"{REJECTED}: not accepted",
        "reason": "explanation of the member that was compared with the other; null if neither was",
        "group_id": "the group that has both; the smallest id if several scopes have one; null if no group has both",
        "n_images": "images of src_id that exist",
        "n_other_images": "images of dst_id that exist",
    },
)

_FAILURES = View(
    "failures",
    "One row per image that could not be read or decoded on its last night and is not deleted.",
    ("images",),
    f"""
SELECT image_id, uri, partition, scope, source, reason, error_message, attempts, ingested_at AS tried_at
FROM {{images}} WHERE {FAILING}
""",
    {"tried_at": "start of the run that tried it last (UTC)"},
)

_COUNTS = (
    "read",
    "skipped",
    "hashed",
    "failed",
    "removed",
    "contents_new",
    "pairs_measured",
    "groups",
    "images_grouped",
    "copies",
    "conflicts",
    "removable",
    "removable_bytes",
)

_NUMBERS = ",\n       ".join(
    [f"counts['{name}'] AS {name}" for name in _COUNTS]
    + [f"counts['may_go.{tier}_bytes'] AS {tier}_bytes" for tier in TIERS]
)

_NIGHTLY = View(
    "nightly",
    "One row per run of the nightly job, with its main counts. A count is null if the run did not come so far.",
    ("runs",),
    f"""
SELECT run_id, status, {COMPLETE} AS is_complete, started_at, finished_at, {{seconds}} AS seconds,
       {_NUMBERS},
       recall, error_message
FROM {{runs}} WHERE job = 'nightly'
""",
    {
        "is_complete": "all tables are up to date with each other after it",
        "seconds": "from start to end, on the clock",
    }
    | {f"{tier}_bytes": f"bytes that the removal of the copies up to tier {tier} would free" for tier in TIERS},
)

VIEWS = {one.name: one for one in (_DUPLICATE_GROUPS, _REMOVABLE, _PAIRS_EXPLAINED, _FAILURES, _NIGHTLY)}
"""The views by name."""
