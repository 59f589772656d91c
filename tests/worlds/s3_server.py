"""A real S3 server (moto) as a process, a relay in front of it that can fail, and what a user sets to use them.

Moto takes other versions of some packages than dupelake (its botocore no python-dateutil 4), so it lies in a folder of
its own: `make s3` fills it, and DUPELAKE_MOTO names another one.
"""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pyarrow.fs import FileSelector, S3FileSystem

LIB = Path(__file__).parents[2] / "lib"
BUCKET = "lake"
# Of nobody. Each has a part that no encoding changes, and letters that URIs and JSON encode.
PARTS = ("DupelakeSecretPart", "DupelakeTokenPart")
KEY, SECRET, TOKEN = "AKIADUPELAKE", "wJ/K7%2FDupelakeSecretPart+bPx&R=", 'IQoJ"b3/DupelakeTokenPart%3D+=='


def moto_folder() -> Path:
    """The folder of moto; the test skips, loudly, where it is absent."""
    folder = Path(os.environ.get("DUPELAKE_MOTO") or Path(sys.prefix, "share", "dupelake", "moto"))
    if not (folder / "moto").is_dir():
        pytest.skip(f"no S3 server: no moto in {folder}; run `make s3`, or set DUPELAKE_MOTO (CONTRIBUTING.md)")
    return folder


def need_jars() -> dict[str, str]:
    """The variable that names the folder of the jars; the test skips, loudly, where Spark cannot read S3."""
    folder = Path(os.environ.get("DUPELAKE_S3_JARS") or Path(sys.prefix, "share", "dupelake", "s3"))
    if not any(folder.glob("hadoop-aws-*.jar")):
        pytest.skip(f"no jars of S3 in {folder}; run `make s3`, or set DUPELAKE_S3_JARS (CONTRIBUTING.md)")
    return {"DUPELAKE_JARS": str(folder)}


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def s3_server(**env: str) -> Iterator[str]:
    """The address (host:port) of a running server, whose objects go when it ends; `env` are variables of it."""
    folder, port = moto_folder(), free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    server = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path} | env, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None, "the server has ended"
                assert time.monotonic() < until
                time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


_MAKE_KEY = """
import json, sys, boto3
nobody = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
iam = boto3.client("iam", endpoint_url=sys.argv[1], region_name="us-east-1", **nobody)
iam.create_user(UserName="night")
key = iam.create_access_key(UserName="night")["AccessKey"]
rule = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
iam.put_user_policy(UserName="night", PolicyName="all", PolicyDocument=json.dumps(rule))
print(key["AccessKeyId"], key["SecretAccessKey"])
"""
CHECKED = {"INITIAL_NO_AUTH_ACTION_COUNT": "3"}
"""Variables of a server that checks keys and signatures, once `make_key` has made the only key that it knows."""


def make_key(address: str) -> tuple[str, str]:
    """A key of a new server of `CHECKED`, and its secret."""
    command = [sys.executable, "-c", _MAKE_KEY, f"http://{address}"]
    env = os.environ | {"PYTHONPATH": str(moto_folder())}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    key, secret = done.stdout.split()
    return key, secret


class Store:
    """The bucket of a server, as its owner sees it."""

    def __init__(self, address: str, key: str = KEY, secret: str = SECRET) -> None:
        self.address = address
        self.files = S3FileSystem(
            access_key=key, secret_key=secret, endpoint_override=address, scheme="http", region="us-east-1",
            allow_bucket_creation=True, allow_delayed_open=True,  # the latter: small objects in one request
        )  # fmt: skip
        self.files.create_dir(BUCKET)

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        with self.files.open_output_stream(f"{BUCKET}/{key}") as stream:
            stream.write(data)

    def put_folder(self, folder: Path, prefix: str) -> None:
        """Write all files of a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        with self.files.open_input_stream(f"{BUCKET}/{key}") as stream:
            return bytes(stream.read())

    def keys(self, folder: str = "") -> list[str]:
        """The keys of the objects below a folder."""
        found = self.files.get_file_info(FileSelector(f"{BUCKET}/{folder}".rstrip("/"), True, True))
        return sorted(one.path.removeprefix(f"{BUCKET}/") for one in found if one.is_file)


def tables_of(store: Store, warehouse: str, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of tables, by delta-rs."""
    given = {name: value for name, value in environment(store.address).items() if name.startswith("AWS_")}
    paths = {name: f"s3://{BUCKET}/{warehouse}/{name}" for name in names}
    read = {name: deltalake.DeltaTable(path, storage_options=given) for name, path in paths.items()}
    return {name: table.to_pyarrow_table().to_pylist() for name, table in read.items()}


def environment(address: str, **more: str) -> dict[str, str]:
    """The variables of a user of the store: Spark and delta-rs both read them."""
    held = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return held | {
        "PYTHONPATH": str(LIB),
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": f"http://{address}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **more,
    }


def dupelake(*words: str, env: dict[str, str], seconds: float = 850) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "dupelake.cli", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=seconds)


_HEAD = re.compile(rb"([A-Z]+) (\S+) HTTP/1.1\r\n")


class Relay:
    """Passes connections on to a server, and can be down, silent or slow; a context.

    To its clients a relay that is down is a server that has died and keeps its objects: connections end in the middle
    of a request, and new ones are refused.

    Args:
        target: address of the server.

    Attributes:
        address: where it listens.
        delay_s: before each piece of an answer is passed on.
        n_bytes: passed on so far, of answers.
        conditional: (method, path) of requests that write only where nothing is (If-None-Match), so far.
    """

    def __init__(self, target: str) -> None:
        self._host, _, port = target.partition(":")
        self._port, self.delay_s, self.n_bytes = int(port), 0.0, 0
        self.conditional: list[tuple[str, str]] = []
        self._at = free_port()
        self.address = f"127.0.0.1:{self._at}"
        self._silent = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    def __enter__(self) -> Relay:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Listen, at the same address as before."""
        self._listener = socket.create_server(("127.0.0.1", self._at), backlog=128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def down(self) -> None:
        """Cut all connections, and refuse new ones."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection((self._host, self._port)) as server:
            pair = {client, server}
            self._open |= pair
            try:
                while True:
                    for one in select.select(list(pair), [], [])[0]:
                        data = one.recv(65536)
                        if not data:
                            return
                        if one is server:
                            self.n_bytes += len(data)
                            time.sleep(self.delay_s)
                        elif b"if-none-match: *" in data.lower() and (head := _HEAD.match(data)):
                            self.conditional.append((head[1].decode(), head[2].decode()))
                        (client if one is server else server).sendall(data)
            finally:
                self._open -= pair
