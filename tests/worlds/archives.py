"""Archives and Parquet files of images for tests, well formed and hostile."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HF = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mtime = len(data), kind, link, 1_700_000_000
    archive.addfile(info, io.BytesIO(data))


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], layout: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=layout) as archive:
        for name, data in members:
            add(archive, name, data)
    return path


def write_zip(path: Path, members: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


def write_hf(
    path: Path, images: Iterable[tuple[bytes | None, str | None]], rows_per_group: int = 3, **options: Any
) -> Path:
    """A file as Hugging Face writes it: a struct `image` {bytes, path}, and a label."""
    rows = [{"bytes": data, "path": name} for data, name in images]
    table = pa.table({"image": pa.array(rows, HF), "label": pa.array(range(len(rows)), pa.int64())})
    pq.write_table(table, path, row_group_size=rows_per_group, **options)
    return path
