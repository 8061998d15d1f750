"""Rows as a caller gives them, brought to a topic's schema: all of them, or an error that names the first at fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.core.errors import PlanError, RowsRefused, near, short
from thalweg.core.python_rows import decode_rows
from thalweg.core.schema import TIMESTAMP, Schema, normal_type


def table_of(rows: object, schema: Schema) -> pa.Table:
    """Return rows as a table of exactly the schema's columns, checked.

    Args:
        rows: Dicts, or anything that gives Arrow data.
        schema: The topic's.

    Raises:
        RowsRefused: A row is not of the schema.
    """
    if isinstance(rows, (pa.Table, pa.RecordBatch)) or hasattr(rows, "__arrow_c_stream__"):
        return arrow_rows(pa.table(rows), schema)
    if isinstance(rows, Sequence) and not isinstance(rows, (str, bytes)):
        for index, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise RowsRefused(f"it is {short(row)}; allowed: a dict of column names and values", row=index)
        return _dict_rows(rows, schema)
    raise RowsRefused(
        f"{short(rows)} has no rows; allowed: a list of dicts, an Arrow table or batch, a Polars frame, or anything "
        "with __arrow_c_stream__"
    )


def arrow_rows(table: pa.Table, schema: Schema) -> pa.Table:
    """Return Arrow data with exactly the schema's columns.

    Shape: Columns are taken by name; one that is missing is null; one that the topic lacks is refused.

    Raises:
        RowsRefused: A value cannot have its column's type, or is null where none may be.
    """
    _known(table.column_names, schema)
    try:
        table.validate(full=True)  # a process could be brought down by what is wrong in here
    except pa.ArrowInvalid as error:
        raise RowsRefused(f"the Arrow data is not valid: {error}") from error
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            column = pa.chunked_array([pa.nulls(len(table), field.type)], field.type)
        else:
            column = cast_column(table[field.name], field.type, field.name)
        columns.append(column)
    return _without_nulls(pa.table(columns, schema=schema.arrow), schema)


def cast_column(values: pa.ChunkedArray, target: pa.DataType, name: str) -> pa.ChunkedArray:
    """Return a column with another type that holds every one of its values.

    Raises:
        RowsRefused: A value cannot have the type.
    """
    given = values.type
    if given.equals(target):
        return values
    if not may_become(given, target):
        raise RowsRefused(f"it is of type {given}, which is never turned into {target}", column=name)
    try:
        return _cast(values, target)
    except pa.ArrowException as error:
        row = _first_at_fault(values, target)
        value = short(values[row].as_py()) if row is not None else str(error)
        raise RowsRefused(f"{value} of type {given} is not a value of type {target}", row=row, column=name) from error


def may_become(given: pa.DataType, target: pa.DataType) -> bool:
    """Return whether values of a type are ever taken for values of another: numbers for numbers, text for text."""
    t = pa.types
    if isinstance(given, pa.BaseExtensionType):
        return may_become(given.storage_type, target)
    if t.is_null(given):
        return True
    try:
        normal = normal_type(given)
    except PlanError:
        return False
    if t.is_list(normal) and t.is_list(target):
        return may_become(normal.value_type, target.value_type)
    if t.is_struct(normal) and t.is_struct(target):
        return {f.name for f in normal} <= {f.name for f in target} and all(
            may_become(field.type, target.field(field.name).type) for field in normal
        )
    if normal.equals(target):
        return True
    pairs = (
        (t.is_integer, t.is_integer),
        (t.is_integer, t.is_floating),
        (t.is_integer, t.is_decimal),
        (t.is_floating, t.is_floating),
        (t.is_decimal, t.is_decimal),
        (t.is_date, t.is_timestamp),
    )
    return any(source(normal) and goal(target) for source, goal in pairs)


def _cast(values: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    given = values.type
    t = pa.types
    if isinstance(given, pa.BaseExtensionType):
        storage = pa.chunked_array([chunk.storage for chunk in values.chunks], given.storage_type)
        return _cast(storage, target)
    if t.is_timestamp(given) and t.is_timestamp(target) and given.unit == "ns":
        # Nanoseconds are dropped downwards, also before 1970; the stored number is UTC whatever the zone.
        whole = pc.floor_temporal(values.cast(pa.timestamp("ns")), unit="microsecond")
        return whole.cast(pa.timestamp("us")).cast(TIMESTAMP)
    if t.is_integer(given) and t.is_decimal(target):
        # By way of text: Arrow wants a precision that holds every integer, and only some are here.
        return values.cast(pa.string()).cast(target)
    if t.is_floating(given) and t.is_floating(target):
        cast = values.cast(target, safe=False)
        if target.bit_width < given.bit_width and pc.any(pc.and_(pc.is_inf(cast), pc.is_finite(values))).as_py():
            raise pa.ArrowInvalid("too great")
        return cast
    unsafe = (t.is_time(given) or t.is_duration(given)) and given.unit == "ns"
    return values.cast(target, safe=not unsafe)


def _first_at_fault(values: pa.ChunkedArray, target: pa.DataType) -> int | None:
    """Return the index of the first value that cannot be cast, halving what fails."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _cast(values.slice(low, middle - low), target)
        except pa.ArrowException:
            high = middle
        else:
            low = middle
    return low if high > low else None


def _dict_rows(rows: Sequence[Mapping[str, Any]], schema: Schema) -> pa.Table:
    _known(list(dict.fromkeys(chain.from_iterable(rows))), schema)
    decoded = decode_rows(rows, schema, str)
    if decoded.rejected:
        first = decoded.rejected[0]
        raise RowsRefused(first.reason, row=int(first.place), column=first.column)
    return _without_nulls(pa.Table.from_arrays(decoded.data.columns, schema=schema.arrow), schema)


def _known(names: Sequence[str], schema: Schema) -> None:
    for name in names:
        if name not in schema:
            raise RowsRefused(f"the topic has no such column; {near(str(name), schema.names)}", column=name)
    if len(set(names)) < len(names):
        raise RowsRefused("two columns have one name")


def _without_nulls(table: pa.Table, schema: Schema) -> pa.Table:
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            row = pc.index(table[field.name].is_null(), True).as_py()
            raise RowsRefused("null, but the column must have a value", row=row, column=field.name)
    return table


def widened(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return stored rows of an older schema with a newer one's columns: added ones null, widened ones cast."""
    columns = []
    for field in schema:
        if field.name not in batch.schema.names:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(field.name)
        if not column.type.equals(field.type):
            column = _cast(pa.chunked_array([column]), field.type).combine_chunks()
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)
