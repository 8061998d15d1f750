"""Which types can be cast to which, and the Arrow types that Python types stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.types as t

from thalweg.core.errors import PlanError
from thalweg.core.schema import normal_type, schema_of
from thalweg.plan.type_rules import Types, Unsuitable, is_number


def cast_to(types: Types, options: Mapping[str, Any]) -> pa.DataType:
    """The type that a cast names, where values of the argument's type can become such.

    Numbers, text and bools are cast to each other, text and bytes, timestamps and dates; integers are microseconds
    since 1970 as timestamps and microseconds as durations. Floats lose their fraction as integers.
    """
    given, to = types[0], options["to"]
    if t.is_binary(given) and t.is_string(to) and not options["strict"]:
        raise Unsuitable("bytes become text in a strict cast only: bytes that are no UTF-8 make the row rejected")
    if t.is_null(given) or given == to or any(a(given) and b(to) for a, b in _ALLOWED):
        target: pa.DataType = to
        return target
    raise Unsuitable(_advice(given, to))


_Test = Callable[[pa.DataType], bool]
_ALLOWED: tuple[tuple[_Test, _Test], ...] = (
    (is_number, is_number),
    (t.is_boolean, is_number),
    (is_number, t.is_string),
    (t.is_boolean, t.is_string),
    (t.is_string, is_number),
    (t.is_string, t.is_binary),
    (t.is_binary, t.is_string),
    (t.is_timestamp, t.is_date32),
    (t.is_date32, t.is_timestamp),
    (t.is_timestamp, t.is_time64),
    (t.is_integer, t.is_timestamp),
    (t.is_integer, t.is_duration),
    (t.is_timestamp, t.is_int64),
    (t.is_duration, t.is_int64),
)


def _advice(given: pa.DataType, to: pa.DataType) -> str:
    if t.is_string(given) and (t.is_timestamp(to) or t.is_date32(to)):
        return f"text is read as a time with .str.to_{'date' if t.is_date32(to) else 'datetime'}(…), not with a cast"
    if t.is_string(to) and (t.is_timestamp(given) or t.is_date32(given)):
        return "a time becomes text with .dt.strftime(…), not with a cast"
    if t.is_boolean(to):
        return 'bool is a comparison, such as != 0 or == "true", not a cast'
    if t.is_duration(given):
        return "a duration becomes a number with .dt.total_seconds() and the like"
    allowed = "numbers, text and bool; text and bytes; timestamps and dates; integers and times"
    return f"{given} is not cast to {to}; allowed are casts between {allowed}"


def arrow_type(given: object, what: str) -> pa.DataType:
    """Return the Arrow type that a Python or Arrow type stands for.

    Raises:
        PlanError: It stands for none.

    Example:
        >>> arrow_type(list[int], "returns")
        ListType(list<item: int64>)
    """
    if isinstance(given, pa.DataType):
        return normal_type(given, what)
    holder = type("Holder", (), {"__annotations__": {"value": given}})
    try:
        return schema_of(holder)["value"].type
    except (PlanError, TypeError):
        raise PlanError(
            f"{what} {given!r}: allowed are int, float, str, bool, bytes, datetime, date, time, timedelta, Decimal, "
            "list[…] of these, a class with annotations, and Arrow types such as pa.int32()"
        ) from None
