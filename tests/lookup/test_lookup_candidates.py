"""Candidates of one content from the index are those of the generators' definitions over all contents; no Spark."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pictures import photograph
from PIL import ImageOps

from dupelake.config import Config, DecodeConfig, HashConfig, load_config
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.lookup.candidates import Probe, candidates
from dupelake.lookup.index import Index
from dupelake.lookup.manifest import Manifest, write_manifest
from dupelake.lookup.segments import SegmentWriter
from dupelake.lookup.state import StateWriter
from dupelake.lookup.versions import versions_of
from dupelake.propose.distances import straight_and_mirrored_bits
from dupelake.propose.mih import words_of
from dupelake.propose.word_blocks_stage import proposed, without
from dupelake.words.votes import LEFT, RIGHT, unpack_block

SCENES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "rocket.jpg",
    "brick.png",
    "page.png",
)


def shown_of(picture, **options) -> Fingerprint:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", **options)
    found = fingerprint_image(buffer.getvalue(), DecodeConfig(), HashConfig())
    assert isinstance(found, Fingerprint)
    return found


@pytest.fixture(scope="module")
def contents() -> list[Fingerprint]:
    """Three forms of each scene, by content id."""
    found = []
    for name in SCENES:
        picture = photograph(name)
        found += [shown_of(picture, quality=90), shown_of(ImageOps.mirror(picture), quality=80)]
        found.append(shown_of(photograph(name, 300), quality=70))
    return sorted(found, key=lambda one: one.content_id)


def codes(shown: Fingerprint) -> tuple[np.ndarray, np.ndarray]:
    signed = np.array([shown.phash, shown.phash_mirrored], np.int64).view(np.uint64)
    return signed, words_of(np.frombuffer(shown.pdq + shown.pdq_mirrored, np.uint8)[None])[0]


def made(folder: Path, contents: list[Fingerprint], scopes: dict[str, list[str]], sets: list[str]) -> Index:
    """An index of two segments; `scopes` has the joined contents of each scope."""
    config = load_config(None, ["embed.model=none", *sets])
    half = len(contents) // 2
    for number, part in enumerate((contents[:half], contents[half:])):
        (folder / f"segment-{number}").mkdir()
        ids = [one.content_id for one in part]
        writer = SegmentWriter(folder / f"segment-{number}", ids, None, 0)
        columns = {
            name: [getattr(one, name) for one in part] for name in ("phash", "phash_mirrored", "pdq", "pdq_mirrored")
        }
        writer.add_hashes(pa.RecordBatch.from_pydict({"content_id": ids} | columns))
        writer.add_blobs("words", pa.array(ids), pa.array([one.words for one in part], pa.binary()))
        writer.close()
    (folder / "state-1").mkdir()
    StateWriter(folder / "state-1" / "rows.sqlite").close()
    units, bounds = [], {}
    for scope, ids in scopes.items():
        bounds[scope] = [len(units), len(units) + len(ids)]
        units += sorted(ids)
    np.save(folder / "state-1" / "units.npy", np.frombuffer(bytes.fromhex("".join(units)), "S16"))
    (folder / "state-1" / "scopes.json").write_text(json.dumps(bounds), encoding="utf-8")
    now = "2026-11-01T00:00:00+00:00"
    held = {"versions": versions_of(config, None, None), "config": config.as_dict(), "embeds_all": False}
    names = {"segments": ["segment-0", "segment-1"], "state": "state-1", "n_contents": len(contents), "n_images": 0}
    names |= {"tables": {}, "table_ids": {}}
    write_manifest(folder, Manifest("wh", now, now, "run", centre="", **held, **names))
    return Index(folder)


def by_definition(probe: Fingerprint, others: list[Fingerprint], config: Config) -> dict[str, set[str]]:
    """The pairs of the generators over all contents: {content_id: generators}."""
    found: dict[str, set[str]] = {}
    mine = codes(probe)
    for other in others:
        for name, at, limit in (("phash", 0, config.lsh.phash_max_bits), ("pdq", 1, config.lsh.pdq_max_bits)):
            half, a, b = len(mine[at]) // 2, mine[at], codes(other)[at]
            bits = straight_and_mirrored_bits(a[None, :half], a[None, half:], b[None, :half], b[None, half:])
            sides = bits if config.lsh.mirrored else bits[:1]
            if min(int(side[0]) for side in sides) <= limit:
                found.setdefault(other.content_id, set()).add(name)
    if not config.lsh.words:
        return found
    both = sorted([*others, probe], key=lambda one: one.content_id)
    block = unpack_block([one.words for one in both])
    words, counts = np.unique(block.stored, return_counts=True)
    frequent = words[counts > config.lsh.word_max_images]
    same = np.zeros(len(both), np.int64)
    block = without(block, same, [""], {"": frequent} if len(frequent) else {})
    sides = np.array([LEFT if one is probe else RIGHT for one in both], np.uint8)
    for low, high in proposed(block, same, sides, config.lsh):
        for end in (*low.tolist(), *high.tolist()):
            if both[end] is not probe:
                found.setdefault(both[end].content_id, set()).add("words")
    return found


@pytest.mark.parametrize("sets", [[], ["lsh.word_max_images=10"], ["lsh.mirrored=false"], ["lsh.words=false"]], ids=str)
def test_candidates_are_those_of_the_definitions(tmp_path, contents, sets):
    here = [one for at, one in enumerate(contents) if at % 7]  # the others are of another scope
    scopes = {"": [one.content_id for one in here], "b": [one.content_id for one in contents if one not in here]}
    index = made(tmp_path, contents, scopes, sets)
    n_found = 0
    for name in SCENES:
        picture = photograph(name, 350)
        for probe in (
            shown_of(picture.crop((0, 0, picture.width * 4 // 5, picture.height)), quality=85),
            shown_of(picture),
        ):
            signed, pdq = codes(probe)
            found = candidates(index, Probe(probe.content_id, signed, pdq, None, probe.words), [""])
            named = {index.content_id(number): set(by.split("+")) for number, by in found.items()}
            assert named == by_definition(probe, here, index.config)
            n_found += len(named)
    assert n_found >= 16
    index.close()


def test_a_content_is_no_candidate_of_itself_nor_of_an_unknown_scope(tmp_path, contents):
    index = made(tmp_path, contents, {"": [one.content_id for one in contents]}, [])
    signed, pdq = codes(contents[0])
    probe = Probe(contents[0].content_id, signed, pdq, None, contents[0].words)
    own = index.number(contents[0].content_id)
    assert own is not None
    assert own not in candidates(index, probe, [""])
    assert candidates(index, probe, ["nobody"]) == {}
    assert index.number("f" * 32) is None
