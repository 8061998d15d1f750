"""The types of ``+ - * / // % **``: numbers, text, times and durations.

Integers of every width are computed as 64 bits and never wrap: a result outside makes the row
rejected. Decimals keep all their digits. Times are whole microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.types as t

from thalweg.core.schema import TIMESTAMP
from thalweg.plan.type_rules import DURATION_TYPE, FLOAT64, INT64, TEXT_TYPE, Refused, Types, is_number, widest

_DIGITS = 38


def added(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """Numbers, text after text, a time moved by a duration, two durations."""
    left, right = types
    if t.is_string(left) and t.is_string(right):
        return TEXT_TYPE
    if moved := _moved(left, right) or _moved(right, left):
        return moved
    if t.is_duration(left) and t.is_duration(right):
        return DURATION_TYPE
    found = _numeric(types)
    if found is None:
        raise Refused("two numbers, two texts, two durations, or a timestamp or date and a duration" + _hint(types))
    return found


def subtracted(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """Numbers, the duration between two times, a time moved back, two durations."""
    left, right = types
    if _dated(left) and _dated(right):
        return DURATION_TYPE
    if moved := _moved(left, right):
        return moved
    if t.is_duration(left) and t.is_duration(right):
        return DURATION_TYPE
    found = INT64 if t.is_integer(left) and t.is_integer(right) else _numeric(types)
    if found is None:
        allowed = "two numbers, two timestamps or dates, two durations, or a timestamp or date less a duration"
        raise Refused(allowed + _hint(types))
    return found


def multiplied(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """Numbers, or a duration and an integer."""
    left, right = types
    if (t.is_duration(left) and t.is_integer(right)) or (t.is_integer(left) and t.is_duration(right)):
        return DURATION_TYPE
    if t.is_decimal(left) and t.is_decimal(right):
        if left.scale + right.scale > _DIGITS:
            raise Refused(f"decimals with at most {_DIGITS} digits after the point in all; cast one to a smaller scale")
        return pa.decimal128(_DIGITS, left.scale + right.scale)
    found = _numeric(types)
    if found is None:
        raise Refused("two numbers, or a duration and an integer" + _hint(types))
    return found


def divided(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """Floats: numbers, or how often a duration goes into another."""
    left, right = types
    if t.is_duration(left) and t.is_duration(right):
        return FLOAT64
    if is_number(left) and is_number(right):
        return pa.float32() if t.is_float32(left) and t.is_float32(right) else FLOAT64
    raise Refused("two numbers or two durations; a duration by an integer is //" + _hint(types))


def floor_divided(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """Numbers, a duration by an integer, a duration by a duration."""
    left, right = types
    if t.is_duration(left) and t.is_duration(right):
        return INT64
    if t.is_duration(left) and t.is_integer(right):
        return DURATION_TYPE
    found = None if _any_decimal(types) else _numeric(types)
    if found is None:
        raise Refused("two integers or floats, or a duration and an integer or duration" + _hint(types))
    return found


def remained(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """Numbers, or two durations."""
    left, right = types
    if t.is_duration(left) and t.is_duration(right):
        return DURATION_TYPE
    found = None if _any_decimal(types) else _numeric(types)
    if found is None:
        raise Refused("two integers or floats, or two durations" + _hint(types))
    return found


def _numeric(types: Types) -> pa.DataType | None:
    if not all(is_number(given) for given in types):
        return None
    if all(t.is_integer(given) for given in types):
        return widest(types)
    if any(t.is_floating(given) for given in types):
        return pa.float32() if all(t.is_float32(given) for given in types) else FLOAT64
    return pa.decimal128(_DIGITS, max(given.scale for given in types if t.is_decimal(given)))


def _moved(time: pa.DataType, by: pa.DataType) -> pa.DataType | None:
    return TIMESTAMP if _dated(time) and t.is_duration(by) else None


def _dated(given: pa.DataType) -> bool:
    return bool(t.is_timestamp(given) or t.is_date32(given))


def _any_decimal(types: Types) -> bool:
    return any(t.is_decimal(given) for given in types)


def _hint(types: Types) -> str:
    if any(t.is_boolean(given) for given in types):
        return "; a bool is counted with .cast(int)"
    if any(t.is_null(given) for given in types):
        return "; a missing constant gets a type with lit(None).cast(…)"
    if any(t.is_string(given) for given in types) and any(is_number(given) for given in types):
        return "; read a text as a number with .str.to_integer() or .cast(float)"
    return ""
