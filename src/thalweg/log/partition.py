"""One partition's files as an appender sees them, all under the partition's lock: recover, roll, write, publish."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from thalweg.core.clock import Clock
from thalweg.core.errors import LogDamaged, LogError, NoSpace
from thalweg.log import disk
from thalweg.log.disk import Bytes
from thalweg.log.frames import Body
from thalweg.log.layout import (
    NO_TIME,
    NO_WRITER,
    ROWS,
    WRITERS,
    FrameHeader,
    crc,
    pack_frame_header,
    pack_segment_header,
    pack_writers,
    segment_bases,
    segment_name,
)
from thalweg.log.metadata import Metadata
from thalweg.log.published import DELETED, FILE, HAS_WRITERS, ROLLING, SIZE, End, publish, unpack_end
from thalweg.log.recover import judge_tail
from thalweg.log.segment import Segment
from thalweg.log.start import read_start, write_start
from thalweg.log.writers import LastEpochs

LOCK: Final = "lock"


class PartitionWriter:
    """Appends to one partition; every method but ``session`` and ``close`` needs the session's lock.

    Args:
        directory: The partition's.
        metadata: Gives the topic's metadata, at least as new as the schema version that it is asked for.
        clock: Gives append times.
    """

    _lock = _end_file = _file = -1
    _segment: Segment | None = None

    def __init__(self, directory: Path, metadata: Callable[[int], Metadata], clock: Clock) -> None:
        self.directory = directory
        self.syncs = 0
        self._metadata = metadata
        self._clock = clock
        self._mutex = threading.Lock()
        self._lock = disk.open_file(directory / LOCK, write=True)
        self._end_file = disk.open_file(directory / FILE, write=True)
        self._end: End | None = None
        self._epochs = LastEpochs()
        self._durable_start = 0

    @contextmanager
    def session(self) -> Iterator[End]:
        """Hold the partition's lock; gives the end, recovered where the last appender died.

        Raises:
            LogDamaged: What is stored is not what was written.
            LogError: The topic was deleted.
            OSError: The disk refused.
        """
        # A file lock keeps other handles out, but not other threads of this one: they have the same descriptor.
        with self._mutex, disk.locked(self._lock):
            yield self._refresh()

    def recover_if_free(self) -> None:
        """Recover if nobody is appending; who holds the lock has recovered, and is publishing."""
        if not self._mutex.acquire(blocking=False):
            return
        try:
            if disk.try_lock(self._lock):
                try:
                    self._refresh()
                finally:
                    disk.unlock(self._lock)
        finally:
            self._mutex.release()

    @property
    def end(self) -> End:
        """The end as of now."""
        assert self._end is not None  # the session's refresh has set it
        return self._end

    @property
    def segment(self) -> Segment:
        """The active segment."""
        assert self._segment is not None  # as above
        return self._segment

    def close(self) -> None:
        """Close the files."""
        self._close_segment()
        for fd in (self._lock, self._end_file):
            if fd >= 0:
                disk.close(fd)
        self._lock = self._end_file = -1

    def __del__(self) -> None:
        self.close()  # where nobody did, as Python's own files do

    def now_us(self) -> int:
        """Return the append time of rows that are appended now; it never falls within a partition."""
        return max(self._clock.now_us(), self.end.append_us)

    def last_epoch(self, writer: bytes) -> int:
        """Return a writer's last epoch; 0 for none."""
        if not self.end.flags & HAS_WRITERS:
            return 0
        self._epochs.catch_up(self.segment, self.end.position)
        return self._epochs.last.get(writer, 0)

    def make_room(self, length: int, segment_bytes: int, version: int) -> None:
        """Begin a new segment where the active one is full, or has another schema.

        Raises:
            NoSpace: There is no space for it; the active one stays.
            OSError: The disk refused.
        """
        end = self.end
        begun = end.offset > end.segment
        if self.segment.header.schema_version != version or (begun and end.position + length > segment_bytes):
            self._roll(version)

    def write(self, bodies: Sequence[tuple[Body, bytes, int]], now: int) -> list[int]:
        """Append frames and make them durable; then publish them.

        Args:
            bodies: Each with its writer (or zeros) and epoch.
            now: The append time, of ``now_us``.

        Returns:
            The first offset of each.

        Raises:
            NoSpace: The disk is full; nothing was appended.
            OSError: The disk refused; what is on it is not known.
        """
        end = self.end
        offset, buffers, firsts = end.offset, list[Bytes](), list[int]()
        flags = end.flags
        for body, writer, epoch in bodies:
            header = FrameHeader(
                ROWS,
                body.flags,
                body.length,
                self.segment.header.topic,
                offset,
                offset + body.rows,
                end.offset,
                body.rows,
                body.crc,
                body.least_time,
                body.greatest_time,
                now,
                now,
                writer,
                epoch,
            )
            buffers += [pack_frame_header(header), *body.parts]
            firsts.append(offset)
            offset += body.rows
            flags |= HAS_WRITERS if writer != NO_WRITER else 0
        try:
            disk.write(self._file, buffers, end.position)
        except OSError as error:
            if not disk.is_full(error):
                raise
            disk.truncate(self._file, end.position)
            raise NoSpace(f"no space left for {self.segment.path}: {error}; nothing was appended") from error
        self._sync(self._file)
        position = end.position + sum(map(len, buffers))
        self._publish(end._replace(flags=flags, position=position, offset=offset, append_us=now))
        return firsts

    def evolved(self, version: int) -> None:
        """Publish that the topic has a newer schema; the next append begins a segment of it."""
        self._publish(self.end._replace(schema_version=version))

    def trim(self, before: int) -> int:
        """Make an offset the first that may be read, for ever, and remove the segments below; return the new start.

        Raises:
            OSError: The disk refused; what was trimmed stays trimmed, and the next trim removes the rest.
        """
        end = self.end
        start = max(end.start, min(before, end.offset))
        if start > self._durable_start:
            # Also where it was the start before: who wrote that may have failed to sync it.
            write_start(self.directory, start)
            self._durable_start = start
        if start > end.start:
            self._publish(end._replace(start=start))
        bases = segment_bases(self.directory)
        for base, following in itertools.pairwise(bases):  # oldest first, so that a crash leaves no gap
            if following > start:
                break
            disk.unlink(self.directory / segment_name(base))
        return start

    def sweep(self) -> None:
        """Remove half-made files that were left by processes that died; nobody may be rewriting segments meanwhile."""
        for path in self.directory.glob("*.tmp"):
            disk.unlink(path)

    def _publish(self, end: End) -> None:
        end = end._replace(sequence=self.end.sequence + 1)
        publish(self._end_file, end)
        self._end = end

    def _sync(self, fd: int) -> None:
        self.syncs += 1
        disk.sync(fd)

    def _refresh(self) -> End:
        end = unpack_end(disk.read(self._end_file, SIZE, 0))
        if end is not None and end.flags & DELETED:
            raise LogError(f"the topic of {self.directory} was deleted; create it anew, or open another")
        if (
            self._end is None
            or self._segment is None
            or end is None
            or end.flags & ROLLING
            or end.segment != self.segment.base
        ):
            return self._reopen(end)
        size = disk.size(self._file)
        if size != end.position or (end.offset == end.segment and not self._same_file()):
            return self._reopen(end)
        self._end = end
        return end

    def _same_file(self) -> bool:
        # A segment without rows is replaced under its own name when the schema changes.
        return self.segment.identity == os.stat(self.segment.path).st_ino

    def _reopen(self, end: End | None) -> End:
        """Open the active segment and recover what is past its known end."""
        named = end
        self._end = None  # until all of this has gone well
        bases = segment_bases(self.directory)
        missing = self.directory / segment_name(end.segment if end else 0)
        if not bases or (end is not None and bases[-1] < end.segment):
            raise LogDamaged(missing, 0, end.offset if end else 0, "the segment is missing")
        metadata = self._metadata(end.schema_version if end else 0)
        self._close_segment()
        self._segment = segment = Segment(self.directory, bases[-1], metadata.number)
        self._file = disk.open_file(segment.path, write=True)
        start = read_start(self.directory)
        if start > (end.start if end else 0):
            # Who trimmed may have died, or been refused, before it was on the medium: no end may go by it until it is.
            write_start(self.directory, start)
            self._durable_start = start
        if end is None:
            end = End(0, 0, segment.base, segment.first, segment.base, start, 0, metadata.version)
            end = end._replace(append_us=self._last_append(bases, metadata))
        elif end.segment != segment.base:
            if segment.base < end.offset:
                raise segment.damaged(0, segment.base, f"it begins before offset {end.offset}, which was durable")
            end = end._replace(segment=segment.base, position=segment.first, offset=segment.base)
            end = end._replace(append_us=max(end.append_us, self._last_append(bases, metadata)))
        if named is None or named.flags & ROLLING or named.segment != segment.base:
            # Who made the segment may have died before its name was on the medium.
            disk.sync_directory(self.directory)
        flags = end.flags & ~ROLLING
        end = end._replace(flags=flags, start=max(end.start, start), schema_version=metadata.version)
        return self._recover(segment, end)

    def _recover(self, segment: Segment, end: End) -> End:
        size = segment.size
        if size < end.position:
            raise segment.damaged(size, None, f"it ends here, and {end.position} bytes of it were durable")
        data = disk.read(self._file, size - end.position, end.position)
        tail = judge_tail(data, end.position, end.offset, segment.header.topic)
        flags, offset, append_us = end.flags, end.offset, end.append_us
        for header in tail.frames:
            offset, append_us = header.next, max(append_us, header.greatest_append)
            flags |= HAS_WRITERS if header.kind == WRITERS or header.writer != NO_WRITER else 0
        self._end = end
        if tail.kept:
            # After a failed sync the kernel may hold bytes for written although they are not: write them afresh.
            disk.write(self._file, [data[: tail.kept]], end.position)
            self._sync(self._file)
        position = end.position + tail.kept
        found = end._replace(flags=flags, position=position, offset=offset, append_us=append_us)
        if tail.damage is not None:
            self._publish(found)  # what is sound before the damage may be read
            raise segment.damaged(position, offset, tail.damage)
        if tail.kept < len(data):
            disk.truncate(self._file, position)
            self._sync(self._file)
        self._publish(found)
        return self.end

    def _last_append(self, bases: Sequence[int], metadata: Metadata) -> int:
        """Return when the last row before the newest segment was appended."""
        if len(bases) < 2:
            return 0
        before = Segment(self.directory, bases[-2], metadata.number)
        try:
            frames = before.frames(before.first, before.size, before.base)
            return max((frame.header.greatest_append for frame in frames), default=0)
        finally:
            before.close()

    def _roll(self, version: int) -> None:
        end, metadata = self.end, self._metadata(version)
        writers: dict[bytes, int] = {}
        if end.flags & HAS_WRITERS:
            self._epochs.catch_up(self.segment, end.position)
            writers = self._epochs.last
        number, base, arrow = metadata.number, end.offset, metadata.schema.arrow
        parts: list[Bytes] = [pack_segment_header(number, base, metadata.version, arrow)]
        if writers:
            parts += _writers_frame(number, base, writers, end.append_us)
        if version != self.segment.header.schema_version:
            # Who evolved the topic may have died before its new metadata had their name on the medium.
            disk.sync_directory(self.directory.parent)
        try:
            self._publish(end._replace(flags=end.flags | ROLLING))
            disk.write_whole(self.directory / segment_name(base), parts)
        except OSError as error:
            if disk.is_full(error):
                raise NoSpace(f"no space left for a new segment in {self.directory}: {error}") from error
            raise
        self._close_segment()
        self._segment = Segment(self.directory, base, number)
        self._file = disk.open_file(self._segment.path, write=True)
        flags = HAS_WRITERS if writers else 0
        self._publish(
            end._replace(flags=flags, segment=base, position=sum(map(len, parts)), schema_version=metadata.version)
        )

    def _close_segment(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self._file >= 0:
            disk.close(self._file)
            self._file = -1


def _writers_frame(number: int, base: int, writers: dict[bytes, int], append_us: int) -> list[Bytes]:
    body = pack_writers(writers)
    head = FrameHeader(
        WRITERS, 0, len(body), number, base, base, base, 0, crc(body), *NO_TIME, append_us, append_us, NO_WRITER, 0
    )
    return [pack_frame_header(head), body]
