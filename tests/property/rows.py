"""Strategies for rows: columns with few values each, and times around the watermark.

A partition is drawn as one block of bytes, a few per row: that is fast, and shrinks to fewer rows, earlier
values and smaller moves in time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from hypothesis import strategies as st

from tests.oracle.formed import Session
from tests.oracle.values import Row, Value
from tests.oracle.windows import MONDAY_US, WEEK_US, Cumulating, Hopping, Read, Tumbling, Window
from tests.property.cases import Cuts
from tests.property.kinds import KINDS, LIKELY, ColumnKind

SECOND = 1_000_000
DAY = 86_400 * SECOND
TIME = "ts"
BASES = st.sampled_from([0, -5 * 60 * SECOND, 1_600_000_000 * SECOND, 1_700_000_000_123_456])
"""Where times begin: as microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a source.

    Attributes:
        kinds: The type of each, in schema order, the time column among them.
        pools: The values that each takes, but for the time.
        required: Those in which the schema allows no null.
    """

    kinds: Mapping[str, ColumnKind]
    pools: Mapping[str, Sequence[Value]]
    required: frozenset[str]

    @property
    def schema(self) -> pa.Schema:
        """The declared schema."""
        return pa.schema([pa.field(name, kind.type, name not in self.required) for name, kind in self.kinds.items()])


@st.composite
def columns(draw: st.DrawFn, names: Sequence[str] = ("a", "b", "c", "d")) -> Columns:
    """Draw the columns of a source: one to four, and the time at any place."""
    count = draw(st.integers(1, len(names)))
    kinds: dict[str, ColumnKind] = {name: KINDS[draw(st.sampled_from(LIKELY))] for name in names[:count]}
    pools: dict[str, Sequence[Value]] = {}
    required = set()
    for name, kind in kinds.items():
        values = st.one_of(st.sampled_from(kind.special), kind.general)
        pool = draw(st.lists(values, min_size=1, max_size=6))
        if pa.types.is_integer(kind.type) and draw(st.booleans()):
            pool += [draw(st.sampled_from(kind.special[4:6]))] * 2  # two of them overflow a sum of 64 bits
        nulls = draw(st.sampled_from(["allowed", "allowed", "absent", "forbidden", "broken"]))
        if nulls in ("forbidden", "broken"):
            required.add(name)
        # A broken rule is rare: one value in a pool that repeats the others.
        pools[name] = [*pool, None] if nulls == "allowed" else [*pool * 4, None] if nulls == "broken" else pool
    at = draw(st.integers(0, count))
    if draw(st.booleans()):
        required.add(TIME)
    ordered = list(kinds.items())
    ordered.insert(at, (TIME, KINDS["timestamp"]))
    return Columns(dict(ordered), pools, frozenset(required))


@st.composite
def reads(
    draw: st.DrawFn,
    given: Columns,
    window: Window | Session,
    *,
    max_rows: int = 60,
    least_rows: int = 0,
    max_partitions: int = 4,
    base_us: int | None = None,
) -> tuple[Read, tuple[Cuts, ...]]:
    """Draw a source and its cuts; times are disordered on the scale of a window and of the lateness.

    Times begin at ``base_us``, or anywhere. ``least_rows`` and ``max_rows`` are shared by the partitions.
    """
    every_us, size_us = scale(window)
    lateness_us = draw(st.sampled_from([0, 1, every_us // 2, every_us, size_us, 3 * size_us]))
    moves = _moves(every_us, size_us, lateness_us)
    partitions = draw(st.integers(1, max_partitions))
    if base_us is None:
        base_us = draw(BASES)
    found: list[tuple[Row, ...]] = []
    cuts: list[Cuts] = []
    for _ in range(partitions):
        rows = draw(_rows(given, moves, base_us, least_rows // partitions, max_rows // partitions))
        found.append(rows)
        cuts.append(draw(cut(len(rows))))
    max_jump_us = draw(st.sampled_from([None, None, None, 2 * size_us]))
    read = Read(tuple(given.kinds), TIME, tuple(found), lateness_us, given.required, max_jump_us)
    return read, tuple(cuts)


def cut(rows: int) -> st.SearchStrategy[Cuts]:
    """Return a strategy for where rows are cut into batches."""
    return st.lists(st.integers(0, rows), max_size=4).map(lambda at: tuple(sorted(at)))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Draw a window of any kind; a size need not be a multiple of its step."""
    unit = draw(st.sampled_from([SECOND, 60 * SECOND, 1, 1000]))
    every = draw(st.sampled_from([1, 3, 10, 7])) * unit
    kind = draw(st.sampled_from(["tumbling", "hopping", "cumulating", "week"]))
    if kind == "week":
        return Tumbling(WEEK_US, draw(st.sampled_from([0, 3600 * SECOND])))
    offset = draw(st.sampled_from([0, 0, 1, every // 3, -unit, 2 * every + 1]))
    times = draw(st.integers(1, 5))
    if kind == "tumbling":
        return Tumbling(every * times, offset)
    if kind == "cumulating":
        return Cumulating(every * times, every, offset)
    more = draw(st.sampled_from([0, every // 3, every // 2, every - 1]))
    return Hopping(max(1, every * (times - 1) + more), every, offset)


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    """Draw a session window."""
    return Session(draw(st.sampled_from([1, 3, 10, 7])) * draw(st.sampled_from([SECOND, 60 * SECOND, 1, 1000])))


def scale(window: Window | Session) -> tuple[int, int]:
    """Return a window's step and size."""
    if isinstance(window, Session):
        return window.gap_us, 3 * window.gap_us
    assert isinstance(window, (Tumbling, Hopping, Cumulating))
    return (window.size_us if isinstance(window, Tumbling) else window.every_us), window.size_us


Move = Callable[[int], int | None]
"""Gives the next time from the greatest so far."""


def _moves(every_us: int, size_us: int, lateness_us: int) -> list[Move]:
    """Return ways to the next time, the tamest first."""

    def by(delta_us: int) -> Move:
        return lambda greatest: greatest + delta_us

    def edge(ahead_us: int, delta_us: int) -> Move:
        # MONDAY_US is a multiple of every step but a week's; an edge that is none is a time like any other.
        return lambda greatest: (greatest + ahead_us - MONDAY_US) // every_us * every_us + MONDAY_US + delta_us

    moves = [by(delta) for delta in (0, 1, max(1, every_us // 3), -1, every_us, -every_us, size_us)]
    moves += [edge(every_us, delta) for delta in (0, -1, 1)]
    moves += [by(-lateness_us + delta) for delta in (0, -1, 1, -every_us, -size_us, -size_us - 1, -size_us + 1)]
    moves += [by(-(lateness_us + size_us) // 2), by(-lateness_us - 2 * size_us), by(every_us // 2)]
    return [*moves, by(DAY), lambda greatest: None]


@st.composite
def _rows(
    draw: st.DrawFn, given: Columns, moves: Sequence[Move], base_us: int, least: int, most: int
) -> tuple[Row, ...]:
    count = draw(st.integers(least, most))
    width = 1 + len(given.pools)
    block = draw(st.binary(min_size=count * width, max_size=count * width))
    rows: list[Row] = []
    greatest = base_us
    for start in range(0, count * width, width):
        move, *picks = block[start : start + width]
        time_us = moves[move % len(moves)](greatest)
        greatest = greatest if time_us is None else max(greatest, time_us)
        values = {name: pool[pick % len(pool)] for (name, pool), pick in zip(given.pools.items(), picks, strict=True)}
        rows.append({name: time_us if name == TIME else values[name] for name in given.kinds})
    return tuple(rows)
