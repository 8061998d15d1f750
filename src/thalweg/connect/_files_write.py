"""Writing files: rows wait until the commit, then appear as one file, whole and synced."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.columnar.encode import write_rows
from thalweg.core.errors import SinkError
from thalweg.core.ports import WriteRequest

_IN_MEMORY_BYTES = 64 << 20
_PART = re.compile(r"part-(\d{8,})\.(?:ndjson|csv|parquet|arrow)")
_WAITING = "_waiting.arrow"  # a name that a source of files skips


class FolderWriter:
    """Writes one file for each epoch that has rows: ``part-00000042.parquet``.

    State:
        The rows since the last commit: in memory, past 64 MiB in a file beside.

    Raises:
        SinkError: The folder cannot be made or written to.
    """

    def __init__(self, folder: str, format_: str, request: WriteRequest) -> None:
        self._folder = folder
        self._format = format_
        self._schema = request.schema
        self._replaced: list[str] = []
        with _errors_of(folder):
            os.makedirs(folder, exist_ok=True)
            parts = sorted(name for name in os.listdir(folder) if _PART.fullmatch(name))
            if request.fresh:
                self._replaced = parts
            else:
                # Left by a run that died before its checkpoint counted: they will be written again.
                later = [name for name in parts if _epoch(name) > request.epoch]
                for name in later:
                    os.remove(os.path.join(folder, name))
                if later:
                    _sync_folder(folder)
        self._waiting = _Waiting(os.path.join(folder, _WAITING), request.schema)

    def write(self, rows: pa.Table) -> None:
        """Keep rows for the next commit."""
        with _errors_of(self._folder):
            self._waiting.append(rows)

    def commit(self, epoch: int) -> None:
        """Write the rows that wait as one file."""
        name = f"part-{epoch:08d}.{self._format}"
        with _errors_of(self._folder):
            if self._waiting.rows:
                _write_whole(os.path.join(self._folder, name), self._waiting, self._schema, self._format, None)
            for other in self._replaced:
                if other != name or not self._waiting.rows:
                    os.remove(os.path.join(self._folder, other))
            if self._replaced:
                _sync_folder(self._folder)
            self._replaced = []
            self._waiting.clear()

    def close(self) -> None:
        """Drop what was not committed."""
        self._waiting.clear()


class SingleFileWriter:
    """Writes one file, which each commit replaces by one with all rows so far.

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
        self._waiting = _Waiting(os.path.join(folder, f"_{name}{_WAITING}"), request.schema)

    def write(self, rows: pa.Table) -> None:
        """Keep rows for the next commit."""
        with _errors_of(self._path):
            self._waiting.append(rows)

    def commit(self, epoch: int) -> None:
        """Write all rows since the start; without any the file is empty."""
        with _errors_of(self._path):
            _write_whole(self._path, self._waiting, self._schema, self._format, self._compression)

    def close(self) -> None:
        """Drop what was not committed."""
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


def _write_whole(path: str, waiting: _Waiting, schema: pa.Schema, format_: str, compression: str | None) -> None:
    """Write a file such that others see it whole or not at all, also after a loss of power."""
    folder, name = os.path.split(path)
    hidden = os.path.join(folder, f"_{name}.tmp")
    try:
        with open(hidden, "wb") as file:
            write_rows(file, waiting.tables(), schema, format_, compression)
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, path)
        _sync_folder(folder or ".")
    finally:
        Path(hidden).unlink(missing_ok=True)


def _epoch(name: str) -> int:
    match = _PART.fullmatch(name)
    assert match is not None, "only such names are asked for"
    return int(match[1])


def _sync_folder(folder: str) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there; the file system orders renames itself
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _errors_of(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SinkError(f"{path} cannot be written: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise SinkError(f"{path}: these rows cannot be written: {error}") from error
