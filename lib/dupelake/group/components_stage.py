"""Connected components of an edge list: contraction in DataFrames, then one task of bounded size."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import types as T

from dupelake.errors import DupelakeError
from dupelake.frames.functions import F, W
from dupelake.group.unionfind import label_table
from dupelake.warehouse.counted import counted

log = logging.getLogger(__name__)

FINISH_EDGES = 500_000  # about 100 MB in one Python worker with ids of 40 bytes; faster than one round
_CODED = 16  # factor for FINISH_EDGES if ends are numbers: 900 MB in the worker, 4 s for 8 million edges
MAX_ROUNDS = 60  # codes are random, so a path of 10^12 vertices needs about 40
_SEEDS = 4
_SAMPLED = 8192  # approximate number of edges in a sample


def connected_components(
    edges: DataFrame,
    checkpoint: Callable[[DataFrame], DataFrame],
    *,
    finish_edges: int = FINISH_EDGES,
    max_rounds: int = MAX_ROUNDS,
) -> DataFrame:
    """Label every vertex that has an edge with the smallest vertex of its component.

    Up to `finish_edges` edges, one executor task labels all of them, which costs less than one round. Above it,
    vertices are coded as 64-bit hashes. Rounds of large-star and small-star contract the graph until it is a forest of
    stars, or small enough for one task, which takes sixteen times as many coded edges. Hashes randomise the order of
    vertices, so no input order (such as a sorted path) is a worst case, and every id takes eight bytes. If two vertices
    have one code, another seed is tried.

    Args:
        edges: (src, dst) of one type that Spark can order: string, bigint or binary. Any order; repeats and loops are
            allowed; a row with a null end is ignored.
        checkpoint: materialises a DataFrame and returns one without lineage (a parquet folder, localCheckpoint);
            what it stores must exist as long as the result is read.
        finish_edges: number of edges up to which one task finishes; 0 contracts to the end.
        max_rounds: maximum number of rounds.

    Returns:
        (vertex, component) in the type of the ids, one row per vertex.

    Raises:
        DupelakeError: not finished within `max_rounds`, or no seed gives each vertex its own code.

    Reference:
        Kiveris et al., Connected Components in MapReduce and Beyond, SoCC 2014.
    """
    src, dst = F.col("src"), F.col("dst")
    pairs, seen = counted(
        checkpoint,
        edges.where(src.isNotNull() & dst.isNotNull()).select(
            F.least(src, dst).alias("small"), F.greatest(src, dst).alias("big")
        ),  # repeats stay: one task accepts them, and a round removes them
    )
    n_edges = seen["n"]
    log.info("components: %d edges", n_edges)
    if n_edges <= finish_edges:
        return _finish(pairs)
    for seed in range(_SEEDS):
        found = _by_codes(pairs, n_edges, seed, checkpoint, _CODED * finish_edges, max_rounds)
        if found is not None:
            return found
        log.info("components: seed %d gives one code to several vertices; trying another", seed)
    raise DupelakeError(f"connected components: {_SEEDS} seeds gave one code to several vertices of {n_edges} edges")


def _finish(edges: DataFrame) -> DataFrame:
    """Label a graph of bounded size in one executor task; the plan of the edges keeps its own tasks."""
    kind = edges.schema["small"].dataType
    schema = T.StructType([T.StructField("vertex", kind), T.StructField("component", kind)])
    return edges.select("small", "big").repartition(1).mapInArrow(_label_batches, schema)


def _label_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    tables = list(batches)
    if tables:
        yield from label_table(pa.Table.from_batches(tables)).combine_chunks().to_batches(max_chunksize=100_000)


def _code(vertex: Column, seed: int) -> Column:
    return F.xxhash64(F.lit(seed), vertex)


def _by_codes(
    pairs: DataFrame,
    n_edges: int,
    seed: int,
    checkpoint: Callable[[DataFrame], DataFrame],
    finish_edges: int,
    max_rounds: int,
) -> DataFrame | None:
    """(vertex, component) by rounds over codes of one seed; None if it gives one code to several vertices."""
    small, big = _code(F.col("small"), seed), _code(F.col("big"), seed)
    coded = pairs.select(F.least(small, big).alias("small"), F.greatest(small, big).alias("big"))
    edges = coded.where("small <> big")
    if n_edges <= finish_edges:
        return _decode(pairs, _finish(edges), seed, checkpoint)
    sample_was_wrong = False
    for number in range(1, max_rounds + 1):
        edges, seen = counted(checkpoint, _round(edges))
        n_edges = seen["n"]
        log.info("components: round %d leaves %d edges", number, n_edges)
        if n_edges <= finish_edges:
            log.info("components: one task labels the rest")
            return _decode(pairs, _finish(edges), seed, checkpoint)
        if _are_stars(edges, max(1, n_edges // _SAMPLED)) and (not sample_was_wrong or _are_stars(edges, 1)):
            labels = edges.select(F.col("big").alias("vertex"), F.col("small").alias("component"))
            found = _decode(pairs, labels, seed, checkpoint)
            if found is not None:
                log.info("components: the rest is stars")
                return found
            if sample_was_wrong or _are_stars(edges, 1):  # so the codes are wrong
                return None
            # A sample of the last rounds of a long path looks like stars; a full check costs less than decoding.
            sample_was_wrong = True
    raise DupelakeError(
        f"connected components: {n_edges} edges are no stars after {max_rounds} rounds; raise max_rounds"
    )


def _round(edges: DataFrame) -> DataFrame:
    """One large-star and one small-star step over edges with small < big; the result is of that form, without repeats.

    The smallest of a vertex and its neighbours is its smallest `small`, or itself if it never occurs as `big`. So
    neither step needs the edges in both directions, and each row becomes one row.
    """
    lowest = edges.groupBy(F.col("big").alias("small")).agg(F.min("small").alias("low"))
    large = edges.join(lowest, "small", "left").select("big", F.coalesce("low", "small").alias("small"))
    hooked = large.withColumn("low", F.min("small").over(W.partitionBy("big")))
    lower = F.when(F.col("small") == F.col("low"), F.col("big")).otherwise(F.col("small"))
    return hooked.select(F.col("low").alias("small"), lower.alias("big")).distinct()


def _are_stars(edges: DataFrame, one_in: int) -> bool:
    """Whether every vertex has at most one smaller neighbour, which has none itself; then a round changes nothing.

    Only one in `one_in` vertices is checked, so that not all edges are shuffled.
    """
    members, roots = (edges.where(F.pmod(end, F.lit(one_in)) == 0) for end in ("big", "small"))
    if not members.groupBy("big").count().where("count > 1").isEmpty():
        return False
    roots = roots.select(F.col("small").alias("big")).distinct()
    return edges.join(F.broadcast(roots) if one_in > 1 else roots, "big", "left_semi").isEmpty()


def _decode(
    pairs: DataFrame, labels: DataFrame, seed: int, checkpoint: Callable[[DataFrame], DataFrame]
) -> DataFrame | None:
    """Replace coded labels by the smallest vertex of each component; a vertex without a label is a root.

    Returns None if the labels are not usable: several vertices have one code, a code has several labels, or a root has
    a label. The joins below find all three cases, so there is no separate check.
    """
    # Partitioned by code before distinct: rows of one code are then together for the join with labels and the count.
    ends = pairs.select(F.col("small").alias("vertex")).unionAll(pairs.select("big"))
    coded = ends.select("vertex", _code(F.col("vertex"), seed).alias("code")).repartition("code").distinct()
    labels = labels.select(F.col("vertex").alias("code"), F.col("component").alias("root"))
    root = F.coalesce("root", "code")
    rooted = checkpoint(
        coded.join(labels, "code", "left").select(
            "vertex",
            root.alias("root"),
            (root == F.col("code")).alias("is_root"),
            (F.count(F.lit(1)).over(W.partitionBy("code")) == 1).alias("is_alone"),
        )
    )
    smallest = checkpoint(
        rooted.groupBy("root").agg(
            F.min("vertex").alias("component"), (F.bool_or("is_root") & F.bool_and("is_alone")).alias("is_right")
        )
    )
    if not smallest.where("NOT is_right").isEmpty():
        return None
    return rooted.join(smallest, "root").select("vertex", "component")
