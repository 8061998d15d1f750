"""Rows that wait for a sink: immutable Arrow files of an epoch's output, named by the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from thalweg.core.errors import StateError
from thalweg.core.outage import Retrying
from thalweg.state.files import HashedFile, Stored, sha256_of, sync_file

_LOST: Final = (
    "restore it from a copy, or go on from an older checkpoint with --recover-from EPOCH: thalweg checkpoint verify "
    "says which are whole"
)

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
        stored = self.stored
        return [self.epoch, self.previous, stored.file, stored.sha256, self.rows, stored.size_bytes]

    @staticmethod
    def from_json(value: list[Any]) -> Owed:
        """Return what a manifest holds."""
        epoch, previous, file, sha256, rows, size_bytes = value
        return Owed(epoch, previous, Stored(file, sha256, size_bytes, rows), rows)


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
        self._hashed = HashedFile(self._out, room)
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
            sync_file(self._out)
            self._out.close()
        return Stored(self._file, self._hashed.sha256, self._hashed.tell(), self.rows)

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


def outbox_rows(directory: Path, stored: Stored) -> Iterator[pa.Table]:
    """Return the rows of an outbox file, a table at a time.

    Raises:
        StateError: It is missing or damaged.
    """
    path = directory / stored.file
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise StateError(f"the output file {path} cannot be read: {error.strerror}; {_LOST}") from error
    if digest != stored.sha256:
        raise StateError(f"the output file {path} is damaged: its checksum is wrong; {_LOST}")

    def tables() -> Iterator[pa.Table]:
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])

    return tables()
