"""What an index gets from a later night, and what a build holds in memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake
from made_lake import arrow, make_night, make_tables
from pictures import SCENES, photograph
from serving import encoded

from dupelake.config import Config
from dupelake.lookup.build import build_index
from dupelake.lookup.index import Index
from dupelake.lookup.manifest import FOLDER
from dupelake.lookup.segments import ids_of, keys_of, places_of
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import EMBEDDINGS, IMAGES, MODELS

MODEL = {"model_id": "m", "preprocess_id": "p"}
DIM = 1280
RNG = np.random.default_rng(0)


def night(root: Path, number: int, *names: str) -> None:
    """One more night of a warehouse with a model, with these photographs."""
    pictures = {f"/photos/{name}": encoded(photograph(name, 64)) for name in names}
    make_night(root, pictures, number, Config(), ("m", "p"))


def content_of(root: Path, name: str) -> str:
    (row,) = Reader(root).table(IMAGES.name, ["content_id"], f"uri = '/photos/{name}'").to_pylist()
    return str(row["content_id"])


def embed(root: Path, names: Iterable[str]) -> None:
    vectors = RNG.normal(size=(DIM, DIM)).astype("<f2")
    rows = [
        MODEL | {"content_id": content_of(root, name), "embedding": v.tobytes()}
        for name, v in zip(names, vectors, strict=False)
    ]
    write_deltalake(str(root / EMBEDDINGS.name), arrow(EMBEDDINGS, rows), mode="append")


def embedded(root: Path) -> set[str]:
    """The contents whose embedding the index holds."""
    index = Index(root / FOLDER)
    held = {
        index.content_id(place)
        for place in range(index.manifest.n_contents)
        if index.blob("embedding", place) is not None
    }
    index.close()
    return held


def test_contents_that_are_embedded_later_are_embedded_in_the_index_too(tmp_path):
    """The nights had no GPU at first, so only few contents were embedded (embed.contents: auto)."""
    root, (first, second, third, fourth, *_) = tmp_path / "lake", SCENES
    make_tables(root)
    centre = (0.01 * RNG.normal(size=DIM)).astype("<f4").tobytes()
    write_deltalake(str(root / MODELS.name), arrow(MODELS, [MODEL | {"dim": DIM, "centre": centre}]), mode="append")
    night(root, 1, first, second)
    build_index(str(root), root / FOLDER)
    night(root, 2, third)
    embed(root, [third])
    failed = MODEL | {"content_id": content_of(root, second), "error_message": "no memory", "attempts": 1}
    write_deltalake(str(root / EMBEDDINGS.name), arrow(EMBEDDINGS, [failed]), mode="append")
    night(root, 3)
    two = build_index(str(root), root / FOLDER)
    assert len(two.segments) == 2, "an embedding that failed is none, and the first segment stays"
    assert embedded(root) == {content_of(root, third)}

    night(root, 4, fourth)
    embed(root, [first, fourth])
    night(root, 5)
    after = build_index(str(root), root / FOLDER)
    assert embedded(root) == {content_of(root, name) for name in (first, third, fourth)}
    assert (after.n_contents, after.segments[0]) == (4, two.segments[1]), "what lacks nothing stays"
    assert two.segments[0] not in after.segments
    night(root, 6)
    assert build_index(str(root), root / FOLDER).segments == after.segments


def test_ids_that_end_in_zeros_are_whole_and_are_found():
    ids = ["00" * 16, "ab" + "00" * 15, "ab" * 16]
    keys = keys_of(pa.array(ids))
    assert ids_of(np.concatenate([np.empty(0, "S16"), np.sort(keys[::-1])])) == ids
    assert places_of(keys_of(pa.array([*ids, "ac" + "00" * 15])), keys).tolist() == [0, 1, 2, -1]
    assert len(keys_of(pa.array([], pa.string()))) == 0


def test_a_build_holds_a_few_batches_of_images_and_not_all(tmp_path, monkeypatch):
    root = tmp_path / "lake"
    make_night(root, {f"/photos/{SCENES[0]}": encoded(photograph(SCENES[0], 64))})
    (row,) = Reader(root).table(IMAGES.name).to_pylist()
    rows = [
        row | {"image_id": str(n), "uri": f"/{n}.png", "deleted_at": None if n % 3 else row["ingested_at"]}
        for n in range(100_000)
    ]
    write_deltalake(str(root / IMAGES.name), arrow(IMAGES, rows), mode="append")
    make_night(root, {}, 2)
    seen: list[weakref.ref] = []
    alive: list[int] = []
    read = Reader.batches

    def watched(self, name, *more):
        for batch in read(self, name, *more):
            if name == IMAGES.name:
                seen.append(weakref.ref(batch))
                alive.append(sum(one() is not None for one in seen))
            yield batch

    monkeypatch.setattr(Reader, "batches", watched)
    assert build_index(str(root), root / FOLDER).n_images == 1 + 66_666
    assert len(alive) > 6
    assert max(alive) <= 3
