"""The counts of a run: one field for each, with its meaning; `runs.counts`, events and metrics are derived from it.

Knows no Spark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, Self

from dupelake.config import TIERS

# What a night that finds nothing to do says of a count: the value of the last complete night, or 0.
_KEPT, _ZERO = "kept", "zero"
MAY_GO = tuple(f"{tier}{unit}" for tier in TIERS for unit in ("", "_bytes"))
"""Keys of `Counts.may_go`, each also with `_bytes`."""


def _count(meaning: str, settled: str | None = None) -> Any:
    return field(default=0, init=False, metadata={"meaning": meaning, "settled": settled})


def _counts(prefix: str, meaning: str, settled: str | None = None, keys: Sequence[str] = ()) -> Any:
    """A dictionary of counts: the prefix of their names, and the keys that it always has."""
    told = {"meaning": meaning, "settled": settled, "prefix": prefix, "keys": keys}
    return field(default_factory=dict, init=False, metadata=told)


@dataclass(eq=False)
class Counts(Mapping[str, int]):
    """Counts by name, of those that the run has set; a field that nobody set reads as 0 and is not in the mapping.

    A dictionary field holds counts whose names are known only to the run; in the mapping its keys follow a prefix, as
    in `failed.truncated`.
    """

    # hash
    read: int = _count("rows of the manifests")
    skipped: int = _count("rows that were not read: known, repeated, of another partition, or a tombstone")
    hashed: int = _count("images that were read and hashed")
    failed: int = _count("images that could not be read or decoded")
    failed_by_reason: dict[str, int] = _counts("failed", "the same by `images.reason`")
    changed: int = _count("known images that were read again because their file or mark changed")
    retried: int = _count("images that failed on an earlier night and were tried again")
    returned: int = _count("deleted images that a manifest lists again")
    moved: int = _count("images that moved into another scope")
    removed: int = _count("images that were marked as deleted")
    contents_new: int = _count("contents without a row in `hashes` before")
    features_failed: int = _count("contents that were hashed and have no local features because of an error")
    # embed
    embedded: int = _count("contents that got an embedding", _ZERO)
    embed_failed: int = _count("contents whose embedding failed", _ZERO)
    embed_retried: int = _count("contents whose embedding failed on an earlier night and was tried again")
    embed_waiting: int = _count("contents whose embedding is tried again on another night", _ZERO)
    # lsh_join
    other_versions: int = _count("images that the join leaves out: their hashes or features are of another version")
    burst_followers: int = _count("contents that were compared only with the best of their burst")
    hot_words: int = _count("frequent visual words, which make no pairs")
    words_dropped: int = _count("words or keys that too many images share")
    word_pairs_dropped: int = _count("meetings of two images by what was dropped, each key counted")
    word_pairs_checked: int = _count("pairs of contents that were compared word by word")
    copies_planted: int = _count("copies that were made of a sample of new images to measure recall")
    copies_found: int = _count("planted copies that were found")
    exact_pairs_missed: int = _count("pairs of the sample that an exact generator promises and did not propose")
    pairs_not_aligned: int = _count("candidate pairs whose alignment failed with an error")
    pairs_measured: int = _count("rows of `pairs` that were written", _ZERO)
    pairs_withdrawn: int = _count("rows of `pairs` that were deleted", _ZERO)
    pairs_by_kind: dict[str, int] = _counts("pairs", "all duplicates in `pairs` by kind", _KEPT)
    # cluster
    pairs_of_other_versions: int = _count("pairs that take no part in the grouping: of another version")
    contents_regrouped: int = _count("contents that were grouped again", _ZERO)
    bridges_cut: int = _count("links that were cut because they alone joined two clusters", _ZERO)
    components_split: int = _count("components that these links held together")
    conflicts: int = _count("verdicts that contradict others", _ZERO)
    changes_by_event: dict[str, int] = _counts("changes", "rows added to `group_changes` by event")
    similar_groups: int = _count("groups of similar images, where cluster.similar_groups is on")
    groups: int = _count("all groups of copies and alternates", _KEPT)
    images_grouped: int = _count("all images in groups", _KEPT)
    copies: int = _count("all images in groups that are copies of their keeper", _KEPT)
    removable: int = _count("all images that may be removed", _KEPT)
    removable_bytes: int = _count("the size of their files", _KEPT)
    may_go: dict[str, int] = _counts(
        "may_go", "files that each tier of copies would free, and bytes", _KEPT, keys=MAY_GO
    )
    # nightly
    nothing_changed: int = _count("1 where the night found nothing to do")
    # overlap
    overlap_sets: int = _count("sets of images that were compared with each other")
    overlap_pictures: int = _count("pictures of these sets, each counted once for each set")
    overlap_sets_changed: int = _count("sets that are new or changed since the last run")
    overlap_proposed: int = _count("pairs of sets that were proposed, and counted exactly")
    overlaps: int = _count("all pairs of sets in `overlaps` that are made in this way")
    overlap_frequent: int = _count("sampled pictures of so many sets that they propose no pair by sample")
    label_conflicts: int = _count("pictures whose images have several values of the column of --conflicts")
    conflict_images: int = _count("images of these pictures")
    # forget
    named: int = _count("names of images that were given")
    unknown: int = _count("given names that are of no image")
    forgotten: int = _count("images that were marked as forgotten")
    undone: int = _count("images that may come back")
    purged_by_table: dict[str, int] = _counts("purged", "rows that were purged by table")
    # maintain
    files_by_table: dict[str, int] = _counts("files", "live files after maintenance by table")

    @classmethod
    def of(cls, given: Mapping[str, int]) -> Self:
        """Counts by name, as `runs.counts` holds them."""
        counts = cls()
        for name, n in given.items():
            counts.set(name, n)
        return counts

    def set(self, name: str, n: int) -> None:
        """Set a count by its name in the mapping.

        Raises:
            KeyError: no field has this name or prefix.
        """
        prefix, dot, key = name.partition(".")
        if dot:
            self._family(prefix)[key] = int(n)
        elif name in _PLAIN:
            setattr(self, name, int(n))
        else:
            raise KeyError(f"{name} is no count of a run: add a field to Counts")

    def settle(self, last: Mapping[str, int]) -> None:
        """Take over the counts of a night that found nothing to do: what `last` found stands, the rest is 0."""
        self.nothing_changed = 1
        for one in fields(self):
            settled, prefix = one.metadata["settled"], one.metadata.get("prefix")
            if settled is not None and prefix is None:
                self.set(one.name, last.get(one.name, 0) if settled == _KEPT else 0)
            elif settled is not None:
                names = {name for name in last if name.startswith(f"{prefix}.")}
                for name in sorted(names | {f"{prefix}.{key}" for key in one.metadata["keys"]}):
                    self.set(name, last.get(name, 0))

    def _family(self, prefix: str) -> dict[str, int]:
        return getattr(self, _FAMILIES[prefix].name)

    def __getitem__(self, name: str) -> int:
        prefix, dot, key = name.partition(".")
        if dot:
            return self._family(prefix)[key]
        if name not in _PLAIN:
            raise KeyError(name)
        return vars(self)[name]

    def __iter__(self) -> Iterator[str]:
        for one in fields(self):
            prefix = one.metadata.get("prefix")
            if prefix is not None:
                yield from (f"{prefix}.{key}" for key in getattr(self, one.name))
            elif one.name in vars(self):  # a class attribute holds the default
                yield one.name

    def __len__(self) -> int:
        return sum(1 for _ in self)


_FAMILIES: dict[str, Field[Any]] = {f.metadata["prefix"]: f for f in fields(Counts) if "prefix" in f.metadata}
_PLAIN = frozenset(f.name for f in fields(Counts) if "prefix" not in f.metadata)
