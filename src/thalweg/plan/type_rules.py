"""Which types an argument may have, and the type of a result: the words that the tables use.

A rule gets the types of the arguments (constants already adapted to what stands beside them) and
returns the result's type, or raises ``Refused`` with what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.types as t

from thalweg.core.duration import UNITS_US
from thalweg.core.errors import near
from thalweg.core.schema import TIMESTAMP

Types: TypeAlias = tuple[pa.DataType, ...]
TypeRule: TypeAlias = Callable[[Types, Mapping[str, Any]], pa.DataType]

INT64: Final = pa.int64()
FLOAT64: Final = pa.float64()
TEXT_TYPE: Final = pa.string()
BOOL_TYPE: Final = pa.bool_()
DURATION_TYPE: Final = pa.duration("us")


class Refused(Exception):
    """A rule's answer to types that it does not take: the text says what is allowed."""


class Unsuitable(Refused):
    """A rule's answer where a sentence says it better than a list of types."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A set of types with a name for messages."""

    name: str
    holds: Callable[[pa.DataType], bool]


def is_number(given: pa.DataType) -> bool:
    """Tell whether it is an integer, a float or a decimal."""
    return bool(t.is_integer(given) or t.is_floating(given) or t.is_decimal(given))


def is_temporal(given: pa.DataType) -> bool:
    """Tell whether it is a timestamp, date, time of day or duration."""
    return bool(t.is_timestamp(given) or t.is_date32(given) or t.is_time64(given) or t.is_duration(given))


def is_ordered(given: pa.DataType) -> bool:
    """Tell whether values of the type compare: all but lists and structs."""
    return not (t.is_list(given) or t.is_struct(given))


ANY: Final = Kind("any type", lambda _: True)
BOOLEAN: Final = Kind("bool", t.is_boolean)
TEXT: Final = Kind("text", t.is_string)
INTEGER: Final = Kind("integers", t.is_integer)
FLOAT: Final = Kind("floats", t.is_floating)
NUMBER: Final = Kind("numbers", is_number)
NUMBER_OR_DURATION: Final = Kind("numbers and durations", lambda g: is_number(g) or bool(t.is_duration(g)))
NUMBER_OR_BOOLEAN: Final = Kind("numbers and bool", lambda g: is_number(g) or bool(t.is_boolean(g)))
SUMMABLE: Final = Kind("numbers, bool and durations", lambda g: is_number(g) or t.is_boolean(g) or t.is_duration(g))
TEXTUAL: Final = Kind("text, numbers and bool", lambda g: is_number(g) or bool(t.is_boolean(g) or t.is_string(g)))
ORDERED: Final = Kind("any type but lists and structs", is_ordered)
INSTANT: Final = Kind("timestamps", t.is_timestamp)
DATED: Final = Kind("timestamps and dates", lambda g: bool(t.is_timestamp(g) or t.is_date32(g)))
CLOCKED: Final = Kind("timestamps and times of day", lambda g: bool(t.is_timestamp(g) or t.is_time64(g)))
DURATION: Final = Kind("durations", t.is_duration)
LIST: Final = Kind("lists", t.is_list)
TEXT_LIST: Final = Kind("lists of text", lambda g: bool(t.is_list(g) and t.is_string(g.value_type)))
ORDERED_LIST: Final = Kind("lists of numbers, text, bool or times", lambda g: t.is_list(g) and is_ordered(g.value_type))
NUMBER_LIST: Final = Kind("lists of integers or floats", lambda g: t.is_list(g) and _plain_number(g.value_type))
STRUCT: Final = Kind("structs", t.is_struct)


def _plain_number(given: pa.DataType) -> bool:
    return bool(t.is_integer(given) or t.is_floating(given))


def gives(result: pa.DataType) -> TypeRule:
    """Return the rule of a function whose result is always of one type."""
    return lambda _types, _options: result


