"""``thalweg compare``: two outputs row by row, told for people and for machines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from thalweg.cli.compare_targets import Compared, read_both
from thalweg.cli.failures import FAILED
from thalweg.cli.results import json_line
from thalweg.cli.tables import table_lines, value_text, values_of
from thalweg.columnar.compare import Aligned, Comparison, aligned, compared
from thalweg.core import places
from thalweg.core.errors import PlanError


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a comparison.

    Attributes:
        one: The first output.
        other: The second one.
        key: The columns that name a row; none: that of two views of the same key, else rows are compared whole.
        tolerance: By how much floats may differ.
        limit: How many rows of each kind of difference are shown.
        log: The embedded log of topics.
        json: Whether machines read the answer.
    """

    one: str
    other: str
    key: tuple[str, ...] = ()
    tolerance: float = 0.0
    limit: int = 10
    log: Path = places.LOG
    json: bool = False


def compare(asked: Asked) -> int:
    """Print how two outputs differ; return the exit code: 0 they are equal, 1 they are not.

    Raises:
        PlanError: One of them is not there or cannot be read, or the key does not fit.
    """
    sides = read_both(asked.one, asked.other, asked.log)
    tables = _filled(*sides)
    columns = aligned(*tables)
    if not columns.left.num_columns and (columns.only != ((), ()) or columns.types):
        raise PlanError(
            f"{asked.one} and {asked.other} have no column in common: {', '.join(tables[0].column_names)}; "
            f"{', '.join(tables[1].column_names)}"
        )
    shared = sides[0].key if sides[0].key == sides[1].key else ()
    key = asked.key or tuple(name for name in shared if name in columns.left.column_names)
    found = compared(columns.left, columns.right, key, tolerance=asked.tolerance, shown=asked.limit)
    lines = _json_lines(asked, key, columns, found) if asked.json else _lines(asked, key, columns, found)
    for line in lines:
        print(line)
    sys.stdout.flush()
    return 0 if found.same and columns.same else FAILED


def _filled(one: Compared, other: Compared) -> tuple[pa.Table, pa.Table]:
    """Return both tables; one without rows has the columns of the other."""
    known = [side.rows for side in (one, other) if side.rows is not None]
    empty = known[0].schema.empty_table() if known else pa.table({})
    return empty if one.rows is None else one.rows, empty if other.rows is None else other.rows


def _lines(asked: Asked, key: tuple[str, ...], columns: Aligned, found: Comparison) -> Iterator[str]:
    for name, only in zip((asked.one, asked.other), columns.only, strict=True):
        if only:
            yield f"columns only in {name}: {', '.join(only)}"
    for column, (one, other) in columns.types.items():
        yield f"column {column} cannot be compared: {one} in {asked.one}, {other} in {asked.other}"
    by = f" by {', '.join(key)}" if key else ""
    if found.same:
        yield f"the same {found.equal:,} row{'s' * (found.equal != 1)}{by}" + (
            "" if columns.same else " in the other columns"
        )
        return
    yield f"{asked.one}: {found.rows[0]:,}, {asked.other}: {found.rows[1]:,} rows; {found.equal:,} equal{by}"
    if found.changed:
        counts = ", ".join(f"{name} {count:,}" for name, count in found.changed_columns.items())
        yield f"\nchanged: {found.changed:,} ({counts})"
        yield from table_lines(_beside(found, key))
        yield from _more(found.changed, asked.limit)
    for name, count, rows in zip((asked.one, asked.other), found.only, found.shown_only, strict=True):
        if count:
            yield f"\nonly in {name}: {count:,}"
            yield from table_lines(rows)
            yield from _more(count, asked.limit)


def _beside(found: Comparison, key: tuple[str, ...]) -> pa.Table:
    """Return the changed rows with both values, ``old → new``, where they differ."""
    one, other = found.shown_changed
    shown: dict[str, Any] = {name: one[name] for name in key}
    for name in found.changed_columns:
        pairs = zip(values_of(one[name]), values_of(other[name]), strict=True)
        shown[name] = [value_text(a) if _same(a, b) else f"{value_text(a)} → {value_text(b)}" for a, b in pairs]
    return pa.table(shown)


def _same(one: Any, other: Any) -> bool:  # values of any column
    return bool(one == other) or (one != one and other != other)


def _more(count: int, limit: int) -> Iterator[str]:
    if count > limit:
        yield f"… and {count - limit:,} more; --limit shows them"


def _json_lines(asked: Asked, key: tuple[str, ...], columns: Aligned, found: Comparison) -> Iterator[str]:
    for one, other in zip(*map(_rows, found.shown_changed), strict=True):
        differing = {
            name: [one[name], other[name]] for name in found.changed_columns if not _same(one[name], other[name])
        }
        yield json_line({"changed": {name: one[name] for name in key}, "columns": differing})
    for name, rows in zip((asked.one, asked.other), found.shown_only, strict=True):
        for row in _rows(rows):
            yield json_line({"only_in": name, "row": row})
    yield json_line(
        {
            "comparison": {
                "a": asked.one,
                "b": asked.other,
                "key": list(key),
                "rows": list(found.rows),
                "equal": found.equal,
                "changed": found.changed,
                "changed_columns": dict(found.changed_columns),
                "only_in_a": found.only[0],
                "only_in_b": found.only[1],
                "columns_only_in_a": list(columns.only[0]),
                "columns_only_in_b": list(columns.only[1]),
                "columns_of_other_types": {name: list(types) for name, types in columns.types.items()},
                "same": found.same and columns.same,
            }
        }
    )


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    values = [values_of(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*values, strict=True)]
