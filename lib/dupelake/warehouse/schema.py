"""All tables: names, columns with comments, keys, constraints. Each column is defined once.

This module defines the tables of images and pairs, `schema_groups` those of groups, decisions and runs. Import all of
them from here. A changed comment affects only new tables: existing tables keep the comments with which they were made.
"""

from __future__ import annotations

from pyspark.sql import types as T

from dupelake.warehouse.member_place import MEMBER_PLACE
from dupelake.warehouse.rules import FAILED, OK
from dupelake.warehouse.schema_groups import (
    CLUSTERED,
    DECIDED,
    DECISION_CONFLICTS,
    DECISIONS,
    GROUP_CHANGES,
    GROUP_MOVES,
    GROUPS,
    OVERLAP_SETS,
    OVERLAPS,
    RUNS,
    SIMILAR_GROUPS,
)
from dupelake.warehouse.schema_types import BOOL, BOX, BYTES, DOUBLE, INT, LONG, TEXT, TEXTS, TIME, Table, col, conform

__all__ = [
    "ALL_TABLES",
    "BESIDE_NIGHTS",
    "CLUSTERED",
    "DECIDED",
    "DECISIONS",
    "DECISION_CONFLICTS",
    "EMBEDDINGS",
    "FAILED",
    "FEATURES",
    "GROUPS",
    "GROUP_CHANGES",
    "GROUP_MOVES",
    "HASHES",
    "IMAGES",
    "JOINED",
    "JOIN_KEYS",
    "MANIFEST",
    "MODELS",
    "OK",
    "OVERLAPS",
    "OVERLAP_SETS",
    "PAIRS",
    "RUNS",
    "SIMILAR_GROUPS",
    "THUMBNAILS",
    "Table",
    "conform",
]

# The rows of ingest/new_images_stage.normalise; not a stored table.
MANIFEST = T.StructType(
    [
        col("image_id", TEXT, "the manifest's own id, else a digest of the uri", null=False),
        col("uri", TEXT, "as the manifest gives it"),
        col("partition", TEXT, "a date by default", null=False),
        col("scope", TEXT, "owner, tenant or collection; '' when there is none", null=False),
        col("captured_at", TIME, "when the picture was taken, as the manifest says"),
        col("extra", TEXTS, "every other column of the manifest, as text"),
        col("reason", TEXT, "null, or why the row cannot be used"),
        col("error_message", TEXT, "null, or the reason in words"),
        col("last_partition", TEXT, "the last partition that names the image; `partition` is the first", null=False),
        col("marks", TEXTS, "etag, last_modified, byte_size from the manifest; a change means other bytes"),
        col("source", TEXT, "the manifest, the root of a tree with / at its end, or archives with !/", null=False),
        col("is_deleted", BOOL, "the manifest marks the image as deleted", null=False),
        col("n_rows", LONG, "rows of the manifest that it represents", null=False),
        col("place", MEMBER_PLACE, "of an image inside of another file: where its bytes lie"),
    ]
)

