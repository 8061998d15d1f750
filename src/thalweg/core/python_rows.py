"""Rows as dicts turned into columns, as strictly as typed JSON; what cannot be turned is set apart."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import json
import numbers
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa

from thalweg.core.ports import Rejected
from thalweg.core.schema import Schema

Row = Mapping[str, Any]  # a row's values may be anything, that is what is checked here
Values = list[Any]


class RowError(ValueError):
    """Values that are not of a column's type."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.column = column


@dataclass(frozen=True, slots=True, eq=False)
class DecodedRows:
    """Rows as columns, the place of each, and those that are not among them."""

    data: pa.RecordBatch
    locate: Callable[[int], str]
    rejected: Sequence[Rejected]


def decode_rows(rows: Sequence[Row], schema: Schema, place: Callable[[int], str]) -> DecodedRows:
    """Turn rows into the schema's columns.

    All rows are tried at once; only where that fails are they halved until the rows at fault stand alone.

    Shape: one row per good row, in order; the schema's columns. Nulls stay, whether the schema allows them or not.
    """
    try:
        return DecodedRows(_batch(rows, schema), place, ())
    except RowError:
        faults = _faults(rows, schema, 0)
    rejected = [Rejected(place(index), str(error), row_json(rows[index]), error.column) for index, error in faults]
    bad = {index for index, _ in faults}
    kept = [index for index in range(len(rows)) if index not in bad]
    return DecodedRows(_batch([rows[index] for index in kept], schema), partial(_kept_place, place, kept), rejected)


def row_json(row: object) -> bytes:
    """Return a row as JSON, for people and to be sent again; what has no form in JSON as Python writes it.

    Example:
        >>> row_json({"user": "ann", "at": dt.date(2024, 1, 2)})
        b'{"user": "ann", "at": "2024-01-02"}'
    """
    try:
        return json.dumps(row, default=_as_json).encode()
    except (TypeError, ValueError, RecursionError):  # names that are no text, or a list within itself
        return repr(row).encode(errors="backslashreplace")


def _kept_place(place: Callable[[int], str], kept: Sequence[int], index: int) -> str:
    return place(kept[index])


def _faults(rows: Sequence[Row], schema: Schema, first: int) -> list[tuple[int, RowError]]:
    try:
        _batch(rows, schema)
    except RowError as error:
        if len(rows) == 1:
            return [(first, error)]
        half = len(rows) // 2
        return _faults(rows[:half], schema, first) + _faults(rows[half:], schema, first + half)
    return []


def _batch(rows: Sequence[Row], schema: Schema) -> pa.RecordBatch:
    arrays = []
    for field in schema:
        try:
            arrays.append(array_of([row.get(field.name) for row in rows], field.type))
        except RowError as error:
            raise RowError(f"{field.name}{error}", field.name) from error
    return pa.RecordBatch.from_arrays(arrays, names=list(schema.names))


def array_of(values: Values, kind: pa.DataType | None) -> pa.Array:
    """Return the values as an array of a type, or of the type that Arrow infers.

    Raises:
        RowError: A value is not of the type.
    """
    try:
        return pa.array(values if kind is None else _plain(values, kind, ""), kind)
    except (RecursionError, pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, RowError):
            raise
        where = f" is {_shown(values[0])}, which {kind} cannot hold: " if kind and len(values) == 1 else ""
        raise RowError(f"{where}{error}") from error


@dataclass(frozen=True, slots=True)
class _Accepted:
    """What stands for a type: the Python types, those of their subtypes that do not, and how to turn each value."""

    types: tuple[type, ...]
    words: str
    but: tuple[type, ...] = ()
    turned: Mapping[type, Callable[[Any], Any]] | None = None


def _utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)  # without a zone: Arrow takes it for UTC


