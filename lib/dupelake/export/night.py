"""The night that an export reads: the last complete one, as `dupelake.open` reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dupelake.config import TIERS
from dupelake.errors import ConfigError
from dupelake.export.questions import SHARED_URIS, in_no_group, members_of, parts_of, shared_names
from dupelake.notebook.questions import removable_of
from dupelake.report.last_run import options_in
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.rules import LAST_COMPLETE, LIVE

Row = dict[str, Any]


@dataclass(frozen=True)
class Night:
    """The tables of a night.

    Attributes:
        reader: of the tables, at the versions of the night.
        run: its id; None if no night is complete, and the newest tables are read.
        tiers: of the images that an export may call removable.
        n_later_verdicts: verdicts that were given after it, which its groups do not know.
    """

    reader: Reader
    run: str | None
    tiers: tuple[str, ...]
    n_later_verdicts: int

    def removable(self) -> Iterator[pa.RecordBatch]:
        """Rows of `removable_of`."""
        for part in parts_of(self.reader, "groups", "group_id"):
            yield from self.reader.batches_of(removable_of(part, self.tiers))

    def groups(self, named_by: str | None = None) -> Iterator[list[Row]]:
        """The members of each group as rows of `questions.members_of`, the keeper first."""
        for _, members in groupby(self._members(named_by), lambda row: row["group_id"]):
            yield list(members)

    def _members(self, named_by: str | None) -> Iterator[Row]:
        for part in parts_of(self.reader, "groups", "group_id"):
            for batch in self.reader.batches_of(members_of(part, self.tiers, named_by)):
                yield from batch.to_pylist()

    def in_no_group(self) -> Iterator[Row]:
        """Rows of `questions.in_no_group`."""
        for part in parts_of(self.reader, "images", "image_id", LIVE):
            for batch in self.reader.batches_of(in_no_group(part)):
                yield from batch.to_pylist()

    def shared_uris(self) -> set[str]:
        """URIs of several live images: few, unless whole sources are listed in several scopes."""
        return {uri for batch in self.reader.batches_of(SHARED_URIS) for uri in batch["uri"].to_pylist()}

    def removable_ids(self) -> pa.ChunkedArray:
        """The ids of the images that may go."""
        return pa.chunked_array([batch["image_id"] for batch in self.removable()], pa.string())

    def shared_names_that_stay(self, named_by: str | None) -> set[str]:
        """Names of several images, in lower case, of which one stays; `named_by` as in `questions.members_of`."""
        rows = self.reader.query(shared_names(named_by))
        if not rows.num_rows:
            return set()
        stays = pc.invert(pc.is_in(rows["image_id"], self.removable_ids()))
        return set(rows.filter(stays)["name"].to_pylist())


def night_of(warehouse: str, tier: str | None = None) -> Night:
    """The last complete night of a warehouse.

    Args:
        warehouse: the folder or object-store prefix of the tables.
        tier: images of this tier and of stricter ones only; None for all that its groups call removable.

    Raises:
        ConfigError: the groups call no image of this tier removable.
        NotFoundError: there is no warehouse.
    """
    newest = Reader(warehouse)
    found = newest.query(LAST_COMPLETE).to_pylist()
    reader = newest.at(dict(found[0]["tables"])) if found else newest
    if tier is not None and found:
        made_with = options_in(found[0]["config"]).cluster.removable
        if TIERS.index(tier) > TIERS.index(made_with):
            raise ConfigError(
                [
                    f"--tier {tier}: the last complete night ran with cluster.removable: {made_with}, and an export "
                    f"lists only what its groups call removable; run once with --set cluster.removable={tier}, or "
                    "leave --tier out"
                ]
            )
    tiers = TIERS if tier is None else TIERS[: TIERS.index(tier) + 1]
    n_verdicts = [one.query("SELECT count(*) AS n FROM decisions")["n"][0].as_py() for one in (newest, reader)]
    return Night(reader, found[0]["run_id"] if found else None, tiers, n_verdicts[0] - n_verdicts[1])
