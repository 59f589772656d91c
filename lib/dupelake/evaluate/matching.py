"""Match images of a truth file to rows of `images`: by id, by uri, or by the end of the uri's path."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from dupelake.ingest.uris import local_path
from dupelake.warehouse.scratch import Scratch

# Names are of this module, and texts are its own.
# ruff: noqa: S608

MATCHED, NONE, SEVERAL, AGAIN = "matched", "no image", "several images", "named twice"
_IMAGE_ID, _URI, _PATH, _END = range(4)  # ways to match, the most exact first
_WAYS = {
    "auto": (_IMAGE_ID, _URI, _PATH, _END),
    "image_id": (_IMAGE_ID,),
    "uri": (_URI, _PATH),
    "name": (_PATH, _END),
}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def plain_path(name: str) -> str:
    """The path of a name or uri without scheme and without a leading `/` or `./`; equals `_PATH_OF` in SQL."""
    path = local_path(name)
    if path is None:
        path = _SCHEME.sub("", name, count=1)
    return re.sub(r"^(\.?/+)+", "", path)


def match_names(scratch: Scratch, names: pa.Table, by: str) -> None:
    """Find the image of each name; makes the table `matched`.

    A name is tried as image_id, as uri, as whole path and as end of a path (whole components), in this order. The first
    way that finds any image counts, and it must find exactly one. If several names match one image, the first name in
    the file gets it.

    `matched` has the columns of `names`, with image_id (null unless matched), outcome (one of the four words above) and
    n_images (the number of images found). One row per name.

    Args:
        scratch: with the table `present` (image_id, uri, ...), each image once.
        names: `Truth.names`.
        by: auto, image_id, uri or name; values other than `auto` allow only some of the ways.

    Cost: an equi-join on keys; each image gives one key for each way and each depth of path that the names have.
    """
    ways = _WAYS[by]
    paths = [plain_path(name) for name in names["name"].to_pylist()]
    depths = sorted({path.count("/") + 1 for path in paths})
    scratch.put("sought", names.append_column("path", pa.array(paths, pa.string())))
    is_escaped = f"{_IS_FILE} AND strpos(uri, '%') > 0"  # SQL cannot decode these
    escaped = scratch.query(f"SELECT DISTINCT uri FROM present WHERE {is_escaped}")["uri"].to_pylist()
    decoded = [plain_path(uri) for uri in escaped]
    scratch.put_texts("decoded", uri=escaped, path=decoded)
    scratch.make("matched", _matched(ways, depths, names.column_names))


def count_outcomes(scratch: Scratch) -> dict[str, int]:
    """Number of names by outcome; all four outcomes are keys."""
    rows = scratch.query("SELECT outcome, count(*) AS n FROM matched GROUP BY outcome").to_pylist()
    return dict.fromkeys((MATCHED, NONE, SEVERAL, AGAIN), 0) | {row["outcome"]: row["n"] for row in rows}


def match_pairs(scratch: Scratch, pairs: pa.Table) -> None:
    """Make the table `listed`: the pairs of a truth between matched images (a, b, verdict, relation), a < b."""
    scratch.put("truth_pairs", pairs)
    known = f"SELECT name, image_id FROM matched WHERE outcome = '{MATCHED}'"
    scratch.make(
        "listed",
        f"""WITH known AS ({known})
        SELECT least(x.image_id, y.image_id) AS a, greatest(x.image_id, y.image_id) AS b, t.verdict, t.relation
        FROM truth_pairs t JOIN known x ON x.name = t.a JOIN known y ON y.name = t.b""",
    )


_IS_FILE = "regexp_like(uri, '^file:(//[^/]*/|/([^/]|$))', 'i')"
_PATH_OF = f"""regexp_replace(CASE
    WHEN {_IS_FILE} THEN regexp_replace(uri, '^file:(//[^/]*)?', '', 'i')
    ELSE regexp_replace(uri, '^[A-Za-z][A-Za-z0-9+.\\-]*://', '')
END, '^(\\.?/+)+', '')"""
"""`plain_path` of a uri without escapes."""


def _matched(ways: Sequence[int], depths: Sequence[int], columns: Sequence[str]) -> str:
    sought = {_IMAGE_ID: "name", _URI: "name", _PATH: "path", _END: "path"}
    found = {_IMAGE_ID: ["image_id"], _URI: ["uri"], _PATH: ["path"]}
    found[_END] = [
        f"CASE WHEN array_length(parts) >= {n} THEN array_to_string(array_slice(parts, -{n}, -1), '/') END"
        for n in depths
    ]
    asked = " UNION ALL ".join(f"SELECT name, {way} AS way, {sought[way]} AS key FROM sought" for way in ways)
    keys = " UNION ALL ".join(
        f"SELECT {way} AS way, {key} AS key, image_id FROM paths WHERE {key} IS NOT NULL"
        for way in ways
        for key in found[way]
    )
    own = ", ".join(f"s.{name}" for name in columns)
    return f"""WITH plain AS (
      SELECT p.image_id, p.uri, coalesce(d.path, p.path) AS path
      FROM (SELECT image_id, uri, {_PATH_OF} AS path FROM present) p LEFT JOIN decoded d ON d.uri = p.uri
    ),
    paths AS (SELECT image_id, uri, path, string_to_array(path, '/') AS parts FROM plain),
    asked AS ({asked}),
    keys AS ({keys}),
    found AS (
      SELECT name, way, count(DISTINCT image_id) AS n_images, min(image_id) AS image_id
      FROM asked JOIN keys USING (way, key) GROUP BY name, way
    ),
    best AS (
      SELECT name, n_images, image_id FROM (
        SELECT *, row_number() OVER (PARTITION BY name ORDER BY way) AS place FROM found
      ) WHERE place = 1
    ),
    tried AS (
      SELECT {own}, coalesce(b.n_images, 0) AS n_images, b.image_id,
        row_number() OVER (
          PARTITION BY coalesce(CASE WHEN b.n_images = 1 THEN 'i/' || b.image_id END, 'n/' || s.name)
          ORDER BY s.row, s.name
        ) AS place
      FROM sought s LEFT JOIN best b ON b.name = s.name
    ),
    told AS (
      SELECT *, CASE
        WHEN n_images = 0 THEN '{NONE}' WHEN n_images > 1 THEN '{SEVERAL}' WHEN place > 1 THEN '{AGAIN}'
        ELSE '{MATCHED}' END AS outcome
      FROM tried
    )
    SELECT {", ".join(columns)}, outcome, n_images, CASE WHEN outcome = '{MATCHED}' THEN image_id END AS image_id
    FROM told"""
