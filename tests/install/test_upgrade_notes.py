"""docs/upgrade.md has a note of each version that the code makes now: whoever raises one must write it. Six seconds."""

from __future__ import annotations

import re

import pytest
from built_wheel import REPO

from dupelake.config import Config
from dupelake.embed.stage import describe_model
from dupelake.fingerprint import hashing
from dupelake.group.touched_stage import CLUSTER_REVISION
from dupelake.lookup.manifest import FORMAT
from dupelake.overlap import sketches
from dupelake.propose import versions
from dupelake.stage_versions import StageVersions
from dupelake.verify.decide_stage import DECIDE_REVISION
from dupelake.verify.pair import VERIFY_REVISION
from dupelake.words.keypoints import FEATURES_REVISION

PAGE = (REPO / "docs" / "upgrade.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
NEWEST = {
    "Hashes": hashing._REVISION,
    "Features": FEATURES_REVISION,
    "Alignment": VERIFY_REVISION,
    "Decision": DECIDE_REVISION,
    "Groups": CLUSTER_REVISION,
}
NAMED = {
    "`JOIN_REVISION`": versions.JOIN_REVISION,
    "`WORDS_REVISION`": versions.WORDS_REVISION,
    "`WORD_KEYS_REVISION`": versions.WORD_KEYS_REVISION,
    "`KEYS_REVISION`": versions.KEYS_REVISION,
    "`REVISION`": sketches.REVISION,
    "`FORMAT`": FORMAT,
}


def test_the_page_has_the_versions_of_this_release():
    config = Config()
    made = StageVersions(config)
    now = {step: getattr(made, step) for step in ("hash", "feature", "verify", "decide", "cluster")}
    model, preprocess, _ = describe_model(config.embed)
    now["join"] = made.join(model, preprocess)
    told = dict(re.findall(r"^\| (\w+) \| `([\w-]+)` \|", SECTIONS["What you must do"], re.M))
    assert told == now, "write in docs/upgrade.md what changed, then the version"


@pytest.mark.parametrize(("section", "number"), NEWEST.items(), ids=str)
def test_each_number_has_a_note(section, number):
    noted = [int(found) for found in re.findall(r"^\| (\d+) \| \d", SECTIONS[section], re.M)]
    assert noted == sorted(noted, reverse=True)
    assert noted[0] == number, f"write in docs/upgrade.md, section {section}, what number {number} changed"
    assert noted == list(range(number, noted[-1] - 1, -1)), "no number is left out"


@pytest.mark.parametrize(("name", "number"), NAMED.items(), ids=str)
def test_each_named_number_has_a_note(name, number):
    assert re.search(rf"^\| {re.escape(name)} {number}\b", PAGE, re.M), f"docs/upgrade.md: note {name} {number}"


def test_no_other_number_is_raised_in_the_code():
    """A number that is new in the code needs a line here, and a note."""
    found = set()
    for path in (REPO / "lib" / "dupelake").rglob("*.py"):
        found |= set(re.findall(r"^(_?[A-Z_]*REVISION|FORMAT) = \d", path.read_text(encoding="utf-8"), re.M))
    known = {name.strip("`") for name in NAMED}
    assert found - known == {"_REVISION", "FEATURES_REVISION", "VERIFY_REVISION", "DECIDE_REVISION", "CLUSTER_REVISION"}
