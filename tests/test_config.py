"""Configuration: defaults equal the documented file; faults come all at once, each with its field and fix."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from dupelake.config import Config, load_config, options_of
from dupelake.errors import ConfigError
from dupelake.pair_rules import IMAGE_FORMATS

BASE = Path(__file__).parents[1] / "conf" / "base.yaml"


def test_base_yaml_shows_exactly_the_defaults():
    options = {section: options_of(getattr(Config(), section)) for section in Config().as_dict()}
    shown = {s: {name: v for name, v in body.items() if name in options[s]} for s, body in Config().as_dict().items()}
    assert yaml.safe_load(BASE.read_text(encoding="utf-8")) == shown
    # 51 of nights and checks, 5 of the server: what it may reach, who may ask, and what a request may cost; the rules
    assert sum(map(len, options.values())) <= 57, "an option that nobody would set is a constant"


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("hash.rows_per_task", "it is always 256, so remove it"),
        ("embed.batch_size", "it is always 64, so remove it"),
        ("lsh.word_min_keys", "it is always 2, so remove it"),
        ("decide.min_inliers", "use decide.min_score"),
        ("cluster.copy_kinds", "use cluster.removable"),
    ],
)
def test_what_was_an_option_is_refused_with_what_replaces_it(name, instead):
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"{name}=1"])
    (fault,) = caught.value.faults
    assert fault.startswith(f"{name}: no longer an option; {instead}")


def test_base_yaml_loads_to_the_defaults():
    assert load_config(BASE) == Config()


def test_set_wins_over_file(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("decide:\n  min_score: 0.6\nlsh:\n  pdq_max_bits: 30\n", encoding="utf-8")
    config = load_config(file, ["decide.min_score=0.9", "cluster.removable=verified"])
    assert (config.decide.min_score, config.lsh.pdq_max_bits) == (0.9, 30)
    assert config.cluster.removable == "verified"


def test_all_faults_at_once_each_naming_field_and_fix(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("decide:\n  min_scor: 20\n  min_score: 1.5\nlhs: {}\nhash: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(
            file, ["embed.input_side_px=many", "oops", "decode.accept_truncated=1", "cluster.keeper_order=[pixels]"]
        )
    faults = caught.value.faults
    for expected in (
        "decide.min_scor: no such option; did you mean min_score?",
        "decide.min_score: is 1.5; allowed is 0.01 to 0.999",
        "lhs: no such section; did you mean lsh?",
        "hash: must hold options",
        "embed.input_side_px: must be a whole number",
        "--set oops: must be section.key=value",
        "decode.accept_truncated: must be true or false",
        "cluster.keeper_order: must end in image_id",
    ):
        assert any(expected in fault for fault in faults), (expected, faults)


def test_two_faults_of_one_option_and_faults_beside_one_that_cannot_be_read():
    sets = ["cluster.keeper_order=[pixels, pixels]", "lsh.pdq_max_bits=wide", "embed.model=x"]
    with pytest.raises(ConfigError) as caught:
        load_config(None, sets)
    found = sorted(fault.split(":")[0] for fault in caught.value.faults)
    assert found == ["cluster.keeper_order", "cluster.keeper_order", "embed.model", "lsh.pdq_max_bits"]


@pytest.mark.parametrize(
    ("sets", "field"),
    [
        (["decide.pdq_max_bits=40"], "decide.pdq_max_bits"),
        (["decide.min_score=1"], "decide.min_score"),
        (["cluster.removable=all"], "cluster.removable"),
        (["features.vocabulary=/no/such/file"], "features.vocabulary"),
        (["cluster.keeper_order=[image_id, pixels]"], "cluster.keeper_order"),
        (["cluster.keeper_order=[pixels, pixels, image_id]"], "cluster.keeper_order"),
        (["cluster.removable_kinds=[near]"], "cluster.removable_kinds"),
        (["embed.model=resnet50"], "embed.model"),
        (["embed.model=torchscript:/no/such/file.pt"], "embed.model"),
        (["decode.max_pixels=.nan"], "decode.max_pixels: must be a whole number, not nan"),
        (["decode.max_pixels=.inf"], "decode.max_pixels: must be a whole number, not inf"),
        (["fetch.timeout_s=.nan"], "fetch.timeout_s: is nan; allowed is 0.1"),
        (["fetch.timeout_s=2026-02-30"], "2026-02-30 cannot be read .*; put it in quotes"),
        (["cluster.format_order=[jpg, PNG]"], "cluster.format_order: 'jpg' is no format of images; did you mean JPEG?"),
    ],
)
def test_contradictions_are_refused(sets, field):
    with pytest.raises(ConfigError, match=field):
        load_config(None, sets)


def test_unreadable_file_is_a_fault(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        load_config(tmp_path / "missing.yaml")


WRITTEN = (
    "007",
    "no",
    "on",
    "1_000",
    "12:30",
    "1.10",
    "2026-02-30",
    "2026-02-03",
    "null",
    "a: b",
    "[x",
    "~/x",
    "-",
    "",
)


@pytest.mark.parametrize("text", WRITTEN)
def test_set_takes_texts_as_they_are_written(text):
    assert load_config(None, [f"manifest.default_scope={text}"]).manifest.default_scope == text


@pytest.mark.parametrize("text", ["'007'", '"007"', " 007 "])
def test_set_takes_a_text_out_of_its_quotes(text):
    assert load_config(None, [f"manifest.default_scope={text}"]).manifest.default_scope == "007"


def test_set_takes_the_texts_of_a_list_as_they_are_written():
    config = load_config(None, ["manifest.extensions=[007, no, 1.10, 'x']"])
    assert config.manifest.extensions == ("007", "no", "1.10", "x")


@pytest.mark.parametrize("text", ["007", "no", "1_000", "12:30", "1.10", "2026-02-03"])
def test_a_file_must_quote_texts_that_yaml_reads_as_something_else(tmp_path, text):
    file = tmp_path / "c.yaml"
    file.write_text(f"manifest: {{default_scope: {text}, extensions: [jpg, {text}]}}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    found = [fault.split(", but")[0] for fault in caught.value.faults]
    assert found == ["manifest.extensions: must be text", "manifest.default_scope: must be text"][::-1]
    assert all(fault.endswith("; put it in quotes") for fault in caught.value.faults)
    file.write_text(f"manifest: {{default_scope: '{text}', extensions: [jpg, '{text}']}}\n", encoding="utf-8")
    assert load_config(file).manifest.extensions == ("jpg", text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("decide: {min_score: 0.6}\nlsh: {words: false}\ndecide: {}\n", "line 3: decide stands twice, first in line 1"),
        ("lsh:\n  words: false\n  words: true\n", "line 3: words stands twice, first in line 2"),
        ("lsh: {words: false, words: true}\n", "line 1: words stands twice"),
        ("rules:\n  list:\n  - {name: a, name: b}\n", "line 3: name stands twice"),
        ("lsh:\n  words: [\n", "line 3: "),
        ("manifest:\n  default_scope: 2026-02-30\n", "line 2: 2026-02-30 cannot be read .*; put it in quotes"),
    ],
)
def test_a_file_that_yaml_would_read_otherwise_than_it_is_written_is_refused_with_the_line(tmp_path, text, told):
    file = tmp_path / "c.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"c\.yaml, {told}"):
        load_config(file)


def test_parts_of_a_file_may_stand_for_others(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("lsh: &a {words: false}\nserve:\n  <<: {max_waiting: 1}\n  max_waiting: 2\n", encoding="utf-8")
    config = load_config(file)
    assert (config.lsh.words, config.serve.max_waiting) == (False, 2)


def test_formats_are_those_that_are_decoded():
    from PIL import Image

    from dupelake.fingerprint import decode

    assert decode.__name__  # it registers HEIF
    assert {*Image.OPEN, "MPO"} - {"EPS"} <= {*IMAGE_FORMATS}
    assert {*IMAGE_FORMATS} - {*Image.OPEN} <= {"MPO", "AVIF", "HEIF", "FPX", "MIC"}, "these need another package"


def test_fingerprint_changes_with_every_option():
    prints = {Config().fingerprint()}
    for section in dataclasses.fields(Config):
        body = getattr(Config(), section.name)
        for option in dataclasses.fields(body):
            value = getattr(body, option.name)
            other = (
                (not value)
                if isinstance(value, bool)
                else value + 1
                if isinstance(value, int | float)
                else (*value, "x")
                if isinstance(value, tuple)
                else value + "x"
            )
            changed = dataclasses.replace(Config(), **{section.name: dataclasses.replace(body, **{option.name: other})})
            prints.add(changed.fingerprint())
    n_options = sum(len(dataclasses.fields(getattr(Config(), s.name))) for s in dataclasses.fields(Config))
    assert len(prints) == n_options + 1
