"""PIL images and arrays as they are given to a check: of any mode, turned as EXIF says, or refused as no image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from made_lake import make_night
from pictures import SCENES, photograph
from PIL import Image, ImageCms
from serving import encoded

import dupelake
from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER
from dupelake.lookup.reading import item_of

PICTURE = photograph(SCENES[0], 160)
COLOURS = ("CMYK", "YCbCr", "HSV", "RGBa", "RGBX", "LAB")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("given") / "lake"
    make_night(made, {"/photos/a.png": encoded(PICTURE)})
    build_index(str(made), made / FOLDER)
    return made


def in_mode(mode: str) -> Image.Image:
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        return ImageCms.applyTransform(PICTURE, to_lab)
    before = {"RGBa": "RGBA", "PA": "L", "LA": "L"}.get(mode, "RGB" if mode in COLOURS else "L")
    return PICTURE.convert(before).convert(mode)


@pytest.mark.parametrize("mode", [*COLOURS, "I", "F", "PA", "L", "LA", "P", "RGB", "RGBA"])
def test_a_picture_of_any_mode_is_checked(root, mode):
    (answer,) = dupelake.check(in_mode(mode), root)
    assert answer.status == "copy", answer.describe()


@pytest.mark.parametrize(("mode", "kept"), [("RGBa", "RGBA"), ("PA", "RGBA"), ("CMYK", "RGB"), ("I;16", "I;16")])
def test_alpha_and_deep_samples_are_kept(mode, kept):
    data = item_of(in_mode(mode), 1).data
    assert data is not None
    assert Image.open(io.BytesIO(data)).mode == kept


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_was_opened_is_turned_as_its_file_says(root, orientation):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x112] = orientation
    PICTURE.save(buffer, "JPEG", quality=95, exif=exif)
    (of_file,), (of_picture,) = (
        dupelake.check(given, root) for given in (buffer.getvalue(), Image.open(io.BytesIO(buffer.getvalue())))
    )
    assert (of_picture.status, of_picture.group.row["kind"]) == (of_file.status, of_file.group.row["kind"])


def test_the_name_of_an_opened_file_stays(tmp_path):
    PICTURE.save(tmp_path / "a.tif", "TIFF")
    with Image.open(tmp_path / "a.tif") as opened:
        assert item_of(opened, 1).name == str(tmp_path / "a.tif")
    assert item_of(PICTURE, 7).name == "image 7"


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((40, 40), np.int32),
        np.zeros((40, 40), np.float32),
        np.zeros((40, 40), np.int64),
        np.zeros((40, 40, 3), np.float64),
        np.zeros((40, 40, 3), np.uint16),
        np.zeros((0, 40, 3), np.uint8),
        np.zeros((1, 40, 40, 3), np.uint8),
        Image.new("F", (40, 40), 1000.0),
        Image.new("I", (40, 40), -1),
        Image.new("RGB", (0, 40)),
    ],
    ids=lambda given: f"{given.dtype}{given.shape}" if isinstance(given, np.ndarray) else f"{given.mode}{given.size}",
)
def test_what_is_no_picture_is_refused_by_its_number(given):
    with pytest.raises(TypeError, match=r"^image 3 .*; give a path, bytes, a PIL image or a numpy array"):
        item_of(given, 3)


def test_a_picture_that_cannot_be_read_to_its_end_is_refused():
    with pytest.raises(TypeError, match=r"^image 1 .*truncated"):
        item_of(Image.open(io.BytesIO(encoded(PICTURE)[:9000])), 1)


def test_images_of_one_call_that_are_copies_of_each_other_are_named(root):
    other = photograph(SCENES[1], 160)
    answers = dupelake.check([other, photograph(SCENES[2], 160), other.resize((120, 120))], root)
    assert [answer.status for answer in answers] == ["new"] * 3
    assert [[one["image"] for one in answer.in_folder] for answer in answers] == [[], [], ["image 1"]]
