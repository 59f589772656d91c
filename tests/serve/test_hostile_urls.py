"""URLs that would make the server ask what only it may reach."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from serving import LIB

WORLDS = Path(__file__).parents[1] / "worlds"


class Inside(ThreadingHTTPServer):
    """A service of this machine; it counts who asks."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.end_headers()


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    service = Inside()
    threading.Thread(target=service.serve_forever, daemon=True).start()
    yield service
    service.shutdown()


HOSTS = (
    "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "0",
    "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "user@127.0.0.1",
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "100.64.0.1",
    "168.63.129.16", "224.0.0.1",
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_no_spelling_reaches_this_machine_or_its_network(server, inside, host):
    reply = server.post("/check", {"url": f"http://{host}:{inside.server_port}/secret"})
    assert reply.status == 422
    assert (reply.answer["status"], reply.answer["reason"]) in (("failed", "not_allowed"), ("failed", "unreadable"))
    assert "--set" not in reply.answer["message"]
    assert not inside.asked


def test_with_a_public_address_of_its_own(made_lake):
    """A network of its own, in which this machine has a public address: what is read, and where redirects end."""
    inside = [sys.executable, str(WORLDS / "public_net.py"), str(made_lake)]
    command = ["unshare", "--map-root-user", "--net", *inside]
    if subprocess.run([*command[:3], "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no network namespaces")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(LIB), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["picture"] == [200, "copy"]
    assert found["redirect to a picture"] == [200, "copy"]
    assert found["redirect to loopback"] == [422, "not_allowed"]
    assert found["redirect to a file"] == [422, "not_allowed"]
    assert found["endless"] == [422, "too_large"]
    assert found["drip"] == [422, "timeout"]
    assert found["missing"] == [422, "missing"]
    assert found["rebinding"] == "the picture, and one question to the resolver"
    assert found["rebinding, the other way"] == "not_allowed"
    assert found["asked on loopback"] == []
