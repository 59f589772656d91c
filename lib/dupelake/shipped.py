"""Files of the package: reference centres, the vocabulary, models of decision and keeper."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable


def shipped_asset(name: str) -> Traversable:
    """A file of `assets`; it may not exist.

    It uses the import system, because under spark-submit --py-files the package is a zip file, which has no paths.
    """
    return resources.files("dupelake").joinpath("assets", name)
