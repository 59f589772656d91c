"""Visual words in blocks: pairs of pictures whose words agree in rotation and scale, and then in position.

A join on single words would shuffle a row for every word that two pictures share. This grows with the square of the
corpus (2,650 rows for each picture at 10,896 pictures, docs/design.md, section 6). Here pictures are shuffled as their
packed words. Each scope is cut into blocks by a hash of the content id. A task gets two blocks and makes matches, votes
and the check of positions in memory (`words/votes.py`, `words/positions.py`). So a picture is shuffled once for each
block that it must meet, and matches are never shuffled. Frequent words do not make some tasks larger than others,
because tasks are made from content ids, and no task has more than two blocks.

Old pictures never meet each other. The order of arrival decides which task finds a pair, but not whether it is found,
because the rule by which two pictures match is symmetric.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.runtime.batches import Batches, sliced_by_bytes
from dupelake.runtime.faults import reached
from dupelake.words.positions import consistent_points
from dupelake.words.vocabulary import NO_WORD, PACKED_HEADER
from dupelake.words.votes import LEFT, RIGHT, WordBlock, shared_words, unpack_block

BLOCK_UNITS = 8192  # two blocks are 40 MB packed, and 70 MB more unpacked
MIN_POINTS = 4  # smallest number of consistent points of a proposed pair; word_min_votes if that is less
_MIN_BLOCK_UNITS = 512  # with smaller blocks the overhead of a task exceeds its work
_MAX_PARTITIONS = 10_000  # with more pairs of blocks a Spark task processes several, one after another

Cells = npt.NDArray[np.uint32]
_FrequentWords = dict[str, Cells]
Scope = TypeVar("Scope", str, int)
_PAIR_SCHEMA = "low binary, high binary"


@dataclass(frozen=True)
class WordPairs:
    """Result of `word_pairs`.

    Attributes:
        pairs: (low binary, high binary): content ids as bytes, low < high. A pair may be repeated if several scopes
            have it or if it is found both straight and mirrored.
        dropped: rows (scope, word, n_units, n_pairs): each word over the cap, the number of units of the scope that
            have it, and the number of pairs of such units with at least one new unit.
    """

    pairs: DataFrame
    dropped: list[Row]


@dataclass(frozen=True)
class _Sizes:
    """Sizes of the scopes that have new units.

    Attributes:
        large: (new, old) units of each scope larger than a block, by name.
        n_small: number of units of all other scopes.
        largest: number of units of the largest scope.
    """

    large: dict[str, tuple[int, int]]
    n_small: int
    largest: int


def word_pairs(
    units: DataFrame,
    features: DataFrame,
    cfg: LshConfig,
    checkpoint: Callable[[DataFrame], DataFrame] | None = None,
    *,
    block_units: int = BLOCK_UNITS,
) -> WordPairs:
    """Propose pairs with at least one new unit. Several nights give the pairs of one batch.

    A pair is proposed if it passes two tests. At least `cfg.word_min_votes` different words of both pictures match
    within one window of rotation and scale. And MIN_POINTS of the matches (word_min_votes, if less) at different points
    agree with one similarity transform.

    Args:
        units: (scope, content_id, is_new boolean), one row per scope and content; read more than once.
        features: FEATURES of one version. Units without a row and rows without words are skipped.
        cfg: word_min_votes, word_max_images, mirrored.
        checkpoint: materialises a DataFrame and returns one without lineage. It is used if a scope has more units than
            word_max_images, because words are then read twice. With None they are computed each time.
        block_units: units of a block; changes cost and memory, never pairs.

    The call runs one small aggregation over `units`. If a scope has more units than word_max_images, it runs another
    over the words. Cost: the words of a new unit (2.4 KB) are shuffled once to join `units`, and once for every block
    of new and of old units of its scope. The words of an old unit are shuffled for every block of new units.
    """
    sizes = _sizes(units, block_units)
    bounded = _with_tasks(units, sizes, block_units)
    if bounded is None:
        return WordPairs(units.sparkSession.createDataFrame([], _PAIR_SCHEMA), [])
    assigned, n_tasks = bounded
    words = with_words(features).select("content_id", "words")
    held = assigned.join(words, "content_id").withColumn("id", F.unhex("content_id")).drop("content_id")
    dropped: list[Row] = []
    if sizes.largest > cfg.word_max_images:
        held = checkpoint(held) if checkpoint else held
        dropped = _words_over(held, cfg.word_max_images)
    rows = held.select("scope", "id", "words", F.inline("tasks").alias("task", "sides"))
    n_partitions = min(n_tasks, _MAX_PARTITIONS)
    spread = rows.repartitionById(n_partitions, F.pmod("task", F.lit(n_partitions)).cast("int"))
    ordered = spread.sortWithinPartitions("task", "scope", "id")
    emit = partial(_emit_pairs, cfg=cfg, frequent=_by_scope(dropped), block_units=block_units)
    return WordPairs(ordered.mapInArrow(emit, _PAIR_SCHEMA), dropped)


def units_per_block(n_units: int, n_cores: int) -> int:
    """The block size that gives every core work. More and smaller blocks would send each unit more often."""
    return min(BLOCK_UNITS, max(_MIN_BLOCK_UNITS, math.ceil(n_units / (2 * n_cores))))


def with_words(features: DataFrame) -> DataFrame:
    """The rows of FEATURES that have words. Rows without words have the header only."""
    return features.where(F.length("words") > PACKED_HEADER.itemsize)


def proposed(
    block: WordBlock, scopes: npt.NDArray[np.int64], sides: npt.NDArray[np.uint8], cfg: LshConfig
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """(low, high) pairs of pictures of the block that pass the rule of words, some pairs at a time.

    Args:
        block: the pictures.
        scopes: as for `words.votes.shared_words`.
        sides: as for `words.votes.shared_words`.
        cfg: word_min_votes, mirrored.
    """
    for matches in shared_words(block, scopes, sides, cfg.word_min_votes, mirrored=cfg.mirrored):
        kept = consistent_points(block, matches) >= min(MIN_POINTS, cfg.word_min_votes)
        yield matches.low[kept], matches.high[kept]


def _gathered(few: DataFrame) -> list[Row]:
    """Collect the rows of a small DataFrame in one row."""
    row = few.agg(F.collect_list(F.struct(*few.columns)).alias("rows")).first()
    return list(row["rows"]) if row else []


def _sizes(units: DataFrame, block_units: int) -> _Sizes:
    scopes = units.groupBy("scope").agg(F.count_if("is_new").alias("new"), F.count_if(~F.col("is_new")).alias("old"))
    total = F.col("new") + F.col("old")
    named = F.when(total > block_units, F.col("scope"))
    sums = (
        scopes.where("new > 0")
        .groupBy(named.alias("name"))
        .agg(F.sum("new").alias("new"), F.sum("old").alias("old"), F.max(total).alias("largest"))
    )
    rows = _gathered(sums)  # one for each scope larger than a block, and one for the rest
    large = {row["name"]: (row["new"], row["old"]) for row in rows if row["name"] is not None}
    small = sum(row["new"] + row["old"] for row in rows if row["name"] is None)
    return _Sizes(large, small, max((row["largest"] for row in rows), default=0))


def _with_tasks(units: DataFrame, sizes: _Sizes, block_units: int) -> tuple[DataFrame, int] | None:
    """(scope, content_id, is_new, tasks array of (task, sides)) and the number of tasks; None if no unit is new.

    A scope not larger than a block goes into one task, together with others. A larger scope is cut into blocks. Its
    tasks are pairs of blocks: two blocks of new units, a block of new units with itself, or a block of new and a block
    of old units.
    """
    parts, n_tasks = [], 0
    plan = []
    for scope, (new, old) in sorted(sizes.large.items()):
        n_new, n_old = -(-new // block_units), -(-old // block_units)
        plan.append((scope, n_new, n_old, n_tasks))
        n_tasks += n_new * (n_new + 1) // 2 + n_new * n_old
    large = units.sparkSession.createDataFrame(plan, "scope string, n_new bigint, n_old bigint, first bigint")
    if plan:
        mine = units.join(F.broadcast(large), "scope")
        parts.append(mine.select("scope", "content_id", "is_new", _block_tasks().alias("tasks")))
    if sizes.n_small:
        n_bins = -(-sizes.n_small // block_units)
        active = units.where("is_new").select("scope").distinct()
        mine = units.join(active, "scope", "left_semi")
        if plan:
            mine = units.join(F.broadcast(large), "scope", "left_anti").join(active, "scope", "left_semi")
        task = F.pmod(F.xxhash64("scope"), F.lit(n_bins)) + F.lit(n_tasks)
        tasks = F.array(_task(task, F.when(F.col("is_new"), LEFT | RIGHT).otherwise(RIGHT)))
        parts.append(mine.select("scope", "content_id", "is_new", tasks.alias("tasks")))
        n_tasks += n_bins
    if not parts:
        return None
    return (parts[0] if len(parts) == 1 else parts[0].unionAll(parts[1])), n_tasks


def _task(number: Column, sides: Column) -> Column:
    return F.struct(number.cast("bigint").alias("task"), sides.cast("tinyint").alias("sides"))


def _block_tasks() -> Column:
    """Tasks of a unit in a scope with blocks, numbered from `first`: pairs (i <= j) of new blocks, then (new, old)."""
    n_new, n_old, first = F.col("n_new"), F.col("n_old"), F.col("first")
    code = F.xxhash64("content_id")
    mine = F.when(F.col("is_new"), F.pmod(code, n_new)).otherwise(F.pmod(code, n_old))
    n_pairs = n_new * (n_new + 1) / 2

    def with_new(other: Column) -> Column:
        low, high = F.least(mine, other), F.greatest(mine, other)
        number = first + low * n_new - low * (low - 1) / 2 + high - low
        sides = F.when(mine == other, LEFT | RIGHT).when(mine < other, LEFT).otherwise(RIGHT)
        return _task(number, sides)

    def numbers(count: Column) -> Column:  # sequence(0, -1) would count down
        return F.when(count > 0, F.sequence(F.lit(0).cast("bigint"), count - 1)).otherwise(
            F.array().cast("array<bigint>")
        )

    def with_old(block: Column) -> Column:
        return _task(first + n_pairs + mine * n_old + block, F.lit(LEFT))

    def of_old(block: Column) -> Column:
        return _task(first + n_pairs + block * n_old + mine, F.lit(RIGHT))

    new = F.concat(F.transform(numbers(n_new), with_new), F.transform(numbers(n_old), with_old))
    return F.when(F.col("is_new"), new).otherwise(F.transform(numbers(n_new), of_old))


def _emit_pairs(batches: Batches, cfg: LshConfig, frequent: _FrequentWords, block_units: int) -> Batches:
    held: list[pa.RecordBatch] = []
    last: tuple[int, str] | None = None
    n_held = 0
    for batch in batches:
        for part, task, scope in _runs(batch):
            # Scopes of one task are joined together up to the size of a block. So many small scopes cost little.
            if last is not None and (task != last[0] or (scope != last[1] and n_held + part.num_rows > block_units)):
                yield from _joined(held, cfg, frequent)
                held, n_held = [], 0
            held.append(part)
            n_held += part.num_rows
            last = task, scope
    if held:
        yield from _joined(held, cfg, frequent)


def _runs(batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, int, str]]:
    """Slices of a batch, each with one task and one scope."""
    if not batch.num_rows:
        return
    tasks = np.asarray(batch["task"])
    scopes = np.asarray(batch["scope"].dictionary_encode().indices)
    edges = np.flatnonzero((tasks[1:] != tasks[:-1]) | (scopes[1:] != scopes[:-1])) + 1
    bounds = [0, *edges.tolist(), batch.num_rows]
    for start, end in itertools.pairwise(bounds):
        yield batch.slice(start, end - start), int(tasks[start]), batch["scope"][start].as_py()


def _joined(parts: list[pa.RecordBatch], cfg: LshConfig, frequent: _FrequentWords) -> Batches:
    """The pairs of one task, or of some of its scopes; rows are sorted by scope and id."""
    reached("worker:words")
    table = pa.Table.from_batches(parts)
    numbers, names = _scope_numbers(table["scope"])
    block = without(unpack_block(table["words"].to_pylist()), numbers, names, frequent)
    sides = np.asarray(table["sides"]).astype(np.uint8)
    for pairs in proposed(block, numbers, sides, cfg):
        columns = [table["id"].take(pa.array(side)).to_pylist() for side in pairs]
        yield pa.RecordBatch.from_arrays([pa.array(ids, pa.binary()) for ids in columns], names=["low", "high"])


def _scope_numbers(scopes: pa.ChunkedArray | pa.Array) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The scope of each row as an index into the names, int64 (n,), and the names."""
    encoded = scopes.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    return np.asarray(encoded.indices).astype(np.int64), encoded.dictionary.to_pylist()


