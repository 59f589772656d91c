"""The reference centre of a model: the mean vector of fixed photographs, subtracted before sign-random-projection LSH.

CNN vectors lie in one half of the sphere (two random photographs have a cosine of .2 in the default model), so random
hyperplanes through the origin split them badly. The mean of the corpus would change with the corpus and the night
(design §5.2, §5.5). The mean of reference photographs depends only on the model.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from dupelake.embed.embedding import Embedder, FloatArray, PixelArray
from dupelake.errors import ModelError
from dupelake.shipped import shipped_asset

ASSETS = Path(__file__).parents[1] / "assets"

# In the scikit-image wheel (skimage/data; nothing is downloaded). Listed by name, so that a later wheel with more
# pictures gives the same centre.
REFERENCE_IMAGES = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "color.png",
    "grass.png",
    "gravel.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "logo.png",
    "microaneurysms.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
_LONGEST_SIDE_PX = 320  # the size of thumbnails
# Left, top, right, bottom as shares: the whole picture, its four corners, its centre.
_VIEWS = (
    (0.0, 0.0, 1.0, 1.0),
    (0.0, 0.0, 0.6, 0.6),
    (0.4, 0.0, 1.0, 0.6),
    (0.0, 0.4, 0.6, 1.0),
    (0.4, 0.4, 1.0, 1.0),
    (0.2, 0.2, 0.8, 0.8),
)


def reference_centre(embedder: Embedder) -> FloatArray:
    """The centre of the embedder's model, float32 (dim,): shipped for the default model, computed for other models."""
    name = asset_path(embedder.model_id, embedder.preprocess_id).name
    asset = shipped_asset(name)
    if asset.is_file():
        shipped: FloatArray = np.load(io.BytesIO(asset.read_bytes()), allow_pickle=False)
        if shipped.shape == (embedder.dim,) and shipped.dtype == np.float32:
            return shipped
    return compute_centre(embedder)


def asset_path(model_id: str, preprocess_id: str) -> Path:
    """The path at which the centre of this model and preprocessing is shipped, if it is."""
    return ASSETS / f"centre_{model_id}_{preprocess_id}.npy"


def compute_centre(embedder: Embedder) -> FloatArray:
    """Mean of the vectors of all views of all `REFERENCE_IMAGES`, float32 (dim,); a few seconds on a CPU core.

    Raises:
        ModelError: a reference image is missing, or the model gives no vector for one. A centre of fewer images would
            differ without notice.
    """
    views = [view for name in REFERENCE_IMAGES for view in reference_views(name)]
    vectors, errors = embedder.embed_arrays(views)
    faults = [error for error in errors if error]
    if faults:
        raise ModelError(
            f"{embedder.model_id} gives no vector for {len(faults)} of {len(views)} reference images "
            f"({faults[0]}); set embed.model to another model"
        )
    return vectors.mean(axis=0, dtype=np.float64).astype(np.float32)


def reference_views(name: str) -> list[PixelArray]:
    """The views of one reference image, uint8 (height, width, 3), longest side 320 px, alpha on white."""
    import skimage

    path = Path(skimage.__file__).parent / "data" / name
    try:
        with Image.open(path) as file:
            image = file.convert("RGBA")
    except OSError as error:
        raise ModelError(
            f"the reference image {path} is missing or unreadable ({error}); install scikit-image>=0.25 again"
        ) from error
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    whole = white.convert("RGB")
    width, height = whole.size
    views = []
    for left, top, right, bottom in _VIEWS:
        view = whole.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))
        view.thumbnail((_LONGEST_SIDE_PX, _LONGEST_SIDE_PX), Image.Resampling.BICUBIC)
        views.append(np.asarray(view))
    return views
