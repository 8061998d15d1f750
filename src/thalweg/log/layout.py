"""The bytes of format 1: segment headers and frames.

::

    segment   ┌────────────────┬──────────────┬───────────┬───────────┬─
              │ header, 64 B   │ Arrow schema │ frame     │ frame     │ …     everything starts at a multiple of 64
              └────────────────┴──────────────┴───────────┴───────────┴─
    frame     ┌────────────────┬──────────────────────────────────────┐
              │ header, 128 B  │ body: an Arrow record-batch message  │
              └────────────────┴──────────────────────────────────────┘

Headers and bodies have a CRC32C each, padding included, so that no bit of a file is without one. Numbers are
little-endian. Frames tile the offsets of their segment without a gap; in a compacted one each frame says which
offsets its rows have.
"""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path
from typing import Final, NamedTuple

import google_crc32c
import pyarrow as pa

from thalweg.log.disk import Bytes

FORMAT: Final = 1
ALIGNMENT: Final = 64

SEGMENT_HEADER: Final = 64
_SEGMENT: Final = struct.Struct("<8sHHIQQII20xI")  # the checksum of the schema, then this header's own
_SEGMENT_MAGIC: Final = b"THALWEGS"
SEALED: Final = 1
"""A segment's flag: rewritten, and never appended to again."""

FRAME_HEADER: Final = 128
_FRAME: Final = struct.Struct("<4sBBHQQQQQIIqqqq16sQ12xI")
FRAME_MAGIC: Final = b"THWF"
MOST_BODY: Final = 2**31
"""The longest body, in bytes: an Arrow column of text holds no more either."""

ROWS: Final = 1
WRITERS: Final = 2
"""Kinds of frames: rows; the last epoch of every writer up to here."""

COMPRESSED: Final = 1
OFFSETS: Final = 2
"""Frame flags: the body is compressed; its first column says which offset each row has."""

OFFSET_COLUMN: Final = "__offset"
NO_TIME: Final = (2**63 - 1, -(2**63))
"""Least and greatest event time where there is none."""

NO_WRITER: Final = bytes(16)
_WRITER: Final = struct.Struct("<16sQ")
_PADDING: Final = bytes(ALIGNMENT)

_SEGMENT_NAME: Final = re.compile(r"[0-9]{20}\.seg")


class SegmentHeader(NamedTuple):
    """What stands at the start of a segment."""

    flags: int
    length: int
    topic: int
    base: int
    schema_version: int
    arrow: pa.Schema


class FrameHeader(NamedTuple):
    """What stands before a frame's body.

    Attributes:
        kind: ``ROWS`` or ``WRITERS``.
        flags: ``COMPRESSED``, ``OFFSETS``.
        length: Bytes of the body.
        topic: The topic's number, so that a frame of another topic is never taken for one of this.
        base: The first offset that it covers.
        next: The first offset that it no longer covers.
        group: The offset at which the write began that it is part of; rows before it had been synced.
        rows: How many rows it has.
        body_crc: The checksum of the body.
        least_time: The least event time, in microseconds.
        greatest_time: The greatest event time.
        least_append: When its first row was appended, in microseconds since 1970.
        greatest_append: When its last row was appended.
        writer: Whose epoch it is, or zeros.
        epoch: The writer's epoch.
    """

    kind: int
    flags: int
    length: int
    topic: int
    base: int
    next: int
    group: int
    rows: int
    body_crc: int
    least_time: int
    greatest_time: int
    least_append: int
    greatest_append: int
    writer: bytes
    epoch: int

    @property
    def size(self) -> int:
        """Bytes of header and body."""
        return FRAME_HEADER + self.length


class BadBytesError(ValueError):
    """Bytes that are not what they should be."""


def padded(length: int) -> int:
    """Return the length rounded up to the alignment."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def padding(length: int) -> bytes:
    """Return the zeros that follow so many bytes."""
    return _PADDING[: padded(length) - length]


def crc(*parts: Bytes) -> int:
    """Return the CRC32C of parts one after the other."""
    value = 0
    for part in parts:
        value = google_crc32c.extend(value, part)
    return int(value)


def segment_name(base: int) -> str:
    """Return the file name of the segment whose first offset is this."""
    return f"{base:020d}.seg"


def segment_bases(directory: Path) -> list[int]:
    """Return the first offsets of a partition's segments, in order."""
    return sorted(int(path.name[:20]) for path in directory.iterdir() if _SEGMENT_NAME.fullmatch(path.name))


