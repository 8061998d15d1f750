"""Joins in event time, row at a time, from the definitions alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.oracle.values import Row, Value, canonical, tie_key
from tests.oracle.windows import Read, Span, Window, events, split

How = Literal["inner", "left", "right", "full", "semi", "anti"]


@dataclass(frozen=True, slots=True)
class Timed:
    """A row and its event time."""

    time_us: int
    row: Row


@dataclass(frozen=True, slots=True)
class Table:
    """One side of a join: rows that are in time, and their columns."""

    columns: tuple[str, ...]
    rows: tuple[Timed, ...]


LateRows = Counter[tuple[int, int, int | None]]
"""Partition, time and watermark of each row that came too late."""


def in_time(read: Read) -> tuple[Table, LateRows, int]:
    """Return a source's rows that are not late, the late ones, and how many rows are rejected."""
    found, rejected = events(read)
    late: LateRows = Counter()
    rows = []
    for event in found:
        if event.watermark_us is not None and event.time_us < event.watermark_us:
            late[(event.partition, event.time_us, event.watermark_us)] += 1
        else:
            rows.append(Timed(event.time_us, event.row))
    return Table(read.columns, tuple(rows)), late, rejected


def counted(read: Read, keys: Sequence[str], window: Window) -> Table:
    """Return how many rows each key has in each window, at the last instant of the window."""
    groups: dict[tuple[object, Span], tuple[Row, int]] = {}
    for event in events(read)[0]:
        for span in split(event, window)[0]:
            group = (tuple(canonical(event.row[key]) for key in keys), span)
            row, before = groups.get(group, (event.row, 0))
            groups[group] = (row, before + 1)
    rows = []
    for (_, (start, end)), (row, count) in groups.items():
        values: dict[str, Value] = {key: row[key] for key in keys}
        rows.append(Timed(end - 1, values | {"window_start": start, "window_end": end, "n": count}))
    return Table((*keys, "window_start", "window_end", "n"), tuple(rows))


def names_beside(left: Table, right: Table, keys: Sequence[str]) -> dict[str, str]:
    """Return the right side's columns but for the keys, and what they are called in the result."""
    return {name: f"{name}_right" if name in left.columns else name for name in right.columns if name not in keys}


def interval_join(left: Table, right: Table, keys: Sequence[str], how: How, within: tuple[int, int]) -> list[Timed]:
    """Return the join of two streams in which partners are not far apart; null agrees with nothing."""
    pairs = [
        (one, other)
        for one in left.rows
        for other in right.rows
        if within[0] <= other.time_us - one.time_us <= within[1] and _agree(one.row, other.row, keys)
    ]
    met_left, met_right = {id(one) for one, _ in pairs}, {id(other) for _, other in pairs}
    if how in ("semi", "anti"):
        return [one for one in left.rows if (id(one) in met_left) == (how == "semi")]
    beside = names_beside(left, right, keys)
    found = [
        Timed(max(one.time_us, other.time_us), {**one.row, **{new: other.row[old] for old, new in beside.items()}})
        for one, other in pairs
    ]
    if how in ("left", "full"):
        nothing = dict.fromkeys(beside.values())
        found += [Timed(one.time_us, {**one.row, **nothing}) for one in left.rows if id(one) not in met_left]
    if how in ("right", "full"):
        for other in right.rows:
            if id(other) not in met_right:
                row = {name: other.row[name] if name in keys else None for name in left.columns}
                found.append(Timed(other.time_us, {**row, **{new: other.row[old] for old, new in beside.items()}}))
    return found


def asof_join(left: Table, right: Table, keys: Sequence[str]) -> list[Timed]:
    """Return each row of the left side beside the greatest (time, row) of its key that is not later."""
    beside = names_beside(left, right, keys)
    found = []
    for one in left.rows:
        versions = [v for v in right.rows if v.time_us <= one.time_us and _agree(one.row, v.row, keys)]
        last = max(versions, key=lambda v: tie_key(v.time_us, v.row, right.columns), default=None)
        shown = {new: None if last is None else last.row[old] for old, new in beside.items()}
        found.append(Timed(one.time_us, {**one.row, **shown}))
    return found


def _agree(one: Row, other: Row, keys: Sequence[str]) -> bool:
    return all(one[key] is not None and canonical(one[key]) == canonical(other[key]) for key in keys)
