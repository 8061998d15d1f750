"""Reading a partition from an offset, across segments, while others append, roll, trim and rewrite."""

from __future__ import annotations

import bisect
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from thalweg.core.errors import LogDamaged, LogError, OffsetGone
from thalweg.log.layout import OFFSET_COLUMN, OFFSETS, segment_bases, segment_name
from thalweg.log.metadata import Metadata
from thalweg.log.published import DELETED, End, EndWatch
from thalweg.log.rows import widened
from thalweg.log.segment import Frame, Segment
from thalweg.log.start import read_start


class Rows:
    """A run of rows of one frame, and their offsets.

    Attributes:
        batch: The rows.
        base: The offset of the first row, where they follow each other.
        offsets: The offset of each row, where some between them are gone.
        next: The first offset after all that the run stands for.
    """

    __slots__ = ("base", "batch", "next", "offsets")

    def __init__(self, batch: pa.RecordBatch, base: int, offsets: Sequence[int] | None, next_offset: int) -> None:
        self.batch = batch
        self.base = base
        self.offsets = offsets
        self.next = next_offset

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def offset(self, row: int) -> int:
        """Return a row's offset."""
        return self.base + row if self.offsets is None else self.offsets[row]

    def cut(self, rows: int) -> tuple[Rows, Rows]:
        """Return the first rows and the rest."""
        if rows >= len(self):
            return self, self.after(self.next)
        middle = self.offset(rows)
        head = Rows(self.batch.slice(0, rows), self.base, self.offsets and self.offsets[:rows], middle)
        return head, self.after(middle)

    def after(self, offset: int) -> Rows:
        """Return the rows from an offset on."""
        if self.offsets is not None:
            row = bisect.bisect_left(self.offsets, offset)
            return Rows(self.batch.slice(row), offset, self.offsets[row:], self.next)
        row = max(0, offset - self.base)
        return Rows(self.batch.slice(row), self.base + row, None, self.next)


