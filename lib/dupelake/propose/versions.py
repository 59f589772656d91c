"""Versions of the join and of the stored join keys.

A stored pair is valid while its join version equals the present one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from dupelake.config import LshConfig, fingerprint
from dupelake.propose.srp import embedding_plan

JOIN_REVISION = 2  # raise it when a change of the code generators, or of code they call, proposes other pairs
WORDS_REVISION = 1  # raise it when a change of word_blocks_stage.py, or of code it calls, proposes other pairs
WORD_KEYS_REVISION = 2  # raise it when a change of word_keys_stage.py, or of code it calls, makes other keys or pairs
KEYS_REVISION = 1  # raise it, and JOIN_REVISION, when join_keys_stage.py computes other keys or codes


def by_keys(cfg: LshConfig) -> bool:
    """Whether words are joined by keys."""
    return cfg.words and cfg.word_join == "keys"


def join_version(cfg: LshConfig, compared: Mapping[str, str | None], revisions: Sequence[int]) -> str:
    """Fingerprint of everything that decides which pairs the join proposes and how they are measured.

    Args:
        cfg: all options count, except those that leave stored pairs valid.
        compared: versions of hashes, verification, model and preprocessing.
        revisions: `CandidateGenerator.revisions` of the listed generators.
    """
    lsh = asdict(cfg)
    if cfg.word_join == "blocks":  # older warehouses had this way only: their pairs stay valid
        del lsh["word_join"], lsh["word_min_keys"], lsh["word_key_max_images"]
    del lsh["burst_min_images"], lsh["burst_max_bits"]  # they only leave pairs out, so stored pairs stay valid
    return fingerprint({"revision": [JOIN_REVISION, *revisions], **compared, **lsh})


def key_version(
    feature_version: str, model: tuple[str, str] | None, centre: npt.NDArray[np.float32] | None, cfg: LshConfig
) -> str:
    """Fingerprint of everything that `compute_keys` depends on.

    Args:
        feature_version: version of the features.
        model: (model_id, preprocess_id) of the embeddings; None without embeddings.
        centre: float32 (dim,) of that model.
        cfg: as for `compute_keys`.
    """
    n_bits = None if centre is None else embedding_plan(centre, cfg).n_bits
    digest = None if centre is None else centre.astype("<f4").tobytes().hex()
    words = [feature_version, WORD_KEYS_REVISION] if by_keys(cfg) else None
    return fingerprint({"revision": KEYS_REVISION, "words": words, "model": model, "bits": n_bits, "centre": digest})
