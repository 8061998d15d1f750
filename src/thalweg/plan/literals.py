"""Constants in expressions: their one Python form, their Arrow type, and their text."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import math
import numbers
import uuid
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from thalweg.core.errors import PlanError
from thalweg.core.schema import TIMESTAMP
from thalweg.plan.type_rules import common_type


def scalar(value: object) -> Any:  # of any type that a column can have, or a tuple of such
    """Return the one form in which a constant is held: times in UTC, lists as tuples.

    Raises:
        PlanError: No column can hold the value.
    """
    if isinstance(value, enum.Enum):
        return scalar(value.value)
    if value is None or isinstance(value, (bool, bytes, dt.timedelta, decimal.Decimal)):
        return _finite(value) if isinstance(value, decimal.Decimal) else value
    if isinstance(value, str):
        return _unicode(str(value))
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    if isinstance(value, (dt.date, dt.time)):
        return value
    if isinstance(value, numbers.Integral):
        return _in_range(int(value))
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Iterable) and not isinstance(value, dict):
        return tuple(scalar(part) for part in value)
    raise PlanError(
        f"{value!r} is a {type(value).__name__}; a constant is a number, text, bytes, bool, datetime, date, time, "
        "timedelta, Decimal, UUID, None, or a list of these; what is computed from columns starts with col(…)"
    )


def literal_type(value: Any) -> pa.DataType:
    """Return the Arrow type of a constant in its one form.

    Example:
        >>> literal_type(1), literal_type((1, 2.5))
        (DataType(int64), ListType(list<item: double>))
    """
    match value:
        case None:
            return pa.null()
        case bool():
            return pa.bool_()
        case int():
            return pa.int64() if value < 2**63 else pa.uint64()
        case float():
            return pa.float64()
        case str():
            return pa.string()
        case bytes():
            return pa.binary()
        case dt.datetime():
            return TIMESTAMP
        case dt.date():
            return pa.date32()
        case dt.time():
            return pa.time64("us")
        case dt.timedelta():
            return pa.duration("us")
        case decimal.Decimal():
            exponent = value.as_tuple().exponent
            return pa.decimal128(38, max(0, -exponent) if isinstance(exponent, int) else 0)
        case _:
            inner = common_type([literal_type(part) for part in value] or [pa.null()])
            if inner is None:
                raise PlanError(f"the list {list(value)!r} holds values of different types; write values of one type")
            return pa.list_(pa.field("item", inner))


def literal_text(value: Any) -> str:
    r"""Return a constant as Python would write it, one text per value and type.

    Example:
        >>> literal_text("a\n"), literal_text(1.0), literal_text(float("nan"))
        ('"a\\n"', '1.0', 'float("nan")')
    """
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case float() if not math.isfinite(value):
            return f'float("{value}")'
        case dt.datetime():
            return f'datetime("{value.replace(tzinfo=None).isoformat()}Z")'
        case dt.date():
            return f'date("{value.isoformat()}")'
        case dt.time():
            return f'time("{value.isoformat()}")'
        case dt.timedelta():
            return f"timedelta(microseconds={value // dt.timedelta(microseconds=1)})"
        case decimal.Decimal():
            return f'Decimal("{value}")'
        case tuple():
            return "[" + ", ".join(literal_text(part) for part in value) + "]"
        case _:
            return repr(value)


def _unicode(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PlanError(f"the constant {value!r} is not valid Unicode text; use bytes") from None
    return value


def _in_range(value: int) -> int:
    if not -(2**63) <= value < 2**64:
        raise PlanError(f"the constant {value} does not fit 64 bits; use Decimal or float")
    return value


def _finite(value: decimal.Decimal) -> decimal.Decimal:
    if not value.is_finite():
        raise PlanError(f"Decimal {value} is not a number that a column can hold; use float")
    _, digits, exponent = value.as_tuple()
    if isinstance(exponent, int) and max(len(digits) + max(exponent, 0), -exponent) > 38:
        raise PlanError(f"Decimal {value} needs more than 38 digits")
    return value
