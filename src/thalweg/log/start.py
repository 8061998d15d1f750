"""The first offset of a partition that may be read, durable: what was trimmed never comes back.

A file of two slots, made with the topic. A trim overwrites the lower one and syncs, which needs no space: so a full
disk can be trimmed. A write that a crash tears leaves the other slot.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from thalweg.core.errors import LogDamaged
from thalweg.log import disk
from thalweg.log.layout import crc

FILE: Final = "start"
_SLOT_SIZE: Final = 64
_SLOT: Final = struct.Struct("<4s4xQ44xI")
_MAGIC: Final = b"THWB"


def pack_start(offset: int) -> bytes:
    """Return the bytes of one slot."""
    body = _SLOT.pack(_MAGIC, offset, 0)[:-4]
    return body + struct.pack("<I", crc(body))


def write_start(directory: Path, offset: int) -> None:
    """Make an offset the first that may be read, durably.

    Raises:
        LogDamaged: The file is not what was written.
        OSError: The disk refused.
    """
    found = start_slots(directory)
    place = 0 if found[0] is None or (found[1] is not None and found[0] <= found[1]) else 1
    fd = disk.open_file(directory / FILE, write=True)
    try:
        disk.write(fd, [pack_start(offset)], place * _SLOT_SIZE)
        disk.sync(fd)
    finally:
        disk.close(fd)


def read_start(directory: Path) -> int:
    """Return the first offset that may be read.

    Raises:
        LogDamaged: The file is not what was written.
        FileNotFoundError: The topic was deleted.
    """
    found = [offset for offset in start_slots(directory) if offset is not None]
    if not found:
        raise LogDamaged(directory / FILE, 0, None, "no slot of it is whole")
    return max(found)


def start_slots(directory: Path) -> tuple[int | None, int | None]:
    """Return the offsets in both slots; None for one that is not whole.

    Raises:
        LogDamaged: The file is missing.
        FileNotFoundError: The topic was deleted.
    """
    path = directory / FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if not directory.is_dir():
            raise
        raise LogDamaged(path, 0, None, "the file is missing") from None
    return _slot(data[:_SLOT_SIZE]), _slot(data[_SLOT_SIZE : 2 * _SLOT_SIZE])


def _slot(data: bytes) -> int | None:
    if len(data) < _SLOT_SIZE or data[:4] != _MAGIC or crc(data[:-4]) != struct.unpack_from("<I", data, 60)[0]:
        return None
    return int(_SLOT.unpack(data)[1])
