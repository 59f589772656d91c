"""The names of a manifest's columns: which one holds the place of an image. No Spark."""

from __future__ import annotations

from collections.abc import Sequence

from dupelake.errors import ManifestError

URI = "uri"
OTHER_URI_NAMES = ("url", "path", "file_name")  # taken for `uri` where a manifest has no column of that name


def plain_name(name: str) -> str:
    """A column name without case and surrounding spaces; names are compared so everywhere in this room."""
    return name.strip().lower()


def find_uri_column(names: Sequence[str], asked: str = "") -> str | None:
    """The column that holds the URIs, as it is written; None if that is not certain.

    Args:
        names: the columns as found.
        asked: the option manifest.image_column.
    """
    plain = {plain_name(name): name for name in names}
    wanted = plain_name(asked)
    if URI in plain:
        return plain[URI] if wanted in ("", URI) else None
    found = [name for name in ((wanted,) if wanted else OTHER_URI_NAMES) if name in plain]
    return plain[found[0]] if len(found) == 1 else None


def check_columns(names: Sequence[str], where: str, asked: str = "") -> None:
    """Refuses a manifest whose columns cannot be used.

    Args:
        names: the columns as found; of a CSV file those of the header line, because Spark renames repeated columns.
        where: the name of the manifest for the error message.
        asked: the option manifest.image_column.

    Raises:
        ManifestError: a column occurs twice, or it is not certain which one holds the URIs.
    """
    check_unique(names, where)
    plain = [plain_name(name) for name in names]
    if find_uri_column(names, asked) is not None:
        return
    if asked and URI in plain:
        raise ManifestError(f"{where} has a column `uri`, so manifest.image_column = {asked} cannot be read for it")
    if asked:
        raise ManifestError(f"{where} has no column `{asked}` (manifest.image_column); its columns are {list(names)}")
    several = [name for name in OTHER_URI_NAMES if name in plain]
    if several:
        raise ManifestError(
            f"{where} has no column `uri`, and several that may hold the images' places: {', '.join(several)}; "
            f"choose one: --set manifest.image_column={several[0]}"
        )
    hint = "; JSON must be objects" if plain == ["_corrupt_record"] else ""
    raise ManifestError(
        f"{where} has no column `uri` (nor {', '.join(OTHER_URI_NAMES)}); its columns are {list(names)}{hint}. "
        "If another one holds the images' places, name it: --set manifest.image_column=NAME"
    )


def check_unique(names: Sequence[str], where: str) -> None:
    """Refuses a manifest that names a column twice.

    Raises:
        ManifestError: it does.
    """
    plain = [plain_name(name) for name in names]
    twice = sorted({name for name in plain if name and plain.count(name) > 1})
    if twice:
        raise ManifestError(f"{where} names a column twice: {', '.join(twice)}; its columns are {list(names)}")
