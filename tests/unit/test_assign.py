"""Rows are given to exactly the windows that hold them and that they are not late for."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from thalweg.engine.embedded.assign import assign, bounds_of, window_columns
from thalweg.engine.embedded.rows import NEVER, TIME, WATERMARK, WHY, Origin, Rows
from thalweg.plan.windows import Window, cumulating, hopping, tumbling


def us(count: int) -> timedelta:
    return timedelta(microseconds=count)


WINDOWS = st.one_of(
    st.builds(lambda n, o: tumbling(us(n), offset=us(o)), st.integers(1, 9), st.integers(0, 8)),
    st.builds(lambda n, e: hopping(us(n), every=us(e)), st.integers(1, 15), st.integers(1, 9)),
    st.builds(lambda n, e: cumulating(us(n * e), every=us(e)), st.integers(1, 5), st.integers(1, 4)),
)
TIMES = st.integers(-50, 400)
ROWS = st.lists(st.tuples(TIMES, st.one_of(st.none(), TIMES)), min_size=1, max_size=40)
"""Times, and each row's watermark before it (None: nothing is known yet)."""


def rows_of(given_rows: list[tuple[int, int | None]], *, tested: bool) -> Rows:
    times = [time for time, _ in given_rows]
    columns = {"id": list(range(len(times))), TIME: times}
    if tested:
        columns[WATERMARK] = [NEVER if mark is None else mark for _, mark in given_rows]
    return Rows(pl.DataFrame(columns, schema_overrides={TIME: pl.Int64}), min(times), max(times))


def ends(window: Window, time: int) -> list[int]:
    return [end for end in range(window.first_end(time), window.last_end(time) + 1, window.every_us)]


def pairs(window: Window, slices: list[tuple[tuple[int, int], pl.DataFrame]]) -> Counter[tuple[int, int]]:
    found: Counter[tuple[int, int]] = Counter()
    for (first, last), part in slices:
        for row in part.get_column("id").to_list():
            found.update((row, end) for end in range(first, last + 1, window.every_us))
    return found


def physical(frame: pl.DataFrame, name: str) -> list[int]:
    return frame.get_column(name).to_physical().to_list()


@given(WINDOWS, ROWS)
def test_without_a_late_test_a_row_is_once_in_each_window_that_holds_it(
    window: Window, given_rows: list[tuple[int, int | None]]
) -> None:
    rows = rows_of(given_rows, tested=False)
    assigned = assign(window, rows, rows.frame)
    expected = Counter((i, end) for i, (time, _) in enumerate(given_rows) for end in ends(window, time))
    assert pairs(window, assigned.slices) == expected
    assert assigned.late is None
    assert assigned.outside == sum(not ends(window, time) for time, _ in given_rows)


@given(WINDOWS, ROWS)
def test_a_row_is_late_for_exactly_the_windows_that_ended_at_its_watermark(
    window: Window, given_rows: list[tuple[int, int | None]]
) -> None:
    rows = rows_of(given_rows, tested=True)
    assigned = assign(window, rows, rows.frame)
    every = [(i, end, mark) for i, (time, mark) in enumerate(given_rows) for end in ends(window, time)]
    in_time = Counter((i, end) for i, end, mark in every if mark is None or end > mark)
    late = Counter((i, end) for i, end, mark in every if mark is not None and end <= mark)
    assert pairs(window, assigned.slices) == in_time
    found: Counter[tuple[int, int]] = Counter()
    if assigned.late is not None:
        frame = assigned.late.frame
        found = Counter(zip(frame.get_column("id").to_list(), physical(frame, "window_end"), strict=True))
        starts = [window.start(end) for end in physical(frame, "window_end")]
        assert physical(frame, "window_start") == starts
    assert found == late
    assert assigned.outside == sum(not ends(window, time) for time, _ in given_rows)


@given(WINDOWS, ROWS)
def test_every_row_becomes_pairs_or_is_outside(window: Window, given_rows: list[tuple[int, int | None]]) -> None:
    rows = rows_of(given_rows, tested=True)
    assigned = assign(window, rows, rows.frame)
    late = set() if assigned.late is None else set(assigned.late.frame.get_column("id").to_list())
    kept = {row for _, part in assigned.slices for row in part.get_column("id").to_list()}
    assert len(late | kept) + assigned.outside == len(given_rows)


def test_a_row_can_be_late_for_some_of_its_windows_and_not_for_others() -> None:
    window = hopping(us(40), every=us(20))
    rows = rows_of([(30, 45)], tested=True)  # in [0, 40) and [20, 60); 40 is past
    assigned = assign(window, rows, rows.frame)
    assert pairs(window, assigned.slices) == Counter({(0, 60): 1})
    assert assigned.late is not None
    assert physical(assigned.late.frame, "window_end") == [40]


def test_a_window_that_ends_at_the_watermark_itself_is_missed() -> None:
    window = tumbling(us(10))
    for mark, late in ((9, 0), (10, 1)):
        rows = rows_of([(5, mark)], tested=True)
        assigned = assign(window, rows, rows.frame)
        assert (0 if assigned.late is None else assigned.late.frame.height) == late


def test_a_late_row_keeps_its_columns_and_its_origin() -> None:
    rows = rows_of([(5, 20), (25, 20)], tested=True)
    origin = Origin(lambda row: ("0", f"here:{row}"))
    frame = rows.frame.with_columns(pl.Series(WHY, [1, 0], pl.UInt8))
    assigned = assign(tumbling(us(10)), Rows(frame, rows.low, rows.high, origin), frame)
    assert assigned.late is not None
    assert assigned.late.origin is origin
    assert assigned.late.frame.columns[:3] == ["id", "window_start", "window_end"]
    assert assigned.late.frame.get_column(WHY).to_list() == [1]


def test_window_columns_that_the_rows_have_are_not_overwritten() -> None:
    assert window_columns(("k",)) == ("window_start", "window_end")
    assert window_columns(("k", "window_end")) == ("missed_window_start", "missed_window_end")


def test_the_bounds_of_a_window_are_timestamps_in_utc() -> None:
    window = tumbling("1m")
    frame = pl.DataFrame(bounds_of(window, pl.Series([60_000_000])))
    assert frame.schema == {name: pl.Datetime("us", "UTC") for name in ("window_start", "window_end")}
    assert physical(frame, "window_start") == [0]
