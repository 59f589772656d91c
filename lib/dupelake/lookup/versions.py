"""The versions that a warehouse and an index must share with this library before anything is compared."""

from __future__ import annotations

from collections.abc import Mapping

from dupelake.config import Config
from dupelake.errors import VersionMixError
from dupelake.stage_versions import StageVersions

FIX = "; run a night with this version of dupelake, then `dupelake index`; or use the version that made the tables"


def versions_of(config: Config, model: str | None, preprocess: str | None) -> dict[str, str | None]:
    """The versions of everything that this library computes with these options.

    The model is not loaded, which takes seconds: `lookup.reading.Reader` compares it when it embeds the first image.

    Args:
        config: the options of the warehouse.
        model: id of the model whose embeddings the nights compare; None without one.
        preprocess: of that model.

    Raises:
        ModelError: the vocabulary cannot be read.
    """
    stages = StageVersions(config)
    made: dict[str, str | None] = {
        name: getattr(stages, name) for name in ("hash", "feature", "verify", "decide", "cluster")
    }
    return made | {"model": model, "preprocess": preprocess, "join": stages.join(model, preprocess)}


def refuse_others(mine: Mapping[str, str | None], stored: Mapping[str, set[str]], what: str) -> None:
    """Refuse stored rows of other versions.

    Raises:
        VersionMixError: names the first version that differs, and the fix.
    """
    for name, versions in stored.items():
        others = sorted(versions - {str(mine[name])})
        if others:
            raise VersionMixError(f"{what} has {name} version {others[0]}, and this library makes {mine[name]}{FIX}")
