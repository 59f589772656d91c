"""Groups: the chain guard, keepers, reasons, and ids that last. Many small stories share a run, one scope each."""

from __future__ import annotations

import dataclasses
import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from dupelake.config import ClusterConfig, Config, LshConfig
from dupelake.schema import GROUP_CHANGES, GROUPS, HASHES, IMAGES, PAIRS
from dupelake.stages import groups as stage
from dupelake.stages.groups import build_groups

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Corpus:
    """Rows of images, hashes and pairs; content ids are the names of images unless a story says otherwise."""

    def __init__(self):
        self.images, self.pixels, self.pairs = {}, {}, {}

    def image(self, image_id, scope, *, content=None, pixels=None, side=100, size=1000, fmt="JPEG", captured=None,
              failed=False, deleted=False):
        content = content or image_id
        self.images[image_id] = dict(
            image_id=image_id, uri=f"/{image_id}", partition="p", scope=scope, content_id=content, byte_size=size,
            width_px=side, height_px=side, format=fmt, captured_at=captured, status="failed" if failed else "ok",
            reason="truncated" if failed else None, ingested_at=NOON, deleted_at=NOON if deleted else None)
        self.pixels[content] = pixels or f"digest of {content}"

    def ladder(self, scope, *names):
        """Images from the best to the worst."""
        for place, name in enumerate(names):
            self.image(name, scope, side=1000 - 10 * place)

    def pair(self, a, b, *, score=0.9, kind="near", **more):
        src, dst = sorted((a, b))
        self.pairs[src, dst] = dict(
            src_id=src, dst_id=dst, phash_bits=0, pdq_bits=4, is_mirrored=False, kind=kind, score=score,
            is_duplicate=score >= 0.5, found_by="pdq", hash_version="h", join_version="j", decide_version="d") | more

    def drop(self, *image_ids):
        for image_id in image_ids:
            self.images[image_id]["deleted_at"] = NOON

    def frames(self, spark, partitions=2, seed=None):
        hashes = [dict(content_id=c, pixel_digest=p, phash=0, phash_mirrored=0, pdq=b"", pdq_mirrored=b"",
                       pdq_quality=100, is_low_information=False, hash_version="h") for c, p in self.pixels.items()]
        out = []
        for table, rows in ((IMAGES, list(self.images.values())), (HASHES, hashes), (PAIRS, list(self.pairs.values()))):
            if seed is not None:
                random.Random(seed).shuffle(rows)
            tuples = [tuple(row.get(name) for name in table.columns) for row in rows]
            out.append(spark.createDataFrame(tuples, table.schema).repartition(partitions))
        return out


class Nights:
    """A warehouse in memory: each call is one run over the stored groups and events."""

    def __init__(self, spark, checkpoint, cfg=None):
        self.spark, self.checkpoint, self.cfg = spark, checkpoint, cfg or Config()
        self.groups = spark.createDataFrame([], GROUPS.schema)
        self.changes = spark.createDataFrame([], GROUP_CHANGES.schema)
        self.number = 0

    def run(self, corpus, **how):
        self.number += 1
        built = build_groups(*corpus.frames(self.spark, **how), self.groups, self.changes, self.cfg,
                             f"run{self.number}", NOON + timedelta(days=self.number), self.checkpoint)
        new = self.checkpoint(built.changes)
        self.groups, self.changes = self.checkpoint(built.groups), self.checkpoint(self.changes.union(new))
        assert built.groups.columns == GROUPS.columns
        assert built.changes.columns == GROUP_CHANGES.columns
        rows, events = self.groups.orderBy("image_id").collect(), new.orderBy("group_id", "event").collect()
        assert len({(e.run_id, e.group_id, e.event) for e in events}) == len(events)
        return rows, events


@pytest.fixture(scope="module")
def checkpoint(spark, tmp_path_factory):
    folder, number = tmp_path_factory.mktemp("groups"), itertools.count()

    def by_parquet(df):
        path = str(folder / f"{next(number)}")
        df.write.parquet(path)
        return spark.read.schema(df.schema).parquet(path)

    return by_parquet


