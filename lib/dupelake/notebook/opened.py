"""An open warehouse: its tables, and the answers to the questions that people ask of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pyarrow as pa

from dupelake.errors import NotFoundError, QueryError
from dupelake.ingest.uris import plain_uri, text_uri
from dupelake.notebook import questions
from dupelake.notebook.frames import maker_of
from dupelake.notebook.why import answer_of
from dupelake.report.contact_sheet import draw_contact_sheet, sheet_groups
from dupelake.report.last_run import last_options
from dupelake.report.questions import groups_named, history_of, largest_groups, members_of, run_of
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.rules import LAST_COMPLETE

if TYPE_CHECKING:
    from PIL import Image

F = TypeVar("F")  # the form of its frames

_SHOWN = 10  # groups of a picture without names
_COLUMNS, _LINES = 7, 5  # of the members that a picture of one group shows


class OpenWarehouse(Generic[F]):
    """A warehouse, opened by `dupelake.open`. Rows come as frames of one form; nothing is written.

    The tables are those of one complete night, so they agree with each other while another night is at work. Open the
    warehouse again to see later nights. Before the first complete night they are the newest ones.

    Args:
        warehouse: the folder or object-store prefix of the tables.
        frames: arrow, pandas, polars or spark.
        run: the id of a complete night (`runs.run_id`); None for the last one.
        storage_options: of the object store, as delta-rs takes them; they go over the environment.

    Attributes:
        root: the folder or prefix.
        run: the id of the night whose tables are read; None if no night is complete.

    Raises:
        NotFoundError: there is no warehouse, or no such complete night.
        QueryError: no such form of frames.
        EnvironmentFault: the store cannot be read.
    """

    def __init__(
        self,
        warehouse: str | os.PathLike[str],
        frames: str = "arrow",
        run: str | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self._make = maker_of(frames)
        self._frames = frames
        newest = Reader(warehouse, storage_options=storage_options)
        found = newest.query(LAST_COMPLETE if run is None else run_of(run)).to_pylist()
        if run is not None and not found:
            raise NotFoundError(f"run {run}: no complete night has this id; the table runs lists them (run_id, tables)")
        self.root = newest.root
        self.run: str | None = found[0]["run_id"] if found else None
        self._reader = newest.at(dict(found[0]["tables"])) if found else newest

    def __repr__(self) -> str:
        night = "no night is complete yet" if self.run is None else f"run {self.run}"
        return f"<warehouse {self.root}, {night}, frames={self._frames!r}>"

    def table(self, name: str, columns: Iterable[str] | None = None, where: str | None = None) -> F:
        """Rows of any table (docs/design.md, section 4), or of a view (docs/sql.md).

        Args:
            name: the table, such as `hashes` or `runs`, or the view, such as `pairs_explained`.
            columns: names of columns; None for all.
            where: a condition in SQL, such as `"pdq_quality < 50"`.

        Raises:
            NotFoundError: there is no such table.
            QueryError: no such column, or a fault in `where`.
        """
        found = self._reader.table(name, columns, where, order=questions.ORDER.get(name))
        return self._frame(found)

    def sql(self, query: str) -> F:
        """The result of a SELECT over tables and views, in the SQL of DataFusion; docs/sql.md has some to begin with.

        >>> lake.sql("SELECT found_by, count(*) AS n FROM pairs WHERE kind = 'pixel' GROUP BY found_by").to_pylist()
        [{'found_by': 'pixel', 'n': 1}]

        Raises:
            QueryError: the query has a fault.
        """
        return self._frame(self._reader.query(query))

    def images(self, columns: Iterable[str] | None = None, where: str | None = None) -> F:
        """One row per image that a manifest named, by image_id; those that failed or are gone too.

        >>> lake.images(["uri", "reason"], where="status = 'failed'").num_rows
        3

        Args:
            columns: names of columns; None for all.
            where: a condition in SQL.
        """
        return self.table("images", columns, where)

    def pairs(self, columns: Iterable[str] | None = None, where: str | None = None) -> F:
        """One row per measured pair of contents, with its evidence; `where="is_duplicate"` gives the accepted ones."""
        return self.table("pairs", columns, where)

    def groups(self, columns: Iterable[str] | None = None, where: str | None = None) -> F:
        """One row per image in a duplicate group: the largest groups first, each with its keeper first."""
        return self.table("groups", columns, where)

    def removable(self) -> F:
        """The images that may go, each with the keeper that stays.

        They are the rows of the view `removable`. `freed_bytes` is the size of the file, and 0 for its further names,
        so that its sum is what removal frees.

        >>> lake.removable().column_names
        ['image_id', 'uri', 'group_id', 'keeper_id', 'keeper_uri', 'tier', 'kind', 'score_to_keeper', 'reason', \
'byte_size', 'freed_bytes', 'partition', 'scope']
        """
        return self._frame(self._reader.query(questions.REMOVABLE))

    def why(self, a: str, b: str) -> F:
        """Why two images are copies, or are not: one row.

        Args:
            a: image_id or uri.
            b: image_id or uri of another image.

        Returns:
            `answer`, the reason in words; of both images id, uri, group, relation and the reason of their place in the
            group (`other_` for `b`); then the columns of `pairs`, null where the two were never measured. A pair is
            stored for one content of equal pixels, so src_id and dst_id may be contents of other files.

        Raises:
            NotFoundError: no image has this name.
            QueryError: several images have this uri.
        """
        one, other = self._image(a), self._image(b)
        digests = [image["pixel_digest"] for image in (one, other)]
        if None in digests:
            pairs = self._reader.table("pairs", where="false")  # its columns, without a row
        else:
            pairs = self._reader.query(questions.pair_of([one["content_id"], other["content_id"]], digests))
        scope = last_options(self._reader).lsh.scope
        measured = pairs.to_pylist()
        answer = answer_of(one, other, measured[0] if measured else None, is_scoped=scope == "within")
        columns = {"answer": pa.array([answer])}
        for image, prefix in ((one, ""), (other, "other_")):
            for name in ("image_id", "uri", "group_id", "relation", "reason"):
                columns[prefix + name] = pa.array([image[name]], pa.string())
        for field in pairs.schema:
            columns[field.name] = pairs[field.name] if measured else pa.nulls(1, field.type)
        return self._frame(pa.table(columns))

    def history(self, group: str) -> F:
        """What happened to a group and its images, the oldest first.

        Args:
            group: the group_id, of a present or past group, or its beginning.

        Returns:
            One row per event: sequence, changed_at, run_id, group_id, event, image_id, is_keeper, other_group_id,
            n_images. Events of groups (image_id is null): born, grew, shrank, merged_into, split_from, ended. Events of
            images: entered, left (`other_group_id` is where it came from, or went), became_keeper, was_keeper.

        Raises:
            NotFoundError: no group has such an id.
            QueryError: several groups have ids that begin so.
        """
        last = self._reader.last_sequence("groups")
        return self._frame(self._reader.query(history_of(self._group(group), last)))

    def show(self, *groups: str) -> Image.Image:
        """A picture of groups, made of the stored thumbnails; a notebook shows it, and `save` writes it to a file.

        Args:
            groups: ids of present groups, or their beginnings. Without any, the ten largest, with seven images each.

        Returns:
            A PIL image: at most 35 images of each group, the keeper first (green), removable copies in red.

        Raises:
            NotFoundError: there is no such group now.
        """
        ids = [self._group(name) for name in groups]
        lines = _LINES
        if not groups:
            lines = 1
            ids = self._reader.query(largest_groups(_SHOWN))["group_id"].to_pylist()
        rows = self._reader.query(members_of(ids, lines * _COLUMNS)).to_pylist()
        drawn = sheet_groups(rows)
        ended = set(ids) - {group.group_id for group in drawn}
        if ended:
            raise NotFoundError(f"group {sorted(ended)[0]}: it has ended; `history` says when and why")
        title = f"{len(drawn)} of the largest groups" if not groups else "dupelake"
        return draw_contact_sheet(drawn, title, _COLUMNS, lines)

    def _frame(self, table: pa.Table) -> F:
        frame: F = self._make(table)
        return frame

    def _group(self, name: str) -> str:
        """The id of the only group, present or past, whose id is or begins with `name`."""
        found = self._reader.query(groups_named(name))["group_id"].to_pylist()
        if not found or not name:
            raise NotFoundError(f"group {name!r}: no group has an id that begins so; `groups` lists those of now")
        if len(found) > 1 and name not in found:
            raise QueryError(f"group {name!r}: several groups have an id that begins so; give more of it")
        return name if name in found else str(found[0])

    def _image(self, name: str) -> dict[str, Any]:
        """The row of `questions.images_named` of the image with this id, or else with this uri."""
        name = text_uri(name)
        plain = plain_uri(name)
        uris = {name, plain, *([Path(plain).as_uri(), f"file:{plain}"] if plain.startswith("/") else [])}
        found: list[dict[str, Any]] = self._reader.query(questions.images_named(name, sorted(uris))).to_pylist()
        if not found:
            raise NotFoundError(f"image {name!r}: no image has this image_id or uri; `images` lists them")
        if len(found) > 1 and found[0]["image_id"] != name:
            raise QueryError(f"image {name!r}: several images have this uri; give the image_id of one")
        return found[0]
