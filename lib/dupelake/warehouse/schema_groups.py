"""Tables of groups and their history, people's decisions, overlaps of sets, and runs."""

from __future__ import annotations

from pyspark.sql import types as T

from dupelake.warehouse.schema_types import (
    BOOL,
    BYTES,
    COUNTS,
    DOUBLE,
    INT,
    LONG,
    SECONDS,
    TEXT,
    TEXTS,
    TIME,
    Table,
    col,
)

GROUPS = Table(
    "groups",
    "One row per image in a duplicate group (of at least two images).",
    T.StructType(
        [
            col("image_id", TEXT, "the image", null=False),
            col("group_id", TEXT, "assigned once, never changed or reused", null=False),
            col("scope", TEXT, "scope of all images of the group", null=False),
            col("content_id", TEXT, "content of the image", null=False),
            col("is_keeper", BOOL, "the one image of the group to keep", null=False),
            col("relation", TEXT, "keeper, copy (shows nothing that the keeper lacks) or alternate", null=False),
            col("is_removable", BOOL, "a copy of a tier that cluster.removable covers", null=False),
            col(
                "tier",
                TEXT,
                "of a copy whose pair with the keeper passes: identical (bytes or pixels), verified (only encoding, "
                "scale or a cut edge differs), copies; null: the image is kept",
            ),
            col(
                "compared_with",
                TEXT,
                "image_id of the image it was compared with: the keeper, else another member; null if none",
            ),
            col(
                "score_to_keeper",
                DOUBLE,
                "score of the pair with the image that it was compared with; 1 for equal bytes or pixels",
                null=False,
            ),
            col("kind", TEXT, "exact, pixel, near, crop, mirrored, rotated, edited, recoloured; null for the keeper"),
            col("reason", TEXT, "explanation of relation and tier", null=False),
            col("group_size", INT, "images in the group", null=False),
            col("updated_at", TIME, "start of the run that last changed this row (UTC)", null=False),
        ]
    ),
    key=("image_id",),
    checks={
        "relation_known": "relation IN ('keeper', 'copy', 'alternate')",
        "keeper_stays": "NOT (is_keeper AND is_removable)",
        "score_range": "score_to_keeper BETWEEN 0 AND 1",
        "two_at_least": "group_size >= 2",
    },
)

SIMILAR_GROUPS = Table(
    "similar_groups",
    "One row per image of which another image is another shot or version; such images need not be duplicates. "
    "Written only if cluster.similar_groups is on.",
    T.StructType(
        [
            col("image_id", TEXT, "the image", null=False),
            col("similar_group_id", TEXT, "the smallest image_id of the group", null=False),
            col("scope", TEXT, "scope of all images of the group", null=False),
            col("content_id", TEXT, "content of the image", null=False),
            col("group_size", INT, "images in the group", null=False),
        ]
    ),
    key=("image_id",),
    checks={"two_at_least": "group_size >= 2"},
)

GROUP_MOVES = Table(
    "group_moves",
    "One row per image and change: it entered, left or changed its group. Applied in order of sequence they give the "
    "groups of any past night.",
    T.StructType(
        [
            col("run_id", TEXT, "the run that made the change", null=False),
            col("sequence", T.LongType(), "number of the change of `groups` that made it true", null=False),
            col("image_id", TEXT, "the image", null=False),
            col("from_group_id", TEXT, "its group before; null if it had none"),
            col("to_group_id", TEXT, "its group afterwards; null if it has none"),
            col("is_keeper", BOOL, "whether it is the keeper afterwards; null if it has no group"),
            col("changed_at", TIME, "start of the run (UTC)", null=False),
        ]
    ),
    key=("sequence", "image_id"),
)

CLUSTERED = Table(
    "clustered",
    "One row per content that may have a group: what was grouped last, so that a night groups only changes.",
    T.StructType(
        [
            col("content_id", TEXT, "the content", null=False),
            col("component", TEXT, "the smallest content id of its component, over all scopes", null=False),
            col(
                "fingerprint",
                T.LongType(),
                "fingerprint of its images, pairs, contents of equal pixels and verdicts",
                null=False,
            ),
        ]
    ),
    key=("content_id",),
)

