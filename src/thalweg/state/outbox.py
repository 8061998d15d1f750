"""Rows that wait for a sink: immutable Arrow files of an epoch's output, named by the manifest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa

from thalweg.core.errors import StateError
from thalweg.core.outage import Retrying
from thalweg.state.room import write_whole
from thalweg.state.store import Stored

OUTBOX_BYTES: Final = 2**30
"""Bytes of rows that wait on disk for one sink; past it nothing more is read until the sink takes some."""


@dataclass(frozen=True, slots=True)
class Owed:
    """An epoch of rows that a sink has not confirmed.

    Attributes:
        epoch: The epoch.
        previous: The epoch before it that had rows for this sink; 0 for none.
        stored: The file that has the rows.
        rows: How many there are.
    """

    epoch: int
    previous: int
    stored: Stored
    rows: int

    def as_json(self) -> list[Any]:  # mixed, as JSON arrays are
        """Return it as the manifest holds it."""
        return [self.epoch, self.previous, self.stored.file, self.stored.sha256, self.rows]

    @staticmethod
    def from_json(value: list[Any]) -> Owed:
        """Return what a manifest holds."""
        epoch, previous, file, sha256, rows = value
        return Owed(epoch, previous, Stored(file, sha256), rows)


class OutboxFile:
    """One epoch's rows for one sink while they are written, a step at a time.

    Args:
        directory: The state directory.
        file: The file's name within it.
        schema: The rows' columns.
        room: How a full disk is waited for; None: not at all.

    Raises:
        StateError: It cannot be written.
    """

    def __init__(self, directory: Path, file: str, schema: pa.Schema, room: Retrying | None = None) -> None:
        self._file = file
        self._schema = schema
        self._path = path = directory / file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._out = open(path, "wb", buffering=0)  # noqa: SIM115  # stays open until it is sealed
        except OSError as error:
            raise _unwritable(path, error) from error
        self._hashed = _Hashed(self._out, room)
        with self._writing():
            self._writer = pa.ipc.new_stream(pa.PythonFile(self._hashed, mode="w"), schema)
        self.rows = 0

    @property
    def size_bytes(self) -> int:
        """How much is written."""
        return self._hashed.tell()

    def write(self, rows: pa.Table) -> None:
        """Add rows.

        Raises:
            StateError: They cannot be written.
        """
        with self._writing():
            self._writer.write_table(rows.cast(self._schema))  # the same types: only what may be null can differ
        self.rows += rows.num_rows

    def seal(self) -> Stored:
        """Make it durable; return what names it.

        Raises:
            StateError: It cannot be written.
        """
        with self._writing():
            self._writer.close()
            os.fdatasync(self._out.fileno())
            self._out.close()
        return Stored(self._file, self._hashed.digest.hexdigest())

    def drop(self) -> None:
        """Close it unsealed; no manifest names it, so the next checkpoint removes it."""
        with suppress(OSError):  # what cannot be written any more was not to be kept
            self._out.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _unwritable(self._path, error) from error


def _unwritable(path: Path, error: OSError) -> StateError:
    what = error.strerror or error
    return StateError(
        f"the output file {path} cannot be written: {what}; the last checkpoint is as it was: make room, or mend what "
        "is wrong, and run again"
    )


class _Hashed:
    """A file for writing that hashes what goes through."""

    closed = False

    def __init__(self, out: IO[bytes], room: Retrying | None) -> None:
        self._out, self._room = out, room
        self.digest = hashlib.sha256()
        self._at = 0

    def write(self, data: Any) -> int:  # whatever has the buffer protocol
        size_bytes = len(memoryview(data).cast("B"))
        self.digest.update(data)
        write_whole(self._out, data, self._room)
        self._at += size_bytes
        return size_bytes

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing is buffered."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """The file is closed by its owner, after the sync."""


def outbox_rows(directory: Path, stored: Stored) -> Iterator[pa.Table]:
    """Return the rows of an outbox file, a table at a time.

    Raises:
        StateError: It is missing or damaged.
    """
    path = directory / stored.file
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise StateError(f"the output file {path} cannot be read: {error}; restore it from a copy") from error
    if digest.hexdigest() != stored.sha256:
        raise StateError(f"the output file {path} is damaged: its checksum is wrong; restore it from a copy")

    def tables() -> Iterator[pa.Table]:
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])

    return tables()
