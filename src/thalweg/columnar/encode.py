"""Rows to bytes: NDJSON, CSV, Parquet and Arrow files, such that reading them gives the same rows.

Text has timestamps in ISO 8601 with ``Z`` and microseconds, bytes in base64, durations in microseconds,
decimals as text in NDJSON, and ``NaN``, ``Infinity``, ``-Infinity`` spelled out: nothing becomes null on
the way. In CSV an empty text is ``""`` and null is nothing; lists and structs are JSON.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable
from typing import IO, Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from thalweg.columnar.conform import Mask, by_part, either, masked

_BATCH_ROWS = 65_536
_ISO = {"timestamp": "%Y-%m-%dT%H:%M:%S%.6fZ", "date": "%Y-%m-%d", "time": "%H:%M:%S%.6f"}
_CODECS = {".gz": "gzip", ".zst": "zstd"}


def write_rows(
    file: IO[bytes], tables: Iterable[pa.Table], schema: pa.Schema, format_: str, compression: str | None = None
) -> None:
    r"""Write tables of one schema as one file.

    Args:
        file: An open file.
        tables: The rows.
        schema: Their schema; a file without rows has it too, as far as the format can say it.
        format_: ``ndjson``, ``csv``, ``parquet`` or ``arrow``.
        compression: ``.gz`` or ``.zst``, for text, and for Arrow as a stream; None for neither.

    Example:
        >>> file = io.BytesIO()
        >>> rows = pa.table({"at": pa.array([0], pa.timestamp("us", "UTC")), "x": [math.inf]})
        >>> write_rows(file, [rows], rows.schema, "ndjson")
        >>> file.getvalue()
        b'{"at":"1970-01-01T00:00:00.000000Z","x":"Infinity"}\n'
    """
    if compression is not None:
        with pa.CompressedOutputStream(pa.PythonFile(_Unclosed(file), "w"), _CODECS[compression]) as packed:
            _write(packed, tables, schema, format_, is_stream=True)
    else:
        _write(file, tables, schema, format_, is_stream=False)


def _write(file: Any, tables: Iterable[pa.Table], schema: pa.Schema, format_: str, *, is_stream: bool) -> None:
    if format_ == "parquet":
        with pa.parquet.ParquetWriter(file, schema, compression="zstd") as parquet:
            for table in tables:
                parquet.write_table(table)
    elif format_ == "arrow":
        make = pa.ipc.new_stream if is_stream else pa.ipc.new_file
        with make(file, schema) as arrow:
            for table in tables:
                arrow.write_table(table)
    else:
        if format_ == "csv":
            header = pl.DataFrame(schema={name: pl.String for name in schema.names})
            file.write(header.write_csv().encode())
        encode = _csv_lines if format_ == "csv" else _json_lines
        for table in tables:
            for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
                file.write(encode(batch))


def _json_lines(batch: pa.RecordBatch) -> bytes:
    columns = [texts_of(column) for column in batch.columns]
    spelled = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    odd: Mask = None
    for column in columns:
        odd = either(odd, by_part(column, column.type, _not_finite)[1])
    if odd is None:
        return _polars_lines(spelled)
    lines = iter(_polars_lines(spelled.filter(pc.invert(odd))).splitlines(keepends=True))
    rows = iter(spelled.filter(odd).to_pylist())
    return b"".join(json_text(next(rows)) + b"\n" if is_odd else next(lines) for is_odd in odd.to_pylist())


def _polars_lines(batch: pa.RecordBatch) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(pl.from_arrow(batch)).write_ndjson(buffer)
    return buffer.getvalue()


def _csv_lines(batch: pa.RecordBatch) -> bytes:
    columns = []
    for column in batch.columns:
        texts = texts_of(column)
        if pa.types.is_nested(texts.type):
            cells = [None if value is None else json_text(value).decode() for value in texts.to_pylist()]
            texts = pa.array(cells, pa.string())
        elif pa.types.is_floating(texts.type) and _not_finite(texts, texts.type)[1] is not None:
            names = {"inf": "Infinity", "-inf": "-Infinity", "NaN": "NaN"}
            texts = pl.Series(pl.from_arrow(texts)).cast(pl.String).replace(names).to_arrow()
        columns.append(texts)
    buffer = io.BytesIO()
    frame = pl.DataFrame(pl.from_arrow(pa.RecordBatch.from_arrays(columns, names=batch.schema.names)))
    frame.write_csv(buffer, include_header=False)
    return buffer.getvalue()


def texts_of(values: pa.Array) -> pa.Array:
    """Return values with times, bytes and decimals as the text that files have for them, at any depth."""
    return by_part(values, _text_type(values.type), _text)[0]


def _text_type(given: pa.DataType) -> pa.DataType:
    t = pa.types
    if t.is_list(given):
        return pa.list_(pa.field("item", _text_type(given.value_type)))
    if t.is_struct(given):
        return pa.struct([pa.field(field.name, _text_type(field.type)) for field in given])
    if t.is_duration(given):
        return pa.int64()
    return pa.string() if t.is_temporal(given) or t.is_binary(given) or t.is_decimal(given) else given


def _text(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    given, t = values.type, pa.types
    if t.is_duration(given):
        return values.view(target), None
    if given.equals(target):
        return values, None
    series = pl.Series(pl.from_arrow(values))
    if t.is_binary(given):
        texts = series.bin.encode("base64")
    elif t.is_decimal(given):
        texts = series.cast(pl.String)
    else:
        texts = series.dt.strftime(
            _ISO["timestamp" if t.is_timestamp(given) else "date" if t.is_date(given) else "time"]
        )
    return texts.to_arrow().cast(pa.string()), None


def _not_finite(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    if not pa.types.is_floating(target):
        return values, None
    return values, masked(pc.fill_null(pc.invert(pc.is_finite(values)), False))


def json_text(value: Any) -> bytes:
    """Return a value of ``texts_of`` as JSON, in which ``NaN`` and the infinities are spelled out."""
    return json.dumps(_spelled(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _spelled(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _spelled(inner) for name, inner in value.items()}
    return [_spelled(inner) for inner in value] if isinstance(value, list) else value


class _Unclosed:
    """A file that stays open when what writes to it is done."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.closed = False

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self.closed = True
