"""Every table: name, columns with comments, key, constraints. The one place where a column is named first.

Types are Spark's; all of them read back through delta-rs (reader version 1). Hashes of 64 bits are
BIGINT, so that `bit_count(a ^ b)` works in SQL; longer ones and vectors are BINARY.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from dupelake.errors import SchemaError


def _col(name: str, kind: T.DataType, comment: str, *, null: bool = True) -> T.StructField:
    return T.StructField(name, kind, null, {"comment": comment})


@dataclass(frozen=True)
class Table:
    """One Delta table: `schema` carries the comments, `key` is unique, `checks` are CHECK constraints."""

    name: str
    comment: str
    schema: T.StructType
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    checks: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Column names in order."""
        return self.schema.fieldNames()


_S, _L, _I, _B, _D, _TS, _BIN = (
    T.StringType(),
    T.LongType(),
    T.IntegerType(),
    T.BooleanType(),
    T.DoubleType(),
    T.TimestampType(),
    T.BinaryType(),
)
_COUNTS = T.MapType(T.StringType(), T.LongType(), False)
_SECONDS = T.MapType(T.StringType(), T.DoubleType(), False)
_WORDS = T.MapType(T.StringType(), T.StringType(), True)
_BOX = T.StructType([T.StructField(name, T.DoubleType()) for name in ("x", "y", "width", "height")])

OK, FAILED = "ok", "failed"

# What the manifest stage hands on; not a stored table.
MANIFEST = T.StructType(
    [
        _col("image_id", _S, "the manifest's own id, else a digest of the uri", null=False),
        _col("uri", _S, "as the manifest gives it"),
        _col("partition", _S, "a date by default", null=False),
        _col("scope", _S, "owner, tenant or collection; '' when there is none", null=False),
        _col("captured_at", _TS, "when the picture was taken, as the manifest says"),
        _col("extra", _WORDS, "every other column of the manifest, as text"),
        _col("reason", _S, "null, or why the row cannot be used"),
        _col("error_message", _S, "null, or the reason in words"),
    ]
)

IMAGES = Table(
    "images",
    "One row per image of a manifest; failed ones stay, with their reason.",
    T.StructType(
        [
            _col("image_id", _S, "the manifest's own id, else a digest of the uri", null=False),
            _col("uri", _S, "as the manifest gives it; null only in a failed row"),
            _col("partition", _S, "partition of the manifest, a date by default", null=False),
            _col("scope", _S, "images of different scopes are never compared (lsh.scope: within)", null=False),
            _col("content_id", _S, "first 16 bytes of sha256(file bytes), hex; null when the file was not read"),
            _col("byte_size", _L, "bytes of the file"),
            _col("width_px", _I, "width after EXIF orientation, at full size"),
            _col("height_px", _I, "height after EXIF orientation, at full size"),
            _col("format", _S, "as the decoder names it: JPEG, PNG, HEIF, ..."),
            _col("captured_at", _TS, "from the manifest"),
            _col("extra", _WORDS, "every other column of the manifest, as text"),
            _col("status", _S, "ok or failed", null=False),
            _col("reason", _S, "null when ok, else one word: missing, empty, undecodable, truncated, too_large, ..."),
            _col("error_message", _S, "null when ok, else what happened, in words"),
            _col("ingested_at", _TS, "when the run that read it started (UTC)", null=False),
            _col("deleted_at", _TS, "null while the image exists"),
        ]
    ),
    key=("image_id",),
    partition_by=("partition",),
    checks={
        "status_known": "status IN ('ok', 'failed')",
        "ok_has_content": "status <> 'ok' OR (content_id IS NOT NULL AND width_px > 0 AND height_px > 0)",
        "failed_has_reason": "status <> 'failed' OR reason IS NOT NULL",
    },
)

