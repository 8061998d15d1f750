"""Rows that are not of their topic's columns: which of them are at fault, and what the topic would have to become."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.core.envelope import ERROR_SCHEMA
from thalweg.core.errors import PlanError, RowsRefused
from thalweg.core.python_rows import Row, RowError, array_of, decode_rows, row_json
from thalweg.core.schema import Field, Schema, normal_type
from thalweg.log.appended import RejectedRow
from thalweg.log.evolution import covering
from thalweg.log.rows import (
    Given,
    arrow_rows,
    cast,
    check_sound,
    dicts,
    faults_of,
    may_become,
    never_turned,
    no_value,
    not_a_row,
    table_of,
    unknown,
    unknown_names,
    unknown_within,
)

_NULL: Final = "null, but the column must have a value"


@dataclass(frozen=True, slots=True, eq=False)
class SortedOut:
    """Rows of which some fit.

    Attributes:
        table: Those that fit, with exactly the schema's columns.
        origins: The index in the call of each of them; None: all rows fit.
        rejected: The others, in order.
        raw: The others as they came, and how: ``received`` as JSON, or ``arrow`` for an Arrow stream of one row.
        total: How many rows there are.
    """

    table: pa.Table
    origins: pa.Int64Array | None = None
    rejected: tuple[RejectedRow, ...] = ()
    raw: tuple[tuple[bytes, str], ...] = ()
    total: int = 0


def sort_out(rows: Given, schema: Schema) -> SortedOut:
    """Return the rows that would be taken alone, and those that would be refused.

    Raises:
        RowsRefused: The data as a whole is not sound, so that no row of it can be told.
    """
    if isinstance(rows, pa.Table):
        check_sound(rows)
        faults = _arrow_faults(rows, schema)
    else:
        faults = _dict_faults(rows, schema)
    kept = [row for row in range(len(rows)) if row not in faults]
    rejected = tuple(faults[row] for row in sorted(faults))
    if isinstance(rows, pa.Table):
        # Without a row that fits, the columns may be of types that never do.
        table = arrow_rows(rows.take(pa.array(kept, pa.int64())), schema) if kept else schema.arrow.empty_table()
        raw = tuple((_one_row(rows, bad.row), "arrow") for bad in rejected)
    else:
        table = table_of([rows[row] for row in kept], schema)
        raw = tuple((row_json(rows[bad.row]), "received") for bad in rejected)
    return SortedOut(table, pa.array(kept, pa.int64()), rejected, raw, len(rows))


def envelopes(topic: str, sorted_out: SortedOut, now_us: int) -> pa.Table:
    """Return rejected rows as the topic of rejected rows keeps them.

    Shape: ``core.envelope.ERROR_SCHEMA``, a row for each.
    """
    bad = sorted_out.rejected
    times = pa.array([now_us] * len(bad), ERROR_SCHEMA.field("time").type)
    columns = {
        "step": [f"append to {topic}"] * len(bad),
        "place": [f"row {row.row} of {sorted_out.total}" for row in bad],
        "column": [row.column for row in bad],
        "reason": [row.reason for row in bad],
        "traceback": [None] * len(bad),
        "time": times,
        "row": [raw for raw, _ in sorted_out.raw],
        "encoding": [encoding for _, encoding in sorted_out.raw],
    }
    return pa.table(columns, schema=ERROR_SCHEMA)


def wider_schema(rows: Given, schema: Schema) -> Schema:
    """Return the least schema that a topic must get so that rows fit; they may not fit it either.

    Shape: Columns that are added come last and may be null. One that has nothing but nulls without a type is none.

    Raises:
        RowsRefused: A column is not there yet, and has no type that it could get.
    """
    if isinstance(rows, pa.Table):
        check_sound(rows)
        given = [
            Field(f.name, _kind(f.name, f.type))
            for f in rows.schema
            if not pa.types.is_null(f.type)
            and (f.name not in schema or not _becomes(rows[f.name], schema[f.name].type))
        ]
    else:
        given = _dict_fields(dicts(rows), schema)
    wider = covering(schema, Schema(tuple(given)))
    for field in wider:
        if _has_null(field.type):
            raise RowsRefused("no type is known for its values, which are all null or empty", column=field.name)
    return wider


def without_empty(rows: Given, schema: Schema) -> Given:
    """Return rows without the columns that the schema lacks and that hold nothing but nulls without a type."""
    if isinstance(rows, pa.Table):
        empty = [f.name for f in rows.schema if pa.types.is_null(f.type) and f.name not in schema]
        return rows.drop_columns(empty) if empty else rows
    known = set(schema.names)
    return [{name: value for name, value in row.items() if name in known or value is not None} for row in dicts(rows)]


def _arrow_faults(table: pa.Table, schema: Schema) -> dict[int, RejectedRow]:
    faults: dict[int, RejectedRow] = {}
    for name in table.column_names:
        if name not in schema:
            return {row: RejectedRow(row, name, unknown(name, schema)) for row in range(len(table))}
    for field in schema:
        if field.name in table.column_names:
            found = _column_faults(table[field.name], field)
        else:
            found = {} if field.nullable else dict.fromkeys(range(len(table)), _NULL)
        for row, reason in found.items():
            faults.setdefault(row, RejectedRow(row, field.name, reason))
    return faults


def _becomes(values: pa.ChunkedArray, target: pa.DataType) -> bool:
    if not may_become(values.type, target):
        return False
    try:
        cast(values, target)
    except pa.ArrowException:
        return False
    return True


def _column_faults(values: pa.ChunkedArray, field: Field) -> dict[int, str]:
    if not may_become(values.type, field.type):
        return dict.fromkeys(range(len(values)), never_turned(values.type, field.type))
    faults = {}
    if not values.type.equals(field.type):
        faults = {row: no_value(values[row], field.type) for row in faults_of(values, field.type)}
    if not field.nullable and values.null_count:
        faults |= dict.fromkeys(pc.indices_nonzero(values.is_null()).to_pylist(), _NULL)
    return faults


def _dict_faults(rows: Sequence[object], schema: Schema) -> dict[int, RejectedRow]:
    faults = {i: RejectedRow(i, None, not_a_row(row)) for i, row in enumerate(rows) if not isinstance(row, Mapping)}
    pairs = [(i, row) for i, row in enumerate(rows) if isinstance(row, Mapping)]
    for place, name in unknown_names([row for _, row in pairs], schema):
        row = pairs[place][0]
        faults[row] = RejectedRow(row, name, unknown(name, schema))
    pairs = [(i, row) for i, row in pairs if i not in faults]
    for bad in decode_rows([row for _, row in pairs], schema, str).rejected:
        row = pairs[int(bad.place)][0]
        faults[row] = RejectedRow(row, bad.column, bad.reason)
    strict = [field.name for field in schema if not field.nullable]
    for row, values in pairs:
        empty = next((name for name in strict if values.get(name) is None), None)
        if row not in faults and empty is not None:
            faults[row] = RejectedRow(row, empty, _NULL)
    return faults


def _one_row(table: pa.Table, row: int) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.slice(row, 1))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _dict_fields(rows: Sequence[Row], schema: Schema) -> list[Field]:
    """Return the columns that dicts would need, as their values tell; of those that are fitting nothing is said."""
    values: dict[str, list[Any]] = {}  # whatever the rows have
    for row in rows:
        for name, value in row.items():
            if value is not None:
                values.setdefault(name, []).append(_plain(value))
    fields = []
    for name, found in values.items():
        if not isinstance(name, str):
            raise RowsRefused(f"{name!r} is no name of a column; allowed: text", column=repr(name))
        if name in schema and _is_fitting(found, schema[name]):
            continue
        try:
            kind = array_of(found, None).type
        except RowError as error:
            if name in schema:
                continue  # no type is common to the values: that the topic's does not fit says more
            raise RowsRefused(f"no type is known for its values: {error}", column=name) from error
        fields.append(Field(name, _kind(name, kind)))
    return fields


def _is_fitting(values: list[Any], field: Field) -> bool:
    """Whether the column's own type takes the values: what text stands for a time, say, need not be text."""
    if any(unknown_within(value, field.type, field.name) is not None for value in values):
        return False
    try:
        array_of(values, field.type)
    except RowError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Return a value that Arrow finds a type for."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC)
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(part) for part in value]
    return value


def _kind(name: str, given: pa.DataType) -> pa.DataType:
    """Return a type in the form in which topics have it; null where nothing is known."""
    if pa.types.is_null(given):
        return given
    if pa.types.is_list(given):
        return pa.list_(pa.field("item", _kind(name, given.value_type)))
    if pa.types.is_struct(given):
        return pa.struct([pa.field(field.name, _kind(name, field.type)) for field in given])
    try:
        return normal_type(given.storage_type if isinstance(given, pa.BaseExtensionType) else given, name)
    except PlanError as error:
        raise RowsRefused(error.message, column=name) from error


def _has_null(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _has_null(kind.value_type)
    return any(_has_null(field.type) for field in kind) if pa.types.is_struct(kind) else pa.types.is_null(kind)
