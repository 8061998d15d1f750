"""The aggregates of the oracle on groups small enough to work out by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from tests.oracle.aggregates import Aggregate, Kind, Overflow, evaluate
from tests.oracle.expect import Exactly, Within, around
from tests.oracle.values import Value

NAN, INF = math.nan, math.inf
BIG = 1.7e308


def over(kind: Kind, *values: Value, **options: object) -> object:
    """Return what the oracle expects of an aggregate over a column."""
    aggregate = Aggregate("r", kind, "x", **options)  # type: ignore[arg-type]  # options of the test's own
    return evaluate(aggregate, [{"x": value} for value in values])


EXACT: list[tuple[Kind, tuple[Value, ...], Value]] = [
    ("rows", (), 0),
    ("rows", (None, 1), 2),
    ("count", (None, 1), 1),
    ("sum", (), 0),
    ("sum", (None, None), 0),
    ("sum", (2**63 - 1, 5, -5), 2**63 - 1),
    ("sum", (True, False, True, None), 2),
    ("sum", (1.0, NAN, INF), NAN),
    ("sum", (INF, -INF), NAN),
    ("sum", (BIG, -INF), -INF),
    ("mean", (None,), None),
    ("mean", (INF, 1.0), INF),
    ("var", (), None),
    ("var", (None, 4.0), None),
    ("var", (1.0, INF), NAN),
    ("std", (1.0,), None),
    ("min", (), None),
    ("min", (None, NAN, 3.0), 3.0),
    ("min", (NAN, NAN), NAN),
    ("max", (NAN, INF), NAN),
    ("max", ("a", "B", "ä"), "ä"),
    ("max", (None,), None),
    ("first", (None, 2, 1), 2),
    ("last", (3, 1, None), 1),
    ("first", (None, None), None),
    ("any", (), False),
    ("any", (None, False), False),
    ("any", (None, True), True),
    ("all", (), True),
    ("all", (None, True), True),
    ("all", (None, False, True), False),
    ("n_unique", (), 0),
    ("n_unique", (None, NAN, -NAN, 0.0, -0.0), 2),
    ("median", (), None),
    ("median", (9, 1, 4), 4.0),
    ("median", (NAN, 1.0, 2.0), 2.0),
    ("mode", (), None),
    ("mode", ("b", "a", "a", "b"), "b"),
    ("mode", (NAN, 1.0, -NAN), NAN),
    ("collect", (), []),
    ("collect", (None, 2, 2, 1), [2, 2, 1]),
    ("user_sum", (None, 1_000_002, 2), 1),
    ("user_nulls", (None, 1, None), 2),
]


@pytest.mark.parametrize(("kind", "values", "result"), EXACT)
def test_an_exact_aggregate(kind: Kind, values: tuple[Value, ...], result: Value) -> None:
    expected = over(kind, *values)
    assert expected == Exactly(result) or (isinstance(expected, Exactly) and expected.accepts(result))


QUANTILES: list[tuple[float, str, float]] = [
    # of 10, 20, 30, 40: the index is 3·q
    (0.0, "nearest", 10.0),
    (0.1, "nearest", 10.0),
    (0.25, "nearest", 20.0),
    (0.5, "nearest", 30.0),
    (0.9, "nearest", 40.0),
    (0.5, "lower", 20.0),
    (0.5, "higher", 30.0),
    (1.0, "lower", 40.0),
]


@pytest.mark.parametrize(("q", "interpolation", "result"), QUANTILES)
def test_a_quantile_that_is_a_value(q: float, interpolation: str, result: float) -> None:
    assert over("quantile", 40, None, 10, 30, 20, q=q, interpolation=interpolation) == Exactly(result)


@pytest.mark.parametrize(
    ("q", "interpolation", "result"), [(0.5, "midpoint", 25), (0.1, "midpoint", 15), (0.1, "linear", 13)]
)
def test_a_quantile_between_two_values(q: float, interpolation: str, result: int) -> None:
    expected = over("quantile", 40, 10, 30, 20, q=q, interpolation=interpolation)
    assert isinstance(expected, Within)
    assert expected.accepts(float(result)) and not expected.accepts(result + 1e-9)


def test_a_quantile_takes_nan_for_the_greatest() -> None:
    assert over("quantile", NAN, 1.0, 2.0, q=0.5) == Exactly(2.0)
    assert isinstance(top := over("quantile", NAN, 1.0, 2.0, q=1.0), Exactly) and top.accepts(NAN)


@pytest.mark.parametrize("unsigned", [False, True])
def test_a_sum_outside_64_bits_is_an_error_whatever_the_order(unsigned: bool) -> None:
    top = 2**64 - 1 if unsigned else 2**63 - 1
    assert over("sum", top, 0, unsigned=unsigned) == Exactly(top)
    for values in ((top, 1), (1, top)):
        with pytest.raises(Overflow):
            over("sum", *values, unsigned=unsigned)
    with pytest.raises(Overflow):
        over("sum_per_row", top, 1, unsigned=unsigned)


def test_a_float_sum_allows_a_billionth_of_its_terms() -> None:
    expected = over("sum", 1e9, 1.0, -1e9)  # Σ|x| is 2e9 + 1, so the error may be 2 and a bit
    assert isinstance(expected, Within)
    assert expected.accepts(1.0) and expected.accepts(2.9) and expected.accepts(-0.9)
    assert not expected.accepts(3.1) and not expected.accepts(NAN) and not expected.accepts(INF)


def test_intermediate_overflow_of_a_float_sum_does_not_matter() -> None:
    for kind, result in (("sum", BIG), ("mean", BIG / 3)):
        expected = over(kind, BIG, BIG, -BIG)  # type: ignore[arg-type]  # both are kinds
        assert isinstance(expected, Within)
        assert expected.accepts(result) and not expected.accepts(INF) and not expected.accepts(NAN)
    final = over("sum", BIG, BIG)
    assert isinstance(final, Within) and final.accepts(INF) and not final.accepts(BIG) and not final.accepts(-INF)


def test_the_mean_of_integers_comes_from_their_exact_sum() -> None:
    expected = over("mean", 2**63 - 1, 2**63 - 1, 1, 0)
    assert isinstance(expected, Within)
    assert expected.accepts(float(2**62)) and not expected.accepts(float(2**62) * (1 + 1e-14))


def test_variance_is_of_a_sample_and_must_be_stable() -> None:
    for kind, result in (("var", 2.5), ("std", math.sqrt(2.5))):
        expected = over(kind, 1, 2, 3, 4, 5)  # type: ignore[arg-type]  # both are kinds
        assert isinstance(expected, Within)
        assert expected.accepts(result) and not expected.accepts(result + 1e-6) and not expected.accepts(result * 0.8)
    shifted = over("var", 1e9 + 1, 1e9 + 2, 1e9 + 3)  # the difference of two sums of squares gives 0.0 or 128.0
    assert isinstance(shifted, Within) and shifted.accepts(1.0) and not shifted.accepts(0.0)


def test_equal_values_have_no_variance() -> None:
    expected = over("std", 0.1, 0.1, 0.1)
    assert isinstance(expected, Within) and expected.accepts(0.0) and not expected.accepts(1e-9)


def test_arg_min_and_arg_max_take_the_earliest_of_equals_and_skip_nulls() -> None:
    rows = [
        {"x": x, "by": by} for x, by in [("late", None), ("a", 2.0), (None, 9.0), (None, 0.0), ("b", 2.0), ("c", 1.0)]
    ]
    assert evaluate(Aggregate("r", "arg_max", "x", by="by"), rows) == Exactly("a")
    assert evaluate(Aggregate("r", "arg_min", "x", by="by"), rows) == Exactly("c")
    assert evaluate(Aggregate("r", "arg_max", "x", by="by"), [*rows, {"x": "nan", "by": NAN}]) == Exactly("nan")
    assert evaluate(Aggregate("r", "arg_min", "x", by="by"), rows[:1]) == Exactly(None)


def test_a_sum_per_row_counts_null_rows() -> None:
    expected = over("sum_per_row", 3, None, 4, None)
    assert isinstance(expected, Within) and expected.accepts(1.75) and not expected.accepts(3.5)


@pytest.mark.parametrize(
    ("distinct", "right", "wrong"),
    [(0, [0], [1]), (1, [1, 2], [0, 3]), (50, [49, 51], [48, 52]), (1000, [950, 1050], [949, 1051])],
)
def test_the_error_of_approximate_distinct_counts(distinct: int, right: list[int], wrong: list[int]) -> None:
    expected = evaluate(Aggregate("r", "approx_n_unique", "x"), [{"x": n} for n in range(distinct)])
    assert all(expected.accepts(n) for n in right)
    assert not any(expected.accepts(n) for n in wrong)


def test_an_approximate_quantile_is_within_one_percent_of_a_value_at_its_rank() -> None:
    aggregate = Aggregate("r", "approx_quantile", "x", q=0.5)
    expected = evaluate(aggregate, [{"x": x} for x in (100.0, 200.0, 1000.0, -5.0)])
    assert expected.accepts(100.9) and expected.accepts(198.1)
    assert not expected.accepts(150.0) and not expected.accepts(98.9) and not expected.accepts(None)
    assert evaluate(aggregate, [{"x": None}]) == Exactly(None)


@pytest.mark.parametrize(("value", "other"), [(1, 1.5), (1.0, 1), (True, 1), (1, True), ("1", 1), (None, 0), (0, None)])
def test_an_exact_value_is_no_other_and_of_no_other_type(value: Value, other: Value) -> None:
    assert Exactly(value).accepts(value)
    assert not Exactly(value).accepts(other)


def test_rounding_near_zero_is_allowed() -> None:
    half = around(Fraction(5e-324) / 2, Fraction(0))
    assert half.accepts(0.0) and half.accepts(5e-324) and not half.accepts(1.5e-323)
