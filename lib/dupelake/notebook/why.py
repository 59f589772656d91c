"""Why two images are copies, or are not, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dupelake.report.pair_state import apart_in_words


def answer_of(
    one: Mapping[str, Any], other: Mapping[str, Any], pair: Mapping[str, Any] | None, *, is_scoped: bool
) -> str:
    """The reason in words.

    Args:
        one: a row of `questions.images_named`.
        other: the same of the other image.
        pair: a row of PAIRS; None if the two were never measured.
        is_scoped: whether images of different scopes are never compared (`lsh.scope: within`).
    """
    images = (one, other)
    if one["image_id"] == other["image_id"]:
        return "one and the same image"
    for image in images:
        if image["deleted_reason"] is not None:
            return f"image {image['image_id']} is gone ({image['deleted_reason']}); only images that exist are compared"
    if one["group_id"] is not None and one["group_id"] == other["group_id"]:
        members = [image for image in images if not image["is_keeper"]]
        if len(members) == 1:
            return f"in one group: {members[0]['reason']}"
        told = "; ".join(f"{image['image_id']} {image['relation']}: {image['reason']}" for image in members)
        return f"in one group, whose keeper is a third image: {told}"
    scopes = [image["scope"] if is_scoped else "" for image in images]
    is_one_scope = scopes[0] == scopes[1]
    is_equal = one["pixel_digest"] is not None and one["pixel_digest"] == other["pixel_digest"]
    told = apart_in_words(
        [image["status"] for image in images],
        scopes,
        is_accepted=is_one_scope and (is_equal or (pair is not None and pair["is_duplicate"])),
        is_measured=is_one_scope and pair is not None,
    )
    if pair is None or not is_one_scope:
        return told
    return f"{told} (score {pair['score']:.3f}{', ' + pair['kind'] if pair['kind'] else ''})"