GROUP_CHANGES = Table(
    "group_changes",
    "One row per event in the life of a group.",
    T.StructType(
        [
            col("run_id", TEXT, "the run that made the change", null=False),
            col("group_id", TEXT, "the group", null=False),
            col("event", TEXT, "born, grew, shrank, merged_into, split_from, ended", null=False),
            col("other_group_id", TEXT, "the group merged into, or split from"),
            col("n_images", INT, "images in the group afterwards", null=False),
            col("changed_at", TIME, "start of the run (UTC)", null=False),
            col("sequence", T.LongType(), "number of the change of `groups` that made it true", null=False),
        ]
    ),
    key=("run_id", "group_id", "event"),
    checks={"event_known": "event IN ('born', 'grew', 'shrank', 'merged_into', 'split_from', 'ended')"},
)

DECISIONS = Table(
    "decisions",
    "One row per verdict of a person or a rule; rows are only added. The latest verdict on the same contents holds; "
    "that of a rule only where no person said anything.",
    T.StructType(
        [
            col("image_id", TEXT, "the image; for verdict keeper the one to keep", null=False),
            col("other_image_id", TEXT, "the image that it is compared with; null for verdict keeper"),
            col(
                "verdict", TEXT, "duplicate, not_duplicate, alternate, keeper; withdrawn revokes a verdict", null=False
            ),
            col("author", TEXT, "the person who gave it; rule:NAME for a rule", null=False),
            col("decided_at", TIME, "when (UTC); the later of two verdicts on the same contents holds", null=False),
            col("note", TEXT, "free text of the person; nothing reads it"),
        ]
    ),
    key=("image_id", "other_image_id", "verdict", "author", "decided_at"),
    checks={
        "verdict_known": "verdict IN ('duplicate', 'not_duplicate', 'alternate', 'keeper', 'withdrawn')",
        "keeper_is_one": "verdict <> 'keeper' OR other_image_id IS NULL",
        "pair_is_two": "verdict IN ('keeper', 'withdrawn') OR other_image_id IS NOT NULL",
        "not_itself": "other_image_id IS NULL OR other_image_id <> image_id",
    },
)

DECIDED = Table(
    "decided",
    "What the images of decisions showed when each decision was first seen; only a purge changes it.",
    T.StructType(
        [
            col("image_id", TEXT, "an image that a decision names", null=False),
            col("decided_at", TIME, "of the decision", null=False),
            col(
                "content_id", TEXT, "its content then: the decision holds for it, even if the file changes", null=False
            ),
            col("scope", TEXT, "its scope then", null=False),
        ]
    ),
    key=("image_id", "decided_at"),
)

DECISION_CONFLICTS = Table(
    "decision_conflicts",
    "One row per present contradiction between verdicts; while it exists no image near it is removable.",
    T.StructType(
        [
            col("conflict_id", TEXT, "digest of its kind and decisions", null=False),
            col(
                "kind",
                TEXT,
                "not_duplicate_of_duplicate, alternate_of_duplicate, not_duplicate_of_alternate, two_keepers, "
                "same_time, unknown_image, different_scopes",
                null=False,
            ),
            col("image_id", TEXT, "of the decision that is contradicted", null=False),
            col("other_image_id", TEXT, "of the same decision; null for a keeper"),
            col("verdict", TEXT, "verdict of that decision", null=False),
            col("author", TEXT, "author of that decision", null=False),
            col("decided_at", TIME, "time of that decision (UTC)", null=False),
            col("against_image_id", TEXT, "of the decision that contradicts it; null if no decision does"),
            col("against_other_image_id", TEXT, "of the contradicting decision"),
            col("against_verdict", TEXT, "verdict of the contradicting decision"),
            col("against_author", TEXT, "author of the contradicting decision"),
            col("against_decided_at", TIME, "time of the contradicting decision (UTC)"),
            col("message", TEXT, "its meaning, and what is done until a later verdict ends it", null=False),
            col("since", TIME, "time of the later of the two decisions (UTC)", null=False),
        ]
    ),
    key=("conflict_id",),
)

