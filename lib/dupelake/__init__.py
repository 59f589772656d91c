"""dupelake: near-duplicate image detection for lakehouses, on Spark and Delta Lake."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dupelake.version import VERSION

if TYPE_CHECKING:
    from dupelake.lookup.answer import Answer

__version__ = VERSION
__all__ = ["__version__", "check"]


def check(
    images: Any | Iterable[Any],
    warehouse: str | os.PathLike[str],
    *,
    index: str | os.PathLike[str] | None = None,
    scope: str | None = None,
) -> list[Answer]:
    """Ask of each image whether a warehouse has its picture, as the next night would decide. Nothing is written.

    It needs no Spark and no Java, but an index: `dupelake index --warehouse DIR`.

    Args:
        images: a path, bytes, a PIL image, uint8 pixels (h, w, 3) or (h, w), or several of them.
        warehouse: folder or URI of the tables.
        index: folder of the index; None for that inside the warehouse.
        scope: of the images; None for the option manifest.default_scope of the warehouse.

    Returns:
        One `dupelake.lookup.answer.Answer` for each image, in their order.

    Raises:
        VersionMixError: there is no index, or it is of other versions; the message gives the command.
        TypeError: something given is no image.
    """
    from dupelake.lookup.checker import check as check_all

    return check_all(images, warehouse, index=index, scope=scope)
