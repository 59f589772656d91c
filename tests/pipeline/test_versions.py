"""Fingerprints of all stages. A change here makes all rows of every warehouse rows of another version."""

from __future__ import annotations

from dupelake.config import load_config
from dupelake.stage_versions import StageVersions


def test_the_default_options_have_the_versions_of_stored_rows():
    versions = StageVersions(load_config())
    assert versions.hash == "h6-pillow13-df431853"
    assert versions.feature == "f1-dfa3e287"
    assert versions.verify == "3328a89112ba3059"
    assert versions.decide == "6bf823648cddf808"
    assert versions.cluster == "271667ec2ec5cc36"


def test_options_change_the_versions_of_their_stages_alone():
    names = ("hash", "feature", "verify", "decide", "cluster")
    default = StageVersions(load_config())
    for option, expected in (
        ("decode.max_pixels=1000", {"hash"}),
        ("features.max_words=20", {"feature", "verify"}),
        ("decide.min_score=0.9", {"decide"}),
        ("cluster.removable=verified", {"cluster"}),
        ("cluster.similar_groups=true", set()),
        ("run.max_attempts=1", set()),
    ):
        other = StageVersions(load_config(None, [option]))
        differing = {name for name in names if getattr(other, name) != getattr(default, name)}
        assert differing == expected, option
