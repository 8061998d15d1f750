"""One segment file, read and checked: no Arrow bytes are parsed before their checksum is right."""

from __future__ import annotations

import bisect
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa

from thalweg.core.errors import LogDamaged, LogError
from thalweg.log import disk
from thalweg.log.layout import (
    FORMAT,
    FRAME_HEADER,
    OFFSET_COLUMN,
    OFFSETS,
    SEGMENT_HEADER,
    BadBytesError,
    FrameHeader,
    SegmentHeader,
    crc,
    segment_name,
    unpack_frame_header,
    unpack_segment,
    unpack_segment_header,
)

_COPIED: Final = 256 * 1024
"""Below so many bytes a copy is cheaper than a mapping."""

_INDEX_STEP: Final = 64
"""Of so many frames one stands in the index."""


class Frame(NamedTuple):
    """A frame whose header was checked, and where it stands."""

    position: int
    header: FrameHeader

    @property
    def end(self) -> int:
        """The byte after it."""
        return self.position + self.header.size


class Segment:
    """An open segment.

    Args:
        directory: The partition's.
        base: The first offset.
        topic: The topic's number.

    Raises:
        FileNotFoundError: There is no such segment.
        LogDamaged: Its header is not what was written.
        LogError: It is of a later version of the format.
    """

    _fd = -1

    def __init__(self, directory: Path, base: int, topic: int) -> None:
        self.path = directory / segment_name(base)
        self.base = base
        self._fd = disk.open_file(self.path)
        self._window = pa.py_buffer(b"")
        self._window_start = 0
        # For jumps: positions of some frames, in order; complete up to the last.
        self._index_offsets = [base]
        self._index_positions: list[int] = []
        try:
            self.header = self._read_header(topic)
        except BaseException:
            self.close()
            raise
        self._index_positions.append(self.header.length)

    @property
    def first(self) -> int:
        """The byte at which its first frame begins."""
        return self.header.length

    @property
    def size(self) -> int:
        """Its length now."""
        return disk.size(self._fd)

    @property
    def identity(self) -> int:
        """Which file it is; one that was rewritten is another."""
        return os.fstat(self._fd).st_ino

    def close(self) -> None:
        """Close the file; batches that were read stay good."""
        if self._fd >= 0:
            disk.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()  # where nobody did, as Python's own files do

    def damaged(self, position: int, offset: int | None, what: str) -> LogDamaged:
        """Return the error for damage in this file."""
        return LogDamaged(self.path, position, offset, what)

    def frame(self, position: int, limit: int, expected: int) -> Frame | None:
        """Return the frame at a position.

        Args:
            position: Where it begins.
            limit: The byte at which what may be read ends.
            expected: The offset at which it must begin.

        Returns:
            The frame; None at the limit.

        Raises:
            LogDamaged: What is there is no frame, or another one.
        """
        if position == limit:
            return None
        try:
            header = unpack_frame_header(self._bytes(position, FRAME_HEADER, limit).to_pybytes())
        except BadBytesError as error:
            raise self.damaged(position, expected, str(error)) from error
        if header.topic != self.header.topic or header.base != expected:
            raise self.damaged(position, expected, f"the frame of another place stands here (offset {header.base})")
        if position + header.size > limit:
            raise self.damaged(position, expected, "the frame goes past the end of what is durable")
        return Frame(position, header)

    def body(self, frame: Frame) -> pa.Buffer:
        """Return a frame's body after its checksum was found right; it stays good after the segment is closed.

        Raises:
            LogDamaged: The checksum is wrong.
        """
        body = self._bytes(frame.position + FRAME_HEADER, frame.header.length, frame.end)
        if crc(body) != frame.header.body_crc:
            raise self.damaged(frame.position, frame.header.base, "the checksum of the frame's body is wrong")
        return body

    def batch(self, frame: Frame) -> pa.RecordBatch:
        """Return a frame's rows; with ``OFFSETS`` the first column has their offsets.

        Raises:
            LogDamaged: The checksum is wrong.
        """
        schema = self.header.arrow
        if frame.header.flags & OFFSETS:
            schema = schema.insert(0, pa.field(OFFSET_COLUMN, pa.int64(), False))
        try:
            batch = pa.ipc.read_record_batch(self.body(frame), schema)
        except pa.ArrowException as error:
            raise self.damaged(frame.position, frame.header.base, f"the rows cannot be read: {error}") from error
        if batch.num_rows != frame.header.rows:
            raise self.damaged(frame.position, frame.header.base, "the frame has another number of rows than it says")
        return batch

    def frames(self, position: int, limit: int, expected: int) -> Iterator[Frame]:
        """Give the frames from a position on, in order.

        Raises:
            LogDamaged: One of the headers is not right.
        """
        while (frame := self.frame(position, limit, expected)) is not None:
            yield frame
            position, expected = frame.end, frame.header.next

    def frame_at(self, offset: int, limit: int) -> Frame | None:
        """Return the frame that covers an offset; None where there is none below the limit.

        Raises:
            LogDamaged: One of the headers on the way is not right.
        """
        place = bisect.bisect_right(self._index_offsets, offset) - 1
        last = len(self._index_offsets) - 1
        frames = self.frames(self._index_positions[place], limit, self._index_offsets[place])
        for passed, frame in enumerate(frames, 1):
            if frame.header.next > offset:
                return frame
            if place == last and passed % _INDEX_STEP == 0:
                self._index_offsets.append(frame.header.next)
                self._index_positions.append(frame.end)
        return None

    def _read_header(self, topic: int) -> SegmentHeader:
        try:
            length, version = unpack_segment_header(disk.read(self._fd, SEGMENT_HEADER, 0))
            if version != FORMAT:
                raise LogError(
                    f"{self.path} has format {version}, this version of Thalweg reads {FORMAT}; "
                    "use the version that wrote it"
                )
            header = unpack_segment(disk.read(self._fd, length, 0))
        except (BadBytesError, pa.ArrowException) as error:
            raise self.damaged(0, self.base, str(error)) from error
        if header.topic != topic or header.base != self.base:
            raise self.damaged(0, self.base, "it is a segment of another place")
        return header

    def _bytes(self, position: int, length: int, limit: int) -> pa.Buffer:
        """Return bytes of the file, from the window if they are in it, else from a new one up to the limit."""
        start = position - self._window_start
        if start >= 0 and start + length <= self._window.size:
            return self._window.slice(start, length)
        if position + length > limit or limit > self.size:
            # Looked at before mapping: touching a page past the end of a file kills the process.
            at = min(self.size, limit)
            raise self.damaged(position, None, f"the file ends at byte {at}, within a frame or before what was durable")
        if limit - position <= _COPIED:
            self._window = pa.py_buffer(disk.read(self._fd, limit - position, position))
            self._window_start = position
        else:
            aligned = position // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
            mapped = mmap.mmap(self._fd, limit - aligned, prot=mmap.PROT_READ, offset=aligned)
            self._window = pa.py_buffer(mapped)
            self._window_start = aligned
        start = position - self._window_start
        return self._window.slice(start, length)
