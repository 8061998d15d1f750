"""Every call with which the log changes a disk; all else in the log goes through these few functions.

Tests put faults here: a call that fails, writes half, or forgets to sync.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import pyarrow as pa

Bytes: TypeAlias = "bytes | pa.Buffer"

_MOST_BUFFERS: Final = 1024
"""How many buffers one ``pwritev`` takes (IOV_MAX)."""

_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


def open_file(path: Path, *, write: bool = False, create: bool = False, exclusive: bool = False) -> int:
    """Open a file and return its descriptor."""
    flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC
    if create:
        flags |= os.O_CREAT | (os.O_EXCL if exclusive else 0)
    return os.open(path, flags, 0o644)


def close(fd: int) -> None:
    """Close a descriptor."""
    os.close(fd)


def write(fd: int, buffers: Sequence[Bytes], position: int) -> None:
    """Write buffers one after the other at a position, all of them.

    Raises:
        OSError: The disk refused; some of the bytes may be written.
    """
    pending = [memoryview(part).cast("B") for part in buffers if len(part)]
    while pending:
        written = os.pwritev(fd, pending[:_MOST_BUFFERS], position)
        if written == 0:
            raise OSError(errno.EIO, "the disk took no bytes")
        position += written
        while pending and written >= len(pending[0]):
            written -= len(pending.pop(0))
        if written:
            pending[0] = pending[0][written:]


def read(fd: int, length: int, position: int) -> bytes:
    """Return the bytes at a position; fewer where the file ends."""
    parts = []
    while length > 0:
        part = os.pread(fd, min(length, 1 << 30), position)
        if not part:
            break
        parts.append(part)
        position += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def size(fd: int) -> int:
    """Return the length of an open file."""
    return os.fstat(fd).st_size


def sync(fd: int) -> None:
    """Wait until a file's bytes and length are on the medium. A sync that failed must not be tried again.

    Raises:
        OSError: They may not be there.
    """
    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        fcntl.fcntl(fd, full)  # macOS: its fsync stops at the drive's cache
    else:
        os.fdatasync(fd)


def sync_directory(path: Path) -> None:
    """Wait until a directory's names are on the medium.

    Raises:
        OSError: They may not be there, whatever the reason: it is never taken for a disk that is merely full.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise OSError(errno.EIO, f"the names in it may not be on the medium: {error}", str(path)) from error
    finally:
        os.close(fd)


def truncate(fd: int, length: int) -> None:
    """Cut a file."""
    os.ftruncate(fd, length)


def rename(source: Path, target: Path) -> None:
    """Give a file or directory another name; a file of that name is replaced."""
    os.rename(source, target)


def unlink(path: Path) -> None:
    """Remove a file."""
    os.unlink(path)


def make_directory(path: Path) -> None:
    """Make a directory."""
    os.mkdir(path, 0o755)


def remove_directory(path: Path) -> None:
    """Remove a directory that is empty."""
    os.rmdir(path)


@contextmanager
def locked(fd: int) -> Iterator[None]:
    """Hold a file's exclusive lock; waits for who holds it, without the interpreter's."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def unlock(fd: int) -> None:
    """Give a file's lock back."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def try_lock(fd: int) -> bool:
    """Take a file's exclusive lock if nobody holds it; return whether it was taken."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a directory that this process alone knows."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def write_whole(path: Path, buffers: Sequence[Bytes]) -> None:
    """Make a file durable under its name, or leave what was there.

    Raises:
        OSError: The disk refused; the old file stands, or (where the directory could not be synced) either may.
    """
    replace(write_beside(path, buffers), path)


def write_beside(path: Path, buffers: Sequence[Bytes]) -> Path:
    """Write a file that is to take another's place, durably, and return its path.

    Raises:
        OSError: The disk refused.
    """
    beside = path.with_name(path.name + ".tmp")
    fd = open_file(beside, write=True, create=True)
    try:
        truncate(fd, 0)
        write(fd, buffers, 0)
        sync(fd)
    except OSError:
        unlink(beside)
        raise
    finally:
        close(fd)
    return beside


def replace(beside: Path, path: Path) -> None:
    """Let a file take another's place, durably."""
    rename(beside, path)
    sync_directory(path.parent)


def is_full(error: OSError) -> bool:
    """Whether a call failed because the disk, or the user's share of it, is full."""
    return error.errno in _NO_SPACE
