"""Arithmetic without checks gives what the checked one gives, wherever the bounds say that no check is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from thalweg.columnar import expression_numbers, expressions, integer_bounds
from thalweg.columnar.expressions import compile_bounded, compile_expr, guarded_columns
from thalweg.columnar.integer_bounds import INT64, Bounds, Range, measured, of_type
from thalweg.core.schema import Field, Schema
from thalweg.plan.expr import Expr, coalesce, col, infer, lit, when

SCHEMA = Schema((Field("a", pa.int64()), Field("b", pa.int64()), Field("u", pa.uint64()), Field("s", pa.int8())))
FRAME = {"a": pl.Int64, "b": pl.Int64, "u": pl.UInt64, "s": pl.Int8}

LEAST, GREATEST = INT64.low, INT64.high
EDGES = [
    number + near
    for number in (LEAST, -(2**62), -(2**32), -(2**31), -128, 0, 127, 2**31, 2**32, 2**62, GREATEST)
    for near in (-1, 0, 1)
    if LEAST <= number + near <= GREATEST
]
SMALL = st.integers(-1_000, 1_000)
WHOLE = st.one_of(SMALL, st.sampled_from(EDGES), st.integers(LEAST, GREATEST))
POSITIVE = st.one_of(st.integers(0, 1_000), st.sampled_from([2**63 - 1, 2**63, 2**64 - 1]))


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """A few rows; often all of a column are small, so that something can be proved."""
    height = draw(st.integers(1, 4))

    def column(values: st.SearchStrategy[int]) -> list[int | None]:
        return draw(st.lists(st.one_of(st.none(), values), min_size=height, max_size=height))

    signed = [draw(st.sampled_from([SMALL, WHOLE])) for _ in range(2)]
    data = {
        "a": column(signed[0]),
        "b": column(signed[1]),
        "u": column(draw(st.sampled_from([st.integers(0, 99), POSITIVE]))),
        "s": column(st.integers(-128, 127)),
    }
    return pl.DataFrame(data, schema=FRAME)


def combined(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda two: two[0] + two[1]),
        pairs.map(lambda two: two[0] - two[1]),
        pairs.map(lambda two: two[0] * two[1]),
        inner.map(lambda one: -one),
        inner.map(lambda one: one.abs()),
        st.tuples(inner, st.sampled_from([1, 3, 2**40])).map(lambda two: two[0] // two[1]),
        st.tuples(inner, st.sampled_from([1, 3, 2**40])).map(lambda two: two[0] % two[1]),
        pairs.map(lambda two: when(two[0] > 0).then(two[0]).otherwise(two[1])),
        pairs.map(lambda two: coalesce(two[0], two[1])),
        pairs.map(lambda two: two[0].fill_null(two[1])),
    )


# A column of unsigned 64 bits beside a signed one has no common type, so it comes in by a difference.
LEAVES = st.one_of(
    st.sampled_from([col("a"), col("b"), col("s"), col("u") - 1, col("a")]), st.sampled_from([*EDGES, 2, 3]).map(lit)
)
EXPRESSIONS = st.recursive(LEAVES, combined, max_leaves=6)

Result = list[int | None] | None
"""The values; None where some row has no right answer."""


def computed(frame: pl.DataFrame, expr: pl.Expr) -> Result:
    try:
        return frame.select(expr, pl.int_range(pl.len()).alias("__n")).to_series().to_list()
    except pl.exceptions.InvalidOperationError:
        return None


def agrees(frame: pl.DataFrame, expr: Expr, expected: Result) -> None:
    """Check the compilation for a frame's values against the right result, and that against its bounds."""
    bounded, bounds = compile_bounded(expr, SCHEMA, measured(frame, ["a", "b", "u"]))
    assert computed(frame, bounded) == expected
    assert all(bounds.low <= value <= bounds.high for value in expected or () if value is not None)


@given(frames(), EXPRESSIONS)
def test_what_bounds_prove_needless_changes_no_result(frame: pl.DataFrame, expr: Expr) -> None:
    assume(pa.types.is_integer(infer(expr, SCHEMA).type))
    agrees(frame, expr, computed(frame, compile_expr(expr, SCHEMA)))


OPERATIONS: list[tuple[Range, Callable[..., int], bool]] = [
    (integer_bounds.added, lambda x, y: x + y, False),
    (integer_bounds.subtracted, lambda x, y: x - y, False),
    (integer_bounds.multiplied, lambda x, y: x * y, False),
    (integer_bounds.floor_divided, lambda x, y: x // y, True),
    (integer_bounds.remained, lambda x, y: x % y, True),
    (integer_bounds.hull, lambda x, y: x, False),
    (integer_bounds.hull, lambda x, y: y, False),
]
INTERVALS = st.tuples(WHOLE, WHOLE).map(lambda ends: Bounds(min(ends), max(ends)))


@given(INTERVALS, INTERVALS, st.data())
def test_every_result_lies_within_the_bounds(first: Bounds, second: Bounds, data: st.DataObject) -> None:
    x, y = (data.draw(st.integers(part.low, part.high)) for part in (first, second))
    for within, operation, divides in OPERATIONS:
        found = within([first, second])
        if found is None:
            assert divides and second.low <= 0
        else:
            assert found.low <= operation(x, y) <= found.high
    assert integer_bounds.negated([first]).low <= -x <= integer_bounds.negated([first]).high
    assert integer_bounds.absolute([first]).low <= abs(x) <= integer_bounds.absolute([first]).high


@given(st.lists(st.one_of(st.none(), WHOLE), max_size=5))
def test_every_value_of_a_column_lies_within_what_is_measured(values: Sequence[int | None]) -> None:
    bounds = measured(pl.DataFrame({"a": values}, schema={"a": pl.Int64}), ["a"])["a"]
    assert all(bounds.low <= value <= bounds.high for value in values if value is not None)
    assert bounds.within(INT64)


@pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64()])
def test_a_type_holds_its_bounds_and_nothing_beyond(kind: pa.DataType) -> None:
    bounds = of_type(kind)
    assert pa.array([bounds.low, bounds.high], kind).to_pylist() == [bounds.low, bounds.high]
    for beyond in (bounds.low - 1, bounds.high + 1):
        with pytest.raises((pa.ArrowInvalid, OverflowError)):
            pa.array([beyond], kind)


