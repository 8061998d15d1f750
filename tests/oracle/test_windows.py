"""Windows and lateness of the oracle, against time lines drawn by hand."""

from __future__ import annotations

import pytest

from tests.oracle.values import Row
from tests.oracle.windows import (
    Cumulating,
    Event,
    Hopping,
    Read,
    Span,
    Tumbling,
    Window,
    events,
    split,
)

S = 1_000_000
DAY = 86_400 * S
WEEK = 7 * DAY

SPANS: list[tuple[Window, int, list[Span]]] = [
    (Tumbling(10), 0, [(0, 10)]),
    (Tumbling(10), 9, [(0, 10)]),
    (Tumbling(10), 10, [(10, 20)]),
    (Tumbling(10), -1, [(-10, 0)]),
    (Tumbling(10, 3), 2, [(-7, 3)]),
    (Tumbling(10, 3), 3, [(3, 13)]),
    (Tumbling(WEEK), 0, [(4 * DAY - WEEK, 4 * DAY)]),  # Thursday 1970-01-01 is in the week from Monday 1969-12-29
    (Tumbling(WEEK), 4 * DAY, [(4 * DAY, 11 * DAY)]),
    # size 10, every 4: windows start at … −8 −4 0 4 8 …; 9 is in those from 0, 4 and 8, 11 in those from 4 and 8
    (Hopping(10, 4), 9, [(0, 10), (4, 14), (8, 18)]),
    (Hopping(10, 4), 10, [(4, 14), (8, 18)]),
    (Hopping(10, 4), 11, [(4, 14), (8, 18)]),
    (Hopping(10, 4), 12, [(4, 14), (8, 18), (12, 22)]),
    (Hopping(10, 5), 10, [(5, 15), (10, 20)]),
    (Hopping(10, 4, 1), 9, [(1, 11), (5, 15), (9, 19)]),
    (Hopping(10, 10), 10, [(10, 20)]),
    (Hopping(10, 4), -1, [(-8, 2), (-4, 6)]),
    (Cumulating(12, 4), 0, [(0, 4), (0, 8), (0, 12)]),
    (Cumulating(12, 4), 4, [(0, 8), (0, 12)]),
    (Cumulating(12, 4), 11, [(0, 12)]),
    (Cumulating(12, 4, 2), 1, [(-10, 2)]),
]


@pytest.mark.parametrize(("window", "time", "spans"), SPANS, ids=str)
def test_the_windows_that_hold_a_time(window: Window, time: int, spans: list[Span]) -> None:
    assert window.spans(time) == spans


def read(*times: int | None, **options: object) -> list[tuple[int | None, int | None]]:
    """Return (time, watermark before) of the events of one partition."""
    rows: tuple[Row, ...] = tuple({"ts": time} for time in times)
    found, _ = events(Read(("ts",), "ts", (rows,), **options))  # type: ignore[arg-type]  # options of the test's own
    return [(event.time_us, event.watermark_us) for event in found]


def test_the_watermark_before_a_row_is_the_greatest_time_before_it_less_the_lateness() -> None:
    assert read(10, 30, 20, 31, lateness_us=5) == [(10, None), (30, 5), (20, 25), (31, 25)]


def test_partitions_have_watermarks_of_their_own() -> None:
    partitions: tuple[tuple[Row, ...], ...] = (({"ts": 100},), ({"ts": 1}, {"ts": 2}))
    found, _ = events(Read(("ts",), "ts", partitions))
    assert [(e.partition, e.position, e.watermark_us) for e in found] == [(0, 0, None), (1, 0, None), (1, 1, 1)]


def test_rejected_rows_move_no_watermark() -> None:
    assert read(10, None, 12) == [(10, None), (12, 10)]
    assert read(10, 1000, 12, max_jump_us=100) == [(10, None), (12, 10)]
    assert read(10, 110, 12, max_jump_us=100) == [(10, None), (110, 10), (12, 110)]
    partitions: tuple[tuple[Row, ...], ...] = (({"ts": 10, "x": 1}, {"ts": 99, "x": None}, {"ts": 12, "x": 1}),)
    found, rejected = events(Read(("ts", "x"), "ts", partitions, required=frozenset({"x"})))
    assert [(e.position, e.watermark_us) for e in found] == [(0, None), (2, 10)]
    assert rejected == 1


@pytest.mark.parametrize(
    ("watermark", "counted", "late"),
    [
        (None, [(0, 10), (4, 14), (8, 18)], []),
        (9, [(0, 10), (4, 14), (8, 18)], []),
        (10, [(4, 14), (8, 18)], [(0, 10)]),  # a window is over when its end is reached
        (13, [(4, 14), (8, 18)], [(0, 10)]),
        (14, [(8, 18)], [(0, 10), (4, 14)]),
        (18, [], [(0, 10), (4, 14), (8, 18)]),
    ],
)
def test_a_row_can_be_late_for_some_of_its_windows(
    watermark: int | None, counted: list[Span], late: list[Span]
) -> None:
    assert split(Event(0, 0, 9, watermark, {}), Hopping(10, 4)) == (counted, late)