def _words_over(held: DataFrame, max_images: int) -> list[Row]:
    """(scope, word, n_units, n_pairs) of the words that more than `max_images` units of one scope have."""
    cells = held.select("scope", "is_new", "words").mapInArrow(
        _emit_cells, "scope string, is_new boolean, word array<bigint>"
    )
    words = cells.select("scope", "is_new", F.explode("word").alias("word"))
    counts = words.groupBy("scope", "word").agg(
        F.count("*").alias("n_units"), F.count_if(~F.col("is_new")).alias("n_old")
    )
    over = counts.where(F.col("n_units") > max_images)  # at most max_words / max_images a unit
    n_pairs = "n_units * (n_units - 1) div 2 - n_old * (n_old - 1) div 2 AS n_pairs"  # old ones do not meet
    return _gathered(over.selectExpr("scope", "word", "n_units", n_pairs))


def _by_scope(rows: Sequence[Row]) -> _FrequentWords:
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(row["scope"], []).append(row["word"])
    return {scope: np.array(sorted(words), np.uint32) for scope, words in found.items()}


def _emit_cells(batches: Batches) -> Batches:
    for batch in sliced_by_bytes(batches):
        block = unpack_block(batch["words"].to_pylist())
        cells = pa.ListArray.from_arrays(block.start.astype(np.int32), block.stored.astype(np.int64))
        yield pa.RecordBatch.from_arrays([batch["scope"], batch["is_new"], cells], names=["scope", "is_new", "word"])


def _is_frequent(
    cells: Cells, numbers: npt.NDArray[np.int64], names: Sequence[Scope], frequent: Mapping[Scope, Cells]
) -> npt.NDArray[np.bool_]:
    """Whether each cell is a frequent word of its scope; `numbers` are indexes into `names`."""
    out = np.zeros(len(cells), bool)
    for number, name in enumerate(names):
        if name in frequent:
            out |= (numbers == number) & np.isin(cells, frequent[name])
    return out


def without(
    block: WordBlock, numbers: npt.NDArray[np.int64], names: Sequence[Scope], frequent: Mapping[Scope, Cells]
) -> WordBlock:
    """The block with its frequent words removed, on both sides and mirrored.

    Args:
        block: n pictures.
        numbers: int64 (n,), the scope of each picture as an index into `names`.
        names: names of scopes.
        frequent: frequent words by scope name.
    """
    if not frequent:
        return block
    of_word = np.repeat(numbers, np.diff(block.start))
    stored, second = (
        np.where(_is_frequent(cells, of_word, names, frequent), np.uint32(NO_WORD), cells)
        for cells in (block.stored, block.second)
    )
    return replace(block, stored=stored, second=second)
