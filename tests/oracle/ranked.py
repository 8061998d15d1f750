"""What a top-k and the first row per key are, row at a time, from the definitions alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key, partial

from tests.oracle.values import Row, Value, canonical, order_key


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a top-k.

    Attributes:
        rows: How many rows of a key count.
        by: Columns; the greatest first, null last.
        reverse: Of each of them, whether the least comes first (null stays last).
        per: The key columns.
        columns: All columns, in schema order: where the rest ties, they decide.
    """

    rows: int
    by: tuple[str, ...]
    reverse: tuple[bool, ...]
    per: tuple[str, ...]
    columns: tuple[str, ...]


Timed = tuple[int, Row]
"""A row and its event time; where rows have none, any one time."""


def first_rows(order: Order, rows: Iterable[Timed]) -> list[dict[str, Value]]:
    """Return the first rows of each key with their ``rank``."""
    groups: dict[tuple[Hashable, ...], list[Timed]] = {}
    for time_us, row in rows:
        groups.setdefault(tuple(canonical(row[name]) for name in order.per), []).append((time_us, row))
    found: list[dict[str, Value]] = []
    for group in groups.values():
        group.sort(key=cmp_to_key(partial(_compared, order)))
        found += [{**row, "rank": rank} for rank, (_, row) in enumerate(group[: order.rows], start=1)]
    return found


def unranked(rows: Sequence[Mapping[str, Value]]) -> list[dict[str, Value]]:
    """Return rows without their rank, as ``dedupe`` gives them."""
    return [{name: value for name, value in row.items() if name != "rank"} for row in rows]


def _compared(order: Order, one: Timed, other: Timed) -> int:
    for name, upwards in zip(order.by, order.reverse, strict=True):
        a, b = one[1][name], other[1][name]
        if (a is None) != (b is None):
            return 1 if a is None else -1
        if less := _less(order_key(a), order_key(b)):
            return less if upwards else -less
    if less := _less((one[0],), (other[0],)):
        return less
    for name in order.columns:
        if less := _less(order_key(one[1][name]), order_key(other[1][name])):
            return less
    return 0


def _less(one: tuple[object, ...], other: tuple[object, ...]) -> int:
    return -1 if one < other else int(other < one)
