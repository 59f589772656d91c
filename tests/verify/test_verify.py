"""Verification of pairs by the shipped decision: edits of photographs pass, pictures that share only a part do not."""

from __future__ import annotations

import functools
import io

import cv2
import numpy as np
import pytest
from pictures import photograph
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from shipped_rule import is_same

from dupelake.fingerprint.fingerprint import encode_thumbnail, make_thumbnail, to_grey
from dupelake.verify.pair import Alignment, pair_seed, verify_pair
from dupelake.verify.picture import Picture
from dupelake.words.keypoints import extract_features

SIZE = (480, 360)


@functools.cache
def scene(name: str) -> Image.Image:
    return ImageOps.fit(photograph(name, 600), SIZE, Image.Resampling.LANCZOS)


def prepared(image: Image.Image) -> Picture:
    """The picture as the hash stage stores it: a JPEG thumbnail and its keypoints."""
    data = encode_thumbnail(make_thumbnail(np.asarray(image.convert("RGB")), 320), 92)
    rgb = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return Picture(rgb, extract_features(np.asarray(to_grey(rgb)), 400))


def verified(a: Image.Image, b: Image.Image) -> Alignment | None:
    return verify_pair(prepared(a), prepared(b), 1)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def text(image: Image.Image, xy: tuple[float, float], words: str, size: int, **how) -> Image.Image:
    out = image.copy()
    ImageDraw.Draw(out).text(xy, words, font=ImageFont.load_default(size), **({"fill": (0, 0, 0)} | how))
    return out


def caption(image: Image.Image, words: str = "WHEN IT COMPILES") -> Image.Image:
    out = image.copy()
    w, h = out.size
    ImageDraw.Draw(out).rectangle([0, int(h * 0.86), w, h], fill=(255, 255, 255))
    return text(out, (w * 0.1, h * 0.88), words, int(h * 0.09))


def sticker(image: Image.Image, share: float, at: tuple[float, float] = (0.5, 0.5)) -> Image.Image:
    out = image.copy()
    w, h = out.size
    r = (share * w * h / np.pi) ** 0.5
    x, y = w * at[0], h * at[1]
    draw = ImageDraw.Draw(out)
    draw.ellipse([x - r, y - r, x + r, y + r], fill=(250, 210, 30), outline=(0, 0, 0), width=3)
    draw.ellipse([x - r * 0.5, y - r * 0.4, x - r * 0.2, y - r * 0.1], fill=(0, 0, 0))
    draw.arc([x - r * 0.6, y - r * 0.5, x + r * 0.6, y + r * 0.6], 20, 160, fill=(0, 0, 0), width=4)
    return out


