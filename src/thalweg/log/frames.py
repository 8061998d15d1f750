"""Tables turned into frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.core.errors import RowsRefused
from thalweg.core.schema import TIMESTAMP
from thalweg.log.disk import Bytes
from thalweg.log.layout import COMPRESSED, MOST_BODY, NO_TIME, crc, padded, padding

TARGET_BYTES: Final = 16 * 2**20
"""Longer appends are cut into frames of about this many bytes."""

_ZSTD: Final = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=3))


@dataclass(frozen=True, slots=True)
class Body:
    """A frame's body, ready to be written, and what its header says of it."""

    parts: tuple[Bytes, ...]
    length: int
    crc: int
    rows: int
    flags: int
    least_time: int
    greatest_time: int


def bodies_of(table: pa.Table, time: str | None) -> list[Body]:
    """Return a table as one body, or several where it is long.

    Raises:
        RowsRefused: A row alone is too long.
    """
    pieces = -(-table.nbytes // TARGET_BYTES)
    if pieces <= 1 or len(table) <= 1:
        return [body_of(table, time)] if len(table) else []
    rows = max(1, -(-len(table) // pieces))
    return [body_of(table.slice(start, rows), time) for start in range(0, len(table), rows)]


def body_of(table: pa.Table, time: str | None, *, compressed: bool = False) -> Body:
    """Return a table as one body.

    Raises:
        RowsRefused: It is longer than a frame may be.
    """
    batches = table.combine_chunks().to_batches()
    batch = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
    message = _compressed(batch) if compressed else batch.serialize()
    if len(batches) > 1 or message.size > MOST_BODY:
        raise RowsRefused(f"they have {table.nbytes:,} bytes, which must stay in one frame of at most {MOST_BODY:,}")
    rest = padding(message.size)
    least, greatest = _times(batch, time)
    flags = COMPRESSED if compressed else 0
    return Body((message, rest), padded(message.size), crc(message, rest), batch.num_rows, flags, least, greatest)


def _compressed(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_ZSTD) as writer:
        writer.write_batch(batch)
    messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(sink.getvalue()))
    messages.read_next_message()  # the schema stands in the segment's header
    return messages.read_next_message().serialize()


def _times(batch: pa.RecordBatch, time: str | None) -> tuple[int, int]:
    if time is None or batch.num_rows == 0:
        return NO_TIME
    column = batch.column(time)
    span = pc.min_max(column if column.type.equals(TIMESTAMP) else column.cast(pa.timestamp("us")))
    least, greatest = span["min"], span["max"]
    return (least.value, greatest.value) if least.is_valid else NO_TIME
