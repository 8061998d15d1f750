"""Writing files: an epoch's rows appear as one file, whole and synced, once."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from thalweg.columnar.encode import write_rows
from thalweg.core.errors import SinkError
from thalweg.core.folders import sync_folder
from thalweg.core.ports import WriteRequest
from thalweg.core.sink_record import SinkRecord, goes_on, may_apply

_IN_MEMORY_BYTES = 64 << 20
_PART = re.compile(r"part-(\d{8,})\.(?:ndjson|csv|parquet|arrow)")
_WAITING = ".waiting.arrow"  # a name that globs and sources of files skip
_RECORD = ".thalweg.json"


class FolderWriter:
    """Writes one file for each epoch that has rows: ``part-00000042.parquet``.

    An epoch is written under a hidden name and synced; then the record in ``.thalweg.json`` says that it
    counts, and last the file gets its visible name. What dies in between is finished, or removed, at the
    next start.

    State:
        An epoch's rows while they come in: in memory, past 64 MiB in a file beside.

    Raises:
        SinkError: The folder cannot be made or written to, or has the output of another state.
    """

    def __init__(self, folder: str, format_: str, request: WriteRequest) -> None:
        self._folder = folder
        self._format = format_
        self._request = request
        self._replaced: list[str] = []
        with _errors_of(folder):
            _make_folder(folder)
            with _locked(folder):
                record = _read_record(folder)
                # What has no record was left by a batch, or by a run without state: nobody goes on with it.
                if not goes_on(record, request, folder, empty=True):
                    record = None
                    parts = sorted(name for name in os.listdir(folder) if _PART.fullmatch(name))
                    if request.fresh:
                        self._replaced = parts
                    else:
                        for name in parts:
                            os.remove(os.path.join(folder, name))
                self._record = record or SinkRecord(request.app, request.run, request.term, 0)
                self._finish()
                if not request.fresh:
                    self._write_record(self._record.epoch)
        self._waiting = _Waiting(os.path.join(folder, _WAITING), request.schema)

    def last_epoch(self) -> int:
        """Return the last epoch that counts."""
        return self._record.epoch

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        """Write an epoch's rows as one file."""
        if not self._may_apply(epoch, previous):
            return
        name = f"part-{epoch:08d}.{self._format}"
        hidden = os.path.join(self._folder, f".{name}")
        with _errors_of(self._folder):
            try:
                for table in rows:
                    self._waiting.append(table)
                written = self._waiting.rows > 0
                if written:
                    _write_synced(hidden, self._waiting, self._request.schema, self._format, None)
            finally:
                self._waiting.clear()
            with _locked(self._folder):
                # The rows took their time, and another run may have claimed the folder meanwhile.
                self._may_apply(epoch, previous)
                self._write_record(epoch)
                if written:
                    os.replace(hidden, os.path.join(self._folder, name))
            for other in self._replaced:
                if other != name or not written:
                    os.remove(os.path.join(self._folder, other))
            self._replaced = []
            sync_folder(self._folder)

    def close(self) -> None:
        """Drop what was not applied."""
        self._waiting.clear()

    def _may_apply(self, epoch: int, previous: int) -> bool:
        # Without a state nobody goes on with the output, and there is no record.
        found = _read_record(self._folder) if self._request.term else self._record
        return may_apply(found, self._record, epoch, previous, self._folder)

    def _finish(self) -> None:
        """Show the epoch that counts already, and remove what never came to count."""
        for name in os.listdir(self._folder):
            if name.startswith(".") and _PART.fullmatch(name[1:]):
                path = os.path.join(self._folder, name)
                if _epoch(name[1:]) == self._record.epoch:
                    os.replace(path, os.path.join(self._folder, name[1:]))
                else:
                    os.remove(path)
        sync_folder(self._folder)

    def _write_record(self, epoch: int) -> None:
        """Say which epochs count. Where no state is kept nobody goes on with the output, and there is no record."""
        self._record = SinkRecord(self._request.app, self._request.run, self._request.term, epoch)
        if not self._request.term:
            Path(self._folder, _RECORD).unlink(missing_ok=True)
            return
        hidden = os.path.join(self._folder, f"{_RECORD}.tmp")
        with open(hidden, "wb") as file:
            file.write(msgspec.json.encode(self._record))
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, os.path.join(self._folder, _RECORD))
        sync_folder(self._folder)


