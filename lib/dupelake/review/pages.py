"""`dupelake review`: the pairs that a person should check, as review.html and review.csv. It only reads tables.

After a person has filled in the column `verdict`, `dupelake decide --csv` reads the CSV.
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.csv_cells import write_rows
from dupelake.group.decisions_stage import combine_verdicts, resolve_decisions, vertex_name
from dupelake.group.keepers_stage import class_of
from dupelake.ingest.live_stage import live_images, pixel_classes, scope_of
from dupelake.report.last_run import last_options
from dupelake.review.page import CONFLICT, Card, Shown, write_page
from dupelake.runtime.redaction import redact_uris
from dupelake.runtime.run_report import human_bytes
from dupelake.verify.decide_stage import SIMILAR
from dupelake.warehouse.schema import (
    DECIDED,
    DECISION_CONFLICTS,
    DECISIONS,
    GROUPS,
    HASHES,
    IMAGES,
    PAIRS,
    THUMBNAILS,
)
from dupelake.warehouse.tables import Warehouse

log = logging.getLogger(__name__)

MAX_LIMIT = 1000  # cards of a page, with about 30 MB of thumbnails
_NEAR = 0.25  # largest distance of a close score from the threshold
_LARGE = 4  # smallest number of images of a large group
CSV_COLUMNS = (
    "image_id",
    "other_image_id",
    "verdict",
    "note",
    "what",
    "why",
    "score",
    "kind",
    "uri",
    "other_uri",
)


def review(warehouse: Warehouse, out: Path, limit: int) -> list[Card]:
    """Write review.html and review.csv, also if there are no pairs.

    Args:
        warehouse: only read.
        out: folder; created if missing.
        limit: maximum number of pairs, 1 to MAX_LIMIT.

    Returns:
        The cards of the page: conflicts first, then the first of each kind, the second of each kind, and so on.
    """
    config = last_options(warehouse)
    images = _grouped_images(warehouse, config).persist()
    try:
        chosen = _interleaved(_candidates(warehouse, images, config, limit), limit)
        cards = _cards(warehouse, images, chosen)
    finally:
        images.unpersist()
    out.mkdir(parents=True, exist_ok=True)
    keep_answers(out / "review.csv")
    write_csv(cards, out / "review.csv")
    write_page(cards, f"{redact_uris(warehouse.root)}: {len(cards)} pairs to look at", out / "review.html")
    return cards


def keep_answers(path: Path) -> Path | None:
    """Rename a review.csv that somebody filled in or that `review` did not write, so that it is not overwritten.

    Returns:
        Its new path; None if there was nothing to keep.
    """
    if not path.exists():
        return None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            is_ours = tuple(rows.fieldnames or ()) == CSV_COLUMNS
            if is_ours and not any((row["verdict"] or "").strip() or (row["note"] or "").strip() for row in rows):
                return None
    except (OSError, UnicodeDecodeError, csv.Error):
        pass  # it is not readable, so it may be somebody's work: keep it
    kept = path.with_name(f"review-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(path.stat().st_mtime))}.csv")
    path.replace(kept)
    log.warning("%s was filled in; renamed to %s", path, kept.name)
    return kept


def write_csv(cards: Iterable[Card], path: Path) -> None:
    """Write one row per card, with empty `verdict` and `note`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, CSV_COLUMNS, map(_csv_row, cards))


def _csv_row(card: Card) -> list[Any]:
    measured = card.evidence or {}
    score = f"{measured['score']:.3f}" if measured else ""
    ids = (card.left.image_id, card.right.image_id if card.right else "")
    uris = (card.left.uri, card.right.uri if card.right else "")
    return [*ids, "", "", card.what, card.why, score, measured.get("kind") or "", *uris]


