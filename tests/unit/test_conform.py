"""Batches brought to a schema."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.columnar.conform import Conformer, conform, convert
from thalweg.core.schema import TIMESTAMP, Field, Rule, Schema

INF = float("inf")


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        (pa.array([1, 300, -1, None], pa.int64()), pa.uint8(), [1, "bad", "bad", None]),
        (pa.array([1, 2**63], pa.uint64()), pa.int64(), [1, "bad"]),
        (pa.array([2**53, 2**53 + 1, 2**62, 2**63 - 1]), pa.float64(), [2.0**53, "bad", 2.0**62, "bad"]),
        (pa.array([2**64 - 1, 2**63], pa.uint64()), pa.float64(), ["bad", 2.0**63]),
        (pa.array([2**24, 2**24 + 1], pa.int32()), pa.float32(), [2.0**24, "bad"]),
        (pa.array([1.5, 1e300, INF, None]), pa.float32(), [1.5, "bad", INF, None]),
        (pa.array([1.5], pa.float32()), pa.float64(), [1.5]),
        (pa.array([1, 2**60]), pa.decimal128(10, 2), [Decimal(1), "bad"]),
        (pa.array([Decimal("1.25"), Decimal("1.20")]), pa.decimal128(5, 1), ["bad", Decimal("1.2")]),
        (pa.array([1.0, None]), pa.int64(), ["bad", None]),
        (pa.array(["1"]), pa.int64(), ["bad"]),
        (pa.array([1]), pa.string(), ["bad"]),
        (pa.array([True]), pa.int64(), ["bad"]),
        (pa.array([b"a"]), pa.string(), ["bad"]),
        (pa.array(["a", None], pa.large_string()), pa.string(), ["a", None]),
        (pa.array(["a", None], pa.string_view()), pa.string(), ["a", None]),
        (pa.array([b"ab"], pa.binary(2)), pa.binary(), [b"ab"]),
        (pa.array(["a", "b", None]).dictionary_encode(), pa.string(), ["a", "b", None]),
        (pa.array([300, 1]).dictionary_encode(), pa.int8(), ["bad", 1]),
        (pa.array([None, None], pa.null()), pa.int64(), [None, None]),
        (pa.array([dt.date(2013, 1, 1)]), TIMESTAMP, [dt.datetime(2013, 1, 1, tzinfo=dt.UTC)]),
        (pa.array([dt.datetime(2013, 1, 1)]), pa.date32(), ["bad"]),
        (pa.array([1], pa.time64("ns")), pa.time64("us"), [dt.time(0)]),
        (pa.array([1_001], pa.duration("ns")), pa.duration("us"), [dt.timedelta(microseconds=1)]),
        (pa.array([2**62], pa.timestamp("s")), TIMESTAMP, ["bad"]),
        (pa.array([[1, 300], None, [], [2]]), pa.list_(pa.int8()), ["bad", None, [], [2]]),
        (pa.array([[1, 300], None, [], [2]]).slice(1), pa.list_(pa.int8()), [None, [], [2]]),
        (pa.array([[1], None], pa.large_list(pa.int64())), pa.list_(pa.float64()), [[1.0], None]),
        (
            pa.array([{"a": 1, "b": "x"}, None, {"a": 400}]),
            pa.struct([("a", pa.int8()), ("z", pa.string())]),
            [{"a": 1, "z": None}, None, "bad"],
        ),
        (
            pa.array([[{"t": 1}], [{"t": None}]], pa.list_(pa.struct([("t", pa.timestamp("ns"))]))),
            pa.list_(pa.struct([("t", TIMESTAMP)])),
            [[{"t": dt.datetime(1970, 1, 1, tzinfo=dt.UTC)}], [{"t": None}]],
        ),
    ],
)
def test_a_value_is_converted_exactly_or_refused(values: pa.Array, target: pa.DataType, expected: list[Any]) -> None:
    found, failed = convert(values, target)
    found.validate(full=True)
    assert found.type.equals(target)
    marks = [False] * len(values) if failed is None else failed.to_pylist()
    assert ["bad" if is_bad else value for value, is_bad in zip(found.to_pylist(), marks, strict=True)] == expected
    if failed is not None:
        assert found.filter(failed).null_count == failed.true_count


def test_nanoseconds_are_dropped_downwards_also_before_1970() -> None:
    values = pa.array([-1, -1_000, 1_999, None], pa.timestamp("ns", "Europe/Berlin"))
    assert convert(values, TIMESTAMP)[0].cast(pa.int64()).to_pylist() == [-1, -1, 1, None]


def test_a_batch_of_the_schema_is_given_back_as_it_is() -> None:
    schema = Schema((Field("a", pa.int64(), False), Field("b", pa.string())))
    batch = pa.record_batch({"a": [1], "b": ["x"]}, schema=schema.arrow)
    done = Conformer(schema).conform(batch)
    assert done.data is batch
    assert done.bad == ()
    assert done.origin(0) == 0


def test_columns_are_picked_by_name_missing_ones_are_null_and_others_dropped() -> None:
    schema = Schema((Field("a", pa.int64()), Field("b", pa.string()), Field("c", pa.float64(), False)))
    batch = pa.record_batch({"extra": [1, 2], "c": [1, 2], "a": pa.array([3, 4], pa.int32())})
    done = conform(batch, schema)
    assert done.data.schema.equals(schema.arrow, check_metadata=True)
    assert done.data.to_pydict() == {"a": [3, 4], "b": [None, None], "c": [1.0, 2.0]}


def test_bad_rows_are_named_once_and_left_out() -> None:
    schema = Schema(
        (Field("a", pa.int8(), False), Field("b", pa.int64(), True, (Rule("ge", 0),)), Field("c", pa.string(), False))
    )
    batch = pa.record_batch({"a": [1, 300, 2, None, 3], "b": [1, -1, -1, 1, 1], "c": ["x", "x", None, None, "y"]})
    done = conform(batch, schema)
    assert done.data.to_pydict() == {"a": [1, 3], "b": [1, 1], "c": ["x", "y"]}
    assert [(bad.row, bad.column) for bad in done.bad] == [(1, "a"), (2, "b"), (3, "a")]
    assert [done.origin(row) for row in range(2)] == [0, 4]
    assert done.bad[0].reason == "300 of type int64 is not a value of type int8"


def test_a_missing_column_that_must_have_values_makes_every_row_bad() -> None:
    done = conform(pa.record_batch({"b": [1, 2]}), Schema((Field("a", pa.int64(), False),)))
    assert done.data.num_rows == 0
    assert [bad.row for bad in done.bad] == [0, 1]


def test_the_schema_of_nothing_and_a_batch_of_nothing() -> None:
    schema = Schema((Field("a", pa.list_(pa.int64())), Field("t", TIMESTAMP, False)))
    done = conform(pa.record_batch({"a": pa.array([], pa.list_(pa.int32())), "t": pa.array([], pa.string())}), schema)
    assert done.data.num_rows == 0
    assert done.data.schema == schema.arrow


NUMBERS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))


@given(
    st.lists(NUMBERS), st.sampled_from([pa.int8(), pa.uint16(), pa.int32(), pa.uint64(), pa.float32(), pa.float64()])
)
def test_an_integer_keeps_its_value_or_its_row_is_bad(values: list[int | None], target: pa.DataType) -> None:
    schema = Schema((Field("v", target), Field("at", pa.int64())))
    batch = pa.record_batch({"v": pa.array(values, pa.int64()), "at": pa.array(range(len(values)), pa.int64())})
    done = conform(batch, schema)
    assert done.data.num_rows + len(done.bad) == len(values)
    for row in done.data.to_pylist():
        assert row["v"] == values[row["at"]]
    for bad in done.bad:
        value = values[bad.row]
        assert value is not None
        try:
            fits = pa.scalar(value, target).as_py() == value
        except (pa.ArrowInvalid, OverflowError):
            fits = False
        assert not fits
