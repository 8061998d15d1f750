"""Nexmark: the events of an online auction house, made up as they are read.

Source: Tucker, Tufte, Papadimos and Maier, *NEXMark: A Benchmark for Queries over Data Streams*, 2008, and its
generator in Apache Beam. ``docs/reference/data.md`` states every distribution.
"""

from __future__ import annotations

import bisect
import datetime as dt
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from thalweg.connect._nexmark_order import Order
from thalweg.connect._nexmark_rows import SCHEMAS, SHARES, Table, World
from thalweg.core.clock import Clock, SystemClock
from thalweg.core.duration import duration_text, duration_us
from thalweg.core.errors import PlanError, SourceError, near
from thalweg.core.ports import Json, Nothing, PartitionReader, SourceBatch
from thalweg.core.schema import Schema

_MOST_ROWS = 1 << 16  # more in a read would leave the processor's cache, and be slower


@dataclass(frozen=True, slots=True)
class Nexmark:
    """Describes a source of Nexmark events.

    Attributes:
        table: ``persons``, ``auctions`` or ``bids``; None is all of them in one stream.
        events: How many there are over all three tables; None is without end.
        rate: Events per second of event time, over all three tables.
        seed: What they are drawn from.
        partitions: How many partitions share the table's rows, in turn.
        disorder_us: By how much an event may come after a later one, in microseconds.
        speed: Seconds of event time per second of the clock; None is as fast as they are read.
        clock: What the speed is kept by.
    """

    table: Table | None
    events: int | None
    rate: int
    seed: int
    partitions: int
    disorder_us: int
    speed: float | None
    clock: Clock = field(default_factory=SystemClock, compare=False, repr=False)

    @property
    def name(self) -> str:
        """``nexmark``, or the table's name after a dot."""
        return f"nexmark.{self.table}" if self.table else "nexmark"

    @property
    def final(self) -> bool:
        """Whether there is a last event."""
        return self.events is not None

    @property
    def prefetch(self) -> bool:
        """Making rows is work for a thread of its own."""
        return True

    def total_rows(self) -> int | None:
        """Return the rows of all partitions; None without end."""
        rows = [_order(self, partition).rows for partition in range(self.partitions)]
        return None if self.events is None else sum(count for count in rows if count is not None)

    def describe(self) -> str:
        """Return one line for the plan."""
        parts: list[str] = [self.table] if self.table else []
        parts += [f"events={self.events}"] if self.events is not None else []
        parts += [f"rate={self.rate}", f"seed={self.seed}"]
        parts += [f"partitions={self.partitions}"] if self.partitions > 1 else []
        parts += [f"disorder={duration_text(self.disorder_us)}"] if self.disorder_us else []
        parts += [f"speed={self.speed:g}"] if self.speed is not None else []
        return f"nexmark({', '.join(parts)})"

    def schema(self) -> pa.Schema:
        """Return the table's schema."""
        return SCHEMAS[self.table]

    def open(self, schema: Schema) -> _OpenNexmark:
        """Start to make rows; columns that the schema lacks are not made.

        Raises:
            SourceError: The schema has a column that the table lacks.
        """
        known = SCHEMAS[self.table].names
        for column in schema.names:
            if column not in known:
                raise SourceError(f'{self.describe()} has no column "{column}"; {near(column, known)}')
        return _OpenNexmark(self, pa.schema([SCHEMAS[self.table].field(name) for name in schema.names]))


def nexmark(
    table: Table | None = None,
    *,
    events: int | None = None,
    rate: int = 10_000,
    seed: int = 42,
    partitions: int = 1,
    disorder: str | dt.timedelta = "0s",
    speed: float | None = None,
) -> Nexmark:
    """Read the events of an online auction house: of every 50, one is a new person, three auctions and 46 bids.

    Shape: the columns of ``persons``, ``auctions`` or ``bids``, each with the event time ``date_time``; without a table
    one stream of all three, with ``event_type`` (person, auction, bid), ``date_time`` and the structs ``person``,
    ``auction`` and ``bid``, of which all but one are null. The tables of equal ``events``, ``rate`` and ``seed`` belong
    together: whom or what a row names exists at that time.

    Order and delivery: every row is a function of the arguments and of its place alone, on every machine and however
    it is read. Event time starts at 2015-07-15T00:00:00Z. With a ``disorder`` the same rows come in another order, none
    of them later than that after a row with a greater time.

    Args:
        table: ``"persons"``, ``"auctions"`` or ``"bids"``; by default all of them in one stream.
        events: How many events there are, over all three tables; by default they don't end.
        rate: Events per second of event time, over all three tables.
        seed: What they are drawn from.
        partitions: How many partitions share the table's rows, in turn.
        disorder: By how much an event may come too late: the ``lateness`` at which none of them is.
        speed: Seconds of event time per second of the clock, for live runs; by default as fast as they are read.

    Raises:
        PlanError: An argument is not allowed.

    Example:
        >>> nexmark("bids", events=1_000_000, disorder="3s").describe()
        'nexmark(bids, events=1000000, rate=10000, seed=42, disorder=3s)'
    """
    if table not in SHARES:
        names = [name for name in SHARES if name]
        raise PlanError(f"nexmark() has no table {table!r}; allowed: {', '.join(names)}, or none for all in one stream")
    _check_whole("events", events, 0, optional=True)
    _check_whole("rate", rate, 1)
    _check_whole("seed", seed, None)
    _check_whole("partitions", partitions, 1)
    disorder_us = duration_us(disorder, "disorder")
    return Nexmark(table, events, rate, seed, partitions, disorder_us, _checked_speed(speed))