SMALL_ROWS = pl.DataFrame({"a": [-5, 7], "b": [1, None], "u": [3, 4], "s": [1, 2]}, schema=FRAME)
PROVED = [col("a") * 2 + 1, col("a") * col("b") - col("s"), -col("a"), (col("a") - col("b")).abs(), col("u") - 9]


@pytest.mark.parametrize("expr", PROVED, ids=str)
def test_small_values_need_no_check(expr: Expr) -> None:
    bounded, _ = compile_bounded(expr, SCHEMA, measured(SMALL_ROWS, ["a", "b", "u"]))
    assert "128" not in str(bounded)
    assert "128" in str(compile_expr(expr, SCHEMA))


EDGE_CASES = [
    (GREATEST, col("a") + 1, None),
    (GREATEST - 1, col("a") + 1, GREATEST),
    (LEAST, col("a") - 1, None),
    (LEAST, -col("a"), None),
    (LEAST, col("a").abs(), None),
    (LEAST + 1, -col("a"), GREATEST),
    (2**62, col("a") * 2, None),
    (-(2**62), col("a") * 2, LEAST),
    (2**62, (col("a") * 2 - 1) * 0, None),
]
"""A value, what is computed of it, and the result; None: there is none, as something on the way left 64 bits."""


@pytest.mark.parametrize(("value", "expr", "expected"), EDGE_CASES, ids=str)
def test_at_the_edge_of_64_bits_a_result_is_right_or_refused(value: int, expr: Expr, expected: int | None) -> None:
    frame = pl.DataFrame({"a": [value, 1], "b": [1, 1], "u": [1, 1], "s": [1, 1]}, schema=FRAME)
    checked = computed(frame, compile_expr(expr, SCHEMA))
    agrees(frame, expr, checked)
    assert (checked[0] if checked else None) == expected


def test_the_columns_worth_a_look_are_those_under_arithmetic() -> None:
    expr = when(col("a") > 1).then(col("b") * 2).otherwise(col("u"))
    assert guarded_columns(expr) == {"b"}
    assert guarded_columns((col("a") // 2).abs().alias("x")) == {"a"}
    assert guarded_columns(lit(1) + 2) == frozenset()


# ---------------------------------------------------------------------- planted


def _trusting(within: Range, args: Sequence[object]) -> bool:
    """Believes that what fits before the operation fits after it."""
    return True


def _one_byte_short(low: int, high: int) -> Bounds:
    size_bytes = max(1, max(low.bit_length(), high.bit_length()) // 8)
    return Bounds(-(2 ** (8 * size_bytes - 1)), 2 ** (8 * size_bytes - 1) - 1)


def _without_mixed_signs(args: Sequence[Bounds]) -> Bounds:
    a, b = args
    return Bounds(min(a.low * b.low, a.high * b.high), max(a.low * b.low, a.high * b.high))


MUTANTS: list[tuple[object, str, object, pl.DataFrame, Expr]] = [
    (
        expression_numbers,
        "_cannot_wrap",
        _trusting,
        pl.DataFrame({"a": [GREATEST], "b": [1], "u": [1], "s": [1]}, schema=FRAME),
        col("a") + col("b"),
    ),
    (
        integer_bounds,
        "_loosened",
        _one_byte_short,
        pl.DataFrame({"a": [2**33], "b": [2**33], "u": [1], "s": [1]}, schema=FRAME),
        col("a") * col("b"),
    ),
    (
        expressions,
        "_RANGES",
        {**expressions._RANGES, "mul": _without_mixed_signs},
        pl.DataFrame({"a": [-(2**31)], "b": [2**24], "u": [1], "s": [1]}, schema=FRAME),
        col("a") * col("b"),
    ),
]


@pytest.mark.parametrize(("room", "name", "planted", "frame", "expr"), MUTANTS, ids=["trusting", "short", "signs"])
def test_a_wrong_proof_is_found(
    room: object, name: str, planted: object, frame: pl.DataFrame, expr: Expr, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = computed(frame, compile_expr(expr, SCHEMA))
    agrees(frame, expr, expected)
    monkeypatch.setattr(room, name, planted)
    with pytest.raises(AssertionError):
        agrees(frame, expr, expected)
