"""What a check says about one image, as objects and as plain values for JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

NEW, COPY, FAILED = "new", "copy", "failed"
_EVIDENCE = (
    "phash_bits", "phash_mirrored_bits", "pdq_bits", "pdq_mirrored_bits", "cosine_similarity", "n_inliers",
    "aligned_ncc", "agreeing_share", "contradicting_share", "cell_shift_px", "unexplained_colour", "src_overlap",
    "dst_overlap", "scale", "rotation_degrees", "is_mirrored",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """The image and another content, measured against each other.

    Attributes:
        other: the other content.
        images: (image_id, uri) of the live images of that content in the scope of the image.
        row: the row of schema.PAIRS that a night would store.
        evidence: the measures in words.
    """

    other: str
    images: tuple[tuple[str, str | None], ...]
    row: dict[str, Any]
    evidence: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "content_id": self.other,
            "images": [{"image_id": image_id, "uri": uri} for image_id, uri in self.images],
            "score": self.row["score"],
            "kind": self.row["kind"],
            "is_duplicate": self.row["is_duplicate"],
            "found_by": self.row["found_by"],
            "evidence": self.evidence,
            "measures": {name: self.row[name] for name in _EVIDENCE},
        }


@dataclass(frozen=True)
class Group:
    """The group that the image would be in.

    Attributes:
        group_id: of the stored group; None if the group would be new.
        row: the image's own row of schema.GROUPS, without group_id and updated_at.
        keeper: (image_id, uri) of the keeper; the image itself if it would be the keeper.
        members: image ids of all members, the image included, sorted.
        link_to: (image_id, uri) of the stored image to use instead: the keeper, or the present keeper if the image
            itself would be the keeper.
    """

    group_id: str | None
    row: dict[str, Any]
    keeper: tuple[str, str | None]
    members: tuple[str, ...]
    link_to: tuple[str, str | None]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("relation", "kind", "score_to_keeper", "compared_with", "tier", "is_removable", "reason")
        return {
            "group_id": self.group_id,
            "size": len(self.members),
            "keeper": {"image_id": self.keeper[0], "uri": self.keeper[1]},
            "link_to": {"image_id": self.link_to[0], "uri": self.link_to[1]},
            **{name: self.row[name] for name in names},
        }


@dataclass(frozen=True)
class Answer:
    """What a night that takes the image in would decide about it.

    Attributes:
        image: as it was given: a path, or a name for bytes.
        status: `new`: in no group; `copy`: it would be in `group`; `failed`: it cannot be read.
        image_id: the id that the night would give it.
        scope: the scope in which it was compared.
        content_id: of its bytes; None if they could not be read.
        is_stored: whether the warehouse has an image of this scope with these bytes, under any name.
        reason: why it failed, or `forgotten`: a night leaves it out, because its image was forgotten; else None.
        message: the reason in words; else None.
        group: the group; None unless it is a copy.
        pairs: all measured pairs, the best first; also those that are no duplicates.
        in_folder: paths of earlier images of the same check that are copies of it, with kind and score.
        index: what was compared with: run_id, as_of, age_s, built_at, versions; and profile, None for the options of
            the nights.
    """

    image: str
    status: str
    image_id: str
    scope: str
    content_id: str | None = None
    is_stored: bool = False
    reason: str | None = None
    message: str | None = None
    group: Group | None = None
    pairs: tuple[Pair, ...] = ()
    in_folder: tuple[dict[str, Any], ...] = ()
    index: dict[str, Any] = field(default_factory=dict)

    @property
    def is_copy(self) -> bool:
        """Whether the warehouse, or an earlier image of the check, has this picture."""
        return self.status == COPY or bool(self.in_folder)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "image": self.image,
            "status": self.status,
            "image_id": self.image_id,
            "scope": self.scope,
            "content_id": self.content_id,
            "is_stored": self.is_stored,
            "reason": self.reason,
            "message": self.message,
            "group": self.group.as_dict() if self.group else None,
            "pairs": [pair.as_dict() for pair in self.pairs],
            "in_folder": list(self.in_folder),
            "index": self.index,
        }

    def describe(self) -> str:
        """One line for people."""
        folder = "".join(f"; {one['kind']} copy of {one['image']} in this check" for one in self.in_folder)
        if self.status == FAILED:
            return f"{self.image}: failed, {self.reason}: {self.message}"
        if self.group is None:
            why = f", {self.reason}: {self.message}" if self.reason else ""
            return f"{self.image}: new{why}{folder}"
        group = self.group
        name = f"group {group.group_id}" if group.group_id else "a new group"
        if group.row["relation"] == "keeper":
            told = f"would be the keeper of {name} of {len(group.members)} images"
            return f"{self.image}: {told}; {group.row['reason']}{folder}"
        keeper = group.keeper[1] or group.keeper[0]
        return f"{self.image}: {group.row['relation']} in {name}, keeper {keeper}; {group.row['reason']}{folder}"
