"""Parquet and Arrow files as batches: what is typed already."""

from __future__ import annotations

import threading
from collections.abc import Collection, Generator, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet

from thalweg.core.schema import Schema

_BATCH_ROWS = 65_536
_ARROW_FILE = b"ARROW1"
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class DamagedTableError(ValueError):
    """A file is not what its format asks for."""


def table_schema(path: str, format_: str, compression: str | None) -> pa.Schema:
    """Return the schema of a Parquet or Arrow file.

    Raises:
        DamagedTableError: It is none.
        OSError: It cannot be read.
    """
    if format_ == "parquet":
        with _parquet(path) as parquet:
            return parquet.schema_arrow
    with _arrow(path, compression) as reader:
        return reader.schema


def table_batches(
    path: str, format_: str, compression: str | None, columns: Sequence[str], start: int
) -> Generator[pa.RecordBatch, None, None]:
    """Yield a file's rows from one on, those of the columns that it has.

    The bytes are checked in full before anyone computes with them.

    Raises:
        DamagedTableError: The file is damaged, or has none of the columns.
        OSError: It cannot be read.
    """
    given = (
        _parquet_batches(path, columns, start) if format_ == "parquet" else _arrow_batches(path, compression, columns)
    )
    passed = start if format_ == "parquet" else 0
    try:
        for batch in given:
            batch.validate(full=True)
            skipped = min(max(start - passed, 0), batch.num_rows)
            passed += batch.num_rows
            for at in range(skipped, batch.num_rows, _BATCH_ROWS):
                yield batch.slice(at, _BATCH_ROWS)
    except pa.ArrowException as error:
        raise DamagedTableError(str(error)) from error


class WholeRows:
    """Rows of a Parquet file that is being read with some of its columns: all columns of them.

    The file is opened at once, so that it may be taken away meanwhile. For any number of threads.

    Args:
        path: The file.
        columns: The columns.

    Attributes:
        asked: Whether it was ever asked for rows.
    """

    def __init__(self, path: str, columns: Sequence[str]) -> None:
        self._parquet = _parquet(path)
        self._columns = list(columns)
        self._lock = threading.Lock()
        self.asked = False

    def read(self, start: int, count: int) -> pa.RecordBatch:
        """Return rows from one on.

        Raises:
            DamagedTableError: The file is damaged.
        """
        self.asked = True
        found: list[pa.RecordBatch] = []
        with self._lock:
            try:
                for batch in _read_on(self._parquet, self._columns, start):
                    batch.validate(full=True)
                    found.append(batch.slice(0, count))
                    count -= found[-1].num_rows
                    if not count:
                        return found[0] if len(found) == 1 else pa.concat_batches(found)
            except pa.ArrowException as error:
                raise DamagedTableError(str(error)) from error
        raise DamagedTableError("it has fewer rows than were read of it")


def may_be_left_out(path: str, schema: Schema, wanted: Collection[str]) -> tuple[str, ...]:
    """Return the columns of a Parquet file that are not wanted and could reject no row of a schema.

    Raises:
        DamagedTableError: It is no Parquet file.
        OSError: It cannot be read.
    """
    with _parquet(path) as parquet:
        has = parquet.schema_arrow
    if len(set(has.names)) < len(has.names) or not any(name in wanted for name in has.names):
        return ()
    free = [f for f in schema if f.name not in wanted and f.name in has.names and f.nullable and not f.rules]
    return tuple(f.name for f in free if _same_values(has.field(f.name).type, f.type))


def _same_values(given: pa.DataType, declared: pa.DataType) -> bool:
    if given == declared:
        return True
    return bool(pa.types.is_string(declared) and (pa.types.is_large_string(given) or pa.types.is_string_view(given)))


def _parquet_batches(path: str, columns: Sequence[str], start: int) -> Iterator[pa.RecordBatch]:
    with _parquet(path) as parquet:
        yield from _read_on(parquet, columns, start)


def _read_on(parquet: pa.parquet.ParquetFile, columns: Sequence[str], start: int) -> Iterator[pa.RecordBatch]:
    wanted = _common(parquet.schema_arrow, columns)
    passed = 0
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if passed + rows > start:
            skipped = max(start - passed, 0)
            for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=[group], columns=wanted):
                part = min(skipped, batch.num_rows)
                skipped -= part
                yield batch.slice(part)
        passed += rows


def _arrow_batches(path: str, compression: str | None, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with _arrow(path, compression) as reader:
        wanted = _common(reader.schema, columns)
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number).select(wanted)
        else:
            for batch in reader:
                yield batch.select(wanted)


def _common(schema: pa.Schema, columns: Sequence[str]) -> list[str]:
    wanted = [name for name in columns if name in schema.names]
    if not wanted and columns:
        raise DamagedTableError(f"it has none of the columns {', '.join(columns)}; it has {', '.join(schema.names)}")
    return wanted


def _parquet(path: str) -> pa.parquet.ParquetFile:
    try:
        return pa.parquet.ParquetFile(pa.OSFile(path))
    except pa.ArrowException as error:
        raise DamagedTableError(f"it is not a Parquet file ({error})") from error


def _arrow(path: str, compression: str | None) -> pa.RecordBatchStreamReader | pa.RecordBatchFileReader:
    file = pa.OSFile(path)  # not mapped: another program could cut it under us
    try:
        if compression is not None:
            return pa.ipc.open_stream(pa.CompressedInputStream(file, "gzip" if compression == ".gz" else "zstd"))
        if file.read(len(_ARROW_FILE)) == _ARROW_FILE:
            return pa.ipc.open_file(file)
        # A stream that was cut between two batches would just seem shorter.
        file.seek(max(file.size() - len(_END_OF_STREAM), 0))
        if not file.read().endswith(_END_OF_STREAM):
            raise DamagedTableError("it is neither an Arrow file nor a stream with an end: it may have been cut")
        file.seek(0)
        return pa.ipc.open_stream(file)
    except pa.ArrowException as error:
        raise DamagedTableError(f"it is neither an Arrow file nor a stream ({error})") from error
