"""The ids of a partition's recent rows, by which repeats are dropped.

State: every id appended within the window, in memory; about 150 bytes each. Read from the log when first needed, and
kept up with what other processes append.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from thalweg.log.layout import ROWS, segment_bases
from thalweg.log.published import End
from thalweg.log.segment import Frame, Segment


class RecentIds:
    """Ids and when they were appended; used under the partition's lock.

    Args:
        directory: The partition's.
        topic: The topic's number.
        column: The column of ids.
        within_us: For how long an id is remembered.
    """

    def __init__(self, directory: Path, topic: int, column: str, within_us: int) -> None:
        self._directory = directory
        self._topic = topic
        self._column = column
        self._within_us = within_us
        self._times: dict[Any, int] = {}
        self._order: deque[tuple[int, Any]] = deque()
        self._read_to: int | None = None

    def forget(self) -> None:
        """Forget everything: what was noted was perhaps not appended."""
        self._times.clear()
        self._order.clear()
        self._read_to = None

    def catch_up(self, end: End, now: int) -> None:
        """Note what was appended since the last look, and forget what is too old.

        Raises:
            LogDamaged: Rows on the way are not right.
        """
        oldest = now - self._within_us
        if self._read_to != end.offset:
            for segment, frame in self._unread(end, oldest):
                batch = segment.batch(frame)
                self._note(batch.column(self._column).to_pylist(), frame.header.greatest_append)
            self._read_to = end.offset
        while self._order and self._order[0][0] < oldest:
            time, value = self._order.popleft()
            if self._times.get(value) == time:
                del self._times[value]

    def fresh(self, table: pa.Table, now: int) -> list[int] | None:
        """Return the indices of the rows whose id is new, and note them; None: all are.

        Rows without an id are always new.
        """
        values = table[self._column].to_pylist()
        times, oldest = self._times, now - self._within_us
        kept = []
        for index, value in enumerate(values):
            if value is None:
                kept.append(index)
            elif times.get(value, -1) < oldest or value not in times:
                times[value] = now
                self._order.append((now, value))
                kept.append(index)
        return None if len(kept) == len(values) else kept

    def appended(self, end: End) -> None:
        """Note that what was found fresh is now in the log."""
        self._read_to = end.offset

    def _note(self, values: list[Any], time: int) -> None:
        for value in values:
            if value is not None:
                self._times[value] = time
                self._order.append((time, value))

    def _unread(self, end: End, oldest: int) -> Iterator[tuple[Segment, Frame]]:
        """Give the frames not yet read, oldest first."""
        bases = segment_bases(self._directory)
        found: list[tuple[Segment, list[Frame]]] = []
        try:
            for base in reversed(bases):
                segment = Segment(self._directory, base, self._topic)
                found.append((segment, []))
                limit = end.position if base == end.segment else segment.size
                read_to = self._read_to
                frame = None if read_to is None or read_to <= base else segment.frame_at(read_to, limit)
                if read_to is None or read_to <= base:
                    frames = list(segment.frames(segment.first, limit, base))
                else:
                    frames = [] if frame is None else list(segment.frames(frame.position, limit, frame.header.base))
                found[-1][1].extend(f for f in frames if f.header.kind == ROWS and f.header.greatest_append >= oldest)
                old = bool(frames) and frames[0].header.least_append < oldest
                if old or (read_to is not None and base <= read_to):
                    break
            for segment, frames in reversed(found):
                yield from ((segment, frame) for frame in frames)
        finally:
            for segment, _ in found:
                segment.close()
