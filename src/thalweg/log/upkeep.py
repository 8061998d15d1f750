"""Upkeep of sealed segments: retention, rewriting to large compressed frames, compaction by key.

Each segment is replaced or removed whole, by one rename or unlink, so that a crash leaves the old or the new one.
Readers that have the old one open read it to its end. Only one process at a time does upkeep of a topic.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import pyarrow as pa

from thalweg.log import disk
from thalweg.log.disk import Bytes
from thalweg.log.frames import body_of
from thalweg.log.layout import (
    NO_WRITER,
    OFFSET_COLUMN,
    OFFSETS,
    ROWS,
    SEALED,
    WRITERS,
    FrameHeader,
    pack_frame_header,
    pack_segment_header,
    segment_bases,
    segment_name,
)
from thalweg.log.metadata import Metadata
from thalweg.log.options import TopicOptions
from thalweg.log.partition import PartitionWriter
from thalweg.log.published import End
from thalweg.log.segment import Frame, Segment

_SEALED_BYTES: Final = 4 * 2**20
"""About how many bytes, before compression, a frame of a rewritten segment has."""

_SMALL_FRAME_BYTES: Final = 2**20
"""Segments whose frames are longer on average are left as they are: reading them needs no copy."""


@dataclass(frozen=True, slots=True)
class Maintained:
    """What upkeep has done.

    Attributes:
        removed: Segments that had outlived their retention.
        sealed: Segments that were rewritten.
        dropped: Rows that a later one of their key has replaced.
        freed: Bytes that the disk got back.
    """

    removed: int = 0
    sealed: int = 0
    dropped: int = 0
    freed: int = 0

    def __add__(self, other: Maintained) -> Maintained:
        return Maintained(
            self.removed + other.removed,
            self.sealed + other.sealed,
            self.dropped + other.dropped,
            self.freed + other.freed,
        )


@dataclass(slots=True)
class _Sealed:
    """A segment that is no longer appended to."""

    base: int
    next: int
    size: int
    flags: int
    greatest_append: int
    frames: int
    rows: int


Looked: TypeAlias = "dict[int, tuple[tuple[int, int, int], _Sealed]]"
"""Segments that were looked at before, by their base: which file each was, and what was found."""


@dataclass(slots=True)
class _Piece:
    """Rows on their way into one rewritten frame."""

    tables: list[pa.Table] = field(default_factory=list)
    nbytes: int = 0
    headers: list[FrameHeader] = field(default_factory=list)


class Upkeep:
    """Upkeep of one partition; its caller holds the topic's maintenance lock.

    Args:
        writer: The partition's files.
        metadata: The topic's metadata.
        now: The time, in microseconds since 1970.
        looked: What earlier upkeep of the partition has seen; kept up to date.
    """

    def __init__(self, writer: PartitionWriter, metadata: Metadata, now: int, looked: Looked) -> None:
        self._writer = writer
        self._metadata = metadata
        self._now = now
        self._looked = looked
        self._removed = self._rewritten = self._dropped = self._freed = 0

    def run(self) -> Maintained:
        """Do all that is due.

        Raises:
            LogDamaged: What is stored is not what was written; what is damaged is left alone.
            OSError: The disk refused.
        """
        ready = self._ready()
        if self._metadata.options.compact:
            if any(not s.flags & SEALED for s in ready):
                self._compact(ready, _never)
        else:
            self._seal(ready, _never)
        return self._done()

    def run_a_while(self, is_over: Callable[[], bool]) -> Maintained:
        """Do what is worth its work now, segment by segment until it is over.

        Compaction reads all sealed segments: it is done when as many bytes are new as old, so that each byte is read
        a few times only, however long the topic gets.

        Raises:
            LogDamaged: As for ``run``.
            OSError: The disk refused.
        """
        ready = self._ready()
        if self._metadata.options.compact:
            new = sum(s.size for s in ready if not s.flags & SEALED)
            if new and 2 * new >= sum(s.size for s in ready):
                self._compact(ready, is_over)
        else:
            self._seal(ready, is_over)
        return self._done()

    def _done(self) -> Maintained:
        return Maintained(self._removed, self._rewritten, self._dropped, self._freed)

    def _ready(self) -> list[_Sealed]:
        """Remove what has outlived its retention; return the segments of the rest that may be rewritten."""
        with self._writer.session() as end:
            self._writer.sweep()
        sealed = self._retain(self._sealed(end), end)
        options = self._metadata.options
        # Ids are looked up in the frames, with the times at which each was appended: not yet merged.
        settled = self._now - options.id_within_us if options.id else None
        return [s for s in sealed if settled is None or s.greatest_append < settled]

    def _seal(self, ready: Sequence[_Sealed], is_over: Callable[[], bool]) -> None:
        for segment in ready:
            if not segment.flags & SEALED and segment.frames > 1 and self._is_of_small_frames(segment):
                self._rewrite(segment, None)
                if is_over():
                    return

    def _is_of_small_frames(self, segment: _Sealed) -> bool:
        return segment.size / segment.frames < min(_SMALL_FRAME_BYTES, self._metadata.options.segment_bytes)

    def _sealed(self, end: End) -> list[_Sealed]:
        found = []
        for base, following in itertools.pairwise(segment_bases(self._writer.directory)):
            if base >= end.segment:
                break
            try:
                stat = os.stat(self._writer.directory / segment_name(base))
            except FileNotFoundError:
                continue  # trimmed just now
            identity = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if base in self._looked and self._looked[base][0] == identity:
                found.append(self._looked[base][1])
                continue
            segment = self._open(base)
            if segment is None:
                continue
            try:
                headers = [f.header for f in segment.frames(segment.first, segment.size, base) if f.header.kind == ROWS]
                greatest = max((header.greatest_append for header in headers), default=0)
                rows = sum(header.rows for header in headers)
                flags = segment.header.flags
                found.append(_Sealed(base, following, segment.size, flags, greatest, len(headers), rows))
            finally:
                segment.close()
            self._looked[base] = (identity, found[-1])
        there = {segment.base for segment in found}
        for base in self._looked.keys() - there:
            del self._looked[base]
        return found

    def _open(self, base: int) -> Segment | None:
        """Return a segment, open; None where it was trimmed just now."""
        try:
            return Segment(self._writer.directory, base, self._metadata.number)
        except FileNotFoundError:
            return None

    def _retain(self, sealed: Sequence[_Sealed], end: End) -> list[_Sealed]:
        """Remove what has outlived its retention; return the rest."""
        options = self._metadata.options
        total = sum(segment.size for segment in sealed)
        with self._writer.session():
            total += self._writer.segment.size
            gone = _outlived(sealed, total, options, self._now)
            start = max([end.start, *(segment.next for segment in gone)])
            self._writer.trim(start)
        below = [segment for segment in sealed if segment.next <= start]
        self._removed += len(below)
        self._freed += sum(segment.size for segment in below)
        return [segment for segment in sealed if segment.next > start]

    def _compact(self, sealed: Sequence[_Sealed], is_over: Callable[[], bool]) -> None:
        """Keep the last row of each key, newest segments first."""
        key = self._metadata.options.key
        assert key is not None  # checked when the topic was created
        seen: set[Any] = set()
        for segment in reversed(sealed):
            opened = self._open(segment.base)
            if opened is None:
                continue
            try:
                frames = [f for f in self._frames(opened) if f.header.rows]
                keep: dict[int, list[int]] = {}
                for frame in reversed(frames):
                    values = opened.batch(frame).column(key).to_pylist()
                    rows = [row for row in range(len(values) - 1, -1, -1) if _is_last(values[row], seen)]
                    keep[frame.position] = rows[::-1]
            finally:
                opened.close()
            kept = sum(map(len, keep.values()))
            if kept < segment.rows or not segment.flags & SEALED:
                self._dropped += segment.rows - kept
                self._rewrite(segment, keep)
            if is_over():
                return

    def _frames(self, segment: Segment) -> list[Frame]:
        return list(segment.frames(segment.first, segment.size, segment.base))

    def _rewrite(self, sealed: _Sealed, keep: dict[int, list[int]] | None) -> None:
        """Write a segment anew with large frames; ``keep`` has the rows to keep of each frame, by its position."""
        segment = self._open(sealed.base)
        if segment is None:
            return
        try:
            header = segment.header
            parts: list[Bytes] = [
                pack_segment_header(header.topic, header.base, header.schema_version, header.arrow, SEALED)
            ]
            pieces = [_Piece()]
            for frame in self._frames(segment):
                if frame.header.kind == WRITERS:
                    parts += [pack_frame_header(frame.header), segment.body(frame)]
                    continue
                table = self._table(segment, frame, keep)
                if pieces[-1].nbytes and pieces[-1].nbytes + table.nbytes > _SEALED_BYTES:
                    pieces.append(_Piece())
                pieces[-1].tables.append(table)
                pieces[-1].nbytes += table.nbytes
                pieces[-1].headers.append(frame.header)
            for piece in pieces:
                if piece.headers:
                    parts += self._packed(piece)
            path = segment.path
        finally:
            segment.close()
        beside = disk.write_beside(path, parts)  # not under the lock: appends go on
        with self._writer.session() as end:
            if sealed.next <= end.start or not path.exists():
                disk.unlink(beside)  # trimmed meanwhile
                return
            disk.replace(beside, path)
        self._rewritten += 1
        self._freed += sealed.size - sum(map(len, parts))

    def _table(self, segment: Segment, frame: Frame, keep: dict[int, list[int]] | None) -> pa.Table:
        if frame.header.rows == 0:
            return pa.Table.from_batches([], self._schema(segment, keep))
        table = pa.Table.from_batches([segment.batch(frame)])
        if keep is None:
            return table
        if not frame.header.flags & OFFSETS:
            offsets = pa.array(range(frame.header.base, frame.header.next), pa.int64())
            table = table.add_column(0, _offset_field(), offsets)
        return table.take(pa.array(keep[frame.position], pa.int64()))

    def _schema(self, segment: Segment, keep: dict[int, list[int]] | None) -> pa.Schema:
        arrow = segment.header.arrow
        return arrow if keep is None else arrow.insert(0, _offset_field())

    def _packed(self, piece: _Piece) -> list[Bytes]:
        table = pa.concat_tables(piece.tables)
        body = body_of(table, self._metadata.options.time, compressed=True)
        first, last = piece.headers[0], piece.headers[-1]
        header = FrameHeader(
            ROWS,
            body.flags | (OFFSETS if OFFSET_COLUMN in table.column_names else 0),
            body.length,
            self._metadata.number,
            first.base,
            last.next,
            first.base,
            body.rows,
            body.crc,
            body.least_time,
            body.greatest_time,
            min(header.least_append for header in piece.headers),
            max(header.greatest_append for header in piece.headers),
            NO_WRITER,
            0,
        )
        return [pack_frame_header(header), *body.parts]


def _never() -> bool:
    return False


def _offset_field() -> pa.Field:
    return pa.field(OFFSET_COLUMN, pa.int64(), False)


def _outlived(sealed: Sequence[_Sealed], total: int, options: TopicOptions, now: int) -> list[_Sealed]:
    """Return the oldest segments that retention does not keep."""
    gone: list[_Sealed] = []
    for segment in sealed:
        old = options.retention_us is not None and segment.greatest_append < now - options.retention_us
        much = options.retention_bytes is not None and total - segment.size >= options.retention_bytes
        if not old and not much:
            break
        gone.append(segment)
        total -= segment.size
    return gone


def _is_last(key: Any, seen: set[Any]) -> bool:
    """Whether no later row has the key; rows without a key are all kept."""
    if key is None:
        return True
    key = "NaN" if key != key else key  # equal to itself, as everywhere; keys of floats are never text
    if key in seen:
        return False
    seen.add(key)
    return True
