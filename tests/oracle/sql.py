"""What DuckDB says to a query, and rows in a form in which its answers and ours compare."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

import duckdb
import pyarrow as pa


def answer(query: str, tables: Mapping[str, pa.Table]) -> tuple[list[str], Counter[Hashable]]:
    """Return the names of the columns and the rows that DuckDB gives; its times are in UTC, without a zone."""
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, _without_zones(table))
        found = connection.execute(query)
        names = [column[0] for column in found.description]
        return names, Counter(tuple(plain(value) for value in row) for row in found.fetchall())


def rows_of(table: pa.Table) -> Counter[Hashable]:
    """Return the rows of a view."""
    return Counter(tuple(plain(value) for value in row.values()) for row in table.to_pylist())


def plain(value: Any) -> Hashable:  # any value that a column can hold
    """Return a value in its one form: numbers to nine digits, times in UTC, lists as tuples."""
    if isinstance(value, bool) or value is None:
        return (type(value).__name__, value)
    if isinstance(value, (int, float, decimal.Decimal)):
        number = float(value)
        return "NaN" if math.isnan(number) else float(f"{number:.9g}") + 0.0
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None) if value.tzinfo is None else value.astimezone(dt.UTC).replace(tzinfo=None)
    if isinstance(value, list):
        return tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return tuple((name, plain(item)) for name, item in value.items())
    return (type(value).__name__, value)


def _without_zones(table: pa.Table) -> pa.Table:
    fields = [pa.field(f.name, pa.timestamp("us")) if pa.types.is_timestamp(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))
