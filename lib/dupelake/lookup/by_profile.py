"""A check with `--profile`: which profiles an index can answer, and with which options.

`fast` takes away: it leaves out keypoints, words and embeddings, of the image and of what is stored. So each warehouse
can answer it. Every other profile needs what only nights with it have stored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dupelake.config import Config, load_config
from dupelake.errors import ConfigError
from dupelake.profiles import PROFILES

FAST = "fast"


def options_by(config: Config, profile: str) -> Config:
    """The options of a check with a profile.

    Args:
        config: the options of the night that the index shows.
        profile: a name of `PROFILES`.

    Raises:
        ConfigError: there is no such profile; or it is not `fast`, and the night used other values of its options.
    """
    if profile == FAST:
        return _with_values(config, PROFILES[FAST])
    wanted = load_config(profile=profile)
    for name in sorted({name for values in PROFILES.values() for name in values}):
        held, value = _value(config, name), _value(wanted, name)
        if held != value:
            raise ConfigError(
                [
                    f"--profile {profile}: it sets {name}={value}, and the nights of this warehouse used {held}; leave "
                    f"--profile out to check by their options, or give --profile {FAST}, or run all nights with it"
                ]
            )
    return config


def _value(config: Config, name: str) -> Any:
    section, _, option = name.partition(".")
    return getattr(getattr(config, section), option)


def _with_values(config: Config, values: dict[str, Any]) -> Config:
    for name, value in values.items():
        section, _, option = name.partition(".")
        config = replace(config, **{section: replace(getattr(config, section), **{option: value})})
    return config
