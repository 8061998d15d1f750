"""A topic's directory made whole, and removed whole.

It is made under a name that no topic can have and renamed when everything in it is durable. To delete it, each
partition's end is flagged under its lock (so that nobody appends to what is going), the directory is renamed, and then
removed. What a process that died has left of either is swept up by the next that creates or deletes a topic.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from thalweg.log import disk
from thalweg.log.layout import pack_segment_header, segment_name
from thalweg.log.metadata import FILE as METADATA
from thalweg.log.metadata import Metadata, write_metadata
from thalweg.log.partition import LOCK
from thalweg.log.published import DELETED, SIZE, End, pack_end, publish, unpack_end
from thalweg.log.published import FILE as END
from thalweg.log.start import FILE as START
from thalweg.log.start import pack_start
from thalweg.log.survey import published_end

MAINTENANCE: Final = "maintenance"
"""The file whose lock upkeep holds; made with the topic, for upkeep must be possible when the disk is full."""

_PARTITIONS: Final = "[0-9][0-9][0-9][0-9]"
_DELETED: Final = ".deleted-"
_BUILDING: Final = ".building-"


def make_topic(log: Path, metadata: Metadata) -> None:
    """Make a topic; where another process was first, its topic stays.

    Raises:
        OSError: The disk refused.
    """
    building = log / f"{_BUILDING}{metadata.name}-{secrets.token_hex(8)}"
    disk.make_directory(building)
    with disk.held(building):
        for partition in range(metadata.options.partitions):
            _make_partition(building / f"{partition:04d}", metadata)
        _write_new(building / MAINTENANCE, b"")
        write_metadata(building, metadata)
        try:
            disk.rename(building, log / metadata.name)
        except OSError:
            if not (log / metadata.name / METADATA).exists():
                raise
            _remove(building)
    disk.sync_directory(log)


def _make_partition(directory: Path, metadata: Metadata) -> None:
    disk.make_directory(directory)
    header = pack_segment_header(metadata.number, 0, metadata.version, metadata.schema.arrow)
    end = End(0, 0, 0, len(header), 0, 0, 0, metadata.version)
    for name, data in (
        (segment_name(0), header),
        (LOCK, b""),
        (END, pack_end(end) + bytes(64)),
        (START, pack_start(0) * 2),
    ):
        _write_new(directory / name, data)
    disk.sync_directory(directory)


def _write_new(path: Path, data: bytes) -> None:
    fd = disk.open_file(path, write=True, create=True, exclusive=True)
    try:
        disk.write(fd, [data], 0)
        disk.sync(fd)
    finally:
        disk.close(fd)


def delete_topic(directory: Path) -> None:
    """Delete a topic; where it was begun before, finish it.

    Raises:
        OSError: The disk refused.
    """
    for partition in sorted(directory.glob(_PARTITIONS)):
        _flag(partition)
    gone = directory.with_name(f"{_DELETED}{directory.name}-{secrets.token_hex(8)}")
    disk.rename(directory, gone)
    disk.sync_directory(directory.parent)
    sweep(directory.parent)


def is_deleted(directory: Path) -> bool:
    """Whether somebody has begun to delete a topic: one partition's flag is enough, a power cut may take the others."""
    ends = map(published_end, directory.glob(_PARTITIONS))
    return any(end is not None and end.flags & DELETED for end in ends)


def sweep(log: Path) -> None:
    """Remove directories that were being made or removed by processes that died."""
    for path in log.glob(f"{_DELETED}*"):
        _remove(path)
    for path in log.glob(f"{_BUILDING}*"):
        with contextlib.suppress(FileNotFoundError):  # it was finished just now
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if disk.try_lock(fd):  # its maker holds it for as long as it lives
                    _remove(path)
            finally:
                disk.close(fd)


def _flag(partition: Path) -> None:
    lock = disk.open_file(partition / LOCK, write=True, create=True)
    try:
        with disk.locked(lock):
            fd = disk.open_file(partition / END, write=True, create=True)
            try:
                end = unpack_end(disk.read(fd, SIZE, 0)) or End(0, 0, 0, 0, 0, 0, 0, 0)
                publish(fd, end._replace(flags=end.flags | DELETED, sequence=end.sequence + 1))
            finally:
                disk.close(fd)
    finally:
        disk.close(lock)


def _remove(directory: Path) -> None:
    """Remove a directory that nothing names any more; others may be removing it too."""
    with contextlib.suppress(FileNotFoundError):
        for path in directory.iterdir():
            if path.is_dir():
                _remove(path)
            else:
                with contextlib.suppress(FileNotFoundError):
                    disk.unlink(path)
        disk.remove_directory(directory)
