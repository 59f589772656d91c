"""Rules that decide pairs of images: what the section `rules` of the configuration may say (docs/rules.md)."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dupelake.option_values import as_text

KEEPER = "keeper"
VERDICTS = ("duplicate", "not_duplicate", "alternate", KEEPER)
KINDS = ("exact", "pixel", "near", "crop", "mirrored", "rotated", "edited", "recoloured", "similar", "none")
# What `images.format` may hold: all that Pillow reads, but EPS (fingerprint/decode.py; a test keeps the two equal).
IMAGE_FORMATS = (
    "AVIF", "BLP", "BMP", "BUFR", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FPX", "FTEX", "GBR", "GIF", "GRIB",
    "HDF5", "HEIF", "ICNS", "ICO", "IM", "IMT", "IPTC", "JPEG", "JPEG2000", "MCIDAS", "MIC", "MPEG", "MPO", "MSP",
    "PCD", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI", "SPIDER", "SUN", "TGA", "TIFF", "WEBP", "WMF", "XBM",
    "XPM", "XVTHUMB",
)  # fmt: skip
TIERS = ("identical", "verified", "copies")  # of removable copies, the strictest first
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RATIO = {"low": 0.0, "high": 1e9}


def _texts(one_of: Sequence[str] = ()) -> Any:
    return field(default=(), metadata={"kind": "texts", "one_of": tuple(one_of)})


def _number(low: float, high: float) -> Any:
    return field(default=None, metadata={"kind": "number", "low": low, "high": high})


def _flag() -> Any:
    return field(default=None, metadata={"kind": "flag"})


@dataclass(frozen=True)
class Side:
    """Conditions on one image; each that is given must hold.

    Attributes:
        path: patterns of its uri, one of which must fit: `*` is any text, `?` one letter. Without `/` they are of its
            file name.
        not_path: patterns of which none may fit.
        format: names of formats, such as JPEG.
        partition: names of partitions.
        has_exif: whether its EXIF data name a camera or an exposure time.
        min_jpeg_quality: 1 to 100; an image that is no JPEG never fits.
        max_jpeg_quality: the same.
    """

    path: tuple[str, ...] = _texts()
    not_path: tuple[str, ...] = _texts()
    format: tuple[str, ...] = _texts()
    partition: tuple[str, ...] = _texts()
    has_exif: bool | None = _flag()
    min_jpeg_quality: float | None = _number(1, 100)
    max_jpeg_quality: float | None = _number(1, 100)


@dataclass(frozen=True)
class Both:
    """Conditions on a pair; each that is given must hold. A value that is not known fits no condition.

    Attributes:
        kind: how the two differ (docs/glossary.md); `none` is a rejected pair without a kind.
        tier: of the two as a copy and its keeper.
        accepted: whether the pair is a duplicate.
        min_score: 0 to 1.
        max_score: 0 to 1.
        same_format: whether both have one format.
        same_captured_at: whether both have one capture time.
        same_scope: whether both have one scope; others are compared only with `lsh.scope: across`.
        same_partition: whether both have one partition.
        min_pixel_ratio: pixels of a divided by those of b.
        max_pixel_ratio: the same.
        min_byte_ratio: bytes of a divided by those of b.
        max_byte_ratio: the same.
    """

    kind: tuple[str, ...] = _texts(KINDS)
    tier: tuple[str, ...] = _texts(TIERS)
    accepted: bool | None = _flag()
    min_score: float | None = _number(0, 1)
    max_score: float | None = _number(0, 1)
    same_format: bool | None = _flag()
    same_captured_at: bool | None = _flag()
    same_scope: bool | None = _flag()
    same_partition: bool | None = _flag()
    min_pixel_ratio: float | None = _number(**_RATIO)
    max_pixel_ratio: float | None = _number(**_RATIO)
    min_byte_ratio: float | None = _number(**_RATIO)
    max_byte_ratio: float | None = _number(**_RATIO)


@dataclass(frozen=True)
class Rule:
    """One rule. It decides a pair if one of its images fits `a`, the other fits `b`, and the pair fits `pair`.

    Attributes:
        name: the author of its verdicts is `rule:NAME`.
        verdict: one of VERDICTS; `keeper` keeps the image that fits `a`.
        enabled: whether nights apply it.
        pair: conditions on both.
        a: conditions on one image.
        b: conditions on the other.
    """

    name: str
    verdict: str
    enabled: bool = False
    pair: Both = Both()
    a: Side = Side()
    b: Side = Side()


_SECTIONS: dict[str, Any] = {"pair": Both, "a": Side, "b": Side}


def parse_rules(value: Any, where: str, faults: list[str]) -> tuple[Rule, ...]:
    """The rules of a list of mappings; all faults are added to `faults`, each with its field and the fix.

    Args:
        value: as read from YAML.
        where: the name of the option.
        faults: gets sentences.
    """
    if not isinstance(value, list | tuple):
        faults.append(f"{where}: must be a list of rules, not {value!r}; begin each with '- name:' (docs/rules.md)")
        return ()
    rules: list[Rule] = []
    first: dict[str, str] = {}
    for number, one in enumerate(value):
        place = f"{where}[{number}]"
        found = _rule(one, place, faults)
        if found is None:
            continue
        rules.append(found)
        if first.setdefault(found.name, place) != place:
            faults.append(f"{place}.name: {found.name!r} is the name of {first[found.name]}; give each rule its own")
    return tuple(rules)


@dataclass(frozen=True)
class RulesConfig:
    """Rules that decide pairs; nights apply those that are enabled."""

    list: tuple[Rule, ...] = field(default=(), metadata={"parse": parse_rules})


def _rule(value: Any, where: str, faults: list[str]) -> Rule | None:
    if not isinstance(value, Mapping):
        faults.append(f"{where}: must be a rule with name and verdict, not {value!r}")
        return None
    before = len(faults)
    known = [one.name for one in dataclasses.fields(Rule)]
    faults += [f"{where}.{key}: no such field{hint(str(key), known)}" for key in value if key not in known]
    name, verdict, enabled = "", value.get("verdict"), value.get("enabled", False)
    try:
        name = as_text(value.get("name", ""))
        if not _NAME.fullmatch(name):
            faults.append(f"{where}.name: is {name!r}; give letters, digits, '.', '_' and '-', at most 64")
    except ValueError as error:
        faults.append(f"{where}.name: {error}")
    if verdict not in VERDICTS:
        faults.append(f"{where}.verdict: is {verdict!r}; allowed is one of {', '.join(VERDICTS)}")
    if not isinstance(enabled, bool):
        faults.append(f"{where}.enabled: must be true or false, not {enabled!r}")
    parts = {part: _section(kind, value.get(part), f"{where}.{part}", faults) for part, kind in _SECTIONS.items()}
    if len(faults) > before:
        return None
    rule = Rule(name, str(verdict), enabled, **parts)
    _check_together(rule, where, faults)
    return rule if len(faults) == before else None


def _section(kind: Any, value: Any, where: str, faults: list[str]) -> Any:
    fields = {one.name: one.metadata for one in dataclasses.fields(kind)}
    if value is None:
        return kind()
    if not isinstance(value, Mapping):
        faults.append(f"{where}: must hold conditions, not {value!r}; there are {', '.join(fields)}")
        return kind()
    taken = {}
    for key, given in value.items():
        if key not in fields:
            faults.append(f"{where}.{key}: no such condition{hint(str(key), list(fields))}")
            continue
        try:
            taken[key] = _converted(given, fields[key])
        except ValueError as error:
            faults.append(f"{where}.{key}: {error}")
    return kind(**taken)


def _converted(value: Any, meta: Mapping[str, Any]) -> Any:
    """A condition in its type; raises ValueError with what is allowed."""
    if meta["kind"] == "flag":
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {value!r}")
        return value
    if meta["kind"] == "number":
        if isinstance(value, bool) or not isinstance(value, int | float) or not meta["low"] <= value <= meta["high"]:
            raise ValueError(f"is {value!r}; allowed is a number from {meta['low']:g} to {meta['high']:g}")
        return float(value)
    texts = list(value) if isinstance(value, list | tuple) else [value]
    if not texts or "" in texts:
        raise ValueError(f"must be a text or a list of texts, not {value!r}")
    texts = [as_text(one) for one in texts]
    other = [one for one in texts if meta["one_of"] and one not in meta["one_of"]]
    if other:
        raise ValueError(f"{', '.join(other)} is not known; allowed is each of {', '.join(meta['one_of'])}")
    return tuple(texts)


def _check_together(rule: Rule, where: str, faults: list[str]) -> None:
    """Adds faults of conditions that contradict each other, or that decide nothing."""
    if (rule.pair, rule.a, rule.b) == (Both(), Side(), Side()):
        faults.append(f"{where}: has no condition, so it would decide every pair; give pair, a or b")
    for part in ("a", "b"):
        faults += format_faults(f"{where}.{part}.format", getattr(rule, part).format)
    for part in _SECTIONS:
        section = getattr(rule, part)
        for low in (one.name for one in dataclasses.fields(section) if one.name.startswith("min_")):
            least, most = getattr(section, low), getattr(section, low.replace("min_", "max_"))
            if least is not None and most is not None and least > most:
                faults.append(f"{where}.{part}.{low}: is {least:g}, above {low.replace('min_', 'max_')} of {most:g}")
    ratios = ("min_pixel_ratio", "max_pixel_ratio", "min_byte_ratio", "max_byte_ratio")
    if rule.verdict == KEEPER and rule.a == rule.b and not any(getattr(rule.pair, one) is not None for one in ratios):
        faults.append(f"{where}: keeps the image that fits a, but a and b are the same; give a what only it has")


def format_faults(where: str, names: Iterable[str]) -> list[str]:
    """A fault for each name that is none of IMAGE_FORMATS, in letters of any case."""
    return [
        f"{where}: {name!r} is no format of images{hint(name.upper(), IMAGE_FORMATS)}"
        for name in names
        if name.upper() not in IMAGE_FORMATS
    ]


def hint(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the known one that is near, else all."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
