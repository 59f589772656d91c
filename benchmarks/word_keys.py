"""Words joined by keys compared with words joined by blocks: share of found pairs, keys, and chance matches.

    .venv/bin/python -m benchmarks.word_keys --warehouse DIR [--unrelated DIR]

DIR is a warehouse whose words were joined by blocks (`benchmarks.nights.run real` makes one). Its accepted pairs that
the word generator found are counted. `--unrelated` is a warehouse of unrelated pictures, for matches by chance.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from dupelake.propose.keyjoin import by_part, near_meetings, packed
from dupelake.propose.word_blocks_stage import with_words
from dupelake.propose.word_neighbours import NEIGHBOURS, pair_keys
from dupelake.runtime.session import build_session
from dupelake.warehouse.schema import FEATURES, PAIRS
from dupelake.warehouse.tables import Warehouse
from dupelake.words.votes import unpack_block


def met(words: list[bytes]) -> tuple[np.ndarray, float, float]:
    """(pairs that share a key as low * n + high, sorted; keys a picture; milliseconds a picture to make them)."""
    started = time.process_time()
    owner, keys = pair_keys(unpack_block(words))
    took = time.process_time() - started
    n, nothing = len(words), np.zeros((len(words), 1), np.uint64)
    codes = []
    for _, _, mine, _ in by_part(owner, keys, 16):
        numbers = np.unique(packed(keys[mine], owner[mine]))
        for a, b in near_meetings(numbers, numbers.copy(), nothing, 0, 4_000_000):
            kept = a < b
            codes.append(np.unique(a[kept] * n + b[kept]))
    return np.unique(np.concatenate(codes)), len(keys) / n, 1e3 * took / n


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warehouse", required=True)
    parser.add_argument("--unrelated")
    args = parser.parse_args(argv)
    spark = build_session("word-keys-bench", {"spark.driver.memory": "4g"})

    def words_of(root: str) -> tuple[list[str], list[bytes]]:
        rows = with_words(Warehouse(spark, root).read(FEATURES)).select("content_id", "words")
        frame = rows.orderBy("content_id").toPandas()
        return frame["content_id"].tolist(), [bytes(value) for value in frame["words"]]

    ids, words = words_of(args.warehouse)
    pairs, n_keys, took = met(words)
    place = {content: at for at, content in enumerate(ids)}
    found = Warehouse(spark, args.warehouse).read(PAIRS).where("is_duplicate AND found_by LIKE '%words%'").toPandas()
    sought = np.array([place[a] * len(ids) + place[b] for a, b in zip(found["src_id"], found["dst_id"], strict=True)])
    alone = (found["found_by"] == "words").to_numpy()
    is_met = np.isin(sought, pairs)
    print(f"{len(ids):,} pictures, {NEIGHBOURS} neighbours: {n_keys:.0f} keys each, {took:.2f} ms")
    print(f"of {len(sought):,} pairs that blocks found {is_met.mean():.4f} share a key")
    print(f"{len(pairs) / len(ids):.2f} pairs a picture share a key")
    print(f"of {alone.sum():,} that no other generator found {is_met[alone].mean():.4f}")
    if args.unrelated:
        _, others = words_of(args.unrelated)
        by_chance = len(met(others)[0]) / len(others)
        print(f"of {len(others):,} unrelated pictures {by_chance:.4f} meet each: {by_chance / len(others):.1e} of all")


if __name__ == "__main__":
    main()
