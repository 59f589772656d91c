"""A small corpus written by hand, and nights that run over it: helpers of the tests of groups."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta

from dupelake.config import Config
from dupelake.schema import GROUP_CHANGES, GROUPS, HASHES, IMAGES, PAIRS
from dupelake.stages.groups import build_groups

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Corpus:
    """Rows of images, hashes and pairs; content ids are the names of images unless a story says otherwise."""

    def __init__(self):
        self.images, self.pixels, self.pairs = {}, {}, {}

    def image(
        self,
        image_id,
        scope,
        *,
        content=None,
        pixels=None,
        side=100,
        size=1000,
        fmt="JPEG",
        captured=None,
        failed=False,
        deleted=False,
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
            height_px=side,
            format=fmt,
            captured_at=captured,
            status="failed" if failed else "ok",
            reason="truncated" if failed else None,
            ingested_at=NOON,
            deleted_at=NOON if deleted else None,
        )
        self.pixels[content] = pixels or f"digest of {content}"

    def ladder(self, scope, *names):
        """Images from the best to the worst."""
        for place, name in enumerate(names):
            self.image(name, scope, side=1000 - 10 * place)

    def pair(self, a, b, *, score=0.9, kind="near", **more):
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
