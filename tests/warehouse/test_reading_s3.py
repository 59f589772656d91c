"""A warehouse in an S3 server (moto), read without Spark: every command that only reads, and what it says of faults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_lake import make_night
from pictures import photograph
from s3_server import CHECKED, PARTS, SECRET, TOKEN, Relay, Store, environment, make_key, s3_server
from serving import encoded

import dupelake
from dupelake.cli import main
from dupelake.errors import EnvironmentFault
from dupelake.warehouse.reader import Reader

LAKE = "s3a://lake/dupes"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """In front of a server with a warehouse of three pictures, two of them copies that no night has found yet."""
    lake, astronaut = tmp_path_factory.mktemp("s3") / "dupes", photograph("astronaut.png")
    names = {"a.png": astronaut, "b #1.png": photograph("coffee.png"), "c.png": photograph("camera.png")}
    make_night(lake, {f"s3a://lake/photos/{name}": encoded(picture) for name, picture in names.items()})
    with s3_server() as address, Relay(address) as relay:
        Store(address).put_folder(lake, "dupes")
        yield relay


@pytest.fixture
def user(relay: Relay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The present folder of a user whose environment names the store."""
    set_environment(monkeypatch, relay.address, AWS_SESSION_TOKEN=TOKEN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_environment(monkeypatch: pytest.MonkeyPatch, address: str, **more: str) -> None:
    given = environment(address, **more)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)


def test_what_only_reads_works_from_there(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the secrets are in nothing that was written or said."""
    (user / "new.jpg").write_bytes(encoded(photograph("astronaut.png"), "JPEG", quality=60))
    rule = "{name: r, verdict: keeper, pair: {accepted: true}, a: {format: PNG}, b: {format: JPEG}}"
    (user / "rules.yaml").write_text(f"rules:\n  list:\n    - {rule}\n", encoding="utf-8")
    pair = "s3a://lake/photos/a.png,s3a://lake/photos/c.png,duplicate"
    (user / "truth.csv").write_text(f"left,right,label\n{pair}\n", encoding="utf-8")
    index = ["--index", str(user / "index")]
    for words in (
        ["evaluate", "--truth", "truth.csv"],
        ["rules", "--config", "rules.yaml"],
        ["report"],
        ["report", "--png"],
        ["index", *index],
        ["check", "new.jpg", *index],
        ["export", "csv"],
        ["export", "datasets"],
        ["export", "quarantine"],
        ["review", "--out", "review"],
        ["register", "--schema", "dupes", "--print", "duckdb"],
    ):
        assert main([*words, "--warehouse", LAKE]) == 0, words
    told = capsys.readouterr()
    assert "copy in a new group, keeper s3a://lake/photos/a.png" in told.out
    lake = dupelake.open(LAKE)
    assert sorted(lake.table("images")["uri"].to_pylist())[1] == "s3a://lake/photos/b #1.png"
    written = [path for path in user.rglob("*") if path.is_file()]
    assert len(written) > 8
    for text in (told.out, told.err, *(path.read_bytes().decode(errors="replace") for path in written)):
        assert not [part for part in PARTS if part in text]


def test_what_needs_a_local_warehouse_says_so(user, capsys) -> None:
    for word, told in {
        "index": f"--index: {LAKE} is no local folder; give a folder on this machine for the index",
        "review": f"--warehouse {LAKE}: verdicts are written to local warehouses only; write a page with --out, and "
        "use `dupelake decide`",
    }.items():
        assert main([word, "--warehouse", LAKE]) == 2
        assert capsys.readouterr().err == f"dupelake {word}: {told}\n"


def refused(capsys: pytest.CaptureFixture[str], warehouse: str = LAKE) -> str:
    """What `dupelake report` says of a store that cannot be read: one line."""
    assert main(["report", "--warehouse", warehouse]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert said.startswith(f"dupelake report: warehouse {warehouse} cannot be read: ")
    assert not [part for part in PARTS if part in said]
    return said


def test_no_such_bucket(user, capsys) -> None:
    assert "make the bucket, or give another one" in refused(capsys, "s3a://none/dupes")


def test_an_endpoint_without_tls(user, capsys, monkeypatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert "set AWS_ALLOW_HTTP=true if that is meant" in refused(capsys)


def test_no_key(user, capsys, monkeypatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")  # where roles of a machine are asked for
    assert "no key of the store was found; set AWS_ACCESS_KEY_ID and" in refused(capsys)


def test_a_server_that_goes_away(user, relay, capsys) -> None:
    reader = Reader(LAKE).at({"images": 1})
    assert reader.version("images") == 1
    relay.down()
    try:
        assert "Connection refused" in refused(capsys)
        for ask in (lambda: reader.table("images"), lambda: reader.rows("images", ["uri"])):
            with pytest.raises(EnvironmentFault, match="the store does not answer; check its address"):
                ask()
    finally:
        relay.up()
    assert reader.table("images").num_rows == 3


def test_a_slow_server(user, relay, monkeypatch) -> None:
    monkeypatch.setattr(relay, "delay_s", 0.2)
    assert Reader(LAKE).table("images").num_rows == 3


def test_keys_that_the_server_does_not_know(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    with s3_server(**CHECKED) as address:
        key, secret = make_key(address)
        Store(address, key, secret)
        good = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        for name, value in {
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ACCESS_KEY_ID": "AKIANOBODY",
            "AWS_SESSION_TOKEN": TOKEN,
        }.items():
            set_environment(monkeypatch, address, **good | {name: value})
            assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in refused(capsys)
        set_environment(monkeypatch, address, **good)
        assert main(["report", "--warehouse", LAKE]) == 2
        assert "holds no table images" in capsys.readouterr().err, "the right key may read"