HASHES = Table(
    "hashes",
    "One row per distinct content: perceptual hashes of the decoded pixels.",
    T.StructType(
        [
            _col("content_id", _S, "first 16 bytes of sha256(file bytes), hex", null=False),
            _col(
                "pixel_digest",
                _S,
                "digest of width, height and pixels: equal for files that differ in metadata only",
                null=False,
            ),
            _col("phash", _L, "pHash, 64 bits as imagehash defines it, first bit highest", null=False),
            _col("phash_mirrored", _L, "pHash of the picture mirrored left to right", null=False),
            _col("pdq", _BIN, "PDQ, 256 bits in 32 bytes as ThreatExchange defines it", null=False),
            _col("pdq_mirrored", _BIN, "PDQ of the picture mirrored left to right", null=False),
            _col("pdq_quality", _I, "0 to 100; below 50 PDQ says little", null=False),
            _col("is_low_information", _B, "flat, blank or tiny: never joined by hash or embedding", null=False),
            _col(
                "detail",
                _D,
                "0 to 1: share of the linear resolution that carries detail; low when enlarged",
                null=False,
            ),
            _col(
                "hash_version", _S, "what computed the row, decoding included; versions are never compared", null=False
            ),
        ]
    ),
    key=("content_id",),
    checks={
        "quality_range": "pdq_quality BETWEEN 0 AND 100",
        "pdq_length": "length(pdq) = 32",
        "content_id_hex": "length(content_id) = 32",
    },
)

THUMBNAILS = Table(
    "thumbnails",
    "One row per distinct content: a small upright JPEG that everything later reads.",
    T.StructType(
        [
            _col("content_id", _S, "first 16 bytes of sha256(file bytes), hex", null=False),
            _col("bytes", _BIN, "JPEG, orientation applied, alpha on white", null=False),
            _col("width_px", _I, "of the thumbnail", null=False),
            _col("height_px", _I, "of the thumbnail", null=False),
        ]
    ),
    key=("content_id",),
    checks={"not_empty": "length(bytes) > 0"},
)

FEATURES = Table(
    "features",
    "One row per distinct content: local features of its thumbnail, and the visual words made of them.",
    T.StructType(
        [
            _col("content_id", _S, "first 16 bytes of sha256(file bytes), hex", null=False),
            _col("n_keypoints", _I, "how many, strongest first", null=False),
            _col("keypoints", _BIN, "8 bytes each: uint16 x, y, scale (1/32 px), angle (1/65536 turn); little-endian"),
            _col("descriptors", _BIN, "128 bytes each: RootSIFT times 512"),
            _col("words", _BIN, "visual words of the keypoints that the join uses; kernels.vocabulary packs them"),
            _col("error_message", _S, "null, or why there are no features"),
            _col("feature_version", _S, "what computed the row, the vocabulary included", null=False),
        ]
    ),
    key=("content_id",),
    checks={"size": "length(keypoints) + length(descriptors) + length(words) <= 65536"},
)

MODELS = Table(
    "models",
    "One row per embedding model that this warehouse has used.",
    T.StructType(
        [
            _col("model_id", _S, "name and digest of the weights", null=False),
            _col("preprocess_id", _S, "size, resampling, mean and std", null=False),
            _col("dim", _I, "length of a vector", null=False),
            _col(
                "centre", _BIN, "little-endian float32[dim]: mean over the reference photographs, for LSH", null=False
            ),
        ]
    ),
    key=("model_id",),
    checks={"dim_positive": "dim > 0"},
)

EMBEDDINGS = Table(
    "embeddings",
    "One row per distinct content and model: the embedding of its thumbnail.",
    T.StructType(
        [
            _col("content_id", _S, "first 16 bytes of sha256(file bytes), hex", null=False),
            _col("model_id", _S, "which model; models are never compared", null=False),
            _col("preprocess_id", _S, "how its input was prepared", null=False),
            _col("embedding", _BIN, "little-endian float16[dim] of unit length; null when it could not be computed"),
            _col("error_message", _S, "null, or why there is no embedding"),
        ]
    ),
    key=("content_id", "model_id"),
)

