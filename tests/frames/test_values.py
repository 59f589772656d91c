"""Local columns have Spark's semantics of null, order, rounding and text."""

from __future__ import annotations

import datetime as dt

import pytest

from dupelake.frames.frame import Frame
from dupelake.frames.functions import F, W, locally
from dupelake.frames.values import order_key, rounded


@pytest.mark.parametrize(
    ("value", "digits", "wanted"),
    [(0.5, 0, 1.0), (1.5, 0, 2.0), (-0.5, 0, -1.0), (0.1234565, 6, 0.123457), (2.675, 2, 2.68), (1e-9, 6, 0.0)],
)
def test_round_is_half_up_on_the_decimal_form(value, digits, wanted):
    assert rounded(value, digits) == wanted


def test_null_comes_first_and_structs_compare_by_field():
    values = [{"a": 1, "b": None}, None, {"a": 0, "b": "z"}, {"a": 1, "b": "a"}]
    assert sorted(values, key=order_key) == [None, {"a": 0, "b": "z"}, {"a": 1, "b": None}, {"a": 1, "b": "a"}]


def test_three_valued_logic_and_conditions():
    rows = Frame({"a": [True, False, None], "b": [None, None, None], "n": [1, 2, 3]})
    with locally():
        both, either = F.col("a") & F.col("b"), F.col("a") | F.col("b")
        shown = rows.select(both.alias("and"), either.alias("or"), (~F.col("a")).alias("not"))
        assert shown.collect() == [
            {"and": None, "or": True, "not": False},
            {"and": False, "or": None, "not": True},
            {"and": None, "or": None, "not": None},
        ]
        assert rows.where("a").count() == 1
        assert rows.where("n >= 2").named("n") == [2, 3]
        assert rows.where("a IS NULL").named("n") == [3]
        chosen = F.when(F.col("a"), "yes").when(F.col("n") > 2, "late").otherwise("no")
        assert rows.select(chosen.alias("x")).named("x") == ["yes", "no", "late"]
        with pytest.raises(ValueError, match="no local form"):
            rows.where("length(a) > 3")


def test_joins_keep_no_null_key_and_left_joins_keep_all_rows():
    left = Frame({"k": ["x", None, "y"], "v": [1, 2, 3]})
    right = Frame({"k": ["x", None, "x"], "w": [10, 20, 30]})
    assert left.join(right, "k").named("w") == [10, 30]
    assert left.join(right, "k", "left").rows() == [
        {"k": "x", "v": 1, "w": 10},
        {"k": "x", "v": 1, "w": 30},
        {"k": None, "v": 2, "w": None},
        {"k": "y", "v": 3, "w": None},
    ]
    assert left.join(right, "k", "left_anti").named("v") == [2, 3]
    assert left.join(right, "k", "left_semi").named("v") == [1]


def test_windows_and_groups():
    rows = Frame({"g": ["a", "b", "a", "a"], "v": [3, 1, 1, 2]})
    with locally():
        ordered = W.partitionBy("g").orderBy("v")
        shown = rows.withColumns(
            {
                "place": F.row_number().over(ordered),
                "next": F.lead(F.col("v")).over(ordered),
                "first": F.first("v").over(ordered),
                "all": F.count("*").over(W.partitionBy("g")),
            }
        )
        assert shown.named("place") == [3, 1, 1, 2]
        assert shown.named("next") == [None, None, 2, 3]
        assert shown.named("first") == [1, 1, 1, 1]
        assert shown.named("all") == [3, 1, 3, 3]
        sums = rows.groupBy("g").agg(
            F.max(F.struct("v", "g")).getField("v").alias("top"), F.count_if(F.col("v") > 1).alias("n")
        )
        assert sums.collect() == [{"g": "a", "top": 3, "n": 2}, {"g": "b", "top": 1, "n": 0}]


def test_times_and_ids():
    rows = Frame({"t": [dt.datetime(2026, 11, 1, 12, 30, tzinfo=dt.UTC), None], "s": ["abc", "d"]})
    with locally():
        assert rows.select(F.unix_micros("t").alias("x")).named("x") == [1793536200000000, None]
        assert rows.select(F.date_format("t", "yyyy-MM-dd HH:mm:ss").alias("x")).named("x")[0] == "2026-11-01 12:30:00"
        digest = F.substring(F.sha2(F.col("s"), 256), 1, 8)
        assert rows.select(digest.alias("x")).named("x") == ["ba7816bf", "18ac3e73"]


def test_functions_are_sparks_outside_of_the_context():
    with locally():
        assert type(F.lit(1)).__module__ == "dupelake.frames.column"
    assert F.lit.__module__.startswith("pyspark")
