"""Configuration: frozen dataclasses with defaults; a YAML file overrides them, `--set` overrides both.

All faults are reported at once. `conf/base.yaml` shows the defaults with one comment each (a test keeps the two equal).
Keys of the file, dotted names of `--set` and fields of the dataclasses are the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from dupelake import pair_rules
from dupelake.errors import ConfigError
from dupelake.fetch_rules import FETCH_SCHEMES, PUBLIC, fetch_faults
from dupelake.option_values import converted, read_file, value_of
from dupelake.pair_rules import RulesConfig, format_faults, hint
from dupelake.profiles import BALANCED, profile_values
from dupelake.replaced_options import REPLACED

TIERS = pair_rules.TIERS  # of removable copies, the strictest first
KEEPER_CRITERIA = ("pixels", "compression", "format", "captured_at", "image_id")
_LEAST_GUARD_BYTES = 67_108_864
MANIFEST_FORMATS = ("auto", "csv", "json", "parquet", "delta", "delta_changes", "archive", "directory")


def _opt(
    default: Any, *, low: float | None = None, high: float | None = None, one_of: Sequence[str] | None = None
) -> Any:
    """Declares an option with its default and its inclusive range or allowed values."""
    meta = {"low": low, "high": high, "one_of": tuple(one_of) if one_of else None}
    return field(default=default, metadata=meta)


def _fixed(value: Any) -> Any:
    """Declare a value that was an option and that nobody needs to set: code and tests read it, files do not."""
    return field(default=value, metadata={"is_fixed": True})


@dataclass(frozen=True)
class ManifestConfig:
    """The manifests."""

    format: str = _opt("auto", one_of=MANIFEST_FORMATS)
    extensions: tuple[str, ...] = _opt(())  # () takes every file of a directory, of archives what ends like images
    default_scope: str = _opt("")
    image_column: str = _opt("")  # names images, or in Parquet holds their bytes; "" finds it, `uri` first
    source: str = _opt("")  # name of the source of these images; "" takes the path of the manifest
    max_removed_fraction: float = _opt(0.5, low=0.0, high=1.0)  # of the images that a listing covers; more is refused


@dataclass(frozen=True)
class DecodeConfig:
    """Limits of images, and how they are decoded."""

    max_pixels: int = _opt(150_000_000, low=1, high=2_000_000_000)
    max_bytes: int = _opt(268_435_456, low=1, high=2_000_000_000)
    accept_truncated: bool = _opt(False)
    reduced_jpeg_min_side_px: int = _opt(1024, low=0, high=65_535)  # 0 decodes every JPEG in full


@dataclass(frozen=True)
class FetchConfig:
    """Reading files: access rules, timeout, and retries after transient faults."""

    allowed_schemes: tuple[str, ...] = _opt(FETCH_SCHEMES)
    allowed_hosts: tuple[str, ...] = _opt((PUBLIC,))  # names, *.suffixes, addresses, CIDR blocks
    allowed_roots: tuple[str, ...] = _opt(())  # in addition to the folders of the manifests
    timeout_s: float = _opt(120.0, low=0.1, high=86_400.0)  # for one remote file, with redirects and retries
    retries: int = _opt(2, low=0, high=10)
    backoff_ms: int = _fixed(200)  # before the first retry; doubled before each further one


@dataclass(frozen=True)
class GuardConfig:
    """Limits of one image in the process that decodes it. They are not in `decode`, because they change no result."""

    timeout_s: float = _opt(120.0, low=0.1, high=86_400.0)
    max_memory_bytes: int = _opt(0, low=0, high=1_099_511_627_776)  # 0: an equal share of the workers' memory


@dataclass(frozen=True)
class HashConfig:
    """The hash stage: thumbnails, the low-information rule, batches."""

    thumbnail_side_px: int = _opt(320, low=64, high=1024)
    thumbnail_quality: int = _opt(92, low=50, high=100)
    low_information_min_side_px: int = _fixed(16)
    low_information_max_quality: int = _fixed(20)  # PDQ quality at or below it
    batch_bytes: int = _fixed(33_554_432)
    rows_per_task: int = _fixed(256)


@dataclass(frozen=True)
class FeaturesConfig:
    """Local features of thumbnails, and their visual words."""

    max_keypoints: int = _fixed(400)
    max_words: int = _opt(150, low=0, high=250)  # 0: no keypoints either
    vocabulary: str = _opt("default")  # default | the path of a file of `dupelake vocabulary`


@dataclass(frozen=True)
class EmbedConfig:
    """The embed stage: torch model, device, batches."""

    model: str = _opt("default")  # default | timm:NAME[@FILE] | torchscript:PATH | none
    contents: str = _opt("auto", one_of=("auto", "few_words", "all"))  # auto: all where there is a GPU
    device: str = _opt("auto", one_of=("auto", "cpu", "cuda"))
    precision: str = _opt("auto", one_of=("auto", "float32", "bfloat16", "float16"))
    input_side_px: int = _opt(0, low=0, high=1024)  # 0: the side that the model was trained with (TorchScript: 224)
    batch_size: int = _fixed(64)  # on a GPU; halved while memory is short
    rows_per_task: int = _fixed(128)


@dataclass(frozen=True)
class LshConfig:
    """The pairs that the candidate generators of the LSH join propose."""

    phash_max_bits: int = _opt(7, low=0, high=16)
    pdq_max_bits: int = _opt(31, low=0, high=63)
    mirrored: bool = _opt(True)
    embedding_min_cosine: float = _opt(0.92, low=0.5, high=1.0)
    embedding_recall: float = _fixed(0.95)
    words: bool = _opt(True)
    word_min_votes: int = _fixed(4)
    word_max_images: int = _opt(20_000, low=10, high=100_000_000)  # of a word in a scope; more frequent ones: left out
    word_join: str = _opt("blocks", one_of=("blocks", "keys"))
    word_min_keys: int = _fixed(2)
    word_key_max_images: int = _opt(2_000, low=2, high=1_000_000)  # of a key or word; more frequent ones: left out
    burst_min_images: int = _opt(1_000, low=10, high=100_000_000)  # images that are almost equal
    burst_max_bits: int = _fixed(15)  # of PDQ
    scope: str = _opt("within", one_of=("within", "across"))


@dataclass(frozen=True)
class DecideConfig:
    """Which measured pairs are duplicates."""

    min_score: float = _opt(0.5, low=0.01, high=0.999)  # probability that both images are made from one picture


@dataclass(frozen=True)
class ClusterConfig:
    """Groups: order of keepers, removable copies."""

    keeper_order: tuple[str, ...] = _opt(KEEPER_CRITERIA)
    format_order: tuple[str, ...] = _opt(("TIFF", "PNG", "BMP", "HEIF", "AVIF", "JPEG", "MPO", "WEBP", "GIF"))
    removable: str = _opt("identical", one_of=TIERS)
    similar_groups: bool = _opt(False)


@dataclass(frozen=True)
class CheckConfig:
    """`dupelake check`."""

    index: bool = _opt(False)  # each complete night updates the index of a local warehouse


@dataclass(frozen=True)
class ServeConfig:
    """`dupelake serve`."""

    fetch_urls: bool = _opt(False)  # POST /check takes URLs of servers with public addresses
    token_file: str = _opt("")  # holds the token that requests must have; "" takes DUPELAKE_TOKEN of the environment
    max_bytes: int = _opt(33_554_432, low=1_024, high=2_000_000_000)  # of a request
    max_waiting: int = _opt(32, low=0, high=10_000)  # requests to check that wait for a process
    timeout_s: float = _opt(30.0, low=0.1, high=3_600.0)  # to receive a request, to wait, to decode one image


@dataclass(frozen=True)
class RunConfig:
    """The run as a whole."""

    max_failed_fraction: float = _opt(0.5, low=0.0, high=1.0)  # more: the run exits with 3 after writing
    max_failed_fraction_of_partition: float = _opt(1.0, low=0.0, high=1.0)  # the same for each partition on its own
    max_attempts: int = _opt(3, low=1, high=1000)  # nights in which an image that cannot be read is tried
    lock_wait_s: float = _opt(0.0, low=0.0, high=1_000_000.0)  # seconds to wait for another run
    lock_stale_s: float = _opt(900.0, low=5.0, high=1_000_000.0)  # a lock that was not touched for so long expires
    event_log: str = _opt("")  # file to which events are appended, one JSON object a line; - is stderr, "" none
    metrics_file: str = _opt("")  # Prometheus text, replaced at the end of each run; "" none
    planted_images: int = _opt(16, low=0, high=10_000)  # new images of which copies are planted in memory; 0 = none
    checked_images: int = _opt(64, low=0, high=1_000)  # new images for which joins are compared with brute force


@dataclass(frozen=True)
class Config:
    """All options, built by `load_config`."""

    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    fetch: FetchConfig = field(default_factory=FetchConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    hash: HashConfig = field(default_factory=HashConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    embed: EmbedConfig = field(default_factory=EmbedConfig)
    lsh: LshConfig = field(default_factory=LshConfig)
    decide: DecideConfig = field(default_factory=DecideConfig)
    rules: RulesConfig = field(default_factory=RulesConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    check: CheckConfig = field(default_factory=CheckConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """All options as nested plain values (tuples as lists), as in the YAML file."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def fingerprint(self) -> str:
        """16 hex digits that change when any option changes."""
        return fingerprint(self.as_dict())