def _grouped_images(warehouse: Warehouse, config: Config) -> DataFrame:
    """Live images with the class of their content, their vertex, and their group if they are in one."""
    classes = pixel_classes(warehouse.read(HASHES))
    named = class_of(live_images(warehouse.read(IMAGES)), classes, "content_id", "class_id")
    columns = ("image_id", "uri", "content_id", "class_id", "byte_size", "width_px", "height_px", "format")
    scoped = named.select(*columns, scope_of(config.lsh))
    groups = warehouse.read(GROUPS).drop("scope", "content_id", "updated_at")
    return scoped.withColumn("vertex", vertex_name(F.col("class_id"), F.col("scope"))).join(groups, "image_id", "left")


def _candidates(warehouse: Warehouse, images: DataFrame, config: Config, limit: int) -> dict[str, list[Row]]:
    """{what: rows (image_id, other_image_id, why)}, at most `limit` of each kind, sorted by rank."""
    min_score = config.decide.min_score
    verdicts = resolve_decisions(
        warehouse.read(DECISIONS), warehouse.read(DECIDED), warehouse.read(IMAGES), warehouse.read(HASHES), config
    )
    by_vertex = combine_verdicts(verdicts).select("vertex", "duplicate_set", "apart", "alternates").persist()
    try:
        pairs = _undecided(_image_pairs(warehouse, images, min_score), by_vertex).persist()
        members = _undecided(_keeper_pairs(images), by_vertex).persist()
        try:
            frames = {
                CONFLICT: _conflicts(warehouse),
                "rejected, close": _close(pairs, min_score, accepted=False),
                "accepted, close": _close(pairs, min_score, accepted=True),
                "another shot": _other_shots(pairs, min_score),
                "link between groups": _links(pairs),
                "large group": _large(members),
                "alternate": _alternates(members),
            }
            # at most `limit` rows of each kind come to the driver
            order = ("rank", "image_id", "other_image_id")
            return {what: frame.orderBy(*order).limit(limit).collect() for what, frame in frames.items()}
        finally:
            pairs.unpersist()
            members.unpersist()
    finally:
        by_vertex.unpersist()


def _image_pairs(warehouse: Warehouse, images: DataFrame, min_score: float) -> DataFrame:
    """Pairs that are accepted, nearly accepted or similar, with one image of each vertex, preferably one in a group."""
    shown = F.min(F.struct(F.col("group_id").isNull().alias("alone"), *_ONE)).alias("one")
    pictures = images.groupBy("class_id", "scope", "vertex").agg(shown)
    ends = [
        pictures.select(
            F.col("class_id").alias(end),
            "scope",
            F.col("vertex").alias(f"{side}vertex"),
            *(F.col(f"one.{name}").alias(f"{side}{name}") for name in _ONE),
        )
        for end, side in (("src_id", ""), ("dst_id", "other_"))
    ]
    near = warehouse.read(PAIRS).where(
        (F.col("kind") == SIMILAR)
        | (F.col("score") >= min_score - _NEAR) & (F.col("kind").isNull() | (F.col("score") < 1))
    )
    return (
        near.select("src_id", "dst_id", "score", "is_duplicate", "kind")
        .join(ends[0], "src_id")
        .join(ends[1], ["dst_id", "scope"])
    )


_ONE = ("image_id", "group_id", "group_size")


def _keeper_pairs(images: DataFrame) -> DataFrame:
    """Every member of a group with its keeper, without members that have the keeper's pixels."""
    grouped = images.where("group_id IS NOT NULL")
    keepers = grouped.where("is_keeper").select(
        "group_id", F.col("image_id").alias("keeper_id"), F.col("vertex").alias("keeper_vertex")
    )
    members = grouped.where("NOT is_keeper").join(keepers, "group_id").where("vertex <> keeper_vertex")
    return members.withColumnsRenamed({"image_id": "other_image_id", "vertex": "other_vertex"}).withColumnsRenamed(
        {"keeper_id": "image_id", "keeper_vertex": "vertex"}
    )


