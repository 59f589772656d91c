"""Verdicts in groups, by resolve_decisions and build_groups. Many small examples share a run, each in its own scope."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from group_corpus import NOON, Corpus, Nights, in_scope, parquet_checkpoint

from dupelake.config import ClusterConfig, Config
from dupelake.group import stage
from dupelake.group.decisions_stage import new_decided_rows, resolve_decisions
from dupelake.warehouse.schema import DECIDED, DECISIONS, IMAGES


class Said:
    """Decisions of a corpus, an hour apart."""

    def __init__(self):
        self.rows = []

    def __call__(self, image_id, verdict, other=None, author="ann", at=None):
        hours = len(self.rows) if at is None else at
        self.rows.append((image_id, other, verdict, author, NOON + timedelta(hours=hours), None))

    def frame(self, spark, seed=None):
        rows = list(self.rows)
        if seed is not None:
            random.Random(seed).shuffle(rows)  # noqa: S311
        return spark.createDataFrame(rows, DECISIONS.schema)


class Decided(Nights):
    """Nights with people's verdicts; `pins` is the table `decided`."""

    def __init__(self, spark, checkpoint):
        super().__init__(spark, checkpoint, Config(cluster=ClusterConfig(removable="copies")))
        self.pins = spark.createDataFrame([], DECIDED.schema)

    def night(self, corpus, said, *, seed=None, partitions=2):
        self.number += 1
        images, hashes, pairs = corpus.frames(self.spark, partitions, seed)
        decisions = said.frame(self.spark, seed).repartition(partitions)
        self.pins = self.checkpoint(self.pins.union(new_decided_rows(decisions, self.pins, images)))
        verdicts = resolve_decisions(decisions, self.pins, images, hashes, self.cfg)
        built = stage.build_groups(
            images,
            hashes,
            pairs,
            self.groups,
            self.changes,
            self.cfg,
            f"run{self.number}",
            NOON + timedelta(days=self.number),
            self.checkpoint,
            decisions=self.checkpoint(verdicts),
        )
        new = self.checkpoint(built.changes)
        conflicts = self.checkpoint(built.conflicts).orderBy("conflict_id").collect()
        self.groups, self.changes = self.checkpoint(built.groups), self.checkpoint(self.changes.union(new))
        rows = {row.image_id: row for row in self.groups.orderBy("image_id").collect()}
        return rows, conflicts, new.collect()


@pytest.fixture(scope="module")
def checkpoint(spark, tmp_path_factory):
    return parquet_checkpoint(spark, tmp_path_factory.mktemp("decisions"))


def joins(c, said):
    c.ladder("unmeasured", "um_a", "um_b")
    said("um_b", "duplicate", "um_a")
    c.ladder("rejected", "re_a", "re_b")
    c.pair("re_a", "re_b", score=0.4, kind=None, src_overlap=0.5, dst_overlap=0.5)
    said("re_a", "duplicate", "re_b", "bob")
    c.ladder("measured", "me_a", "me_b")
    c.pair("me_a", "me_b", kind="edited", score=0.6)
    said("me_a", "duplicate", "me_b")
    c.ladder("larger", "la_a", "la_b")  # the chosen keeper is smaller than its confirmed copy: no copy, to be careful
    c.images["la_a"]["width_px"] = c.images["la_a"]["height_px"] = 2000
    said("la_a", "duplicate", "la_b")
    said("la_b", "keeper")
    c.ladder("transitive", "tr_a", "tr_b", "tr_c")
    said("tr_a", "duplicate", "tr_b")
    said("tr_c", "duplicate", "tr_b", "bob")
    c.ladder("through_gone", "tg_a", "tg_b", "tg_c")  # the middle one is deleted, and still holds them together
    c.drop("tg_b")
    said("tg_a", "duplicate", "tg_b")
    said("tg_b", "duplicate", "tg_c")
    c.ladder("behind", "be_c", "be_u", "be_v")  # v was not compared with c: it stands with them, never removable
    c.pair("be_c", "be_u")
    said("be_u", "duplicate", "be_v")
    c.ladder("replaced", "rp_a", "rp_b")
    said("rp_a", "not_duplicate", "rp_b")
    said("rp_b", "duplicate", "rp_a", "bob")
    c.ladder("withdrawn", "wi_a", "wi_b")
    said("wi_a", "duplicate", "wi_b")
    said("wi_a", "withdrawn", "wi_b")
    c.image("eq_1", "equal", pixels="E", side=500)  # the verdict names one of two files of equal pixels
    c.image("eq_2", "equal", pixels="E", side=500)
    c.image("eq_3", "equal", side=400)
    said("eq_2", "duplicate", "eq_3")
    c.ladder("bridge", "br_0", "br_1", "br_2", "br_3", "br_4", "br_5")  # one link between two clusters, confirmed
    for a, b in ((0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5), (2, 3)):
        c.pair(f"br_{a}", f"br_{b}")
    said("br_2", "duplicate", "br_3")


