"""Looking at a partition without changing it: what is in it, what is damaged, and where a time begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final

from thalweg.core.errors import LogDamaged, LogError
from thalweg.core.schema import Schema
from thalweg.log import disk
from thalweg.log.layout import (
    ALIGNMENT,
    FRAME_HEADER,
    FRAME_MAGIC,
    BadBytesError,
    segment_bases,
    segment_name,
    unpack_frame_header,
)
from thalweg.log.options import TopicOptions
from thalweg.log.published import FILE, ROLLING, SIZE, End, unpack_end
from thalweg.log.recover import judge_tail
from thalweg.log.segment import Frame, Segment
from thalweg.log.start import FILE as START
from thalweg.log.start import read_start, start_slots

_SCAN_BYTES: Final = 2**22


@dataclass(frozen=True, slots=True)
class Damage:
    """Stored bytes that are not what was written.

    Attributes:
        path: The file.
        position: The byte at which it begins.
        first: The first offset that cannot be read, where rows are concerned.
        next: The first offset after it that can be read again, where that is known.
        reason: What is wrong.
    """

    path: Path
    position: int
    first: int | None
    next: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """What is in a partition.

    Attributes:
        start: The first offset that may be read.
        end: The offset after the last row.
        rows: How many rows there are in between; in a compacted topic fewer than the offsets.
        bytes: Bytes on disk.
        segments: How many files.
        first_append_us: When the first row was appended, in microseconds since 1970; None: no rows.
        last_append_us: When the last one was.
    """

    start: int
    end: int
    rows: int
    bytes: int
    segments: int
    first_append_us: int | None
    last_append_us: int | None


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What is in a topic.

    Attributes:
        name: Its name.
        schema: Its columns.
        options: Its options.
        partitions: Each partition.
        upkeep_failure: Why upkeep that this handle began by itself failed, and was not done since; None: it did not.
    """

    name: str
    schema: Schema
    options: TopicOptions
    partitions: tuple[PartitionInfo, ...]
    upkeep_failure: str | None = None

    @property
    def rows(self) -> int:
        """Rows of all partitions."""
        return sum(partition.rows for partition in self.partitions)

    @property
    def bytes(self) -> int:
        """Bytes of all partitions."""
        return sum(partition.bytes for partition in self.partitions)

    @property
    def segments(self) -> int:
        """Segments of all partitions."""
        return sum(partition.segments for partition in self.partitions)

    @property
    def first_append_us(self) -> int | None:
        """When the first row was appended."""
        return min((p.first_append_us for p in self.partitions if p.first_append_us is not None), default=None)

    @property
    def last_append_us(self) -> int | None:
        """When the last row was appended."""
        return max((p.last_append_us for p in self.partitions if p.last_append_us is not None), default=None)


def partition_info(directory: Path, topic: int, end: End) -> PartitionInfo:
    """Return what is in a partition, by its frames' headers.

    Raises:
        LogDamaged: A header is not right.
    """
    rows = size = segments = 0
    first: int | None = None
    for segment, limit in _segments(directory, topic, end):
        segments += 1
        size += segment.size
        for frame in segment.frames(segment.first, limit, segment.base):
            header = frame.header
            if header.rows and header.next > end.start:
                # Of a frame that the start goes through, offsets are rows, but where the frame was compacted.
                rows += min(header.rows, header.next - max(header.base, end.start))
                first = header.least_append if first is None else first
    last = end.append_us if first is not None else None
    return PartitionInfo(end.start, end.offset, rows, size, segments, first, last)


def offset_at(directory: Path, topic: int, end: End, time_us: int) -> int:
    """Return the first offset whose frame has rows that were appended at or after a time; the end where none has.

    Raises:
        LogDamaged: A header is not right.
    """
    bases = _bases(directory, end)
    found = end.offset
    for base in reversed(bases):
        try:
            segment = Segment(directory, base, topic)
        except FileNotFoundError:
            break  # trimmed just now, with all before it
        try:
            limit = end.position if base == end.segment else segment.size
            frames = (f for f in segment.frames(segment.first, limit, base) if f.header.rows)
            first = next(frames, None)
            if first is None:
                continue
            if first.header.greatest_append >= time_us:
                found = first.header.base
                continue
            found = next((f.header.base for f in frames if f.header.greatest_append >= time_us), found)
            break
        finally:
            segment.close()
    return max(found, end.start)


def damages(directory: Path, topic: int) -> Iterator[Damage]:
    """Give every damage in a partition: of its start, its published end, and each frame of each segment."""
    end = published_end(directory)
    if end is None:
        yield Damage(directory / FILE, 0, None, None, "no slot of it is whole; the next append or read makes one")
    start = 0
    try:
        start = read_start(directory)
        if end is not None and start < end.start:
            # A slot that a crash has torn says nothing: what it was to say had not been published.
            place = 64 * start_slots(directory).index(None) if None in start_slots(directory) else 0
            yield Damage(directory / START, place, None, None, f"it says {start}, and offset {end.start} was the start")
            start = end.start
    except LogDamaged as error:
        yield Damage(error.path, 0, None, None, str(error))
    bases = segment_bases(directory)
    if not bases or (end is not None and bases[-1] < end.segment):
        base = 0 if end is None else end.segment
        yield Damage(directory / segment_name(base), 0, base, None, "the segment is missing")
    if bases and bases[0] > start:
        yield Damage(directory / segment_name(start), 0, start, bases[0], "the segment with these offsets is missing")
    for base, following in zip_longest(bases, bases[1:]):
        if following is None or following > start:
            yield from _segment_damages(directory, topic, base, following, end)


