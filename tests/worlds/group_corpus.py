"""A small corpus written by hand, and nights that group it: helpers of the tests of groups."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta

from dupelake.config import Config
from dupelake.group.stage import build_groups
from dupelake.warehouse.schema import GROUP_CHANGES, GROUPS, HASHES, IMAGES, PAIRS

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Corpus:
    """Rows of images, hashes and pairs; content ids are the image ids unless given."""

    def __init__(self):
        self.images, self.pixels, self.detail, self.pairs = {}, {}, {}, {}

    def image(
        self,
        image_id,
        scope,
        *,
        content=None,
        pixels=None,
        side=100,
        height=None,
        detail=1.0,
        size=1000,
        fmt="JPEG",
        captured=None,
        failed=False,
        deleted=False,
        file=None,
    ):
        content = content or image_id
        self.images[image_id] = dict(
            image_id=image_id,
            uri=f"/{image_id}",
            partition="p",
            scope=scope,
            content_id=content,
            byte_size=size,
            width_px=side,
            height_px=height or side,
            format=fmt,
            captured_at=captured,
            status="failed" if failed else "ok",
            reason="truncated" if failed else None,
            ingested_at=NOON,
            deleted_at=NOON if deleted else None,
            file_id=file,
        )
        self.pixels[content] = pixels or f"digest of {content}"
        self.detail[content] = detail

    def ladder(self, scope, *names):
        """Images from the best to the worst."""
        for place, name in enumerate(names):
            self.image(name, scope, side=1000 - 10 * place)

    def pair(self, a, b, *, score=0.8, kind="near", **more):
        src, dst = sorted((a, b))
        self.pairs[src, dst] = (
            dict(
                src_id=src,
                dst_id=dst,
                phash_bits=0,
                pdq_bits=4,
                is_mirrored=False,
                kind=kind,
                score=score,
                is_duplicate=score >= 0.5,
                found_by="pdq",
                hash_version="h",
                join_version="j",
                decide_version="d",
            )
            | more
        )

    def aligned(self, a, b, a_overlap, b_overlap, scale, *, kind="crop", box=None, **more):
        """An aligned pair; scale in pixels of b for one of a, box (x, y, width, height) in fractions of a."""
        if a > b:
            assert box is None, "give the box within the smaller id"
            a, b, a_overlap, b_overlap, scale = b, a, b_overlap, a_overlap, 1 / scale
        shown = dict(src_overlap=a_overlap, dst_overlap=b_overlap, scale=scale, n_inliers=64, aligned_ncc=0.931)
        bits = dict(phash_bits=None, pdq_bits=None)
        self.pair(a, b, kind=kind, difference_box=box, **(shown | bits | more))

    def drop(self, *image_ids):
        for image_id in image_ids:
            self.images[image_id]["deleted_at"] = NOON

    def frames(self, spark, partitions=2, seed=None):
        hashes = [
            dict(
                content_id=c,
                pixel_digest=p,
                phash=0,
                phash_mirrored=0,
                pdq=b"",
                pdq_mirrored=b"",
                pdq_quality=100,
                is_low_information=False,
                detail=self.detail[c],
                hash_version="h",
            )
            for c, p in self.pixels.items()
        ]
        out = []
        for table, rows in ((IMAGES, list(self.images.values())), (HASHES, hashes), (PAIRS, list(self.pairs.values()))):
            if seed is not None:
                random.Random(seed).shuffle(rows)  # noqa: S311
            tuples = [tuple(row.get(name) for name in table.columns) for row in rows]
            out.append(spark.createDataFrame(tuples, table.schema).repartition(partitions))
        return out


def shapes(c):
    """Pictures that show more or less than each other, and components with bridges."""
    c.image("fu_f", "fuller", side=1000)  # a crop with more pixels, out of something finer
    c.image("fu_c", "fuller", side=1100)
    c.aligned("fu_f", "fu_c", 0.52, 1.0, 1.5)
    c.image("ti_c", "tiny", side=800)  # a full picture too small to stand for its crop
    c.image("ti_f", "tiny", side=100)
    c.aligned("ti_f", "ti_c", 0.5, 1.0, 16.0)
    c.image("en_o", "enlarged", side=1200, height=800, size=100)
    c.image("en_e", "enlarged", side=2400, height=1600, size=9000, detail=2**-1.25)
    c.image("en_s", "enlarged", side=600, height=400)
    c.pair("en_o", "en_e")
    c.pair("en_o", "en_s")
    c.pair("en_e", "en_s")
    c.image("rs_o", "saved", side=1000, size=9000, detail=2**-0.5)  # JPEG's artefacts pass for detail
    c.image("rs_j", "saved", side=1000, size=500)
    c.pair("rs_o", "rs_j")
    c.image("wo_k", "words", side=2560, height=1500)
    c.image("wo_crop", "words", side=1920, height=1080)
    c.aligned("wo_k", "wo_crop", 0.54, 1.0, 1.0)
    c.image("wo_edit", "words", side=1280, height=750)
    c.aligned("wo_edit", "wo_k", 1.0, 1.0, 2.0, kind="edited", box=(0.0, 0.1, 0.3, 0.4))
    c.image("wo_text", "words", side=1280, height=750)
    c.aligned("wo_k", "wo_text", 1.0, 1.0, 0.5, kind="edited", box=(0.4, 0.9, 0.2, 0.1))
    c.image("wo_turn", "words", side=750, height=1280)
    c.aligned("wo_turn", "wo_k", 1.0, 1.0, 2.0, kind="rotated", rotation_degrees=-90.0)
    c.image("wo_flip", "words", side=1280, height=1080)
    c.aligned("wo_k", "wo_flip", 0.3, 0.98, 1.0, kind="mirrored", is_mirrored=True)
    c.image("wo_frame", "words", side=1300, height=800)  # a frame around it, and smaller
    c.aligned("wo_k", "wo_frame", 1.0, 0.92, 0.5, kind="near")
    c.image("wo_red", "words", side=1280, height=750)
    c.aligned("wo_k", "wo_red", 1.0, 1.0, 0.5, kind="recoloured", colour_difference=0.2)
    c.image("co_x", "collage", side=3000)  # four times the pixels of what it shows in half the resolution
    for part, share in (("p", 0.3), ("q", 0.25)):
        for number, side in enumerate((1500, 1400)):
            c.image(f"co_{part}{number}", "collage", side=side)
            c.aligned("co_x", f"co_{part}{number}", share, 1.0, 2.0)
        c.pair(f"co_{part}0", f"co_{part}1")
    for name in ("le_0", "le_1", "le_2", "ri_0", "ri_1", "ri_2"):  # two clusters and one false pair
        c.image(name, "false", side=100 - int(name[-1]))
    for side in ("le", "ri"):
        for a, b in ((0, 1), (0, 2), (1, 2)):
            c.pair(f"{side}_{a}", f"{side}_{b}")
    c.pair("le_0", "ri_2")
    c.image("cr_f", "crops", side=2000)  # a full photograph and two families of crops that have nothing in common
    for part in ("a", "b"):
        for number in (1, 2):
            c.image(f"cr_{part}{number}", "crops", side=900 - number)
            c.aligned("cr_f", f"cr_{part}{number}", 0.2, 1.0, 1.0)
        c.pair(f"cr_{part}1", f"cr_{part}2")


class Nights:
    """A warehouse in memory: each call is one run over the stored groups and events."""

    def __init__(self, spark, checkpoint, cfg=None):
        self.spark, self.checkpoint, self.cfg = spark, checkpoint, cfg or Config()
        self.groups = spark.createDataFrame([], GROUPS.schema)
        self.changes = spark.createDataFrame([], GROUP_CHANGES.schema)
        self.number = 0

    def run(self, corpus, **how):
        self.number += 1
        built = build_groups(
            *corpus.frames(self.spark, **how),
            self.groups,
            self.changes,
            self.cfg,
            f"run{self.number}",
            NOON + timedelta(days=self.number),
            self.checkpoint,
        )
        new = self.checkpoint(built.changes)
        self.cuts = built.cuts.orderBy("src", "dst").collect()
        self.groups, self.changes = self.checkpoint(built.groups), self.checkpoint(self.changes.union(new))
        assert built.groups.columns == GROUPS.columns
        assert built.changes.columns == GROUP_CHANGES.columns
        rows, events = self.groups.orderBy("image_id").collect(), new.orderBy("group_id", "event").collect()
        assert len({(e.run_id, e.group_id, e.event) for e in events}) == len(events)
        return rows, events


def parquet_checkpoint(spark, folder):
    """A checkpoint into numbered parquet folders."""
    number = itertools.count()

    def by_parquet(df):
        path = str(folder / f"{next(number)}")
        df.write.parquet(path)
        return spark.read.schema(df.schema).parquet(path)

    return by_parquet


def stars_of(rows):
    """{keeper: {members}} of some rows."""
    out = {}
    groups = {}
    for row in rows:
        groups.setdefault(row.group_id, []).append(row)
    for group in groups.values():
        (keeper,) = [row.image_id for row in group if row.is_keeper]
        assert {row.group_size for row in group} == {len(group)}
        out[keeper] = {row.image_id for row in group} - {keeper}
    return out


def in_scope(rows, scope):
    return stars_of([row for row in (rows.values() if isinstance(rows, dict) else rows) if row.scope == scope])