def stories():
    c = Corpus()
    c.ladder("chain", "ch_a", "ch_b", "ch_c")                        # a-b and b-c pass, a-c does not
    c.pair("ch_a", "ch_b", score=0.6)
    c.pair("ch_b", "ch_c")
    c.pair("ch_a", "ch_c", score=0.4, kind=None)
    c.ladder("tail", "ta_a", "ta_b", "ta_c")                         # the same, and the end has a twin of its own
    c.image("ta_d", "tail", content="ta_c", side=980)
    c.pair("ta_a", "ta_b")
    c.pair("ta_b", "ta_c")
    for name in ("ex_2", "ex_1", "ex_3"):                            # equal bytes
        c.image(name, "exact", content="ex")
    c.image("px_1", "pixel", pixels="P", size=500)                   # equal pixels; the pair measured on px_2's bytes
    c.image("px_2", "pixel", pixels="P", size=800)
    c.image("px_3", "pixel", side=50)
    c.pair("px_2", "px_3", score=0.8, phash_bits=2, pdq_bits=6)
    c.pair("px_1", "px_2", score=1.0, kind="pixel")
    c.ladder("kinds", "ki_k", "ki_m", "ki_e", "ki_c")
    c.pair("ki_k", "ki_m", kind="mirrored", is_mirrored=True, pdq_bits=128, pdq_mirrored_bits=9,
           phash_mirrored_bits=3, cosine_similarity=0.97251)
    c.pair("ki_k", "ki_e", kind="edited", score=0.5, phash_bits=None, pdq_bits=None)
    c.pair("ki_k", "ki_c", kind="crop", score=0.55)
    c.image("al_1", "alone", side=300)                               # none of these is in a group
    c.image("al_2", "alone")
    c.pair("al_1", "al_2", score=0.49, kind=None)
    c.image("al_3", "alone", content="al_1", failed=True)
    c.image("al_4", "alone", content="al_1", deleted=True)
    c.image("al_5", "alone", deleted=True)
    c.pair("al_1", "al_5")
    c.image("sc_1", "scope_x", content="sc", side=70)                # one content, and a pair, in two scopes
    c.image("sc_2", "scope_y", content="sc", side=70)
    c.image("sc_3", "scope_x", side=60)
    c.image("sc_4", "scope_z", side=50)
    c.pair("sc", "sc_3")
    c.pair("sc", "sc_4")
    c.pair("sc_3", "sc_4")
    c.ladder("hub", *(f"hu_{i:03d}" for i in range(100)))            # all near the best: one group, none left out
    for i in range(1, 100):
        c.pair("hu_000", f"hu_{i:03d}", score=0.5 + i / 400)
    return c


@pytest.fixture(scope="module")
def first_night(spark, checkpoint):
    nights = Nights(spark, checkpoint)
    rows, events = nights.run(stories())
    return nights, {row.image_id: row for row in rows}, events


def stars_of(rows):
    """{keeper: {members}} of some rows."""
    out = {}
    for _, group in itertools.groupby(sorted(rows, key=lambda r: r.group_id), key=lambda r: r.group_id):
        group = list(group)
        (keeper,) = [row.image_id for row in group if row.is_keeper]
        assert {row.group_size for row in group} == {len(group)}
        out[keeper] = {row.image_id for row in group} - {keeper}
    return out


def in_scope(rows, scope):
    return stars_of([row for row in (rows.values() if isinstance(rows, dict) else rows) if row.scope == scope])


@pytest.mark.parametrize(("scope", "stars"), [
    ("chain", {"ch_a": {"ch_b"}}), ("tail", {"ta_a": {"ta_b"}, "ta_c": {"ta_d"}}), ("exact", {"ex_1": {"ex_2", "ex_3"}}),
    ("pixel", {"px_2": {"px_1", "px_3"}}), ("kinds", {"ki_k": {"ki_m", "ki_e", "ki_c"}}), ("alone", {}),
    ("scope_x", {"sc_1": {"sc_3"}}), ("scope_y", {}), ("scope_z", {}),
    ("hub", {"hu_000": {f"hu_{i:03d}" for i in range(1, 100)}})])
def test_who_stands_with_whom(first_night, scope, stars):
    assert in_scope(first_night[1], scope) == stars


def test_every_member_passed_against_its_keeper(first_night):
    corpus, rows = stories(), first_night[1]
    keeper_of = {row.group_id: row for row in rows.values() if row.is_keeper}
    twins = {"ex_2", "ex_3", "ta_d", "px_1"}
    for row in rows.values():
        keeper = keeper_of[row.group_id]
        if row.is_keeper or row.image_id in twins:
            assert row.score_to_keeper == 1.0
        else:
            pair = corpus.pairs[tuple(sorted((row.content_id, keeper.content_id)))]
            assert (row.score_to_keeper, row.kind) == (pair["score"], pair["kind"])
            assert pair["is_duplicate"]


