"""Containerfile: built by buildah, and a night in the container without any network. Ten minutes, most of it torch.

It needs root, and `apt-get install buildah debootstrap`. No registry of images is asked: debootstrap makes what is
published as debian:bookworm-slim from Debian's packages, and certificates of this machine are added as a company would
add its own. DUPELAKE_IMAGES names a folder that keeps layers between runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from built_wheel import READ, REPO, built_wheel, two_images

TEXT = (REPO / "Containerfile").read_text(encoding="utf-8")
BASE = "docker.io/library/debian:bookworm-slim"
WITH_CERTIFICATES = """
FROM {base}
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY certificates/ /usr/local/share/ca-certificates/
RUN update-ca-certificates && printf '[global]\\ncert = /etc/ssl/certs/ca-certificates.crt\\n' > /etc/pip.conf
"""
# chroot isolation has the network of its caller: this one has none but loopback, and a name without an address.
ALONE = ("unshare", "--net", "--uts", "sh", "-c", 'ip link set lo up && hostname alone.invalid && exec "$@"', "sh")


def test_what_the_build_copies_is_let_in():
    # Docker reads no .containerignore; podman and buildah read both names.
    copied = [path for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.M) for path in line.split()[:-1]]
    let_in = (REPO / ".dockerignore").read_text(encoding="utf-8").split()
    assert let_in == ["*", *(f"!{path}" for path in copied)]
    assert re.findall(r"^USER (.+)$", TEXT, re.M)[-1] == "10001"


class Buildah:
    def __init__(self, folder: Path) -> None:
        places = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "overlay"]
        self.command = ["buildah", *places]

    def __call__(self, *arguments: str, before: tuple[str, ...] = (), check: bool = True) -> str:
        command = [*before, *self.command, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
        assert not check or done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout + done.stderr

    def build(self, name: str, context: Path, *options: str) -> None:
        here = ("--isolation", "chroot", "--network", "host", "--pull-never", "--layers")
        self("build", *here, *options, "--tag", name, str(context))


@pytest.fixture(scope="module")
def buildah(tmp_path_factory) -> Buildah:
    if os.geteuid() or not (shutil.which("buildah") and shutil.which("debootstrap")):
        pytest.skip("as root: apt-get install buildah debootstrap")
    return Buildah(Path(os.environ.get("DUPELAKE_IMAGES") or tmp_path_factory.mktemp("images")))


@pytest.fixture(scope="module")
def base(buildah, tmp_path_factory) -> str:
    """Debian 12, small, with the certificates of this machine."""
    if BASE not in buildah("images", "--format", "{{.Name}}:{{.Tag}}"):
        root = tmp_path_factory.mktemp("debian") / "root"
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(root)], check=True, capture_output=True)
        made = buildah("from", "scratch").strip()
        buildah("copy", "--quiet", made, str(root), "/")
        buildah("config", "--cmd", "bash", made)
        buildah("commit", "--quiet", "--rm", made, BASE)
    context = tmp_path_factory.mktemp("certificates")
    (context / "Containerfile").write_text(WITH_CERTIFICATES.format(base=BASE))
    shutil.copytree("/usr/local/share/ca-certificates", context / "certificates")
    buildah.build("localhost/debian-with-certificates", context)
    return "localhost/debian-with-certificates"


@pytest.fixture(scope="module")
def image(buildah, base, reader_jar, tmp_path_factory) -> str:
    context = tmp_path_factory.mktemp("context")
    built_wheel(context / "dist")
    for name in ("Containerfile", ".dockerignore", "constraints.txt", "jobs"):
        put = shutil.copytree if (REPO / name).is_dir() else shutil.copy2  # layers are known by times as well
        put(REPO / name, context / name)
    buildah.build("dupelake:test", context, "--build-arg", f"BASE={base}")
    return "dupelake:test"


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_a_night_in_the_container_without_network(buildah, image, tmp_path):
    config = json.loads(buildah("inspect", "--type", "image", image))["OCIv1"]["config"]
    assert (config["Entrypoint"], config["User"]) == (["dupelake"], "10001")
    data = tmp_path / "data"
    two_images(data / "images")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    for path in (data, data / "images", *(data / "images").iterdir()):
        os.chown(path, 10001, 10001)

    made = buildah("from", "--pull-never", image).strip()
    try:

        def ran(*program: str) -> str:
            options = ("--isolation", "chroot", "--volume", f"{data}:/data")
            return buildah("run", *options, made, "--", *program, before=ALONE, check=False)

        assert ran("id", "-u").split()[0] == "10001"
        assert "Network is unreachable" in ran(
            "python", "-c", "import socket; socket.create_connection(('192.0.2.1', 9))"
        )
        said = ran(*config["Entrypoint"], "run", "/data/images", "--warehouse", "/data/dupes")
        assert READ in said
        ran(*config["Entrypoint"], "index", "--warehouse", "/data/dupes")
        answer = ran(*config["Entrypoint"], "check", "/data/images/half.jpg", "--warehouse", "/data/dupes", "--json")
        assert json.loads(answer.strip().splitlines()[-1])["is_stored"] is True
        held = ran("python", "-c", "import importlib.resources as r, pillow_heif, fastapi; print('held')")
        assert held.strip() == "held"
    finally:
        buildah("rm", made)
