"""Embeds thumbnails as unit vectors: decode, squash, batch, run the model, normalise; and converts vectors for storage.

A vector depends on the picture, the model and the preprocessing. The batch changes it by float rounding at most (eval
mode, inference only). On one CPU thread it does not change: batches of up to 8 were bit for bit equal to batches of
one.
"""

from __future__ import annotations

import gc
import io
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dupelake.config import EmbedConfig
from dupelake.embed.folding import fold_batch_norms
from dupelake.embed.models import LoadedModel, Preprocess, load_model
from dupelake.errors import ModelError
from dupelake.runtime.faults import short_of_memory

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.float32]
PixelArray = NDArray[np.uint8]

# EfficientNet-Lite0 on one core takes 16 ms an image in batches of 4, 19 in 8, 28 in 16, 34 in 64 (activations exceed
# the cache), so EmbedConfig.batch_size is used on GPUs only.
CPU_BATCH = 4
_BATCHES_AHEAD = 2  # batches decoded while the GPU works; bounds the memory for pixels
_OOM_WAITS_S = (0.5, 2.0)  # waits before one image fails, because other workers may hold the GPU's memory for a moment
_REGROW_AFTER = 32  # batches without lack of memory until a halved batch size doubles again
_SMALLEST_NORM = 1e-12  # of an unnormalised vector; a shorter one has no direction
# Autocast on CUDA is float16; vectors that overflow it are computed again in float32. It is not bfloat16 because of its
# error (emulated on the CPU, default model, 24 photographs): the cosine of an image with its float32 vector is at least
# .9958 in bfloat16 and .99996 in float16; the cosine of a pair changes by up to .029 and .0012.
_CUDA_PRECISION = "float16"
_THUMBNAIL_FORMATS = ("JPEG", "WEBP", "PNG")
UNDECODABLE = "the thumbnail cannot be decoded"
"""Start of error messages about the thumbnail; others are of the machine or the model and may be transient."""


