"""Keeper rules (group/keeping.py): each rule by its evidence, from both ends, and the order of several rules."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dupelake.group import keeping as rules
from dupelake.group.keeper_order import order_of
from dupelake.group.keeping import MORE_MARGIN, OF_PAIR, OWN, Side, better_side
from dupelake.group.stars import agreement_of
from dupelake.group.traces import LOWEST_QUALITY, N_QUALITIES, fits_of, levels_of

SOUND = {
    "overlap": 1.0, "beyond": 0.0, "frame": 0.0, "added": 0.0, "area": 160_000.0, "detail": 1.0,
    "jpeg_quality": 95.0, "earlier_quality": float("nan"), "is_web_lossy": 0.0, "jpeg_trace": 0.2, "blockiness": 0.2,
    "noise": 0.5, "sharpness": 1.5, "comb": 0.06, "colourfulness": 12.0,
    "richness": 0.0,
}  # fmt: skip
NAN = float("nan")


def side(fits: bytes | None = None, spectrum: bytes | None = None, **differs: float) -> Side:
    numbers = {name: np.array([(SOUND | differs)[name]]) for name in (*OF_PAIR, *OWN)}
    return Side(**numbers, fits=fits_of([fits]), levels=levels_of([spectrum]))


def fits_at(**shown: int) -> bytes:
    """Stored fits, all zero but those of the named qualities (q75=90)."""
    fits = np.zeros(N_QUALITIES, np.uint8)
    for name, fit in shown.items():
        fits[int(name[1:]) - LOWEST_QUALITY] = fit
    return fits.tobytes()


def falling(by_db: float, cut: float = 1.0, cliff_db: float = 0.0) -> bytes:
    """A stored spectrum that falls by so many dB an octave, and by more above a share of its bands."""
    band = np.arange(1, 65)
    level = 60 - by_db * np.log2(band) - cliff_db * (band > 64 * cut)
    return np.clip(4 * level, 0, 255).astype(np.uint8).tobytes()


def judge(a: Side, b: Side, scale: float = 1.0, agreement: int = 900) -> tuple[int, int]:
    """Decided from both ends, which must agree."""
    agrees = np.array([agreement])
    found = better_side(a, b, np.array([scale]), agrees)
    swapped = better_side(b, a, np.array([1 / scale]), agrees)
    assert swapped.better.tolist() == (-found.better).tolist()
    assert swapped.rule.tolist() == found.rule.tolist()
    assert swapped.margin.tolist() == (-found.margin).tolist()
    assert np.sign(found.margin).tolist() == found.better.tolist()
    return int(found.better[0]), int(found.rule[0])


def test_an_uneven_histogram_is_named_only_where_nothing_else_is():
    # bars, text and strong compression make a histogram uneven, too
    framed = {"frame": 0.2, "comb": 0.9, "colourfulness": 0.1}
    assert judge(side(), side(**framed)) == (1, rules.UNFRAMED)  # grey bars hide colours, too: it is not called grey
    assert judge(side(), side(added=0.05, comb=0.9)) == (1, rules.CLEAN)
    assert judge(side(), side(blockiness=1.5, comb=0.9)) == (1, rules.BLOCKY)
    assert judge(side(), side(comb=0.9, blockiness=0.3)) == (1, rules.COMBED)


@pytest.mark.parametrize(
    ("overlap", "beyond", "frame", "scale", "better"),
    [
        ((0.5, 1.0), (0.5, 0.0), (0.0, 0.0), 1.0, 1),  # the destination is a crop of the source
        ((1.0, 0.5), (0.0, 0.5), (0.0, 0.0), 1.0, -1),
        ((0.5, 1.0), (0.5, 0.0), (0.0, 0.0), 1.6, 1),  # a crop out of something finer, not clearly
        ((0.5, 1.0), (0.5, 0.0), (0.0, 0.0), 2.0, -1),  # the source is tiny
        ((1.0, 0.5), (0.0, 0.5), (0.0, 0.0), 0.5, 1),
        ((1.0, 0.96), (0.0, 0.04), (0.0, 0.0), 1.0, -1),  # a small crop is one
        ((0.7, 0.9), (0.3, 0.1), (0.0, 0.0), 1.0, 0),  # each shows something of its own
        ((0.8, 1.0), (0.0, 0.0), (0.2, 0.0), 1.0, -1),  # the source carries a caption bar
        ((1.0, 1.0), (0.0, 0.0), (0.0, 0.15), 1.0, 1),  # the destination has a border
        ((0.25, 1.0), (0.0, 0.0), (0.75, 0.0), 2.0, -1),  # the source is a collage
        ((0.5, 1.0), (0.0, 0.0), (0.5, 0.0), 0.5, 0),  # a screen that shows the picture finer than the other has it
        ((0.7, 1.0), (0.2, 0.0), (0.1, 0.0), 1.0, 1),  # framed, and fuller for all that
        ((0.6, 1.0), (0.19, 0.0), (0.21, 0.0), 1.0, 1),  # one of two cut sides begins along a door, as a frame would
    ],
)
def test_the_fuller_picture_is_better_unless_it_is_coarse_and_a_bare_one_than_a_framed_one(
    overlap, beyond, frame, scale, better
):
    a, b = (side(overlap=o, beyond=m, frame=f) for o, m, f in zip(overlap, beyond, frame, strict=True))
    assert judge(a, b, scale)[0] == better


@pytest.mark.parametrize(
    ("worse", "rule"),
    [
        ({"added": 0.01}, rules.CLEAN),
        ({"colourfulness": 0.1}, rules.COLOURED),
        ({"sharpness": 1.0, "detail": 0.5}, rules.SOFT),
        ({"sharpness": 3.4}, rules.SHARPENED),
        ({"noise": 4.0}, rules.NOISY),
        ({"comb": 0.5}, rules.COMBED),
        ({"jpeg_quality": 60.0, "jpeg_trace": 0.4, "blockiness": 1.4}, rules.BLOCKY),
        ({"is_web_lossy": 1.0, "jpeg_quality": NAN, "jpeg_trace": 0.02}, rules.WEB),
        ({"jpeg_quality": NAN, "jpeg_trace": 0.18}, rules.RESAVED),  # a PNG that shows the zeros of the JPEG
    ],
)
def test_each_rule_tells_the_damaged_one(worse, rule):
    assert judge(side(), side(**worse)) == (1, rule)


def test_the_richer_of_two_that_are_alike():
    assert judge(side(richness=2.0), side()) == (1, rules.RICHER)


def test_a_png_is_better_than_the_jpeg_that_was_made_of_it():
    png = side(jpeg_quality=NAN, jpeg_trace=0.005, blockiness=0.05)
    assert judge(png, side(jpeg_quality=60.0, jpeg_trace=0.45, blockiness=0.9)) == (1, rules.BLOCKY)


def test_a_png_that_shows_an_earlier_jpeg_is_of_the_quality_of_that():
    alike = {"spectrum": falling(6.0), "jpeg_trace": 0.4}
    png = side(**alike, jpeg_quality=NAN, earlier_quality=75.0, fits=fits_at(q75=90))
    assert judge(side(**alike, jpeg_quality=92.0, fits=fits_at(q92=80)), png, agreement=1000) == (1, rules.LOWER)
    assert judge(side(**alike, jpeg_quality=50.0, fits=fits_at(q50=80)), png, agreement=1000) == (-1, rules.LOWER)


def test_a_png_as_blocky_as_the_jpeg_went_through_another_lossy_format():
    """WebP leaves no steps in the pixels that could be found. The pixels of a JPEG's source show fewer blocks."""
    jpeg = side(jpeg_quality=80.0, blockiness=0.3, fits=fits_at(q80=90), spectrum=falling(6.0))
    png = {"jpeg_quality": NAN, "jpeg_trace": 0.0, "spectrum": falling(6.0)}
    assert judge(jpeg, side(**png, blockiness=0.2), agreement=1000) == (-1, rules.LOWER)
    assert judge(jpeg, side(**png, blockiness=0.29), agreement=1000) == (0, rules.LEVEL)