IMAGES = Table(
    "images",
    "One row per image of a manifest; failed images stay, with their reason.",
    T.StructType(
        [
            col("image_id", TEXT, "the manifest's own id, else a digest of the uri", null=False),
            col("uri", TEXT, "as the manifest gives it; null only in a failed row"),
            col("partition", TEXT, "partition of the manifest, a date by default", null=False),
            col("scope", TEXT, "images of different scopes are never compared (lsh.scope: within)", null=False),
            col("content_id", TEXT, "first 16 bytes of sha256(file bytes), hex; null when the file was not read"),
            col("byte_size", LONG, "bytes of the file"),
            col("width_px", INT, "width after EXIF orientation, at full size"),
            col("height_px", INT, "height after EXIF orientation, at full size"),
            col("format", TEXT, "format by the decoder: JPEG, PNG, HEIF, ..."),
            col("captured_at", TIME, "from the manifest"),
            col("extra", TEXTS, "every other column of the manifest, as text"),
            col("status", TEXT, "ok or failed", null=False),
            col("reason", TEXT, "null when ok, else one word: missing, empty, undecodable, truncated, too_large, ..."),
            col("error_message", TEXT, "null when ok, else what happened"),
            col("ingested_at", TIME, "start of the run that read it (UTC)", null=False),
            col("deleted_at", TIME, "null while the image exists"),
            col(
                "deleted_reason",
                TEXT,
                "null while it exists; tombstone, not_listed, forgotten, or undone (may return)",
            ),
            col("attempts", INT, "failed nights since the image was last read or its marks changed; 0 when ok"),
            col("marks", TEXTS, "etag, last_modified, byte_size that the manifest gave when the image was read"),
            col(
                "source", TEXT, "the manifest that named it, the root of a tree with / at its end, or archives with !/"
            ),
            col("file_id", TEXT, "id of the file that was read: equal for several names of one file; null if not read"),
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

CONDITION = (
    col("jpeg_quality", INT, "1 to 100: libjpeg quality of the quantisation tables; null if the file is not a JPEG"),
    col("chroma_subsampling", TEXT, "of a JPEG: 4:4:4, 4:2:2, 4:2:0, ..."),
    col("is_web_lossy", BOOL, "lossy WebP, AVIF or GIF: no camera writes it"),
    col("has_exif", BOOL, "the EXIF data names a camera or an exposure time"),
    col("has_icc", BOOL, "the file has a colour profile"),
    col("bit_depth", INT, "bits per stored sample"),
    col("jpeg_trace", DOUBLE, "-1 to 1: above 0.03 the pixels were a JPEG once (zero DCT coefficients on its grid)"),
    col("earlier_quality", INT, "20 to 95: quality of an earlier JPEG of the pixels"),
    col("quantiser_fits", BYTES, "for each JPEG quality of 20 to 96, hundredths by which the pixels fit its steps"),
    col("spectrum", BYTES, "power of 64 bands of frequencies, in quarters of a dB above -10"),
    col("blockiness", DOUBLE, "levels by which neighbours differ more across JPEG's blocks than inside"),
    col("noise", DOUBLE, "levels: standard deviation of noise in the smoothest tenth of the picture"),
    col("sharpness", DOUBLE, "fine detail at the strongest edges divided by their slope; blur lowers it"),
    col("clipped", DOUBLE, "0 to 1: share of samples at the lowest or highest level"),
    col("comb", DOUBLE, "0 to 2: gaps and peaks of the histogram, caused by curves and posterising"),
    col("contrast", DOUBLE, "levels between the first and the last percentile of brightness"),
    col("colourfulness", DOUBLE, "levels: 0 for grey pictures and for those tinted in one colour"),
)
"""Columns of `hashes` by which the keeper is chosen; null if not measured."""

HASHES = Table(
    "hashes",
    "One row per distinct content: perceptual hashes of the decoded pixels.",
    T.StructType(
        [
            col("content_id", TEXT, "first 16 bytes of sha256(file bytes), hex", null=False),
            col(
                "pixel_digest",
                TEXT,
                "equal for files that every viewer shows alike: digest of everything shown (alpha, depth, profile, "
                "frames); if that is not known (HEIF, layers, several pages) of the coded stream or of all bytes",
                null=False,
            ),
            col("phash", LONG, "pHash as in imagehash, 64 bits, first bit highest", null=False),
            col("phash_mirrored", LONG, "pHash of the picture mirrored left to right", null=False),
            col("pdq", BYTES, "PDQ as in ThreatExchange, 256 bits in 32 bytes", null=False),
            col("pdq_mirrored", BYTES, "PDQ of the picture mirrored left to right", null=False),
            col("pdq_quality", INT, "0 to 100; below 50 PDQ is unreliable", null=False),
            col("is_low_information", BOOL, "flat, blank or tiny: never joined by hashes or embeddings", null=False),
            col(
                "detail",
                DOUBLE,
                "0 to 1: share of the linear resolution that carries detail; low for enlarged pictures",
                null=False,
            ),
            *CONDITION,
            col(
                "hash_version",
                TEXT,
                "version of hashing and decoding; rows of different versions are never compared",
                null=False,
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
    "One row per distinct content: a small upright JPEG that all later steps read.",
    T.StructType(
        [
            col("content_id", TEXT, "first 16 bytes of sha256(file bytes), hex", null=False),
            col("bytes", BYTES, "JPEG, orientation applied, alpha on white", null=False),
            col("width_px", INT, "of the thumbnail", null=False),
            col("height_px", INT, "of the thumbnail", null=False),
        ]
    ),
    key=("content_id",),
    checks={"not_empty": "length(bytes) > 0"},
)

FEATURES = Table(
    "features",
    "One row per distinct content: local features of its thumbnail, and their visual words.",
    T.StructType(
        [
            col("content_id", TEXT, "first 16 bytes of sha256(file bytes), hex", null=False),
            col("n_keypoints", INT, "number of keypoints, which are stored strongest first", null=False),
            col("keypoints", BYTES, "8 bytes each: uint16 x, y, scale (1/32 px), angle (1/65536 turn); little-endian"),
            col("descriptors", BYTES, "128 bytes each: RootSIFT times 512"),
            col("words", BYTES, "visual words that the join uses; packed by words/vocabulary.py"),
            col("error_message", TEXT, "null, or why there are no features"),
            col("feature_version", TEXT, "version of features and vocabulary", null=False),
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
            col("model_id", TEXT, "name and digest of the weights", null=False),
            col("preprocess_id", TEXT, "size, resampling, mean and std", null=False),
            col("dim", INT, "length of a vector", null=False),
            col("centre", BYTES, "little-endian float32[dim]: mean of the reference photographs, for LSH", null=False),
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
            col("content_id", TEXT, "first 16 bytes of sha256(file bytes), hex", null=False),
            col("model_id", TEXT, "the model; embeddings of different models are never compared", null=False),
            col("preprocess_id", TEXT, "preprocessing of the input", null=False),
            col("embedding", BYTES, "little-endian float16[dim] of unit length; null when it could not be computed"),
            col("error_message", TEXT, "null, or why there is no embedding"),
            col("attempts", INT, "nights in which it failed; null if there is an embedding"),
            col("tried_at", TIME, "start of the last run in which it failed (UTC); null if there is an embedding"),
        ]
    ),
    key=("content_id", "model_id"),
)

PAIRS = Table(
    "pairs",
    "One row per measured pair of contents, src_id < dst_id, with all its evidence.",
    T.StructType(
        [
            col("src_id", TEXT, "content id, the smaller", null=False),
            col("dst_id", TEXT, "content id, the larger", null=False),
            col("phash_bits", INT, "Hamming distance of pHash, 0 to 64"),
            col("phash_mirrored_bits", INT, "the same with one picture mirrored: the smaller of both ways"),
            col("pdq_bits", INT, "Hamming distance of PDQ, 0 to 256"),
            col("pdq_mirrored_bits", INT, "the same with one picture mirrored: the smaller of both directions"),
            col("pdq_quality", INT, "the lower quality of the two"),
            col("cosine_similarity", DOUBLE, "of the embeddings, -1 to 1; null without embeddings"),
            col(
                "n_inliers",
                INT,
                "matched keypoints at distinct points that fit the alignment; 0 if aligned without keypoints",
            ),
            col("inlier_spread", DOUBLE, "0 to 1: share of the 4 x 4 cells of the overlap that contain an inlier"),
            col("aligned_ncc", DOUBLE, "-1 to 1: correlation of gradients over the overlap after alignment"),
            col("agreeing_share", DOUBLE, "0 to 1: share of the overlap's cells with structure that agree"),
            col(
                "contradicting_share",
                DOUBLE,
                "0 to 1: share of those cells in which each picture shows something that the other lacks",
            ),
            col("src_overlap", DOUBLE, "0 to 1: share of the source picture that the other shows"),
            col("dst_overlap", DOUBLE, "0 to 1: share of the destination picture that the other shows"),
            col(
                "src_beyond",
                DOUBLE,
                "0 to 1: share of the source outside the other picture that continues the same scene",
            ),
            col("dst_beyond", DOUBLE, "0 to 1: the same of the destination"),
            col(
                "src_frame",
                DOUBLE,
                "0 to 1: share of the source that is a frame around the picture (border, caption, screen)",
            ),
            col("dst_frame", DOUBLE, "0 to 1: the same of the destination"),
            col(
                "src_added",
                DOUBLE,
                "0 to 1: share of the overlap that the source covers with an overlay: text, a logo",
            ),
            col("dst_added", DOUBLE, "0 to 1: the same of the destination"),
            col("scale", DOUBLE, "full-size pixels of the destination per pixel of the source"),
            col(
                "rotation_degrees",
                DOUBLE,
                "-180 to 180: clockwise rotation from source (mirrored first) to destination",
            ),
            col("is_mirrored", BOOL, "one is the mirror image of the other", null=False),
            col("largest_local_difference", DOUBLE, "0 to 1: difference of the cell of the overlap that differs most"),
            col("difference_box", BOX, "place of that cell in the source, as fractions of width and height"),
            col("colour_difference", DOUBLE, "0 to 1: difference of tones, hues and saturations over the overlap"),
            col("cell_shift_px", DOUBLE, "0 to 2 thumbnail pixels: median shift of cells that both show"),
            col(
                "unexplained_colour",
                DOUBLE,
                "0 to 64 levels: median colour difference that no smooth colour mapping explains",
            ),
            col(
                "difference_coherence",
                DOUBLE,
                "0 to 1: share of the colour difference that is left when it is averaged over cells; low for noise",
            ),
            col(
                "kind",
                TEXT,
                "pixel, near, crop, mirrored, rotated, edited, recoloured; similar: another shot or version of one "
                "thing, no duplicate; null: neither",
            ),
            col("score", DOUBLE, "0 to 1: probability that both are made from one picture", null=False),
            col("is_duplicate", BOOL, "score >= decide.min_score", null=False),
            col(
                "found_by",
                TEXT,
                "candidate generators that proposed it: pixel, or phash, pdq, words, embedding joined by +",
                null=False,
            ),
            col("error_message", TEXT, "null, or why it could not be aligned"),
            col("hash_version", TEXT, "version of both hashes", null=False),
            col("verify_version", TEXT, "version of features and verification; null if not aligned"),
            col("model_id", TEXT, "model of both embeddings; null without"),
            col("join_version", TEXT, "fingerprint of the join that proposed it", null=False),
            col("decide_version", TEXT, "fingerprint of the decision model and its option", null=False),
        ]
    ),
    key=("src_id", "dst_id"),
    checks={
        "ordered": "src_id < dst_id",
        "score_range": "score BETWEEN 0 AND 1",
    },
)

JOINED = Table(
    "joined",
    "State of the LSH join: which contents have been compared with all others, in which scope.",
    T.StructType(
        [
            col("scope", TEXT, "scope of the images that have the content", null=False),
            col("content_id", TEXT, "representative of contents with equal pixels: the smallest id", null=False),
            col("join_version", TEXT, "fingerprint of the join", null=False),
        ]
    ),
    key=("scope", "content_id"),
)

JOIN_KEYS = Table(
    "join_keys",
    "State of the LSH join: keys of features and embeddings, stored because they are expensive to compute.",
    T.StructType(
        [
            col("content_id", TEXT, "a content that is or was joined", null=False),
            col("embedding_code", BYTES, "signs of projections of the embedding; null without"),
            col(
                "word_keys", BYTES, "little-endian uint64 each: pairs of neighbouring words; null without, or by blocks"
            ),
            col("key_version", TEXT, "fingerprint of the computation of the keys", null=False),
            col("made_of", TEXT, "inputs that existed: embedding, words, both joined by '+', or nothing"),
        ]
    ),
    key=("content_id",),
)

ALL_TABLES = (
    IMAGES,
    HASHES,
    THUMBNAILS,
    FEATURES,
    MODELS,
    EMBEDDINGS,
    JOIN_KEYS,
    PAIRS,
    JOINED,
    CLUSTERED,
    GROUPS,
    GROUP_CHANGES,
    GROUP_MOVES,
    SIMILAR_GROUPS,
    DECISIONS,
    DECIDED,
    DECISION_CONFLICTS,
    OVERLAPS,
    OVERLAP_SETS,
    RUNS,
)

# Tables that no night reads or writes: their versions say nothing about whether a night is up to date.
BESIDE_NIGHTS = (OVERLAPS, OVERLAP_SETS, RUNS)
