"""What the versions of the join and of its stored keys depend on.

A stored pair is valid as long as the version of the join that proposed it is the present one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from dupelake.config import LshConfig, fingerprint
from dupelake.propose.srp import embedding_plan

JOIN_REVISION = 2  # raise it when a change of the generators of bit codes, or of what they call, proposes other pairs
WORDS_REVISION = 1  # raise it when a change of word_blocks_stage.py, or of what it calls, proposes other pairs
WORD_KEYS_REVISION = 2  # raise it when a change of word_keys_stage.py, or of what it calls, makes other keys or pairs
KEYS_REVISION = 1  # raise it when join_keys_stage.py computes other keys or codes, and with it JOIN_REVISION


def by_keys(cfg: LshConfig) -> bool:
    """Whether words are joined, and by keys."""
    return cfg.words and cfg.word_join == "keys"


def join_version(cfg: LshConfig, compared: Mapping[str, str | None], revisions: Sequence[int]) -> str:
    """Fingerprint of what decides which pairs the join proposes and how they are measured.

    Args:
        cfg: all options count, but those that leave stored pairs valid.
        compared: versions of what is compared: of hashes, verification, model and preprocessing.
        revisions: of the listed generators (`stage.revisions`).
    """
    lsh = asdict(cfg)
    if cfg.word_join == "blocks":  # the way before there were two: stored pairs stay valid
        del lsh["word_join"], lsh["word_min_keys"], lsh["word_key_max_images"]
    del lsh["burst_min_images"], lsh["burst_max_bits"]  # they leave pairs out, and those that are stored stay valid
    return fingerprint({"revision": [JOIN_REVISION, *revisions], **compared, **lsh})


def key_version(
    feature_version: str, model: tuple[str, str] | None, centre: npt.NDArray[np.float32] | None, cfg: LshConfig
) -> str:
    """Fingerprint of what `compute_keys` makes of a content.

    Args:
        feature_version: of the features.
        model: (model_id, preprocess_id) of the embeddings, None without.
        centre: of that model.
        cfg: as for `compute_keys`.
    """
    n_bits = None if centre is None else embedding_plan(centre, cfg).n_bits
    digest = None if centre is None else centre.astype("<f4").tobytes().hex()
    words = [feature_version, WORD_KEYS_REVISION] if by_keys(cfg) else None
    return fingerprint({"revision": KEYS_REVISION, "words": words, "model": model, "bits": n_bits, "centre": digest})
