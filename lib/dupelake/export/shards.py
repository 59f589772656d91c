"""A WebDataset without the copies: for each shard, the keys of the samples that stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pyarrow.compute as pc

from dupelake.errors import ConfigError
from dupelake.export.files import Written
from dupelake.export.night import Night, Row
from dupelake.export.questions import parts_of, samples_of, value_of
from dupelake.runtime.out_files import written_whole


def write_webdataset(night: Night, out: Path, shard: str, key: str) -> Written:
    """Write a line `{"url", "nsamples", "keep"}` for each shard of which samples stay.

    url: the shard. nsamples: how many samples stay. keep: their keys, in text order. A sample goes if all its images
    go.

    Args:
        night: the tables.
        out: the file.
        shard: the column of the manifest that names the shard.
        key: the column of the manifest that names the sample in its shard.

    Raises:
        ConfigError: no image has both.
    """
    there = f"deleted_at IS NULL AND {value_of(shard)} IS NOT NULL AND {value_of(key)} IS NOT NULL"
    n_shards = n_left = n_kept = n_gone = 0
    with written_whole(out) as path, path.open("w", encoding="utf-8") as file:
        for url, images in groupby(_images(night, there, shard, key), lambda row: row["shard"]):
            keep = []
            for name, rows in groupby(images, lambda row: row["key"]):
                if all(row["goes"] for row in rows):
                    n_gone += 1
                else:
                    keep.append(name)
            n_shards, n_kept = n_shards + 1, n_kept + len(keep)
            if keep:
                n_left += 1
                line = {"url": url, "nsamples": len(keep), "keep": keep}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        if not n_shards:
            raise ConfigError(
                [
                    f"--shard-column {shard}, --key-column {key}: no image has both; the manifest must name the shard "
                    "and the key of each image in two columns"
                ]
            )
    without = night.reader.query(f"SELECT count(*) AS n FROM images WHERE deleted_at IS NULL AND NOT ({there})")  # noqa: S608
    n_without = without["n"][0].as_py()
    notes = [f"{n_without} images have no shard or no key and are left out"] if n_without else []
    return Written([out], f"{n_kept} samples stay, in {n_left} of {n_shards} shards; {n_gone} go", notes)


def _images(night: Night, there: str, shard: str, key: str) -> Iterator[Row]:
    """Rows of `samples_of`, with `goes`. Images that could not be read count, and those that are deleted do not."""
    may_go = night.removable_ids()
    for part in parts_of(night.reader, "images", value_of(shard), there):
        rows = night.reader.query(samples_of(part, shard, key))
        for batch in rows.append_column("goes", pc.is_in(rows["image_id"], may_go)).to_batches():
            yield from batch.to_pylist()
