"""Named sets of option values: what `--profile` chooses between cost and recall. benchmarks/profiles.md measures them.

A profile is nothing but these values: a run with a profile and a run with the same values by `--set` are the same.
"""

from __future__ import annotations

from typing import Any

BALANCED = "balanced"
PROFILES: dict[str, dict[str, Any]] = {
    # Bytes, pixels and hashes alone. Pairs are still aligned and decided by their pixels.
    "fast": {
        "features.max_words": 0,
        "lsh.words": False,
        "embed.model": "none",
    },
    # The defaults.
    BALANCED: {},
    # More words, and wider radii of both hashes.
    "thorough": {
        "features.max_words": 250,
        "lsh.phash_max_bits": 11,
        "lsh.pdq_max_bits": 47,
    },
}
"""{profile: {section.option: value}}; every other option has its default."""


def profile_values(profile: str, faults: list[str]) -> dict[str, dict[str, Any]]:
    """{section: {option: value}} of a profile; a name that is none is added to `faults`."""
    if profile not in PROFILES:
        faults.append(f"--profile {profile}: allowed is one of {', '.join(PROFILES)}")
    values: dict[str, dict[str, Any]] = {}
    for name, value in PROFILES.get(profile, {}).items():
        section, _, option = name.partition(".")
        values.setdefault(section, {})[option] = value
    return values
