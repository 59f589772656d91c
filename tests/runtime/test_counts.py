"""The counts of a run: which there are, which of them a run tells, and what a night that found nothing says."""

from __future__ import annotations

from dataclasses import fields

import pytest

from dupelake.runtime.counts import MAY_GO, Counts

PLAIN = """
    read skipped hashed failed changed retried returned moved removed contents_new features_failed
    embedded embed_failed embed_retried embed_waiting
    other_versions burst_followers hot_words words_dropped word_pairs_dropped word_pairs_checked copies_planted
    copies_found exact_pairs_missed pairs_not_aligned pairs_measured pairs_withdrawn
    pairs_of_other_versions contents_regrouped bridges_cut components_split conflicts similar_groups groups
    images_grouped copies removable removable_bytes
    overlap_sets overlap_pictures overlap_sets_changed overlap_proposed overlaps overlap_frequent label_conflicts
    conflict_images nothing_changed named unknown forgotten undone
"""
ZERO = """
    removable removable_bytes images_grouped contents_regrouped bridges_cut conflicts embedded embed_failed
    embed_waiting pairs_measured pairs_withdrawn
"""
FAMILIES = {"failed", "pairs", "changes", "may_go", "purged", "files"}


def test_every_count_has_one_field_with_its_meaning():
    by_prefix = {one.metadata["prefix"]: one for one in fields(Counts) if "prefix" in one.metadata}
    plain = {one.name for one in fields(Counts) if "prefix" not in one.metadata}
    assert (plain, set(by_prefix)) == (set(PLAIN.split()), FAMILIES), "these names are in people's queries and alerts"
    assert all(len(one.metadata["meaning"]) > 10 for one in fields(Counts))


def test_what_was_not_set_is_not_told():
    counts = Counts()
    assert (dict(counts), len(counts), counts.hashed) == ({}, 0, 0)
    counts.hashed += 2
    counts.failed = 0
    counts.failed_by_reason["truncated"] = 1
    counts.set("pairs.near", 3)
    assert counts == {"hashed": 2, "failed": 0, "failed.truncated": 1, "pairs.near": 3}
    assert "failed" in counts
    assert "read" not in counts
    assert counts.get("pairs.pixel") is None
    assert counts.pairs_by_kind == {"near": 3}
    assert Counts() == {}, "no two runs share counts"


@pytest.mark.parametrize("name", ["hashd", "set", "pairs_by_kind", "none.of", ""])
def test_a_name_without_a_field_is_refused(name):
    with pytest.raises(KeyError):
        Counts().set(name, 1)
    assert name not in Counts()


def test_a_night_that_found_nothing_tells_what_stands():
    last = {"groups": 4, "copies": 5, "pairs.near": 7, "hashed": 9, "embedded": 9, "changes.born": 4, "from": 1}
    counts = Counts()
    counts.settle(last)
    stands = {"nothing_changed": 1, "groups": 4, "copies": 5, "pairs.near": 7}
    assert counts == stands | dict.fromkeys(ZERO.split(), 0) | {f"may_go.{key}": 0 for key in MAY_GO}
