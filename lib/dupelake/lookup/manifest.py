"""The file that says what an index holds: versions of tables and of what was computed, and the options."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dupelake.config import Config, load_config
from dupelake.errors import ConfigError, VersionMixError
from dupelake.warehouse.paths import local_folder

FORMAT = 3
"""Raise it with every change of the files of an index."""
NAME = "manifest.json"
ROWS = "rows.sqlite"
FOLDER = "_dupelake_index"
"""Of the index inside a warehouse."""


@dataclass(frozen=True)
class Manifest:
    """What an index holds.

    Attributes:
        warehouse: of the index, as `place_of` gives it.
        built_at: when the index was made, UTC, ISO 8601.
        as_of: start of the last complete night that it shows, UTC, ISO 8601.
        run_id: of that night.
        tables: the version of each table.
        table_ids: Delta's id of the tables that are compared with those of a later build: a table that was made anew
            has another one.
        versions: hash, feature, verify, join, decide, cluster, model, preprocess, and the library.
        config: the options of that night, as in its row of `runs`.
        embeds_all: whether all contents have an embedding, or only those with few words.
        centre: of the model, hex of little-endian float32; "" without a model.
        segments: the folders of the segments.
        state: the folder of the small rows.
        n_contents: number of contents.
        n_images: number of live images.
    """

    warehouse: str
    built_at: str
    as_of: str
    run_id: str
    tables: dict[str, int]
    table_ids: dict[str, str]
    versions: dict[str, str | None]
    config: dict[str, dict[str, Any]]
    embeds_all: bool
    centre: str
    segments: list[str]
    state: str
    n_contents: int
    n_images: int
    format: int = FORMAT

    def rows(self, folder: Path) -> Path:
        """The file of the small rows of the index in `folder`."""
        return folder / self.state / ROWS

    def age_s(self, now: dt.datetime | None = None) -> float:
        """Seconds since the night that the index shows."""
        return ((now or dt.datetime.now(dt.UTC)) - dt.datetime.fromisoformat(self.as_of)).total_seconds()

    def as_dict(self) -> dict[str, Any]:
        """What an answer says of the index."""
        return {
            "run_id": self.run_id,
            "as_of": self.as_of,
            "age_s": round(self.age_s()),
            "built_at": self.built_at,
            "versions": self.versions,
        }

    def options(self) -> Config:
        """The options of the night, as this version of dupelake reads them.

        Raises:
            VersionMixError: as `config_of`.
        """
        return config_of(self.config)


def config_of(values: dict[str, dict[str, Any]]) -> Config:
    """The configuration with these options of `Config.as_dict`; values that are no options must be the present ones.

    Raises:
        VersionMixError: another release made them, or a file that they name is not on this machine.
    """
    try:
        return _config_of(values)
    except ConfigError as error:
        raise VersionMixError(
            f"the last night's options cannot be used here: {'; '.join(error.faults)}. If another release made them, "
            "run a night with this one; if a file is missing, put it where the option names it; then `dupelake index`"
        ) from error


def _config_of(values: dict[str, dict[str, Any]]) -> Config:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        known = {field.name: field.type for field in dataclasses.fields(Config)}
        kept: dict[str, dict[str, Any]] = {}
        now = Config().as_dict()
        for section, body in values.items():
            if section == "rules":  # they decide nothing here, and a run stores them with all fields, empty ones too
                continue
            fixed = _fixed(section) if section in known else set()
            other = [name for name in fixed & body.keys() if body[name] != now[section][name]]
            if other:
                names = ", ".join(f"{section}.{name}" for name in other)
                raise ConfigError([f"{names}: the night used another value than this version of dupelake"])
            kept[section] = {name: value for name, value in body.items() if name not in fixed}
        json.dump(kept, file)  # JSON is YAML
        file.flush()
        return load_config(file.name)


def _fixed(section: str) -> set[str]:
    fields = dataclasses.fields(getattr(Config(), section))
    return {field.name for field in fields if field.metadata.get("is_fixed")}


def place_of(warehouse: str) -> str:
    """A warehouse's absolute folder, or its URI, in one spelling: that of `warehouse.reader.Reader.root`."""
    folder = local_folder(warehouse)
    return warehouse.rstrip("/") if folder is None else str(folder)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of an index; None if there is no index.

    Raises:
        VersionMixError: another version of dupelake wrote it, or it cannot be read.
    """
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise VersionMixError(f"the index {folder} cannot be read ({error}); delete the folder and build it") from error
    if not isinstance(values, dict):
        raise VersionMixError(
            f"the index {folder} cannot be read ({NAME} is no object); delete the folder and build it"
        )
    if values.get("format") != FORMAT:
        raise VersionMixError(
            f"the index {folder} has format {values.get('format')}, and this version of dupelake reads {FORMAT}; "
            f"build it again: dupelake index --warehouse {values.get('warehouse', 'DIR')} --full"
        )
    try:
        return Manifest(**values)
    except TypeError as error:  # a field is missing, or one too many
        raise VersionMixError(f"the index {folder} cannot be read ({error}); delete the folder and build it") from error


def manifest_of(folder: Path) -> Manifest:
    """The manifest of the index in `folder`.

    Raises:
        VersionMixError: there is none, or as `read_manifest`.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise VersionMixError(f"there is no index in {folder}; make it: dupelake index --warehouse DIR")
    return manifest


def stamp_of(folder: Path) -> tuple[int, int] | None:
    """Differs after each build of an index; None if there is no index."""
    try:
        found = (folder / NAME).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest. Readers see the old one or the new one."""
    beside = folder / f".{NAME}.{os.getpid()}"
    with beside.open("w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(manifest), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, folder / NAME)
