"""Files that come with the package: models, weights, the vocabulary."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable


def shipped_asset(name: str) -> Traversable:
    """A file of `assets`, which may not be there.

    Through the import system: under spark-submit --py-files the package lies in a zip, where paths end.
    """
    return resources.files("dupelake").joinpath("assets", name)
