"""Find the components that changed since the last run, so that only these are grouped again.

The groups of a component are a function of its images, their classes of equal pixels, the accepted pairs among them,
and people's verdicts on them. Each content gets a fingerprint of all of these. `schema.CLUSTERED` stores the
fingerprints of the last run, with the component of each content. A content with another fingerprint is dirty, and all
contents of its stored component are grouped again with it. This set is closed under links: a new, changed or removed
link makes both of its ends dirty, and any other link is inside one stored component.

These components consist of contents in all scopes. They are coarser than those of `group/stage.py`, which is safe.
Contents without a pair, an equal content or a verdict are left out, because they are in no group. Contents without a
live image are not: the pairs and verdicts of a class of equal pixels are stored with its smallest content id, which may
have lost its image while others of the class are live.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.config import Config, fingerprint
from dupelake.group.components_stage import connected_components
from dupelake.group.decisions_stage import combine_verdicts, linking_edges
from dupelake.group.file_names_stage import file_of
from dupelake.group.keeping import keeper_weights
from dupelake.group.traces import enlarged_weights
from dupelake.ingest.live_stage import live_images, pixel_classes
from dupelake.verify.decision import altered_model
from dupelake.warehouse.counted import counted
from dupelake.warehouse.schema import CLUSTERED, conform

CLUSTER_REVISION = 10  # raise it with a change to group/ that gives other rows of `groups`, reasons included

_IMAGE = ("image_id", "scope", "byte_size", "width_px", "height_px", "format", "captured_at")
_PAIR = (
    "kind", "score", "phash_bits", "phash_mirrored_bits", "pdq_bits", "pdq_mirrored_bits", "cosine_similarity",
    "n_inliers", "aligned_ncc", "agreeing_share", "contradicting_share",
    "src_overlap", "dst_overlap", "src_beyond", "dst_beyond", "src_frame",
    "dst_frame", "src_added", "dst_added", "scale", "rotation_degrees", "is_mirrored", "largest_local_difference",
    "difference_box", "colour_difference",
)  # fmt: skip
_OF_PAIR = tuple(dict.fromkeys((*_PAIR, *altered_model().columns)))  # what `tiers_stage.is_verified` reads as well


@dataclass(frozen=True)
class Touched:
    """The contents that a run groups again.

    Attributes:
        contents: (content_id, fingerprint): all contents of changed components; the fingerprint is null if the content
            can no longer be in a group.
        links: (src, dst) between contents of changed components only; an end may have no live image.
        n_contents: the number of `contents`.
    """

    contents: DataFrame
    links: DataFrame
    n_contents: int


def cluster_version(cfg: Config) -> str:
    """Fingerprint of the code and options that decide groups."""
    own = {name: value for name, value in asdict(cfg.cluster).items() if name != "similar_groups"}
    weights = dict(sorted(keeper_weights().items()))
    made_from = enlarged_weights().tolist()
    models = {"keeper": weights, "enlarged": made_from, "altered": altered_model().as_dict()}
    return fingerprint({"revision": CLUSTER_REVISION, "scope": cfg.lsh.scope} | models | own)


def find_touched(
    images: DataFrame,
    hashes: DataFrame,
    pairs: DataFrame,
    verdicts: DataFrame | None,
    clustered: DataFrame,
    cfg: Config,
    checkpoint: Callable[[DataFrame], DataFrame],
) -> Touched:
    """Compare the present rows with those that were grouped last.

    Args:
        images: schema.IMAGES.
        hashes: schema.HASHES.
        pairs: schema.PAIRS.
        verdicts: result of `group.decisions_stage.resolve_decisions`; None if there are no verdicts.
        clustered: schema.CLUSTERED as the last run left it, or empty.
        cfg: `cluster` and `lsh.scope` are read.
        checkpoint: materialises a DataFrame and returns one without lineage.

    Cost: live images, hashes, accepted pairs and `clustered` are read and shuffled once, by columns of a few dozen
    bytes a row; no other work grows with the corpus.
    """
    accepted = pairs.where("is_duplicate")
    classes = pixel_classes(hashes)
    by_vertex = (
        None if verdicts is None else checkpoint(combine_verdicts(verdicts))
    )  # groups depend on verdicts through it only
    links = _links(accepted, classes, by_vertex)
    now = _fingerprints(images, hashes, classes, accepted, by_vertex, cluster_version(cfg))
    stored = clustered.select("content_id", "component", F.col("fingerprint").alias("before"))
    both = checkpoint(now.join(stored, "content_id", "full"))
    is_dirty = ~F.col("fingerprint").eqNullSafe(F.col("before"))
    touched = both.where(is_dirty & F.col("component").isNotNull()).select("component").distinct()
    in_touched = both.join(touched, "component", "left_semi").select("content_id", "fingerprint")
    new = both.where(is_dirty & F.col("component").isNull()).select("content_id", "fingerprint")
    contents, seen = counted(checkpoint, in_touched.unionByName(new))
    touched_ids = contents.select(F.col("content_id").alias("src"))
    either = links.unionAll(links.select(F.col("dst").alias("src"), F.col("src").alias("dst")))
    return Touched(contents, either.join(touched_ids, "src", "left_semi"), seen["n"])


def restrict(rows: DataFrame, touched: Touched, column: str = "content_id") -> DataFrame:
    """The rows of `rows` whose content is grouped again."""
    return rows.join(touched.contents.select(F.col("content_id").alias(column)), column, "left_semi").select(
        rows.columns
    )


def clustered_rows(touched: Touched, checkpoint: Callable[[DataFrame], DataFrame]) -> tuple[DataFrame, DataFrame]:
    """The rows of CLUSTERED for the contents that were grouped again, and the keys to delete."""
    components = connected_components(touched.links, checkpoint).select(
        F.col("vertex").alias("content_id"), "component"
    )
    kept = touched.contents.where("fingerprint IS NOT NULL").join(components, "content_id", "left")
    rows = kept.withColumn("component", F.coalesce("component", "content_id"))
    gone = touched.contents.where("fingerprint IS NULL").select("content_id")
    return conform(rows, CLUSTERED.schema), gone


def _links(accepted: DataFrame, classes: DataFrame, by_vertex: DataFrame | None) -> DataFrame:
    """(src, dst) of contents that pairs, equal pixels or verdicts connect."""
    found = accepted.select(F.col("src_id").alias("src"), F.col("dst_id").alias("dst")).unionAll(
        classes.select(F.col("class_id").alias("src"), F.col("content_id").alias("dst"))
    )
    if by_vertex is None:
        return found
    return found.unionAll(linking_edges(by_vertex).select(_content("src").alias("src"), _content("dst").alias("dst")))


def _content(vertex: str) -> Column:
    """The content id in the name of a vertex (content/scope)."""
    return F.split(vertex, "/")[0]


def _fingerprints(
    images: DataFrame,
    hashes: DataFrame,
    classes: DataFrame,
    accepted: DataFrame,
    by_vertex: DataFrame | None,
    version: str,
) -> DataFrame:
    """(content_id, fingerprint bigint) of contents with two live images, a pair, an equal content or a verdict.

    A fingerprint is a hash of a sum of hashes, so it does not depend on the order of rows.
    """
    own = live_images(images).select(
        "content_id", F.xxhash64(F.lit(version), *_IMAGE, file_of()).alias("row"), F.lit(1).alias("n")
    )
    pair = F.xxhash64("src_id", "dst_id", *(F.to_json(c) if c == "difference_box" else c for c in _OF_PAIR))
    ends = [
        accepted.select(
            F.col(end).alias("content_id"), pair.alias("row"), F.lit(0).alias("n"), F.lit(True).alias("link")
        )
        for end in ("src_id", "dst_id")
    ]
    equal_pixels = classes.select(
        "content_id", F.xxhash64("class_id").alias("row"), F.lit(0).alias("n"), F.lit(True).alias("link")
    )
    rows = own.withColumn("link", F.lit(False)).unionByName(ends[0]).unionByName(ends[1]).unionByName(equal_pixels)
    if by_vertex is not None:
        about = by_vertex.select(_content("vertex").alias("content_id"), F.xxhash64(*by_vertex.columns).alias("row"))
        rows = rows.unionByName(about.select("content_id", "row", F.lit(0).alias("n"), F.lit(True).alias("link")))
    summed = rows.groupBy("content_id").agg(
        _sum("row").alias("rows"), F.sum("n").alias("n"), F.max("link").alias("link")
    )
    # What else the keeper reads of a content is a function of its bytes and the version.
    detail = hashes.select("content_id", F.xxhash64("pixel_digest", "detail", "hash_version").alias("shown"))
    counted = summed.where("n >= 2 OR link").join(detail, "content_id", "left")
    return counted.select("content_id", F.xxhash64("rows", "shown").alias("fingerprint"))


def _sum(name: str) -> Column:
    """Exact sum of 64-bit hashes, as text; a decimal of 38 digits is wide enough for 10^19 of them."""
    return F.sum(F.col(name).cast("decimal(38,0)")).cast("string")
