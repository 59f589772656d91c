"""Which URIs are local, and their paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dupelake.ingest.uris import local_path, plain_uri


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


PLAIN = {
    "/data/photos/p5.jpg": "/data/photos/p5.jpg",
    "file:///data/p.jpg": "/data/p.jpg",
    "file:/data/p.jpg": "/data/p.jpg",
    "FILE://host/data//p.jpg": "/data/p.jpg",
    "/data//p.jpg": "/data/p.jpg",
    "/data/././x/./p.jpg": "/data/x/p.jpg",
    "/data/../p.jpg": "/data/../p.jpg",  # the folder may be a link
    "/a./.b": "/a./.b",
    "file:///a%20b+c.jpg": "/a b+c.jpg",
    "file:///caf%E9.jpg": "file:///caf%E9.jpg",
    "file:///100%.jpg": "/100%.jpg",
    "/a%20b": "/a%20b",
    "rel//a": "rel//a",
    " /a//b": " /a//b",
    "file://a.jpg": "file://a.jpg",
    "": "",
    "S3A://Bucket//k/./a b%20.jpg": "s3a://bucket/k/a b%20.jpg",
    "s3a://b/x/../k": "s3a://b/k",
    "abfss://C@Acc/x": "abfss://C@acc/x",
    "hdfs://N:8020/a": "hdfs://n/a",
    "hdfs://n:9000/a": "hdfs://n:9000/a",
    "HTTP://H:80/a//B?x=//": "http://h/a//B?x=//",
    "http://h:8080/a": "http://h:8080/a",
    "viewfs:///a": "viewfs:///a",
    "/a\nb//c": "/a\nb/c",
}


@pytest.mark.parametrize(("uri", "plain"), PLAIN.items())
def test_plain_spellings(uri: str, plain: str) -> None:
    assert plain_uri(uri) == plain
    assert plain_uri(plain) == plain
    path, again = local_path(uri), local_path(plain)
    if path is None or not path.startswith("/"):
        assert path == again or path is None
    else:
        assert os.path.normpath(path) == os.path.normpath(again or ""), "another file"