def separates(c, said):
    c.ladder("apart", "ap_k", "ap_a", "ap_b", "ap_a2", "ap_b2")  # k chains a and b; b leaves, and takes its copy along
    for a, b in (("k", "a"), ("k", "b"), ("a", "b"), ("b", "b2"), ("a", "a2")):
        c.pair(f"ap_{a}", f"ap_{b}")
    said("ap_b", "not_duplicate", "ap_a")
    c.ladder("apart_copies", "ac_a", "ac_a2", "ac_b", "ac_b2")  # all of both sets
    for a, b in (("a", "b"), ("a2", "b"), ("a", "b2"), ("a2", "b2")):
        c.pair(f"ac_{a}", f"ac_{b}")
    said("ac_a", "duplicate", "ac_a2")
    said("ac_b", "duplicate", "ac_b2")
    said("ac_a2", "not_duplicate", "ac_b", "bob")
    c.ladder("apart_machine", "am_a", "am_m", "am_b")  # not along pairs that only a machine found: m stays with both
    c.pair("am_a", "am_m")
    c.pair("am_m", "am_b")
    said("am_a", "not_duplicate", "am_b")


def alternates(c, said):
    c.ladder("alternate", "al_a", "al_b")
    c.pair("al_a", "al_b")
    said("al_b", "alternate", "al_a")
    c.image("al_b2", "alternate", content="al_b", side=980)
    c.ladder("alternate_new", "an_a", "an_b")
    said("an_a", "alternate", "an_b")
    c.ladder("alternate_third", "at_c", "at_a", "at_b")  # c is a better keeper and was compared with a only
    c.pair("at_c", "at_a")
    said("at_a", "alternate", "at_b")
    c.ladder("alternate_sets", "as_a", "as_a2", "as_b", "as_b2")
    said("as_a", "duplicate", "as_a2")
    said("as_b", "duplicate", "as_b2")
    said("as_a2", "alternate", "as_b2")


def keepers(c, said):
    c.ladder("keeper", "ke_a", "ke_b", "ke_c")
    for a, b in ("ab", "ac", "bc"):
        c.pair(f"ke_{a}", f"ke_{b}")
    said("ke_c", "keeper", author="bob")
    for name in ("kx_1", "kx_2", "kx_3"):
        c.image(name, "keeper_of_equal", content="kx")
    said("kx_1", "keeper")
    said("kx_3", "keeper")  # later, and about the same content
    c.ladder("keeper_gone", "kg_a", "kg_b")
    c.image("kg_b0", "keeper_gone", content="kg_b", side=990)
    c.pair("kg_a", "kg_b")
    c.drop("kg_b0")
    said("kg_b0", "keeper")


