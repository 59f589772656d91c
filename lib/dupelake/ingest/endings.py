"""What the ending of a file's name says: an image, an archive, a companion of images. No Spark."""

from __future__ import annotations

from collections.abc import Iterable

_IMAGES = (
    "jpg jpeg jpe jfif jp2 j2k jxl png apng gif webp avif heic heif tif tiff bmp dib ico svg psd tga pcx "
    "ppm pgm pbm pnm exr hdr dds dng cr2 cr3 nef arw orf rw2 raf raw dcm"
)
# Companion files (README, checksums, logs): a folder of manifests may hold them.
_COMPANIONS = "md txt rst html htm pdf log crc md5 sha1 sha256 sha512 sig asc ini lnk xml yaml yml tmp bak"
_ARCHIVES = "tar tgz tbz tbz2 txz tzst gz bz2 xz zst zip cbz 7z rar parquet pq"
IMAGES, COMPANIONS, ARCHIVES = (frozenset(words.split()) for words in (_IMAGES, _COMPANIONS, _ARCHIVES))


def ending(name: str) -> str:
    """The ending of a file name in lower case, without its dot; "" if there is none."""
    return name.rsplit(".", 1)[-1].lower() if "." in name else ""


def plain_endings(extensions: Iterable[str]) -> frozenset[str]:
    """Endings as `ending` gives them, of `jpg`, `.JPG` and the like."""
    return frozenset(one.lower().lstrip(".") for one in extensions)
