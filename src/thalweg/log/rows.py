"""Rows as a caller gives them, brought to a topic's schema: all of them, or an error that names the first at fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.core.errors import PlanError, RowsRefused, near, short
from thalweg.core.python_rows import Row, decode_rows
from thalweg.core.schema import TIMESTAMP, Schema, normal_type

Given: TypeAlias = "pa.Table | Sequence[object]"
"""Rows as they came: a table, or what should be dicts."""


def given_rows(rows: object) -> Given:
    """Return rows so that they can be looked at more than once: a stream of Arrow data gives them only once.

    Raises:
        RowsRefused: There are no rows in it.
    """
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatch) or hasattr(rows, "__arrow_c_stream__"):
        return pa.table(rows)
    if isinstance(rows, Sequence) and not isinstance(rows, (str, bytes)):
        return rows
    raise RowsRefused(
        f"{short(rows)} has no rows; allowed: a list of dicts, an Arrow table or batch, a Polars frame, or anything "
        "with __arrow_c_stream__"
    )


def table_of(rows: Given, schema: Schema) -> pa.Table:
    """Return rows as a table of exactly the schema's columns, checked.

    Raises:
        RowsRefused: A row is not of the schema.
    """
    return arrow_rows(rows, schema) if isinstance(rows, pa.Table) else _dict_rows(dicts(rows), schema)


def dicts(rows: Sequence[object]) -> Sequence[Row]:
    """Return rows that are all dicts.

    Raises:
        RowsRefused: One is not.
    """
    found: list[Row] = []
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise RowsRefused(not_a_row(row), row=index)
        found.append(row)
    return found


def not_a_row(row: object) -> str:
    """Return why something is no row."""
    return f"it is {short(row)}; allowed: a dict of column names and values"


def arrow_rows(table: pa.Table, schema: Schema) -> pa.Table:
    """Return Arrow data with exactly the schema's columns.

    Shape: Columns are taken by name; one that is missing is null; one that the topic lacks is refused.

    Raises:
        RowsRefused: A value cannot have its column's type, or is null where none may be.
    """
    check_sound(table)
    for name in table.column_names:
        if name not in schema:
            raise RowsRefused(unknown(name, schema), column=name)
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            column = pa.chunked_array([pa.nulls(len(table), field.type)], field.type)
        else:
            column = cast_column(table[field.name], field.type, field.name)
        columns.append(column)
    return _without_nulls(pa.table(columns, schema=schema.arrow), schema)


def check_sound(table: pa.Table) -> None:
    """Check that Arrow data is what it says, and that each of its columns has a name of its own.

    Raises:
        RowsRefused: It is not; nothing of it can be used.
    """
    if len(set(table.column_names)) < table.num_columns:
        raise RowsRefused("two columns have one name")
    try:
        table.validate(full=True)  # a process could be brought down by what is wrong in here
    except pa.ArrowInvalid as error:
        raise RowsRefused(f"the Arrow data is not valid: {error}") from error


def cast_column(values: pa.ChunkedArray, target: pa.DataType, name: str) -> pa.ChunkedArray:
    """Return a column with another type that holds every one of its values.

    Raises:
        RowsRefused: A value cannot have the type.
    """
    given = values.type
    if given.equals(target):
        return values
    if not may_become(given, target):
        raise RowsRefused(never_turned(given, target), column=name)
    try:
        return cast(values, target)
    except pa.ArrowException as error:
        row = next(faults_of(values, target), None)
        reason = no_value(values[row], target) if row is not None else f"{error}; the type is to be {target}"
        raise RowsRefused(reason, row=row, column=name) from error


def never_turned(given: pa.DataType, target: pa.DataType) -> str:
    """Return why no value of a type is taken for one of another."""
    return f"it is of type {given}, which is never turned into {target}"


def no_value(value: pa.Scalar, target: pa.DataType) -> str:
    """Return why a value is not one of a type."""
    try:
        shown = short(value.as_py())
    except ValueError:  # Python's times have no nanoseconds
        shown = str(value)
    return f"{shown} of type {value.type} is not a value of type {target}"


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


def cast(values: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    """Return a column with another type; one that ``may_become`` allows.

    Raises:
        pa.ArrowException: A value cannot have the type.
    """
    given = values.type
    t = pa.types
    if isinstance(given, pa.BaseExtensionType):
        storage = pa.chunked_array([chunk.storage for chunk in values.chunks], given.storage_type)
        return cast(storage, target)
    if t.is_timestamp(given) and t.is_timestamp(target) and given.unit == "ns":
        # Nanoseconds are dropped downwards, also before 1970; the stored number is UTC whatever the zone.
        whole = pc.floor_temporal(values.cast(pa.timestamp("ns")), unit="microsecond")
        return whole.cast(pa.timestamp("us")).cast(TIMESTAMP)
    if t.is_integer(given) and t.is_decimal(target):
        # By way of text: Arrow wants a precision that holds every integer, and only some are here.
        return values.cast(pa.string()).cast(target)
    if t.is_floating(given) and t.is_floating(target):
        floats = values.cast(target, safe=False)
        if target.bit_width < given.bit_width and pc.any(pc.and_(pc.is_inf(floats), pc.is_finite(values))).as_py():
            raise pa.ArrowInvalid("too great")
        return floats
    unsafe = (t.is_time(given) or t.is_duration(given)) and given.unit == "ns"
    return values.cast(target, safe=not unsafe)


def faults_of(values: pa.ChunkedArray, target: pa.DataType) -> Iterator[int]:
    """Give the indices of the values that cannot be cast, in order, halving what fails."""
    pending = [(0, len(values))]
    while pending:
        low, high = pending.pop()
        if low == high:
            continue
        try:
            cast(values.slice(low, high - low), target)
        except pa.ArrowException:
            if high - low == 1:
                yield low
            else:
                middle = (low + high) // 2
                pending += [(middle, high), (low, middle)]


def _dict_rows(rows: Sequence[Row], schema: Schema) -> pa.Table:
    if (first := next(unknown_names(rows, schema), None)) is not None:
        index, name = first
        raise RowsRefused(unknown(name, schema), row=index, column=name)
    decoded = decode_rows(rows, schema, str)
    if decoded.rejected:
        bad = decoded.rejected[0]
        raise RowsRefused(bad.reason, row=int(bad.place), column=bad.column)
    return _without_nulls(pa.Table.from_arrays(decoded.data.columns, schema=schema.arrow), schema)


def unknown_names(rows: Sequence[Row], schema: Schema) -> Iterator[tuple[int, str]]:
    """Give each row's index and the first name in it that the schema lacks, within its dicts too: ``point.z``."""
    known = dict.fromkeys(schema.names)
    nested = [field for field in schema if pa.types.is_nested(field.type)]
    for index, row in enumerate(rows):
        if not row.keys() <= known.keys():
            yield index, str(next(name for name in row if name not in known))
            continue
        for field in nested:
            if (name := unknown_within(row.get(field.name), field.type, field.name)) is not None:
                yield index, name
                break


