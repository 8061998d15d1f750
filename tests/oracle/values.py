"""Values and their one order: null first, NaN last, −0.0 equal to 0.0."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "bool | int | float | str | bytes | dt.date | list[Value] | None"
"""A timestamp is an int: microseconds since 1970, UTC."""

Row: TypeAlias = Mapping[str, Value]

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


class _NaN:
    """Stands for every NaN, because NaN itself does not equal NaN."""

    def __repr__(self) -> str:
        return "NaN"


NAN = _NaN()


def is_nan(value: object) -> bool:
    """Return whether the value is a NaN."""
    return isinstance(value, float) and math.isnan(value)


def canonical(value: object) -> Hashable:
    """Return what stands for a value where values are compared for equality.

    Example:
        >>> canonical(float("nan")) is canonical(-float("nan"))
        True
        >>> canonical(-0.0)
        0.0
    """
    if isinstance(value, float):
        return NAN if math.isnan(value) else value + 0.0  # −0.0 + 0.0 is 0.0
    if isinstance(value, dt.datetime):
        return (value - EPOCH) // MICROSECOND
    if isinstance(value, list):
        return tuple(canonical(item) for item in value)
    assert isinstance(value, Hashable)
    return value


def order_key(value: Value) -> tuple[int] | tuple[int, Value]:
    """Return a key that sorts nulls first, then values, then NaN.

    Text sorts by code point, which is the order of its UTF-8 bytes.

    Example:
        >>> sorted([float("nan"), 2.0, None, float("inf")], key=order_key)
        [None, 2.0, inf, nan]
    """
    if value is None:
        return (0,)
    return (2,) if is_nan(value) else (1, value)


def tie_key(time_us: int, row: Row, columns: Sequence[str]) -> tuple[object, ...]:
    """Return the key of the order (time, then all columns in schema order)."""
    return (time_us, *(order_key(row[column]) for column in columns))