def conflicts(c, said):
    c.ladder("torn", "to_a", "to_b", "to_c", "to_d")
    for a, b in ("ab", "bc", "ac", "ad"):
        c.pair(f"to_{a}", f"to_{b}")
    said("to_a", "duplicate", "to_b")
    said("to_b", "duplicate", "to_c")
    said("to_a", "not_duplicate", "to_c", "bob")
    c.ladder("two_keepers", "tk_a", "tk_b", "tk_c")
    for a, b in ("ab", "ac", "bc"):
        c.pair(f"tk_{a}", f"tk_{b}")
    said("tk_b", "keeper")
    said("tk_c", "keeper", author="bob")
    c.ladder("two_of_a_set", "ts_a", "ts_b", "ts_m")
    c.pair("ts_a", "ts_m")
    said("ts_a", "duplicate", "ts_b")
    said("ts_a", "keeper")
    said("ts_b", "keeper", author="bob")
    c.ladder("two_apart", "ta_a", "ta_b")  # keepers of groups that nothing joins: no conflict
    for name in "ab":
        c.image(f"ta_{name}2", "two_apart", side=90)
        c.pair(f"ta_{name}", f"ta_{name}2")
        said(f"ta_{name}", "keeper")
    c.ladder("same", "sa_a", "sa_b")
    said("sa_a", "duplicate", "sa_b")
    said("sa_b", "alternate", "sa_a", "bob")
    said("sa_a", "alternate", "sa_b", "bob", at=len(said.rows) - 2)  # replaced: of the first one's time
    c.image("eqc_1", "equal_apart", content="eqc")
    c.image("eqc_2", "equal_apart", content="eqc")
    said("eqc_1", "not_duplicate", "eqc_2")
    c.ladder("inside", "in_a", "in_b", "in_c")
    said("in_a", "duplicate", "in_b")
    said("in_b", "duplicate", "in_c")
    said("in_a", "alternate", "in_c", "bob")
    c.ladder("ghost", "gh_a", "gh_b")
    c.pair("gh_a", "gh_b")
    said("gh_b", "not_duplicate", "no such image")
    c.image("sx", "scope_x")
    c.image("sy", "scope_y")
    said("sx", "duplicate", "sy")


def overruled(c, said):
    c.ladder("keeper_of_rule", "kr_a", "kr_b", "kr_c")  # a person chooses another one later
    for a, b in ("ab", "ac", "bc"):
        c.pair(f"kr_{a}", f"kr_{b}")
    said("kr_b", "keeper", author="rule:x")
    said("kr_c", "keeper")
    c.ladder("apart_by_rule", "ar_a", "ar_b", "ar_c")  # people confirm both over b
    said("ar_a", "not_duplicate", "ar_c", "rule:x")
    said("ar_a", "duplicate", "ar_b")
    said("ar_b", "duplicate", "ar_c", "bob")


def corpus():
    c, said = Corpus(), Said()
    for tell in (joins, separates, alternates, keepers, conflicts, overruled):
        tell(c, said)
    c.ladder("nobody", "no_a", "no_b")
    c.pair("no_a", "no_b")
    return c, said


@pytest.fixture(scope="module")
def judged(spark, checkpoint):
    nights = Decided(spark, checkpoint)
    c, said = corpus()
    return nights, c, said, *nights.night(c, said)


STARS = {
    "unmeasured": {"um_a": {"um_b"}},
    "rejected": {"re_a": {"re_b"}},
    "measured": {"me_a": {"me_b"}},
    "larger": {"la_b": {"la_a"}},
    "transitive": {"tr_a": {"tr_b", "tr_c"}},
    "through_gone": {"tg_a": {"tg_c"}},
    "behind": {"be_c": {"be_u", "be_v"}},
    "replaced": {"rp_a": {"rp_b"}},
    "withdrawn": {},
    "equal": {"eq_1": {"eq_2", "eq_3"}},
    "bridge": {"br_0": {"br_1"}, "br_3": {"br_2", "br_4", "br_5"}},
    "apart": {"ap_k": {"ap_a"}, "ap_b": {"ap_b2"}},
    "apart_copies": {"ac_a": {"ac_a2"}, "ac_b": {"ac_b2"}},
    "apart_machine": {"am_m": {"am_a"}},
    "alternate": {"al_a": {"al_b", "al_b2"}},
    "alternate_new": {"an_a": {"an_b"}},
    "alternate_third": {"at_c": {"at_a", "at_b"}},
    "alternate_sets": {"as_a": {"as_a2", "as_b", "as_b2"}},
    "keeper": {"ke_c": {"ke_a", "ke_b"}},
    "keeper_of_equal": {"kx_3": {"kx_1", "kx_2"}},
    "keeper_gone": {"kg_b": {"kg_a"}},
    "torn": {"to_a": {"to_d"}},
    "two_keepers": {"tk_b": {"tk_a"}},
    "two_of_a_set": {"ts_a": {"ts_m"}},
    "two_apart": {"ta_a": {"ta_a2"}, "ta_b": {"ta_b2"}},
    "same": {"sa_a": {"sa_b"}},
    "equal_apart": {"eqc_1": {"eqc_2"}},
    "inside": {"in_a": {"in_b", "in_c"}},
    "ghost": {"gh_a": {"gh_b"}},
    "keeper_of_rule": {"kr_c": {"kr_a", "kr_b"}},
    "apart_by_rule": {"ar_a": {"ar_b", "ar_c"}},
    "scope_x": {},
    "scope_y": {},
    "nobody": {"no_a": {"no_b"}},
}


