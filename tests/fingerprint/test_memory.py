"""Memory for decoding and hashing, by format, measured in a child process; the figures of docs/operations.md."""

from __future__ import annotations

import io
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from dupelake.config import DecodeConfig, HashConfig
from dupelake.fingerprint.decode import decode
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.fingerprint.memory import MIB, needed_bytes
from dupelake.ingest.failure import Failure

SIDE = 3000
PIXELS = SIDE * SIDE
ROOT = Path(__file__).parents[2]

# The child: decodes a picture under a limit of additional address space, and prints the memory that it used.
CHILD = """
import io, resource, sys
import numpy as np
from PIL import Image
from dupelake.config import DecodeConfig, HashConfig
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.fingerprint.isolate import _address_space

path, side, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
small = io.BytesIO()
Image.effect_noise((300, 300), 50).save(small, "PNG")
cfg = DecodeConfig(reduced_jpeg_min_side_px=side)
fingerprint_image(small.getvalue(), cfg, HashConfig())
def status(key):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(key))
held = _address_space()
resource.setrlimit(resource.RLIMIT_AS, (held + limit, resource.RLIM_INFINITY))
data = open(path, "rb").read()
result = fingerprint_image(data, cfg, HashConfig(), max_memory_bytes=limit)
print("ok" if isinstance(result, Fingerprint) else result.message, status("VmPeak") - held)
"""


def picture() -> np.ndarray:
    y, x = np.ogrid[0:SIDE, 0:SIDE]
    wave = (127 + 80 * np.sin(x / 300) * np.cos(y / 210) + (x // 37 + y // 53) % 40).astype(np.uint8)
    return np.dstack([wave, wave[::-1], wave[:, ::-1]])


def pillows(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def one_strip(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, metadata=None, compression="zlib", rowsperstrip=SIDE, **options)
    return out.getvalue()


def with_alpha(rgb: np.ndarray, level: int | None = None) -> Image.Image:
    shown = rgb if level is None else np.full_like(rgb, level)
    return Image.fromarray(np.dstack([shown, rgb[:, :, 0]]))


FAST = {"compress_level": 1}
# kind: (how it is made, bytes a pixel at most in all); 7 is the decoder's 4 and the one copy of 3
KINDS: dict[str, tuple[Callable[[np.ndarray], bytes], float]] = {
    "PNG grey 16 bits": (lambda a: pillows(Image.fromarray(a[:, :, 0].astype(np.uint16) * 257), "PNG", **FAST), 6.5),
    "PNG RGB": (lambda a: pillows(Image.fromarray(a), "PNG", **FAST), 8.0),
    "PNG RGB 16 bits": (lambda a: cv2.imencode(".png", a.astype(np.uint16) * 257)[1].tobytes(), 8.0),
    "PNG white RGBA": (lambda a: pillows(with_alpha(a, 255), "PNG", **FAST), 9.0),
    "TIFF CMYK": (lambda a: pillows(Image.fromarray(a).convert("CMYK"), "TIFF", compression="tiff_lzw"), 9.0),
    "TIFF float": (lambda a: one_strip(a[:, :, 0].astype(np.float32) * 3), 9.0),
    "TIFF RGB 16 bits": (lambda a: one_strip(a.astype(np.uint16) * 257, photometric="rgb"), 10.5),
    "JPEG": (lambda a: pillows(Image.fromarray(a), "JPEG"), 7.0),
    "JPEG progressive 4:4:4": (lambda a: pillows(Image.fromarray(a), "JPEG", progressive=True, subsampling=0), 13.0),
    "WebP": (lambda a: pillows(Image.fromarray(a), "WEBP", lossless=True, method=0, quality=0), 17.0),
}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return picture()


def child(path: Path, limit: int, side: int = 0) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(side), str(limit)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "lib"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    said, _, taken = done.stdout.strip().rpartition(" ")
    return said, int(taken)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel counts address space")
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_takes_what_its_header_tells(kind: str, pixels: np.ndarray, tmp_path: Path) -> None:
    make, most = KINDS[kind]
    data = make(pixels)
    (tmp_path / "picture").write_bytes(data)
    with Image.open(io.BytesIO(data)) as opened:
        told = needed_bytes(opened, data, 1)
    said, taken = child(tmp_path / "picture", told)  # the limit is the estimate
    assert said == "ok"
    assert taken <= told
    assert taken <= most * PIXELS + 2 * len(data) + 32 * MIB
    result = decode(data, DecodeConfig(reduced_jpeg_min_side_px=0), told - 1)
    assert isinstance(result, Failure)
    assert "guard.max_memory_bytes" in result.message


def test_jpegs_are_forecast_at_the_scale_that_they_are_decoded_at(pixels: np.ndarray, tmp_path: Path) -> None:
    for progressive, most in ((False, 5.0), (True, 11.5)):
        data = pillows(Image.fromarray(pixels), "JPEG", progressive=progressive, subsampling=0)
        (tmp_path / "picture").write_bytes(data)
        room = int(most * PIXELS) + 2 * len(data) + 32 * MIB
        said, taken = child(tmp_path / "picture", room, side=1024)
        assert (said, taken <= room) == ("ok", True)


def test_what_is_too_large_for_the_worker_says_so_before_it_is_decoded() -> None:
    data = pillows(Image.new("RGBA", (12_000, 12_000), (9, 9, 9, 99)), "PNG", compress_level=1)  # 144 megapixels
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = fingerprint_image(data, DecodeConfig(), HashConfig(), max_memory_bytes=1024 * MIB)
    assert isinstance(result, Failure)
    assert result.reason == "too_large"
    assert re.search(r"12000 x 12000 pixels of PNG \(RGBA\) take some 10\d\d MiB to decode", result.message)
    assert "guard.max_memory_bytes (1024 MiB)" in result.message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB
    small = fingerprint_image(
        pillows(Image.effect_noise((300, 300), 50), "PNG"), DecodeConfig(), HashConfig(), None, None, 64 * MIB
    )
    assert isinstance(small, Fingerprint)
