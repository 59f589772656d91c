"""What the tables say of a pair of images that are not in one group, in words."""

from __future__ import annotations

from collections.abc import Sequence

from dupelake.warehouse.rules import OK


def apart_in_words(statuses: Sequence[str], scopes: Sequence[str], *, is_accepted: bool, is_measured: bool) -> str:
    """Why two images are not in one group.

    Args:
        statuses: `images.status` of both.
        scopes: the scopes in which both are compared.
        is_accepted: whether their pair was accepted, or their pixels are equal.
        is_measured: whether `pairs` has their pair.
    """
    n_failed = sum(status != OK for status in statuses)
    if n_failed:
        return f"never measured: {'both images' if n_failed == 2 else 'one image'} failed in the hash stage"
    if is_accepted:
        return "accepted, but the groups keep them apart"
    if is_measured:
        return "measured, not accepted"
    if scopes[0] != scopes[1]:
        return f"never proposed: scopes {scopes[0]!r} and {scopes[1]!r} differ"
    return "never proposed"