def test_the_groups_of_each_scope(judged):
    c, rows = judged[1], judged[3]
    assert {scope: in_scope(rows, scope) for scope in STARS} == STARS
    assert {row["scope"] for row in c.images.values()} == set(STARS)


BITS = ("PDQ differs in 4 of 256", "pHash in 0 of 64")
CONFLICT = ("decision_conflicts", "nothing is removable")


@pytest.mark.parametrize(
    ("image_id", "relation", "kind", "score", "removable", "facts"),
    [
        ("um_b", "copy", "near", 1, True, ("same picture", "Confirmed by ann", "990x990")),
        ("re_b", "copy", "near", 1, True, ("same picture", "Confirmed by bob")),
        ("me_b", "copy", "edited", 1, True, (*BITS, "Confirmed by ann")),
        ("la_a", "alternate", "near", 1, False, ("same picture", "Confirmed by ann", "2000x2000", "990x990")),
        ("tr_c", "copy", "near", 1, True, ("Confirmed by ann, bob",)),
        ("be_v", "alternate", "near", 0.5, False, ("verdict", "not compared with the keeper")),
        ("ap_a", "copy", "near", 0.8, True, ("same picture", *BITS, "apart from ap_b by ann")),
        ("ac_b2", "copy", "near", 1, True, ("Confirmed by ann", "apart from ac_a2 by bob")),
        ("al_b", "alternate", "near", 0.8, False, ("alternate", "ann", "same picture", *BITS)),
        ("an_b", "alternate", "edited", 0.5, False, ("alternate", "ann", "not compared with the keeper")),
        ("at_a", "alternate", "near", 0.8, False, ("alternate", "ann", *BITS)),
        ("as_a2", "copy", "near", 1, True, ("Confirmed by ann",)),
        ("as_b", "alternate", "edited", 0.5, False, ("alternate", "ann", "not compared with the keeper")),
        ("ke_c", "keeper", None, 1, False, ("chosen by bob", "3 images")),
        ("kx_3", "keeper", None, 1, False, ("chosen by ann", "3 images")),
        ("kx_1", "copy", "exact", 1, True, ("same bytes",)),
        ("kg_b", "keeper", None, 1, False, ("chosen by ann", "2 images")),
        ("to_d", "copy", "near", 0.8, False, ("same picture", *BITS, *CONFLICT)),
        ("tk_b", "keeper", None, 1, False, ("chosen by ann", "2 images", *CONFLICT)),
        ("eqc_2", "alternate", "exact", 1, False, ("same bytes", "apart from eqc_1, eqc_2 by ann", *CONFLICT)),
        ("br_2", "copy", "near", 1, True, (*BITS, "Confirmed by ann", "980x980", "970x970")),
        ("no_b", "copy", "near", 0.8, True, ("same picture", *BITS)),
    ],
)
def test_each_row_says_what_it_is_and_why(judged, image_id, relation, kind, score, removable, facts):
    row = judged[3][image_id]
    assert (row.relation, row.kind, row.score_to_keeper, row.is_removable) == (relation, kind, score, removable)
    assert not [fact for fact in facts if fact not in row.reason], row.reason
    absent = {"Confirmed by", "apart from", "chosen by", "decision_conflicts"}
    assert not [word for word in absent if word in row.reason and not any(word in fact for fact in facts)], row.reason


def test_what_is_removable_has_a_kept_image_with_a_direct_pair_that_passes(judged):
    _, c, said, rows, conflicts_found, _ = judged
    keeper_of = {row.group_id: row for row in rows.values() if row.is_keeper}
    confirmed = {frozenset((a, b)) for a, b, verdict, *_ in said.rows if verdict == "duplicate"}
    confirmed |= {frozenset(p) for p in (("tr_a", "tr_c"), ("eq_1", "eq_3"), ("tg_a", "tg_c"), ("ar_a", "ar_c"))}
    removable = [row for row in rows.values() if row.is_removable]
    for row in removable:
        keeper = keeper_of[row.group_id]
        pair = c.pairs.get(tuple(sorted((row.content_id, keeper.content_id))), {"score": 0})
        passed = pair["score"] >= 0.5 or frozenset((row.image_id, keeper.image_id)) in confirmed
        assert passed or c.pixels[row.content_id] == c.pixels[keeper.content_id]
    assert len(removable) > 10
    in_conflict = {name for row in conflicts_found for name in (row.image_id, row.other_image_id)}
    groups = {rows[name].group_id for name in in_conflict if name in rows}
    assert len(groups) == 4  # others stand alone
    assert not [row for row in removable if row.group_id in groups]


