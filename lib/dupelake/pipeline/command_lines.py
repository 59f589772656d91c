"""The command lines of the jobs: parsers, and the options made from parsed arguments (no `Namespace` elsewhere)."""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from dupelake.config import Config, load_config
from dupelake.csv_cells import read_rows, unescape
from dupelake.errors import ConfigError
from dupelake.ingest.uris import local_path
from dupelake.pipeline.arguments import Parser, add_spark, spark_settings
from dupelake.pipeline.options import ForgetOptions, FullOption, HashOptions, MaintainOptions
from dupelake.profiles import BALANCED, PROFILES
from dupelake.warehouse.paths import known_local

_IMAGES = "images"  # warehouse/schema.py imports Spark
MIN_RETAIN_HOURS = 168.0  # Delta's own limit: readers and time travel may need the files of a week

O = TypeVar("O")  # noqa: E741 - as in pipeline.job
Faults = list[str]  # faults of a command line, each with its fix


@dataclass(frozen=True)
class Command(Generic[O]):
    """The command line of one job.

    Attributes:
        parser: parses the arguments.
        options: makes the options of the job from the parsed arguments, and adds faults to the given list.
    """

    parser: argparse.ArgumentParser
    options: Callable[[argparse.Namespace, Faults], O]

    def parse(self, argv: Sequence[str] | None = None) -> Parsed[O]:
        """Parse `argv`, or the arguments of the process. On a fault the process exits with code 2."""
        return Parsed(self, self.parser.parse_args(sys.argv[1:] if argv is None else argv))


@dataclass(frozen=True)
class Parsed(Generic[O]):
    """A command line that was parsed and not yet checked."""

    command: Command[O]
    args: argparse.Namespace

    @property
    def addresses(self) -> list[str]:
        """The given manifests and the given warehouse."""
        return [*getattr(self.args, "paths", ()), self.args.warehouse]

    @property
    def settings(self) -> dict[str, str]:
        """Spark settings, not checked."""
        return spark_settings(self.args.spark, [])

    def config(self) -> Config | None:
        """The configuration; None if it has faults."""
        try:
            return load_config(self.args.config, self.args.sets, self.args.profile)
        except ConfigError:
            return None

    def check(self, *, is_written: bool = True) -> Checked[O]:
        """Check the command line. `is_written` says whether the job writes the warehouse.

        Raises:
            ConfigError: names all faults at once.
        """
        args, faults, config = self.args, Faults(), Config()
        try:
            config = load_config(args.config, args.sets, args.profile)
        except ConfigError as error:
            faults += error.faults
        settings = spark_settings(args.spark, faults)
        options = self.command.options(args, faults)
        faults += faults_of_warehouse(args.warehouse, settings, is_written=is_written)
        if faults:
            raise ConfigError(faults)
        return Checked(config, args.warehouse, settings, options)


@dataclass(frozen=True)
class Checked(Generic[O]):
    """A command line without faults.

    Attributes:
        config: the configuration.
        warehouse: folder or prefix of the tables.
        settings: Spark settings.
        options: options of the job.
    """

    config: Config
    warehouse: str
    settings: dict[str, str]
    options: O


def manifest_command(prog: str, description: str) -> Command[HashOptions]:
    """The command line of the jobs that read manifests: hash, nightly and plan."""
    parser = Parser(prog=prog, description=description)
    parser.add_argument(
        "paths",
        nargs="+",
        type=os.path.expanduser,
        metavar="PATH",
        help="manifest (CSV, JSON, Parquet, Delta), archive (tar, ZIP), or folder of images, manifests or archives",
    )
    parser.add_argument("--partitions", metavar="A,B", help="only these partitions of the manifest")
    parser.add_argument("--since", metavar="PARTITION", help="only partitions from this one on (text order)")
    parser.add_argument(
        "--listing",
        action="store_true",
        help="the manifests list everything that exists: covered images that they lack are gone (docs/removals.md)",
    )
    _add_full(parser)
    add_common(parser)
    return Command(parser, _hash_options)


def full_command(prog: str, description: str) -> Command[FullOption]:
    """The command line of a job with the option --full."""
    parser = Parser(prog=prog, description=description)
    _add_full(parser)
    add_common(parser)
    return Command(parser, lambda args, _: FullOption(args.full))


def cluster_command(prog: str, description: str) -> Command[None]:
    """The command line of the cluster job."""
    parser = Parser(prog=prog, description=description)
    add_common(parser)
    return Command(parser, lambda *_: None)


def maintain_command(prog: str, description: str) -> Command[MaintainOptions]:
    """The command line of the maintain job."""
    parser = Parser(prog=prog, description=description)
    add_common(parser)
    parser.add_argument(
        "--retain-hours",
        type=_hours,
        default=MIN_RETAIN_HOURS,
        metavar="N",
        help="keep files of table versions of the last N hours (default and minimum: 168, a week)",
    )
    return Command(parser, _maintain_options)


