"""The candidate pairs of one content with the contents of a scope: what the generators of a night propose.

Codes are compared with all codes of the index, by the definition of each generator's join. Words are looked up in the
postings: a content with fewer than `lsh.word_min_votes` matches cannot pass, and the rule of words decides the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dupelake.config import LshConfig
from dupelake.lookup.index import Index
from dupelake.lookup.segments import Cells, Places, Segment
from dupelake.propose.mih import Codes, SlotPlan, meeting
from dupelake.propose.stage import NAMES
from dupelake.propose.word_blocks_stage import proposed, without
from dupelake.words.vocabulary import NO_WORD, mirrored_words
from dupelake.words.votes import LEFT, RIGHT, WordBlock, unpack_block

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Probe:
    """The codes and words of the content that is compared.

    Attributes:
        content_id: 32 hex digits.
        phash: uint64 (2,), straight and mirrored.
        pdq: uint64 (8,), straight and mirrored.
        embedding: uint64 (words,), the code of the embedding, or None.
        words: packed words, or None.
    """

    content_id: str
    phash: Codes
    pdq: Codes
    embedding: Codes | None
    words: bytes | None


def candidates(index: Index, probe: Probe, scopes: Iterable[str]) -> dict[int, str]:
    """The contents that a night would measure against a new unit: {number: found_by}.

    Args:
        index: the warehouse.
        probe: the content of the unit.
        scopes: in which it is new.
    """
    wanted = {scope: index.are_units(scope) for scope in scopes if index.n_units(scope)}
    found: dict[int, set[str]] = {}
    if not wanted:
        return {}
    either = np.logical_or.reduce(list(wanted.values()))
    for name, numbers in _by_codes(index, probe).items():
        for number in numbers[either[numbers]].tolist():
            found.setdefault(number, set()).add(name)
    if index.config.lsh.words and probe.words:
        for scope, flags in wanted.items():
            for number in _by_words(index, probe, scope, flags):
                found.setdefault(number, set()).add("words")
    mine = index.number(probe.content_id)
    return {number: found_by(names) for number, names in sorted(found.items()) if number != mine}


def found_by(names: Collection[str]) -> str:
    """The column `found_by` for these generators."""
    return "+".join(name for name in NAMES if name in names)


def codes_near(code: Codes, codes: Codes, plan: SlotPlan, *, mirrored: bool) -> Places:
    """The hash codes that a join proposes for one, int64 (k,), ascending.

    Args:
        code: uint64 (2 * words,), straight and mirrored.
        codes: uint64 (n, 2 * words), likewise.
        plan: of the generator.
        mirrored: whether the smaller distance of both directions counts.
    """
    half = len(code) // 2
    met = [meeting(code[:half], codes[:, :half], plan)]
    if mirrored:
        met += [meeting(code[half:], codes[:, :half], plan), meeting(code[:half], codes[:, half:], plan)]
    return np.unique(np.concatenate(met))


def passing_by_words(
    content_id: str, packed: bytes, others: Mapping[str, bytes], frequent: Cells, cfg: LshConfig
) -> list[str]:
    """The ids of the other contents of a scope that the words generator proposes for a content.

    Args:
        content_id: of the content.
        packed: its words.
        others: words by content id.
        frequent: words that are left out.
        cfg: the rule.
    """
    ids = sorted([*others, content_id])  # the rule takes pictures in the order of their ids
    at = ids.index(content_id)
    sides = np.full(len(ids), RIGHT, np.uint8)
    sides[at] = LEFT
    same_scope = np.zeros(len(ids), np.int64)
    block = unpack_block([packed if one == content_id else others[one] for one in ids])
    block = without(block, same_scope, [""], {"": frequent} if len(frequent) else {})
    found = set()
    for low, high in proposed(block, same_scope, sides, cfg):
        found |= {b if a == at else a for a, b in zip(low.tolist(), high.tolist(), strict=True)}
    return [ids[one] for one in found]


def _by_codes(index: Index, probe: Probe) -> dict[str, Places]:
    out = {}
    lsh = index.config.lsh
    for name in ("phash", "pdq"):
        code, plan = getattr(probe, name), index.plans[name]
        parts = [
            first + codes_near(code, getattr(segment, name), plan, mirrored=lsh.mirrored)
            for first, segment in index.parts()
        ]
        out[name] = np.concatenate([np.empty(0, np.int64), *parts])
    if probe.embedding is not None and "embedding" in index.plans:
        plan = index.plans["embedding"]
        parts = [
            first + segment.coded[meeting(probe.embedding, segment.codes, plan)] for first, segment in index.parts()
        ]
        out["embedding"] = np.concatenate([np.empty(0, np.int64), *parts])
    return out


def _by_words(index: Index, probe: Probe, scope: str, are_units: Flags) -> list[int]:
    assert probe.words is not None  # noqa: S101 - by `candidates`
    own = unpack_block([probe.words])
    numbers = _voted(index, own, index.config.lsh.word_min_votes)
    numbers = numbers[are_units[numbers]]
    held = {index.content_id(number): number for number in numbers.tolist()}
    held.pop(probe.content_id, None)
    if not held:
        return []
    others = {one: index.blob("words", number) or b"\0" * 4 for one, number in held.items()}
    frequent = _frequent(index, own, scope, are_units)
    return [held[one] for one in passing_by_words(probe.content_id, probe.words, others, frequent, index.config.lsh)]


def ways(own: WordBlock, *, mirrored: bool) -> list[tuple[tuple[Cells, Cells], ...]]:
    """The cells to look up among nearest and second nearest cells, straight and mirrored, as in words/votes.py."""
    straight = ((own.stored, own.second), (own.stored, np.empty(0, np.uint32)))
    turned = tuple(tuple(mirrored_words(cells) for cells in way) for way in straight)
    return [straight, *([turned] if mirrored else [])]  # type: ignore[list-item]


def _voted(index: Index, own: WordBlock, min_votes: int) -> Places:
    """The contents with at least `min_votes` matches, straight or mirrored; a match may count more than once."""
    parts = [np.empty(0, np.int64)]
    for first, segment in index.parts():
        enough = np.zeros(len(segment), bool)
        for way in ways(own, mirrored=index.config.lsh.mirrored):
            votes = np.zeros(len(segment), np.int64)
            for postings, cells in zip(segment.postings, way, strict=True):
                votes += np.bincount(postings.of(np.concatenate(cells)), minlength=len(segment))
            enough |= votes >= min_votes
        parts.append(first + np.flatnonzero(enough))
    return np.concatenate(parts)


def _frequent(index: Index, own: WordBlock, scope: str, are_units: Flags) -> Cells:
    """The words of a picture that more than lsh.word_max_images contents of the scope have, and their mirror images."""
    most = index.config.lsh.word_max_images
    if index.n_units(scope) + 1 <= most:
        return np.empty(0, np.uint32)
    cells = np.concatenate([own.stored, own.second])
    cells = np.unique(np.concatenate([cells, mirrored_words(cells)]))
    cells = cells[cells != NO_WORD]
    upper = sum((segment.postings[0].counts(cells) for segment in index.segments), np.zeros(len(cells), np.int64))
    cells = cells[upper + 1 > most]
    counts = np.array([_n_units(index.parts(), are_units, cell) for cell in cells], np.int64)
    counts += np.isin(cells, own.stored)  # the probe is one more content of the scope
    return cells[counts > most]


def _n_units(parts: list[tuple[int, Segment]], are_units: Flags, cell: np.uint32) -> int:
    owners = [first + segment.postings[0].of(np.array([cell])) for first, segment in parts]
    return int(sum(are_units[one].sum() for one in owners))