def _undecided(pairs: DataFrame, by_vertex: DataFrame) -> DataFrame:
    """Pairs of vertices without a verdict, direct or through confirmed copies."""
    decided_sets = F.concat("apart", "alternates").alias("_decided")
    own = by_vertex.select("vertex", F.col("duplicate_set").alias("_own"), decided_sets)
    other = by_vertex.select(F.col("vertex").alias("other_vertex"), F.col("duplicate_set").alias("_other"))
    marked = pairs.join(F.broadcast(own), "vertex", "left").join(F.broadcast(other), "other_vertex", "left")
    is_decided = (F.col("_own") == F.col("_other")) | F.array_contains("_decided", F.col("_other"))
    return marked.where(~F.coalesce(is_decided, F.lit(False))).drop("_own", "_decided", "_other")


def _row(why: Column, rank: Column) -> list[Column]:
    return [F.col("image_id"), F.col("other_image_id"), why.alias("why"), rank.alias("rank")]


def _conflicts(warehouse: Warehouse) -> DataFrame:
    """Conflicts between verdicts, the newest first; the page names images that are missing."""
    decision = F.concat_ws(" ", "author", F.lit("says"), "verdict")
    against = F.when(
        F.col("against_verdict").isNotNull(),
        F.concat(F.lit(", "), F.concat_ws(" ", "against_author", F.lit("says"), "against_verdict")),
    )
    why = F.concat(decision, F.coalesce(against, F.lit("")), F.lit(": "), F.col("message"))
    rows = warehouse.read(DECISION_CONFLICTS).withColumn(
        "other_image_id", F.coalesce("other_image_id", "against_image_id")
    )
    return rows.select(*_row(why, -F.unix_micros("since")))


def _close(pairs: DataFrame, min_score: float, *, accepted: bool) -> DataFrame:
    """Pairs with a score close to the threshold."""
    distance = F.abs(F.col("score") - min_score)
    form = f"{'accepted' if accepted else 'rejected'} at score %.3f; decide.min_score is {min_score:g}"
    side = F.col("is_duplicate") if accepted else ~F.col("is_duplicate")
    return pairs.where(side & (distance <= _NEAR)).select(*_row(F.format_string(form, "score"), distance))


def _other_shots(pairs: DataFrame, min_score: float) -> DataFrame:
    """Similar pairs that are not copies, highest score first, without those close to the threshold."""
    why = F.format_string("another shot or version of one thing, no copy: score %.3f", "score")
    far = pairs.where((F.col("kind") == SIMILAR) & (F.col("score") < min_score - _NEAR))
    return far.select(*_row(why, -F.col("score")))


def _links(pairs: DataFrame) -> DataFrame:
    """Accepted pairs that are not in one group: cut bridges, and pairs that the choice of keepers separated.

    Pairs that are the only link between two groups come first, those of larger groups before others.
    """
    ends = [
        F.coalesce(F.col(f"{side}group_id"), F.concat(F.lit("alone/"), f"{side}image_id")).alias(f"{side}group_id")
        for side in ("", "other_")
    ]
    sizes = [F.coalesce(F.col(f"{side}group_size"), F.lit(1)).alias(f"{side}group_size") for side in ("", "other_")]
    ours = pairs.where("is_duplicate").select("image_id", "other_image_id", *ends, *sizes)
    low, high = F.least("group_id", "other_group_id"), F.greatest("group_id", "other_group_id")
    between = ours.where("group_id <> other_group_id").select("*", low.alias("low"), high.alias("high"))
    counted = between.withColumn("n", F.count("*").over(W.partitionBy("low", "high")))
    links = F.when(F.col("n") == 1, "the only link").otherwise(F.format_string("one of %d links", "n"))
    why = F.concat(
        F.lit("accepted, but not in one group ("),
        F.format_string("groups of %d and %d", "group_size", "other_group_size"),
        F.lit("); "),
        links,
        F.lit(" between them"),
    )
    return counted.select(*_row(why, F.col("n") * 1000.0 - F.least("group_size", "other_group_size")))


