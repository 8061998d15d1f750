"""Which partition a row goes to: a hash of its key that is the same in every process, version and machine."""

from __future__ import annotations

import decimal
import struct
from collections.abc import Callable
from typing import Any, Final

import google_crc32c
import pyarrow as pa
import pyarrow.compute as pc

_DOUBLE: Final = struct.Struct("<d")


def partitions_of(keys: pa.ChunkedArray, partitions: int) -> pa.Array:
    """Return the partition of each key: the CRC32C of its bytes, modulo the number of partitions; 0 for null.

    The bytes are those of the value, not of its type, so that a widened column keeps its partitions: UTF-8 for text;
    8 bytes, little-endian, for integers, booleans and what counts days or time (a date its days); an IEEE double for
    floats, with one NaN and no negative zero; the shortest plain text for decimals.

    Example:
        >>> partitions_of(pa.chunked_array([["ann", "dan", None, "ann"]]), 4).to_pylist()
        [0, 1, 0, 0]
    """
    encoded = keys.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks() if encoded.num_chunks != 1 else encoded.chunk(0)
    value = google_crc32c.value
    hashes = [value(key) % partitions for key in _key_bytes(encoded.dictionary)]
    found = pa.array(hashes, pa.int32()).take(encoded.indices)
    return pc.fill_null(found, 0)


def _key_bytes(values: pa.Array) -> list[bytes]:
    kind = values.type
    t = pa.types
    plain: list[Any]
    if t.is_string(kind) or t.is_binary(kind):
        plain = values.cast(pa.binary()).to_pylist()
        return plain
    if t.is_date(kind):
        values = values.cast(pa.int32())
    elif not (t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind) or t.is_boolean(kind)):
        values = values.cast(pa.int64())  # times and durations: their number of microseconds
    plain = values.to_pylist()
    turn = _float_bytes if t.is_floating(kind) else _decimal_bytes if t.is_decimal(kind) else _integer_bytes
    return [turn(value) for value in plain]


def _integer_bytes(value: int) -> bytes:
    return (value % 2**64).to_bytes(8, "little")


def _float_bytes(value: float) -> bytes:
    if value != value:
        value = float("nan")  # of the many NaNs one
    return _DOUBLE.pack(value + 0.0)  # −0.0 + 0.0 is 0.0


def _decimal_bytes(value: decimal.Decimal) -> bytes:
    plain: Callable[[decimal.Decimal], str] = "{:f}".format
    text = plain(value)
    return (text.rstrip("0").rstrip(".") if "." in text else text).removeprefix("-" if not value else "").encode()
