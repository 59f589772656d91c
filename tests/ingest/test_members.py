"""Names, indexes and bytes of members: tar and ZIP archives, well formed and hostile; rows of Parquet files."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import add, write_hf, write_tar, write_zip
from pyspark.sql import types as T

from dupelake.config import FetchConfig
from dupelake.frames.frame import Frame
from dupelake.ingest.access import Access
from dupelake.ingest.archives import list_archive
from dupelake.ingest.endings import IMAGES
from dupelake.ingest.failure import Failure
from dupelake.ingest.manifest_columns_stage import PLACE, without_place
from dupelake.ingest.manifest_images import without_bytes
from dupelake.ingest.member_reader import MemberReader
from dupelake.ingest.members import MemberPlace, container_of, is_member, member_of, member_uri, plain_name, version_of
from dupelake.ingest.uris import plain_uri

MOST = 1 << 20
ODD = ["plain.jpg", "sub/dir/a b.png", "100%25 #1!/x.jpg", "Grüße 東京.webp", "new\nline.gif", "x" * 300 + ".jpg"]


def access(*roots: Path) -> Access:
    return Access(FetchConfig(), tuple(map(str, roots)))


def listed(path: Path, *roots: Path) -> list[tuple[str, str | None, bytes | Failure | None]]:
    """(member or "" for the archive itself, fault, bytes) of each row, read back by its place."""
    rules, found = access(*(roots or (path.parent,))), []
    read = MemberReader(rules)
    for row in list_archive(str(path), IMAGES, rules):
        data = read(MemberPlace(**json.loads(row.place)), MOST) if row.place else None
        found.append((row.uri.removeprefix(str(path)).removeprefix("!/"), row.fault, data))
    return found


def reasons(path: Path, *roots: Path) -> dict[str, str | None]:
    """The reason of each row, of its fault or of its reading; None where bytes were read."""
    return {
        name: fault.partition(":")[0] if fault else data.reason if isinstance(data, Failure) else None
        for name, fault, data in listed(path, *roots)
    }


class TestNames:
    def test_uris_are_distinct_reversible_and_plain(self) -> None:
        names = [*ODD, "a#1", "a%231", "..", "a/../b", "/etc/x", "%2F/etc/x", "\udcff.jpg", "%FF.jpg", "\x00"]
        uris = [member_uri("/d/a!/x.tar", name) for name in names]
        assert len(set(uris)) == len(names)
        for name, uri in zip(names, uris, strict=True):
            assert is_member(uri)
            assert container_of(uri) == "/d/a!/x.tar"
            assert plain_uri(uri) == uri
            if name != "/etc/x":  # its empty segment is told from a name
                assert member_of(uri) == name
            remote = uri.replace("/d/", "s3a://b/")
            assert plain_uri(remote) == remote  # no segment is folded away
        assert not is_member("/d/x.tar")
        assert (container_of("/d/x.tar"), member_of("/d/x.tar")) == ("/d/x.tar", "")
        assert member_of(member_uri("/x.zip", "a#1", 2)) == "a#1"

    @pytest.mark.parametrize("raw", [b"/a.jpg", b"a/../b.jpg", b"..\\a.jpg", b"C:\\a.jpg", b"\\a.jpg", b"x" * 1025])
    def test_unsafe_names(self, raw: bytes) -> None:
        assert (plain_name(raw)[1] or "").startswith("unsafe_name: ")

    def test_same_name_in_other_spelling(self) -> None:
        assert {plain_name(raw) for raw in (b"./a//b.jpg", b"a/./b.jpg", b"a/b.jpg")} == {("a/b.jpg", None)}


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_members_are_read_in_place(tmp_path: Path, layout: int) -> None:
    names = [name for name in ODD if layout != tarfile.USTAR_FORMAT or len(name) < 100]
    rng = np.random.default_rng(0)
    wanted = [(name, rng.bytes(rng.integers(1, 2000))) for name in names]
    beside = [("0001.json", b"{}"), ("._a.jpg", b"x"), ("__MACOSX/a.jpg", b"x"), ("cls", b"1")]
    path = write_tar(tmp_path / "a.tar", [*wanted[:2], *beside, *wanted[2:]], layout)
    assert [(member_of(f"{path}!/{name}"), fault, data) for name, fault, data in listed(path)] == [
        (name, None, data) for name, data in wanted
    ]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_members_are_read_in_place(tmp_path: Path, method: int) -> None:
    rng = np.random.default_rng(0)
    wanted = [(name, rng.bytes(500) * int(rng.integers(1, 20))) for name in ODD]
    path = write_zip(tmp_path / "a.zip", [*wanted, ("a.txt", b""), ("d.jpg/", b"")], method)
    assert [(member_of(f"{path}!/{name}"), fault, data) for name, fault, data in listed(path)] == [
        (name, None, data) for name, data in wanted
    ]
    with_stub = tmp_path / "self-extracting.zip"  # and a comment at its end that looks like a directory
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"PK\5\6" + b"x" * 100
    with_stub.write_bytes(b"MZ" * 1000 + path.read_bytes())
    assert [data for _, _, data in listed(with_stub)] == [data for _, data in wanted]


def test_zip64(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(66_000):  # more than 65,535 members need the ZIP64 directory
            archive.writestr(f"{number}.txt", b"")
        with archive.open("big.jpg", "w", force_zip64=True) as member:
            member.write(b"picture")
    assert listed(path) == [("big.jpg", None, b"picture")]


def test_zip_of_many_members_without_zip64(tmp_path: Path) -> None:
    """Older writers note how many members there are modulo 65,536."""
    path, n_members = tmp_path / "a.zip", 65_538
    names = [b"%d.txt" % number for number in range(n_members - 1)] + [b"z.jpg"]
    with path.open("wb") as file:
        file.write(struct.pack("<4sHHHHHIIIHH", LOCAL, 10, 0, 0, 0, 0, 0, 0, 0, 5, 0) + names[-1])
        start = file.tell()
        for name in names:
            file.write(struct.pack("<4sBBHHHHHIIIHHHHHII", ENTRY, 10, 0, 10, *[0] * 7, len(name), *[0] * 6) + name)
        n_bytes = file.tell() - start
        file.write(struct.pack("<4sHHHHIIH", END, 0, 0, n_members % 65_536, n_members % 65_536, n_bytes, start, 0))
    assert reasons(path) == {"z.jpg": "empty"}
    patched(path, (END, 10, struct.pack("<H", 3)))
    assert reasons(path) == {"z.jpg": "empty", "": "truncated"}


def test_hostile_tar_members(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "good.jpg", b"1")
        add(archive, "/etc/abs.jpg", b"2")
        add(archive, "../up.jpg", b"3")
        add(archive, "link.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd")
        add(archive, "hard.jpg", kind=tarfile.LNKTYPE, link="good.jpg")
        add(archive, "pipe.jpg", kind=tarfile.FIFOTYPE)
        add(archive, "folder.jpg", kind=tarfile.DIRTYPE)
        add(archive, "inner.tar", b"4")
        add(archive, "twice.jpg", b"old")
        add(archive, "./twice.jpg", b"new")
        add(archive, "huge.jpg", b"5" * (MOST + 1))
        add(archive, "empty.jpg")
    rows = {name: (fault or "").partition(":")[0] or data for name, fault, data in listed(path)}
    huge = rows.pop("huge.jpg")
    empty = rows.pop("empty.jpg")
    assert isinstance(huge, Failure)
    assert isinstance(empty, Failure)
    assert (huge.reason, huge.byte_size, empty.reason) == ("too_large", MOST + 1, "empty")
    assert rows == {
        "good.jpg": b"1",
        "%2F/etc/abs.jpg": "unsafe_name",
        "%2E%2E/up.jpg": "unsafe_name",
        "link.jpg": "not_a_file",
        "hard.jpg": "not_a_file",
        "pipe.jpg": "not_a_file",
        "inner.tar": "nested_archive",
        "twice.jpg#1": "duplicate_member",
        "twice.jpg": b"new",
    }


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    block = bytearray(512)
    block[: len(name)], block[124 : 124 + len(size)], block[156:157] = name, size, kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b"no tar at all" * 100, "undecodable"),
        (b"\x1f\x8b" + b"x" * 600, "unsupported_archive"),
        (header(b"a.jpg", b"00000002000") + b"x" * 100, "truncated"),
        (header(b"a.jpg", b"00000000001") + b"x" * 512 + header(b"b.jpg", b"0")[:200], "truncated"),
        (header(b"a.jpg", b"00000000001") + b"x" * 512 + b"y" * 512, "undecodable"),
        (header(b"a.jpg", b"-0000000512"), "undecodable"),
        (header(b"a.jpg", b"\xff" * 12), "undecodable"),
        (header(b"a.jpg", b"\x80" + b"\xff" * 11), "truncated"),
        (header(b"x", b"\x80\0\0\0\0\0\0\0\xff\0\0\0", b"x"), "bomb"),
        (header(b"x", b"00000000005", b"x") + b"9999 ".ljust(512, b"\0"), "undecodable"),
        (header(b"x", b"00000000005", b"x") + b"99999".ljust(512, b"\0"), "undecodable"),  # no space in it
        (header(b"x", b"00000000036", b"x") + (b"9" * 25 + b" a=b\n").ljust(512, b"\0"), "undecodable"),
        (header(b"x", b"00000000777", b"L"), "truncated"),
    ],
)
def test_damaged_tar(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    rows = list(list_archive(str(path), IMAGES, access(tmp_path)))
    assert (rows[-1].uri, (rows[-1].fault or "").partition(":")[0]) == (str(path), reason)
    assert rows[-1].byte_size is None  # without marks, a full listing is refused


@pytest.mark.parametrize("mode", ["w", "w|"])
def test_empty_tar(tmp_path: Path, mode: str) -> None:
    tarfile.open(tmp_path / "a.tar", mode).close()
    (row,) = list_archive(str(tmp_path / "a.tar"), IMAGES, access(tmp_path))
    assert ((row.fault or "").partition(":")[0], row.byte_size) == ("empty", "10240")


@pytest.mark.parametrize("kind", [b"g", b"x"])
def test_huge_headers_are_not_held_in_memory(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        for nth in range(64):
            text = b"%d %s=%s%d.jpg\n" % (200_000, b"k%d" % nth if kind == b"g" else b"path", b"x" * 200_000, nth)
            text = text.replace(b"200000", b"%d" % len(text), 1)
            file.write(header(b"x", b"%011o" % len(text), kind) + text.ljust(-(-len(text) // 512) * 512, b"\0"))
            file.write(header(b"a.jpg", b"0"))
        file.write(b"\0" * 1024)
    tracemalloc.start()
    try:
        found = list(list_archive(str(path), IMAGES, access(tmp_path)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000 < path.stat().st_size // 2
    assert len({row.uri for row in found}) == 64
    assert {(row.fault or "").partition(":")[0] for row in found} == (
        {"", "duplicate_member"} if kind == b"g" else {"unsafe_name"}
    )


def test_shared_header_of_a_sparse_member(tmp_path: Path) -> None:
    path, text = tmp_path / "a.tar", b"22 GNU.sparse.major=1\n"
    blocks = header(b"x", b"%011o" % len(text), b"g") + text.ljust(512, b"\0") + header(b"a.jpg", b"0")
    path.write_bytes(blocks + b"\0" * 1024)
    assert reasons(path) == {"a.jpg": "unsupported_archive"}


def test_tar_without_an_end_and_with_junk_behind_it(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", [("a.jpg", b"x" * 512), ("b.jpg", b"y" * 600)]).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[: 4 * 512 + 1024 - 512])  # cut exactly behind the last block of b.jpg
    (tmp_path / "c.tar").write_bytes(whole + b"junk")
    assert reasons(tmp_path / "b.tar") == {"a.jpg": None, "b.jpg": None, "": "truncated"}
    assert reasons(tmp_path / "c.tar") == {"a.jpg": None, "b.jpg": None}


def patched(path: Path, *changes: tuple[bytes, int, bytes]) -> Path:
    """A ZIP archive in which fields of the first directory entry are changed: (mark, offset from it, bytes)."""
    data = bytearray(path.read_bytes())
    for mark, offset, value in changes:
        at = data.find(mark)
        data[at + offset : at + offset + len(value)] = value
    path.write_bytes(data)
    return path


ENTRY, LOCAL, END = b"PK\1\2", b"PK\3\4", b"PK\5\6"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([(ENTRY, 8, b"\1\0")], "encrypted"),
        ([(ENTRY, 10, b"\x0e\0")], "unsupported_archive"),
        ([(ENTRY, 16, b"\0\0\0\0")], "undecodable"),  # the checksum
        ([(ENTRY, 24, b"\x10\0\0\0")], "bomb"),  # unpacks to more than it says
        ([(ENTRY, 24, b"\0\0\x0f\0")], "truncated"),  # and to less
        ([(ENTRY, 24, b"\xf0\xff\xff\x7f")], "too_large"),
        ([(ENTRY, 20, b"\xf0\xff\xff\0")], "bomb"),  # stored in far more bytes than it has
        ([(ENTRY, 42, b"\xf0\xff\0\0")], "truncated"),  # lies behind the directory
        ([(LOCAL, 0, b"PK\0\0")], "undecodable"),  # no member begins there
        ([(LOCAL, 40, b"\xff\xff\xff\xff")], "undecodable"),  # the deflated bytes
        ([(ENTRY, 5, b"\3"), (ENTRY, 38, b"\0\0\xff\xa1")], "not_a_file"),  # a symbolic link
    ],
)
def test_hostile_zip_members(tmp_path: Path, changes: list[tuple[bytes, int, bytes]], reason: str) -> None:
    path = patched(write_zip(tmp_path / "a.zip", [("a.jpg", b"picture " * 1000), ("b.jpg", b"good")]), *changes)
    assert reasons(path) == {"a.jpg": reason, "b.jpg": None}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([(END, 0, b"PK\0\0")], "truncated"),
        ([(LOCAL, 0, b"PK\0\0"), (END, 0, b"PK\0\0")], "undecodable"),
        ([(END, 4, b"\2\0\1\0")], "unsupported_archive"),
        ([(END, 16, b"\0\0\xff\xff")], "truncated"),
        ([(END, 10, b"\xff\xfe")], "truncated"),
        ([(END, 10, b"\0\0")], "truncated"),  # it names fewer members than it has
        ([(ENTRY, 0, b"PK\0\0")], "truncated"),
    ],
)
def test_damaged_zip(tmp_path: Path, changes: list[tuple[bytes, int, bytes]], reason: str) -> None:
    path = patched(write_zip(tmp_path / "a.zip", [("a.jpg", b"picture")]), *changes)
    rows = list(list_archive(str(path), IMAGES, access(tmp_path)))
    assert (rows[-1].uri, (rows[-1].fault or "").partition(":")[0]) == (str(path), reason)
    assert rows[-1].byte_size is None


@pytest.mark.parametrize("offset", [1 << 32, 1 << 63, (1 << 64) - 1])
def test_zip64_directory_beyond_the_end(tmp_path: Path, offset: int) -> None:
    path = write_zip(tmp_path / "a.zip", [("a.jpg", b"picture")])
    data = path.read_bytes()
    at = data.find(END)
    path.write_bytes(data[:at] + struct.pack("<4sIQI", b"PK\6\7", 0, offset, 1) + data[at:])
    assert reasons(path) == {"": "undecodable"}


def test_zip_member_of_more_bytes_than_a_file_can_have(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"picture")
        info = archive.infolist()[0]
        info.file_size = 1 << 63  # the directory is written when the archive is closed
    assert reasons(path) == {"a.jpg": "undecodable"}


def test_any_error_of_an_index_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    size = b"\x80" + b"\xff" * 20_000  # not digits, and a number of more digits than Python writes
    record = b" size=" + size + b"\n"
    record = b"%d" % (len(record) + 5) + record
    path.write_bytes(
        header(b"x", b"%011o" % len(record), b"x") + record.ljust(40 * 512, b"\0") + header(b"a.jpg", b"0")
    )
    assert reasons(path) == {"": "undecodable"}


def test_an_archive_whose_first_bytes_cannot_be_read_is_a_row() -> None:
    path = Path(f"/proc/{os.getpid()}/mem")  # a regular file that can be opened, and gives EIO where it is read
    [row] = list_archive(str(path), IMAGES, access(path.parent))
    assert (row.fault or "").startswith("unreadable: OSError: [Errno 5]")
    assert row.byte_size is None


def test_zip_of_overlapping_members(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", [("a.jpg", b"x" * 90), ("b.jpg", b"y" * 90), ("c.jpg", b"z")])
    data = bytearray(path.read_bytes())
    second = data.find(ENTRY, data.find(ENTRY) + 4)
    data[second + 42 : second + 46] = struct.pack("<I", 0)  # b.jpg lies where a.jpg does
    path.write_bytes(data)
    assert reasons(path) == {"a.jpg": "bomb", "b.jpg": "bomb", "c.jpg": None}


def test_zip_bomb_costs_no_more_than_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.jpg", "w") as member:
        for _ in range(64):
            member.write(b"\0" * MOST)
    assert path.stat().st_size < 1 << 17
    assert reasons(path) == {"a.jpg": "too_large"}
    patched(path, (ENTRY, 24, struct.pack("<I", MOST)))  # it says that it is small
    assert reasons(path) == {"a.jpg": "bomb"}


def test_truncated_archives_give_what_is_whole(tmp_path: Path) -> None:
    members = [(f"{nth}.jpg", np.random.default_rng(nth).bytes(700)) for nth in range(5)]
    whole = write_tar(tmp_path / "a.tar", members).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: 512 * 7 + 30])
    assert reasons(tmp_path / "cut.tar") == {"0.jpg": None, "1.jpg": None, "2.jpg": "truncated", "": "truncated"}


def test_access_rules_hold(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    write_tar(outside / "a.tar", [("secret.jpg", b"x")])
    (inside / "a.tar").symlink_to(outside / "a.tar")
    assert reasons(inside / "a.tar", inside) == {"": "not_allowed"}
    place = MemberPlace(str(inside / "a.tar"), version_of(os.stat(inside / "a.tar")), "tar", at=512, byte_size=1)
    read = MemberReader(access(inside))(place, MOST)
    assert isinstance(read, Failure)
    assert read.reason == "not_allowed"
    assert reasons(inside / "a.tar", tmp_path) == {"secret.jpg": None}
    assert access(inside).looks_refused(f"{outside}/a.tar!/{inside}/x.jpg")
    assert not access(inside).looks_refused(f"{inside}/a.tar!/x.jpg")
    assert not access(inside).looks_refused(f"{inside}!/id")  # a row of a folder of Parquet files


def test_an_archive_that_changed_since_it_was_listed_is_not_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"x")])
    (row,) = list_archive(str(path), IMAGES, access(tmp_path))
    write_tar(path, [("b.jpg", b"yy")])
    os.utime(path, ns=(1, 1))
    read = MemberReader(access(tmp_path))(MemberPlace(**json.loads(row.place or "")), MOST)
    assert isinstance(read, Failure)
    assert (read.reason, "changed" in read.message) == ("unreadable", True)


def test_columns_without_bytes() -> None:
    picture = T.StructType().add("bytes", T.BinaryType()).add("path", T.StringType())
    fields = (
        T.StructType()
        .add("image", picture)
        .add("Mask", picture)
        .add("thumb", T.BinaryType())
        .add("label", T.LongType())
    )
    fields = fields.add("image_id", T.BinaryType()).add("path", T.StructType().add("x", T.LongType()))
    assert without_bytes(fields) == ["label", "image_id", "path"]


@pytest.mark.parametrize("name", [PLACE, f" {PLACE}", f"{PLACE.upper()}\t", f"\u00a0{PLACE}"])
def test_no_column_of_a_manifest_says_where_a_member_lies(name: str) -> None:
    manifest = Frame({"uri": ["/a"], name: ['{"file": "/etc/passwd"}']})
    assert without_place(manifest).columns == ["uri"]  # type: ignore[arg-type]
    assert without_place(manifest.drop(name)).columns == ["uri"]  # type: ignore[arg-type]


class TestRows:
    def place(self, path: Path, row: int, group: int, column: str = "image.bytes") -> MemberPlace:
        return MemberPlace(str(path), version_of(path.stat()), "parquet", column, group, row)

    def test_rows_in_any_order(self, tmp_path: Path) -> None:
        images = [(bytes([nth]) * (nth + 1), f"{nth}.jpg") for nth in range(40)]
        path = write_hf(tmp_path / "a.parquet", images, 12)
        read = MemberReader(access(tmp_path))
        order = [0, 1, 5, 11, 12, 30, 39, 3, 3, 2, 38]
        got = [read(self.place(path, row, row // 12), MOST) for row in order]
        assert got == [images[row][0] for row in order]

    def test_bad_rows(self, tmp_path: Path) -> None:
        path = write_hf(tmp_path / "a.parquet", [(None, "a"), (b"", "b"), (b"x" * (MOST + 1), "c"), (b"x", "d")], 9)
        read = MemberReader(access(tmp_path))
        got = [read(self.place(path, row, 0), MOST) for row in (0, 1, 2, 3, 4)]
        assert [one.reason if isinstance(one, Failure) else one for one in got] == [
            "empty", "empty", "too_large", b"x", "truncated",
        ]  # fmt: skip
        for column, group in (("other", 0), ("image.bytes", 7)):
            bad = read(self.place(path, 0, group, column), MOST)
            assert isinstance(bad, Failure)
        assert read(self.place(path, 3, 0), MOST) == b"x"

    def test_large_and_plain_binary(self, tmp_path: Path) -> None:
        for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
            buffer = io.BytesIO()
            pq.write_table(pa.table({"jpg": pa.array([b"a", b"b"], kind)}), buffer)
            (tmp_path / "b.parquet").write_bytes(buffer.getvalue())
            assert MemberReader(access(tmp_path))(self.place(tmp_path / "b.parquet", 1, 0, "jpg"), MOST) == b"b"

    def test_a_row_group_need_not_fit_in_memory(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        path = write_hf(
            tmp_path / "a.parquet", ((rng.bytes(400_000), None) for _ in range(250)), 250, write_batch_size=4
        )
        assert path.stat().st_size > 90_000_000
        read, before = MemberReader(access(tmp_path)), pa.default_memory_pool()
        pool = pa.proxy_memory_pool(before)
        pa.set_memory_pool(pool)
        try:
            assert {len(read(self.place(path, row, 0), MOST)) for row in range(0, 250, 7)} == {400_000}
        finally:
            del read  # its buffers are of the pool, so they go first
            pa.set_memory_pool(before)
        assert 400_000 < pool.max_memory() < 20_000_000
