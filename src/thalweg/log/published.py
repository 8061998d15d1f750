"""The published end of a partition: what every process takes for the end of what is durable.

A file of two slots of 64 bytes, written in turns, so that one is whole whatever happens to the other. It is written
after the sync of the rows and before their acknowledgement, and never synced itself: after a power cut it may be
older than the rows, but never ahead of them.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Final, NamedTuple

from thalweg.log import disk
from thalweg.log.layout import crc

FILE: Final = "end"
SIZE: Final = 128
_SLOT: Final = struct.Struct("<4sIQQQQQqII")
_MAGIC: Final = b"THWE"

DELETED: Final = 1
"""A flag: the topic was deleted; nothing may be appended or read."""
ROLLING: Final = 4
"""A flag: a new segment is being made; where its maker died, the directory says whether it is there."""
HAS_WRITERS: Final = 2
"""A flag: the active segment has frames with a writer's epoch."""


class End(NamedTuple):
    """How far a partition goes.

    Attributes:
        flags: ``DELETED``, ``ROLLING``, ``HAS_WRITERS``.
        sequence: Counts publications; the slot with the higher one counts.
        segment: The first offset of the active segment.
        position: The byte of that segment after the last durable frame.
        offset: The first offset that is not there yet.
        start: The first offset that may be read.
        append_us: When the last row was appended; never falls.
        schema_version: The topic's schema when this was written, or a later one.
    """

    flags: int
    sequence: int
    segment: int
    position: int
    offset: int
    start: int
    append_us: int
    schema_version: int


def pack_end(end: End) -> bytes:
    """Return the slot's 64 bytes."""
    body = _SLOT.pack(_MAGIC, *end, 0)[:-4]
    return body + struct.pack("<I", crc(body))


def unpack_end(data: bytes) -> End | None:
    """Return the newer of the slots that are whole; None if none is."""
    newest: End | None = None
    for start in (0, 64):
        slot = data[start : start + 64]
        if len(slot) < 64 or slot[:4] != _MAGIC:
            continue
        fields = _SLOT.unpack(slot)
        if crc(slot[:60]) == fields[-1] and (newest is None or fields[2] > newest.sequence):
            newest = End(*fields[1:-1])
    return newest


def publish(fd: int, end: End) -> None:
    """Make an end the published one."""
    disk.write(fd, [pack_end(end)], 64 * (end.sequence % 2))


class EndWatch:
    """Looks at a partition's end again and again, cheaply.

    Args:
        directory: The partition's.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._map: mmap.mmap | None = None
        self._seen = b""
        self._end: End | None = None

    def look(self) -> End | None:
        """Return the published end; None if there is none that is whole."""
        if self._map is None:
            fd = disk.open_file(self._path)
            try:
                if disk.size(fd) < SIZE:
                    return None
                self._map = mmap.mmap(fd, SIZE, prot=mmap.PROT_READ)
            finally:
                disk.close(fd)
        data = self._map[:]
        if data != self._seen:
            end = unpack_end(data)
            if end is None:
                return None
            self._seen, self._end = data, end
        return self._end

    def close(self) -> None:
        """Give the mapping back."""
        if self._map is not None:
            self._map.close()
            self._map = None