def unknown_within(value: Any, kind: pa.DataType, path: str) -> str | None:
    """Return the first name within a value's dicts that a type lacks, as a path; None where there is none."""
    if pa.types.is_struct(kind) and isinstance(value, Mapping):
        types = {field.name: field.type for field in kind}
        for name, part in value.items():
            if name not in types:
                return f"{path}.{name}"
            if (found := unknown_within(part, types[name], f"{path}.{name}")) is not None:
                return found
    elif pa.types.is_list(kind) and pa.types.is_nested(kind.value_type) and isinstance(value, (list, tuple)):
        found_in = (unknown_within(part, kind.value_type, f"{path}[]") for part in value)
        return next((found for found in found_in if found is not None), None)
    return None


def unknown(name: str, schema: Schema) -> str:
    """Return why a column is at fault that the schema lacks."""
    return f"the topic has no such column; {near(name, schema.names)}"


def _without_nulls(table: pa.Table, schema: Schema) -> pa.Table:
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            row = pc.index(table[field.name].is_null(), True).as_py()
            raise RowsRefused("null, but the column must have a value", row=row, column=field.name)
    return table


def widened(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return stored rows of an older schema with a newer one's columns: added ones null, widened ones cast."""
    if batch.schema.equals(schema):
        return batch
    columns = []
    for field in schema:
        if field.name not in batch.schema.names:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(field.name)
        if not column.type.equals(field.type):
            column = cast(pa.chunked_array([column]), field.type).combine_chunks()
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)
