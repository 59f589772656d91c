"""The command `dupelake export`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dupelake.config import TIERS
from dupelake.errors import ConfigError
from dupelake.runtime.out_files import faults_of_file, refusals_of

if TYPE_CHECKING:
    from dupelake.export.files import Written
    from dupelake.export.night import Night

# This is a command of a terminal.
# ruff: noqa: T201

_LISTS = {"csv": "CSV", "jsonl": "JSON lines", "parquet": "Parquet"}
_OUT = {
    **{form: f"removable.{form}" for form in _LISTS},
    "quarantine": "quarantine.sh",
    "dupe-scanner": "duplicates.json",
    "imagededup": "imagededup.json",
    "fiftyone": "fiftyone.parquet",
    "datasets": "datasets.parquet",
    "immich": "immich.jsonl",
    "webdataset": "webdataset.jsonl",
}


def add_export(commands: Any) -> None:
    """Add the command `export` to those of the parser."""
    export: argparse.ArgumentParser = commands.add_parser(
        "export", help="what may go, and the groups, for other tools: lists, scripts, columns; without Spark"
    )
    formats = export.add_subparsers(dest="format", required=True, metavar="FORMAT")

    def add(name: str, about: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = formats.add_parser(name, help=about, description=about)
        parser.add_argument(
            "--warehouse", required=True, metavar="DIR", help="where the tables are; they are only read"
        )
        parser.add_argument(
            "--out",
            type=os.path.expanduser,
            default=_OUT[name],
            metavar="PATH",
            help=f"the file (default {_OUT[name]})",
        )
        parser.add_argument(
            "--tier", choices=TIERS, help="only images of this tier, or a stricter one (default: all that may go)"
        )
        parser.set_defaults(call=_export)
        return parser

    for name, form in _LISTS.items():
        add(name, f"the images that may go, each with the image that is kept, as {form}")
    add("quarantine", "a shell script that moves them to a folder, and one that puts them back").add_argument(
        "--quarantine",
        type=os.path.expanduser,
        metavar="DIR",
        help="where they are moved (default: a folder beside the script, with its name)",
    )
    for name in ("dupe-scanner", "imagededup"):
        about = {"dupe-scanner": "{group: [file, ...]}", "imagededup": "{file: [[file, score], ...]}"}[name]
        parser = add(name, f"JSON of {name}: {about}")
        parser.add_argument(
            "--members",
            choices=("removable", "all"),
            default="removable",
            help="of groups: each keeper with the copies that may go (default), or all members, alternates too",
        )
        if name == "imagededup":
            _add_folder(parser)
    add("fiftyone", "Parquet of fields for FiftyOne, by filepath")
    _add_folder(add("datasets", "Parquet of all images with columns, for Hugging Face datasets"))
    add("immich", "bodies of immich's API: duplicate ids, and what to move to its trash").add_argument(
        "--id-column", metavar="NAME", help="column of the manifest with the id of the asset (default: image_id)"
    )
    shards = add("webdataset", "for each shard of a WebDataset, the keys of the samples that stay")
    for what in ("shard", "key"):
        shards.add_argument(
            f"--{what}-column", default=what, metavar="NAME", help=f"column of the manifest (default: {what})"
        )


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder", type=os.path.expanduser, metavar="DIR", help="names are relative to it (default: absolute paths)"
    )


def _export(args: argparse.Namespace) -> int:
    from dupelake.export.night import night_of

    out = Path(os.path.abspath(args.out))
    if faults := faults_of_file("--out", args.out):
        raise ConfigError(faults)
    night = night_of(args.warehouse, args.tier)
    with refusals_of("--out", args.out):
        written = _writer(args)(night, out)
    if night.run is None:
        written.notes.append("no night is complete; the newest tables were read")
    if night.n_later_verdicts:
        written.notes.append(
            f"{night.n_later_verdicts} verdicts are newer than the last night; the next run applies them"
        )
    for note in written.notes:
        print(f"dupelake export: {note}", file=sys.stderr)
    print(f"{written.told}, in {', '.join(map(str, written.files))}")
    if args.format == "quarantine":
        print(f"To move them: sh {written.files[0]} [--dry-run]; to put them back: sh {written.files[1]}")
    return 0


def _writer(args: argparse.Namespace) -> Callable[[Night, Path], Written]:
    """The function that writes the format of a command line, with its options."""
    from dupelake.export import columns, groups, lists, quarantine, shards

    folder = getattr(args, "folder", None)
    folder = None if folder is None else os.path.abspath(folder)
    is_whole = getattr(args, "members", None) == "all"

    def write_quarantine(night: Night, out: Path) -> Written:
        given = args.quarantine or str(out.with_suffix(""))
        if given == str(out):
            raise ConfigError(
                [f"--out {args.out}: has no ending, so the folder would have its name; give --quarantine"]
            )
        return quarantine.write_quarantine(night, out, os.path.abspath(given))

    return {
        **{form: lambda night, out: lists.write_list(night, out, args.format) for form in _LISTS},
        "quarantine": write_quarantine,
        "dupe-scanner": lambda night, out: groups.write_dupe_scanner(night, out, is_whole=is_whole),
        "imagededup": lambda night, out: groups.write_imagededup(night, out, is_whole=is_whole, folder=folder),
        "fiftyone": columns.write_fiftyone,
        "datasets": lambda night, out: columns.write_datasets(night, out, folder),
        "immich": lambda night, out: groups.write_immich(night, out, args.id_column),
        "webdataset": lambda night, out: shards.write_webdataset(night, out, args.shard_column, args.key_column),
    }[args.format]
