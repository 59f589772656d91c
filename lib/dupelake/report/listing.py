"""The groups that the report lists, as columns for the script of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupelake.config import TIERS
from dupelake.errors import NotFoundError, QueryError
from dupelake.group.totals import may_go_by_group, totals_of
from dupelake.report import questions
from dupelake.runtime.redaction import redact_uris
from dupelake.verify.in_words import evidence_lines
from dupelake.warehouse.reader import Reader

MEMBERS_LISTED = 50  # of a group, on the page of a warehouse
MEMBERS_OF_ONE = 1000  # on the page of one group
ALL_LISTED = 60_000  # of all groups together
_CUT_CHARS = 500  # of a path or reason; longer ones lose their middle


@dataclass(frozen=True)
class Listing:
    """Groups, and the images of each, in the order of the page.

    Attributes:
        groups: group_id, scope, group_size, n_listed (images that are listed), event (of the last night; null), and
            the columns of `may_go_by_group`.
        members: the columns of `questions.listed_members`; the images of one group follow each other, keeper first.
        n_groups: groups of the warehouse, listed or not.
        measures: lines of the evidence by image_id, where they are told.
    """

    groups: pa.Table
    members: pa.Table
    n_groups: int
    measures: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def first(self, n: int) -> Listing:
        """The first `n` groups."""
        groups = self.groups.slice(0, n)
        members = self.members.slice(0, pc.sum(groups["n_listed"]).as_py() or 0)
        return replace(self, groups=groups, members=members)


def read_listing(reader: Reader, n_groups: int, night: str | None) -> Listing:
    """The `n_groups` groups of most images (ties by id).

    Args:
        reader: of the tables.
        n_groups: at most so many.
        night: the run whose changes are told; None for none.
    """
    sql = questions.listed_groups(n_groups, MEMBERS_LISTED, ALL_LISTED)
    return _listing(reader, sql, MEMBERS_LISTED, night)


def read_group(reader: Reader, name: str, night: str | None) -> Listing:
    """One group, by its id or the beginning of its id.

    Raises:
        NotFoundError: no group has such an id now.
        QueryError: several groups have ids that begin so.
    """
    found = reader.query(questions.groups_named(name))["group_id"].to_pylist()
    if not found or not name:
        raise NotFoundError(f"--group {name}: no group has an id that begins so")
    if len(found) > 1 and name not in found:
        raise QueryError(f"--group {name}: several groups have an id that begins so; give more of it")
    group_id = name if name in found else str(found[0])
    listing = _listing(reader, questions.one_group(group_id), MEMBERS_OF_ONE, night)
    if not listing.groups.num_rows:
        raise NotFoundError(f"--group {name}: it has ended; `dupelake.open(...).history` says when and why")
    pairs = reader.query(questions.pairs_of_group(group_id)).to_pylist()  # at most one a member
    return replace(listing, measures={pair["image_id"]: evidence_lines(pair) for pair in pairs})


def _listing(reader: Reader, sql: str, n_members: int, night: str | None) -> Listing:
    groups, members = reader.query(sql), reader.query(questions.listed_members(sql, n_members))
    ids = groups["group_id"]
    listed = pc.value_counts(members["group_id"])
    by_group = {"n_listed": (listed.field("values"), listed.field("counts"))}
    sizes = reader.query(may_go_by_group())
    for name in [*(f"{tier}_bytes" for tier in TIERS), "removable_bytes"]:
        by_group[name] = sizes["group_id"], sizes[name]
    for name, (keys, values) in by_group.items():
        groups = groups.append_column(name, pc.fill_null(_looked_up(ids, keys, values), 0))
    changed = reader.query(questions.changed_groups(night)) if night else None
    event = _looked_up(ids, changed["group_id"], changed["event"]) if changed else pa.nulls(len(ids), pa.string())
    (totals,) = reader.query(totals_of()).to_pylist()
    return Listing(groups.append_column("event", event), members, totals["groups"])


def _looked_up(ids: Any, keys: Any, values: Any) -> Any:
    """The value of each id; null where there is none."""
    return pc.take(values, pc.index_in(ids, value_set=_whole(keys)))


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def columns_of(listing: Listing) -> dict[str, Any]:
    """The groups and images as lists for JSON, one a column.

    A text with few values is `words`, each once, and `codes`, their places; null is -1. `compared` is the place of the
    image of the same group that a member was compared with, -1 where it is not listed. URIs carry no secrets.
    `measures` is empty where none are told.
    """
    groups, members = listing.groups, listing.members
    ends = np.cumsum(groups["n_listed"].to_numpy())
    starts = np.repeat(ends - groups["n_listed"].to_numpy(), groups["n_listed"].to_numpy())
    compared = pc.fill_null(pc.index_in(members["compared_with"], value_set=_whole(members["image_id"])), -1).to_numpy()
    place = compared - starts  # in the group; below 0 where the image is not listed, or in another group
    return {
        "groups": {
            "id": groups["group_id"].to_pylist(),
            "scope": _coded(groups["scope"]),
            "size": groups["group_size"].to_pylist(),
            "listed": groups["n_listed"].to_pylist(),
            "event": _coded(groups["event"]),
            "frees": [groups[f"{tier}_bytes"].to_pylist() for tier in TIERS],
            "goes": groups["removable_bytes"].to_pylist(),
        },
        "members": {
            "id": members["image_id"].to_pylist(),
            "uri": [_cut(redact_uris(uri)) for uri in members["uri"].to_pylist()],
            "relation": _coded(members["relation"]),
            "removable": pc.cast(members["is_removable"], pa.int8()).to_pylist(),
            "tier": _coded(members["tier"]),
            "kind": _coded(members["kind"]),
            "score": pc.round(members["score_to_keeper"], 3).to_pylist(),
            "compared": np.maximum(np.where(compared < 0, -1, place), -1).tolist(),
            "width": members["width_px"].to_pylist(),
            "height": members["height_px"].to_pylist(),
            "bytes": members["byte_size"].to_pylist(),
            "format": _coded(members["format"]),
            "measures": [listing.measures.get(image) for image in members["image_id"].to_pylist()]
            if listing.measures
            else [],
            "reason": [_cut(reason) for reason in members["reason"].to_pylist()],
        },
    }


def _coded(column: Any) -> dict[str, Sequence[Any]]:
    coded = _whole(column.dictionary_encode())
    return {"words": coded.dictionary.to_pylist(), "codes": pc.fill_null(coded.indices, -1).to_pylist()}


def _cut(text: str) -> str:
    half = _CUT_CHARS // 2
    return text if len(text) <= _CUT_CHARS else f"{text[:half]} … {text[-half:]}"