def pack_segment_header(topic: int, base: int, schema_version: int, arrow: pa.Schema, flags: int = 0) -> bytes:
    """Return a segment's header with its schema."""
    schema = bytes(memoryview(arrow.serialize()))
    schema += padding(len(schema))
    length = SEGMENT_HEADER + len(schema)
    fields = (_SEGMENT_MAGIC, FORMAT, flags, length, topic, base, schema_version, crc(schema))
    head = _SEGMENT.pack(*fields, 0)[:-4]
    return head + struct.pack("<I", crc(head)) + schema


def unpack_segment_header(data: bytes) -> tuple[int, int]:
    """Check the first 64 bytes of a segment; return the length of the whole header and the format.

    Raises:
        BadBytesError: They are not the start of a segment.
    """
    if len(data) < SEGMENT_HEADER or data[:8] != _SEGMENT_MAGIC:
        raise BadBytesError("it does not begin like a segment")
    if crc(data[: SEGMENT_HEADER - 4]) != struct.unpack_from("<I", data, SEGMENT_HEADER - 4)[0]:
        raise BadBytesError("the checksum of the segment's header is wrong")
    _, version, _, length, *_ = _SEGMENT.unpack_from(data)
    return int(length), int(version)


def unpack_segment(data: bytes) -> SegmentHeader:
    """Check a segment's whole header and return it.

    Raises:
        BadBytesError: A checksum is wrong, or the schema cannot be read.
    """
    length, _ = unpack_segment_header(data)
    _, _, flags, _, topic, base, version, schema_crc, _ = _SEGMENT.unpack_from(data)
    if len(data) < length or crc(data[SEGMENT_HEADER:length]) != schema_crc:
        raise BadBytesError("the checksum of the segment's schema is wrong")
    arrow = pa.ipc.read_schema(pa.py_buffer(data[SEGMENT_HEADER:length]))
    return SegmentHeader(flags, length, topic, base, version, arrow)


def pack_frame_header(header: FrameHeader) -> bytes:
    """Return the bytes of a frame's header."""
    head = _FRAME.pack(FRAME_MAGIC, header.kind, header.flags, 0, *header[2:], 0)[:-4]
    return head + struct.pack("<I", crc(head))


def unpack_frame_header(data: bytes) -> FrameHeader:
    """Check the bytes of a frame's header and return it.

    Raises:
        BadBytesError: The checksum is wrong, or a number in it is impossible.
    """
    if data[:4] != FRAME_MAGIC:
        raise BadBytesError("no frame begins here")
    fields = _FRAME.unpack(data)
    if crc(data[: FRAME_HEADER - 4]) != fields[-1]:
        raise BadBytesError("the checksum of the frame's header is wrong")
    header = FrameHeader(fields[1], fields[2], *fields[4:-1])
    if header.length > MOST_BODY or header.length % ALIGNMENT or header.next - header.base < header.rows:
        raise BadBytesError("the frame's lengths are impossible")
    return header


def writer_key(writer: str) -> bytes:
    """Return the 16 bytes that stand for a writer's name in frames."""
    return hashlib.blake2b(writer.encode(), digest_size=16, person=b"thalweg-writer").digest()


def pack_writers(last: dict[bytes, int]) -> bytes:
    """Return the body of a frame that carries writers' last epochs."""
    body = b"".join(_WRITER.pack(writer, epoch) for writer, epoch in sorted(last.items()))
    return body + padding(len(body))


def unpack_writers(body: bytes) -> dict[bytes, int]:
    """Return what ``pack_writers`` packed; the padding is no writer."""
    whole = len(body) // _WRITER.size * _WRITER.size
    return {writer: epoch for writer, epoch in _WRITER.iter_unpack(body[:whole]) if writer != NO_WRITER}
