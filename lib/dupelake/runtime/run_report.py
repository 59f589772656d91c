"""A run in words: what a person wants to know first, then the counts of its steps."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping

from dupelake.config import TIERS
from dupelake.runtime.counts import Counts


def in_short(counts: Counts, root: str) -> Iterator[str]:
    """How many images are new, what failed, how many are copies, what may go, and where to look.

    Args:
        counts: of a run that read images or grouped them; other runs give no line.
        root: the warehouse, as the commands take it.
    """
    if "read" in counts:
        read = "1 image" if counts.hashed == 1 else f"{counts.hashed} images"
        yield f"  {read} hashed, of them {counts.contents_new} with bytes never seen before; {counts.failed} failed"
    if "groups" not in counts:
        return
    are = "image in all is a copy of one that is" if counts.copies == 1 else "images in all are copies of ones that are"
    may_go = f"{counts.removable} may go and free {human_bytes(counts.removable_bytes)}"
    yield f"  {counts.copies} {are} kept; {may_go if counts.removable else 'none may go under cluster.removable'}"
    if counts.groups:
        warehouse = shlex.quote(root)
        yield f"  to see them: dupelake report --warehouse {warehouse}"
        yield f"  to judge the doubtful ones: dupelake review --warehouse {warehouse}"


def in_detail(counts: Counts, recall: str | None) -> Iterator[str]:
    """The counts of the steps, a line for each kind; `recall` is the JSON of `runs.recall`."""
    yield from _forgotten(counts)
    yield from _read(counts)
    yield from _found(counts, recall)
    yield from _overlapping(counts)


def _forgotten(counts: Counts) -> Iterator[str]:
    """What `dupelake forget` did."""
    if "named" in counts:
        done = "that may come back" if "undone" in counts else "forgotten"
        n_images = counts.undone if "undone" in counts else counts.forgotten
        yield f"  named    {counts.named} given, {counts.unknown} unknown; images {done}: {n_images}"
    if counts.purged_by_table:
        yield "  purged   " + ", ".join(f"{n} {table}" for table, n in counts.purged_by_table.items())


def _read(counts: Counts) -> Iterator[str]:
    """What was hashed and embedded."""
    if "read" in counts:
        failed = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.failed_by_reason.items()))
        yield (
            f"  images   {counts.read} read = {counts.hashed} hashed + {counts.skipped} skipped "
            f"+ {counts.failed} failed" + (f" ({failed})" if failed else "")
        )
    if counts.moved:
        yield f"  scopes   {counts.moved} images moved into another scope"
    if "contents_new" in counts:
        yield f"  contents {counts.contents_new} new"
    if counts.features_failed:
        yield f"  features {counts.features_failed} contents without local features"
    if "embedded" in counts:
        yield (
            f"  embedded {counts.embedded} contents, {counts.embed_failed} failed"
            + (f"; {counts.embed_waiting} are tried again another night" if counts.embed_waiting else "")
        )


def _found(counts: Counts, recall: str | None) -> Iterator[str]:
    """What was joined and grouped."""
    if "pairs_measured" in counts:
        yield (
            f"  pairs    {counts.pairs_measured} measured, {counts.pairs_withdrawn} withdrawn; in all "
            + (_kinds(counts.pairs_by_kind) or "no duplicates")
        )
    if counts.burst_followers:
        yield f"  bursts   {counts.burst_followers} contents compared with the best of their burst alone"
    if recall is not None:
        yield "  recall   " + recall_in_words(recall)
    if "groups" in counts:
        changes = _kinds(counts.changes_by_event)
        yield (
            f"  groups   {counts.groups} of {counts.images_grouped} images, {counts.copies} copies; "
            f"{counts.removable} removable, {human_bytes(counts.removable_bytes)}"
            + (f"; changes: {changes}" if changes else "")
        )
        if counts.may_go:
            yield f"  may go   {tiers_in_words(counts.may_go)}"
    if counts.bridges_cut:
        yield f"  bridges  {counts.bridges_cut} links cut in {counts.components_split} components"
    if counts.nothing_changed:
        yield "  nothing has changed since the last complete night: all that was found stands"


def _overlapping(counts: Counts) -> Iterator[str]:
    """What the overlap job compared and found."""
    if "overlap_sets" in counts:
        yield (
            f"  sets     {counts.overlap_sets} of {counts.overlap_pictures} pictures in all, "
            f"{counts.overlap_sets_changed} of them new or changed"
        )
        yield f"  overlaps {counts.overlaps} pairs of sets; {counts.overlap_proposed} pairs were counted now"
    if "label_conflicts" in counts:
        yield f"  labels   {counts.label_conflicts} pictures with several values, {counts.conflict_images} images"


def recall_in_words(recall: str) -> str:
    """The shares of planted copies, and of what brute force finds, that were found, from the JSON of `runs.recall`."""
    shares, told = json.loads(recall), []
    if "all" in shares:
        whole = shares["all"]
        by_edit = ", ".join(f"{edit} {s['found']}/{s['planted']}" for edit, s in sorted(shares["by_edit"].items()))
        told.append(
            f"{whole['found']} of {whole['planted']} planted copies found "
            f"({whole['share']:.0%}, 95 % interval {whole['low']:.0%} to {whole['high']:.0%}): {by_edit}"
        )
    if "legs" in shares:
        by_generator = ", ".join(f"{name} {s['found']}/{s['true']}" for name, s in shares["legs"].items())
        told.append(
            f"generators against brute force around {shares['checked']} new images: {by_generator or 'no pair there'}"
        )
    return "; ".join(told)


def tiers_in_words(may_go: Mapping[str, int]) -> str:
    """How many images, and bytes, each tier of copies would free, as the report says it."""
    told = [
        f"{may_go[tier]} {'image' if may_go[tier] == 1 else 'images'} ({human_bytes(may_go[tier + '_bytes'])}) {words}"
        for tier, words in zip(TIERS, ("identical", "with verified copies", "with all copies"), strict=True)
    ]
    return ", ".join(told)


def human_bytes(n: float) -> str:
    """Bytes with a binary unit: 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n < 1024 or unit == "TiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    raise AssertionError


def _kinds(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items()) if n)
