"""Which URIs are local, and which path they name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dupelake.kernels.uris import local_path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/data/a.jpg", "/data/a.jpg"),
        ("rel/a b.jpg", "rel/a b.jpg"),
        ("a:b.jpg", "a:b.jpg"),
        ("C:\\pictures\\a.jpg", "C:\\pictures\\a.jpg"),
        ("/data/100%25 #1?.jpg", "/data/100%25 #1?.jpg"),
        ("file:/data/a.jpg", "/data/a.jpg"),
        ("file:///data/a%20b%23.jpg", "/data/a b#.jpg"),
        ("FILE:///data/a.jpg", "/data/a.jpg"),
        ("file://localhost/data/a.jpg", "/data/a.jpg"),
        ("file:///data/100% #1?.jpg", "/data/100% #1?.jpg"),
        ("file:a.jpg", "file:a.jpg"),
        ("file://a.jpg", "file://a.jpg"),
        ("", ""),
    ],
)
def test_local(uri: str, path: str) -> None:
    assert local_path(uri) == path


@pytest.mark.parametrize(
    "uri", ["s3a://b/k", "hdfs://n:8020/a", "abfss://c@a/x", "http://h/a.jpg", "viewfs:///a", "S3://b/k"]
)
def test_not_local(uri: str) -> None:
    assert local_path(uri) is None


def test_file_uri_of_any_name_comes_back() -> None:
    for name in ("/a b%20#?[x]{y}*.jpg", "/Grüße 東京.jpg", os.fsdecode(b"/caf\xe9.jpg")):
        assert local_path(Path(name).as_uri()) == name
