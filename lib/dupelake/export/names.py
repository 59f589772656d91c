"""File names for other tools, made of the URIs of images."""

from __future__ import annotations

from dupelake.ingest.uris import local_path


def path_of(uri: str, *, is_member: bool = False) -> str | None:
    """The absolute path of a local file, with bytes that are not UTF-8 as surrogates; None for other URIs.

    Args:
        uri: of an image, a file or a folder.
        is_member: of an image: it lies inside of another file, so that its URI is no path.
    """
    path = None if is_member else local_path(uri)
    return path if path is not None and path.startswith("/") else None


def text_path_of(uri: str, is_member: bool) -> str | None:
    """The path of a local file; None for other images, and where the name is not UTF-8."""
    path = path_of(uri, is_member=is_member)
    return path if path is not None and is_text(path) else None


def name_of(uri: str, is_member: bool, folder: str | None) -> str:
    """What a tool calls an image: its path, relative to `folder` if it lies in it; the URI if it is no local file.

    Args:
        uri: of the image.
        is_member: it lies inside of another file.
        folder: an absolute path.
    """
    path = path_of(uri, is_member=is_member)
    if path is None:
        return uri
    if folder is None:
        return path
    inside = folder.rstrip("/") + "/"
    return path[len(inside) :].lstrip("/") if path.startswith(inside) else path


def text_name_of(uri: str, is_member: bool, folder: str | None) -> str:
    """`name_of`, or the URI where the name is not UTF-8."""
    name = name_of(uri, is_member, folder)
    return name if is_text(name) else uri


def is_text(name: str) -> bool:
    """Whether a name has no surrogates, so that it can be written as UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
