"""What `dupelake overlap` refuses before Spark starts."""

from __future__ import annotations

import pytest

from dupelake import cli
from dupelake.pipeline import common


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--by, --conflicts: none is given"),
        (["--by", " "], "--by: is empty"),
        (["--by", "uri"], "--by uri: is not kept as a column of its own"),
        (["--by", "Image_ID"], "--by Image_ID: is not kept"),
        (["--conflicts", "captured_at"], "--conflicts captured_at: is not kept"),
        (["--by", "vendor", "--min-share", "0.01"], "--min-share 0.01: allowed is 0.05 to 1"),
        (["--by", "vendor", "--min-share", "nan"], "--min-share nan: allowed"),
        (["--conflicts", "label", "--between", "a", "b"], "--between: is about the sets of --by"),
        (["--by", "split", "--between", "a", "a"], "--between a: names one set twice"),
        (["--by", "vendor", "--out", "{file}"], "is a file; give a folder"),
        (["--by", "vendor", "--warehouse", "{folder}/none"], "holds no table images"),
    ],
)
def test_refused_before_spark(tmp_path, monkeypatch, capsys, words, told):
    def build_session(*args):
        raise AssertionError("Spark is started")

    monkeypatch.setattr(common, "build_session", build_session)
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "wh" / "images").mkdir(parents=True)
    words = [word.format(file=tmp_path / "file", folder=tmp_path) for word in words]
    assert cli.main(["overlap", "--warehouse", str(tmp_path / "wh"), *words]) == 2
    assert told in capsys.readouterr().err


def test_all_faults_are_told_at_once(tmp_path, capsys):
    words = ["overlap", "--warehouse", str(tmp_path / "none"), "--by", "uri", "--min-share", "2", "--set", "x=1"]
    assert cli.main(words) == 2
    told = capsys.readouterr().err
    for fault in ("--by uri", "--min-share 2", "--warehouse", "x"):
        assert fault in told
