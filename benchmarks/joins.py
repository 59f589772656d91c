"""Joins on one corpus: dupelake's candidate generators, faiss, datasketch and Spark's MLlib.

    python3.11 -m venv /tmp/peers-venv && /tmp/peers-venv/bin/pip install -r benchmarks/requirements-joins.txt
    .venv/bin/python -m benchmarks.joins --data ../shared/data --work DIR --contents 20000 --peers /tmp/peers-venv

Contents are drawn as in benchmarks.nights.synthetic; one in ten is a copy of the one before it. Each method runs in its
own process, from files to the pairs in a file. Core-seconds are those of its whole process tree, and `seconds` do not
include the start of Python and Spark. `recall` is the share of the pairs that brute force finds (embeddings: cosine at
least lsh.embedding_min_cosine; PDQ: at most lsh.pdq_max_bits, not mirrored), and for words the share of the planted
copies. dupelake's embedding and word generators include making codes and keys, and exact cosines of their candidates.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from benchmarks.nights.cost import Cost, measured
from benchmarks.nights.run import drawing
from benchmarks.nights.synthetic import COPY_EVERY, contents, numbered, write
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dupelake.config import Config, load_config
from dupelake.propose.code_join_stage import CodeGenerator
from dupelake.propose.embedding_stage import Embedding
from dupelake.propose.generator_stage import Actions, JoinInputs
from dupelake.propose.join_keys_stage import compute_keys
from dupelake.propose.pdq_stage import Pdq
from dupelake.propose.word_keys_stage import check_words, meet_by_keys
from dupelake.runtime.session import build_session
from dupelake.verify.score_stage import measure_pairs
from dupelake.warehouse.schema import EMBEDDINGS, FEATURES, HASHES, MODELS
from dupelake.warehouse.staging import Staging
from dupelake.warehouse.tables import Warehouse
from dupelake.words.vocabulary import PACKED_HEADER, PACKED_WORD

_SPARK = {"spark.master": "local[2]", "spark.driver.memory": "4g"}
_PEERS = Path(__file__).with_name("joins_peers.py")
_MIN_JACCARD = 0.4  # a copy keeps 7 of 10 words: .54
_HASH_TABLES = 8
Pairs = npt.NDArray[np.int64]


class Corpus:
    """One warehouse of drawn contents for dupelake's and MLlib's ways."""

    def __init__(self, folder: Path) -> None:
        self.spark: SparkSession = build_session("joins-bench", _SPARK)
        self.warehouse = Warehouse(self.spark, str(folder / "warehouse"))
        self.staging = Staging(self.warehouse, "bench")
        self.cfg: Config = load_config(None, ["lsh.word_join=keys"])
        self.n = self.warehouse.read(HASHES).count()
        ids = self.warehouse.read(HASHES).select(F.lit("").alias("scope"), "content_id", F.lit(True).alias("is_new"))
        self.units = self.staging.save(ids, "units")
        row = self.warehouse.read(MODELS).first()
        assert row is not None
        self.model = row["model_id"]
        self.centre = np.frombuffer(bytes(row["centre"]), "<f4")

    def keys(self, *, embeddings: bool, words: bool) -> DataFrame:
        """Codes of embeddings or keys of words, as a night makes them."""
        features = self.warehouse.read(FEATURES) if words else self.warehouse.read(FEATURES).limit(0)
        vectors = self.warehouse.read(EMBEDDINGS) if embeddings else None
        made = compute_keys(
            self.units.select("content_id"),
            features,
            vectors,
            self.centre if embeddings else None,
            self.cfg.lsh,
            "bench",
        )
        return self.staging.save(made, "keys")

    def numbered(self, pairs: DataFrame) -> Pairs:
        """Convert (low, high) of content ids to numbers of contents."""
        number = numbered(self.warehouse)
        for side in ("low", "high"):
            pairs = pairs.join(number.select(F.col("content_id").alias(side), F.col("n").alias(f"{side}_n")), side)
        frame = pairs.select(F.least("low_n", "high_n"), F.greatest("low_n", "high_n")).distinct().toPandas()
        return frame.to_numpy(np.int64)

    def by_codes(self, kind: type[CodeGenerator], keys: DataFrame) -> DataFrame:
        """(low, high) that a generator of bit codes proposes, content ids."""
        read, lsh = self.warehouse.read, replace(self.cfg.lsh, mirrored=False)
        inputs = JoinInputs(self.units, read(HASHES), read(FEATURES), keys, keys, self.centre, lsh, self.n, self.n)
        found = kind(inputs, Actions(self.staging.save, DataFrame.collect, lambda *_: None)).pairs()
        return found.select(*(F.lower(F.hex(side)).alias(side) for side in ("low", "high"))).distinct()


def dupelake_pdq(corpus: Corpus) -> Pairs:
    return corpus.numbered(corpus.staging.save(corpus.by_codes(Pdq, corpus.units), "pairs"))


def dupelake_embedding(corpus: Corpus) -> Pairs:
    proposed = corpus.staging.save(corpus.by_codes(Embedding, corpus.keys(embeddings=True, words=False)), "proposed")
    pairs = proposed.select(F.col("low").alias("src_id"), F.col("high").alias("dst_id"), F.lit("e").alias("found_by"))
    read = corpus.warehouse.read
    exact = measure_pairs(pairs, read(HASHES), read(EMBEDDINGS), "bench", corpus.model)
    kept = exact.where(F.col("cosine_similarity") >= corpus.cfg.lsh.embedding_min_cosine)
    return corpus.numbered(kept.select(F.col("src_id").alias("low"), F.col("dst_id").alias("high")))


def dupelake_words(corpus: Corpus) -> Pairs:
    keys, lsh = corpus.keys(embeddings=False, words=True), corpus.cfg.lsh
    met = meet_by_keys(corpus.units, keys, lsh, corpus.n, corpus.n)
    pairs = corpus.staging.save(met.pairs(), "met")
    found = check_words(pairs, corpus.warehouse.read(FEATURES), lsh)
    return corpus.numbered(found.select(*(F.lower(F.hex(side)).alias(side) for side in ("low", "high"))))


def mllib_embedding(corpus: Corpus) -> Pairs:
    """BucketedRandomProjectionLSH: the distance of unit vectors at the wanted cosine, buckets as wide."""
    from pyspark.ml.feature import BucketedRandomProjectionLSH
    from pyspark.ml.functions import array_to_vector

    @F.pandas_udf("array<float>")  # type: ignore[call-overload]
    def unpacked(packed):  # type: ignore[no-untyped-def]
        return packed.map(lambda row: np.frombuffer(row, "<f2").astype(np.float32).tolist())

    distance = (2 - 2 * corpus.cfg.lsh.embedding_min_cosine) ** 0.5
    held = corpus.warehouse.read(EMBEDDINGS).select("content_id", array_to_vector(unpacked("embedding")).alias("v"))
    held = corpus.staging.save(held, "vectors")
    lsh = BucketedRandomProjectionLSH(
        inputCol="v", outputCol="h", bucketLength=distance, numHashTables=_HASH_TABLES, seed=7
    )
    return _mllib_pairs(corpus, lsh.fit(held).approxSimilarityJoin(held, held, distance, "d"))


def mllib_words(corpus: Corpus) -> Pairs:
    """MinHashLSH over each picture's set of words."""
    from pyspark.ml.feature import MinHashLSH
    from pyspark.ml.linalg import SparseVector, VectorUDT

    def of_words(packed: bytes) -> SparseVector:
        words = np.unique(np.frombuffer(packed, PACKED_WORD, offset=PACKED_HEADER.itemsize)["stored"])
        return SparseVector(1 << 22, words.tolist(), [1.0] * len(words))

    sets = F.udf(of_words, VectorUDT())
    held = corpus.warehouse.read(FEATURES).where("n_keypoints > 0").select("content_id", sets("words").alias("v"))
    held = corpus.staging.save(held, "sets")
    lsh = MinHashLSH(inputCol="v", outputCol="h", numHashTables=_HASH_TABLES, seed=7)
    return _mllib_pairs(corpus, lsh.fit(held).approxSimilarityJoin(held, held, 1 - _MIN_JACCARD, "d"))


