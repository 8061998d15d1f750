"""JSON objects to rows, one by one: slow, and the definition of what the fast reader may accept.

Strict, because nothing is coerced silently: a fraction is no integer, a number is no text, a name
may stand in an object once, NaN is no JSON (a float column takes it as the text ``"NaN"``).
Fields that the schema does not have must be valid JSON; whether they may be there is the caller's choice.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Literal, Never, TypeAlias

import pyarrow as pa

from thalweg.columnar.rules import shown
from thalweg.columnar.text import could_be, parse, wanted
from thalweg.core.errors import near
from thalweg.core.schema import Schema

Unknown: TypeAlias = Literal["drop", "refuse"]
"""What becomes of a field that the schema does not have: it is left out, or its row is refused."""

DEEPEST = 200
"""How deep lists and objects may be nested in a line."""

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LONGEST_INTEGER = 20  # characters of a 64-bit one
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)


class JsonFault(ValueError):
    """A line that is no row of the schema."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column


class _Number(str):
    """A number as it was written, so that no digit is lost."""

    __slots__ = ()


class _Members(list[tuple[str, Any]]):
    """The members of an object as they were written, so that a name that stands twice is seen."""

    __slots__ = ()


class JsonRows:
    """Decodes lines of a schema one at a time.

    Args:
        schema: What the rows are to be.
        unknown: What becomes of fields that the schema does not have.

    Example:
        >>> from thalweg.core.schema import Field
        >>> rows = JsonRows(Schema((Field("n", pa.int64()),)))
        >>> rows.decode(b'{"n": 5, "extra": true}')
        {'n': 5}
    """

    def __init__(self, schema: Schema, unknown: Unknown = "drop") -> None:
        self._fields = tuple((field.name, field.type) for field in schema)
        self._unknown = unknown

    def decode(self, line: bytes) -> dict[str, Any]:
        """Return the columns that a line gives, as values that Arrow takes for the schema's types.

        Raises:
            JsonFault: The line is no row of the schema.
        """
        value = read_value(line)
        if not isinstance(value, _Members):
            raise JsonFault(f"a row is a JSON object, this is {_kind(value)}")
        return _struct(value, self._fields, "", self._unknown)


def read_value(line: bytes) -> Any:
    """Return the value that a line holds, with numbers as text and objects as lists of members.

    Raises:
        JsonFault: The line is not one JSON value.
    """
    if depth(line) > DEEPEST:
        raise JsonFault(f"nested more than {DEEPEST} deep")
    try:
        return _DECODER.decode(line.decode())
    except UnicodeDecodeError as error:
        raise JsonFault(f"not UTF-8: byte 0x{line[error.start]:02x} at position {error.start + 1}") from error
    except json.JSONDecodeError as error:
        what = "more than one value on the line" if error.msg == "Extra data" else error.msg
        raise JsonFault(f"not valid JSON: {what} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise JsonFault("nested too deep to be read") from error


def is_object(value: Any) -> bool:
    """Return whether a value of ``read_value`` is an object: a list of (name, value)."""
    return isinstance(value, _Members)


def is_number(value: Any) -> bool:
    """Return whether a value of ``read_value`` is a number: its text."""
    return isinstance(value, _Number)


def depth(line: bytes, at_most: int = DEEPEST) -> int:
    """Return how deep lists and objects are nested, or 0 where it is plain that it is not deeper than allowed."""
    deepest = now = 0
    if line.count(b"[") + line.count(b"{") <= at_most:
        return 0  # not deep enough to matter, and much faster
    for token in _STRUCTURE.findall(line):
        if token in b"[{":
            now += 1
            deepest = max(deepest, now)
        elif token in b"]}":
            now -= 1
    return deepest


def convert_value(value: Any, target: pa.DataType, column: str, unknown: Unknown = "drop") -> Any:
    """Return what Arrow takes for a type, from a value of ``read_value``.

    Args:
        value: The value.
        target: The type.
        column: Its name, for messages.
        unknown: What becomes of fields of an object that the type does not have.

    Raises:
        JsonFault: The value is not one of that type.
    """
    t = pa.types
    if value is None:
        return None
    if t.is_list(target) and isinstance(value, list) and not isinstance(value, _Members):
        return [convert_value(item, target.value_type, column, unknown) for item in value]
    if t.is_struct(target) and isinstance(value, _Members):
        return _struct(value, tuple((field.name, field.type) for field in target), f"{column}.", unknown)
    if t.is_boolean(target) and isinstance(value, bool):
        return value
    if isinstance(value, _Number):
        return _from_number(value, target, column)
    if isinstance(value, str):
        return _from_text(value, target, column)
    raise _mismatch(value, target, column)


def _struct(
    members: _Members, fields: tuple[tuple[str, pa.DataType], ...], path: str, unknown: Unknown
) -> dict[str, Any]:
    types = dict(fields)
    row: dict[str, Any] = {}
    for name, value in members:
        if name in types:
            if name in row:
                raise JsonFault(f'the name "{path}{name}" stands twice in one object', f"{path}{name}")
            row[name] = convert_value(value, types[name], f"{path}{name}", unknown)
        elif unknown == "refuse":
            raise JsonFault(f"unknown field {shown(name)}; {near(name, types)}", f"{path}{name:.80}")
    return row


def _from_number(value: _Number, target: pa.DataType, column: str) -> Any:
    t = pa.types
    if t.is_integer(target) or t.is_duration(target):
        # The length first: Python refuses to read thousands of digits.
        if not value.lstrip("-").isdigit() or len(value) > _LONGEST_INTEGER:
            raise _mismatch(value, target, column)
        kind = pa.int64() if t.is_duration(target) else target
        try:
            return pa.scalar(int(value), kind).as_py()
        except (pa.ArrowInvalid, OverflowError) as error:
            raise _mismatch(value, target, column) from error
    if t.is_floating(target) or t.is_decimal(target):
        return _parsed(str(value), target, value, column)
    raise _mismatch(value, target, column)


def _from_text(value: str, target: pa.DataType, column: str) -> Any:
    t = pa.types
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise JsonFault(f'column "{column}": half a surrogate pair is no character', column) from error
    if t.is_string(target):
        return value
    if t.is_floating(target) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if (t.is_temporal(target) and not t.is_duration(target)) or t.is_binary(target) or t.is_decimal(target):
        return _parsed(value, target, value, column)
    raise _mismatch(value, target, column)


def _parsed(text: str, target: pa.DataType, value: Any, column: str) -> Any:
    if not could_be(text, target):
        raise _mismatch(value, target, column)
    values, failed = parse(pa.array([text], pa.string()), target)
    if failed is not None:
        raise _mismatch(value, target, column)
    # Times as numbers: Python's own have narrower bounds.
    return values[0].value if pa.types.is_temporal(target) else values[0].as_py()


def _mismatch(value: Any, target: pa.DataType, column: str) -> JsonFault:
    what = f"the number {_short(value)}" if isinstance(value, _Number) else _kind(value)
    return JsonFault(f'column "{column}" takes {wanted(target)}, this is {what}', column)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Number):
        return f"the number {_short(value)}"
    if isinstance(value, _Members):
        return "an object"
    return f"the text {shown(value)}" if isinstance(value, str) else "a list"


def _short(number: str) -> str:
    return number if len(number) <= 40 else f"{number[:20]}… of {len(number)} digits"


def _no_constant(name: str) -> Never:
    raise JsonFault(f'not valid JSON: {name} (a float column takes it as the text "{name}")')


_DECODER = json.JSONDecoder(
    parse_float=_Number, parse_int=_Number, parse_constant=_no_constant, object_pairs_hook=_Members
)
