"""The forecast of a run in words: a part that every night takes, and a part for what is new."""

from __future__ import annotations

from dupelake.pipeline.plan import Rates, _cost


def test_a_few_images_take_as_long_as_any_night():
    rates = Rates(160.0, 0.05, 0.5, 0.1, 1000.0)
    lines = list(_cost(rates, 12))
    assert lines[0].startswith("12 images, 11.7 KiB; about 6 pairs; about 0.0 min at the rate of past runs")
    assert lines[1].startswith("about 2.7 min for Spark's start")
    assert lines[2] == "about 2.7 min in all"
    assert list(_cost(rates, 12_000))[2] == "about 22.7 min in all"  # 160 s + 600 s + 600 s


def test_nothing_to_read_takes_time_too():
    (line,) = _cost(Rates(160.0, 0.05, None, None, None), 0)
    assert line.startswith("no image is read; about 2.7 min for Spark's start")


def test_before_the_first_night_nothing_is_known_but_the_fixed_part():
    for rates in (Rates(None, None, None, None, None), Rates(None, 0.05, None, None, None)):
        (line,) = _cost(rates, 12)
        assert line.startswith("unknown: no night is on record")
        assert "2 to 3 min" in line