def forget_command(prog: str, description: str) -> Command[ForgetOptions]:
    """The command line of the forget job."""
    parser = Parser(prog=prog, description=description)
    add_common(parser)
    for name, word, text in (
        ("--image", "ID", "the image with this image_id"),
        ("--uri", "URI", "every image with this uri, in all scopes and spellings"),
        ("--csv", "FILE", "images by a column image_id or uri"),
    ):
        parser.add_argument(name, action="append", default=[], metavar=word, help=f"{text}; may be repeated")
    parser.add_argument(
        "--purge",
        action="store_true",
        help="also delete the thumbnails, features, embeddings, keys and hashes that no live image needs",
    )
    parser.add_argument(
        "--undo", action="store_true", help="allow these images again: they return when a manifest lists them"
    )
    return Command(parser, _forget_options)


def _add_full(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--full", action="store_true", help="read, hash and join everything again, and retry failed embeddings"
    )


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that every job has."""
    parser.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are")
    parser.add_argument(
        "--profile",
        default=BALANCED,
        metavar="NAME",
        help=f"a set of option values: {', '.join(PROFILES)} (default: {BALANCED}; benchmarks/profiles.md); "
        "--config and --set go over it",
    )
    parser.add_argument(
        "--config", type=os.path.expanduser, metavar="FILE", help="YAML file with options (conf/base.yaml lists all)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        dest="sets",
        help="set one option, also over the file; may be repeated",
    )
    add_spark(parser)


def _hash_options(args: argparse.Namespace, faults: Faults) -> HashOptions:
    for path in args.paths:
        local = local_path(path)
        if local is not None and not os.path.exists(local):  # also False without the right to look
            faults.append(f"PATH {path}: there is nothing that may be read; give a manifest or a directory that exists")
    partitions = [p.strip() for p in args.partitions.split(",") if p.strip()] if args.partitions else None
    return HashOptions(tuple(args.paths), partitions, args.since, listing=args.listing, full=args.full)


def _maintain_options(args: argparse.Namespace, faults: Faults) -> MaintainOptions:
    check_holds_images(args, faults)
    return MaintainOptions(args.retain_hours)


def _forget_options(args: argparse.Namespace, faults: Faults) -> ForgetOptions:
    if not (args.image or args.uri or args.csv):
        faults.append("--image, --uri, --csv: none is given; name the images to forget by one of them")
    if args.purge and args.undo:
        faults.append("--undo: what is purged cannot come back without being read again; give it without --purge")
    names: set[tuple[str | None, str | None]] = {(image_id, None) for image_id in args.image}
    names |= {(None, uri) for uri in args.uri}
    for path in args.csv:
        try:
            names |= set(_read_names(os.path.expanduser(path)))
        except (OSError, ValueError, csv.Error) as error:
            faults.append(f"--csv {path}: {error}; give a CSV with a header and a column image_id or uri")
    check_holds_images(args, faults)
    return ForgetOptions(tuple(sorted(names, key=str)), purge=args.purge, undo=args.undo)


def check_holds_images(args: argparse.Namespace, faults: Faults) -> None:
    """Add a fault for a local folder without the table `images`; other faults of --warehouse are reported anyway."""
    try:
        folder = known_local(args.warehouse, spark_settings(args.spark, []))
    except ConfigError:
        return
    if folder is not None and not os.path.isdir(os.path.join(folder, _IMAGES)):
        faults.append(f"--warehouse {args.warehouse}: holds no table {_IMAGES}; give the folder of a warehouse")


def _read_names(path: str) -> list[tuple[str | None, str | None]]:
    """(image_id, None) or (None, uri) of each row; an id wins over a URI.

    Raises:
        ValueError: both columns are missing, or a row names no image; or as `read_rows`.
        OSError: the file cannot be read.
    """
    found: list[tuple[str | None, str | None]] = []
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        header, rows = read_rows(file)
        columns = [name.strip().lower() for name in header]
        if not {"image_id", "uri"} & {*columns}:
            raise ValueError(f"has neither a column image_id nor uri, but {header}")
        for line, cells in rows:
            row = dict(zip(columns, cells, strict=True))
            image_id, uri = unescape(row.get("image_id", "").strip()), unescape(row.get("uri", ""))
            if not image_id and not uri.strip():
                raise ValueError(f"names no image in line {line}")
            found.append((image_id, None) if image_id else (None, uri))
    return found


def _hours(text: str) -> float:
    hours = float(text)
    if not MIN_RETAIN_HOURS <= hours < math.inf:  # also refuses nan
        raise argparse.ArgumentTypeError(f"{text}: must be a number of {MIN_RETAIN_HOURS:.0f} or more")
    return hours


def faults_of_warehouse(root: str, settings: Mapping[str, str], *, is_written: bool) -> list[str]:
    """Faults of a local warehouse that are visible before Spark starts with these settings."""
    try:
        folder = known_local(root, settings)
    except ConfigError as error:
        return error.faults
    if folder is None:
        return []
    path = str(folder)
    if os.path.isfile(path):
        return [f"--warehouse {root}: is a file; give a folder"]
    if os.path.exists(path) and not os.access(path, os.R_OK | os.X_OK):
        return [f"--warehouse {root}: user {os.getuid()} may not read it; have its owner allow it"]
    there = path
    while not os.path.exists(there):
        there = os.path.dirname(there)
    if is_written and not os.access(there, os.W_OK | os.X_OK):
        return [
            f"--warehouse {root}: user {os.getuid()} cannot write in {there} (its mode, or a read-only disk); have "
            "that changed, or give another folder"
        ]
    return []