class PartitionReader:
    """Gives a partition's rows in order.

    Args:
        directory: The partition's.
        offset: Where to begin; None: at the start.
        metadata: Gives the topic's metadata, at least as new as the version that it is asked for.
        recover: Makes a published end where there is none that is whole.
        columns: The columns to give; None: all.

    Raises:
        OffsetGone: The offset is below the start.
    """

    def __init__(
        self,
        directory: Path,
        offset: int | None,
        metadata: Callable[[int], Metadata],
        recover: Callable[[], None],
        columns: Sequence[str] | None = None,
    ) -> None:
        self.offset = 0
        self._directory = directory
        self._metadata = metadata
        self._recover = recover
        self._columns = columns
        self._watch = EndWatch(directory)
        self._segment: Segment | None = None
        self._position = 0
        self._expected = 0
        self._limit = 0
        self._following: int | None = None
        self._rest: Rows | None = None
        try:
            start = self.end().start
            self.offset = start if offset is None else offset
            if self.offset < start:
                raise self._gone(start)
        except BaseException:
            self._watch.close()
            raise

    def end(self) -> End:
        """Return the partition's published end.

        Raises:
            LogError: The topic was deleted, or there is no end and none can be made.
        """
        end = self._watch.look()
        if end is None:
            self._watch.close()
            self._recover()
            end = self._watch.look()
            if end is None:
                raise LogError(f"{self._directory} has no published end, and recovery made none")
        if end.flags & DELETED:
            raise OffsetGone(f"the topic of {self._directory} was deleted")
        return end

    def changed(self) -> bool:
        """Whether there are rows that were not given yet."""
        return (self._rest is not None and len(self._rest) > 0) or self.end().offset > self.offset

    def read(self, max_rows: int) -> Rows | None:
        """Return the next rows, at most so many; None at the end.

        Raises:
            OffsetGone: They were trimmed meanwhile.
            LogDamaged: What is stored is not what was written.
        """
        rest = self._rest
        if rest is not None and self.offset < (start := self.end().start):
            raise self._gone(start)
        self._rest = None
        while rest is None or not len(rest):
            if rest is not None:
                self.offset = max(self.offset, rest.next)
            if (rest := self._next_frame()) is None:
                return None
            rest = rest.after(self.offset)
        given, self._rest = rest.cut(max_rows)
        self.offset = given.next
        return given

    def close(self) -> None:
        """Close the files; what was given stays good."""
        self._watch.close()
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _gone(self, start: int) -> OffsetGone:
        return OffsetGone(
            f"offset {self.offset} of {self._directory} is gone: the first that may be read is {start}; "
            "read from there, and keep rows longer with retention= if they are needed"
        )

    def _next_frame(self) -> Rows | None:
        end = self.end()
        if self.offset < end.start:
            raise self._gone(end.start)
        if self.offset >= end.offset:
            return None
        while True:
            try:
                frame = self._locate(end)
                if frame is None:
                    continue
                rows = self._rows(frame)
                # Only now: a frame that is damaged is met again by the next read.
                self._position, self._expected = frame.end, frame.header.next
                return rows
            except LogDamaged:
                if not self._was_replaced():
                    raise
                self._leave()

    def _locate(self, end: End) -> Frame | None:
        """Return the frame of the next row; None where the segment ended, to look into the next one."""
        if self._segment is None:
            self._enter(end)
        segment = self._segment
        assert segment is not None  # entered just now
        if segment.base == end.segment:
            self._limit = end.position
        elif self._following is None:
            # It was the active one when it was entered; by now another is, so it has all that it will ever have.
            self._leave()
            return None
        if self._position == 0:
            frame = segment.frame_at(self.offset, self._limit)
        else:
            frame = segment.frame(self._position, self._limit, self._expected)
        if frame is None:
            if self._following is None or self._following > self.offset:
                raise segment.damaged(self._limit, self.offset, "it ends before the next segment begins")
            self._leave()
            return None
        return frame

    def _enter(self, end: End) -> None:
        bases = segment_bases(self._directory)
        place = bisect.bisect_right(bases, self.offset) - 1
        if place < 0:
            start = max(read_start(self._directory), self.end().start)
            if self.offset < start:
                raise self._gone(start)
            path = self._directory / f"{self.offset:020d}.seg"
            raise LogDamaged(path, 0, self.offset, "the segment with this offset is missing")
        newest = self._directory / segment_name(end.segment)
        if bases[-1] < end.segment and not newest.exists():
            raise LogDamaged(newest, 0, end.segment, "the segment that rows are appended to is missing")
        try:
            self._segment = segment = Segment(self._directory, bases[place], self._metadata(0).number)
        except FileNotFoundError as error:
            raise self._gone(self.end().start) from error
        self._position = 0
        active = segment.base == end.segment
        self._following = None if active or place + 1 == len(bases) else bases[place + 1]
        self._limit = end.position if active else segment.size

    def _leave(self) -> None:
        if self._segment is not None:
            self._segment.close()
        self._segment = None

    def _was_replaced(self) -> bool:
        """Whether the segment's name now stands for another file (it was rewritten, or replaced while empty)."""
        if self._segment is None:
            return False
        try:
            return os.stat(self._segment.path).st_ino != self._segment.identity
        except FileNotFoundError:
            return True

    def _rows(self, frame: Frame) -> Rows:
        segment = self._segment
        assert segment is not None  # the frame is of it
        if frame.header.rows == 0:
            return Rows(self._nothing(), frame.header.base, None, frame.header.next)
        batch = segment.batch(frame)
        offsets: list[int] | None = None
        if frame.header.flags & OFFSETS:
            offsets = batch.column(OFFSET_COLUMN).to_pylist()
            batch = batch.remove_column(0)
        version = segment.header.schema_version
        metadata = self._metadata(version)
        if version != metadata.version:
            batch = widened(batch, self._schema(metadata))
        elif self._columns is not None:
            batch = batch.select(list(self._columns))
        return Rows(batch, frame.header.base, offsets, frame.header.next)

    def _schema(self, metadata: Metadata) -> pa.Schema:
        arrow = metadata.schema.arrow
        return arrow if self._columns is None else pa.schema([arrow.field(name) for name in self._columns])

    def _nothing(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([], schema=self._schema(self._metadata(0)))
