"""Each row's event time at the door, and the rows that have none that can be used."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from thalweg import col
from thalweg.connect import memory
from thalweg.engine.embedded.event_time import EARLIEST_US, LATEST_US, EventTime, Timed
from thalweg.engine.embedded.rows import NEVER
from thalweg.plan.nodes import Read

UTC_US = pa.timestamp("us", tz="UTC")
SECOND = 1_000_000
Values = list[int | None]


def event_time(kind: pa.DataType, time: object = "t", **options: Any) -> EventTime:
    node = tw.App("t").read(memory([[]]), schema=pa.schema([("t", kind)]), time=time, **options)._node
    assert isinstance(node, Read)
    return EventTime(node)


def batch(values: list[Any], kind: pa.DataType) -> pa.RecordBatch:
    return pa.record_batch({"t": pa.array(values, kind)})


def times(timed: Timed) -> list[int]:
    if timed.times is not None:
        return timed.times.to_list()
    column = timed.data.column(0)
    return [value.value for value in column]


def test_a_column_of_timestamps_is_taken_as_it_is() -> None:
    given_batch = batch([5, 3, 9], UTC_US)
    timed = event_time(UTC_US).of(given_batch, NEVER)
    assert timed.data is given_batch
    assert timed.times is None  # no copy is made of a column that is the time
    assert (timed.low, timed.high, timed.bad, timed.rows) == (3, 9, (), None)


@pytest.mark.parametrize(
    ("unit", "value", "us"),
    [("s", 7, 7 * SECOND), ("ms", 7, 7_000), ("us", 7, 7), ("ns", 7_999, 7), ("ns", -1, -1)],
)
def test_integers_are_counted_in_their_unit(unit: str, value: int, us: int) -> None:
    timed = event_time(pa.int64(), time_unit=unit).of(batch([value], pa.int64()), NEVER)
    assert times(timed) == [us]


def test_a_date_is_its_first_instant() -> None:
    timed = event_time(pa.date32()).of(batch([dt.date(1970, 1, 3)], pa.date32()), NEVER)
    assert times(timed) == [2 * 86_400 * SECOND]


def test_a_time_may_be_computed() -> None:
    made = event_time(pa.int64(), time=col("t") * 2, time_unit="s")
    timed = made.of(batch([3], pa.int64()), NEVER)
    assert times(timed) == [6 * SECOND]
    assert made.column is None


def test_a_row_without_a_time_is_left_out() -> None:
    timed = event_time(UTC_US).of(batch([1, None, 3, None], UTC_US), NEVER)
    assert times(timed) == [1, 3]
    assert timed.rows == [0, 2]
    assert [row for row, _ in timed.bad] == [1, 3]
    assert timed.bad[0][1] == "t is null; every row needs an event time"
    assert (timed.low, timed.high) == (1, 3)


@pytest.mark.parametrize("good", [EARLIEST_US, LATEST_US, 0, 9_214_646_400 * SECOND])
def test_the_years_1_to_9999_are_good(good: int) -> None:
    timed = event_time(UTC_US).of(batch([good], UTC_US), NEVER)
    assert (times(timed), timed.bad) == ([good], ())


@pytest.mark.parametrize("bad", [EARLIEST_US - 1, LATEST_US + 1, 2**62, -(2**62), 2**63 - 1, -(2**63)])
def test_a_time_outside_of_them_is_left_out(bad: int) -> None:
    timed = event_time(UTC_US).of(batch([4, bad], UTC_US), NEVER)
    assert times(timed) == [4]
    assert timed.bad == ((1, "t lies outside the years 1 to 9999; is its unit right?"),)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("extreme", [2**63 - 1, -(2**63)])
def test_an_integer_that_overflows_in_its_unit_is_left_out_not_wrapped(unit: str, extreme: int) -> None:
    timed = event_time(pa.int64(), time_unit=unit).of(batch([extreme, 1], pa.int64()), NEVER)
    if unit == "ns":  # nanoseconds of 64 bits reach from 1677 to 2262
        assert timed.bad == ()
    else:
        assert [row for row, _ in timed.bad] == [0]
        assert len(times(timed)) == 1


def test_a_batch_without_any_usable_time_gives_no_rows() -> None:
    timed = event_time(UTC_US).of(batch([None, None], UTC_US), NEVER)
    assert timed.data.num_rows == 0
    assert len(timed.bad) == 2


def jumpers(values: Values, limit: int, before: int) -> list[int]:
    """The rows that jump, by the definition: over the running maximum of the rows before that did not."""
    found = []
    greatest = before
    for row, value in enumerate(values):
        if value is None:
            continue
        if greatest != NEVER and value > greatest + limit:
            found.append(row)
        else:
            greatest = max(greatest, value)
    return found


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=1, max_size=30),
    st.integers(0, 20),
    st.one_of(st.just(NEVER), st.integers(0, 60)),
)
def test_a_row_that_jumps_is_measured_against_those_that_did_not(values: Values, limit: int, before: int) -> None:
    made = event_time(UTC_US, max_jump=dt.timedelta(microseconds=limit))
    timed = made.of(batch(values, UTC_US), before)
    expected = set(jumpers(values, limit, before)) | {row for row, value in enumerate(values) if value is None}
    assert {row for row, _ in timed.bad} == expected
    assert times(timed) == [value for row, value in enumerate(values) if row not in expected]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20), st.integers(0, 20), st.integers(0, 20))
def test_a_jump_does_not_depend_on_the_cut(values: list[int], limit: int, cut: int) -> None:
    made = event_time(UTC_US, max_jump=dt.timedelta(microseconds=limit))
    whole = made.of(batch(list(values), UTC_US), NEVER)
    first = made.of(batch(list(values[:cut]), UTC_US), NEVER) if values[:cut] else None
    running = NEVER if first is None else max([NEVER, *times(first)])
    kept = [] if first is None else times(first)
    if values[cut:]:
        kept += times(made.of(batch(list(values[cut:]), UTC_US), running))
    assert kept == times(whole)


def test_the_message_says_that_a_clock_may_be_wrong() -> None:
    made = event_time(UTC_US, max_jump="1h")
    timed = made.of(batch([0, 2 * 3600 * SECOND], UTC_US), NEVER)
    assert timed.bad == ((1, "t is 2h ahead of all rows before it, more than max_jump=1h; a clock may be wrong"),)


def test_the_first_row_of_a_partition_cannot_jump() -> None:
    made = event_time(UTC_US, max_jump="1s")
    assert made.of(batch([LATEST_US], UTC_US), NEVER).bad == ()


def test_a_time_that_cannot_be_computed_is_left_out_with_its_reason() -> None:
    made = event_time(pa.string(), time=col("t").str.to_datetime())
    timed = made.of(batch(["2026-01-01T00:00:00", "soon", "2026-01-01T00:00:01"], pa.string()), NEVER)
    assert [row for row, _ in timed.bad] == [1]
    assert "soon" in timed.bad[0][1]
    assert timed.rows == [0, 2]


def test_a_constant_time_is_that_of_every_row() -> None:
    made = event_time(pa.int64(), time=tw.lit(dt.datetime(1970, 1, 1, 0, 0, 1)))
    assert times(made.of(batch([1, 2, 3], pa.int64()), NEVER)) == [SECOND] * 3