@pytest.mark.parametrize(("image_id", "relation", "kind", "removable", "reason"), [
    ("ch_a", "keeper", None, False, "keeper: most pixels (1000x1000) of 2 images"),
    ("ch_b", "copy", "near", True,
     "same picture as the keeper (PDQ 4 of 256 bits, pHash 0 of 64 bits), 990x990 against 1000x1000"),
    ("ex_1", "keeper", None, False,
     "keeper: smallest image_id of 3 images; it and the next best are alike in pixels, compression, format, captured_at"),
    ("ex_2", "copy", "exact", True, "same bytes as the keeper"),
    ("px_2", "keeper", None, False, "keeper: least compressed (0.64 bits a pixel) of 3 images; it and the next best are "
                                    "alike in pixels"),
    ("px_1", "copy", "pixel", True, "same pixels as the keeper, in a file with other bytes"),
    ("px_3", "copy", "near", True,
     "same picture as the keeper (PDQ 6 of 256 bits, pHash 2 of 64 bits), 50x50 against 100x100"),
    ("ki_m", "alternate", "mirrored", False, "the keeper's picture, mirrored (PDQ 9 of 256 bits, pHash 3 of 64 bits, "
                                             "cosine 0.973), 990x990 against 1000x1000"),
    ("ki_e", "alternate", "edited", False, "the keeper's picture, edited, 980x980 against 1000x1000"),
    ("ki_c", "alternate", "crop", False, "a crop of the keeper's picture (PDQ 4 of 256 bits, pHash 0 of 64 bits), "
                                         "970x970 against 1000x1000")])
def test_each_row_says_what_it_is_and_why(first_night, image_id, relation, kind, removable, reason):
    row = first_night[1][image_id]
    assert (row.relation, row.kind, row.is_removable, row.reason) == (relation, kind, removable, reason)


def test_each_group_is_born_once_under_an_id_of_32_hex_digits(first_night):
    _, rows, events = first_night
    sizes = {row.group_id: row.group_size for row in rows.values()}
    assert {e.group_id: e.n_images for e in events} == sizes
    assert {e.event for e in events} == {"born"}
    assert all(len(g) == 32 and int(g, 16) >= 0 for g in sizes)


def test_a_rerun_in_another_order_and_partitioning_changes_nothing(spark, first_night, monkeypatch):
    nights, rows, _ = first_night
    monkeypatch.setattr(stage, "ARCS_PER_CALL", 10)  # many calls of the kernel instead of one
    spark.conf.set("spark.sql.shuffle.partitions", "8")
    try:
        again, events = nights.run(stories(), partitions=8, seed=5)
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", "4")
    assert events == []
    assert again == [rows[image_id] for image_id in sorted(rows)]  # updated_at included


def test_across_scopes_images_are_compared_and_groups_have_no_scope(spark, checkpoint):
    rows, _ = Nights(spark, checkpoint, Config(lsh=LshConfig(scope="across"))).run(stories())
    assert {row.scope for row in rows} == {""}
    stars = stars_of(rows)
    assert stars["sc_1"] == {"sc_2", "sc_3", "sc_4"}
    assert stars["ch_a"] == {"ch_b"}


def criteria_corpus():
    """In each scope, `good` wins by one criterion of the default order and loses by all that come later."""
    c = Corpus()
    early, late = NOON - timedelta(days=2), NOON - timedelta(days=1)
    for scope, good, bad in (
            ("pixels", {"side": 101, "size": 1}, {"side": 100, "size": 9999, "fmt": "TIFF", "captured": early}),
            ("compression", {"size": 1001, "fmt": "GIF"}, {"fmt": "PNG", "captured": early}),
            ("format", {"fmt": "png"}, {"fmt": "JPEG", "captured": early}),
            ("unlisted", {"fmt": "GIF"}, {"fmt": "XBM", "captured": early}),
            ("captured_at", {"captured": early}, {"captured": late}),
            ("captured_null", {"captured": late}, {})):
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
        "pixels": "z", "compression": "z", "format": "z", "unlisted": "z", "captured_at": "z", "captured_null": "z",
        "image_id": "a"}
    first_words = {"pixels": "most pixels (101x101)", "compression": "least compressed (0.80 bits a pixel)",
                   "format": "preferred format (png)", "unlisted": "preferred format (GIF)",
                   "captured_at": "captured first (2026-10-30 12:00:00)",
                   "captured_null": "captured first (2026-10-31 12:00:00)", "image_id": "smallest image_id"}
    for scope, words in first_words.items():
        assert keepers[scope].reason.startswith(f"keeper: {words} of 2 images"), keepers[scope].reason


