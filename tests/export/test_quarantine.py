"""The quarantine script and its undo, run by real shells on real files with hostile names."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from grouped_lake import Member, copy, keeper, make_lake, written

from dupelake.cli import main
from dupelake.export.quarantine import quoted

SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]
EVERY_BYTE = bytes(byte for byte in range(1, 256) if byte != ord("/"))
HOSTILE = [
    *(b"plain.jpg", b"two  spaces .jpg", b" ", b'it\'s "quoted".jpg', b"-rf", b"--", b"new\nline.jpg", b"at its end\n"),
    *(b"$(touch owned) `touch owned` ;touch owned;.jpg", b"*?[a].jpg", b"back\\slash\\", b"~", b"#", b"!history"),
    *("ü 写真.jpg".encode(), b"tab\tcr\r", b"'", b"''\\''", b"=cmd|'/C calc'!A0", b"\xff\xfe", b"x" * 255),
    *(EVERY_BYTE[:127], EVERY_BYTE[127:]),
]


@pytest.fixture(params=SHELLS)
def shell(request) -> str:
    return request.param


def uri_of(path: bytes) -> str:
    """As a tree lists it: the path, or a percent-encoded URI where it is not UTF-8."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return Path(os.fsdecode(path)).as_uri()


def world(folder: Path, names: list[bytes] = HOSTILE) -> list[Member]:
    """For each name a kept file and a copy of it, which may go, in folders of hostile names."""
    members = []
    for i, name in enumerate(names):
        kept, gone = (os.path.join(os.fsencode(folder), top, name) for top in (b"kept 'x'\n", b"-copies \xff"))
        data = b"picture %d" % i
        members += [keeper(f"k{i}", uri_of(kept), data, f"g{i}"), copy(f"c{i}", uri_of(gone), data, f"g{i}")]
    return written(members)


def exported(folder: Path, members: list[Member], *more: str) -> tuple[Path, Path]:
    lake, script = make_lake(folder / "lake", members), folder / "move it's.sh"
    assert main(["export", "quarantine", "--warehouse", str(lake), "--out", str(script), *more]) == 0
    return script, folder / "move it's-undo.sh"