def _segment_damages(
    directory: Path, topic: int, base: int, following: int | None, end: End | None
) -> Iterator[Damage]:
    path = directory / segment_name(base)
    try:
        segment = Segment(directory, base, topic)
    except FileNotFoundError:
        return  # trimmed just now
    except LogError as error:
        yield Damage(path, 0, base, following, str(error))
        return
    try:
        active = end is not None and end.segment == base
        limit = end.position if end is not None and active else segment.size
        goal = end.offset if end is not None and active else following
        if segment.size < limit:
            yield Damage(path, segment.size, None, goal, f"it ends here, and {limit} bytes of it were durable")
            limit = segment.size
        position, expected = segment.first, base
        while position < limit:
            try:
                frame = segment.frame(position, limit, expected)
                assert frame is not None  # the limit is not reached
                position, expected = frame.end, frame.header.next
                if frame.header.rows:
                    segment.batch(frame)
                else:
                    segment.body(frame)
            except LogDamaged as error:
                wrong, at = str(error), error.position
                if at < position:  # the header is right, so it is known where the next frame begins
                    yield Damage(path, at, error.offset, expected, wrong)
                    continue
                found = _next_frame(segment, position, limit, expected)
                yield Damage(path, position, expected, found.header.base if found else goal, wrong)
                if found is None:
                    return
                position, expected = found.position, found.header.base
        if active and segment.size > limit:
            yield from _tail_damages(segment, limit, expected)
        if goal is not None and expected != goal:
            yield Damage(path, limit, expected, goal, "it ends before the rows that must follow")
    finally:
        segment.close()


def _tail_damages(segment: Segment, position: int, offset: int) -> Iterator[Damage]:
    """Give what would keep an appender from going on behind the published end."""
    fd = disk.open_file(segment.path)
    try:
        data = disk.read(fd, segment.size - position, position)
    finally:
        disk.close(fd)
    tail = judge_tail(data, position, offset, segment.header.topic)
    if tail.damage is not None:
        first = tail.frames[-1].next if tail.frames else offset
        yield Damage(segment.path, position + tail.kept, first, None, tail.damage)


def _next_frame(segment: Segment, position: int, limit: int, expected: int) -> Frame | None:
    """Return the next frame behind a damaged one whose header is right."""
    fd = disk.open_file(segment.path)
    try:
        at = position + ALIGNMENT
        while at < limit:
            data = disk.read(fd, min(_SCAN_BYTES, limit - at) + FRAME_HEADER, at)
            place = data.find(FRAME_MAGIC)
            while place >= 0:
                if (at + place) % ALIGNMENT == 0 and len(data) - place >= FRAME_HEADER:
                    frame = _frame(segment, data[place : place + FRAME_HEADER], at + place)
                    if frame is not None and frame.header.base >= expected and frame.end <= limit:
                        return frame
                place = data.find(FRAME_MAGIC, place + 1)
            at += _SCAN_BYTES
        return None
    finally:
        disk.close(fd)


def _frame(segment: Segment, data: bytes, position: int) -> Frame | None:
    try:
        header = unpack_frame_header(data)
    except BadBytesError:
        return None
    return Frame(position, header) if header.topic == segment.header.topic else None


def published_end(directory: Path) -> End | None:
    """Return a partition's published end as it is on disk now; None where no slot is whole."""
    try:
        fd = disk.open_file(directory / FILE)
    except FileNotFoundError:
        return None
    try:
        return unpack_end(disk.read(fd, SIZE, 0))
    finally:
        disk.close(fd)


def is_stale(directory: Path) -> bool:
    """Whether a partition has bytes, a segment or a start that its published end does not name.

    So it is while somebody appends, after an appender died, and after a power cut that took the newest publication.
    """
    end = published_end(directory)
    if end is None or end.flags & ROLLING or read_start(directory) > end.start:
        return True
    bases = segment_bases(directory)
    if not bases or bases[-1] != end.segment:
        return True
    return (directory / segment_name(end.segment)).stat().st_size != end.position


def _bases(directory: Path, end: End) -> list[int]:
    """Return the segments that may be read, in order."""
    bases = [base for base in segment_bases(directory) if base <= end.segment]
    return [b for b, following in zip_longest(bases, bases[1:]) if following is None or following > end.start]


def _segments(directory: Path, topic: int, end: End) -> Iterator[tuple[Segment, int]]:
    """Open each segment that may be read, with the byte at which it ends."""
    for base in _bases(directory, end):
        try:
            segment = Segment(directory, base, topic)
        except FileNotFoundError:
            continue  # trimmed just now
        try:
            yield segment, end.position if base == end.segment else segment.size
        finally:
            segment.close()