def options_of(section: Any) -> dict[str, Any]:
    """The fields of a section that files and `--set` may name, by name."""
    return {one.name: one for one in dataclasses.fields(section) if not one.metadata.get("is_fixed")}


def fingerprint(value: Any) -> str:
    """16 hex digits of sha256 over the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_config(path: str | Path | None = None, sets: Sequence[str] = (), profile: str = BALANCED) -> Config:
    """The defaults, overridden by the profile, by the YAML file at `path`, then by each `section.key=value` of `sets`.

    Raises:
        ConfigError: there is a fault (unreadable file, unknown name, wrong type, out of range, contradiction); the
            message has all faults.
    """
    faults: list[str] = []
    values = profile_values(profile, faults)
    for section, body in (read_file(path, faults) if path is not None else {}).items():
        values.setdefault(section, {}).update(body)
    for item in sets:
        _apply_set(values, item, faults)
    config, refused = _build(values, faults)
    together: list[str] = []
    _check_together(config, together)
    # A refused option has its default in `config`, so its combination with other options cannot be checked.
    faults += [fault for fault in together if refused.isdisjoint(re.findall(r"\b[a-z]+\.[a-z_]+\b", fault))]
    if faults:
        raise ConfigError(faults)
    return config


def _apply_set(values: dict[str, Any], item: str, faults: list[str]) -> None:
    name, equals, text = item.partition("=")
    section, dot, key = name.strip().partition(".")
    if not equals or not dot or not key:
        faults.append(f"--set {item}: must be section.key=value, for example decide.min_score=0.9")
        return
    cls = get_type_hints(Config).get(section)
    try:
        values.setdefault(section, {})[key] = value_of(text, get_type_hints(cls).get(key) if cls else None)
    except yaml.YAMLError as error:
        why = getattr(error, "problem", None) or error
        faults.append(f"--set {item}: the value cannot be read as YAML ({why}); quote it")


def _build(values: Mapping[str, Any], faults: list[str]) -> tuple[Config, set[str]]:
    """The configuration, and the names of refused options, which have their defaults in it."""
    sections = {f.name: f for f in dataclasses.fields(Config)}
    hints = get_type_hints(Config)
    for name in values:
        if name not in sections:
            faults.append(f"{name}: no such section{hint(name, sections)}")
    refused: set[str] = set()
    built = {name: _build_section(name, hints[name], values.get(name, {}), faults, refused) for name in sections}
    return Config(**built), refused


def _build_section(section: str, cls: Any, values: Mapping[str, Any], faults: list[str], refused: set[str]) -> Any:
    fields, options = {f.name: f for f in dataclasses.fields(cls)}, options_of(cls)
    hints = get_type_hints(cls)
    taken: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{section}.{key}"
        if name in REPLACED:
            faults.append(f"{name}: no longer an option; use {REPLACED[name]}")
            continue
        if key not in fields:
            faults.append(f"{name}: no such option{hint(str(key), options)}")
            continue
        if key not in options:
            faults.append(f"{name}: no longer an option; it is always {fields[key].default}, so remove it")
            continue
        if "parse" in fields[key].metadata:
            taken[key] = fields[key].metadata["parse"](value, name, faults)
            continue
        try:
            taken[key] = converted(value, hints[key], fields[key].metadata)
        except ValueError as error:
            faults.append(f"{name}: {error}")
            refused.add(name)
    return cls(**taken)


def _check_together(config: Config, faults: list[str]) -> None:
    """Adds faults of combinations of options, and of options with a syntax of their own."""
    cluster = config.cluster
    if set(cluster.keeper_order) - set(KEEPER_CRITERIA) or len(set(cluster.keeper_order)) != len(cluster.keeper_order):
        faults.append(
            f"cluster.keeper_order: {list(cluster.keeper_order)}; allowed is each of "
            f"{', '.join(KEEPER_CRITERIA)} at most once"
        )
    if not cluster.keeper_order or cluster.keeper_order[-1] != "image_id":
        faults.append("cluster.keeper_order: must end in image_id, so that no two images rank the same")
    faults += format_faults("cluster.format_order", cluster.format_order)
    if config.features.vocabulary != "default" and not os.path.isfile(config.features.vocabulary):
        faults.append(
            f"features.vocabulary: no file at {config.features.vocabulary}; give default, or a file that "
            "`dupelake vocabulary` wrote"
        )
    if 0 < config.guard.max_memory_bytes < _LEAST_GUARD_BYTES:
        faults.append(
            f"guard.max_memory_bytes: is {config.guard.max_memory_bytes}, too little for any image; allowed is 0 (a "
            f"share of what the workers have) or {_LEAST_GUARD_BYTES} and more"
        )
    _check_model(config.embed.model, faults)
    _check_outputs(config.run, faults)
    faults += fetch_faults(config.fetch.allowed_schemes, config.fetch.allowed_hosts, config.fetch.allowed_roots)


def _check_outputs(run: RunConfig, faults: list[str]) -> None:
    """Checks that the folders of output files exist, so that events of a run are not lost at its end."""
    for name, path in (("event_log", run.event_log), ("metrics_file", run.metrics_file)):
        if not path or (path == "-" and name == "event_log"):
            continue
        if path == "-" or os.path.isdir(path) or not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            faults.append(f"run.{name}: {path} cannot be written; give a file in a folder that exists")


def _check_model(model: str, faults: list[str]) -> None:
    scheme, _, rest = model.partition(":")
    path = ""
    if scheme == "timm" and rest:
        path = re.sub(r"\?[a-z_]+=[^?]*$", "", rest).partition("@")[2]  # without the options of the model
        if path and not path.endswith(".safetensors"):
            faults.append(f"embed.model: {path} is not a .safetensors file; convert the weights (pickles run code)")
    elif scheme == "torchscript" and rest:
        path = rest
    elif model not in ("default", "none"):
        faults.append(
            f"embed.model: {model!r}; allowed is default, none, timm:NAME, timm:NAME@FILE.safetensors "
            "(either with ?key=value&...) or torchscript:PATH"
        )
    if path and not os.path.isfile(path):
        faults.append(f"embed.model: no file at {path}; give the path of the weights on this machine")
