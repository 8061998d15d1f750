"""Partial aggregates: folded in any pieces, in any order, the result is that of the whole."""

from __future__ import annotations

import datetime as dt
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.shares import share
from tests.unit.folds import Folded, Row, same
from thalweg import col, count
from thalweg.engine.embedded.partial import COUNT, Folding, IntegerSum
from thalweg.engine.embedded.stored import load_partial, save_partial

EXACT = [
    count(),
    col("i").count(),
    col("i").sum(),
    col("i").mean(),
    col("b").sum(),
    col("i").min(),
    col("i").max(),
    col("f").min(),
    col("f").max(),
    col("s").min(),
    col("s").max(),
    col("ts").max(),
    col("b").any(),
    col("b").all(),
    col("i").sum() + count(),
]
NEAR = [col("f").sum(), col("f").mean()]
SPREAD = [col("f").var(), col("f").std(), col("i").var(ddof=0)]

DAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
INTEGERS = st.one_of(st.none(), st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1))


def rows_of(floats: st.SearchStrategy[float]) -> st.SearchStrategy[list[Row]]:
    row = st.fixed_dictionaries(
        {
            "k": st.sampled_from(["a", "b", None]),
            "i": INTEGERS,
            "f": st.one_of(st.none(), floats),
            "b": st.one_of(st.none(), st.booleans()),
            "s": st.one_of(st.none(), st.text(max_size=2)),
            "ts": st.integers(0, 5).map(lambda n: DAY + dt.timedelta(seconds=n)),
        }
    )
    return st.lists(row, min_size=1, max_size=25)


CUTS = st.lists(st.integers(0, 25), max_size=5)
ORDER = st.lists(st.integers(0, 5), max_size=5)


@pytest.mark.parametrize("expr", EXACT, ids=str)
@share(0.15)
@given(rows=rows_of(st.floats()), cuts=CUTS, order=ORDER)
def test_an_exact_aggregate_does_not_depend_on_the_pieces(
    expr: object, rows: list[Row], cuts: list[int], order: list[int]
) -> None:
    folded = Folded.of(expr)
    found, expected = folded.in_pieces(rows, cuts, order), folded.whole(rows)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert repr(found[key]) == repr(value)  # repr: NaN is itself, −0.0 is not 0.0


@pytest.mark.parametrize("expr", NEAR, ids=str)
@share(0.15)
@given(rows=rows_of(st.floats()), cuts=CUTS, order=ORDER)
def test_a_float_sum_depends_on_the_pieces_in_its_last_bits_only(
    expr: object, rows: list[Row], cuts: list[int], order: list[int]
) -> None:
    folded = Folded.of(expr)
    found, expected = folded.in_pieces(rows, cuts, order), folded.whole(rows)
    for key, value in expected.items():
        sizes = [abs(row["f"]) for row in rows if row["k"] == key and row["f"] is not None]
        assert same(found[key], value, min(sum(size for size in sizes if math.isfinite(size)), 1.7e308)), key


@pytest.mark.parametrize("expr", SPREAD, ids=str)
@share(0.15)
@given(rows=rows_of(st.floats(-1e6, 1e6)), cuts=CUTS, order=ORDER)
def test_a_variance_merges_to_that_of_the_whole(
    expr: object, rows: list[Row], cuts: list[int], order: list[int]
) -> None:
    folded = Folded.of(expr)
    rows = [row | {"i": None if row["i"] is None else row["i"] % 1000} for row in rows]
    found, expected = folded.in_pieces(rows, cuts, order), folded.whole(rows)
    for key, value in expected.items():
        if value is None:
            assert found[key] is None
        else:
            assert math.isclose(found[key], value, rel_tol=1e-6, abs_tol=1e-3), key


@given(rows_of(st.floats()), CUTS, ORDER)
def test_the_rows_of_each_group_are_counted_for_the_ledger(rows: list[Row], cuts: list[int], order: list[int]) -> None:
    folded = Folded.of(col("i").sum())
    for partial in (folded.fold(rows), folded.how.folding.merge([folded.fold(rows), folded.fold(rows[:1])])):
        assert int(partial.main.get_column(COUNT).sum()) in (len(rows), len(rows) + 1)


