"""Arrow tables as lines of text, lined up in columns."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

_WIDEST: Final = 60
_NUMBERS: Final = (int, float)


def values_of(column: pa.Array | pa.ChunkedArray) -> list[Any]:  # values of any column
    """Return a column's values; times that Python cannot hold, outside the years 1 to 9999, as text.

    Example:
        >>> values_of(pa.array([253402300800, 0], pa.timestamp("s", "UTC")))
        ['10000-01-01 00:00:00Z', datetime.datetime(1970, 1, 1, 0, 0, tzinfo=...)]
    """
    try:
        found: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        found = [_value(scalar) for scalar in column]
    return found


def _value(scalar: pa.Scalar) -> Any:  # a value of any column
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.ListScalar):
        return [_value(part) for part in scalar.values]
    if isinstance(scalar, pa.StructScalar):
        return {name: _value(part) for name, part in scalar.items()}
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return scalar.cast(pa.string()).as_py()


def table_lines(table: pa.Table) -> Iterator[str]:
    """Give a table as lines: names, a rule, rows; numbers to the right, times as short as all of the column allow.

    Example:
        >>> for line in table_lines(pa.table({"page": ["/a", "/b"], "n": [1, 20]})):
        ...     print(line)
        page   n
        ────  ──
        /a     1
        /b    20
    """
    columns = [_column(name, values_of(table[name])) for name in table.column_names]
    widths = [max(map(len, cells)) for cells, _ in columns]
    for index in range(table.num_rows + 1):
        yield _line([cells[index] for cells, _ in columns], widths, [right for _, right in columns])
        if index == 0:
            yield "  ".join("─" * width for width in widths)


def value_text(value: Any) -> str:  # a value of any column
    """Return a value as a person reads it.

    Example:
        >>> value_text(12.50), value_text(None), value_text(dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC))
        ('12.5', 'null', '2026-03-01 10:00:00')
    """
    return _texts([value])[0] if not isinstance(value, dt.datetime) else _time(value, "seconds")


def _column(name: str, values: Sequence[Any]) -> tuple[list[str], bool]:
    """Return a column's cells, its name first, and whether they belong to the right."""
    numbers = [value for value in values if value is not None]
    right = bool(numbers) and all(isinstance(v, _NUMBERS) and not isinstance(v, bool) for v in numbers)
    return [_clean(text) for text in (name, *_texts(values))], right


def _texts(values: Sequence[Any]) -> list[str]:
    times = [value for value in values if isinstance(value, dt.datetime)]
    exact = "minutes" if all(t.second == t.microsecond == 0 for t in times) else "seconds"
    if any(time.microsecond for time in times):
        exact = "microseconds"
    return [_time(value, exact) if isinstance(value, dt.datetime) else _text(value) for value in values]


def _text(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float() if math.isfinite(value) and 1e-4 <= abs(value) < 1e15:
            return f"{value:.4f}".rstrip("0").removesuffix(".") if value != int(value) else f"{value:.1f}"
        case dict():
            return "{" + ", ".join(f"{name}: {_text(part)}" for name, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(_text(part) for part in value) + "]"
        case bytes():
            return value.hex()
        case dt.datetime():
            return _time(value, "microseconds" if value.microsecond else "seconds")
        case _:
            return str(value)


def _time(value: dt.datetime, exact: str) -> str:
    return value.replace(tzinfo=None).isoformat(" ", exact)


def _clean(text: str) -> str:
    shown = "".join(char if char.isprintable() else "·" for char in text[: _WIDEST + 1])
    return shown if len(text) <= _WIDEST else shown[: _WIDEST - 1] + "…"


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    placed = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
    return "  ".join(placed).rstrip()
