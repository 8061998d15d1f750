"""Aggregates with frames of their own: any pieces in any order give the result of the whole."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.shares import share
from tests.unit.folds import Folded, Row
from tests.unit.test_partial import CUTS, DAY, ORDER, row, rows_of
from thalweg import aggregate, col
from thalweg.engine.embedded.stored import load_partial, save_partial


def _keep(state: list[int], value: int | None) -> list[int]:
    return sorted([*state, value]) if value is not None else state


median_of_three = aggregate(
    init=list, step=_keep, merge=lambda a, b: sorted(a + b), finish=lambda state: sum(state[:3]), returns=float
)
SIDES = [
    col("i").first(),
    col("s").last(),
    col("f").first(),
    col("s").arg_min("i"),
    col("s").arg_max("f"),
    col("i").collect(),
    col("s").mode(),
    col("f").mode(),
    col("i").n_unique(),
    col("f").n_unique(),
    col("s").approx_n_unique(),
    col("f").approx_n_unique(),
    col("f").quantile(0.3),
    col("f").quantile(0.5, "linear"),
    col("i").median(),
    col("f").approx_quantile(0.9),
    median_of_three(col("i")),
]
FLOATS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, math.nan]))


@pytest.mark.parametrize("expr", SIDES, ids=str)
@share(0.15)
@given(rows=rows_of(FLOATS), cuts=CUTS, order=ORDER)
def test_the_pieces_do_not_show(expr: object, rows: list[Row], cuts: list[int], order: list[int]) -> None:
    folded = Folded.of(expr)
    found, expected = folded.in_pieces(rows, cuts, order), folded.whole(rows)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert repr(found[key]).replace("-0.0", "0.0") == repr(value).replace("-0.0", "0.0"), key


@pytest.mark.parametrize("expr", SIDES, ids=str)
@share(0.15)
@given(rows=rows_of(FLOATS), rnd=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_show(expr: object, rows: list[Row], rnd: random.Random) -> None:
    folded = Folded.of(expr)
    mixed = list(rows)
    rnd.shuffle(mixed)
    found, expected = folded.whole(mixed), folded.whole(rows)
    for key, value in expected.items():
        assert repr(found[key]).replace("-0.0", "0.0") == repr(value).replace("-0.0", "0.0"), key


@pytest.mark.parametrize("expr", SIDES, ids=str)
@share(0.15)
@given(rows=rows_of(st.floats(-10, 10)))
def test_a_side_that_was_stored_goes_on_as_before(expr: object, rows: list[Row]) -> None:
    folded = Folded.of(expr)
    first, second = folded.fold(rows), folded.fold(rows[::-1])
    restored = load_partial("p", dict(save_partial("p", first)))
    merged = [folded.how.folding.merge([part, second]) for part in (first, restored)]
    assert repr(folded.result(merged[0])) == repr(folded.result(merged[1]))


def at(second: int) -> dt.datetime:
    return DAY + dt.timedelta(seconds=second)


def test_first_is_by_time_then_by_all_columns() -> None:
    rows = [row(s="late", ts=at(2)), row(s="b", i=1, ts=at(1)), row(s="a", i=2, ts=at(1)), row(s=None, ts=at(0))]
    assert Folded.of(col("s").first()).whole(rows) == {"a": "b"}  # i comes before s in the schema
    assert Folded.of(col("s").last()).whole(rows) == {"a": "late"}


def test_arg_max_takes_the_earliest_of_equals_and_skips_nulls() -> None:
    rows = [row(s="x", i=5, ts=at(2)), row(s="y", i=5, ts=at(1)), row(s=None, i=9), row(s="z", i=None)]
    assert Folded.of(col("s").arg_max("i")).whole(rows) == {"a": "y"}
    nan = [row(s="x", f=math.inf), row(s="n", f=math.nan)]
    assert Folded.of(col("s").arg_max("f")).whole(nan) == {"a": "n"}


def test_mode_takes_the_earliest_of_equals() -> None:
    rows = [row(s=s, ts=at(n)) for n, s in enumerate(["b", "a", "a", "b", None])]
    assert Folded.of(col("s").mode()).whole(rows) == {"a": "b"}


def test_collect_is_in_time_order_and_empty_of_nothing() -> None:
    rows = [row(i=3, ts=at(3)), row(i=1, ts=at(1)), row(ts=at(2))]
    assert Folded.of(col("i").collect()).whole(rows) == {"a": [1, 3]}
    assert Folded.of(col("i").collect()).whole([row()]) == {"a": []}


def test_the_zeros_are_one_value_and_so_are_all_nans() -> None:
    rows = [row(f=0.0), row(f=-0.0), row(f=math.nan), row(f=-math.nan), row()]
    assert Folded.of(col("f").n_unique()).whole(rows) == {"a": 2}
    assert Folded.of(col("f").approx_n_unique()).whole(rows) == {"a": 2}


@pytest.mark.parametrize("distinct", [10, 1_000, 30_000])
def test_approx_n_unique_is_within_four_standard_errors(distinct: int) -> None:
    rows = [row(s=f"user-{n}") for n in range(distinct)]
    found = Folded.of(col("s").approx_n_unique()).whole(rows)["a"]
    assert abs(found - distinct) <= max(1, 4 * 0.0115 * distinct)


@given(st.lists(st.floats(1e-9, 1e9) | st.floats(-1e9, -1e-9) | st.just(0.0), min_size=1, max_size=60))
def test_approx_quantile_is_within_its_relative_error(values: list[float]) -> None:
    rows = [row(f=value) for value in values]
    for part in (0.0, 0.5, 0.99, 1.0):
        exact = Folded.of(col("f").quantile(part)).whole(rows)["a"]
        found = Folded.of(col("f").approx_quantile(part, error=0.02)).whole(rows)["a"]
        assert abs(found - exact) <= 0.02 * abs(exact) * (1 + 1e-9), part


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40), st.floats(0, 1))
def test_quantiles_are_values_at_their_rank(values: list[int], share: float) -> None:
    rows = [row(i=value) for value in values]
    ordered = sorted(values)
    index = share * (len(values) - 1)
    low, high = ordered[math.floor(index)], ordered[math.ceil(index)]
    results = {way: Folded.of(col("i").quantile(share, way)).whole(rows)["a"] for way in ("lower", "higher", "linear")}  # type: ignore[arg-type]  # ways
    assert results["lower"] == low
    assert results["higher"] == high
    assert math.isclose(results["linear"], low + (high - low) * (index - math.floor(index)), abs_tol=1e-9)


@given(rows_of(st.floats(-5, 5)))
def test_distinct_values_are_counted_once(rows: list[Row]) -> None:
    expected = {
        key: len({r["i"] for r in rows if r["k"] == key and r["i"] is not None}) for key in {r["k"] for r in rows}
    }
    assert Folded.of(col("i").n_unique()).whole(rows) == expected


@given(rows_of(st.floats(-5, 5)))
def test_the_mode_is_a_most_frequent_value(rows: list[Row]) -> None:
    for key, value in Folded.of(col("s").mode()).whole(rows).items():
        counts = Counter(r["s"] for r in rows if r["k"] == key and r["s"] is not None)
        assert (counts[value] == max(counts.values())) if counts else value is None
