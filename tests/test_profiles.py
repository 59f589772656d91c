"""Profiles are option values and nothing else: explicit options win, and versions change as with the options."""

from __future__ import annotations

import io

import pytest
from pictures import photograph

from dupelake.config import Config, load_config
from dupelake.errors import ConfigError
from dupelake.fingerprint.fingerprint import fingerprint_image
from dupelake.pipeline.command_lines import cluster_command, forget_command, manifest_command
from dupelake.profiles import PROFILES
from dupelake.propose.stage import join_version
from dupelake.stage_versions import StageVersions

COMPARED = {"hash": "h", "verify": "v", "model": None, "preprocess": None}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_the_same_as_its_options(profile):
    named = load_config(None, [], profile)
    given = load_config(None, [f"{name}={value}" for name, value in PROFILES[profile].items()])
    assert named == given
    assert named.fingerprint() == given.fingerprint()
    for name, value in PROFILES[profile].items():
        section, _, option = name.partition(".")
        assert getattr(getattr(named, section), option) == value != getattr(getattr(Config(), section), option)


def test_balanced_is_the_default():
    assert load_config(None, [], "balanced") == load_config() == Config()


def test_options_that_are_given_win(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("lsh:\n  words: true\nembed:\n  input_side_px: 128\n", encoding="utf-8")
    config = load_config(file, ["embed.model=default"], "fast")
    assert (config.lsh.words, config.embed.model, config.embed.input_side_px) == (True, "default", 128)
    assert config.features.max_words == 0, "the rest of the section is the profile's"


def test_an_unknown_profile_is_a_fault_among_others():
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["decide.min_score=7"], "quick")
    assert caught.value.faults[0] == "--profile quick: allowed is one of fast, balanced, thorough"
    assert any("decide.min_score" in fault for fault in caught.value.faults)


@pytest.mark.parametrize("command", [manifest_command, forget_command, cluster_command])
def test_every_job_takes_it(command, tmp_path):
    paths = [str(tmp_path)] if command is manifest_command else []
    parsed = command("x", "x").parse([*paths, "--warehouse", str(tmp_path), "--profile", "fast"])
    assert parsed.config() == load_config(None, [], "fast")


def test_versions_change_as_with_the_options():
    """So another profile is refused on a warehouse until --full, as other features and another join are."""
    features, joins = set(), set()
    for profile in PROFILES:
        config = load_config(None, [], profile)
        features.add(StageVersions(config).feature)
        joins.add(join_version(config.lsh, COMPARED))
        assert StageVersions(config).hash == StageVersions(Config()).hash
        assert StageVersions(config).decide == StageVersions(Config()).decide
        assert StageVersions(config).cluster == StageVersions(Config()).cluster
    assert len(features) == len(joins) == len(PROFILES)


def test_fast_finds_no_keypoints_and_changes_nothing_else():
    data = io.BytesIO()
    photograph("coffee.png").save(data, "PNG")
    found = {}
    for profile in ("fast", "balanced"):
        config = load_config(None, [], profile)
        found[profile] = vars(fingerprint_image(data.getvalue(), config.decode, config.hash, config.features))
    assert found["fast"]["n_keypoints"] == 0
    assert found["fast"]["features_error"] is None
    assert found["balanced"]["n_keypoints"] > 100
    of_features = {"n_keypoints", "keypoints", "descriptors", "words"}
    differing = {name for name, value in found["fast"].items() if value != found["balanced"][name]}
    assert differing == of_features
