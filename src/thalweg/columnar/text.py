"""Text to values: what a piece of text must look like to be a number, a time, bytes, for every text format.

=============  ==================================================================================
type           text
=============  ==================================================================================
integer        decimal digits
float          decimal, also with an exponent; ``NaN``, ``Infinity``, ``-Infinity``; never too large to be finite
decimal        decimal; exactly what the type holds
boolean        ``true``, ``false``, ``1``, ``0``, in any case
timestamp      ISO 8601; without a zone it is UTC, without a time midnight; digits past microseconds are dropped
date           ISO 8601, such as ``2013-01-31``
time           ISO 8601, such as ``10:00`` or ``10:00:00.5``
duration       a whole number of microseconds
bytes          base64
=============  ==================================================================================

Nothing is trimmed: a space makes a number text. Years are 1 to 9999.
"""

from __future__ import annotations

import base64
import binascii
import re

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from thalweg.columnar.conform import Mask, cast_where_possible, either, masked
from thalweg.core.schema import TIMESTAMP

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31, in days since 1970
_DAY_US = 86_400_000_000
_ZONED = r"[T ].*(?:Z|[+-]\d\d(?::?\d\d)?)$"

# What texts look like. It only sorts out in one go most of those that Arrow would refuse one by one.
_INTEGER = r"^-?[0-9]+$"
_FLOAT = r"^[+-]?(?:[0-9.]+(?:[eE][+-]?[0-9]+)?|(?i:nan|inf|infinity))$"
_NOT_FINITE = r"^[+-]?(?i:nan|inf|infinity)$"
_DECIMAL = r"^[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?$"
_BOOLEAN = r"^(?i:true|false|0|1)$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.]+(?:Z|[+-][0-9:]{2,5})?)?$"
_LIKE_A_MOMENT = re.compile(_MOMENT, re.IGNORECASE | re.ASCII)
_CLOCK = r"^[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?$"
_NO_TEXT = pa.scalar(None, pa.string())


def parse(values: pa.StringArray, target: pa.DataType) -> tuple[pa.Array, Mask]:
    """Return the values that texts stand for, and a mask of those that stand for none (null there).

    Args:
        values: Texts; null stays null.
        target: A type that is neither a list nor a struct.

    Example:
        >>> parse(pa.array(["1", "x", None]), pa.int64())[0].to_pylist()
        [1, None, None]
    """
    t = pa.types
    if t.is_integer(target):
        return _integers(values, target)
    if t.is_floating(target):
        return _floats(values, target)
    if t.is_timestamp(target):
        return _timestamps(values)
    if t.is_date(target):
        days, failed = _cast(values, target, _DATE)
        return _between(days, failed, _FIRST_DAY, _LAST_DAY)
    if t.is_time(target):
        return _times(values, target)
    if t.is_duration(target):
        micros, failed = _integers(values, pa.int64())
        return micros.view(target), failed
    if t.is_binary(target):
        return _bytes(values)
    if t.is_boolean(target):
        return _cast(values, target, _BOOLEAN)
    return _cast(values, target, _DECIMAL) if t.is_decimal(target) else cast_where_possible(values, target)


def could_be(text: str, target: pa.DataType) -> bool:
    """Return False where a text can be seen at once not to be a value of a type."""
    if pa.types.is_timestamp(target):
        return _LIKE_A_MOMENT.match(text) is not None
    return True


def wanted(target: pa.DataType) -> str:
    """Return what a text format has to give for a type, for messages."""
    t = pa.types
    if t.is_timestamp(target):
        return "an ISO 8601 timestamp as text"
    if t.is_date(target) or t.is_time(target):
        return f"an ISO 8601 {'date' if t.is_date(target) else 'time'} as text"
    if t.is_duration(target):
        return "a whole number of microseconds"
    if t.is_binary(target):
        return "base64 as text"
    if t.is_integer(target):
        return f"a whole number ({target})"
    return "an object" if t.is_struct(target) else "a list" if t.is_list(target) else str(target)


def in_years(values: pa.Array) -> Mask:
    """Return where timestamps are outside of the years 1 to 9999, which no other tool could show."""
    return _between(values, None, _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1)[1]


