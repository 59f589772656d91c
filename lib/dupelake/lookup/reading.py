"""Reads images as a night does: bytes, guard, decoding, hashes, features, and an embedding where nights make one."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from dupelake.embed.stage import has_few_words
from dupelake.errors import VersionMixError
from dupelake.fingerprint.fingerprint import Fingerprint
from dupelake.fingerprint.memory import Room, share_bytes
from dupelake.fingerprint.stage import Hasher, told_message
from dupelake.frames.frame import Frame
from dupelake.frames.functions import F, locally
from dupelake.ingest.access import Access
from dupelake.ingest.failure import Failure
from dupelake.ingest.identity_stage import uri_id
from dupelake.ingest.trees import list_folder
from dupelake.ingest.uris import local_path, plain_uri, text_uri
from dupelake.lookup.index import Index
from dupelake.lookup.night import Given
from dupelake.words.vocabulary import load_vocabulary

_OF_PNG = ("1", "L", "LA", "I;16", "I;16B", "P", "RGB", "RGBA")  # the modes that Pillow writes
_WHITE = 255

Source = Any
"""A path, bytes, a PIL image, or uint8 (h, w, 3) or (h, w) pixels."""


@dataclass(frozen=True)
class Item:
    """One image to check.

    Attributes:
        name: as the answer names it: as it was given, or its `uri` if that is no text.
        uri: that a manifest would give it; None for pixels and bytes.
        data: the bytes; None to read the file.
    """

    name: str
    uri: str | None
    data: bytes | None


def item_of(source: Source, number: int) -> Item:
    """The item of one source; pixels are encoded as PNG, which keeps those of its modes.

    Raises:
        TypeError: it is no image.
    """
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        return Item(text_uri(path), text_uri(os.path.abspath(local_path(path) or path)), None)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Item(f"image {number}", None, bytes(source))
    from PIL import Image

    fix = "give a path, bytes, a PIL image or a numpy array (uint8)"
    if not isinstance(source, (np.ndarray, Image.Image)):
        raise TypeError(f"image {number} is a {type(source).__name__}; {fix}")
    try:
        data = _png_of(source)
    except (OSError, TypeError, ValueError) as error:
        raise TypeError(f"image {number} cannot be taken ({error}); {fix}") from error
    file = os.fsdecode(getattr(source, "filename", ""))
    return Item(text_uri(file) if file else f"image {number}", None, data)


def _png_of(source: Any) -> bytes:
    """An array, or a PIL image turned as its EXIF data say, as PNG."""
    from PIL import Image, ImageOps

    if isinstance(source, np.ndarray):
        picture = Image.fromarray(source)
    else:
        picture = ImageOps.exif_transpose(source)
        if picture.mode in ("I", "F") and not all(0 <= end <= _WHITE for end in cast(Any, picture.getextrema())):
            raise ValueError(f"samples of mode {picture.mode} are not between 0 and {_WHITE}")
        if picture.mode not in _OF_PNG:
            picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def files_of(paths: Sequence[str], extensions: Sequence[str]) -> Iterator[str]:
    """The given files, and the files below the given folders, as a run would list them.

    A folder that cannot be listed is among them: reading it fails, so that it is not left out silently.
    """
    endings = tuple(f".{one.lower().lstrip('.')}" for one in extensions)
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for file in list_folder(os.path.abspath(path), deep=True):
            is_closed = file.byte_size is None
            if is_closed or not endings or file.uri.lower().endswith(endings):
                yield file.uri


class Reader:
    """Reads images in a guarded child process, until it is closed.

    Args:
        index: its options decide how images are read.
        n_processes: of this machine that read at the same time, for their share of memory.
        timeout_s: for one image; None for guard.timeout_s.
    """

    def __init__(self, index: Index, n_processes: int = 1, timeout_s: float | None = None) -> None:
        self._index, self._config = index, index.config
        cfg = index.config
        if timeout_s is not None:
            cfg = replace(cfg, guard=replace(cfg.guard, timeout_s=timeout_s))
        most = cfg.guard.max_memory_bytes or share_bytes(Room(tasks=n_processes))
        # Who checks a file may read it: all folders are allowed.
        self._hasher = Hasher(cfg, load_vocabulary(cfg.features.vocabulary), Access(cfg.fetch, ("/",)), most)
        self._embedder: Any = None

    def close(self) -> None:
        """End the child process."""
        self._hasher.__exit__()

    def read(self, item: Item, scope: str) -> Given | Failure:
        """The image with its fingerprint and embedding, or why it cannot be read."""
        shown, file_id = self._hasher.fingerprint(item.uri, item.data)
        if isinstance(shown, Failure):
            return Failure(shown.reason, told_message(shown.message), shown.content_id, shown.byte_size)
        uri = item.uri or f"check:{shown.content_id}"
        image_id = image_id_of(uri, scope, self._config.manifest.default_scope)
        return Given(item.name, image_id, uri, scope, file_id, shown, self._embedding(shown))

    def _embedding(self, shown: Fingerprint) -> bytes | None:
        if self._index.centre is None:
            return None
        if not self._index.manifest.embeds_all and not _has_few_words(shown):
            return None
        from dupelake.embed import embedding

        if self._embedder is None:
            embedding.limit_threads(1)  # a vector on one thread does not depend on the batch
            self._embedder = self._loaded()
        vectors, errors = self._embedder.embed_jpegs([shown.thumbnail_bytes])
        return None if errors[0] else embedding.to_float16_bytes(vectors)[0]

    def _loaded(self) -> Any:
        from dupelake.embed.embedding import get_embedder

        found = get_embedder(self._config.embed, None, 1)
        held = self._index.manifest.versions
        if (found.model_id, found.preprocess_id) != (held["model"], held["preprocess"]):
            raise VersionMixError(
                f"the warehouse has embeddings of {held['model']} ({held['preprocess']}), and embed.model loads "
                f"{found.model_id} ({found.preprocess_id}); install the same packages and model files"
            )
        return found


def image_id_of(uri: str, scope: str, default_scope: str) -> str:
    """The id that a night gives an image whose manifest names no id."""
    rows = Frame.of_rows([{"scope": scope, "plain": plain_uri(uri)}], ["scope", "plain"])
    with locally():
        return str(rows.select(uri_id(F.col("scope"), F.col("plain"), default_scope).alias("id")).named("id")[0])


def _has_few_words(shown: Fingerprint) -> bool:
    error = shown.features_error
    rows = Frame.of_rows([{"n_keypoints": None if error else shown.n_keypoints}], ["n_keypoints"])
    with locally():
        return bool(cast(Any, has_few_words()).values(rows)[0])
