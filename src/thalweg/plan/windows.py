"""Windows over event time: which windows a row belongs to.

Every window here has its end on a grid. A row at time *t* belongs to the windows whose ends run from
``first_end(t)`` to ``last_end(t)`` in steps of ``every_us``; both are step functions of *t* that never
fall, so rows between two of their steps (a *slice*) share all their windows.

    hopping("4m", every="2m")       12:00     12:02     12:04     12:06
                                      |---------w1--------|
                                                |---------w2--------|
    a row at 12:03                                   x              first_end 12:04, last_end 12:06
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from thalweg.core.duration import duration_us
from thalweg.core.errors import PlanError

_WEEK_US = 7 * 86_400_000_000
_MONDAY_US = 4 * 86_400_000_000  # 1970-01-05, the first Monday since the epoch
Duration = str | timedelta


@dataclass(frozen=True, slots=True)
class SessionWindow:
    """Windows per key of rows that are less than a gap apart. Made by ``session``.

    Attributes:
        gap_us: In microseconds.
    """

    gap_us: int

    kind = "session"

    def __str__(self) -> str:
        return f"session({_shown(self.gap_us)})"


@dataclass(frozen=True, slots=True)
class CountWindow:
    """Windows per key of so many rows, one after the other. Made by ``count_window``.

    Attributes:
        rows: How many.
    """

    rows: int

    kind = "count"

    def __str__(self) -> str:
        return f"count_window({self.rows})"


@dataclass(frozen=True, slots=True)
class Window:
    """A kind of event-time window. Made by ``tumbling``, ``hopping`` and ``cumulating``.

    Attributes:
        kind: The constructor's name.
        size_us: The (greatest) length, in microseconds.
        every_us: The distance between two window ends, in microseconds.
        offset_us: Where the grid starts, in microseconds since 1970 (UTC).
    """

    kind: Literal["tumbling", "hopping", "cumulating"]
    size_us: int
    every_us: int
    offset_us: int

    def first_end(self, time_us: int) -> int:
        """Return the end of the first window (by end) that holds a row of this time."""
        return time_us - (time_us - self._end_grid_us) % self.every_us + self.every_us

    def last_end(self, time_us: int) -> int:
        """Return the end of the last window that holds a row of this time; before the first if none does."""
        if self.kind == "cumulating":
            return time_us - (time_us - self.offset_us) % self.size_us + self.size_us
        return time_us + self.size_us - (time_us - self.offset_us) % self.every_us

    def start(self, end_us: int) -> int:
        """Return the start of the window with this end."""
        if self.kind == "cumulating":
            return self.last_end(end_us - 1) - self.size_us
        return end_us - self.size_us

    def next_slice(self, time_us: int) -> int:
        """Return the first time after this one that belongs to other windows."""
        to_start = self.every_us - (time_us - self.offset_us) % self.every_us
        to_end = self.every_us - (time_us - self._end_grid_us) % self.every_us
        return time_us + min(to_start, to_end)

    @property
    def _end_grid_us(self) -> int:
        return self.offset_us if self.kind == "cumulating" else self.offset_us + self.size_us

    def __str__(self) -> str:
        parts = [_shown(self.size_us)]
        if self.kind != "tumbling":
            parts.append(f"every={_shown(self.every_us)}")
        if self.offset_us not in (0, _MONDAY_US):
            parts.append(f"offset={_shown(self.offset_us)}")
        return f"{self.kind}({', '.join(parts)})"


AnyWindow = Window | SessionWindow | CountWindow


def tumbling(size: Duration, *, offset: Duration = "0s") -> Window:
    """Windows of one length, side by side; a row belongs to one.

    Args:
        size: The length, such as ``"1m"``. Weeks start on Monday.
        offset: Moves the grid, which otherwise is aligned to 1970-01-01 00:00 UTC.

    Raises:
        PlanError: A duration is not positive, or names months or years.

    Example:
        >>> print(tumbling("90s"))
        tumbling(90s)
    """
    size_us = _positive(size, "size")
    return Window("tumbling", size_us, size_us, _offset(offset, size_us))


def hopping(size: Duration, *, every: Duration, offset: Duration = "0s") -> Window:
    """Windows of one length that start every so often; a row belongs to all that hold its time.

    Args:
        size: The length.
        every: The distance between two starts; it need not divide the size. Where it is greater, rows
            between two windows belong to none and are filtered.
        offset: Moves the grid, which otherwise is aligned to 1970-01-01 00:00 UTC.

    Raises:
        PlanError: A duration is not positive, or names months or years.

    Example:
        >>> window = hopping("4m", every="2m")
        >>> minute = 60_000_000
        >>> window.first_end(3 * minute) // minute, window.last_end(3 * minute) // minute
        (4, 6)
    """
    size_us, every_us = _positive(size, "size"), _positive(every, "every")
    return Window("hopping", size_us, every_us, _offset(offset, every_us))


def cumulating(size: Duration, *, every: Duration, offset: Duration = "0s") -> Window:
    """Windows that share their start and grow by steps to a maximum: the day so far, each hour.

    Args:
        size: The greatest length.
        every: The step; it must divide the size.
        offset: Moves the grid, which otherwise is aligned to 1970-01-01 00:00 UTC.

    Raises:
        PlanError: A duration is not positive, names months or years, or the step does not divide the size.
    """
    size_us, every_us = _positive(size, "size"), _positive(every, "every")
    if size_us % every_us:
        raise PlanError(f"cumulating({size!r}, every={every!r}): the step must divide the size")
    return Window("cumulating", size_us, every_us, _offset(offset, size_us))


def session(gap: Duration) -> SessionWindow:
    """Windows per key of rows that are less than a gap apart; a row between two merges them.

    A session runs from its first row's time to its last row's plus the gap, and closes when the watermark is there.

    Args:
        gap: After so much time without a row a session is over.

    Raises:
        PlanError: The gap is not positive, or names months or years.

    Example:
        >>> print(session("30s"))
        session(30s)
    """
    return SessionWindow(_positive(gap, "gap"))


def count_window(rows: int) -> CountWindow:
    """Windows per key of so many rows in the order of time, formed as the watermark passes them.

    A window runs from its first row's time to just behind its last row's. The last one of a key may be smaller: it
    closes when the input is complete.

    Args:
        rows: How many.

    Raises:
        PlanError: It is not a positive number.

    Example:
        >>> print(count_window(1000))
        count_window(1000)
    """
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise PlanError(f"count_window({rows!r}): a positive number of rows is wanted")
    return CountWindow(rows)


def as_window(window: AnyWindow | Duration) -> AnyWindow:
    """Return the window itself, or the tumbling window of a duration."""
    return window if isinstance(window, (Window, SessionWindow, CountWindow)) else tumbling(window)


def _positive(value: Duration, what: str) -> int:
    us = duration_us(value, what)
    if us <= 0:
        raise PlanError(f"a window's {what} must be longer than nothing, not {value!r}")
    return us


def _offset(offset: Duration, grid_us: int) -> int:
    base = _MONDAY_US if grid_us % _WEEK_US == 0 else 0
    return (base + duration_us(offset, "offset", negative=True)) % grid_us


def _shown(us: int) -> str:
    for unit, factor in (
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
    ):
        if us and us % factor == 0:
            return f"{us // factor}{unit}"
    return f"{us}us" if us else "0s"
