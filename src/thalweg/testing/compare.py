"""Two tables compared as sets of rows, with room for the last bits of float sums only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

_SHOWN: Final = 8


def scale_of(batches: Iterable[pa.RecordBatch]) -> float:
    """Return the sum of the magnitudes of all finite numbers: what errors of float sums are measured by."""
    total = 0.0
    for batch in batches:
        for column in batch.columns:
            if t.is_floating(column.type) or t.is_integer(column.type):
                values = pc.abs(column.cast(pa.float64(), safe=False))
                finite = pc.if_else(pc.is_finite(values), values, 0.0)
                total += pc.sum(finite).as_py() or 0.0
    return total


def differences(
    left: pa.Table,
    right: pa.Table,
    key: Sequence[str] | None,
    scale: float,
    names: tuple[str, str] = ("one", "other"),
) -> list[str]:
    """Return lines that say how two tables of the same columns differ; none if they hold the same rows.

    Args:
        left: A table.
        right: Another.
        key: The columns that name a row, if any: they pair rows whose floats differ.
        scale: The sum of magnitudes that float errors are measured by.
        names: What to call the two.
    """
    one, other = _counted(left), _counted(right)
    missing, extra = list((one - other).elements()), list((other - one).elements())
    floats = [i for i, field in enumerate(left.schema) if t.is_floating(field.type)]
    if floats and len(missing) == len(extra):
        tolerance = 1e-9 * scale + 1e-14 * scale * scale
        missing, extra = _apart(missing, extra, floats, tolerance)
    lines = [f"  only in {names[0]}: {_shown(left, row)}" for row in missing[:_SHOWN]]
    lines += [f"  only in {names[1]}: {_shown(right, row)}" for row in extra[:_SHOWN]]
    left_out = len(missing) + len(extra) - len(lines)
    return [*lines, f"  and {left_out} more rows"] if left_out > 0 else lines


def consolidated(table: pa.Table, weight: str) -> pa.Table:
    """Return the rows that signed ones add up to, each as often as its weight says, without that column.

    Args:
        table: The rows.
        weight: The column that says how often a row was added, or withdrawn.
    """
    rows = table.drop_columns([weight])
    net: Counter[tuple[Any, ...]] = Counter()
    first: dict[tuple[Any, ...], int] = {}
    cells = [rows.column(name).to_pylist() for name in rows.column_names]
    for number, (by, *row) in enumerate(zip(table.column(weight).to_pylist(), *cells, strict=True)):
        key = tuple(_plain(value) for value in row)
        first.setdefault(key, number)
        net[key] += by
    return rows.take(pa.array([first[key] for key in net.elements()], pa.int64()))


def _apart(
    missing: list[tuple[Any, ...]], extra: list[tuple[Any, ...]], floats: Sequence[int], tolerance: float
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Pair rows that differ in floats alone, and there by less than the tolerance; return the rest."""
    by_rest: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in extra:
        by_rest.setdefault(_without(row, floats), []).append(row)
    alone = []
    for row in missing:
        near = by_rest.get(_without(row, floats), [])
        found = next((other for other in near if _close(row, other, floats, tolerance)), None)
        if found is None:
            alone.append(row)
        else:
            near.remove(found)
    return alone, [row for rows in by_rest.values() for row in rows]


def _close(one: tuple[Any, ...], other: tuple[Any, ...], floats: Sequence[int], tolerance: float) -> bool:
    for i in floats:
        a, b = one[i], other[i]
        if a == b:
            continue
        if not isinstance(a, float) or not isinstance(b, float):
            return False
        if not (math.isclose(a, b, rel_tol=1e-9, abs_tol=tolerance) and math.isfinite(a) and math.isfinite(b)):
            return False
    return True


def _without(row: tuple[Any, ...], floats: Sequence[int]) -> tuple[Any, ...]:
    return tuple(value for i, value in enumerate(row) if i not in floats)


def _counted(table: pa.Table) -> Counter[tuple[Any, ...]]:
    columns = [table.column(name).to_pylist() for name in table.column_names]
    return Counter(tuple(_plain(value) for value in row) for row in zip(*columns, strict=True))


def _plain(value: Any) -> Any:  # a cell of any type, as something that can be counted
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, list):
        return tuple(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return tuple((name, _plain(item)) for name, item in value.items())
    return value


def _shown(table: pa.Table, row: tuple[Any, ...]) -> str:
    return ", ".join(f"{name}={value!s}" for name, value in zip(table.column_names, row, strict=True))