def same(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """The first argument's type."""
    return types[0]


def floated(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """Float64, or float32 where every argument is float32."""
    return pa.float32() if all(t.is_float32(given) for given in types) else FLOAT64


def widened(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """The first argument's type, integers as 64 bits: what holds the result of an operation."""
    return widest(types[:1]) if t.is_integer(types[0]) else types[0]


def signed(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """The first argument's type, int64 for every integer: what holds a negative result."""
    return INT64 if t.is_integer(types[0]) else types[0]


def widest(types: Sequence[pa.DataType]) -> pa.DataType:
    """Return the type in which integers are computed: int64, or uint64 where all are unsigned and one is uint64."""
    unsigned = all(t.is_unsigned_integer(given) for given in types) and any(given == pa.uint64() for given in types)
    return pa.uint64() if unsigned else INT64


def common_type(types: Sequence[pa.DataType]) -> pa.DataType | None:
    """Return the least type that holds every value of all types; None if there is none.

    Example:
        >>> common_type([pa.int8(), pa.uint8()]), common_type([pa.int64(), pa.string()])
        (DataType(int16), None)
    """
    known = [given for given in types if not t.is_null(given)]
    if not known:
        return pa.null()
    if all(given == known[0] for given in known):
        return known[0]
    if all(t.is_integer(given) for given in known):
        return _common_integer(known)
    if all(is_number(given) for given in known):
        if any(t.is_floating(given) for given in known):
            return FLOAT64
        return pa.decimal128(38, max(given.scale for given in known if t.is_decimal(given)))
    if all(t.is_timestamp(given) or t.is_date32(given) for given in known):
        return TIMESTAMP
    if all(t.is_list(given) for given in known):
        inner = common_type([given.value_type for given in known])
        return None if inner is None else pa.list_(pa.field("item", inner))
    return None


def _common_integer(types: Sequence[pa.DataType]) -> pa.DataType | None:
    bits_unsigned = max((given.bit_width for given in types if t.is_unsigned_integer(given)), default=0)
    bits_signed = max((given.bit_width for given in types if t.is_signed_integer(given)), default=0)
    if bits_signed == 0:
        return {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[bits_unsigned]
    bits = max(bits_signed, 2 * bits_unsigned if bits_unsigned else 0)
    return {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(bits)


def common(what: str) -> TypeRule:
    """Return the rule of a function that gives one of its arguments."""

    def rule(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
        found = common_type(types)
        if found is None:
            raise Refused(f"{what} of one type, or of numbers")
        return found

    return rule


def compared(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """Bool, for values that compare with each other."""
    check_comparable(types)
    return BOOL_TYPE


def check_comparable(types: Sequence[pa.DataType]) -> None:
    """Raise Refused unless the values of all types compare with each other."""
    if any(t.is_null(given) for given in types):
        raise Refused("values; a comparison with None is never true, so use .is_null() or .is_not_null()")
    integers = all(t.is_integer(given) for given in types)
    if not all(is_ordered(given) for given in types) or (not integers and common_type(types) is None):
        hint = ""
        if any(is_temporal(given) for given in types) and any(t.is_string(given) for given in types):
            hint = "; write a time as datetime(…), or read the text with .str.to_datetime()"
        raise Refused(f"two numbers, texts, bytes, bools, timestamps or dates, times, or durations{hint}")


def in_list(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """Bool, for a value and a list of values that compare with it."""
    value, others = types
    if not t.is_list(others):
        raise Refused("a list of constants or a list column")
    if not t.is_null(others.value_type):
        check_comparable((value, others.value_type))
    return BOOL_TYPE


def list_holds(types: Types, options: Mapping[str, Any]) -> pa.DataType:
    """Bool, for a list and a value that compares with its elements."""
    return in_list((types[1], types[0]), options)


def clipped(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """The common type of a value and its bounds."""
    known = [given for given in types if not t.is_null(given)]
    found = common_type(known)
    if found is None or not (all(is_number(g) for g in known) or all(is_temporal(g) for g in known)):
        raise Refused("numbers, or times of one type")
    return found


def conditional(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """The common type of the values; conditions are bool."""
    for condition in types[:-1:2]:
        if not t.is_boolean(condition):
            raise Refused(f"conditions of type bool, and one is {condition}")
    return common("values")((*types[1::2], types[-1]), {})


def whole_days(types: Types, options: Mapping[str, Any]) -> pa.DataType:
    """The first argument's type; dates move by whole days only."""
    us = options["every_us"] if "every_us" in options else options["by_us"]
    if t.is_date32(types[0]) and us % UNITS_US["d"]:
        raise Unsuitable("a date moves by whole days only; make it a timestamp with .cast(datetime)")
    return types[0]


def element(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """The type of a list's elements."""
    inner: pa.DataType = types[0].value_type
    return inner


def summed_element(types: Types, options: Mapping[str, Any]) -> pa.DataType:
    """Int64, uint64 or float64 for a list's elements."""
    return summed((types[0].value_type,), options)


def summed(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """The type of a sum."""
    given = types[0]
    if t.is_boolean(given) or t.is_integer(given):
        return pa.uint64() if given == pa.uint64() else INT64
    if t.is_floating(given):
        return FLOAT64
    return pa.decimal128(38, given.scale) if t.is_decimal(given) else given


def member(types: Types, options: Mapping[str, Any]) -> pa.DataType:
    """The type of a struct's field."""
    name = options["name"]
    index = types[0].get_field_index(name)
    if index < 0:
        raise Refused("a field of the struct; " + near_field(name, types[0]))
    inner: pa.DataType = types[0].field(index).type
    return inner


def near_field(name: str, struct: pa.DataType) -> str:
    """Return the end of a message for a field that a struct does not have."""
    return f'"{name}" is none; {near(name, [field.name for field in struct])}'


def bitwise(types: Types, _options: Mapping[str, Any]) -> pa.DataType:
    """Bool for two bools, the bits of two integers."""
    if all(t.is_boolean(given) for given in types):
        return BOOL_TYPE
    if all(t.is_integer(given) for given in types):
        return widest(types)
    raise Refused("two bools, or two integers")
