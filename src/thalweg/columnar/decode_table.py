"""Parquet and Arrow files as batches: what is typed already."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet

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


def _parquet_batches(path: str, columns: Sequence[str], start: int) -> Iterator[pa.RecordBatch]:
    with _parquet(path) as parquet:
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