_SHARED = T.StructType(
    [
        T.StructField("picture", TEXT),
        T.StructField("image_a", TEXT),
        T.StructField("image_b", TEXT),
    ]
)

OVERLAPS = Table(
    "overlaps",
    "One row per two sets of images that share pictures. A picture is a group, else a content.",
    T.StructType(
        [
            col("sets_by", TEXT, "what makes the sets: source, partition, scope, or extra.COLUMN", null=False),
            col("set_a", TEXT, "a set: the value that its images have in common", null=False),
            col("set_b", TEXT, "the other set, later in text order", null=False),
            col("n_a", LONG, "pictures of set_a", null=False),
            col("n_b", LONG, "pictures of set_b", null=False),
            col("n_shared", LONG, "pictures of both", null=False),
            col("share_a", DOUBLE, "n_shared / n_a", null=False),
            col("share_b", DOUBLE, "n_shared / n_b", null=False),
            col("examples", T.ArrayType(_SHARED), "up to 3 shared pictures, each with an image of each set"),
        ]
    ),
    key=("sets_by", "set_a", "set_b"),
    checks={
        "ordered": "set_a < set_b",
        "shared_in_both": "n_shared BETWEEN 1 AND least(n_a, n_b)",
    },
)

OVERLAP_SETS = Table(
    "overlap_sets",
    "State of the overlap job: the sets as they were compared last, so that a run compares only what changed.",
    T.StructType(
        [
            col("sets_by", TEXT, "what makes the sets: source, partition, scope, or extra.COLUMN", null=False),
            col("set_id", TEXT, "the value that its images have in common", null=False),
            col("n_pictures", LONG, "pictures of the set", null=False),
            col("fingerprint", LONG, "fingerprint of its pictures, each with an image", null=False),
            col(
                "sketch",
                BYTES,
                "256 uint32 of MinHash, then the 128 smallest hashes, uint64; little-endian",
                null=False,
            ),
            col("overlap_version", TEXT, "fingerprint of the code and options that compared it", null=False),
        ]
    ),
    key=("sets_by", "set_id"),
)

RUNS = Table(
    "runs",
    "One row per job run.",
    T.StructType(
        [
            col("run_id", TEXT, "start time and a random suffix", null=False),
            col("job", TEXT, "hash, embed, lsh_join, cluster, nightly, forget, maintain or overlap", null=False),
            col("status", TEXT, "succeeded or failed", null=False),
            col("started_at", TIME, "UTC", null=False),
            col("finished_at", TIME, "UTC", null=False),
            col("arguments", TEXT, "command line, JSON", null=False),
            col("config_fingerprint", TEXT, "changes when any option changes", null=False),
            col("config", TEXT, "all options, JSON", null=False),
            col("versions", TEXTS, "of dupelake, hashes, model, decisions, groups, Spark, Delta", null=False),
            col("counts", COUNTS, "rows in, out, failed by reason, pairs by kind, groups, removable bytes", null=False),
            col("seconds", SECONDS, "wall-clock by stage", null=False),
            col(
                "recall",
                TEXT,
                "JSON: how many of the copies planted in memory were found, by edit (all, by_edit); how many of the "
                "pairs that brute force finds around a sample of new images each candidate generator proposed (legs, "
                "checked)",
            ),
            col("error_message", TEXT, "null when it succeeded"),
            col(
                "tables",
                COUNTS,
                "version of each table, if all tables are consistent with each other; the newest such row is the last "
                "complete night, which VERSION AS OF reads",
            ),
            col(
                "plan",
                TEXT,
                "JSON: forecast and outcome of each candidate generator in a large join; null if there was no forecast",
            ),
            col("inputs", COUNTS, "version after which the next change feed of each Delta table starts, by its path"),
            col("input_ids", TEXTS, "id in the metadata of each Delta table in inputs; a table made anew has another"),
        ]
    ),
    key=("run_id",),
    checks={"status_known": "status IN ('succeeded', 'failed')"},
)
