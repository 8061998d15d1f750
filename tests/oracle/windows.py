"""Windows, watermarks and lateness, per row, from the definitions alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tests.oracle.values import Row

WEEK_US = 7 * 24 * 3600 * 1_000_000
MONDAY_US = 4 * 24 * 3600 * 1_000_000
"""1970 began on a Thursday; windows of whole weeks are aligned to the first Monday after."""

Span = tuple[int, int]
"""A window: its start (included) and its end (not included), in microseconds since 1970, UTC."""


class Window(Protocol):
    """Gives the windows that hold a time."""

    def spans(self, time_us: int) -> list[Span]:
        """Return the windows that hold a time, by end."""
        ...


@dataclass(frozen=True, slots=True)
class Tumbling:
    """Windows side by side."""

    size_us: int
    offset_us: int = 0

    def spans(self, time_us: int) -> list[Span]:
        """Return the one window that holds a time."""
        start = _last_start(time_us, self.size_us, self.offset_us)
        return [(start, start + self.size_us)]


@dataclass(frozen=True, slots=True)
class Hopping:
    """Windows of one size that start at every step; they overlap where the step is smaller."""

    size_us: int
    every_us: int
    offset_us: int = 0

    def spans(self, time_us: int) -> list[Span]:
        """Return the windows that hold a time."""
        found = []
        start = _last_start(time_us, self.every_us, self.offset_us)
        while start + self.size_us > time_us:
            found.append((start, start + self.size_us))
            start -= self.every_us
        return found[::-1]


@dataclass(frozen=True, slots=True)
class Cumulating:
    """Windows with one start that grow by a step up to their greatest size."""

    size_us: int
    every_us: int
    offset_us: int = 0

    def spans(self, time_us: int) -> list[Span]:
        """Return the windows that hold a time."""
        start = _last_start(time_us, self.size_us, self.offset_us)
        ends = range(start + self.every_us, start + self.size_us + 1, self.every_us)
        return [(start, end) for end in ends if end > time_us]


def _last_start(time_us: int, every_us: int, offset_us: int) -> int:
    origin = offset_us + (MONDAY_US if every_us % WEEK_US == 0 else 0)
    return (time_us - origin) // every_us * every_us + origin


@dataclass(frozen=True, slots=True)
class Event:
    """A row as it stands in its source.

    Attributes:
        partition: The number of its partition.
        position: Its place in the partition.
        time_us: Its event time, which stays with it whatever happens to its columns.
        watermark_us: The watermark before it; None (−∞) for the first.
        row: Its columns.
    """

    partition: int
    position: int
    time_us: int
    watermark_us: int | None
    row: Row


@dataclass(frozen=True, slots=True)
class Read:
    """What one source holds and how it is read.

    Attributes:
        columns: The columns, in schema order.
        time: The column of event time.
        partitions: The rows of each partition, in order.
        lateness_us: How far behind the greatest time a row may be.
        required: Columns in which a null makes the row rejected.
        max_jump_us: How far a time may be ahead of the partition's greatest; None for no limit.
    """

    columns: tuple[str, ...]
    time: str
    partitions: tuple[tuple[Row, ...], ...]
    lateness_us: int = 0
    required: frozenset[str] = frozenset()
    max_jump_us: int | None = None


def events(read: Read) -> tuple[list[Event], int]:
    """Return the events of a source and the number of rejected rows, which move no watermark."""
    found: list[Event] = []
    rejected = 0
    for number, rows in enumerate(read.partitions):
        greatest: int | None = None
        for position, row in enumerate(rows):
            time_us = row[read.time]
            if time_us is None or any(row[column] is None for column in read.required):
                rejected += 1
                continue
            assert isinstance(time_us, int)
            jump = time_us - greatest if greatest is not None else 0
            if read.max_jump_us is not None and jump > read.max_jump_us:
                rejected += 1
                continue
            watermark_us = None if greatest is None else greatest - read.lateness_us
            found.append(Event(number, position, time_us, watermark_us, row))
            greatest = time_us if greatest is None else max(greatest, time_us)
    return found, rejected


def is_late(span: Span, watermark_us: int | None) -> bool:
    """Return whether a window was over before a row came."""
    return watermark_us is not None and span[1] <= watermark_us


def split(event: Event, window: Window) -> tuple[list[Span], list[Span]]:
    """Return the windows that an event counts in, and those that it is late for."""
    spans = window.spans(event.time_us)
    late = [span for span in spans if is_late(span, event.watermark_us)]
    return [span for span in spans if span not in late], late
