"""A reader that waits for rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import pyarrow as pa

from thalweg.core.clock import Clock
from thalweg.core.errors import LogError
from thalweg.log.reading import PartitionReader, Rows
from thalweg.log.rows import widened

_POLL_S: Final = 0.001
_SLOW_POLL_S: Final = 0.002
_QUIET_S: Final = 1.0
"""After so long without a row the slower poll begins."""

_FEW_ROWS: Final = 4_096
"""Frames of fewer rows are given together, as far as they are there."""


class Wakes:
    """The events of readers that wait in this process, by partition."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[tuple[str, int], set[threading.Event]] = {}

    def add(self, topic: str, partition: int) -> threading.Event:
        """Return a new event that is set at each publication."""
        event = threading.Event()
        with self._lock:
            self._events.setdefault((topic, partition), set()).add(event)
        return event

    def remove(self, topic: str, partition: int, event: threading.Event) -> None:
        """Forget an event."""
        with self._lock:
            self._events.get((topic, partition), set()).discard(event)

    def wake(self, topic: str, partition: int) -> None:
        """Set the events of a partition."""
        if (topic, partition) in self._events:
            with self._lock:
                events = list(self._events[topic, partition])
            for event in events:
                event.set()


class TopicReader:
    """Reads one partition in order and waits for what comes; ``Topic.reader`` makes it.

    Rows that this process appends wake it at once. Others' are seen by looking at the partition's published end every
    1 ms, every 2 ms after a second of silence: two to four percent of a processor per reader that waits.

    Not for several threads at once.
    """

    def __init__(
        self, partition: PartitionReader, wake: threading.Event, clock: Clock, closed: Callable[[], None]
    ) -> None:
        self._partition = partition
        self._wake = wake
        self._clock = clock
        self._closed = closed
        self._given: list[Rows] = []

    @property
    def offset(self) -> int:
        """The offset after the last row that was given."""
        return self._partition.offset

    def row_offset(self, row: int) -> int:
        """Return the offset of a row of the batch that was given last.

        Raises:
            IndexError: The batch has no such row.
        """
        for rows in self._given:
            if row < len(rows):
                return rows.offset(row)
            row -= len(rows)
        raise IndexError("the last batch has no such row")

    def read(self, max_rows: int = 65_536, timeout_s: float = 0.0) -> pa.RecordBatch | None:
        """Return the next rows as soon as there are some; None if there were none in time.

        Shape: At least one row and at most ``max_rows``, with the topic's columns. Long frames are given without a
        copy; short ones that stand behind each other are joined.

        Raises:
            OffsetGone: The rows were trimmed, or the topic was deleted.
            LogDamaged: What is stored is not what was written.
        """
        began = self._clock.monotonic_s()
        while True:
            self._wake.clear()
            if (batch := self._ready(max_rows)) is not None:
                return batch
            waited = self._clock.monotonic_s() - began
            if waited >= timeout_s:
                return None
            poll = _POLL_S if waited < _QUIET_S else _SLOW_POLL_S
            self._clock.wait(self._wake, min(poll, timeout_s - waited))

    def close(self) -> None:
        """Close the files; batches that were given stay good."""
        self._partition.close()
        self._closed()

    def __enter__(self) -> TopicReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self, max_rows: int) -> pa.RecordBatch | None:
        given: list[Rows] = []
        count = 0
        while count < max_rows and (not given or count < _FEW_ROWS):
            try:
                rows = self._partition.read(max_rows - count)
            except LogError:
                if not given:
                    raise
                break  # the rows before are good; the next read meets the error again
            if rows is None:
                break
            given.append(rows)
            count += len(rows)
        if not given:
            return None
        self._given = given
        if len(given) == 1:
            return given[0].batch
        # The topic may have evolved between two frames: all of them get the columns of the newest.
        newest = given[-1].batch.schema
        return pa.concat_batches([widened(rows.batch, newest) for rows in given])