_INTEGER = _Accepted((numbers.Integral,), "an integer", (bool,))
_NUMBER = _Accepted((numbers.Real,), "a number", (bool,))
_TRUTH = _Accepted((bool,), "true or false")
_TEXT = _Accepted((str, uuid.UUID), "text", turned={uuid.UUID: str})
_BYTES = _Accepted((bytes, bytearray, memoryview), "bytes")
_TIME = _Accepted((dt.datetime, str), "a datetime or ISO 8601 text", turned={str: _utc})
_DATE = _Accepted((dt.date, str), "a date or ISO 8601 text", (dt.datetime,), {str: dt.date.fromisoformat})
_CLOCK = _Accepted((dt.time, str), "a time of day or ISO 8601 text", turned={str: dt.time.fromisoformat})
_DURATION = _Accepted((dt.timedelta,), "a timedelta")
_DECIMAL = _Accepted((decimal.Decimal, numbers.Integral), "a Decimal or an integer", (bool,))
_LIST = _Accepted((list, tuple, set, frozenset), "a list", turned={set: sorted, frozenset: sorted})
_STRUCT = _Accepted((Mapping,), "a dict")

_ACCEPTED: tuple[tuple[Callable[[pa.DataType], bool], _Accepted], ...] = (
    (pa.types.is_integer, _INTEGER),
    (pa.types.is_floating, _NUMBER),
    (pa.types.is_boolean, _TRUTH),
    (pa.types.is_string, _TEXT),
    (pa.types.is_binary, _BYTES),
    (pa.types.is_timestamp, _TIME),
    (pa.types.is_date, _DATE),
    (pa.types.is_time, _CLOCK),
    (pa.types.is_duration, _DURATION),
    (pa.types.is_decimal, _DECIMAL),
    (pa.types.is_list, _LIST),
    (pa.types.is_struct, _STRUCT),
)


def _plain(values: Values, kind: pa.DataType, path: str) -> Values:
    """Return the values checked and in a form that Arrow turns into the type without a loss.

    Arrow alone would cut 1.5 to the integer 1, take true for 1.0 and bytes for text. The same list comes back where
    nothing had to be turned.
    """
    accepted = next(accepted for matches, accepted in _ACCEPTED if matches(kind))
    turned = accepted.turned or {}
    found = set(map(type, values))
    if any(issubclass(cls, enum.Enum) for cls in found):
        values = [value.value if isinstance(value, enum.Enum) else value for value in values]
        found = set(map(type, values))
    for cls in found:
        if cls is not type(None) and (not issubclass(cls, accepted.types) or issubclass(cls, accepted.but)):
            wrong = next(value for value in values if type(value) is cls)
            raise RowError(f"{path} is {_shown(wrong)}; allowed: {accepted.words}")
    if found & turned.keys():
        values = [_turn(value, turned, accepted, path) for value in values]
    if pa.types.is_list(kind):
        return _plain_lists(values, kind, path)
    return _plain_structs(values, kind, path) if pa.types.is_struct(kind) else values


def _turn(value: Any, turned: Mapping[type, Callable[[Any], Any]], accepted: _Accepted, path: str) -> Any:
    turn = turned.get(type(value))
    try:
        return value if turn is None else turn(value)
    except (ValueError, TypeError) as error:
        raise RowError(f"{path} is {_shown(value)}; allowed: {accepted.words}") from error


def _plain_lists(values: Values, kind: pa.DataType, path: str) -> Values:
    flat = list(chain.from_iterable(value for value in values if value is not None))
    plain = _plain(flat, kind.value_type, f"{path}[]")
    if plain is flat:
        return values
    parts = iter(plain)
    return [None if value is None else [next(parts) for _ in value] for value in values]


def _plain_structs(values: Values, kind: pa.DataType, path: str) -> Values:
    if kind.num_fields == 0:
        return values
    given = [value for value in values if value is not None]
    columns: dict[str, Values] = {}
    for child in kind:
        columns[child.name] = _plain([value.get(child.name) for value in given], child.type, f"{path}.{child.name}")
    rows = iter([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    return [None if value is None else next(rows) for value in values]


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({type(value).__name__})"


def _as_json(value: object) -> object:
    """Return what stands in JSON for a value that JSON has no form for."""
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    return dict(value) if isinstance(value, Mapping) else str(value)