def _read_record(folder: str) -> SinkRecord | None:
    path = os.path.join(folder, _RECORD)
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=SinkRecord)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise SinkError(f"{path} is damaged ({error}); restore it from a copy, or name another folder") from error


class SingleFileWriter:
    """Writes one file, which each batch replaces as a whole.

    Raises:
        SinkError: The file's folder cannot be made.
    """

    def __init__(self, path: str, format_: str, compression: str | None, request: WriteRequest) -> None:
        if format_ == "parquet" and compression is not None:
            raise SinkError(f"{path}: Parquet is compressed inside; name it {path.removesuffix(compression)}")
        self._path = path
        self._format = format_
        self._compression = compression
        self._schema = request.schema
        folder, name = os.path.split(path)
        with _errors_of(path):
            os.makedirs(folder or ".", exist_ok=True)
        self._waiting = _Waiting(os.path.join(folder, f".{name}{_WAITING}"), request.schema)

    def last_epoch(self) -> int:
        """A batch starts from nothing."""
        return 0

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        """Write all rows; without any the file is empty."""
        folder, name = os.path.split(self._path)
        hidden = os.path.join(folder, f".{name}.tmp")
        with _errors_of(self._path):
            try:
                for table in rows:
                    self._waiting.append(table)
                _write_synced(hidden, self._waiting, self._schema, self._format, self._compression)
                os.replace(hidden, self._path)
                sync_folder(folder or ".")
            finally:
                self._waiting.clear()
                Path(hidden).unlink(missing_ok=True)

    def close(self) -> None:
        """Drop what was not applied."""
        self._waiting.clear()


class _Waiting:
    """Rows that wait: in memory, and once they are many in a file."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._size_bytes = 0
        self._file: IO[bytes] | None = None
        self._writer: pa.RecordBatchStreamWriter | None = None
        self.rows = 0

    def append(self, table: pa.Table) -> None:
        self._tables.append(table.select(self._schema.names).cast(self._schema))
        self._size_bytes += table.nbytes
        self.rows += table.num_rows
        if self._size_bytes > _IN_MEMORY_BYTES:
            self._spill()

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows, sorted by all columns that have an order if all are in memory."""
        if self._file is None:
            table = pa.concat_tables(self._tables) if self._tables else self._schema.empty_table()
            keys = [(field.name, "ascending") for field in self._schema if not pa.types.is_nested(field.type)]
            yield table.take(pc.sort_indices(table, sort_keys=keys)) if keys else table
            return
        self._spill()
        self._file.flush()
        with pa.OSFile(self._path) as file:
            # No end is written while more may come: the reader stops where the file does.
            for batch in pa.ipc.open_stream(file):
                yield pa.Table.from_batches([batch])

    def clear(self) -> None:
        self._tables, self._size_bytes, self.rows = [], 0, 0
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._file is not None:
            self._file.close()
            self._file = None
            os.remove(self._path)

    def _spill(self) -> None:
        if self._file is None:
            self._file = open(self._path, "wb")  # noqa: SIM115  # stays open until the commit
            self._writer = pa.ipc.new_stream(self._file, self._schema)
        assert self._writer is not None, "made with the file"
        for table in self._tables:
            self._writer.write_table(table)
        self._tables, self._size_bytes = [], 0


def _write_synced(path: str, waiting: _Waiting, schema: pa.Schema, format_: str, compression: str | None) -> None:
    with open(path, "wb") as file:
        write_rows(file, waiting.tables(), schema, format_, compression)
        file.flush()
        os.fsync(file.fileno())


def _epoch(name: str) -> int:
    match = _PART.fullmatch(name)
    assert match is not None, "only such names are asked for"
    return int(match[1])


def _make_folder(folder: str) -> None:
    """Make a folder and those above it, so that they are still there when the power went."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(os.path.abspath(folder))
    _make_folder(above)
    os.makedirs(folder, exist_ok=True)
    sync_folder(above)


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold a folder's lock: between a look at its record and a change of it no other run may change it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _errors_of(path: str) -> Iterator[None]:
    try:
        yield
    except SinkError:
        raise
    except OSError as error:
        raise SinkError(f"{path} cannot be written: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise SinkError(f"{path}: these rows cannot be written: {error}") from error
