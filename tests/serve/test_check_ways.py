"""A small run of benchmarks/check_ways.py: the command, Python and HTTP give equal answers, broken files included."""

from __future__ import annotations

import json
from pathlib import Path

from pictures import SCENES, photograph

from benchmarks import check_ways


def test_the_command_python_and_http_answer_alike(made_lake, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for name in SCENES:
        photograph(name, 300).save(tmp_path / "images" / f"{Path(name).stem}.png")
    given = ["--warehouse", str(made_lake), "--images", str(tmp_path / "images"), "--work", str(tmp_path)]
    assert check_ways.main([*given, "--questions", "12"]) == 0
    told = capsys.readouterr().out
    assert "| http and python, bytes | 12 | 0 |" in told
    assert "'failed': 1" in told
    assert "'copy': " in told


def test_another_answer_is_told(capsys):
    answer = {"image": "q", "image_id": "1", "status": "new", "group": None, "is_stored": False, "index": {"age_s": 1}}
    ways = ("command", "python, paths", "python, bytes", "http")
    assert check_ways.compare({way: [answer] for way in ways}) == 0
    other = json.loads(json.dumps(answer)) | {"status": "copy"}
    assert check_ways.compare({way: [other if way == "http" else answer] for way in ways}) == 1
    assert '"status": ["copy", "new"]' in capsys.readouterr().out
