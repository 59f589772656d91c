"""File ids: all names of one file have one id."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dupelake.ingest import files
from dupelake.ingest.files import local_file_id, normal_remote, remote_file_id


def id_of(path: Path | str) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return local_file_id(descriptor)
    finally:
        os.close(descriptor)


def test_names_of_a_local_file(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    one.write_bytes(b"x")
    other.write_bytes(b"x")
    (tmp_path / "link.png").symlink_to(one)
    os.link(one, tmp_path / "hard.png")
    (tmp_path / "folder").symlink_to(tmp_path / "deep" / "er")
    (tmp_path / "deep" / "one.png").write_bytes(b"another file")
    names = ("link.png", "hard.png", "./one.png", "deep/../one.png", "deep//er/../../one.png")
    assert {id_of(f"{tmp_path}/{name}") for name in names} == {id_of(one)}
    assert id_of(other) != id_of(one), "equal bytes in another file"
    # The parent of a linked folder is the parent of its target: this is not one.png above.
    assert id_of(f"{tmp_path}/folder/../one.png") == id_of(tmp_path / "deep" / "one.png") != id_of(one)


def test_where_inodes_are_made_up_the_path_without_links_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tmp_path / "one.png"
    one.write_bytes(b"x")
    (tmp_path / "link.png").symlink_to(one)
    by_inode = id_of(one)
    monkeypatch.setattr(files, "_has_synthetic_inodes", lambda device: True)
    assert id_of(one) == id_of(tmp_path / "link.png") != by_inode


def test_this_machines_disks_have_inodes(tmp_path: Path) -> None:
    assert id_of(Path(__file__)).startswith("inode:")
    assert not files._has_synthetic_inodes(10**9), "of an unknown device nothing is known"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("s3a://bucket/a/b.jpg", "S3A://Bucket//a/./b.jpg"),
        ("s3a://bucket/a/b.jpg", "s3://bucket/x/../a/b.jpg"),
        ("s3a://bucket/k", "s3n://key:secret@bucket/k"),
        ("hdfs://Node/a", "hdfs://node:8020/a"),
        ("abfss://c@acc.host/a", "abfs://c@ACC.host/a"),
        ("http://h/~a/b.jpg", "HTTP://H:80/%7ea/./x/../b.jpg"),
        ("https://h/%C3%A9%2Fx", "https://h:443/é%2fx"),
        ("http://h/a.jpg", "https://user:word@h./a.jpg#part"),
        ("http://h", "http://h/"),
        ("http://[::1]/a", "http://[::1]/b/../a"),
    ],
)
def test_spellings_of_a_remote_object(one: str, other: str) -> None:
    assert normal_remote(one) == normal_remote(other)
    assert remote_file_id(one) == remote_file_id(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("s3a://bucket/a.jpg", "s3a://bucket/A.jpg"),
        ("s3a://bucket/a%20b", "s3a://bucket/a b"),  # a key's characters stand for themselves
        ("s3a://bucket/a?v=1", "s3a://bucket/a?v=2"),
        ("abfss://c@acc/a", "abfss://d@acc/a"),
        ("hdfs://node/a", "hdfs://node:9000/a"),
        ("http://h/a?v=1", "http://h/a?v=2"),
        ("http://h/a//b", "http://h/a/b"),
        ("http://h/a%2Fb", "http://h/a/b"),
        ("http://h/a", "http://h:8080/a"),
        ("http://h/a/", "http://h/a"),
        ("gs://b/a", "s3a://b/a"),
    ],
)
def test_what_may_be_two_objects_stays_two(one: str, other: str) -> None:
    assert normal_remote(one) != normal_remote(other)
