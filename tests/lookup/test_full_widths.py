"""Sizes of pictures whose bytes no image has any more, but whose pixels one has; no Spark."""

from __future__ import annotations

import pytest
from deltalake import DeltaTable
from made_lake import make_night
from pictures import photograph
from serving import encoded

import dupelake
from dupelake.fingerprint.fingerprint import content_id
from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER

WHOLE = photograph("rocket.jpg", 640)
CROP = encoded(WHOLE.crop((160, 60, 480, 380)))


def files_of_equal_pixels() -> list[bytes]:
    """Two JPEG files that differ in a comment; in the order of their content ids."""
    data = encoded(WHOLE, "JPEG", quality=90)
    return sorted((data, encoded(WHOLE, "JPEG", quality=90, comment=b"another")), key=content_id)


@pytest.mark.parametrize("is_given", [False, True], ids=["stored", "given"])
def test_the_scale_is_that_of_an_image_with_equal_pixels(tmp_path, is_given):
    root, uri = tmp_path / "lake", str(tmp_path / "whole.jpg")
    first, second = files_of_equal_pixels()
    make_night(root, {uri: first} | ({"/crop.png": CROP} if is_given else {}))
    DeltaTable(str(root / "images")).delete(f"uri = '{uri}'")
    make_night(root, {} if is_given else {uri: second}, 2)
    # The first content stands for both while an image has their pixels.
    left = content_id(first if is_given else second)
    DeltaTable(str(root / "joined")).delete(f"content_id = '{left}'")
    make_night(root, {}, 3)
    build_index(str(root), root / FOLDER)
    (found,) = dupelake.check(second if is_given else CROP, root)
    scales = [pair.row["scale"] for pair in found.pairs if pair.row["scale"] is not None]
    assert scales == [pytest.approx(1.0, abs=0.02)]