PAIRS = Table(
    "pairs",
    "One row per measured pair of contents, src_id < dst_id, with all its evidence.",
    T.StructType(
        [
            _col("src_id", _S, "content id, the smaller", null=False),
            _col("dst_id", _S, "content id, the larger", null=False),
            _col("phash_bits", _I, "Hamming distance of pHash, 0 to 64"),
            _col("phash_mirrored_bits", _I, "the same with one picture mirrored: the smaller of both directions"),
            _col("pdq_bits", _I, "Hamming distance of PDQ, 0 to 256"),
            _col("pdq_mirrored_bits", _I, "the same with one picture mirrored: the smaller of both directions"),
            _col("pdq_quality", _I, "the lower quality of the two"),
            _col("cosine_similarity", _D, "of the embeddings, -1 to 1; null without embeddings"),
            _col(
                "n_inliers",
                _I,
                "matched keypoints at distinct points that fit the alignment; 0: aligned without keypoints",
            ),
            _col("inlier_spread", _D, "0 to 1: share of the overlap's 4 x 4 cells that hold an inlier"),
            _col("aligned_ncc", _D, "-1 to 1: correlation of gradients over the overlap after alignment"),
            _col("agreeing_share", _D, "0 to 1: share of the overlap's cells with structure that agree"),
            _col(
                "contradicting_share", _D, "0 to 1: share of those cells in which each side shows what the other lacks"
            ),
            _col("src_overlap", _D, "0 to 1: share of the source picture that the other shows"),
            _col("dst_overlap", _D, "0 to 1: share of the destination picture that the other shows"),
            _col(
                "src_beyond", _D, "0 to 1: share of the source that the other lacks and that continues the same picture"
            ),
            _col("dst_beyond", _D, "0 to 1: the same of the destination"),
            _col(
                "src_frame", _D, "0 to 1: share of the source that was put around the picture (border, caption, screen)"
            ),
            _col("dst_frame", _D, "0 to 1: the same of the destination"),
            _col("scale", _D, "full-size pixels of the destination for one of the source"),
            _col("rotation_degrees", _D, "-180 to 180: clockwise turn from source (mirrored first) to destination"),
            _col("is_mirrored", _B, "one is the mirror image of the other", null=False),
            _col("largest_local_difference", _D, "0 to 1: of the cell of the overlap that differs most"),
            _col("difference_box", _BOX, "where in the source, as fractions of its width and height"),
            _col("colour_difference", _D, "0 to 1: of tones, hues and saturations over the overlap"),
            _col("kind", _S, "pixel, near, crop, mirrored, rotated, edited, recoloured; null when not a duplicate"),
            _col("score", _D, "0 to 1: 1 identical, 0.5 exactly at the threshold of its best signal", null=False),
            _col("is_duplicate", _B, "score >= 0.5: one signal at least passes its threshold", null=False),
            _col(
                "found_by", _S, "legs that proposed it: pixel, or phash, pdq, words, embedding joined by +", null=False
            ),
            _col("error_message", _S, "null, or why it could not be aligned"),
            _col("hash_version", _S, "version of both hashes", null=False),
            _col("verify_version", _S, "version of features and verification; null where not aligned"),
            _col("model_id", _S, "model of both embeddings; null without"),
            _col("join_version", _S, "fingerprint of what proposed it", null=False),
            _col("decide_version", _S, "fingerprint of the thresholds that decided it", null=False),
        ]
    ),
    key=("src_id", "dst_id"),
    checks={
        "ordered": "src_id < dst_id",
        "score_range": "score BETWEEN 0 AND 1",
        "decided": "is_duplicate = (score >= 0.5)",
    },
)

JOINED = Table(
    "joined",
    "State of the LSH join: which contents have met all others, in which scope.",
    T.StructType(
        [
            _col("scope", _S, "scope of the images that carry the content", null=False),
            _col("content_id", _S, "representative of contents with equal pixels: the smallest id", null=False),
            _col("join_version", _S, "fingerprint of what joined it", null=False),
        ]
    ),
    key=("scope", "content_id"),
)

