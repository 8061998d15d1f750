"""Rows written down in a test."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.types as t

from thalweg.core.errors import PlanError
from thalweg.core.schema import Schema, schema_of

DAY: Final = dt.date(2024, 1, 1)
"""The day of times that are given without one."""

_CLOCK: Final = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?")
Row = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, slots=True)
class Given:
    """Rows of one source: a table per partition.

    Attributes:
        schema: Their columns.
        partitions: The rows, in order.
    """

    schema: Schema
    partitions: tuple[pa.Table, ...]


def rows(schema: object, *partitions: Sequence[Row]) -> Given:
    """Return rows for ``check``, one list for each partition.

    Rows are tuples in the schema's order, or dicts. Times may be text: ISO 8601, or ``"10:00:01"`` on
    2024-01-01 (UTC).

    Raises:
        PlanError: A row does not fit the schema.

    Example:
        >>> class Click:
        ...     user: str
        ...     ts: dt.datetime
        >>> rows(Click, [("ann", "10:00:01")]).partitions[0].num_rows
        1
    """
    found = schema_of(schema)
    return Given(found, tuple(_table(found, part) for part in partitions or ([],)))


def moment(value: object) -> object:
    """Return a time given as text as a datetime; anything else as it is."""
    if not isinstance(value, str):
        return value
    if clock := _CLOCK.fullmatch(value):
        hour, minute, second, fraction = clock.groups()
        time = dt.time(int(hour), int(minute), int(second or 0), int((fraction or "0").ljust(6, "0")), dt.UTC)
        return dt.datetime.combine(DAY, time)
    moment = dt.datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def as_dict(schema: Schema, row: Row) -> dict[str, Any]:
    """Return a row as a dict, its times as datetimes."""
    if isinstance(row, Mapping):
        named = dict(row)
        unknown = set(named) - set(schema.names)
        if unknown:
            raise PlanError(f"the row {row!r} has columns that the schema has not: {', '.join(sorted(unknown))}")
    else:
        if len(row) != len(schema):
            raise PlanError(f"the row {row!r} has {len(row)} values; the columns are {', '.join(schema.names)}")
        named = dict(zip(schema.names, row, strict=True))
    return {name: moment(value) if t.is_timestamp(schema[name].type) else value for name, value in named.items()}


def _table(schema: Schema, part: Sequence[Row]) -> pa.Table:
    loose = pa.schema([pa.field(field.name, field.type) for field in schema])
    try:
        return pa.Table.from_pylist([as_dict(schema, row) for row in part], schema=loose)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise PlanError(f"the rows do not fit the schema ({schema}): {error}") from error
