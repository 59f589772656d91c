"""The questions of `dupelake report` and of the contact sheet, as SQL of DataFusion."""

from __future__ import annotations

from collections.abc import Sequence

from dupelake.warehouse.reader import quoted, quoted_list
from dupelake.warehouse.rules import COMPLETE, DECIDING, FAILING, FILE_ID, LIVE, MEMBER_ORDER, SUCCEEDED

# Names are of the schema, and texts are quoted.
# ruff: noqa: S608

BY_REASON = """
SELECT CASE WHEN deleted_at IS NOT NULL THEN 'gone' ELSE coalesce(reason, 'ok') END AS reason, count(*) AS n
FROM images GROUP BY 1 ORDER BY 1
"""
BY_KIND = "SELECT kind, count(*) AS n FROM pairs WHERE is_duplicate GROUP BY kind ORDER BY kind"
IMAGES_BY_STATE = f"""
SELECT count(*) AS named, count(*) FILTER (WHERE {LIVE}) AS live,
       count(*) FILTER (WHERE {FAILING}) AS failed,
       count(*) FILTER (WHERE deleted_at IS NOT NULL) AS gone,
       (SELECT coalesce(sum(size), 0)
        FROM (SELECT max(byte_size) AS size FROM images WHERE {LIVE} GROUP BY content_id, {FILE_ID})) AS live_bytes
FROM images
"""
"""How many images are live, failed and gone; `live_bytes` counts each file once."""

PAIRS_BY_KIND = """
SELECT coalesce(kind, 'other') AS kind, is_duplicate, count(*) AS n FROM pairs
GROUP BY 1, 2 ORDER BY is_duplicate DESC, n DESC, kind
"""


def failures(n_examples: int) -> str:
    """Failed images that are not gone: (reason, n, uri, error_message), the first images of each reason."""
    return f"""
SELECT reason, n, image_id, uri, error_message FROM (
  SELECT reason, image_id, uri, error_message, count(*) OVER (PARTITION BY reason) AS n,
         row_number() OVER (PARTITION BY reason ORDER BY image_id) AS place
  FROM images WHERE {FAILING}
) WHERE place <= {n_examples} ORDER BY n DESC, reason, place
"""


def scores(n_bins: int) -> str:
    """The measured pairs by score: (bin, is_duplicate, n); bin 0 begins at 0, and the last one includes 1."""
    return f"""
SELECT CAST(least(floor(score * {n_bins}), {n_bins - 1}) AS INT) AS bin, is_duplicate, count(*) AS n
FROM pairs GROUP BY 1, 2 ORDER BY 1, 2
"""


def listed_groups(n_groups: int, n_members: int, n_all: int) -> str:
    """(group_id, scope, group_size) of the largest groups.

    Args:
        n_groups: at most so many groups.
        n_members: of each group so many images are listed at most,
        n_all: and so many of all groups together.
    """
    return f"""
SELECT group_id, scope, group_size FROM (
  SELECT group_id, scope, group_size, sum(least(group_size, {n_members})) OVER (
    ORDER BY group_size DESC, group_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS until
  FROM groups WHERE is_keeper
) WHERE until <= {n_all} ORDER BY group_size DESC, group_id LIMIT {n_groups}
"""


def one_group(group_id: str) -> str:
    """(group_id, scope, group_size) of this group, as `listed_groups`."""
    return f"SELECT group_id, scope, group_size FROM groups WHERE is_keeper AND group_id = {quoted(group_id)}"


def listed_members(groups: str, n_members: int) -> str:
    """The images of the groups of a query `listed_groups`, in its order: what a page shows of each."""
    return f"""
SELECT g.group_id, g.image_id, g.content_id, g.relation, g.is_removable, g.tier, g.compared_with, g.score_to_keeper,
       g.kind, g.reason, i.uri, i.width_px, i.height_px, i.byte_size, i.format
FROM (
  SELECT m.*, row_number() OVER (PARTITION BY m.group_id ORDER BY {MEMBER_ORDER}) AS place
  FROM groups m WHERE m.group_id IN (SELECT group_id FROM ({groups}))
) g
JOIN images i ON i.image_id = g.image_id
WHERE g.place <= {n_members}
ORDER BY g.group_size DESC, g.group_id, g.place
"""


def pairs_of_group(group_id: str) -> str:
    """For each member of a group with other pixels than the image it was compared with: image_id, and their pair.

    Equal pixels are measured once, so the pair may be stored for other contents with the pixels of these.
    """
    return f"""
SELECT m.image_id, p.* FROM groups m
JOIN groups o ON o.image_id = m.compared_with
JOIN hashes hm ON hm.content_id = m.content_id
JOIN hashes ho ON ho.content_id = o.content_id
JOIN hashes am ON am.pixel_digest = hm.pixel_digest
JOIN hashes ao ON ao.pixel_digest = ho.pixel_digest
JOIN pairs p ON p.src_id = least(am.content_id, ao.content_id) AND p.dst_id = greatest(am.content_id, ao.content_id)
WHERE m.group_id = {quoted(group_id)} AND hm.pixel_digest <> ho.pixel_digest
"""


def changed_groups(run_id: str) -> str:
    """(group_id, event) of the groups that this run made or changed: the first of born, split_from, grew, shrank."""
    rank = "CASE event WHEN 'born' THEN 1 WHEN 'split_from' THEN 2 WHEN 'grew' THEN 3 ELSE 4 END"
    return f"""
SELECT group_id, event FROM (
  SELECT group_id, event, row_number() OVER (PARTITION BY group_id ORDER BY {rank}) AS place FROM group_changes
  WHERE run_id = {quoted(run_id)} AND event IN ('born', 'split_from', 'grew', 'shrank')
) WHERE place = 1
"""


def thumbnails_of(contents: Sequence[str]) -> str:
    """(content_id, bytes) of these contents."""
    return f"SELECT content_id, bytes FROM thumbnails WHERE content_id IN {quoted_list(contents)}"


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


def last_run(until: str | None = None) -> str:
    """The newest run: (job, run_id, status, started_at). `until` is the id of the run at which to stop."""
    return f"SELECT job, run_id, status, started_at FROM runs WHERE {_until(until)} ORDER BY started_at DESC LIMIT 1"


def last_recall(until: str | None = None) -> str:
    """The newest run that measured its recall: (run_id, started_at, recall)."""
    return f"""
SELECT run_id, started_at, recall FROM runs WHERE recall IS NOT NULL AND {_until(until)}
ORDER BY started_at DESC LIMIT 1
"""


def last_config(until: str | None = None) -> str:
    """(config) of the newest run that succeeded and made tables."""
    return f"""
SELECT config FROM runs WHERE {SUCCEEDED} AND {DECIDING} AND {_until(until)} ORDER BY started_at DESC LIMIT 1
"""


def last_complete(until: str | None = None) -> str:
    """(run_id) of the last complete night."""
    return f"SELECT run_id FROM runs WHERE {COMPLETE} AND {_until(until)} ORDER BY started_at DESC LIMIT 1"


def runs_until(until: str | None, n: int) -> str:
    """The last `n` runs, the newest first."""
    return f"""
SELECT run_id, job, status, started_at, finished_at, counts, error_message FROM runs WHERE {_until(until)}
ORDER BY started_at DESC LIMIT {n}
"""


def _until(run_id: str | None) -> str:
    """The condition on `runs` that leaves out what started after this run."""
    return "true" if run_id is None else f"started_at <= (SELECT started_at FROM runs WHERE run_id = {quoted(run_id)})"


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