def test_the_keeper_order_and_the_removable_kinds_are_configurable(spark, checkpoint):
    cluster = ClusterConfig(keeper_order=("captured_at", "image_id"), removable_kinds=("exact",))
    rows, _ = Nights(spark, checkpoint, Config(cluster=cluster)).run(criteria_corpus())
    keepers = {row.scope: row.image_id[0] for row in rows if row.is_keeper}
    assert keepers == dict.fromkeys(("pixels", "compression", "format", "unlisted", "image_id"), "a") | {
        "captured_at": "z", "captured_null": "z"}
    assert not any(row.is_removable for row in rows)


def chains():
    """10,000 images from the best to the worst, and a morph of 1,000 steps of mixed quality: neighbours alone pass."""
    c = Corpus()
    sides = random.Random(3).sample(range(100, 1100), 1000)
    for name, scope, steps in (("so", "sorted", 10_000), ("mo", "morph", 1000)):
        for i in range(steps):
            c.image(f"{name}_{i:05d}", scope, side=20_000 - i if name == "so" else sides[i])
            if i:
                c.pair(f"{name}_{i - 1:05d}", f"{name}_{i:05d}", score=0.99)
    return c


def test_chains_are_cut_into_stars(spark, checkpoint):
    corpus = chains()
    rows, _ = Nights(spark, checkpoint).run(corpus)
    assert in_scope(rows, "sorted") == {f"so_{i:05d}": {f"so_{i + 1:05d}"} for i in range(0, 10_000, 2)}
    morph = in_scope(rows, "morph")
    for keeper, members in morph.items():
        for member in members:
            assert abs(int(keeper[3:]) - int(member[3:])) == 1
            assert corpus.images[keeper]["width_px"] > corpus.images[member]["width_px"]
    assert 600 < sum(1 + len(members) for members in morph.values()) <= 1000


def nights_of_change():
    """Five nights; each scope tells one story."""
    c = Corpus()
    for scope in ("grow", "merge", "merge_weak", "split", "end", "heir", "reborn", "swap"):
        c.ladder(scope, *(f"{scope}_{i}" for i in range(8)))
        c.drop(*(f"{scope}_{i}" for i in range(8)))

    def show(scope, *numbers):
        for i in numbers:
            c.images[f"{scope}_{i}"]["deleted_at"] = None

    def link(scope, *pairs, score=0.9):
        for a, b in pairs:
            c.pair(f"{scope}_{a}", f"{scope}_{b}", score=score, kind="near" if score >= 0.5 else None)

    show("grow", 1, 2), link("grow", (1, 2), (0, 1), (0, 2), (1, 3), (0, 3))
    show("merge", 4, 5), link("merge", (4, 5))
    show("merge_weak", 1, 2, 3, 5, 6), link("merge_weak", (1, 2), (1, 3), (5, 6))
    show("split", 1, 2, 3, 4, 5), link("split", (1, 2), (1, 3), (1, 4), (1, 5), (3, 4), (3, 5))
    show("end", 1, 2), link("end", (1, 2))
    show("heir", 1, 2, 3), link("heir", (1, 2), (1, 3), (2, 3))
    show("reborn", 1, 2), link("reborn", (1, 2))
    show("swap", 1, 2, 3), link("swap", (1, 2), (1, 3), (1, 4))
    yield c
    show("grow", 3)                                         # a worse one joins
    show("merge", 1, 2), link("merge", (1, 2))              # a better pair beside the old one
    link("split", (1, 3), (1, 4), (1, 5), score=0.3)        # a measure was corrected: 3, 4, 5 are a picture of their own
    c.drop("end_2", "heir_1", "reborn_1", "swap_2")
    show("swap", 4)
    c.drop("merge_weak_1")                                  # a keeper without whom its members go to another group
    link("merge_weak", (2, 5), (3, 5), (2, 6), (2, 3))
    yield c
    show("grow", 0)                                         # a better one takes the keeper's place
    link("merge", (1, 4), (1, 5))                           # two keepers in one group: the older group lives on
    show("reborn", 1)
    yield c
    c.drop("reborn_1")
    yield c
    show("reborn", 1)
    yield c


@pytest.fixture(scope="module")
def life(spark, checkpoint):
    nights, seen, ids = Nights(spark, checkpoint), [], {}
    for corpus in nights_of_change():
        rows, events = nights.run(corpus)
        ids |= {row.group_id: row.scope for row in rows}
        seen.append(({row.image_id: row for row in rows}, events))
    return seen, ids


