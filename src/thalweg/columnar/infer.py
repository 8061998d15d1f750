"""The schema of a text, guessed from its first rows.

All columns may be null. Integers become ``int64``, with fractions among them ``float64``; text of
which each value is an ISO 8601 date or timestamp becomes that; the rest is text. A column that
only comes later than the rows that were looked at is not seen, and a value that does not fit what was
guessed makes its row a rejected one: who knows the schema gives it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from thalweg.columnar.csv_rows import scan
from thalweg.columnar.json_rows import JsonFault, is_number, is_object, read_value
from thalweg.core.schema import TIMESTAMP

SAMPLE_ROWS = 1_000
"""How many rows are looked at."""

_Kind: TypeAlias = 'Literal["int", "float", "bool", "date", "timestamp", "text"]'
_Shape: TypeAlias = "_Kind | dict[str, _Shape] | list[_Shape] | None"
"""What a value looks like: a scalar's kind, the members of an object, the one item of a list; None: null only."""

_ARROW: dict[str, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": TIMESTAMP,
    "text": pa.string(),
}
_WIDER: dict[frozenset[str], _Kind] = {
    frozenset({"int", "float"}): "float",
    frozenset({"date", "timestamp"}): "timestamp",
}
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d(:?\d\d)?)?", re.ASCII)
_INTEGER = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)  # 007 is no number: its zeros would be lost
_FLOAT = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_GREATEST_INTEGER = 2**63


def infer_json(lines: Iterable[bytes]) -> pa.Schema:
    """Return the schema of NDJSON lines, columns in the order in which they first stand.

    Lines that are no JSON objects are not looked at.

    Example:
        >>> infer_json([b'{"n": 1, "at": "2013-01-01T05:00Z"}', b'{"n": 2.5, "tags": ["a"]}'])
        n: double
        at: timestamp[us, tz=UTC]
        tags: list<item: string>
          child 0, item: string
    """
    shape: _Shape = {}
    for line in lines:
        try:
            value = read_value(line)
        except JsonFault:
            continue
        if is_object(value):
            shape = _merged(shape, _json_shape(value))
    assert isinstance(shape, dict), "objects merge to objects"
    return _schema(shape)


def infer_csv(header: Sequence[str], rows: bytes, *, final: bool) -> pa.Schema:
    r"""Return the schema of CSV rows below a header; ``final`` says that the text ends there.

    Example:
        >>> infer_csv(["id", "price"], b"007,1\n008,2.5\n", final=True)
        id: string
        price: double
    """
    shapes: dict[str, _Shape] = dict.fromkeys(header)
    for count, row in enumerate(scan(rows, final=final)):
        if count == SAMPLE_ROWS:
            break
        if row.fault is not None or len(row.fields) != len(header):
            continue
        for name, field in zip(header, row.fields, strict=True):
            shapes[name] = _merged(shapes[name], _text_shape(field.decode(errors="replace")) if field else None)
    return _schema(shapes)


def _schema(shape: dict[str, _Shape]) -> pa.Schema:
    return pa.schema([pa.field(name, given) for name, inner in shape.items() if (given := _type(inner)) is not None])


def _type(shape: _Shape) -> pa.DataType | None:
    """Return a type; None for an object of which no member was ever seen."""
    if shape is None:
        return pa.string()
    if isinstance(shape, list):
        item = _type(shape[0])
        return None if item is None else pa.list_(pa.field("item", item))
    if isinstance(shape, dict):
        fields = [pa.field(name, given) for name, inner in shape.items() if (given := _type(inner)) is not None]
        return pa.struct(fields) if fields else None
    return _ARROW[shape]


def _merged(first: _Shape, second: _Shape) -> _Shape:
    if first is None or second is None or first == second:
        return second if first is None else first
    if isinstance(first, dict) and isinstance(second, dict):
        return {name: _merged(first.get(name), second.get(name)) for name in first | second}
    if isinstance(first, list) and isinstance(second, list):
        return [_merged(first[0], second[0])]
    if isinstance(first, str) and isinstance(second, str):
        return _WIDER.get(frozenset({first, second}), "text")
    return "text"


def _json_shape(value: Any) -> _Shape:
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if is_number(value):
        return _number_shape(value)
    if isinstance(value, str):
        return "timestamp" if _TIMESTAMP.fullmatch(value) else "date" if _DATE.fullmatch(value) else "text"
    if is_object(value):
        return {name: _json_shape(inner) for name, inner in value}
    item: _Shape = None
    for inner in value:
        item = _merged(item, _json_shape(inner))
    return [item]


def _text_shape(text: str) -> _Shape:
    if _FLOAT.fullmatch(text):
        return _number_shape(text)
    if text.lower() in ("true", "false"):
        return "bool"
    return "timestamp" if _TIMESTAMP.fullmatch(text) else "date" if _DATE.fullmatch(text) else "text"


def _number_shape(text: str) -> _Kind:
    fits = len(text) <= 20 and _INTEGER.fullmatch(text) and -_GREATEST_INTEGER <= int(text) < _GREATEST_INTEGER
    return "int" if fits else "float"
