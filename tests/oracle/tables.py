"""Arrow tables as rows of plain values, and their comparison with what is expected."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tests.oracle.programs import Outcome, Result
from tests.oracle.values import EPOCH, MICROSECOND, Row, Value, canonical


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:  # any value that a column can hold
    """Return a table's rows; timestamps are microseconds since 1970, UTC."""
    return [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]


def batch_of(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    """Return rows as an Arrow batch."""
    arrays = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def differences(table: pa.Table, outcome: Outcome) -> list[str]:
    """Return how a view differs from what is expected, one line each; none if it is right."""
    if tuple(table.column_names) != outcome.columns:
        return [f"columns {table.column_names}, expected {list(outcome.columns)}"]
    rows = plain_rows(table)
    found = {tuple(canonical(row[name]) for name in outcome.key): row for row in rows}
    wrong = [f"{len(rows) - len(found)} rows have a key that another row has"] if len(found) < len(rows) else []
    expected = outcome.rows
    if not expected and outcome.of_nothing is not None and found:
        expected = {(): outcome.of_nothing}
    wrong += [f"row {key} is missing: {_shown(expected[key])}" for key in expected if key not in found]
    wrong += [f"row {key} should not be there: {found[key]}" for key in found if key not in expected]
    for key, result in expected.items():
        wrong += _row_differences(key, found.get(key), result)
    return wrong


def _row_differences(key: object, row: Mapping[str, object] | None, result: Result) -> list[str]:
    if row is None:
        return []
    return [
        f"row {key}: {name} is {row[name]!r}, expected {may}"
        for name, may in result.items()
        if not may.accepts(row[name])
    ]


def _shown(result: Result) -> str:
    return ", ".join(f"{name}={may}" for name, may in result.items())


def _plain(value: Any) -> Value:
    if isinstance(value, dt.datetime):
        return (value - EPOCH) // MICROSECOND
    if isinstance(value, list):
        return [_plain(item) for item in value]
    plain: Value = value
    return plain