@pytest.mark.parametrize("expr", [*EXACT, *NEAR, *SPREAD], ids=str)
@share(0.15)
@given(rows=rows_of(st.floats(-1e6, 1e6)))
def test_a_partial_that_was_stored_goes_on_as_before(expr: object, rows: list[Row]) -> None:
    folded = Folded.of(expr)
    first, second = folded.fold(rows), folded.fold(rows[::-1])
    frames = dict(save_partial("p", first))
    restored = load_partial("p", {name: pl.read_ipc(_written(frame)) for name, frame in frames.items()})
    merged = [folded.how.folding.merge([part, second]) for part in (first, restored)]
    assert repr(folded.result(merged[0])) == repr(folded.result(merged[1]))


def _written(frame: pl.DataFrame) -> bytes:
    """The frame as an Arrow file: what state is kept as."""
    import io

    out = io.BytesIO()
    frame.write_ipc(out, compat_level=pl.CompatLevel.newest())
    return out.getvalue()


def row(**values: object) -> Row:
    return {"k": "a", "i": None, "f": None, "b": None, "s": None, "ts": DAY} | values


def test_a_sum_may_leave_64_bits_on_its_way_and_come_back() -> None:
    folded = Folded.of(col("i").sum())
    rows = [row(i=2**63 - 1), row(i=2**63 - 1), row(i=-(2**63)), row(i=-(2**63))]
    assert folded.whole(rows) == {"a": -2}
    assert folded.in_pieces(rows, [1, 2, 3], []) == {"a": -2}


def test_a_sum_that_does_not_fit_is_flagged_and_null() -> None:
    folding = Folding(["k"], [IntegerSum(0, pl.Int64())], [])
    frame = pl.DataFrame({"k": ["a", "a", "b"], "__a0_0": [2**63 - 1, 1, 7]})
    finished = folding.finish(folding.fold(frame)).sort("k")
    assert finished.get_column("__r0").to_list() == [None, 7]
    assert finished.get_column("__o0").to_list() == [True, False]


def test_an_unsigned_sum_keeps_the_range_of_its_type() -> None:
    folding = Folding(["k"], [IntegerSum(0, pl.UInt64())], [])
    frame = pl.DataFrame(
        {"k": ["a", "b", "b"], "__a0_0": [2**64 - 1, 2**64 - 1, 1]}, schema_overrides={"__a0_0": pl.UInt64}
    )
    finished = folding.finish(folding.fold(frame)).sort("k")
    assert finished.get_column("__r0").to_list() == [2**64 - 1, None]


def test_a_float_sum_may_overflow_on_its_way_and_come_back() -> None:
    folded = Folded.of(col("f").sum())
    rows = [row(f=1.5e308), row(f=1.5e308), row(f=-1.5e308), row(f=-1.5e308), row(f=1e300)]
    for cuts in ([], [1, 2, 3, 4], [2]):
        assert same(folded.in_pieces(rows, cuts, [])["a"], 1e300, 6e308 / 1e9)


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([math.inf, 1.0], math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.nan, 1.0], math.nan),
        ([-math.inf, 1e308, 1e308], -math.inf),
        ([], 0.0),
        ([None, None], 0.0),
    ],
)
def test_nan_and_infinities_add_up_as_ieee_754_says(values: list[float | None], total: float) -> None:
    folded = Folded.of(col("f").sum())
    rows = [row(f=value) for value in values] or [row()]
    for cuts in ([], [1], [1, 2]):
        assert same(folded.in_pieces(rows, cuts, [])["a"], total)


def test_of_no_values_a_mean_is_null_and_a_count_zero() -> None:
    for expr, expected in (
        (col("f").mean(), None),
        (col("f").var(), None),
        (col("i").count(), 0),
        (col("b").all(), True),
    ):
        assert Folded.of(expr).whole([row(), row()]) == {"a": expected}


@pytest.mark.parametrize("expr", [*SPREAD, col("f").mean(), col("i").mean(), col("f").sum()], ids=str)
def test_parts_without_a_value_that_were_merged_change_nothing(expr: object) -> None:
    folded = Folded.of(expr)
    merge, nothing = folded.how.folding.merge, folded.fold([row()])
    values = [folded.fold([row(f=0.0, i=0)]), folded.fold([row(f=0.0, i=0)])]
    assert folded.result(merge([merge([nothing, nothing]), *values])) == {"a": 0.0}


def test_nan_is_the_greatest_float_and_null_is_none_at_all() -> None:
    rows = [row(f=math.nan), row(f=math.inf), row()]
    assert math.isnan(Folded.of(col("f").max()).whole(rows)["a"])
    assert Folded.of(col("f").min()).whole(rows) == {"a": math.inf}