def _cast(values: pa.StringArray, target: pa.DataType, shape: str) -> tuple[pa.Array, Mask]:
    try:
        return values.cast(target), None
    except pa.ArrowInvalid:
        misshapen = masked(pc.fill_null(pc.invert(pc.match_substring_regex(values, shape)), False))
    if misshapen is None:
        return cast_where_possible(values, target)
    cast, failed = cast_where_possible(pc.if_else(misshapen, _NO_TEXT, values), target)
    return cast, either(misshapen, failed)


def _integers(values: pa.StringArray, target: pa.DataType) -> tuple[pa.Array, Mask]:
    integers, failed = _cast(values, target, _INTEGER)
    hexadecimal = pc.match_substring(values, "x", ignore_case=True)  # Arrow reads 0x1F
    return (
        _dropped(integers, failed, pc.fill_null(hexadecimal, False)) if hexadecimal.true_count else (integers, failed)
    )


def _floats(values: pa.StringArray, target: pa.DataType) -> tuple[pa.Array, Mask]:
    floats, failed = _cast(values, target, _FLOAT)
    odd = masked(pc.fill_null(pc.invert(pc.is_finite(floats)), False))
    if odd is None:
        return floats, failed
    # 1e400 became infinite; only a text that says so may.
    said = pc.match_substring_regex(values, _NOT_FINITE)
    return _dropped(floats, failed, pc.and_not(odd, pc.fill_null(said, False)))


def _timestamps(values: pa.StringArray) -> tuple[pa.Array, Mask]:
    for kind in (TIMESTAMP, pa.timestamp("us")):
        try:
            moments = values.cast(kind).view(TIMESTAMP)
        except pa.ArrowInvalid:
            continue  # not all have a zone, or none, or some are no timestamps at all: the long way tells
        return _between(moments, None, _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1)
    texts = pl.Series(pl.from_arrow(values))
    # Only zones and the T have letters, and only fractions have a point.
    texts = texts.str.to_uppercase().str.replace(r"(\.\d{6})\d+", "$1")
    zoned = pa.array(texts.str.contains(_ZONED).to_arrow())
    texts = texts.to_arrow().cast(pa.string())
    here, failed_here = _cast(pc.if_else(zoned, texts, _NO_TEXT), TIMESTAMP, _MOMENT)
    naive, failed_naive = _cast(pc.if_else(zoned, _NO_TEXT, texts), pa.timestamp("us"), _MOMENT)
    moments = pc.coalesce(here, naive.view(TIMESTAMP))
    failed = either(failed_here, failed_naive)
    return _between(moments, failed, _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1)


def _times(values: pa.StringArray, target: pa.DataType) -> tuple[pa.Array, Mask]:
    # A time is a timestamp of the first day; Arrow reads no times by themselves.
    texts = pl.Series(pl.from_arrow(values)).str.replace(r"(\.\d{6})\d+", "$1").to_arrow().cast(pa.string())
    misshapen = masked(pc.fill_null(pc.invert(pc.match_substring_regex(texts, _CLOCK)), False))
    texts = texts if misshapen is None else pc.if_else(misshapen, _NO_TEXT, texts)
    moments, failed = cast_where_possible(pc.binary_join_element_wise("1970-01-01T", texts, ""), pa.timestamp("us"))
    failed = either(misshapen, failed)
    return moments.view(pa.int64()).view(target), failed


def _bytes(values: pa.StringArray) -> tuple[pa.Array, Mask]:
    try:
        return pl.Series(pl.from_arrow(values)).str.decode("base64", strict=True).to_arrow().cast(pa.binary()), None
    except pl.exceptions.ComputeError:
        decoded = [None if text is None else _from_base64(text) for text in values.to_pylist()]
    found = pa.array(decoded, pa.binary())
    return found, masked(pc.and_(found.is_null(), values.is_valid()))


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _between(values: pa.Array, failed: Mask, least: int, greatest: int) -> tuple[pa.Array, Mask]:
    numbers = values.view(pa.int32() if values.type.bit_width == 32 else pa.int64())
    span = pc.min_max(numbers)
    if not span["min"].is_valid or (least <= span["min"].as_py() and span["max"].as_py() <= greatest):
        return values, failed
    return _dropped(values, failed, pc.fill_null(pc.or_(pc.less(numbers, least), pc.greater(numbers, greatest)), False))


def _dropped(values: pa.Array, failed: Mask, outside: pa.BooleanArray) -> tuple[pa.Array, Mask]:
    if not outside.true_count:
        return values, failed
    return pc.if_else(outside, pa.scalar(None, values.type), values), either(failed, outside)
