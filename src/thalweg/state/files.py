"""Arrow files of state: hashed while they are written, and never read before their hash is right."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from thalweg.core import folders
from thalweg.core.errors import StateError
from thalweg.core.outage import Retrying
from thalweg.state.room import write_whole


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of state.

    Attributes:
        file: Its name within the state directory.
        sha256: The SHA-256 of its bytes.
        size_bytes: How many those are.
        rows: How many rows it has.
    """

    file: str
    sha256: str
    size_bytes: int = 0
    rows: int = 0


class HashedFile:
    """A file for writing that hashes what goes through; for ``pyarrow.PythonFile``.

    Args:
        out: The file, open for writing without a buffer.
        room: How a full disk is waited for; None: not at all.
    """

    closed = False

    def __init__(self, out: IO[bytes], room: Retrying | None = None) -> None:
        self._out, self._room = out, room
        self._hash = hashlib.sha256()
        self._at = 0

    @property
    def sha256(self) -> str:
        """The hash of what was written so far."""
        return self._hash.hexdigest()

    def write(self, data: Any) -> int:  # whatever has the buffer protocol
        """Write bytes."""
        size_bytes = len(memoryview(data).cast("B"))
        self._hash.update(data)
        write_whole(self._out, data, self._room)
        self._at += size_bytes
        return size_bytes

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._at

    def flush(self) -> None:
        """Nothing is buffered."""

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def readable(self) -> bool:
        """It is not for reading."""
        return False

    def seekable(self) -> bool:
        """It is written from its beginning to its end."""
        return False

    def close(self) -> None:
        """The file is closed by its owner, after the sync."""


def write_tables(directory: Path, file: str, tables: Iterable[pa.Table], room: Retrying | None = None) -> Stored:
    """Write tables of one schema, at least one, to a new file, durably but for its name; return what names it.

    No more than one of the tables is held: memory does not grow with the file.

    Raises:
        StateError: It cannot be written.
    """
    path, rows = directory / file, 0
    pieces = iter(tables)
    table = next(pieces)
    with writing(path), open(path, "wb", buffering=0) as out:
        hashed = HashedFile(out, room)
        with pa.ipc.new_file(pa.PythonFile(hashed, mode="w"), table.schema) as writer:
            while True:
                writer.write_table(table)
                rows += table.num_rows
                following = next(pieces, None)
                if following is None:
                    break
                table = following
        sync_file(out)
    return Stored(file, hashed.sha256, hashed.tell(), rows)


def read_table(directory: Path, stored: Stored) -> pa.Table:
    """Return a file's table.

    Raises:
        StateError: It is missing or damaged.
    """
    path = directory / stored.file
    try:
        return read_checked(path, stored.sha256)
    except OSError as error:
        raise StateError(f"the state file {path} cannot be read: {error.strerror}") from error


def read_checked(path: Path, sha256: str) -> pa.Table:
    """Return the table of a file whose hash is known.

    Raises:
        OSError: It cannot be read.
        StateError: It is damaged.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StateError(f"the state file {path} is damaged: its checksum is wrong")
    with pa.ipc.open_file(pa.BufferReader(data)) as reader:
        return reader.read_all()


def sha256_of(path: Path) -> str:
    """Return the hash of a file's bytes, a piece of them in memory at a time.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_synced(path: Path, data: bytes, room: Retrying | None = None) -> None:
    """Write a whole file, durably but for its name.

    Raises:
        StateError: It cannot be written.
    """
    with writing(path), open(path, "wb", buffering=0) as out:
        write_whole(out, data, room)
        sync_file(out)


def replace_file(
    path: Path, data: bytes, room: Retrying | None = None, ready: Callable[[], None] | None = None
) -> None:
    """Write a file in place of the one of that name, durably: whoever reads finds the old one or the new, whole.

    Args:
        path: The file.
        data: What it is to have.
        room: How a full disk is waited for; None: not at all.
        ready: Called when all is written and the new file is about to get the name.

    Raises:
        StateError: It cannot be; the old one is as it was, or the new one has its name but not for sure.
    """
    beside = path.with_name(f"_{path.name}")
    write_synced(beside, data, room)
    if ready is not None:
        ready()
    with writing(path):
        os.replace(beside, path)
    sync_folder(path.parent)


def sync_file(out: IO[bytes]) -> None:
    """Make what was written to a file durable.

    Raises:
        OSError: It cannot be.
    """
    out.flush()
    os.fdatasync(out.fileno())


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        StateError: They cannot be.
    """
    with writing(path):
        folders.sync_folder(path)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, and their names durable; one that is there stays.

    Raises:
        OSError: It cannot be made.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell of what cannot be written in the block, and what to do.

    Raises:
        StateError: It cannot be.
    """
    try:
        yield
    except OSError as error:
        raise StateError(
            f"the state file {path} cannot be written: {error.strerror or error}; the last checkpoint is as it was: "
            "make room, or mend what is wrong, and run again"
        ) from error