def test_a_resave_of_high_quality_does_not_beat_the_poor_jpeg_that_it_was_made_of():
    poor = {"jpeg_trace": 0.5, "blockiness": 1.25}
    assert judge(side(jpeg_quality=60.0, **poor), side(jpeg_quality=95.0, **poor)) == (1, rules.RESAVED)


def test_the_file_whose_quantiser_the_other_shows_is_the_earlier_one():
    source = side(jpeg_quality=75.0, fits=fits_at(q75=90))
    assert judge(source, side(jpeg_quality=95.0, fits=fits_at(q75=80, q95=60))) == (1, rules.RESAVED)
    assert judge(source, side(jpeg_quality=NAN, fits=fits_at(q75=80), jpeg_trace=0.3)) == (1, rules.RESAVED)


def test_a_file_of_higher_quality_is_better_if_it_shows_no_trace_of_the_other():
    lower = side(jpeg_quality=75.0, fits=fits_at(q75=90), spectrum=falling(6))
    higher = side(jpeg_quality=95.0, fits=fits_at(q95=60), spectrum=falling(6))
    assert judge(higher, lower, agreement=1000) == (1, rules.LOWER)
    other = side(jpeg_quality=95.0, fits=fits_at(q75=70, q95=60), spectrum=falling(6))
    assert judge(other, lower, agreement=1000) == (-1, rules.RESAVED)
    flat = side(jpeg_quality=75.0, fits=fits_at(), spectrum=falling(6))  # without coefficients nothing can be shown
    assert judge(higher, flat, agreement=1000)[1] != rules.LOWER


