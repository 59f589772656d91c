"""Which components a night touches, so that only these are grouped again.

What decides the groups of a component is a function of its images, their classes of equal pixels, the accepted pairs
among them, and people's verdicts on them. So each content gets a fingerprint of all of that, and the fingerprints of
the last run are kept (`schema.CLUSTERED`), with the component in which the content stood. A content whose fingerprint
differs is dirty; all contents that shared its old component are grouped again with it. That set is closed: a link
that is new, changed or gone made both of its ends dirty, and any other link lies inside one old component.

Components here are of contents, over all scopes: coarser than those of `groups`, which is harmless and needs no scopes.
Contents that have no pair, no twin and no verdict are left out: they have no group, whatever changes about them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.config import Config, fingerprint
from dupelake.group.components_stage import connected_components
from dupelake.group.decisions_stage import held_of, ties_of
from dupelake.group.file_names_stage import file_of
from dupelake.group.keeping import keeper_weights
from dupelake.ingest.live_stage import live_images, pixel_classes
from dupelake.warehouse.schema import CLUSTERED, CONDITION, conform

CLUSTER_REVISION = 4  # raise it with a change to stages.groups or what it calls that gives other groups

_IMAGE = ("image_id", "scope", "byte_size", "width_px", "height_px", "format", "captured_at")
_PAIR = (
    "kind", "score", "phash_bits", "phash_mirrored_bits", "pdq_bits", "pdq_mirrored_bits", "cosine_similarity",
    "n_inliers", "aligned_ncc", "agreeing_share", "contradicting_share",
    "src_overlap", "dst_overlap", "src_beyond", "dst_beyond", "src_frame",
    "dst_frame", "src_added", "dst_added", "scale", "rotation_degrees", "is_mirrored", "largest_local_difference",
    "difference_box", "colour_difference",
)  # fmt: skip


@dataclass(frozen=True)
class Touched:
    """What a run groups again.

    Attributes:
        contents: (content_id, fingerprint): all contents of touched components, null fingerprint where the content has
            no part in groups any more.
        links: (src, dst) between contents, those of touched components only; an end may be of no live image.
    """

    contents: DataFrame
    links: DataFrame


def cluster_version(cfg: Config) -> str:
    """Fingerprint of what decides groups beside the rows."""
    own = {name: value for name, value in asdict(cfg.cluster).items() if name != "similar_groups"}
    weights = dict(sorted(keeper_weights().items()))
    return fingerprint({"revision": CLUSTER_REVISION, "scope": cfg.lsh.scope, "keeper": weights, **own})


def find_touched(
    images: DataFrame,
    hashes: DataFrame,
    pairs: DataFrame,
    verdicts: DataFrame | None,
    clustered: DataFrame,
    cfg: Config,
    checkpoint: Callable[[DataFrame], DataFrame],
) -> Touched:
    """Compare what is there with what was grouped last.

    Args:
        images: schema.IMAGES.
        hashes: schema.HASHES.
        pairs: schema.PAIRS.
        verdicts: of stages.decisions.resolve_decisions; None where there are none.
        clustered: schema.CLUSTERED as the last run left it, or empty.
        cfg: cluster and lsh.scope count.
        checkpoint: materialises a DataFrame and returns one without lineage.

    Cost: live images, hashes, accepted pairs and `clustered` are read and shuffled once, by columns of a few dozen
    bytes a row; no other work grows with the corpus.
    """
    accepted = pairs.where("is_duplicate")
    classes = pixel_classes(hashes)
    held = None if verdicts is None else checkpoint(held_of(verdicts))  # groups feel verdicts through it alone
    links = _links(accepted, classes, held)
    now = _fingerprints(images, hashes, classes, accepted, held, cluster_version(cfg))
    stored = clustered.select("content_id", "component", F.col("fingerprint").alias("before"))
    both = checkpoint(now.join(stored, "content_id", "full"))
    is_dirty = ~F.col("fingerprint").eqNullSafe(F.col("before"))
    touched = both.where(is_dirty & F.col("component").isNotNull()).select("component").distinct()
    mates = both.join(touched, "component", "left_semi").select("content_id", "fingerprint")
    contents = checkpoint(
        mates.unionByName(both.where(is_dirty & F.col("component").isNull()).select("content_id", "fingerprint"))
    )
    ours = contents.select(F.col("content_id").alias("src"))
    either = links.unionAll(links.select(F.col("dst").alias("src"), F.col("src").alias("dst")))
    return Touched(contents, either.join(ours, "src", "left_semi"))


def restrict(rows: DataFrame, touched: Touched, column: str = "content_id") -> DataFrame:
    """The rows of `rows` whose content is grouped again."""
    return rows.join(touched.contents.select(F.col("content_id").alias(column)), column, "left_semi").select(
        rows.columns
    )


def clustered_rows(touched: Touched, checkpoint: Callable[[DataFrame], DataFrame]) -> tuple[DataFrame, DataFrame]:
    """What CLUSTERED is to hold for the contents that were grouped again: rows, and the keys to delete."""
    components = connected_components(touched.links, checkpoint).select(
        F.col("vertex").alias("content_id"), "component"
    )
    kept = touched.contents.where("fingerprint IS NOT NULL").join(components, "content_id", "left")
    rows = kept.withColumn("component", F.coalesce("component", "content_id"))
    gone = touched.contents.where("fingerprint IS NULL").select("content_id")
    return conform(rows, CLUSTERED.schema), gone


def _links(accepted: DataFrame, classes: DataFrame, held: DataFrame | None) -> DataFrame:
    """(src, dst) of contents that may come to stand in one group, or be kept out of one."""
    found = accepted.select(F.col("src_id").alias("src"), F.col("dst_id").alias("dst")).unionAll(
        classes.select(F.col("class_id").alias("src"), F.col("content_id").alias("dst"))
    )
    if held is None:
        return found
    return found.unionAll(ties_of(held).select(_content("src").alias("src"), _content("dst").alias("dst")))


def _content(vertex: str) -> Column:
    """The content in the name of a vertex, content/scope."""
    return F.split(vertex, "/")[0]


def _fingerprints(
    images: DataFrame, hashes: DataFrame, classes: DataFrame, accepted: DataFrame, held: DataFrame | None, version: str
) -> DataFrame:
    """(content_id, fingerprint bigint): a sum of hashes, so that the order of rows counts for nothing.

    Of live contents that have a pair, a twin in bytes or pixels, or a verdict.
    """
    own = live_images(images).select(
        "content_id", F.xxhash64(F.lit(version), *_IMAGE, file_of()).alias("row"), F.lit(1).alias("n")
    )
    pair = F.xxhash64("src_id", "dst_id", *(F.to_json(c) if c == "difference_box" else c for c in _PAIR))
    ends = [
        accepted.select(
            F.col(end).alias("content_id"), pair.alias("row"), F.lit(0).alias("n"), F.lit(True).alias("link")
        )
        for end in ("src_id", "dst_id")
    ]
    twins = classes.select(
        "content_id", F.xxhash64("class_id").alias("row"), F.lit(0).alias("n"), F.lit(True).alias("link")
    )
    rows = own.withColumn("link", F.lit(False)).unionByName(ends[0]).unionByName(ends[1]).unionByName(twins)
    if held is not None:
        about = held.select(_content("vertex").alias("content_id"), F.xxhash64(*held.columns).alias("row"))
        rows = rows.unionByName(about.select("content_id", "row", F.lit(0).alias("n"), F.lit(True).alias("link")))
    summed = rows.groupBy("content_id").agg(
        _sum("row").alias("rows"), F.sum("n").alias("n"), F.max("link").alias("link")
    )
    detail = hashes.select(
        "content_id", F.xxhash64("pixel_digest", "detail", *(f.name for f in CONDITION)).alias("shown")
    )
    counted = summed.where("n >= 2 OR (link AND n >= 1)").join(detail, "content_id", "left")
    return counted.select("content_id", F.xxhash64("rows", "shown").alias("fingerprint"))


def _sum(name: str) -> Column:
    """Exact sum of 64-bit hashes, as text: a decimal of 38 digits holds 10^19 of them."""
    return F.sum(F.col(name).cast("decimal(38,0)")).cast("string")
