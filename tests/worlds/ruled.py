"""Small warehouses for tests of rules, written without Spark, and what random rules match by enumeration."""

from __future__ import annotations

import datetime as dt
import fnmatch
import itertools
import random
from pathlib import Path

from evaluation_world import grouped, image, pair, write_lake
from made_lake import make_tables


def content(name: str) -> str:
    return name.encode().hex().rjust(32, "0")


class Lake:
    """Images named by letters; `x1` and `x2` are two files of the bytes of `x`."""

    def __init__(self, root: Path) -> None:
        self.root, self.images, self.pairs, self.groups, self.hashes = root, {}, [], [], {}
        make_tables(root)

    def image(self, name: str, uri: str | None = None, of: str | None = None, **more: object) -> None:
        row = image(name, uri or f"/data/{name}.jpg", content(of or name), more.pop("scope", ""))
        hashed = {key: more.pop(key) for key in ("has_exif", "jpeg_quality") if key in more}
        self.images[name] = row | dict(format="JPEG", byte_size=1000, attempts=0) | more
        self.hashes[content(of or name)] = hashed

    def pair(self, a: str, b: str, score: float = 0.9, kind: str | None = "near") -> None:
        self.pairs.append(pair(self.images[a]["content_id"], self.images[b]["content_id"], score, kind))

    def group(self, names: str | list[str], kinds: dict[str, str] | None = None, tier: str = "verified") -> None:
        for name in names:
            row = self.images[name]
            is_keeper = name == names[0]
            found = grouped(name, f"g{names[0]}", row["scope"], row["content_id"], is_keeper)
            kind = None if is_keeper else (kinds or {}).get(name, "near")
            self.groups.append(found | dict(kind=kind, tier=None if is_keeper else tier))

    def write(self) -> Path:
        digests = {row["content_id"]: row["content_id"] for row in self.images.values()}
        write_lake(self.root, list(self.images.values()), digests, self.pairs, self.groups, hashed=self.hashes)
        return self.root


class Random:
    """Sixty images of forty contents, a hundred pairs, and conditions drawn at random."""

    def __init__(self, root: Path, seed: int) -> None:
        rng = self.rng = random.Random(seed)  # noqa: S311
        self.lake = Lake(root)
        contents = [f"c{number}" for number in range(40)]
        facts = {
            one: dict(format=rng.choice(("JPEG", "PNG")), byte_size=rng.randrange(1, 9), width_px=rng.randrange(1, 9))
            | dict(has_exif=rng.choice((True, False, None)), jpeg_quality=rng.choice((None, 50, 90)))
            for one in contents
        }
        for number in range(60):
            of = rng.choice(contents)
            uri = rng.choice(("/data/archive/{}.jpg", "file:///p/IMG_{}.JPG", "s3://b/a.b/{}.png")).format(number)
            taken = rng.choice((None, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)))
            where = dict(scope=rng.choice("xy"), partition=rng.choice("pq"), captured_at=taken)
            self.lake.image(f"i{number}", uri, of, **facts[of], **where)
        for one, other in rng.sample(list(itertools.combinations(contents, 2)), 200):
            kind, score = rng.choice((("near", 0.9), ("crop", 0.6), (None, 0.1), ("similar", 0.3)))
            self.lake.pairs.append(pair(content(one), content(other), score, kind))
        self.facts = {content(one): fact for one, fact in facts.items()}
        self.lake.write()

    def side(self) -> dict:
        rng = self.rng
        every = dict(
            path=rng.choice((["*/archive/*"], ["IMG_*"], ["*.b/?.png", "*.jpg"])),
            not_path=["*/archive/*"],
            format=[rng.choice(("JPEG", "PNG"))],
            partition=["p"],
            has_exif=rng.choice((True, False)),
            min_jpeg_quality=rng.choice((50, 60)),
            max_jpeg_quality=80,
        )
        return {name: every[name] for name in rng.sample(sorted(every), rng.choice((0, 0, 1, 2)))}

    def rule(self) -> dict:
        rng = self.rng
        every = dict(
            kind=rng.choice((["near"], ["crop", "none"])),
            accepted=rng.choice((True, False)),
            min_score=0.5,
            max_score=0.7,
            same_format=rng.choice((True, False)),
            same_captured_at=rng.choice((True, False)),
            same_scope=True,
            same_partition=rng.choice((True, False)),
            min_pixel_ratio=1.5,
            max_byte_ratio=0.8,
        )
        both = {name: every[name] for name in rng.sample(sorted(every), rng.choice((1, 1, 2, 3)))}
        return dict(name="r", verdict="alternate", pair=both, a=self.side(), b=self.side())

    def fits(self, side: dict, row: dict) -> bool:
        fact = self.facts[row["content_id"]]
        quality, name = fact["jpeg_quality"], row["uri"].rpartition("/")[2]

        def is_like(glob: str) -> bool:
            return fnmatch.fnmatchcase(row["uri"] if "/" in glob else name, glob)

        return all(
            {
                "path": lambda v: any(map(is_like, v)),
                "not_path": lambda v: not any(map(is_like, v)),
                "format": lambda v: fact["format"] in v,
                "partition": lambda v: row["partition"] in v,
                "has_exif": lambda v: fact["has_exif"] is v,
                "min_jpeg_quality": lambda v: quality is not None and quality >= v,
                "max_jpeg_quality": lambda v: quality is not None and quality <= v,
            }[key](value)
            for key, value in side.items()
        )

    def fit(self, both: dict, found: dict, a: dict, b: dict) -> bool:
        def same(column: str, is_same: bool) -> bool:
            values = a[column], b[column]
            return None not in values and (values[0] == values[1]) is is_same

        return all(
            {
                "kind": lambda v: (found["kind"] or "none") in v,
                "accepted": lambda v: found["is_duplicate"] is v,
                "min_score": lambda v: found["score"] >= v,
                "max_score": lambda v: found["score"] <= v,
                "same_format": lambda v: same("format", v),
                "same_captured_at": lambda v: same("captured_at", v),
                "same_scope": lambda v: same("scope", v),
                "same_partition": lambda v: same("partition", v),
                "min_pixel_ratio": lambda v: a["width_px"] * a["height_px"] / (b["width_px"] * b["height_px"]) >= v,
                "max_byte_ratio": lambda v: a["byte_size"] / b["byte_size"] <= v,
            }[key](value)
            for key, value in both.items()
        )

    def expected(self, rule: dict) -> set[tuple[str, str]]:
        by_content: dict[str, list[dict]] = {}
        for row in self.lake.images.values():
            by_content.setdefault(row["content_id"], []).append(row)
        out = set()
        for found in self.lake.pairs:
            ends = by_content.get(found["src_id"], []), by_content.get(found["dst_id"], [])
            for one, other in itertools.product(*ends):
                for a, b in ((one, other), (other, one)):
                    is_found = a["scope"] == b["scope"] and self.fits(rule["a"], a) and self.fits(rule["b"], b)
                    if is_found and self.fit(rule["pair"], found, a, b):
                        out.add(tuple(sorted(f"{row['content_id']}/{row['scope']}" for row in (a, b))))
        return out