def test_conflicts_are_rows_that_name_both_decisions(judged):
    found = {
        (row.kind, row.image_id, row.other_image_id, row.author, row.against_image_id, row.against_author)
        for row in judged[4]
    }
    assert found == {
        ("not_duplicate_of_duplicate", "to_a", "to_c", "bob", "to_b", "ann"),
        ("not_duplicate_of_duplicate", "eqc_1", "eqc_2", "ann", None, None),
        ("alternate_of_duplicate", "in_a", "in_c", "bob", "in_b", "ann"),
        ("two_keepers", "tk_c", None, "bob", "tk_b", "ann"),
        ("two_keepers", "ts_b", None, "bob", "ts_a", "ann"),
        ("unknown_image", "gh_b", "no such image", "ann", None, None),
        ("different_scopes", "sx", "sy", "ann", None, None),
    }
    torn = next(row for row in judged[4] if row.image_id == "to_a")
    times = {row[0]: row[4] for row in judged[2].rows if row[2] == "not_duplicate"}
    assert torn.since.timestamp() == times["to_a"].timestamp() > torn.against_decided_at.timestamp()
    assert torn.message.startswith("the two are copies by other verdicts")
    assert (torn.verdict, torn.against_verdict, len(torn.conflict_id)) == ("not_duplicate", "duplicate", 32)


def test_another_order_and_partitioning_changes_nothing(spark, judged, monkeypatch):
    nights, c, said, rows, conflicts_found, events = judged
    assert {event.event for event in events} == {"born"}
    monkeypatch.setattr(stage, "EDGES_PER_CALL", 10)
    again = nights.night(c, said, seed=11, partitions=5)
    assert again == (rows, conflicts_found, [])


def test_a_verdict_stays_with_the_bytes_that_were_judged(spark, checkpoint):
    c, said = Corpus(), Said()
    c.ladder("s", "a", "b", "x", "y")
    c.pair("a", "b")
    c.image("b2", "s", content="b", side=990)
    said("a", "not_duplicate", "b")
    said("x", "duplicate", "y")
    said("x", "keeper")
    nights = Decided(spark, checkpoint)
    rows, found, _ = nights.night(c, said)
    assert in_scope(rows, "s") == {"b": {"b2"}, "x": {"y"}}
    c.images["b"]["content_id"] = "other bytes"  # the uri of b shows something else now; b2 still has the judged bytes
    c.pixels["other bytes"], c.detail["other bytes"] = "other", 1.0
    c.pair("a", "other bytes")
    c.drop("x")
    c.image("x2", "s", content="x", side=500)
    rows, found, _ = nights.night(c, said)
    assert in_scope(rows, "s") == {"a": {"b"}, "x2": {"y"}}
    assert found == []
    assert nights.pins.count() == 5
    assert "chosen by ann" in rows["x2"].reason


def test_decided_rows_are_written_once_and_only_for_images_that_were_read(spark):
    c, said = Corpus(), Said()
    c.ladder("s", "a", "b")
    c.image("f", "s", failed=True)
    for other in ("b", "f", "ghost"):
        said("a", "duplicate", other)
    images = c.frames(spark)[0]
    decisions = said.frame(spark)
    first = new_decided_rows(decisions, spark.createDataFrame([], DECIDED.schema), images)
    assert first.columns == DECIDED.columns
    kept = [tuple(row) for row in first.orderBy("decided_at", "image_id").collect()]
    assert ["".join(row[:1] + row[2:]) for row in kept] == ["aas", "bbs", "aas", "aas"]
    stored = spark.createDataFrame(kept, DECIDED.schema)
    assert new_decided_rows(decisions, stored, spark.createDataFrame(images.collect(), IMAGES.schema)).isEmpty()