def _mllib_pairs(corpus: Corpus, joined: DataFrame) -> Pairs:
    low, high = F.col("datasetA.content_id"), F.col("datasetB.content_id")
    return corpus.numbered(joined.where(low < high).select(low.alias("low"), high.alias("high")))


OURS: dict[str, Callable[[Corpus], Pairs]] = {
    "dupelake-embedding": dupelake_embedding,
    "mllib-embedding": mllib_embedding,
    "dupelake-pdq": dupelake_pdq,
    "dupelake-words": dupelake_words,
    "mllib-words": mllib_words,
}
# the first of each is brute force, by which the others are judged; words are judged by what was planted
WAYS = {
    "embedding": ("faiss-flat", "faiss-ivf", "dupelake-embedding", "mllib-embedding"),
    "pdq": ("faiss-pdq", "dupelake-pdq"),
    "words": ("datasketch", "dupelake-words", "mllib-words"),
}


def draw(args: argparse.Namespace, folder: Path) -> None:
    """Write the warehouse, and its columns as numpy files."""
    if (folder / "settings.json").is_file():
        return
    spark, pool, warehouse = drawing(args, f"{folder.name}/warehouse")
    write(warehouse, contents(spark, pool, 0, args.contents, 64).cache(), pool.versions)
    number = numbered(warehouse)
    rows = (
        number.join(warehouse.read(HASHES).select("content_id", "pdq"), "content_id")
        .join(warehouse.read(EMBEDDINGS).select("content_id", "embedding"), "content_id")
        .join(warehouse.read(FEATURES).select("content_id", "words"), "content_id")
    )
    frame = rows.orderBy("n").toPandas()  # of a bench: some 5 KB a content
    vectors = np.stack([np.frombuffer(row, "<f2") for row in frame["embedding"]]).astype(np.float32)
    np.save(folder / "embeddings.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    np.save(folder / "pdq.npy", np.frombuffer(b"".join(map(bytes, frame["pdq"])), np.uint8).reshape(-1, 32))
    words = [np.frombuffer(row, PACKED_WORD, offset=PACKED_HEADER.itemsize)["stored"] for row in frame["words"]]
    ends = np.cumsum([len(held) for held in words])
    np.savez(folder / "words.npz", values=np.concatenate(words), ends=ends)
    lsh = Config().lsh
    settings = {"min_cosine": lsh.embedding_min_cosine, "pdq_max_bits": lsh.pdq_max_bits, "min_jaccard": _MIN_JACCARD}
    told = json.dumps(settings | {"n_probe": args.n_probe})
    (folder / "settings.json").write_text(told, encoding="utf-8")
    spark.stop()


def one(way: str, folder: Path) -> None:
    """Run a method of OURS in this process."""
    corpus = Corpus(folder)
    started = time.monotonic()
    pairs = OURS[way](corpus)
    np.save(folder / f"{way}.npy", pairs)
    (folder / f"{way}.json").write_text(json.dumps({"seconds": time.monotonic() - started}), encoding="utf-8")
    corpus.staging.remove()


def run(way: str, args: argparse.Namespace, folder: Path) -> tuple[Cost, float, Pairs] | str:
    """Cost, seconds and pairs of a method in its own process; or how it failed."""
    command = [sys.executable, "-m", "benchmarks.joins", "--one", way, "--folder", str(folder)]
    if way not in OURS:
        command = [str(args.peers / "bin" / "python"), str(_PEERS), way, str(folder)]
    try:
        cost = measured(command, folder / f"{way}.log", args.limit_s)
    except SystemExit as error:
        lines = [line for line in str(error).splitlines() if "Error" in line or "Exception" in line or "over" in line]
        return lines[-1].strip()[:160] if lines else "failed"
    told = json.loads((folder / f"{way}.json").read_text(encoding="utf-8"))
    return cost, told["seconds"], np.load(folder / f"{way}.npy")


def compare(args: argparse.Namespace, folder: Path) -> None:
    copies = np.arange(COPY_EVERY - 1, args.contents, COPY_EVERY)
    print(
        "| join | contents | way | core-seconds | seconds | pairs | recall |\n|---|---|---|---|---|---|---|", flush=True
    )
    for what, ways in WAYS.items():
        truth = copies * args.contents + copies - 1 if what == "words" else None
        for way in ways:
            if args.ways and way not in args.ways.split(","):
                continue
            done = run(way, args, folder)
            if isinstance(done, str):
                print(f"| {what} | {args.contents:,} | {way} | {done} | | | |", flush=True)
                continue
            cost, seconds, pairs = done
            codes = np.unique(pairs.max(axis=1) * args.contents + pairs.min(axis=1))
            truth = codes if truth is None else truth
            recall = np.isin(truth, codes).mean()
            told = f"{cost.core_s:.0f} | {seconds:.0f} | {len(codes):,} | {recall:.4f}"
            print(f"| {what} | {args.contents:,} | {way} | {told} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder of real images")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--contents", type=int, default=20_000)
    parser.add_argument("--peers", type=Path, help="the environment of the other tools")
    parser.add_argument("--ways", default="", help="methods to run; brute force first")
    parser.add_argument("--n-probe", type=int, default=16, help="number of lists that faiss-ivf probes")
    parser.add_argument("--limit-s", type=int, default=900, help="time limit of each method, in seconds")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one, args.folder)
        return
    folder = args.work / f"joins-{args.contents}"
    folder.mkdir(parents=True, exist_ok=True)
    draw(args, folder)
    compare(args, folder)


if __name__ == "__main__":
    main()
