"""HEIC and HEIF: pillow-heif decodes them where the extra `heif` is installed.

It is an extra because the binary wheels of pillow-heif are under the GPL (they hold x265), and dupelake is not.
"""

from __future__ import annotations

NO_DECODER = (
    "it is HEIC or HEIF, and the Python that decodes has no pillow-heif; install it there (pip install "
    "'dupelake[heif]', on a cluster for every worker)"
)
# Brands of ISO/IEC 23008-12, annex B, and of their sequences. Pillow reads AVIF itself, also with the brand mif1.
_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))


def can_decode() -> bool:
    """Makes Pillow decode HEIC and HEIF; false where pillow-heif is not installed."""
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        if error.name != "pillow_heif":
            raise
        return False
    pillow_heif.register_heif_opener()
    return True


def is_heif(data: bytes) -> bool:
    """Whether the first box of `data` says that it is HEIC or HEIF."""
    return data[4:8] == b"ftyp" and data[8:12] in _BRANDS
