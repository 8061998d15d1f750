"""Windows: which ones hold a time, against a list of all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.errors import PlanError
from thalweg.plan.windows import Window, as_window, cumulating, hopping, tumbling

WEEK_US = 7 * 24 * 3600 * 1_000_000
_REACH = 200
"""Grid points on either side of zero that are looked at: more than any window here lies away from a time."""

Span = tuple[int, int]


def us(count: int) -> timedelta:
    return timedelta(microseconds=count)


def all_spans(kind: str, size: int, every: int, offset: int) -> list[Span]:
    """Every window near zero, written down from the definitions."""
    if kind == "cumulating":
        starts = [offset + k * size for k in range(-_REACH, _REACH)]
        return [(start, start + step) for start in starts for step in range(every, size + 1, every)]
    grid = size if kind == "tumbling" else every
    return [(offset + k * grid, offset + k * grid + size) for k in range(-_REACH, _REACH)]


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Window, list[Span]]:
    kind = draw(st.sampled_from(["tumbling", "hopping", "cumulating"]))
    offset = draw(st.integers(-25, 25))
    every = draw(st.integers(1, 12))
    if kind == "tumbling":
        return tumbling(us(every), offset=us(offset)), all_spans(kind, every, every, offset)
    if kind == "hopping":
        size = draw(st.integers(1, 30))
        return hopping(us(size), every=us(every), offset=us(offset)), all_spans(kind, size, every, offset)
    size = every * draw(st.integers(1, 5))
    return cumulating(us(size), every=us(every), offset=us(offset)), all_spans(kind, size, every, offset)


def ends_of(window: Window, time: int) -> list[int]:
    return list(range(window.first_end(time), window.last_end(time) + 1, window.every_us))


@given(drawn(), st.integers(-60, 60))
def test_a_time_is_in_exactly_the_windows_that_hold_it(made: tuple[Window, list[Span]], time: int) -> None:
    window, spans = made
    expected = sorted(end for start, end in spans if start <= time < end)
    assert ends_of(window, time) == expected


@given(drawn(), st.integers(-60, 60))
def test_a_window_starts_where_its_definition_says(made: tuple[Window, list[Span]], time: int) -> None:
    window, spans = made
    starts = {end: start for start, end in spans}
    assert all(window.start(end) == starts[end] for end in ends_of(window, time))


@given(drawn(), st.integers(-60, 60))
def test_a_slice_ends_where_the_windows_change(made: tuple[Window, list[Span]], time: int) -> None:
    window, _ = made
    upper = window.next_slice(time)
    assert upper > time
    assert all(ends_of(window, t) == ends_of(window, time) for t in range(time, upper))
    assert ends_of(window, upper) != ends_of(window, time)


@given(drawn(), st.integers(-60, 60))
def test_first_and_last_end_never_fall_as_time_rises(made: tuple[Window, list[Span]], time: int) -> None:
    window, _ = made
    assert window.first_end(time) <= window.first_end(time + 1)
    assert window.last_end(time) <= window.last_end(time + 1)
    assert window.first_end(time) > time  # a window that has ended at a time does not hold it


def test_a_time_at_the_end_of_a_window_belongs_to_the_next() -> None:
    minute = 60_000_000
    window = tumbling("1m")
    assert window.first_end(minute - 1) == window.last_end(minute - 1) == minute
    assert window.first_end(minute) == 2 * minute


@pytest.mark.parametrize("window", [tumbling("1w"), hopping("2w", every="1w"), cumulating("1w", every="1d")], ids=str)
def test_weeks_start_on_monday(window: Window) -> None:
    wednesday = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 1_000_000
    start = datetime.fromtimestamp(window.start(window.last_end(wednesday)) / 1e6, UTC)
    assert start.weekday() == 0
    assert start.time() == datetime.min.time()


def test_an_offset_moves_the_grid() -> None:
    hour = 3_600_000_000
    window = tumbling("1d", offset="6h")
    assert window.start(window.first_end(0)) == -18 * hour
    assert tumbling("1d", offset="-18h") == window  # the same grid


def test_a_step_greater_than_the_size_leaves_gaps() -> None:
    window = hopping(us(3), every=us(10))
    assert ends_of(window, 2) == [3]
    assert ends_of(window, 3) == []
    assert ends_of(window, 9) == []
    assert ends_of(window, 10) == [13]


def test_a_duration_stands_for_a_tumbling_window() -> None:
    assert as_window("90s") == as_window(timedelta(seconds=90)) == tumbling("90s")
    assert as_window(hopping("2m", every="1m")).kind == "hopping"


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (tumbling("90s"), "tumbling(90s)"),
        (tumbling("1w"), "tumbling(7d)"),
        (tumbling("1d", offset="6h"), "tumbling(1d, offset=6h)"),
        (hopping("1m", every="10s"), "hopping(1m, every=10s)"),
        (cumulating("1d", every="1h"), "cumulating(1d, every=1h)"),
        (tumbling(us(1500)), "tumbling(1500us)"),
    ],
    ids=lambda value: str(value),
)
def test_a_window_is_shown_as_it_is_written(window: Window, text: str) -> None:
    assert str(window) == text


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tumbling("0s"), "must be longer than nothing"),
        (lambda: tumbling("1 month"), "months are not of one length"),
        (lambda: tumbling("-1m"), "zero or more"),
        (lambda: tumbling("quick"), "allowed: whole numbers with the units"),
        (lambda: tumbling(5), "allowed: a text"),  # type: ignore[arg-type]  # the mistake
        (lambda: hopping("1m", every="0s"), "every must be longer than nothing"),
        (lambda: cumulating("1h", every="7m"), "the step must divide the size"),
    ],
)
def test_a_wrong_duration_is_a_mistake_in_the_program(make: Callable[[], Window], words: str) -> None:
    with pytest.raises(PlanError, match=words) as caught:
        make()
    assert caught.value.place is not None
    assert caught.value.place.file == __file__