class Embedder:
    """A model on a device. It is not thread-safe.

    Attributes:
        model_id: readable name and digest of the weights.
        preprocess_id: side, resampling, mean and std.
        dim: length of a vector.
        device: cpu, cuda or cuda:N.
        precision: float32, or the type of autocast.
    """

    def __init__(
        self,
        model: LoadedModel,
        device: str = "cpu",
        *,
        precision: str = "auto",
        batch_size: int = 64,
        decode_threads: int = 1,
    ) -> None:
        """Moves the model to the device.

        Args:
            model: from `load_model`.
            device: auto, cpu, cuda or cuda:N.
            precision: auto, float32, bfloat16 or float16; auto is float32 on the CPU.
            batch_size: images in one batch; at most `CPU_BATCH` on the CPU.
            decode_threads: on a GPU, threads that decode the next batches while the GPU works.

        Raises:
            ModelError: CUDA is requested, but there is no CUDA device.
        """
        import torch

        self.model_id, self.preprocess_id, self.dim = model.model_id, model.preprocess.preprocess_id, model.dim
        self.device = resolve_device(device)
        self._on_gpu = self.device.startswith("cuda")
        self.precision = _resolve_precision(precision, self._on_gpu)
        self._preprocess = model.preprocess
        self._decode_threads = decode_threads
        self._batch_size = batch_size if self._on_gpu else min(batch_size, CPU_BATCH)
        self._limit = self._batch_size  # halved when memory runs out
        self._n_since_halved = 0  # batches
        # In a narrower type folded weights have other roundings: vectors would change by a hundredth.
        is_folded = not self._on_gpu and self.precision == "float32"
        module = fold_batch_norms(model.module, model.preprocess.side_px) if is_folded else model.module
        self._module = module.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        mean, std = np.array(model.preprocess.mean), np.array(model.preprocess.std)
        self._scale = torch.tensor(1 / (255 * std), dtype=torch.float32, device=self.device).view(1, 3, 1, 1)
        self._shift = torch.tensor(-mean / std, dtype=torch.float32, device=self.device).view(1, 3, 1, 1)

    def embed_jpegs(self, jpegs: Sequence[bytes]) -> tuple[FloatArray, list[str | None]]:
        """Embeds encoded thumbnails.

        Returns:
            float32 (n, dim), rows of unit length, zero for an error; for each image None or the error.
        """
        return self._gather(self.stream(jpegs))

    def embed_arrays(self, images: Sequence[PixelArray]) -> tuple[FloatArray, list[str | None]]:
        """Embeds decoded pictures, uint8 (height, width, 3) RGB; the result is that of `embed_jpegs`."""
        return self._gather(self._stream(images, squash_array))

    def stream(self, jpegs: Iterable[bytes | None]) -> Iterator[tuple[FloatArray, list[str | None]]]:
        """As `embed_jpegs`, batch by batch in the given order, with bounded memory; the input is read lazily."""
        return self._stream(jpegs, squash_jpeg)

    def _gather(self, batches: Iterable[tuple[FloatArray, list[str | None]]]) -> tuple[FloatArray, list[str | None]]:
        vectors, errors = [np.zeros((0, self.dim), np.float32)], []
        for rows, faults in batches:
            vectors.append(rows)
            errors.extend(faults)
        return np.concatenate(vectors), errors

    def _stream(
        self,
        items: Iterable[Any],
        squash: Callable[[Any, Preprocess], PixelArray],
    ) -> Iterator[tuple[FloatArray, list[str | None]]]:
        """Keeps the device busy: starts a batch before it fetches the vectors of the previous batch."""
        launched: _Batch | None = None
        for batch in self._decoded(items, squash):
            batch.parts = self._infer(batch)
            if launched is not None:
                yield self._finish(launched)
            launched = batch
        if launched is not None:
            yield self._finish(launched)

    def _decoded(self, items: Iterable[Any], squash: Callable[[Any, Preprocess], PixelArray]) -> Iterator[_Batch]:
        """Batches with their pixels; for a GPU decoded in threads, `_BATCHES_AHEAD` of them in advance.

        On the CPU decoding in advance is useless, because decoding and model share the core.
        """
        remaining = iter(items)
        waiting: deque[tuple[_Batch, list[Future[None]]]] = deque()
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(self._decode_threads)) if self._on_gpu else None
            while chunk := list(islice(remaining, self._batch_size)):
                batch = self._empty_batch(len(chunk))
                jobs = [(batch, i, item, squash, self._preprocess) for i, item in enumerate(chunk)]
                if pool is None:
                    for job in jobs:
                        _decode_into(*job)
                    yield batch
                    continue
                waiting.append((batch, [pool.submit(_decode_into, *job) for job in jobs]))
                if len(waiting) > _BATCHES_AHEAD:
                    yield _await(*waiting.popleft())
            while waiting:
                yield _await(*waiting.popleft())

    def _empty_batch(self, n: int) -> _Batch:
        import torch

        side = self._preprocess.side_px
        # With pinned memory the copy to the GPU runs in parallel with the model.
        pixels = torch.empty((n, side, side, 3), dtype=torch.uint8, pin_memory=self._on_gpu)
        return _Batch(pixels, pixels.numpy(), [None] * n, [])

    def _infer(self, batch: _Batch) -> list[torch.Tensor]:
        """Runs the model on a batch; halves the batch size, down to single images, if memory is short."""
        import torch

        parts: list[torch.Tensor] = []
        start, waits = 0, list(_OOM_WAITS_S)
        while start < len(batch.errors):
            size = min(self._limit, len(batch.errors) - start)
            out_of_memory = None
            try:
                parts.append(self._forward(batch.pixels[start : start + size], self.precision))
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                # As text: the traceback holds the activations, which must be freed before the next attempt.
                out_of_memory = str(error).split("\n")[0]
            if out_of_memory is None:
                start, waits = start + size, list(_OOM_WAITS_S)
                self._regrow()
                continue
            self._free_memory()
            if size > 1:
                self._limit, self._n_since_halved = size // 2, 0
            elif waits:
                time.sleep(waits.pop(0))
            else:
                batch.errors[start] = f"out of memory for a single image: {out_of_memory}"
                parts.append(torch.zeros((1, self.dim)))
                start, waits = start + 1, list(_OOM_WAITS_S)
        return parts

    def _regrow(self) -> None:
        self._n_since_halved += 1
        if self._limit < self._batch_size and self._n_since_halved >= _REGROW_AFTER:
            self._limit, self._n_since_halved = min(2 * self._limit, self._batch_size), 0

    def _free_memory(self) -> None:
        import torch

        gc.collect()
        if self._on_gpu:
            torch.cuda.empty_cache()

    def _forward(self, pixels: torch.Tensor, precision: str) -> torch.Tensor:
        """Vectors float32 (n, dim) on the device, not normalised, from pixels uint8 (n, side, side, 3)."""
        import torch

        short_of_memory("worker:model")
        with (
            torch.inference_mode(),
            torch.autocast(
                self.device.partition(":")[0], dtype=getattr(torch, precision), enabled=precision != "float32"
            ),
        ):
            moved = pixels.to(self.device, non_blocking=True)
            # Rows of RGB triples viewed as (n, 3, side, side) are channels_last already: no copy is needed.
            out = self._module(moved.permute(0, 3, 1, 2).float() * self._scale + self._shift)
            if out.shape != (len(pixels), self.dim):
                raise ModelError(
                    f"{self.model_id} gives {tuple(out.shape)} for {len(pixels)} images; "
                    f"({len(pixels)}, {self.dim}) is expected: one vector an image, whatever the batch"
                )
            return out.float()

    def _finish(self, batch: _Batch) -> tuple[FloatArray, list[str | None]]:
        """Fetches the vectors, computes those that overflowed again in float32, normalises; faults become errors."""
        vectors = np.concatenate([part.cpu().numpy() for part in batch.parts])
        overflowed = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(overflowed) and self.precision != "float32":
            for row in overflowed:
                vectors[row] = self._forward(batch.pixels[row : row + 1], "float32").cpu().numpy()[0]
        finite = np.isfinite(vectors).all(axis=1)
        norms = np.linalg.norm(np.where(finite[:, None], vectors, 0).astype(np.float64), axis=1)
        for row in np.flatnonzero(~(norms > _SMALLEST_NORM)):
            fault = "a zero vector" if finite[row] else "a vector that is not finite"
            batch.errors[row] = batch.errors[row] or f"the model gives {fault}"
        good = np.array([error is None for error in batch.errors])[:, None]
        units = np.where(good, vectors / np.where(good, norms[:, None], 1), 0).astype(np.float32)
        return units, batch.errors