def _large(members: DataFrame) -> DataFrame:
    """The keepers of large groups, each with the member of the lowest score."""
    weakest = W.partitionBy("group_id").orderBy("score_to_keeper", "other_image_id")
    first = members.where(F.col("group_size") >= _LARGE).withColumn("place", F.row_number().over(weakest))
    why = F.format_string(
        "group of %d images: its keeper, and the member that agrees least (score %.3f)", "group_size", "score_to_keeper"
    )
    return first.where("place = 1").select(*_row(why, -F.col("group_size")))


def _alternates(members: DataFrame) -> DataFrame:
    """Alternates with their keepers, the largest files first."""
    return members.where("relation = 'alternate'").select(*_row(F.col("reason"), -F.coalesce("byte_size", F.lit(0))))


def _interleaved(found: Mapping[str, Sequence[Row]], limit: int) -> list[tuple[str, Row]]:
    """Conflicts, then the first of each kind, the second of each kind, and so on; each pair once, at most `limit`."""
    queues = {what: list(rows) for what, rows in found.items()}
    order = [(CONFLICT, row) for row in queues.pop(CONFLICT, [])]
    for turn in range(max((len(rows) for rows in queues.values()), default=0)):
        order += [(what, rows[turn]) for what, rows in queues.items() if turn < len(rows)]
    seen: set[frozenset[str | None]] = set()
    chosen = []
    for what, row in order:
        key = frozenset((row["image_id"], row["other_image_id"]))
        if what == CONFLICT or key not in seen:
            chosen.append((what, row))
        seen.add(key)
    return chosen[:limit]


def _cards(warehouse: Warehouse, images: DataFrame, chosen: Sequence[tuple[str, Row]]) -> list[Card]:
    """The chosen pairs with their thumbnails and evidence; the source of the evidence is on the left."""
    ids = sorted({name for _, row in chosen for name in (row["image_id"], row["other_image_id"]) if name})
    if not ids:
        return []
    spark = warehouse.spark
    wanted = F.broadcast(spark.createDataFrame([(name,) for name in ids], "image_id string"))
    thumbnails = warehouse.read(THUMBNAILS).select("content_id", F.col("bytes").alias("thumbnail"))
    rows = images.join(wanted, "image_id").join(thumbnails, "content_id", "left").collect()  # 2 * MAX_LIMIT at most
    found = {row["image_id"]: row for row in rows}
    keys = sorted({key for _, row in chosen if (key := _key(row, found)) is not None})
    evidence: dict[tuple[str, str], dict[str, Any]] = {}
    if keys:
        asked = F.broadcast(spark.createDataFrame(keys, "src_id string, dst_id string"))
        measured = warehouse.read(PAIRS).join(asked, ["src_id", "dst_id"]).collect()  # one per card at most
        evidence = {(row["src_id"], row["dst_id"]): row.asDict(recursive=True) for row in measured}
    cards = []
    for what, row in chosen:
        key = _key(row, found)
        names = [row["image_id"], row["other_image_id"]]
        if key is not None and found[names[0]]["class_id"] != key[0]:
            names.reverse()
        shown = [_shown(name, found.get(name)) for name in names if name]
        cards.append(
            Card(what, row["why"], shown[0], shown[1] if len(shown) > 1 else None, evidence.get(key) if key else None)
        )
    return cards


def _key(row: Row, found: Mapping[str, Row]) -> tuple[str, str] | None:
    """The key in PAIRS of two images, if both exist and their pixels differ."""
    ends = [found[name]["class_id"] for name in (row["image_id"], row["other_image_id"]) if name in found]
    return (min(ends), max(ends)) if len(set(ends)) == 2 else None


def _shown(image_id: str, row: Row | None) -> Shown:
    if row is None:
        return Shown(image_id, "", "no image of this id is there", None, "")
    size = f"{row['width_px']}x{row['height_px']} {row['format'] or ''}, {human_bytes(row['byte_size'] or 0)}"
    group = "in no group"
    if row["group_id"] is not None:
        removable = ", removable" if row["is_removable"] else ""
        group = f"{row['reason']} (group {row['group_id'][:12]}{removable})"
    return Shown(image_id, row["uri"] or "", size, bytes(row["thumbnail"]) if row["thumbnail"] else None, group)
