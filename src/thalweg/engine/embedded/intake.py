"""The intake of one source: its partitions, their watermarks, and batches gathered until they are worth a step.

A source's batches wait here, unread, as long as nothing downstream could emit because of them: no
window's end was passed, nothing eager reads them, and they are few and young. Since no result depends
on where batches are cut, gathering is free; it lets a stream of tiny batches run nearly as fast as one
of large ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

import polars as pl
import pyarrow as pa

from thalweg.columnar.conform import Conformer
from thalweg.columnar.frames import to_frame
from thalweg.core.ports import Json, OpenSource, PartitionReader, SourceBatch
from thalweg.engine.contract import TimeException
from thalweg.engine.embedded.event_time import EventTime
from thalweg.engine.embedded.ledger import Entry
from thalweg.engine.embedded.rows import ALWAYS, LATE_REASONS, NEVER, ROW, TIME, WATERMARK, WHY, Origin, Rows
from thalweg.engine.embedded.stage import LateTest, RejectedRow
from thalweg.plan.nodes import Read

STEP_ROWS: Final = 262_144
"""Rows that a step takes from a partition at the most, if nothing else is asked for and something below keeps rows."""
MOST_STEP_ROWS: Final = 2_097_152
"""The same where nothing below keeps rows; so many fill two cores."""
STEP_BYTES: Final = 64 * 2**20
"""Bytes that a step of more than STEP_ROWS may have."""

PARTITION: Final = "redriven"
"""The name of the partition that rows are of which are sent again after they were rejected."""

GATHER_ROWS: Final = 65_536
GATHER_BYTES: Final = 16 * 2**20


@dataclass(slots=True)
class Pending:
    """A batch that waits.

    Attributes:
        partition: Where it came from.
        batch: The rows as the source gave them, for their places.
        data: The rows to process.
        times: Their times, where they are not a column.
        before: The partition's running maximum before them.
        floor: What the watermark was held up to for them by an exception.
        why: Which exception (index into LATE_REASONS).
        low: The least time.
        high: The greatest time.
        rows: Their numbers in ``batch``, where some were left out.
    """

    partition: Partition
    batch: SourceBatch
    data: pa.RecordBatch
    times: pl.Series | None
    before: int
    floor: int
    why: int
    low: int
    high: int
    rows: Sequence[int] | None


@dataclass(slots=True)
class Partition:
    """What is known of a partition.

    Attributes:
        name: Its name.
        reader: Where its rows come from.
        position: Where to read on.
        running_max: The greatest event time so far.
        floor: A lower bound of its watermark, set by an exception.
        why: Which exception (index into LATE_REASONS).
        rows: Rows decoded so far.
        read: Rows read so far, decoded or not.
        idle: Whether it stopped holding the watermark.
        slept: Whether it was idle when an earlier run ended: its next row wakes it, but until it is silent
            again it holds the watermark.
        last_read_s: When it last gave rows (monotonic).
        caught_up: Whether its last read gave nothing.
        done: Whether nothing can come any more: its watermark is plus infinity.
        exhausted: Whether it gives nothing more in this run.
    """

    name: str
    reader: PartitionReader | None = None
    position: Json = None
    running_max: int = NEVER
    floor: int = NEVER
    why: int = 0
    rows: int = 0
    read: int = 0
    idle: bool = False
    slept: bool = False
    last_read_s: float = 0.0
    caught_up: bool = False
    done: bool = False
    exhausted: bool = False

    def watermark(self, lateness_us: int) -> int:
        """Return the partition's current watermark."""
        if self.done:
            return ALWAYS
        own = self.running_max - lateness_us if self.running_max != NEVER else NEVER
        return max(own, self.floor)