def watermark(image: Image.Image, alpha: float) -> Image.Image:
    layer = Image.new("L", image.size, 0)
    for y in range(0, image.height, 90):
        layer = text(layer, (y % 70, y), "SAMPLE  SAMPLE", image.width // 9, fill=int(255 * alpha))
    return Image.composite(Image.new("RGB", image.size, (255, 255, 255)), image, layer)


def noisy(image: Image.Image, sigma: float) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    return Image.fromarray(
        np.clip(values + np.random.default_rng(3).normal(0, sigma, values.shape), 0, 255).astype(np.uint8)
    )


def curve(image: Image.Image, function) -> Image.Image:
    return Image.fromarray(np.clip(function(np.asarray(image).astype(np.float32)), 0, 255).astype(np.uint8))


def perspective(image: Image.Image, share: float) -> Image.Image:
    w, h = image.size
    start = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    end = start + np.array([[share * w, share * h], [0, 0], [-share * w, -share * h / 2], [0, 0]], np.float32)
    matrix = cv2.getPerspectiveTransform(start, end)
    return Image.fromarray(cv2.warpPerspective(np.asarray(image), matrix, (w, h), borderValue=(255, 255, 255)))


def screenshot(image: Image.Image) -> Image.Image:
    out = Image.new("RGB", (900, 700), (242, 242, 246))
    ImageDraw.Draw(out).rectangle([0, 0, 900, 50], fill=(40, 70, 150))
    out = text(out, (20, 10), "Photos   File   Edit   View", 26, fill=(255, 255, 255))
    for k in range(9):
        out = text(out, (10, 70 + 60 * k), ["Home", "Recent", "Shared", "Trash"][k % 4], 24)
    out.paste(image, (200, 90))
    return out


def collage(*images: Image.Image) -> Image.Image:
    w, h = SIZE[0] // 2, SIZE[1] // 2
    out = Image.new("RGB", (2 * w, 2 * h))
    for k, image in enumerate(images):
        out.paste(image.resize((w, h), Image.Resampling.LANCZOS), (k % 2 * w, k // 2 * h))
    return out


def part(image: Image.Image, x: float, y: float, width: float, height: float) -> Image.Image:
    w, h = image.size
    return image.crop((int(x * w), int(y * h), int((x + width) * w), int((y + height) * h)))


EDITS = {
    "jpeg 10": lambda i: jpeg(i, 10),
    "half": lambda i: i.resize((240, 180), Image.Resampling.LANCZOS),
    "eighth": lambda i: i.resize((60, 45), Image.Resampling.LANCZOS),
    "double": lambda i: i.resize((960, 720), Image.Resampling.BICUBIC),
    "squashed": lambda i: i.resize((300, 360)),
    "crop 50": lambda i: part(i, 0.2, 0.1, 0.7, 0.7),
    "crop 25": lambda i: part(i, 0.3, 0.25, 0.5, 0.5),
    "mirrored": ImageOps.mirror,
    "mirrored crop": lambda i: ImageOps.mirror(part(i, 0.2, 0.1, 0.7, 0.7)),
    "quarter turn": lambda i: i.transpose(Image.Transpose.ROTATE_90),
    "turned 2": lambda i: i.rotate(2, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255)),
    "turned 20": lambda i: i.rotate(-20, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255)),
    "border": lambda i: ImageOps.expand(i, 50, (0, 0, 0)),
    "screenshot": screenshot,
    "collage": lambda i: collage(scene("rocket.jpg"), i, scene("moon.png"), scene("ihc.png")),
    "caption": caption,
    "sticker 10": lambda i: sticker(i, 0.1),
    "watermark": lambda i: watermark(i, 0.25),
    "blur": lambda i: i.filter(ImageFilter.GaussianBlur(4)),
    "noise": lambda i: noisy(i, 25),
    "gamma": lambda i: curve(i, lambda a: 255 * (a / 255) ** 2),
    "grey": lambda i: i.convert("L"),
    "cast": lambda i: curve(i, lambda a: a * np.array([1.2, 1, 0.75])),
    "posterised": lambda i: ImageOps.posterize(i, 3),
    "perspective": lambda i: perspective(i, 0.1),
}


@pytest.mark.parametrize("name", EDITS)
def test_edits_pass_in_either_order(name):
    for source in ("astronaut.png", "coffee.png", "chelsea.png"):
        original = scene(source)
        copy = EDITS[name](original)
        for found in (verified(original, copy), verified(copy, original)):
            assert is_same(found), (source, found)


def wall(background: Image.Image, person: Image.Image, at: float, size: tuple[int, int] = (300, 280)) -> Image.Image:
    """A scene with an oval of another picture in front of it, by default 38 % of the area."""
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).ellipse([0, 0, size[0] - 1, size[1] - 1], fill=255)
    out = background.copy()
    out.paste(ImageOps.fit(person, size), (int(at * 480) - size[0] // 2, 60), mask.filter(ImageFilter.GaussianBlur(2)))
    return out


def page(seed: int, form: bool = False) -> Image.Image:
    rng = np.random.default_rng(seed)
    out = text(Image.new("RGB", (620, 800), (255, 255, 255)), (40, 30), "ANNUAL REPORT OF THE OFFICE", 30)
    draw = ImageDraw.Draw(out)
    font = ImageFont.load_default(17)
    draw.line([40, 80, 580, 80], fill=(20, 40, 120), width=3)
    for k in range(18):
        words = "".join(rng.choice(list("abcdefghi   klmnop   rstuvw"), 58 if not form else 22))
        if form:
            draw.rectangle([220, 96 + 37 * k, 580, 124 + 37 * k], outline=(120, 120, 120))
            draw.text((40, 100 + 37 * k), f"Field number {k}", fill=(0, 0, 0), font=font)
        draw.text((40 if not form else 230, 100 + 37 * k), words, fill=(0, 0, 0), font=font)
    return out


def drawing(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    out = Image.new("RGB", (480, 480), (255, 255, 255))
    draw = ImageDraw.Draw(out)
    for k in range(12):
        x, y, w, h = rng.uniform(20, 250), rng.uniform(20, 250), rng.uniform(30, 200), rng.uniform(30, 200)
        (draw.ellipse if k % 2 else draw.rectangle)([x, y, x + w, y + h], outline=(0, 0, 0), width=3)
    return out


def fence(image: Image.Image) -> Image.Image:
    out = image.copy()
    draw = ImageDraw.Draw(out)
    for k in range(-400, 900, 40):
        draw.line([k, 0, k + 360, 360], fill=(60, 60, 60), width=5)
        draw.line([k, 360, k + 360, 0], fill=(60, 60, 60), width=5)
    return out


def with_part(image: Image.Image, other: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    out = image.copy()
    out.paste(other.resize(box[2:]), box[:2])
    return out


def horizon(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    colours = rng.uniform(60, 230, (2, 3))
    values = np.where(np.arange(360)[:, None, None] < 170, colours[0], colours[1]) + rng.normal(0, 2, (360, 480, 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def stripes(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    across = np.where(np.arange(480)[None, :, None] // 24 % 2, rng.uniform(0, 90, 3), rng.uniform(150, 255, 3))
    return Image.fromarray(np.broadcast_to(across, (360, 480, 3)).astype(np.uint8))


def logo(image: Image.Image) -> Image.Image:
    out = image.copy()
    ImageDraw.Draw(out).rectangle([300, 10, 470, 80], fill=(200, 20, 40))
    return text(out, (315, 15), "BRAND", 48, fill=(255, 255, 255))


A, B, C = (lambda: scene("coffee.png")), (lambda: scene("astronaut.png")), (lambda: scene("chelsea.png"))
LOOK_ALIKES = {
    "two people before one wall": lambda: (wall(A(), B(), 0.5), wall(A(), C(), 0.5)),
    "two smaller people before one patterned wall": lambda: (
        wall(scene("coins.png"), B(), 0.5, (270, 250)),
        wall(scene("coins.png"), A(), 0.5, (270, 250)),
    ),
    "two people at two places before one wall": lambda: (wall(A(), B(), 0.4), wall(A(), C(), 0.6)),
    "one person before two walls": lambda: (wall(A(), B(), 0.5), wall(C(), B(), 0.5)),
    "a poster in common": lambda: (with_part(A(), C(), (250, 40, 200, 150)), with_part(B(), C(), (60, 120, 200, 150))),
    "a logo in common": lambda: (logo(A()), logo(B())),
    "a caption in common": lambda: (caption(A()), caption(B())),
    "another page": lambda: (page(1), page(2)),
    "another form": lambda: (page(1, form=True), page(2, form=True)),
    "another form, compressed": lambda: (page(1, form=True), jpeg(page(2, form=True), 40)),
    "another drawing": lambda: (drawing(1), drawing(2)),
    "another scene behind one fence": lambda: (fence(A()), fence(B())),
    "other content in one application": lambda: (screenshot(A()), screenshot(B())),
    "a quarter of a collage in common": lambda: (
        collage(A(), B(), scene("moon.png"), scene("rocket.jpg")),
        collage(A(), scene("coins.png"), C(), scene("ihc.png")),
    ),
    "a frame in common": lambda: (
        *(ImageOps.expand(ImageOps.expand(i, 36, (90, 60, 30)), 20, (200, 170, 60)) for i in (A(), B())),
    ),
    "one horizon": lambda: (horizon(1), horizon(2)),
    "stripes": lambda: (stripes(1), stripes(2)),
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_shares_only_a_part_is_not_the_same(name):
    first, second = LOOK_ALIKES[name]()
    for found in (verified(first, second), verified(second, first)):
        assert not is_same(found), found


@pytest.mark.parametrize(
    "edit",
    [lambda i: jpeg(i, 10), lambda i: i.resize((310, 400), Image.Resampling.LANCZOS), ImageOps.mirror],
    ids=["jpeg 10", "half", "mirrored"],
)
def test_copies_of_documents_and_drawings_still_pass(edit):
    for original in (page(1), page(1, form=True), drawing(1)):
        assert is_same(verified(original, edit(original)))


@pytest.mark.parametrize(("degrees", "mirror"), [(0, False), (90, False), (12, False), (-35, True), (180, True)])
def test_scale_turn_and_mirror_are_those_of_the_edit(degrees, mirror):
    original = scene("astronaut.png")
    copy = ImageOps.mirror(original) if mirror else original
    # PIL turns counter-clockwise
    copy = copy.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255))
    found = verified(original, copy)
    assert is_same(found)
    assert found.is_mirrored is mirror
    assert abs((found.rotation_degrees - degrees + 180) % 360 - 180) < 0.5
    assert found.scale == pytest.approx(480 / max(copy.size), rel=0.01)  # thumbnails: 320 of 480, 320 of the copy
    back = verified(copy, original)
    assert back.scale == pytest.approx(1 / found.scale, rel=0.01)


def test_overlaps_are_shares_of_the_content():
    original = scene("coffee.png")
    cut = verified(original, part(original, 0.25, 0.1, 0.5, 0.8))
    assert cut.src_overlap == pytest.approx(0.4, abs=0.01)
    assert cut.dst_overlap == pytest.approx(1.0, abs=0.01)
    framed = verified(original, ImageOps.expand(original, 60, (0, 0, 0)))  # a border is no content
    assert framed.src_overlap > 0.97
    assert framed.dst_overlap > 0.97
    shown = verified(original, collage(scene("rocket.jpg"), original, scene("moon.png"), scene("ihc.png")))
    assert shown.src_overlap > 0.98
    assert shown.dst_overlap == pytest.approx(0.25, abs=0.01)


def test_pixels_without_a_keypoint_suffice_where_nothing_differs():
    original = scene("coffee.png").filter(ImageFilter.GaussianBlur(12))
    small = original.resize((120, 90), Image.Resampling.LANCZOS)
    found = verified(original, small)
    assert found.n_inliers == 0
    assert is_same(found)


@pytest.mark.parametrize("colours", [((9, 9, 9), (9, 9, 9)), ((0, 0, 0), (255, 255, 255))])
def test_blank_pictures_are_never_aligned(colours):
    first, second = (Image.new("RGB", (300, 200), c) for c in colours)
    assert not is_same(verified(first, second))
    assert not is_same(verified(first, scene("coffee.png")))


@pytest.mark.parametrize("size", [(1, 1), (320, 1), (3, 200), (16, 16)])
def test_tiny_and_thin_pictures_are_no_error(size):
    tiny = scene("coffee.png").resize(size)
    for pair in ((tiny, tiny), (tiny, scene("coffee.png")), (scene("coffee.png"), tiny)):
        found = verified(*pair)
        assert found is None or np.isfinite(found.aligned_ncc)


def test_a_result_is_a_function_of_the_pair_and_seeded_by_its_ids():
    first, second = (
        prepared(scene("astronaut.png")),
        prepared(sticker(part(scene("astronaut.png"), 0, 0, 0.8, 0.9), 0.1)),
    )
    seed = pair_seed("aa", "bb")
    once = verify_pair(first, second, seed)
    verify_pair(second, prepared(scene("moon.png")), 5)  # other verifications in between must have no effect
    fresh = verify_pair(Picture(first.rgb, first.features), Picture(second.rgb, second.features), seed)
    assert once == fresh
    assert 0 <= seed < 2**63
    assert seed == 1825804341586878009  # the seed of a stored pair must not change
    assert len({seed, pair_seed("bb", "aa"), pair_seed("aab", "b"), pair_seed("a", "abb")}) == 4


def test_a_cut_of_one_percent_at_each_edge_is_measured_and_both_ways() -> None:
    image = scene("chelsea.png")
    found = verified(image, part(image, 0.01, 0.01, 0.98, 0.98))
    assert found is not None
    assert (found.src_overlap, found.src_beyond) == (pytest.approx(0.96, abs=0.01), pytest.approx(0.04, abs=0.01))
    assert (found.dst_overlap, found.dst_beyond) == (pytest.approx(1.0, abs=0.01), pytest.approx(0.0, abs=0.01))
    assert (found.src_frame, found.dst_frame) == (0.0, 0.0)


@pytest.mark.parametrize("name", ["astronaut.png", "chelsea.png", "coffee.png"])
def test_what_is_laid_over_an_edge_leaves_the_whole_on_the_whole(name: str) -> None:
    full = scene(name)
    covered = full.copy()
    ImageDraw.Draw(covered).rectangle([0, 0, full.width, round(full.height * 0.2)], fill=(40, 170, 40))
    covered = text(covered, (30, 15), "free when friends new", 36, fill=(255, 255, 255))
    for found in (verified(full, covered), verified(covered, full)):
        assert (found.src_overlap, found.dst_overlap, found.src_beyond, found.dst_beyond) == (1.0, 1.0, 0.0, 0.0)
        assert found.cell_shift_px < 0.2


def test_text_in_a_margin_is_laid_over_it_and_no_more_of_the_picture() -> None:
    framed = ImageOps.expand(scene("coffee.png"), 40, (255, 255, 255))
    found = verified(framed, text(framed, (60, 5), "COFFEE TIME", 30))
    assert (found.src_beyond, found.dst_beyond) == (0.0, 0.0)
    assert found.src_frame == found.dst_frame


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png"])
def test_a_plain_bar_over_an_edge_covers_what_the_other_shows(name: str) -> None:
    covered = scene(name).copy()
    ImageDraw.Draw(covered).rectangle([0, round(covered.height * 0.9), covered.width, covered.height], fill=(0, 0, 0))
    found = verified(scene(name), covered)
    assert found.dst_frame == pytest.approx(0.1, abs=0.03)
    assert found.src_beyond == pytest.approx(found.dst_frame, abs=0.02)