def _check_whole(name: str, value: object, least: int | None, *, optional: bool = False) -> None:
    if optional and value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
        bound = "" if least is None else f" from {least} on"
        raise PlanError(f"nexmark() was given {name}={value!r}; allowed: a whole number{bound}")


def _checked_speed(speed: object) -> float | None:
    if speed is None:
        return None
    if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not 0 < speed < math.inf:
        raise PlanError(f"nexmark() was given the speed {speed!r}; allowed: a positive number, or None for no limit")
    return float(speed)


def _order(source: Nexmark, partition: int) -> Order:
    return Order(
        share=SHARES[source.table],
        events=source.events,
        rate=source.rate,
        seed=source.seed,
        partitions=source.partitions,
        partition=partition,
        disorder_us=source.disorder_us,
    )


class _OpenNexmark:
    def __init__(self, source: Nexmark, schema: pa.Schema) -> None:
        self._source = source
        self._schema = schema
        self._world = World(source.seed, source.rate)

    def partitions(self) -> Sequence[str]:
        return [str(number) for number in range(self._source.partitions)]

    def reader(self, partition: str, position: Json) -> PartitionReader:
        source = self._source
        if partition not in self.partitions():
            raise SourceError(
                f'{source.describe()} has no partition "{partition}"; {near(partition, self.partitions())}'
            )
        order = _order(source, int(partition))
        row = 0 if position is None else position
        if (
            not isinstance(row, int)
            or isinstance(row, bool)
            or row < 0
            or (order.rows is not None and row > order.rows)
        ):
            raise SourceError(
                f"partition {partition} of {source.describe()} cannot be read from the position {position!r}; allowed: "
                f"0 to {order.rows if order.rows is not None else 'any'}, the rows read"
            )
        return _NexmarkReader(source, self._schema, self._world, order, row)

    def replay(self, partition: str, position: Json) -> PartitionReader:
        at_once = replace(self._source, speed=None)
        return _NexmarkReader(at_once, self._schema, self._world, _order(at_once, int(partition)), 0)

    def close(self) -> None:
        """Nothing is held."""


class _NexmarkReader:
    """Makes one partition's rows; with a speed, those that have happened by now."""

    def __init__(self, source: Nexmark, schema: pa.Schema, world: World, order: Order, row: int) -> None:
        self._source = source
        self._schema = schema
        self._world = world
        self._order = order
        self._row = row
        self._closed = threading.Event()
        self._start_s = source.clock.monotonic_s()
        self._start_event = order.event(row)

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        rows = self._order.rows
        if rows is not None and self._row >= rows:
            return Nothing.EVER
        size = min(max_rows, _MOST_ROWS) if rows is None else min(max_rows, _MOST_ROWS, rows - self._row)
        if self._source.speed is not None:
            size = self._due(size, timeout_s, self._source.speed * self._source.rate)
            if not size:
                return Nothing.NOW
        first = self._row
        numbers = self._order.events_of(first, size)
        columns = self._world.columns(self._source.table, numbers, self._schema.names)
        self._row += size
        data = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        return SourceBatch(data, self._row, partial(_place, self._source.name, self._order.partition, first))

    def _due(self, most: int, timeout_s: float, events_per_s: float) -> int:
        """Return how many of the next rows have happened; where none has, wait for the first."""
        clock = self._source.clock
        happened = self._happened(most, events_per_s)
        if happened or timeout_s <= 0:
            return happened
        due_s = self._start_s + (self._order.event(self._row) - self._start_event) / events_per_s
        clock.wait(self._closed, max(0.0, min(timeout_s, due_s - clock.monotonic_s())))
        return self._happened(most, events_per_s)

    def _happened(self, most: int, events_per_s: float) -> int:
        passed_s = self._source.clock.monotonic_s() - self._start_s
        now = self._start_event + passed_s * events_per_s
        return bisect.bisect_right(range(self._row, self._row + most), now, key=self._order.event)

    def close(self) -> None:
        self._closed.set()


def _place(name: str, partition: int, first: int, index: int) -> str:
    return f"{name}[partition {partition}]:{first + index}"