@dataclass(slots=True)
class Intake:
    """One source of the plan while it is read.

    Attributes:
        read: The plan's node.
        entry: Its counts in the ledger.
        source: The open source; None until the run begins.
        late_tests: The tests for being late that its rows can reach without passing through state.
        eager: Whether something downstream wants every row at once.
        number: The read's number in the plan.
        numbered: Whether rows carry their number, for the places of rows that user code rejects.
        timed: Whether something downstream looks at the rows' event time.
        plain: Whether its rows reach only what holds few of them, so that a step may be large.
        partitions: By name.
        exceptions: What was recorded of idle and new partitions.
    """

    read: Read
    entry: Entry
    source: OpenSource | None
    late_tests: Sequence[LateTest]
    eager: bool
    numbered: bool
    number: int
    timed: bool = True
    plain: bool = False
    partitions: dict[str, Partition] = field(default_factory=dict)
    exceptions: list[TimeException] = field(default_factory=list)
    replayed: Sequence[TimeException] = ()
    rejected: list[RejectedRow] = field(default_factory=list)
    _pending: list[Pending] = field(default_factory=list)
    _rows: int = 0
    _bytes: int = 0
    _row_bytes: int = 0
    _last: int = NEVER
    _time: EventTime | None = None
    _conformer: Conformer | None = None
    _arrow: pa.Schema | None = None
    _loose: bool = False

    def __post_init__(self) -> None:
        self._time = EventTime(self.read) if self.read.time is not None else None
        self._conformer = Conformer(self.read.schema)
        self._arrow = self.read.schema.arrow
        # A schema without rules and null checks needs no look at rows of the right types.
        self._loose = all(f.nullable and not f.rules for f in self.read.schema)

    def offer(self, partition: Partition, batch: SourceBatch) -> int:
        """Take a batch of a partition; return how many rows it had, rejected ones included."""
        read = int(batch.data.num_rows) + len(batch.rejected)
        for bad in batch.rejected:
            self.rejected.append(RejectedRow(bad.place, bad.reason, bad.raw, bad.column))
        partition.position = batch.position
        partition.caught_up = False
        partition.read += read
        entry = self.entry
        entry.rows_in += read
        entry.pairs += read
        entry.rejected += len(batch.rejected)
        if self.replayed:
            self._offer_replayed(partition, batch)
        else:
            self._offer_decoded(partition, batch)
        return read

    def redriven(self, floor: int) -> Partition:
        """Return the partition of the rows that are sent again; to the watermark it is none."""
        partition = self.partitions.get(PARTITION)
        if partition is None:
            partition = self.partitions[PARTITION] = Partition(PARTITION, caught_up=True, done=True, exhausted=True)
        partition.floor, partition.why = max(partition.floor, floor), LATE_REASONS.index("new")
        return partition

    def hold_up(self, partition: Partition, floor: int, why: int) -> None:
        """Hold a partition's watermark up from here on, and record it."""
        if floor <= partition.watermark(self.read.lateness_us):
            return
        partition.floor, partition.why = floor, why
        reason: Literal["idle", "new"] = "idle" if LATE_REASONS[why] == "idle" else "new"
        self.exceptions.append(TimeException(self.number, partition.name, partition.rows, floor, reason))

    def _offer_replayed(self, partition: Partition, batch: SourceBatch) -> None:
        """Take a batch in pieces, cut where an exception was recorded."""
        start = 0
        rows = batch.data.num_rows
        while start < rows:
            stop = rows
            for known in self.replayed:
                if known.read == self.number and known.partition == partition.name:
                    if known.row == partition.rows:
                        self.hold_up(partition, known.floor, LATE_REASONS.index(known.why))
                    elif known.row > partition.rows:
                        stop = min(stop, start + known.row - partition.rows)
            locate = partial(_shifted, batch.locate, start)
            piece = SourceBatch(batch.data.slice(start, stop - start), batch.position, locate)
            self._offer_decoded(partition, piece)
            start = stop

    def _offer_decoded(self, partition: Partition, batch: SourceBatch) -> None:
        entry = self.entry
        data, rows = batch.data, None
        partition.rows += data.num_rows
        if not (self._loose and data.schema.equals(self._arrow)):
            assert self._conformer is not None
            conformed = self._conformer.conform(data)
            if conformed.bad:
                frame = to_frame(data)
                for row in conformed.bad:
                    whole = frame[row.row : row.row + 1]
                    self.rejected.append(RejectedRow(batch.locate(row.row), row.reason, whole, row.column))
                entry.rejected += len(conformed.bad)
                rows = None if conformed.rows is None else conformed.rows.to_pylist()
            data = conformed.data
        if data.num_rows:
            self._accept(partition, batch, data, rows)

    def _accept(
        self, partition: Partition, batch: SourceBatch, data: pa.RecordBatch, rows: Sequence[int] | None
    ) -> None:
        times, low, high = None, NEVER, ALWAYS
        if self._time is not None:
            timed = self._time.of(data, partition.running_max)
            for number, reason in timed.bad:
                row = number if rows is None else rows[number]
                whole = to_frame(data.slice(number, 1))
                self.rejected.append(RejectedRow(batch.locate(row), reason, whole))
            self.entry.rejected += len(timed.bad)
            if timed.rows is not None:
                rows = timed.rows if rows is None else [rows[i] for i in timed.rows]
            data, times, low, high = timed.data, timed.times, timed.low, timed.high
            if not data.num_rows:
                return
        self.entry.passed += data.num_rows
        self.entry.rows_out += data.num_rows
        self._pending.append(
            Pending(
                partition, batch, data, times, partition.running_max, partition.floor, partition.why, low, high, rows
            )
        )
        partition.running_max = max(partition.running_max, high) if self._time is not None else NEVER
        self._rows += data.num_rows
        self._bytes += data.nbytes

    def watermark(self) -> int | None:
        """Return the least watermark of the partitions that are not idle; None if those that could move are."""
        lateness = self.read.lateness_us
        awake, idle = [], False
        for partition in self.partitions.values():
            if partition.idle:
                idle = True
            else:
                awake.append(partition.watermark(lateness))
        if idle:
            awake = [mark for mark in awake if mark < ALWAYS]
            if not awake:
                return None
        if awake:
            self._last = max(self._last, min(awake))
        return self._last

    def restore(self, watermark: int, exceptions: Sequence[TimeException], partitions: Sequence[Sequence[Any]]) -> None:
        """Take the state of a checkpoint back."""
        self._last = watermark
        self.exceptions = list(exceptions)
        for name, position, running_max, floor, why, rows, idle, done, read in partitions:
            self.partitions[name] = Partition(
                name, None, position, running_max, floor, why, rows, read, slept=idle, done=done, exhausted=done
            )

    def saved(self) -> list[list[Any]]:
        """Return what a checkpoint keeps of its partitions; ``restore`` takes it back."""
        return [
            [p.name, p.position, p.running_max, p.floor, p.why, p.rows, p.idle or p.slept, p.done, p.read]
            for p in self.partitions.values()
            if p.name != PARTITION
        ]

    @property
    def last_watermark(self) -> int:
        """The watermark while some partition was awake."""
        return self._last

    @property
    def gathered(self) -> int:
        """Rows that wait."""
        return self._rows

    @property
    def full(self) -> bool:
        """Whether enough waits to be worth a step."""
        return self._rows >= GATHER_ROWS or self._bytes >= GATHER_BYTES

    @property
    def step_rows(self) -> int:
        """Rows that a step takes from a partition at the most, if nothing else is asked for.

        Where nothing below keeps rows it grows with a backlog, as a query costs about a millisecond beside its rows:
        up to half of what was read before, so that the first results come soon, and up to a bound in bytes.
        """
        if not self.plain:
            return STEP_ROWS
        fitting = min(STEP_BYTES // max(self._row_bytes, 1), MOST_STEP_ROWS)
        return max(STEP_ROWS, min(fitting, self.entry.rows_in // 2))

    def take(self) -> Rows | None:
        """Return all that waits."""
        if not self._pending:
            return None
        pending, self._pending = self._pending, []
        self._row_bytes = self._bytes // self._rows
        self._rows = self._bytes = 0
        # Rows of one partition side by side, so that running maxima go over whole runs.
        pending.sort(key=lambda p: p.partition.name)
        frame = to_frame(pa.Table.from_batches([p.data for p in pending]))
        if self._time is None:
            return Rows(self._with_numbers(frame), origin=_origin(pending))
        low, high = min(p.low for p in pending), max(p.high for p in pending)
        if not self.timed:
            return Rows(self._with_numbers(frame), low, high, _origin(pending))
        frame = frame.hstack([self._times(frame, pending).alias(TIME)])
        late = self._late_possible(pending)
        if late:
            frame = frame.hstack(_watermarks(frame.get_column(TIME), pending, self.read.lateness_us))
        if late or self.numbered:
            frame = self._numbered(frame)
        return Rows(frame, low, high, _origin(pending))

    def _with_numbers(self, frame: pl.DataFrame) -> pl.DataFrame:
        return self._numbered(frame) if self.numbered else frame

    def _numbered(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.hstack([pl.int_range(frame.height, dtype=pl.Int64, eager=True).alias(ROW)])

    def _times(self, frame: pl.DataFrame, pending: Sequence[Pending]) -> pl.Series:
        assert self._time is not None
        if self._time.column is not None:
            return frame.to_series(self._time.column).to_physical()
        parts = [p.times for p in pending if p.times is not None]
        return parts[0] if len(parts) == 1 else pl.concat(parts)

    def _late_possible(self, pending: Sequence[Pending]) -> bool:
        """Tell whether some row might be late for some window; if not, no row needs the test."""
        for p in pending:
            # No row's watermark_before exceeds the running maximum after the batch, less the lateness.
            highest = max(max(p.before, p.high) - self.read.lateness_us, p.floor)
            for test in self.late_tests:
                if test.first_end(p.low) <= highest:
                    return True
        return False


def _watermarks(times: pl.Series, pending: Sequence[Pending], lateness_us: int) -> list[pl.Series]:
    """Return each row's ``watermark_before``, and why it may be higher than its own partition's rows say.

    watermark_before(i) = max(event time of rows 0 … i-1 of its partition) − lateness
    """
    parts = []
    reasons = []
    start = 0
    for p in pending:
        height = p.data.num_rows
        own = times[start : start + height].cum_max().shift(1, fill_value=NEVER)
        own = own.clip(lower_bound=p.before) if p.before != NEVER else own
        # Minus infinity stays minus infinity.
        marks = pl.select(pl.when(own == NEVER).then(pl.lit(NEVER, pl.Int64)).otherwise(own - lateness_us)).to_series()
        held_up = marks < p.floor
        reasons.append(held_up.cast(pl.UInt8) * p.why)
        parts.append(marks.clip(lower_bound=p.floor) if p.floor != NEVER else marks)
        start += height
    columns = [pl.concat(parts).alias(WATERMARK)]
    if any(p.floor != NEVER for p in pending):
        columns.append(pl.concat(reasons).cast(pl.UInt8).alias(WHY))
    return columns


def _shifted(locate: Callable[[int], str], by: int, row: int) -> str:
    return locate(row + by)


def _origin(pending: Sequence[Pending]) -> Origin:
    def place(number: int) -> tuple[str, str]:
        for p in pending:
            if number < p.data.num_rows:
                return p.partition.name, p.batch.locate(number if p.rows is None else p.rows[number])
            number -= p.data.num_rows
        raise IndexError("no such row in this batch")

    return Origin(place)
