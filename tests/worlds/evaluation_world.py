"""Tables with random images, pairs and groups, a random truth about them, and the figures by enumeration of pairs."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from datetime import UTC, datetime
from itertools import combinations

from benchmarks.pair_scores import b_cubed, unordered
from deltalake import write_deltalake
from made_lake import arrow

from dupelake.evaluate.scores import Scores
from dupelake.warehouse.schema import GROUPS, HASHES, IMAGES, PAIRS, RUNS, THUMBNAILS
from dupelake.warehouse.tables import Warehouse

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HASH = dict(phash=0, phash_mirrored=0, pdq=bytes(32), pdq_mirrored=bytes(32), pdq_quality=90, hash_version="h")


def image(image_id, uri, content, scope="", status="ok", deleted=False):
    return dict(
        image_id=image_id,
        uri=uri,
        partition="p",
        scope=scope,
        content_id=content,
        width_px=640,
        height_px=480,
        status=status,
        reason=None if status == "ok" else "truncated",
        ingested_at=NOON,
        deleted_at=NOON if deleted else None,
    )


def pair(a, b, score, kind=None, **evidence):
    src, dst = sorted((a, b))
    return (
        dict(
            src_id=src,
            dst_id=dst,
            is_mirrored=False,
            score=score,
            kind=kind,
            is_duplicate=score >= 0.5,
            found_by="pdq",
            hash_version="h",
            join_version="j",
            decide_version="d",
        )
        | evidence
    )


def grouped(image_id, group_id, scope, content, keeper):
    return dict(
        image_id=image_id,
        group_id=group_id,
        scope=scope,
        content_id=content,
        is_keeper=keeper,
        relation="keeper" if keeper else "copy",
        is_removable=False,
        score_to_keeper=1.0,
        reason="test",
        group_size=2,
        updated_at=NOON,
    )


def write_lake(root, images, digests, pairs, groups, thumbnails=(), lsh_scope="within", hashed=None):
    """The folder of a warehouse, written without Spark, with one run that had this `lsh.scope`.

    `hashed` has more columns of `hashes` by content.
    """
    given = HASH | dict(is_low_information=False, detail=1.0)
    hashes = [given | dict(content_id=c, pixel_digest=d) | (hashed or {}).get(c, {}) for c, d in digests.items()]
    run = dict(run_id="r", job="nightly", status="succeeded", started_at=NOON, finished_at=NOON, arguments="[]")
    run |= dict(config_fingerprint="f", config=json.dumps({"lsh": {"scope": lsh_scope}}))
    run |= dict(versions=[], counts=[], seconds=[])
    tables = (
        (IMAGES, images),
        (HASHES, hashes),
        (PAIRS, pairs),
        (GROUPS, groups),
        (THUMBNAILS, thumbnails),
        (RUNS, [run]),
    )
    for table, rows in tables:
        write_deltalake(str(root / table.name), arrow(table, list(rows)), mode="overwrite")
    return root


def write_tables(spark, root, images, digests, pairs, groups, thumbnails=()):
    """The same by Spark, without a run, for tests that go on with Spark."""
    warehouse = Warehouse(spark, str(root))
    hashes = [
        HASH | dict(content_id=c, pixel_digest=d, is_low_information=False, detail=1.0) for c, d in digests.items()
    ]
    tables = (IMAGES, images), (HASHES, hashes), (PAIRS, pairs), (GROUPS, groups), (THUMBNAILS, thumbnails)
    for table, rows in tables:
        values = [tuple(row.get(name) for name in table.columns) for row in rows]
        warehouse.overwrite(table, spark.createDataFrame(values, table.schema).coalesce(1))
    return warehouse


def write_run(warehouse, lsh_scope):
    """The only run in `runs`; its configuration says whether scopes were crossed."""
    run = dict(run_id="r", job="nightly", status="succeeded", started_at=NOON, finished_at=NOON, arguments="[]")
    run |= dict(config_fingerprint="f", config=json.dumps({"lsh": {"scope": lsh_scope}}), versions={}, counts={})
    values = tuple((run | dict(seconds={})).get(name) for name in RUNS.columns)
    warehouse.overwrite(RUNS, warehouse.spark.createDataFrame([values], RUNS.schema))


class World:
    """Seventy images of fifty contents of forty pictures in two scopes; every figure by brute force."""

    def __init__(self, seed):
        rng = self.rng = random.Random(seed)  # noqa: S311
        self.across = False
        contents = [f"{i:032x}" for i in range(50)]
        self.digest = {c: f"{rng.randrange(40) + 1000:032x}" for c in contents}
        self.images = {}
        for i in range(70):
            status = "failed" if i % 17 == 0 else "ok"
            row = image(f"id{i}", f"file:///data/d{i % 7}/%C3%A4 {i}.png", rng.choice(contents), "xy"[i % 2], status)
            self.images[f"id{i}"] = row
        self.deleted = image("gone", "file:///data/d0/gone.png", contents[0], "x", deleted=True)
        ends = rng.sample(list(combinations(contents, 2)), 300)
        # score by the pictures, so that two pairs of the same pictures only differ in what they are called
        self.pairs = [pair(a, b, rng.choice((0.2, 0.44, 0.5, 0.51, 0.77, 1.0)), pdq_quality=90) for a, b in ends]
        for row in self.pairs:
            row |= dict(pdq_bits=rng.randrange(100), pdq_mirrored_bits=rng.randrange(100))
            row["pdq_quality"] = rng.choice((10, 90))
        ok = [i for i, row in self.images.items() if row["status"] == "ok"]
        self.group_of = {i: f"g{rng.randrange(12)}" for i in ok if rng.random() < 0.8}

    def scope(self, row):
        return "" if self.across else row["scope"]

    def vertex(self, image_id):
        row = self.images[image_id]
        return (self.digest[row["content_id"]], self.scope(row)) if row["status"] == "ok" else None

    def write(self, root):
        seen, rows = set(), []
        for image_id, group in self.group_of.items():
            row = self.images[image_id]
            rows.append(grouped(image_id, group, row["scope"], row["content_id"], group not in seen))
            seen.add(group)
        images = [*self.images.values(), self.deleted]
        scope = "across" if self.across else "within"
        return write_lake(root, images, self.digest, self.pairs, rows, lsh_scope=scope)

    def best_edges(self):
        """{two vertices: the best row of their pairs}."""
        best = {}
        for row in self.pairs:
            a, b = sorted((self.digest[row["src_id"]], self.digest[row["dst_id"]]))
            rank = (row["is_duplicate"], row["score"], row["src_id"], row["dst_id"])
            if a != b and rank > best.get((a, b), ((), None))[0]:
                best[a, b] = (rank, row)
        return {key: row for key, (_, row) in best.items()}

    def value(self, a, b, edges):
        """None if not found, `equal` for equal pixels, else the row of the edge."""
        va, vb = self.vertex(a), self.vertex(b)
        if va is None or vb is None or va[1] != vb[1]:
            return None
        return "equal" if va == vb else edges.get(tuple(sorted((va[0], vb[0]))))


class GroupTruth:
    """Fifty of the images in groups; some are ambiguous, some are the only image of their group."""

    form = "groups"

    def __init__(self, world):
        rng = world.rng
        self.names = {}
        for i, image_id in enumerate(rng.sample(sorted(world.images), 50)):
            group = f"t{rng.randrange(6)}" if rng.random() < 0.9 else ""
            relation = rng.choice(("crop", "mirrored", "original", "", "different shot"))
            self.names[image_id] = (group, relation, rng.random() < 0.15, i)

    def write(self, path):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "group", "edit", "ambiguous"])
            for image_id, (group, relation, ambiguous, _) in self.names.items():
                writer.writerow([f"ä {image_id[2:]}.png", group, relation, int(ambiguous)])  # the last component
        return path

    def alone(self, image_id):
        group, relation, ambiguous, _ = self.names[image_id]
        return not group or (relation.startswith("different") and not ambiguous)

    def says(self, a, b):
        ga, gb = self.names[a], self.names[b]
        if ga[0] != gb[0] or self.alone(a) or self.alone(b):
            return False
        return None if ga[2] or gb[2] else True

    def labels(self):
        return {i: i if self.alone(i) else n[0] for i, n in self.names.items()}

    def items(self):
        return {i for i, name in self.names.items() if not name[2]}

    def relations(self):
        members = {}
        for image_id, name in self.names.items():
            if not self.alone(image_id) and not name[2]:
                members.setdefault(name[0], []).append(image_id)
        out = {}
        for group in members.values():
            first = min(group, key=lambda i: (self.names[i][1] != "original", self.names[i][3]))
            out |= {unordered(first, i): self.names[i][1] or "(none)" for i in group if i != first}
        return out


class PairTruth:
    """Pairs that are listed as duplicates, different and ambiguous."""

    form = "pairs"

    def __init__(self, world):
        rng = world.rng
        ids = rng.sample(sorted(world.images), 50)
        self.listed = {}
        for a, b in rng.sample(list(combinations(ids, 2)), 60):
            verdict = rng.choice(("1", "1", "different", "ambiguous"))
            self.listed[unordered(a, b)] = (verdict, rng.choice(("crop", "turned")))
        self.names = {i for ends in self.listed for i in ends}
        self.component = {i: i for i in self.names}
        for (a, b), (verdict, _) in self.listed.items():
            if verdict == "1":
                old, new = self.component[a], self.component[b]
                self.component = {i: new if c == old else c for i, c in self.component.items()}

    def write(self, path):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["image_1", "label", "image_2", "relation"])
            writer.writerows([a, verdict, b, relation] for (a, b), (verdict, relation) in self.listed.items())
        return path

    def says(self, a, b):
        if unordered(a, b) in self.listed:
            return {"1": True, "different": False, "ambiguous": None}[self.listed[unordered(a, b)][0]]
        return None if self.component[a] == self.component[b] else False

    def labels(self):
        return dict(self.component)

    def items(self):
        return set(self.names)

    def relations(self):
        return {ends: relation for ends, (verdict, relation) in self.listed.items() if verdict == "1"}


def by_enumeration(world, truth, closed, n_passed):
    """Every figure; `n_passed(row)` gives the number of thresholds that a measured pair passes, by signal."""
    edges = world.best_edges()
    ok = {i for i, row in world.images.items() if row["status"] == "ok"}
    named = set(truth.names)
    known = named | ok if closed else named
    found = {"pairs": Counter(), "groups": Counter()}
    buckets, equal, unnamed = {}, [0, 0], Counter()
    in_pairs, in_groups, n_true = set(), set(), 0
    for a, b in combinations(sorted(world.images), 2):
        value = world.value(a, b, edges)
        accepted = value == "equal" or (value is not None and value["is_duplicate"])
        together = a in world.group_of and world.group_of[a] == world.group_of.get(b)
        in_pairs |= {(a, b)} if accepted else set()
        in_groups |= {(a, b)} if together else set()
        if not (a in known and b in known):
            unnamed += Counter(pairs=accepted, groups=together)
            continue
        said = truth.says(a, b) if a in named and b in named else False
        n_true += said is True
        if said is None:
            continue
        found["pairs"] += Counter(n=accepted, hit=accepted and said)
        found["groups"] += Counter(n=together, hit=together and said)
        if value == "equal":
            equal[0] += 1
            equal[1] += said
        elif value is not None:
            for signal, place in n_passed(value).items():
                cell = buckets.setdefault(signal, {}).setdefault(place, [0, 0])
                cell[0] += 1
                cell[1] += said
    relations = {}
    for ends, relation in truth.relations().items():
        counts = relations.setdefault(relation, Counter())
        counts += Counter(n=1, pairs=ends in in_pairs, groups=ends in in_groups)
    items = truth.items() | ({i for i in world.group_of if i not in named} if closed else set())
    labels = {i: g for i, g in world.group_of.items() if i in items}
    right = {i: truth.labels().get(i, f"alone {i}") for i in items}
    return {
        "pairs": Scores(found["pairs"]["n"], n_true, found["pairs"]["hit"]),
        "groups": Scores(found["groups"]["n"], n_true, found["groups"]["hit"]),
        "unnamed": (unnamed["pairs"], unnamed["groups"]),
        "equal": tuple(equal),
        "buckets": {s: {k: tuple(v) for k, v in cells.items()} for s, cells in buckets.items()},
        "relations": {r: (c["n"], c["pairs"], c["groups"]) for r, c in relations.items()},
        "b_cubed": b_cubed(labels, right, items),
        "in_pairs": in_pairs,
        "in_groups": in_groups,
    }
