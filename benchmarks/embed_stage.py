"""Cost of everything around the model: images/s of Embedder.stream compared with the model only.

    python benchmarks/embed_stage.py [FOLDER] [--model MODEL] [--device auto] [--images 128]

The model as loaded (`Embedder` folds its batch norms) runs on normalised tensors that are on its device already, in
batches of the same size, in the same process and precision, and results are not fetched. Both are warmed up and then
timed alternately three times. The medians of both and of their ratio are printed as Markdown. FOLDER defaults to the
photographs of scikit-image.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from dupelake.config import EmbedConfig
from dupelake.embed.centre import REFERENCE_IMAGES, reference_views
from dupelake.embed.embedding import Embedder, get_embedder, squash_jpeg
from dupelake.embed.models import load_model

ROUNDS = 3


def thumbnails(folder: str | None, n: int) -> list[bytes]:
    """`n` JPEG thumbnails as the hash stage writes them, repeated where there are fewer pictures."""
    images = [Image.fromarray(view) for name in REFERENCE_IMAGES for view in reference_views(name)[:1]]
    if folder:
        images = [Image.open(path).convert("RGB") for path in sorted(Path(folder).iterdir())[:n]]
    out = []
    for image in images:
        image.thumbnail((320, 320), Image.Resampling.BICUBIC)
        data = io.BytesIO()
        image.save(data, "JPEG", quality=92)
        out.append(data.getvalue())
    return [out[i % len(out)] for i in range(n)]


def model_alone(cfg: EmbedConfig, embedder: Embedder, jpegs: list[bytes]) -> Callable[[], None]:
    """A function that runs the module over all pictures, decoded and normalised beforehand."""
    import torch

    module = load_model(cfg).module.to(device=embedder.device, memory_format=torch.channels_last)
    size = embedder._batch_size
    pixels = torch.from_numpy(np.stack([squash_jpeg(data, embedder._preprocess) for data in jpegs]))
    inputs = [
        part.to(embedder.device).permute(0, 3, 1, 2).float() * embedder._scale + embedder._shift
        for part in pixels.split(size)
    ]

    def run() -> None:
        narrow = embedder.precision != "float32"
        with (
            torch.inference_mode(),
            torch.autocast(embedder.device.partition(":")[0], enabled=narrow, dtype=getattr(torch, embedder.precision)),
        ):
            for batch in inputs:
                module(batch)
        if embedder.device != "cpu":
            torch.cuda.synchronize()

    return run


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--model", default="default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on the CPU, and of decoding for a GPU")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cfg = EmbedConfig(model=options.model, device=options.device)
    embedder = get_embedder(cfg, None, options.threads)
    jpegs = thumbnails(options.folder, options.images)
    alone = model_alone(cfg, embedder, jpegs)
    alone()
    list(embedder.stream(jpegs))
    seconds = [(timed(alone), timed(lambda: list(embedder.stream(jpegs)))) for _ in range(ROUNDS)]
    model_s, all_s = (statistics.median(column) for column in zip(*seconds, strict=True))
    ratio = statistics.median(model / everything for model, everything in seconds)
    device = torch.cuda.get_device_name() if embedder.device != "cpu" else f"CPU, {options.threads} thread(s)"
    print("| model | device | precision | batch | model alone, images/s | stream, images/s | ratio |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {embedder.model_id} | {device} | {embedder.precision} | {embedder._batch_size} "
        f"| {len(jpegs) / model_s:.1f} | {len(jpegs) / all_s:.1f} | {ratio:.2f} |"
    )


if __name__ == "__main__":
    main()