def run(shell: str, script: Path, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([shell, script, *more], capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == code, (done.stdout, done.stderr[-2000:])
    return done


def files(folder: Path) -> dict[bytes, tuple[bytes, int]]:
    """Every file below a folder with its bytes and its time."""
    found = {}
    for here, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(here, name)
            with open(path, "rb") as file:
                found[path] = (file.read(), os.stat(path).st_mtime_ns)
    return found


def test_files_of_any_name_go_and_come_back(tmp_path, shell):
    members = world(tmp_path / "pictures")
    script, undo = exported(tmp_path, members)
    before = files(tmp_path / "pictures")
    assert len(before) == 2 * len(HOSTILE)
    assert f"{len(HOSTILE)} can be moved, 0 moved before, 0 refused" in run(shell, script, "--dry-run").stdout
    assert files(tmp_path / "pictures") == before
    assert f"{len(HOSTILE)} moved, 0 moved before, 0 refused" in run(shell, script).stdout
    copies = os.fsencode(tmp_path / "pictures") + b"/-copies \xff/"
    after = files(tmp_path / "pictures")
    assert after == {path: held for path, held in before.items() if not path.startswith(copies)}
    quarantined = files(tmp_path / "move it's")
    root = os.fsencode(tmp_path / "move it's" / "files")
    assert {path.removeprefix(root): held for path, held in quarantined.items()} == {
        path: held for path, held in before.items() if path.startswith(copies)
    }
    assert f"0 moved, {len(HOSTILE)} moved before, 0 refused" in run(shell, script).stdout
    assert f"{len(HOSTILE)} put back, 0 in their places, 0 refused" in run(shell, undo).stdout
    assert files(tmp_path / "pictures") == before
    assert files(tmp_path / "move it's") == {}
    assert f"0 put back, {len(HOSTILE)} in their places, 0 refused" in run(shell, undo).stdout
    assert not list(tmp_path.rglob("owned"))


def damage(folder: Path, members: list[Member]) -> None:
    """What may happen between the night and the script."""

    def path(image_id):
        return Path(next(one.uri for one in members if one.image_id == image_id))

    path("c0").write_bytes(b"other pixels")  # another size
    path("c1").write_bytes(b"picturE 1")  # the same size
    path("k2").write_bytes(b"picturE 2")
    path("k3").unlink()
    path("c4").unlink()
    path("c5").unlink()
    path("c5").symlink_to(path("k5"))
    path("c6").unlink()
    os.link(path("k6"), path("c6"))
    path("k7").unlink()
    path("k7").symlink_to(path("c7"))  # the kept file would be lost
    path("c8").unlink()
    path("c8").mkdir()


def test_what_changed_since_is_refused_and_the_rest_goes(tmp_path, shell):
    names = [b"%d.jpg" % i for i in range(12)]
    members = written(
        member
        for i, name in enumerate(map(bytes.decode, names))
        for member in (
            keeper(f"k{i}", str(tmp_path / "a" / name), b"picture %d" % i, f"g{i:02}"),
            copy(f"c{i}", str(tmp_path / "b" / name), b"picture %d" % i, f"g{i:02}"),
        )
    )
    script, undo = exported(tmp_path, members)
    damage(tmp_path, members)
    clash = tmp_path / "move it's" / "files" / str(tmp_path / "b" / "9.jpg")[1:]
    clash.parent.mkdir(parents=True)
    clash.write_bytes(b"somebody's")
    before = files(tmp_path / "a") | files(tmp_path / "b")
    told = run(shell, script, code=1)
    assert "2 moved, 0 moved before, 10 refused" in told.stdout
    refused = {line.rsplit("/", 1)[1]: line for line in told.stderr.splitlines() if line.startswith("refused: ")}
    expected = {
        "0.jpg": "it has changed since dupelake read it",
        "1.jpg": "it has changed since dupelake read it",
        "2.jpg": f"of the kept file {tmp_path}/a/2.jpg, it has changed since dupelake read it",
        "3.jpg": f"of the kept file {tmp_path}/a/3.jpg, it is missing",
        "4.jpg": "it is missing",
        "5.jpg": "it is a symbolic link",
        "6.jpg": "it is the kept file under another name",
        "7.jpg": "it is the kept file under another name",
        "8.jpg": "it is no regular file",
        "9.jpg": "the quarantine has another file of this name",
    }
    assert {name: line.split(": ")[1] for name, line in refused.items()} == expected
    stayed = {path: held for path, held in before.items() if not path.endswith((b"/b/10.jpg", b"/b/11.jpg"))}
    assert files(tmp_path / "a") | files(tmp_path / "b") == stayed
    assert clash.read_bytes() == b"somebody's"

    (tmp_path / "b" / "10.jpg").write_bytes(b"new")  # somebody put another file there
    told = run(shell, undo, code=1)
    assert "refused: a file of this name is there again" in told.stderr
    assert (tmp_path / "b" / "10.jpg").read_bytes() == b"new"
    assert (tmp_path / "b" / "11.jpg").read_bytes() == b"picture 11"
    (tmp_path / "b" / "10.jpg").unlink()
    clash.unlink()
    run(shell, undo, code=1)  # 4.jpg is nowhere
    assert files(tmp_path / "a") | files(tmp_path / "b") == before


def test_a_kept_path_that_was_read_twice_with_other_bytes_is_checked_for_both(tmp_path, shell):
    """One URI is listed for two tenants, and its bytes changed between their nights: one path keeps two contents."""
    kept, old, new = tmp_path / "p" / "k.jpg", b"old picture", b"new picture"
    members = [
        keeper("kB", str(kept), new, "g1", scope="B"),
        copy("cB", str(tmp_path / "p" / "b.jpg"), new, "g1", scope="B"),
        keeper("kA", str(kept), old, "g2", scope="A"),
        copy("cA", str(tmp_path / "p" / "a.jpg"), old, "g2", scope="A"),
    ]
    script, _ = exported(tmp_path, written(members))
    kept.write_bytes(new)
    told = run(shell, script, code=1)
    assert "1 moved, 0 moved before, 1 refused" in told.stdout
    assert f"of the kept file {kept}, it has changed since dupelake read it" in told.stderr
    assert files(tmp_path / "p").keys() == {os.fsencode(tmp_path / "p" / name) for name in ("k.jpg", "a.jpg")}


def test_the_kept_file_is_checked_before_each_move(tmp_path, shell):
    """It changes while the first of two copies is moved. A pipe in the place of that move holds the script there."""
    kept, first, second = (tmp_path / "p" / name for name in ("k.jpg", "1.jpg", "2.jpg"))
    copies = [copy(path.name, str(path), b"picture", "g") for path in (first, second)]
    script, _ = exported(tmp_path, written([keeper("k", str(kept), b"picture", "g"), *copies]))
    pipe = tmp_path / "move it's" / "moving" / str(first)[1:]
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    with subprocess.Popen([shell, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        with pipe.open("wb"):  # waits until the script reads it, after the checks of the first copy
            kept.write_bytes(b"another")
        while child.poll() is None:
            with contextlib.suppress(OSError):  # nobody reads it, or it is gone
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        assert "1 moved, 0 moved before, 1 refused" in child.stdout.read()
        assert f"of the kept file {kept}, it has changed since dupelake read it: {second}" in child.stderr.read()
    assert (first.exists(), second.read_bytes()) == (False, b"picture")


def test_a_file_in_the_root_folder_goes_and_comes_back(tmp_path, shell):
    name = Path("/", f"dupelake-test-{os.getpid()}.jpg")
    if not os.access("/", os.W_OK):
        pytest.skip("this user may not write in /")
    members = [keeper("k", str(tmp_path / "k.jpg"), b"1", "g"), copy("c", str(name), b"1", "g")]
    try:
        script, undo = exported(tmp_path, written(members))
        run(shell, script)
        assert not name.exists()
        assert "1 put back, 0 in their places, 0 refused" in run(shell, undo).stdout
        assert name.read_bytes() == b"1"
    finally:
        name.unlink(missing_ok=True)


def other_disk() -> Path:
    """A folder on another file system than the temporary one."""
    place = Path("/dev/shm")  # noqa: S108
    if not place.is_dir() or os.stat(place).st_dev == os.stat(os.environ.get("TMPDIR", "/tmp")).st_dev:  # noqa: S108
        pytest.skip("there is no second file system: /dev/shm is not mounted")
    return place


def test_interrupted_moves_go_on_and_lose_nothing(tmp_path, shell):
    """The quarantine is on another file system, where mv copies; the script and the undo are killed again and again."""
    members = written(
        member
        for i in range(40)
        for data in (bytes([i]) * 3_000_000,)
        for member in (
            keeper(f"k{i}", str(tmp_path / "a" / f"{i}.jpg"), data, f"g{i}"),
            copy(f"c{i}", str(tmp_path / "b" / f"{i}.jpg"), data, f"g{i}"),
        )
    )
    quarantine = other_disk() / f"dupelake-{os.getpid()}-{shell}"
    script, undo = exported(tmp_path, members, "--quarantine", str(quarantine))
    before = files(tmp_path / "b")
    try:
        for job, word, left in ((script, "40 moved", 40), (undo, "40 in their places", 0)):
            n_kills = 0
            for n_done in (0, 6, 12, 18, 24):
                child = subprocess.Popen([shell, job], stdout=subprocess.DEVNULL, start_new_session=True)
                while child.poll() is None and abs(left - len(os.listdir(tmp_path / "b"))) <= n_done:
                    time.sleep(0.001)
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    n_kills += 1
                child.wait()
                everywhere = {data for data, _ in (files(tmp_path / "b") | files(quarantine)).values()}
                assert {data for data, _ in before.values()} <= everywhere, "each file is whole somewhere"
            assert n_kills > 2
            run(shell, job)
            assert word in run(shell, job).stdout.replace("0 moved, 40 moved before", "40 moved")
        assert files(tmp_path / "b") == before
        assert not [path for path in files(quarantine) if b"/files/" in path]
    finally:
        shutil.rmtree(quarantine)


@pytest.mark.parametrize("at", ["between moves", "partial copy", "other bytes"])
def test_what_an_interrupted_move_left(tmp_path, shell, at):
    name = tmp_path / "b" / "x.jpg"
    members = written([keeper("k", str(tmp_path / "a" / "x.jpg"), b"12345", "g"), copy("c", str(name), b"12345", "g")])
    script, undo = exported(tmp_path, members)
    left = tmp_path / "move it's" / "moving" / str(name)[1:]
    left.parent.mkdir(parents=True)
    if at == "between moves":
        name.rename(left)
        assert "1 moved" in run(shell, script).stdout
        assert not name.exists()
        run(shell, undo)
        name.rename(left)
        assert "1 put back" in run(shell, undo).stdout
    elif at == "partial copy":
        left.write_bytes(b"123")
        assert "1 moved" in run(shell, script).stdout
        run(shell, undo)
    else:
        left.write_bytes(b"other")
        assert "an earlier move left other bytes" in run(shell, script, code=1).stderr
        assert left.read_bytes() == b"other"
    assert name.read_bytes() == b"12345"


def test_paths_with_parents_stay_inside_of_the_quarantine(tmp_path, shell):
    deep = f"{tmp_path}/../../../../../../..{tmp_path}/b/x.jpg"
    members = written([keeper("k", str(tmp_path / "a.jpg"), b"1", "g"), copy("c", deep, b"1", "g")])
    script, undo = exported(tmp_path, members)
    run(shell, script)
    assert (tmp_path / "move it's" / "files" / f"{tmp_path}/b/x.jpg"[1:]).read_bytes() == b"1"
    run(shell, undo)
    assert (tmp_path / "b" / "x.jpg").read_bytes() == b"1"


def test_no_way_to_delete(tmp_path):
    for script in exported(tmp_path, world(tmp_path / "p", [b"a"])):
        words = script.read_bytes().split()
        assert not {b"rm", b"unlink", b"rmdir", b"find", b"dd", b"truncate", b"shred"} & set(words)


def test_refused_before_anything_is_written(tmp_path, capsys):
    members = [
        keeper("k", str(tmp_path / "tree" / "a.jpg"), b"1", "g", source=f"{tmp_path}/tree/"),
        copy("c", str(tmp_path / "tree" / "b.jpg"), b"1", "g", source=f"{tmp_path}/tree/"),
    ]
    lake = make_lake(tmp_path / "lake", members)
    command = ["export", "quarantine", "--warehouse", str(lake), "--out", str(tmp_path / "move.sh")]
    assert main([*command, "--quarantine", str(tmp_path / "tree" / "q")]) == 2
    assert "lies in the tree" in capsys.readouterr().err
    assert not (tmp_path / "move.sh").exists()
    assert main([*command, "--quarantine", str(tmp_path / "tree" / ".q")]) == 0
    assert main(command) == 2
    assert "the undo of files that were moved must not be lost" in capsys.readouterr().err
    (tmp_path / "move.sh").unlink()
    assert main(command) == 2
    assert main(["export", "quarantine", "--warehouse", str(lake), "--out", str(tmp_path / "move")]) == 2
    assert "give --quarantine" in capsys.readouterr().err


def test_images_elsewhere_are_left_out(tmp_path, capsys):
    members = [
        keeper("k1", "s3a://b/a.jpg", b"1", "g1"),
        copy("c1", str(tmp_path / "b.jpg"), b"1", "g1"),
        keeper("k2", str(tmp_path / "c.jpg"), b"2", "g2"),
        copy("c2", "https://example.org/d.jpg", b"2", "g2"),
    ]
    script, _ = exported(tmp_path, members)
    assert "2 images that may go, or whose kept image, are no local files" in capsys.readouterr().err
    assert "\nmove " not in script.read_text()


def test_words_of_a_shell():
    assert quoted(b"it's") == b"'it'\\''s'"
