"""The embed stage in Spark: every thumbnail a row, faults in rows, one model version for all workers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from embedded import from_float16_bytes
from PIL import Image

from dupelake.config import EmbedConfig
from dupelake.embed import stage as embed
from dupelake.embed.embedding import get_embedder, to_float16_bytes
from dupelake.errors import VersionMixError
from dupelake.warehouse import schema

CFG = EmbedConfig(device="cpu", batch_size=4)


def thumbnails() -> dict[str, bytes]:
    """Content id to bytes: views of one photograph, and one value that is not a JPEG."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / "coffee.png") as image:
        rgb = image.convert("RGB")
    out = {}
    for i in range(11):
        data = io.BytesIO()
        rgb.crop((10 * i, 5 * i, 400 + 10 * i, 300 + 5 * i)).resize((160, 120)).save(data, "JPEG", quality=92)
        out[f"{i:032x}"] = data.getvalue()
    out[f"{11:032x}"] = b"no picture"
    return out


@pytest.fixture(scope="module")
def source(spark):
    rows = [(content_id, bytearray(data), 160, 120) for content_id, data in thumbnails().items()]
    return spark.createDataFrame(rows, schema.THUMBNAILS.schema)


def test_every_thumbnail_is_a_row_whatever_the_partitions(source) -> None:
    model_id, preprocess_id, dim = embed.describe_model(CFG)
    runs = []
    for n in (1, 5):
        found = embed.embed_contents(source.repartition(n), CFG, model_id, preprocess_id)
        assert found.schema == schema.EMBEDDINGS.schema
        runs.append({row.content_id: row for row in found.collect()})
    data = thumbnails()
    assert runs[0].keys() == runs[1].keys() == data.keys()
    assert {(row.model_id, row.preprocess_id) for row in runs[0].values()} == {(model_id, preprocess_id)}
    bad = runs[1].pop(f"{11:032x}")
    assert bad.embedding is None
    assert "cannot be decoded" in bad.error_message
    assert all(row.error_message is None for row in runs[1].values())
    expected, _ = get_embedder(CFG).embed_jpegs([data[content_id] for content_id in runs[1]])
    for run in runs:
        vectors = from_float16_bytes([bytes(run[content_id].embedding) for content_id in runs[1]], dim)
        assert np.abs(vectors - from_float16_bytes(to_float16_bytes(expected), dim)).max() < 1e-4


def test_an_empty_input_gives_an_empty_output(source) -> None:
    model_id, preprocess_id, _ = embed.describe_model(CFG)
    assert embed.embed_contents(source.where("length(bytes) < 0"), CFG, model_id, preprocess_id).collect() == []


@pytest.mark.parametrize("wrong", ["model", "preprocess"])
def test_a_worker_with_another_model_refuses(source, wrong: str) -> None:
    model_id, preprocess_id, _ = embed.describe_model(CFG)
    asked = ("other-0123456789ab", preprocess_id) if wrong == "model" else (model_id, "squash99-bicubic-mean0-std1-v1")
    with pytest.raises(Exception, match="VersionMixError") as caught:  # Spark wraps it in PythonException
        embed.embed_contents(source.repartition(2), CFG, *asked).collect()
    assert asked[0] in str(caught.value)
    assert asked[1] in str(caught.value)
    assert model_id in str(caught.value)
    assert preprocess_id in str(caught.value)


def test_rows_come_back_in_bounded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    monkeypatch.setattr(embed, "_FLUSH_ROWS", 4)
    data = thumbnails()
    batch = pa.RecordBatch.from_pydict({"content_id": list(data), "bytes": list(data.values())})
    model_id, preprocess_id, _ = embed.describe_model(CFG)
    out = list(embed._embed_batches(iter([batch.slice(0, 7), batch.slice(7)]), CFG, model_id, preprocess_id))
    assert [part.num_rows for part in out] == [4, 4, 4]
    assert [v for part in out for v in part.column(0).to_pylist()] == list(data)  # each vector beside its own id
    vectors = out[0].column(3).to_pylist() + out[1].column(3).to_pylist()
    assert vectors == to_float16_bytes(get_embedder(CFG).embed_jpegs(list(data.values())[:8])[0])


def test_stored_models_are_checked() -> None:
    embed.check_models([], "m-1", "p-1")
    embed.check_models([("m-1", "p-1"), ("m-2", "p-9")], "m-1", "p-1")
    with pytest.raises(VersionMixError, match=r"m-1 with preprocessing p-0.*asks for p-1.*input_side_px"):
        embed.check_models([("m-2", "p-1"), ("m-1", "p-0")], "m-1", "p-1")


@pytest.mark.parametrize(
    ("address", "visible", "count", "pid", "index"),
    [
        ("1", None, 4, 7, 1),
        ("3", "2,3", 2, 7, 1),
        ("3", "3", 1, 7, 0),
        ("5", None, 1, 7, 0),
        ("GPU-ab", "GPU-ab", 1, 7, 0),
        (None, None, 4, 7, 3),
        (None, "2,3", 2, 8, 0),
    ],
)
def test_the_gpu_that_spark_gave(address: str | None, visible: str | None, count: int, pid: int, index: int) -> None:
    assert embed.pick_gpu(address, visible, count, pid) == index
