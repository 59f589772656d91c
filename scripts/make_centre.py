"""Writes the shipped reference centre of an embedding model: python scripts/make_centre.py [MODEL].

Run it after a change of the default model, its preprocessing or the list of reference images. The file name contains
both ids, so an old file is never used. Remove the old file by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from dupelake.config import EmbedConfig
from dupelake.embed.centre import asset_path, compute_centre
from dupelake.embed.embedding import get_embedder


def main() -> None:
    """Computes the centre in float32 on the CPU and writes it."""
    embedder = get_embedder(EmbedConfig(model=sys.argv[1] if len(sys.argv) > 1 else "default", device="cpu"))
    centre = compute_centre(embedder)
    path = asset_path(embedder.model_id, embedder.preprocess_id)
    path.parent.mkdir(exist_ok=True)
    np.save(path, centre)
    print(f"{path}: {embedder.dim} dimensions, |centre|^2 {float(centre @ centre):.4f}")


if __name__ == "__main__":
    main()
