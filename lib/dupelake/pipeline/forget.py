"""Forget images by hand: they leave pairs and groups, and stay away whatever still lists them.

Nothing on disk is touched but, with --purge, what the warehouse itself keeps of their pictures (docs/removals.md).
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import DataFrame

from dupelake.csv_cells import unescape
from dupelake.errors import ConfigError
from dupelake.ingest.removals_stage import forgotten, marked, unknown, without_live_image
from dupelake.pipeline import cluster, lsh_join
from dupelake.pipeline.common import job_parser, run_job
from dupelake.runtime.run_record import Run
from dupelake.warehouse.paths import known_local
from dupelake.warehouse.schema import EMBEDDINGS, FEATURES, HASHES, IMAGES, JOIN_KEYS, JOINED, THUMBNAILS

log = logging.getLogger(__name__)

# What shows or describes a picture. Hashes last: killed before them, the next purge finds what is left by each table.
CONTENT_TABLES = (JOIN_KEYS, THUMBNAILS, EMBEDDINGS, FEATURES, HASHES)
_NAMED = 5  # unknown images that the message names
_CHANGED = "NOT (t.deleted_at <=> s.deleted_at) OR NOT (t.deleted_reason <=> s.deleted_reason)"


def body(run: Run, args: argparse.Namespace) -> None:
    """Mark the images, purge when asked to, and take them out of pairs and groups at once.

    At once, because a group whose keeper is taken down tonight must not have its copies removed for its sake today.
    """
    args.full = False
    # Images that may come back are read by a later night; until then nothing changes for the join.
    is_joined = not args.undo and not run.warehouse.read(JOINED).isEmpty()
    if is_joined:
        lsh_join.check_versions(run, full=False)  # refused before anything changes
    _forget(run, args)
    if args.purge:
        with run.step("purge"):
            _purge(run)
    if is_joined:
        lsh_join.body(run, args)
        cluster.body(run, args)
    if args.purge:
        print(_vacuum_advice(run), flush=True)  # noqa: T201


def _forget(run: Run, args: argparse.Namespace) -> None:
    with run.step("forget"):
        images = run.warehouse.read(IMAGES)
        named = run.staging.save(_named(run, args), "named")
        run.count("named", named.count())
        change = run.staging.save(forgotten(images, named, undo=args.undo), "change")
        rows = run.staging.save(marked(images, change, run.started_at), "marked")
        run.warehouse.merge(IMAGES, rows, update_when=_CHANGED)
        run.count("undone" if args.undo else "forgotten", change.count())
        missing = run.staging.save(unknown(images, named), "unknown")
        run.count("unknown", missing.count())
    if run.counts["unknown"]:
        some = [row["image_id"] or row["uri"] for row in missing.orderBy("image_id", "uri").limit(_NAMED).collect()]
        n_known = run.counts["named"] - run.counts["unknown"]
        run.gate_faults.append(
            f"{run.counts['unknown']} of the {run.counts['named']} names given are of no image in the warehouse, such "
            f"as {', '.join(some)}; " + (f"the other {n_known} are done" if n_known else "nothing was changed")
        )


def _purge(run: Run) -> None:
    images = run.warehouse.read(IMAGES)
    for table in CONTENT_TABLES:
        stored = run.warehouse.read(table)
        gone = run.staging.save(without_live_image(stored, images).select(*table.key), "purged")
        report = run.warehouse.merge(table, stored.limit(0), delete=gone)
        run.count(f"purged.{table.name}", report.deleted)


def _vacuum_advice(run: Run) -> str:
    paths = [run.warehouse.path(table) for table in CONTENT_TABLES]
    vacuum = "\n".join(f"    VACUUM delta.`{path}` RETAIN 0 HOURS;" for path in paths)
    versions = ", ".join(
        f"{table.name} before version {run.warehouse.version(table)}"
        for table in CONTENT_TABLES
        if run.counts[f"purged.{table.name}"]
    )
    return (
        "\nThe rows are purged, their old files are not: until VACUUM removes those, time travel still gives what was "
        f"purged{f' ({versions})' if versions else ''}.\nWhen nothing else reads or writes the warehouse, at once:\n"
        f"    SET spark.databricks.delta.retentionDurationCheck.enabled = false;\n{vacuum}\n"
        "Else the same without the first line and without RETAIN 0 HOURS once the tables' retention (7 days) is over.\n"
        f"Folders of killed runs under {run.warehouse.root}/_staging, backups, and the image files are yours to remove."
    )


def _named(run: Run, args: argparse.Namespace) -> DataFrame:
    rows: list[tuple[str | None, str | None]] = [(image_id, None) for image_id in args.image]
    rows += [(None, uri) for uri in args.uri]
    for path in args.csv:
        rows += _read_csv(path)
    return run.warehouse.spark.createDataFrame(sorted(set(rows), key=str), "image_id string, uri string")


def _read_csv(path: str) -> list[tuple[str | None, str | None]]:
    """(image_id, None) or (None, uri) of each row; an id wins over a URI.

    Raises:
        ValueError: no such columns, or a row that names nothing.
        OSError: it cannot be read.
    """
    rows: list[tuple[str | None, str | None]] = []
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
        if not columns.keys() & {"image_id", "uri"}:
            raise ValueError(f"has neither a column image_id nor uri, but {reader.fieldnames}")
        for row in reader:
            image_id = unescape((row.get(columns.get("image_id", "")) or "").strip())
            uri = unescape(row.get(columns.get("uri", "")) or "")
            if not image_id and not uri.strip():
                raise ValueError(f"names no image in line {reader.line_num}")
            rows.append((image_id, None) if image_id else (None, uri))
    return rows


def check(args: argparse.Namespace) -> list[str]:
    """What is wrong with the options of this job; each with its fix."""
    faults = []
    if not (args.image or args.uri or args.csv):
        faults.append("--image, --uri, --csv: none is given; name the images to forget by one of them")
    if args.purge and args.undo:
        faults.append("--undo: what is purged cannot come back without being read again; give it without --purge")
    for path in args.csv:
        try:
            _read_csv(path)
        except (OSError, ValueError, csv.Error) as error:
            faults.append(f"--csv {path}: {error}; give a CSV with a header and a column image_id or uri")
    try:
        folder = known_local(args.warehouse, dict(item.split("=", 1) for item in args.spark if "=" in item))
    except ConfigError:
        folder = None  # told with the other faults
    if folder is not None and not os.path.isdir(os.path.join(folder, IMAGES.name)):
        faults.append(f"--warehouse {args.warehouse}: holds no table {IMAGES.name}; give the folder of a warehouse")
    return faults


def parser(prog: str = "forget.py") -> argparse.ArgumentParser:
    """The options of this job."""
    made = job_parser(prog, __doc__ or "", manifests=False)
    for name, word, text in (
        ("--image", "ID", "the image with this image_id"),
        ("--uri", "URI", "every image with this uri, in all scopes and spellings"),
        ("--csv", "FILE", "images by a column image_id or uri"),
    ):
        made.add_argument(name, action="append", default=[], metavar=word, help=f"{text}; may be repeated")
    made.add_argument(
        "--purge",
        action="store_true",
        help="also delete thumbnails, features, embeddings, keys, hashes that no image needs",
    )
    made.add_argument("--undo", action="store_true", help="let them come back when a manifest lists them again")
    made.set_defaults(check=check)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/forget.py."""
    return run_job("forget", parser(), body, argv)