@dataclass
class _Batch:
    """`view` is numpy's view of `pixels`, uint8 (n, side, side, 3); `parts` are the model's outputs, in order."""

    pixels: torch.Tensor
    view: PixelArray
    errors: list[str | None]
    parts: list[torch.Tensor]


def _decode_into(
    batch: _Batch, i: int, item: Any, squash: Callable[[Any, Preprocess], PixelArray], preprocess: Preprocess
) -> None:
    try:
        batch.view[i] = squash(item, preprocess)
    except MemoryError:
        raise  # a property of the machine, not of the image
    except Exception as error:  # Pillow's decoders raise several unrelated classes
        batch.view[i] = 0
        batch.errors[i] = f"{UNDECODABLE}: {str(error) or type(error).__name__}"


def _await(batch: _Batch, futures: list[Future[None]]) -> _Batch:
    for future in futures:
        future.result()
    return batch


def squash_jpeg(data: bytes | None, preprocess: Preprocess) -> PixelArray:
    """Decodes a thumbnail and squashes it to the model's square: uint8 (side, side, 3) RGB.

    The whole picture is used and its aspect ratio is not kept, so no part of a picture is cropped (the authors of SSCD
    recommend this for copy detection too).

    Raises:
        ValueError, OSError, SyntaxError: there is no image, or Pillow cannot decode it.
    """
    if not data:
        raise ValueError("it is empty")
    with Image.open(io.BytesIO(data), formats=_THUMBNAIL_FORMATS) as image:
        return _squash(image.convert("RGB"), preprocess)


def squash_array(pixels: PixelArray, preprocess: Preprocess) -> PixelArray:
    """As `squash_jpeg`, for decoded uint8 (height, width, 3) RGB."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"uint8 (height, width, 3) is expected, not {pixels.dtype} {pixels.shape}")
    return _squash(Image.fromarray(np.ascontiguousarray(pixels)), preprocess)


def _squash(image: Image.Image, preprocess: Preprocess) -> PixelArray:
    side, resample = preprocess.side_px, Image.Resampling[preprocess.interpolation.upper()]
    if preprocess.detail_px:
        image = image.resize((preprocess.detail_px, preprocess.detail_px), Image.Resampling.BILINEAR)
    return np.asarray(image.resize((side, side), resample))


def resolve_device(device: str) -> str:
    """Resolves `auto` to cuda if there is a CUDA device, else to cpu; other values are unchanged.

    Raises:
        ModelError: CUDA is requested, but there is no CUDA device.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(
            "embed.device is cuda, but torch sees no CUDA device in this process; set it to auto or cpu, "
            "or give the worker a GPU (driver, CUDA build of torch, CUDA_VISIBLE_DEVICES)"
        )
    return device


def _resolve_precision(precision: str, on_gpu: bool) -> str:
    if precision != "auto":
        return precision
    return _CUDA_PRECISION if on_gpu else "float32"


def _is_out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        words in str(error) for words in ("out of memory", "can't allocate memory", "_STATUS_ALLOC_FAILED")
    )


def limit_threads(n: int) -> None:
    """Limits torch to `n` threads in this process."""
    import torch

    torch.set_num_threads(n)


def gpu_count() -> int:
    """The number of CUDA devices that this process sees."""
    import torch

    return torch.cuda.device_count()


@lru_cache(maxsize=2)
def get_embedder(cfg: EmbedConfig, device: str | None = None, decode_threads: int = 1) -> Embedder:
    """The process's embedder for this configuration, loaded once; `device` overrides `cfg.device`.

    Raises:
        ModelError: as in `load_model` and `resolve_device`.
    """
    resolved = resolve_device(device or cfg.device)  # before the weights are read, so that a missing GPU fails at once
    return Embedder(
        load_model(cfg), resolved, precision=cfg.precision, batch_size=cfg.batch_size, decode_threads=decode_threads
    )


def to_float16_bytes(vectors: FloatArray) -> list[bytes]:
    """Each unit row of float32 (n, dim) as little-endian float16.

    It has half the bytes of float32. Cosines of rows read back differ by less than 1e-3 (6e-5 on 300 photographs), far
    less than any threshold distinguishes.
    """
    return [row.tobytes() for row in vectors.astype("<f2")]
