"""Computes embeddings of thumbnails: each Python worker loads the model once and uses it for all Arrow batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from dupelake.config import EmbedConfig
from dupelake.embed import embedding
from dupelake.embed.models import load_model
from dupelake.errors import VersionMixError
from dupelake.frames.functions import F
from dupelake.runtime.faults import reached
from dupelake.warehouse import schema

_MADE = T.StructType([field for field in schema.EMBEDDINGS.schema.fields if field.name != "tried_at"])
_TRIED_AT = schema.EMBEDDINGS.schema["tried_at"]
FEW_KEYPOINTS = 100
"""Contents with fewer keypoints than this have too few words to be found by words alone; of 950 and 1,384 photographs
it covers four of five with fewer than 40 words."""
_FLUSH_ROWS = 512  # rows of an output batch: about 1.3 MB at 1,280 dimensions


@lru_cache(maxsize=4)
def describe_model(cfg: EmbedConfig) -> tuple[str, str, int]:
    """(model_id, preprocess_id, dim) of the configured model; loads it once in this process, on the CPU.

    Raises:
        ModelError: the model cannot be loaded; raised on the driver, before any task starts.
    """
    model = load_model(cfg)
    return model.model_id, model.preprocess.preprocess_id, model.dim


def embeds_all(cfg: EmbedConfig, *, has_gpu: bool) -> bool:
    """Whether all contents are embedded, or only those that the words generator can hardly find.

    Args:
        cfg: `contents` and `device` are read.
        has_gpu: whether the tasks of this run get a GPU.
    """
    return cfg.contents == "all" or (cfg.contents == "auto" and cfg.device != "cpu" and has_gpu)


def has_few_words() -> Column:
    """Whether the words generator can hardly find the content of a row of FEATURES."""
    return F.coalesce("n_keypoints", F.lit(0)) < FEW_KEYPOINTS  # null: they could not be extracted


def check_models(stored_rows: Iterable[tuple[str, str]], model_id: str, preprocess_id: str) -> None:
    """Refuses a preprocessing that differs from that of the stored vectors of the same model.

    Args:
        stored_rows: (model_id, preprocess_id) of the models table or of the embeddings.
        model_id: the configured model.
        preprocess_id: its preprocessing.

    Raises:
        VersionMixError: the preprocessings differ; the message names both and the fix.
    """
    for stored_model, stored_preprocess in stored_rows:
        if stored_model == model_id and stored_preprocess != preprocess_id:
            raise VersionMixError(
                f"the warehouse holds embeddings of {model_id} with preprocessing {stored_preprocess}, and the "
                f"configuration asks for {preprocess_id}; their vectors must not be compared. Set embed.input_side_px "
                "and the options of embed.model back, or use a new warehouse"
            )


def embed_contents(thumbnails: DataFrame, cfg: EmbedConfig, model_id: str, preprocess_id: str) -> DataFrame:
    """One row of schema.EMBEDDINGS per row of `thumbnails`.

    A thumbnail that cannot be decoded or embedded is a row with `error_message`, `attempts` 1 and a null embedding;
    `tried_at` is null. Model files that `cfg.model` names must lie at that path on every worker.

    Args:
        thumbnails: content_id and bytes, as schema.THUMBNAILS; partitions are kept as they are.
        cfg: the model, device, precision and batch size.
        model_id: from `describe_model` on the driver.
        preprocess_id: from `describe_model` on the driver.

    Returns:
        A lazy frame. Its tasks raise ModelError if the model cannot be loaded, and VersionMixError if a worker loads
        another model (both reach the driver inside Spark's PythonException).
    """

    def embed_rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from _embed_batches(batches, cfg, model_id, preprocess_id)

    made = thumbnails.select("content_id", "bytes").mapInArrow(embed_rows, _MADE)
    tried = F.lit(None).cast(_TRIED_AT.dataType).alias(_TRIED_AT.name, metadata=_TRIED_AT.metadata)
    return made.select("*", tried)  # the job sets the time


def _embed_batches(
    batches: Iterator[pa.RecordBatch], cfg: EmbedConfig, model_id: str, preprocess_id: str
) -> Iterator[pa.RecordBatch]:
    embedder = _worker_embedder(cfg)
    if (embedder.model_id, embedder.preprocess_id) != (model_id, preprocess_id):
        raise VersionMixError(
            f"the driver embeds with {model_id} and {preprocess_id}, this worker loaded {embedder.model_id} and "
            f"{embedder.preprocess_id}; install equal packages and equal model files on every machine"
        )
    ids: deque[str] = deque()  # of thumbnails that were read from Spark and not yet returned

    def thumbnails() -> Iterator[bytes | None]:
        for batch in batches:
            reached("worker:embed")
            for content_id, data in zip(batch.column(0), batch.column(1), strict=True):
                ids.append(content_id.as_py())
                yield data.as_py()

    rows: list[tuple[str, bytes | None, str | None]] = []
    for vectors, errors in embedder.stream(thumbnails()):
        for data, error in zip(embedding.to_float16_bytes(vectors), errors, strict=True):
            rows.append((ids.popleft(), None if error else data, error))
        if len(rows) >= _FLUSH_ROWS:
            yield _record_batch(rows, model_id, preprocess_id)
            rows = []
    if rows:
        yield _record_batch(rows, model_id, preprocess_id)


def _record_batch(
    rows: list[tuple[str, bytes | None, str | None]], model_id: str, preprocess_id: str
) -> pa.RecordBatch:
    content_ids, vectors, errors = zip(*rows, strict=True)
    columns = [content_ids, [model_id] * len(rows), [preprocess_id] * len(rows), vectors, errors]
    columns.append([None if error is None else 1 for error in errors])
    arrow = to_arrow_schema(_MADE)
    return pa.RecordBatch.from_arrays(
        [pa.array(values, kind) for values, kind in zip(columns, arrow.types, strict=True)], schema=arrow
    )


def _worker_embedder(cfg: EmbedConfig) -> embedding.Embedder:
    """This process's embedder, on the GPU that Spark assigned to the task, with one thread a core of the task."""
    context = TaskContext.get()
    cpus = max(1, context.cpus()) if context else 1
    if "OMP_NUM_THREADS" not in os.environ:  # otherwise every task would use all cores of the machine
        embedding.limit_threads(cpus)
    count = 0 if cfg.device == "cpu" else embedding.gpu_count()
    if count == 0:
        return embedding.get_embedder(cfg, None, cpus)
    given = context.resources().get("gpu") if context else None
    index = pick_gpu(given.addresses[0] if given else None, os.environ.get("CUDA_VISIBLE_DEVICES"), count, os.getpid())
    return embedding.get_embedder(cfg, f"cuda:{index}", cpus)


def pick_gpu(address: str | None, visible: str | None, count: int, pid: int) -> int:
    """The torch index of the GPU that a task uses.

    Args:
        address: the GPU that Spark assigned to the task (numbered on the whole machine), or None.
        visible: CUDA_VISIBLE_DEVICES, which renumbers the devices that it names; None if unset.
        count: devices that torch sees, at least 1.
        pid: distributes the workers of a machine over its GPUs if Spark assigned none.
    """
    if address is None:
        return pid % count
    names = [name.strip() for name in visible.split(",")] if visible else []
    if address in names:
        return names.index(address)
    # In a container that shows only the task's GPU, its index is 0.
    return int(address) if address.isdigit() and int(address) < count else 0