@pytest.mark.parametrize("scale", [1.3, 2.0])
def test_a_larger_picture_without_the_details_of_the_smaller_was_enlarged(scale):
    area = 160_000.0 * scale**2
    small = side(spectrum=falling(6))
    made = side(area=area, spectrum=falling(6, 1 / scale, 25))
    assert judge(small, made, scale) == (1, rules.ENLARGED)
    assert judge(small, side(area=area, spectrum=falling(6)), scale) == (-1, rules.LARGER)


def test_noise_that_compression_took_away_is_no_reason_against_the_original():
    camera = side(noise=2.4, jpeg_quality=96.0)
    assert judge(camera, side(noise=0.6, jpeg_quality=50.0, jpeg_trace=0.45, blockiness=1.8)) == (1, rules.BLOCKY)


@pytest.mark.parametrize(
    ("large", "small", "scale", "rule"),
    [
        ({"area": 640_000.0, "detail": 0.42}, {}, 2.0, rules.ENLARGED),
        ({"area": 640_000.0}, {}, 2.0, rules.LARGER),
        ({"area": 640_000.0, "detail": 0.5}, {"detail": 0.6}, 2.0, rules.LARGER),  # both soft: doubt favours the larger
        ({"area": 161_600.0}, {}, 1.005, rules.LARGER),
    ],
)
def test_more_pixels_are_better_unless_they_were_made_up(large, small, scale, rule):
    wins = -1 if rule == rules.ENLARGED else 1
    assert judge(side(**large), side(**small), 1 / scale) == (wins, rule)


def test_alike_are_level_and_so_is_what_was_not_measured():
    assert judge(side(), side()) == (0, rules.LEVEL)
    blank = dict.fromkeys(OWN, NAN) | {"area": 100.0, "detail": 1.0, "richness": 0.0, "is_web_lossy": NAN}
    assert judge(side(**blank), side(**blank)) == (0, rules.LEVEL)


def test_order_goes_by_better_neighbours_then_agreement_then_number_whatever_the_order_of_edges():
    a, b = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 2, 3, 2, 3, 3])
    margin = 3000 * np.array([-1, 0, 0, 1, 1, 0])  # 1 is better than all, 0 is beaten once, like 2 and 3
    agreement = np.array([1000, 900, 800, 1000, 1000, 700])
    rule = np.full(6, rules.LARGER, np.int8)
    order = order_of(a, b, margin, rule, agreement, np.zeros(4, np.bool_), 4)
    assert order.vertices.tolist() == [1, 0, 2, 3]
    assert (order.n_better.tolist(), order.n_fuller.tolist()) == ([1, 0, 1, 1], [0, 0, 0, 0])
    # means of ln((1 + exp(3)) / 2) = 2.355, ln((1 + exp(-3)) / 2) = -.645, and 0 for level pairs
    assert order.doubt.tolist() == [785, -645, 785, 785]
    shuffled = np.random.default_rng(1).permutation(6)
    none = np.zeros(4, np.bool_)
    again = order_of(b[shuffled], a[shuffled], -margin[shuffled], rule[shuffled], agreement[shuffled], none, 4)
    assert again.vertices.tolist() == order.vertices.tolist()
    chosen = np.array([False, False, False, True])
    assert order_of(a, b, margin, rule, agreement, chosen, 4).vertices[0] == 3


