"""Arrow streams from strangers: walked before Arrow reads them, and checked in full before anyone computes with them.

What is refused: a stream without its end, which would seem shorter than it is; compressed buffers, which say
themselves how much memory they want; dictionaries and views whose values written out exceed the bound.

Source: Arrow columnar format, "Encapsulated message format" and ``Message.fbs``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

_CONTINUES = 0xFFFFFFFF
_DICTIONARY, _RECORDS = 2, 3  # of the union MessageHeader
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3  # fields of Message
_DATA = 1  # of DictionaryBatch
_COMPRESSION = 3  # of RecordBatch


class StreamError(ValueError):
    """Bytes are no whole Arrow stream, or one of a kind that is not taken."""


class LongStreamError(StreamError):
    """A stream has more rows than are taken at once."""


def read_stream(data: bytes, most_rows: int, most_bytes: int) -> list[pa.RecordBatch]:
    """Return the batches of a stream.

    Args:
        data: The whole stream.
        most_rows: Rows in all batches.
        most_bytes: What dictionaries and views may hold when they are written out.

    Raises:
        StreamError: It is not whole, damaged, compressed or larger than allowed.
    """
    try:
        _walk(memoryview(data))
    except (struct.error, IndexError) as error:
        raise StreamError("the metadata of a message is damaged") from error
    batches, rows, spelled = [], 0, 0
    try:
        for batch in pa.ipc.open_stream(pa.py_buffer(data)):
            rows += batch.num_rows
            if rows > most_rows:
                raise LongStreamError(f"more than {most_rows} rows")
            batch.validate(full=True)
            spelled += sum(map(_spelled_bytes, batch.columns, batch.schema.names))
            if spelled > most_bytes:
                raise StreamError(f"its dictionaries or views hold more than {most_bytes} bytes when written out")
            batches.append(batch)
    except StreamError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, RecursionError, MemoryError) as error:
        raise StreamError(f"not a valid Arrow stream: {str(error)[:200]}") from error
    return batches


def _walk(data: memoryview) -> None:
    """Look at every message: the stream is to end where the bytes do, and nothing in it to be compressed."""
    place = 0
    while True:
        if place + 8 > len(data):
            raise StreamError("it has no end: it may have been cut")
        continues, length = struct.unpack_from("<II", data, place)
        if continues != _CONTINUES:
            raise StreamError(f"no message starts at byte {place}: it is damaged, or older than Arrow 0.15")
        place += 8
        if length == 0:
            break
        message = data[place : place + length]
        if len(message) < length:
            raise StreamError("it has no end: it may have been cut")
        place += length + _checked_body(message, len(data) - place - length)
    if place != len(data):
        raise StreamError(f"{len(data) - place} bytes stand after its end")


def _checked_body(message: memoryview, left: int) -> int:
    root = struct.unpack_from("<I", message, 0)[0]
    where = _field(message, root, _BODY_LENGTH)
    body = struct.unpack_from("<q", message, where)[0] if where else 0
    if not 0 <= body <= left:
        raise StreamError("it has no end: it may have been cut")
    where = _field(message, root, _HEADER_TYPE)
    kind = message[where] if where else 0
    header = _table(message, root, _HEADER)
    if kind == _DICTIONARY and header:
        header = _table(message, header, _DATA)
    if kind in (_DICTIONARY, _RECORDS) and header and _field(message, header, _COMPRESSION):
        raise StreamError("its buffers are compressed; send them plain, and the body with Content-Encoding: zstd")
    return int(body)


def _field(message: memoryview, table: int, number: int) -> int:
    """Return where a field of a flatbuffer's table stands, 0 where it has none."""
    fields = table - struct.unpack_from("<i", message, table)[0]
    if fields < 0:
        raise StreamError("the metadata of a message is damaged")
    size = struct.unpack_from("<H", message, fields)[0]
    at = 4 + 2 * number
    offset = struct.unpack_from("<H", message, fields + at)[0] if at + 2 <= size else 0
    return table + offset if offset else 0


def _table(message: memoryview, table: int, number: int) -> int:
    where = _field(message, table, number)
    return where + struct.unpack_from("<I", message, where)[0] if where else 0


def _spelled_bytes(column: pa.Array, name: str) -> int:
    """Return how many bytes a column has when its dictionary or views are written out; 0 where it has none."""
    given, t = column.type, pa.types
    if isinstance(given, pa.BaseExtensionType):
        return _spelled_bytes(column.storage, name)
    if t.is_dictionary(given):
        values = column.dictionary
        if t.is_nested(values.type) or t.is_dictionary(values.type) or _is_view(values.type):
            raise StreamError(f'the column "{name}" is a dictionary of {values.type}; send its values as they are')
        if not _has_length(values.type):
            return len(column) * 16
        sizes = pc.binary_length(values).cast(pa.int64())
        return int(pc.sum(sizes.take(column.indices)).as_py() or 0)
    if _is_view(given):
        lengths = pl.Series(pl.from_arrow(column))
        counted = lengths.str.len_bytes() if t.is_string_view(given) else lengths.bin.size()
        return int(counted.cast(pl.Int64).sum())
    # Nulls take no bytes, so that inside a list there could be any number of them.
    if any(_is_shared(part) or (t.is_null(part) and part is not given) for part in _parts(given)):
        raise StreamError(f'the column "{name}" has the type {given}; send it without dictionaries, views and runs')
    return 0


def _parts(given: pa.DataType) -> Iterator[pa.DataType]:
    yield given
    for index in range(given.num_fields):
        yield from _parts(given.field(index).type)


def _is_shared(given: pa.DataType) -> bool:
    """Return whether values of a type may share their bytes, so that few bytes can stand for many."""
    t = pa.types
    shared = t.is_dictionary(given) or _is_view(given) or t.is_run_end_encoded(given) or t.is_union(given)
    return bool(shared or t.is_list_view(given) or t.is_large_list_view(given) or t.is_map(given))


def _is_view(given: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(given) or pa.types.is_binary_view(given))


def _has_length(given: pa.DataType) -> bool:
    t = pa.types
    return any(kind(given) for kind in (t.is_string, t.is_large_string, t.is_binary, t.is_large_binary))
