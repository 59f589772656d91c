"""Groups: cut chains, keepers and reasons. Many small examples share a run, each in its own scope."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from group_corpus import NOON, Corpus, Nights, in_scope, parquet_checkpoint, shapes, stars_of

from dupelake.config import ClusterConfig, Config, LshConfig
from dupelake.group import stage
from dupelake.group.bridges import COMPOSITE_DST, SINGLE
from dupelake.group.totals import what_may_go


@pytest.fixture(scope="module")
def checkpoint(spark, tmp_path_factory):
    return parquet_checkpoint(spark, tmp_path_factory.mktemp("groups"))


def stories():
    c = Corpus()
    shapes(c)
    c.ladder("chain", "ch_a", "ch_b", "ch_c", "ch_d")  # a-b, b-c and c-d pass, no other; b and c agree with two each
    c.pair("ch_a", "ch_b", score=0.6)
    c.pair("ch_b", "ch_c")
    c.pair("ch_c", "ch_d")
    c.pair("ch_a", "ch_c", score=0.4, kind=None)
    c.ladder("tail", "ta_a", "ta_b", "ta_c", "ta_d")  # the same, and the end has a twin of its own
    c.image("ta_e", "tail", content="ta_d", side=970)
    c.pair("ta_a", "ta_b")
    c.pair("ta_b", "ta_c")
    c.pair("ta_c", "ta_d")
    c.ladder("cluster", "cl_a", "cl_b", "cl_c", "cl_d")  # tight edges are transitive, and an edit of a copy is a member
    c.pair("cl_a", "cl_b", score=0.95)
    c.pair("cl_b", "cl_c", score=0.95)
    c.pair("cl_c", "cl_d", score=0.95, kind="edited")
    c.ladder("edits", "ed_a", "ed_b", "ed_c")  # a chain of edits may lead to any picture
    c.pair("ed_a", "ed_b", score=0.95, kind="edited")
    c.pair("ed_b", "ed_c", score=0.95, kind="edited")
    for name in ("ex_2", "ex_1", "ex_3"):  # equal bytes
        c.image(name, "exact", content="ex")
    c.image("px_1", "pixel", pixels="P", size=500)  # equal pixels; the pair measured on px_2's bytes
    c.image("px_2", "pixel", pixels="P", size=800)
    c.image("px_3", "pixel", side=50)
    c.pair("px_2", "px_3", score=0.8, phash_bits=2, pdq_bits=6)
    c.pair("px_1", "px_2", score=1.0, kind="pixel")
    c.ladder("kinds", "ki_k", "ki_m", "ki_e", "ki_c")
    c.pair(
        "ki_k",
        "ki_m",
        kind="mirrored",
        is_mirrored=True,
        pdq_bits=128,
        pdq_mirrored_bits=9,
        phash_mirrored_bits=3,
        cosine_similarity=0.97251,
    )
    c.pair("ki_k", "ki_e", kind="edited", score=0.5, phash_bits=None, pdq_bits=None)
    c.pair("ki_k", "ki_c", kind="crop", score=0.55)
    c.image("al_1", "alone", side=300)  # none of these is in a group
    c.image("al_2", "alone")
    c.pair("al_1", "al_2", score=0.49, kind=None)
    c.image("al_3", "alone", content="al_1", failed=True)
    c.image("al_4", "alone", content="al_1", deleted=True)
    c.image("al_5", "alone", deleted=True)
    c.pair("al_1", "al_5")
    c.image("sc_1", "scope_x", content="sc", side=70)  # one content, and a pair, in two scopes
    c.image("sc_2", "scope_y", content="sc", side=70)
    c.image("sc_3", "scope_x", side=60)
    c.image("sc_4", "scope_z", side=50)
    c.pair("sc", "sc_3")
    c.pair("sc", "sc_4")
    c.pair("sc_3", "sc_4")
    c.image("nf_1", "names", content="nf", file="N")  # one file under two names, and a copy of it
    c.image("nf_2", "names", content="nf", file="N")
    c.image("nf_3", "names", content="nf", file="M")
    c.image("hl_1", "hard", content="hl", file="A")  # the file of the keeper, and another under two names
    c.image("hl_2", "hard", content="hl", file="B", size=700)
    c.image("hl_3", "hard", content="hl", file="B", size=700)
    c.image("te_1", "tenant_x", content="te", file="A")  # the copy is another tenant's only picture
    c.image("te_2", "tenant_x", content="te", file="B")
    c.image("te_3", "tenant_y", content="te", file="B")
    c.image("gn_1", "gone", content="gn", file="A")  # the other name of the copy is gone
    c.image("gn_2", "gone", content="gn", file="B")
    c.image("gn_3", "gone", content="gn", file="B", deleted=True)
    c.image("ov_1", "over", content="ov", file="A")  # the copy's file was read as something else before
    c.image("ov_2", "over", content="ov", file="B")
    c.image("ov_3", "over", content="ov_before", file="B")
    c.ladder("hub", *(f"hu_{i:03d}" for i in range(100)))  # all pass against the best: one group
    for i in range(1, 100):
        c.pair("hu_000", f"hu_{i:03d}", score=0.5 + i / 400)
    return c


@pytest.fixture(scope="module")
def first_night(spark, checkpoint):
    nights = Nights(spark, checkpoint)
    rows, events = nights.run(stories())
    return nights, {row.image_id: row for row in rows}, events


@pytest.mark.parametrize(
    ("scope", "stars"),
    [
        ("chain", {"ch_b": {"ch_a", "ch_c"}}),
        ("cluster", {"cl_b": {"cl_a", "cl_c", "cl_d"}}),
        ("edits", {"ed_b": {"ed_a", "ed_c"}}),
        ("tail", {"ta_b": {"ta_a", "ta_c"}, "ta_d": {"ta_e"}}),
        ("exact", {"ex_1": {"ex_2", "ex_3"}}),
        ("names", {"nf_1": {"nf_2", "nf_3"}}),
        ("tenant_y", {}),
        ("pixel", {"px_2": {"px_1", "px_3"}}),
        ("kinds", {"ki_k": {"ki_m", "ki_e", "ki_c"}}),
        ("alone", {}),
        ("scope_x", {"sc_1": {"sc_3"}}),
        ("scope_y", {}),
        ("scope_z", {}),
        ("hub", {"hu_000": {f"hu_{i:03d}" for i in range(1, 100)}}),
        ("fuller", {"fu_f": {"fu_c"}}),
        ("tiny", {"ti_c": {"ti_f"}}),
        ("enlarged", {"en_o": {"en_e", "en_s"}}),
        ("saved", {"rs_o": {"rs_j"}}),
        ("words", {"wo_k": {"wo_crop", "wo_edit", "wo_text", "wo_turn", "wo_flip", "wo_frame", "wo_red"}}),
        ("collage", {"co_p0": {"co_p1", "co_x"}, "co_q0": {"co_q1"}}),
        ("false", {"le_0": {"le_1", "le_2"}, "ri_0": {"ri_1", "ri_2"}}),
        ("crops", {"cr_f": {"cr_a1", "cr_a2", "cr_b1", "cr_b2"}}),
    ],
)
def test_the_groups_of_each_scope(first_night, scope, stars):
    assert in_scope(first_night[1], scope) == stars


def test_a_file_that_another_image_names_is_not_removable(first_night):
    rows = first_night[1]
    assert {name for name in rows if name[:2] in ("nf", "hl", "te", "gn", "ov") and rows[name].is_removable} == {
        "nf_3",
        "hl_2",
        "hl_3",
        "gn_2",
        "ov_2",
    }
    assert "same file" in rows["nf_2"].reason
    assert "nf_1" in rows["nf_2"].reason
    assert (rows["nf_2"].relation, rows["nf_2"].kind) == ("copy", "exact")
    assert "not removable" not in rows["ex_2"].reason.lower()
    assert "Not removable" in rows["te_2"].reason
    assert "another scope" in rows["te_2"].reason
    assert "te_3" not in rows["te_2"].reason  # it is not named, because it may have another owner


def test_bytes_of_a_file_count_once(first_night, spark):
    groups = first_night[0].groups.where("scope IN ('names', 'hard')")
    images, _, _ = stories().frames(spark)
    row = spark.sql(what_may_go("{groups}", "{images}"), groups=groups, images=images).first()
    assert (row.removable_bytes, row.identical_bytes) == (1000 + 700, 1000 + 700)


def test_a_copy_of_a_copy_names_the_image_it_was_compared_with_and_is_kept(first_night):
    rows = first_night[1]
    assert {name: rows[name].compared_with for name in ("cl_a", "cl_b", "cl_c", "cl_d")} == {
        "cl_a": "cl_b",
        "cl_b": None,
        "cl_c": "cl_b",
        "cl_d": "cl_c",
    }
    assert (rows["cl_d"].relation, rows["cl_d"].tier, rows["cl_d"].score_to_keeper) == ("alternate", None, 0.95)
    assert not [
        fact for fact in ("PDQ differs in 4 of 256", "a copy of image cl_c only") if fact not in rows["cl_d"].reason
    ]
    assert (rows["cl_c"].relation, rows["cl_c"].tier, rows["cl_c"].is_removable) == ("copy", "copies", False)
    assert (rows["ex_2"].tier, rows["ex_2"].compared_with) == ("identical", "ex_1")


def test_every_member_passed_against_its_keeper(first_night):
    corpus, rows = stories(), first_night[1]
    rows = {name: row for name, row in rows.items() if name != "cl_d"}  # compared with another member
    keeper_of = {row.group_id: row for row in rows.values() if row.is_keeper}
    twins = {"ex_2", "ex_3", "ta_e", "px_1"}
    for row in rows.values():
        keeper = keeper_of[row.group_id]
        if row.is_keeper or row.image_id in twins or row.content_id == keeper.content_id:
            assert row.score_to_keeper == 1.0
        else:
            pair = corpus.pairs[tuple(sorted((row.content_id, keeper.content_id)))]
            assert (row.score_to_keeper, row.kind) == (pair["score"], pair["kind"])
            assert pair["is_duplicate"]


@pytest.mark.parametrize(
    ("image_id", "relation", "kind", "removable", "facts"),
    [
        ("ch_b", "keeper", None, False, ("larger (990x990)", "looks most like")),
        ("ch_c", "copy", "near", False, ("PDQ differs in 4 of 256", "pHash in 0 of 64", "980x980 against 990x990")),
        ("ex_1", "keeper", None, False, ("same pixels", "its image_id")),
        ("ex_2", "copy", "exact", True, ("same bytes",)),
        ("px_2", "keeper", None, False, ("same pixels", "0.64 bits")),
        ("px_1", "copy", "pixel", True, ("same pixels", "other bytes")),
        ("px_3", "copy", "near", False, ("PDQ differs in 6", "pHash in 2", "50x50 against 100x100")),
        ("ki_m", "copy", "mirrored", False, ("mirrored", "PDQ differs in 9", "pHash in 3")),
        ("ki_e", "alternate", "edited", False, ("by its hashes", "980x980 against 1000x1000")),
        ("ki_c", "copy", "crop", False, ("PDQ differs in 4",)),
        ("fu_f", "keeper", None, False, ("the whole picture; 1 other is a crop",)),
        ("fu_c", "alternate", "crop", False, ("shows 52 %", "150 % of the resolution (1100x1100)", "finer")),
        ("ti_c", "keeper", None, False, ("higher resolution", "1 other shows more, but much coarser")),
        ("ti_f", "alternate", "crop", False, ("more than the keeper", "50 % of it", "6 % of the resolution (100x100)")),
        ("en_o", "keeper", None, False, ("not enlarged (1200x800)", "1 other shows the picture", "was enlarged")),
        ("en_e", "copy", "near", False, ("2400x1600 against 1200x800",)),
        ("wo_crop", "copy", "crop", False, ("shows 54 %", "at the same resolution (1920x1080)")),
        ("wo_edit", "alternate", "edited", False, ("left (about 12 %", "at half the size (1280x750 against 2560x1500")),
        ("wo_text", "alternate", "edited", False, ("at the bottom (about 2 %",)),
        ("wo_turn", "copy", "rotated", False, ("rotated by 90 degrees at half the size (750x1280",)),
        ("wo_flip", "copy", "mirrored", False, ("mirror image, shows 30 % of the keeper", "1280x1080")),
        ("wo_frame", "alternate", "near", False, ("8 % of it is not in the keeper", "half the resolution")),
        ("wo_red", "alternate", "recoloured", False, ("other colours",)),
        ("co_x", "alternate", "crop", False, ("more than the keeper", "70 %", "2 links", "several pictures")),
        ("co_q0", "keeper", None, False, ("largest (1500x1500); 1 other", "1 link", "nothing else in common")),
        ("ri_2", "copy", "near", False, ("98x98 against 100x100", "1 link", "nothing else in common")),
    ],
)
def test_each_row_says_what_it_is_and_why(first_night, image_id, relation, kind, removable, facts):
    row = first_night[1][image_id]
    assert (row.relation, row.kind, row.is_removable) == (relation, kind, removable)
    assert not [fact for fact in facts if fact not in row.reason], row.reason


def test_each_group_is_born_once_under_an_id_of_32_hex_digits(first_night):
    _, rows, events = first_night
    sizes = {row.group_id: row.group_size for row in rows.values()}
    assert {e.group_id: e.n_images for e in events} == sizes
    assert {e.event for e in events} == {"born"}
    assert all(len(g) == 32 and int(g, 16) >= 0 for g in sizes)


def test_a_rerun_in_another_order_and_partitioning_changes_nothing(spark, first_night, monkeypatch):
    nights, rows, _ = first_night
    cuts = nights.cuts
    monkeypatch.setattr(stage, "EDGES_PER_CALL", 10)  # many buckets instead of one
    spark.conf.set("spark.sql.shuffle.partitions", "8")
    try:
        again, events = nights.run(stories(), partitions=8, seed=5)
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", "4")
    assert events == []
    assert again == [rows[image_id] for image_id in sorted(rows)]  # updated_at included
    assert nights.cuts == cuts
    assert {(row.src, row.dst, row.cut) for row in cuts} == {
        ("co_q0/collage", "co_x/collage", COMPOSITE_DST),
        ("co_q1/collage", "co_x/collage", COMPOSITE_DST),
        ("le_0/false", "ri_2/false", SINGLE),
    }
    assert len({row.component for row in cuts}) == 2


def test_across_scopes_images_are_compared_and_groups_have_no_scope(spark, checkpoint):
    rows, _ = Nights(spark, checkpoint, Config(lsh=LshConfig(scope="across"))).run(stories())
    assert {row.scope for row in rows} == {""}
    stars = stars_of(rows)
    assert stars["sc_1"] == {"sc_2", "sc_3", "sc_4"}
    assert stars["ch_b"] == {"ch_a", "ch_c"}


def criteria_corpus():
    """In each scope, `good` wins by one criterion of the default order and loses by all later ones."""
    c = Corpus()
    early, late = NOON - timedelta(days=2), NOON - timedelta(days=1)
    for scope, good, bad in (
        ("pixels", {"side": 101, "size": 1}, {"side": 100, "size": 9999, "fmt": "TIFF", "captured": early}),
        ("compression", {"size": 1001, "fmt": "GIF"}, {"fmt": "PNG", "captured": early}),
        ("format", {"fmt": "png"}, {"fmt": "JPEG", "captured": early}),
        ("unlisted", {"fmt": "GIF"}, {"fmt": "XBM", "captured": early}),
        ("captured_at", {"captured": early}, {"captured": late}),
        ("captured_null", {"captured": late}, {}),
    ):
        c.image(f"z_{scope}", scope, **good)  # the larger image_id
        c.image(f"a_{scope}", scope, **bad)
        c.pair(f"z_{scope}", f"a_{scope}")
    c.image("a_image_id", "image_id")
    c.image("z_image_id", "image_id")
    c.pair("a_image_id", "z_image_id")
    return c


def test_each_criterion_of_the_keeper_order_decides_where_those_before_are_alike(spark, checkpoint):
    rows, _ = Nights(spark, checkpoint).run(criteria_corpus())
    keepers = {row.scope: row for row in rows if row.is_keeper}
    assert {scope: row.image_id[0] for scope, row in keepers.items()} == {
        "pixels": "z",
        "compression": "z",
        "format": "z",
        "unlisted": "z",
        "captured_at": "z",
        "captured_null": "z",
        "image_id": "a",
    }
    facts = {
        "pixels": "largest (101x101)",
        "compression": "0.80 bits",
        "format": "format (png)",
        "unlisted": "format (GIF)",
        "captured_at": "2026-10-30 12:00:00",
        "captured_null": "2026-10-31 12:00:00",
        "image_id": "its image_id",
    }
    for scope, fact in facts.items():
        assert fact in keepers[scope].reason
        assert ("ties" in keepers[scope].reason) == (scope != "pixels")


def test_the_keeper_order_and_the_tier_are_configurable(spark, checkpoint):
    cluster = ClusterConfig(keeper_order=("captured_at", "image_id"), removable="copies")
    rows, _ = Nights(spark, checkpoint, Config(cluster=cluster)).run(criteria_corpus())
    keepers = {row.scope: row.image_id[0] for row in rows if row.is_keeper}
    assert keepers == dict.fromkeys(("compression", "format", "unlisted", "image_id"), "a") | {
        "pixels": "z",  # larger: the configured order comes last
        "captured_at": "z",
        "captured_null": "z",
    }
    assert (
        {row.image_id for row in rows if row.is_removable}
        == {row.image_id for row in rows if (row.relation, row.kind) == ("copy", "near")}
        != set()
    )


def chains():
    """10,000 images from best to worst, and a morph of 1,000 steps of mixed quality; only neighbours pass."""
    c = Corpus()
    sides = random.Random(3).sample(range(100, 1100), 1000)  # noqa: S311
    for name, scope, steps in (("so", "sorted", 10_000), ("mo", "morph", 1000)):
        for i in range(steps):
            c.image(f"{name}_{i:05d}", scope, side=20_000 - i if name == "so" else sides[i])
            if i:
                c.pair(f"{name}_{i - 1:05d}", f"{name}_{i:05d}", score=0.89)
    return c


def test_chains_are_cut_into_stars(spark, checkpoint):
    corpus = chains()
    rows, _ = Nights(spark, checkpoint).run(corpus)
    # the first end agrees with one neighbour only, so the next is the best; the last has no group
    pairs_of = {f"so_{i:05d}": {f"so_{i + 1:05d}"} for i in range(3, 9999, 2)}
    assert in_scope(rows, "sorted") == {"so_00001": {"so_00000", "so_00002"}} | pairs_of
    morph = in_scope(rows, "morph")
    for keeper, members in morph.items():
        for member in members:
            assert abs(int(keeper[3:]) - int(member[3:])) == 1
            is_end = member in ("mo_00000", "mo_00999")  # agrees with half as many
            assert is_end or corpus.images[keeper]["width_px"] > corpus.images[member]["width_px"]
    assert 600 < sum(1 + len(members) for members in morph.values()) <= 1000


def test_an_empty_warehouse_gives_empty_tables(spark, checkpoint):
    assert Nights(spark, checkpoint).run(Corpus()) == ([], [])