def test_the_part_that_agrees_best_is_no_keeper_where_others_show_more():
    a, b = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 2, 3, 2, 3, 3])
    margin = np.array([-MORE_MARGIN, 0, 0, 0, 0, 0])  # 1 shows more than 0
    rule = np.array([rules.FULLER] + [rules.LEVEL] * 5, np.int8)
    agreement = np.array([1000, 1000, 1000, 0, 0, 0])  # 0 agrees with all, who agree with none but it
    order = order_of(a, b, margin, rule, agreement, np.zeros(4, np.bool_), 4)
    assert order.vertices.tolist() == [1, 2, 3, 0]


def test_a_few_wrong_judgements_do_not_outweigh_the_likeness_to_all_others():
    """As in groups of many edits: 0 is the plain picture, which loses clearly to two of them; 1 wins, and is edited."""
    a, b = np.triu_indices(16, 1)
    margin = np.where(a == 1, 1500, 0)
    margin[(a == 0) & (b > 13)] = -6000
    agreement = np.where(a == 0, 900, 500)
    none = np.zeros(16, np.bool_)
    order = order_of(a, b, margin, np.full(len(a), rules.BLOCKY, np.int8), agreement, none, 16)
    assert order.vertices[:2].tolist() == [0, 1]


def test_a_clear_judgement_outweighs_several_weak_ones():
    a, b, none = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 2, 3, 2, 3, 3]), np.zeros(4, np.bool_)
    margin = np.array([-150, -150, 4000, 0, -150, -150])  # 0 is beaten twice, 1 and 2 once
    order = order_of(a, b, margin, np.full(6, rules.LOWER, np.int8), np.full(6, 1000), none, 4)
    assert (order.vertices[0], order.n_better.tolist()) == (0, [2, 1, 1, 1])


def test_pairs_that_are_level_speak_against_no_image():
    a, b = np.array([0, 0, 0]), np.array([1, 2, 3])  # 1, 2 and 3 were compared with 0 only
    order = order_of(a, b, np.zeros(3, np.int64), np.zeros(3, np.int8), np.full(3, 1000), np.zeros(4, np.bool_), 4)
    assert order.vertices.tolist() == [0, 1, 2, 3]


def test_damage_counts_after_the_agreement_of_several():
    a, b = np.array([0, 0, 1]), np.array([1, 2, 2])
    margin, rule = np.array([2000, 2000, 0]), np.full(3, rules.LOWER, np.int8)
    none = np.zeros(3, np.bool_)
    assert order_of(a, b, margin, rule, np.array([1000, 1000, 1000]), none, 3).vertices[0] == 0
    assert order_of(a, b, margin, rule, np.array([600, 600, 1000]), none, 3).vertices[0] == 1


def test_agreement_takes_away_what_encoding_does_not_explain():
    found = agreement_of(*np.array([[0.99, 0.935, NAN], [1.0, 0.97, NAN], [0.0, 0.15, NAN], [0.0, 0.09, NAN]]))
    assert found.tolist() == [1000, 650, 500]


@pytest.mark.parametrize("kind", [pa.null(), pa.binary()])
def test_traces_that_nobody_measured_are_nan(kind):
    column = pa.array([None, None], kind)
    assert np.isnan(fits_of(column)).all()
    assert np.isnan(levels_of(column)).all()
    assert fits_of(pa.array([bytes(N_QUALITIES), None])).shape == (2, N_QUALITIES)
    with pytest.raises(ValueError, match="not of 77 bytes"):
        fits_of([b"short"])