def told(life, scope):
    """Per night, the events of a scope with ids replaced by the order in which they were first seen."""
    seen, ids = life
    order = {}
    out = []
    for _, events in seen:
        mine = [e for e in events if ids[e.group_id] == scope]
        for event in sorted(mine, key=lambda e: e.event != "born"):
            order.setdefault(event.group_id, len(order))
        out.append(sorted((e.event, order[e.group_id], order.get(e.other_group_id), e.n_images) for e in mine))
    return out


@pytest.mark.parametrize(("scope", "nights"), [
    ("grow", [[("born", 0, None, 2)], [("grew", 0, None, 3)], [("grew", 0, None, 4)], [], []]),
    ("merge", [[("born", 0, None, 2)], [("born", 1, None, 2)],
               [("grew", 0, None, 4), ("merged_into", 1, 0, 0)], [], []]),
    ("split", [[("born", 0, None, 5)], [("born", 1, None, 3), ("shrank", 0, None, 2), ("split_from", 1, 0, 3)], [], [], []]),
    ("end", [[("born", 0, None, 2)], [("ended", 0, None, 0)], [], [], []]),
    ("heir", [[("born", 0, None, 3)], [("shrank", 0, None, 2)], [], [], []]),
    ("reborn", [[("born", 0, None, 2)], [("ended", 0, None, 0)], [("born", 1, None, 2)], [("ended", 1, None, 0)],
                [("born", 2, None, 2)]]),
    ("swap", [[("born", 0, None, 3)], [], [], [], []])])
def test_the_life_of_a_group(life, scope, nights):
    assert told(life, scope) == nights


def test_a_group_that_lost_its_keeper_merges_into_the_one_that_took_its_members(life):
    seen, _ = life
    small = seen[0][0]["merge_weak_5"].group_id
    large = seen[0][0]["merge_weak_1"].group_id
    assert small != large
    # 2 is the best now and takes 3, 5 and 6: 5, the keeper of the small group, has first claim
    assert {seen[1][0][f"merge_weak_{i}"].group_id for i in (2, 3, 5, 6)} == {small}
    assert [(e.event, e.other_group_id, e.n_images) for e in seen[1][1] if e.group_id == large] == [
        ("merged_into", small, 0)]


def test_a_new_keeper_takes_over_the_id(life):
    seen, _ = life
    assert seen[1][0]["grow_1"].is_keeper
    assert seen[2][0]["grow_0"].is_keeper
    assert len({seen[night][0]["grow_2"].group_id for night in range(5)}) == 1


def test_updated_at_moves_with_the_row_only(life):
    seen, _ = life
    at = [[seen[night][0][name].updated_at for night in range(5)] for name in ("grow_2", "heir_2")]
    days = [datetime(2026, 11, 1 + n, 12) for n in range(1, 6)]
    assert [[moment.replace(tzinfo=None) for moment in row] for row in at] == [
        [days[0], days[1], days[2], days[2], days[2]], [days[0], days[1], days[1], days[1], days[1]]]


def test_a_group_is_never_of_one_image_and_has_one_keeper(life):
    for rows, _ in life[0]:
        for keeper, members in stars_of(rows.values()).items():
            assert members, keeper


def test_an_empty_warehouse_gives_empty_tables(spark, checkpoint):
    assert Nights(spark, checkpoint).run(Corpus()) == ([], [])


def test_an_id_in_use_is_not_given_to_a_newborn(spark, checkpoint):
    """Even where the events are lost and only the stored groups know of the id."""
    c = Corpus()
    c.ladder("s", "a", "b", "c")
    c.pair("a", "b")
    nights = Nights(spark, checkpoint)
    rows, _ = nights.run(c)
    stored = [dataclasses.replace(Stored(row), image_id=name).row() for row, name in zip(rows, ("x", "y"), strict=True)]
    nights.groups = spark.createDataFrame(stored, GROUPS.schema)  # its images are gone, the id is not
    nights.changes = nights.changes.where(F.lit(False))
    again, events = nights.run(c)
    assert {row.group_id for row in again}.isdisjoint({row.group_id for row in rows})
    assert sorted(e.event for e in events) == ["born", "ended"]


@dataclasses.dataclass
class Stored:
    """A GROUPS row with one field to change."""

    values: object
    image_id: str = ""

    def row(self):
        return (self.image_id, *tuple(self.values)[1:])