GROUPS = Table(
    "groups",
    "One row per image that stands in a duplicate group (of two images at least).",
    T.StructType(
        [
            _col("image_id", _S, "the image", null=False),
            _col("group_id", _S, "kept for life, never reused", null=False),
            _col("scope", _S, "scope of all images of the group", null=False),
            _col("content_id", _S, "content of the image", null=False),
            _col("is_keeper", _B, "the one image of the group to keep", null=False),
            _col("relation", _S, "keeper, copy (shows nothing that the keeper lacks) or alternate", null=False),
            _col("is_removable", _B, "a copy of a kind that cluster.removable_kinds names", null=False),
            _col(
                "score_to_keeper",
                _D,
                "score of the pair with the keeper itself; 1 for equal bytes or pixels",
                null=False,
            ),
            _col("kind", _S, "exact, pixel, near, crop, mirrored, rotated, edited, recoloured; null for the keeper"),
            _col("reason", _S, "why, in words", null=False),
            _col("group_size", _I, "images in the group", null=False),
            _col("updated_at", _TS, "start of the run that last changed this row (UTC)", null=False),
        ]
    ),
    key=("image_id",),
    checks={
        "relation_known": "relation IN ('keeper', 'copy', 'alternate')",
        "keeper_stays": "NOT (is_keeper AND is_removable)",
        "score_passes": "score_to_keeper BETWEEN 0.5 AND 1",
        "two_at_least": "group_size >= 2",
    },
)

GROUP_CHANGES = Table(
    "group_changes",
    "One row per event in the life of a group.",
    T.StructType(
        [
            _col("run_id", _S, "the run that made the change", null=False),
            _col("group_id", _S, "the group", null=False),
            _col("event", _S, "born, grew, shrank, merged_into, split_from, ended", null=False),
            _col("other_group_id", _S, "the group merged into, or split from"),
            _col("n_images", _I, "images in the group afterwards", null=False),
            _col("changed_at", _TS, "start of the run (UTC)", null=False),
        ]
    ),
    key=("run_id", "group_id", "event"),
    checks={"event_known": "event IN ('born', 'grew', 'shrank', 'merged_into', 'split_from', 'ended')"},
)

RUNS = Table(
    "runs",
    "One row per job run.",
    T.StructType(
        [
            _col("run_id", _S, "start time and a random suffix", null=False),
            _col("job", _S, "hash, embed, lsh_join, cluster or nightly", null=False),
            _col("status", _S, "succeeded or failed", null=False),
            _col("started_at", _TS, "UTC", null=False),
            _col("finished_at", _TS, "UTC", null=False),
            _col("arguments", _S, "command line, JSON", null=False),
            _col("config_fingerprint", _S, "changes when any option changes", null=False),
            _col("config", _S, "all options, JSON", null=False),
            _col("versions", _WORDS, "of dupelake, the hash, the model, Spark, Delta", null=False),
            _col(
                "counts", _COUNTS, "rows in, out, failed by reason, pairs by kind, groups, removable bytes", null=False
            ),
            _col("seconds", _SECONDS, "wall-clock by stage", null=False),
            _col(
                "recall",
                _S,
                "JSON: of copies planted in memory, how many were found, by edit; null where none were planted",
            ),
            _col("error_message", _S, "null when it succeeded"),
        ]
    ),
    key=("run_id",),
    checks={"status_known": "status IN ('succeeded', 'failed')"},
)

ALL_TABLES = (IMAGES, HASHES, THUMBNAILS, FEATURES, MODELS, EMBEDDINGS, PAIRS, JOINED, GROUPS, GROUP_CHANGES, RUNS)


def conform(df: DataFrame, schema: T.StructType) -> DataFrame:
    """`df` with exactly the columns of `schema`, cast and in order.

    Raises:
        SchemaError: a column is missing; the message names it and lists what is there.
    """
    missing = [name for name in schema.fieldNames() if name not in df.columns]
    if missing:
        raise SchemaError(f"columns {missing} are missing; there are {df.columns}")
    return df.select([F.col(f.name).cast(f.dataType).alias(f.name, metadata=f.metadata) for f in schema.fields])
