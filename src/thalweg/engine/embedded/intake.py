"""The intake of one source: its partitions, their watermarks, and batches gathered until they are worth a step.

A source's batches wait here, unread, as long as nothing downstream could emit because of them: no
window's end was passed, nothing eager reads them, and they are few and young. Since no result depends
on where batches are cut, gathering is free; it lets a stream of tiny batches run nearly as fast as one
of large ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal

import polars as pl
import pyarrow as pa

from thalweg.columnar.conform import Conformer
from thalweg.columnar.frames import to_frame
from thalweg.core.ports import Json, Narrowable, OpenSource, PartitionReader, SourceBatch
from thalweg.core.schema import Schema
from thalweg.engine.contract import TimeException, Until
from thalweg.engine.embedded.event_time import EventTime
from thalweg.engine.embedded.ledger import Entry
from thalweg.engine.embedded.rows import ALWAYS, LATE_REASONS, NEVER, ROW, TIME, WATERMARK, WHY, Origin, Rows
from thalweg.engine.embedded.stage import LateTest, RejectedRow
from thalweg.plan.expr import columns
from thalweg.plan.nodes import Read
from thalweg.plan.prune import Needed

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
        whole: Gives them with the columns that were not read; there where some were not.
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
    whole: Callable[[], pa.RecordBatch] | None = None

    def picked(self, names: Sequence[str]) -> pa.RecordBatch:
        """Return some columns."""
        data = self.data
        if self.whole is not None and any(name in self.batch.left_out for name in names):
            data = self.whole()
        return data if data.schema.names == names else data.select(names)


@dataclass(frozen=True, slots=True)
class Door:
    """What rows pass on their way in.

    Attributes:
        conformer: Brings them to the schema.
        schema: The schema; of the columns that were read.
        loose: Whether rows of the right types need no further look, as nothing is ruled out.
        time: Finds their event times; None without.
    """

    conformer: Conformer
    schema: pa.Schema
    loose: bool
    time: EventTime | None


def door(read: Read, left_out: Collection[str] = ()) -> Door:
    """Return what the rows of a source pass of which some columns were not read."""
    schema = Schema(tuple(field for field in read.schema if field.name not in left_out))
    time = EventTime(replace(read, schema=schema)) if read.time is not None else None
    # A schema without rules and null checks needs no look at rows of the right types.
    return Door(Conformer(schema), schema.arrow, all(f.nullable and not f.rules for f in schema), time)


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
        needed: The columns that can be seen of its rows; None for all.
        partitions: By name.
        exceptions: What was recorded of idle and new partitions.
        row_bytes: What a row of the last step had on average.
    """

    read: Read
    entry: Entry
    source: OpenSource | None
    late_tests: Sequence[LateTest]
    eager: bool
    numbered: bool
    number: int
    timed: bool = True
    needed: Needed | None = None
    partitions: dict[str, Partition] = field(default_factory=dict)
    exceptions: list[TimeException] = field(default_factory=list)
    replayed: Sequence[TimeException] = ()
    rejected: list[RejectedRow] = field(default_factory=list)
    row_bytes: int = 0
    _pending: list[Pending] = field(default_factory=list)
    _rows: int = 0
    _bytes: int = 0
    _last: int = NEVER
    _doors: dict[tuple[str, ...], Door] = field(default_factory=dict)
    _time: str | None = None
    _narrow: list[str] = field(default_factory=list)
    _wide: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = self.read.schema.names
        self._doors[()] = whole = door(self.read)
        if whole.time is not None and whole.time.column is not None:
            self._time = names[whole.time.column]
        live = Needed(frozenset(names), frozenset(names)) if self.needed is None else self.needed
        timed = {self._time} if self.timed else set()
        self._narrow = [name for name in names if name in live.columns or name in timed]
        self._wide = [name for name in names if name in live.if_late or name in timed]

    def open(self) -> OpenSource:
        """Start to read the source; columns that nobody sees are left out, where it can."""
        read, source = self.read, self.read.source
        if len(self._narrow) == len(read.schema.names) or not isinstance(source, Narrowable):
            return source.open(read.schema)
        return source.open_narrow(read.schema, {*self._narrow, *(columns(read.time) if read.time is not None else ())})

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

    def look_for_idle(self, now_s: float, *, paused: bool) -> None:
        """Let partitions that have been silent for long enough no longer hold the watermark.

        Args:
            now_s: The time (monotonic).
            paused: Whether nothing is read at the moment: when nobody listens, that is no silence.
        """
        timeout = self.read.idle_timeout_us
        if timeout is None or not self.read.timed:
            return
        for partition in self.partitions.values():
            if paused:
                partition.last_read_s = now_s
            silent = now_s - partition.last_read_s >= timeout / 1e6
            if silent and partition.caught_up and not partition.done:
                partition.idle = True

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
            whole = None if batch.whole is None else partial(_sliced, batch.whole, start, stop - start)
            data = batch.data.slice(start, stop - start)
            piece = SourceBatch(data, batch.position, locate, left_out=batch.left_out, whole=whole)
            self._offer_decoded(partition, piece)
            start = stop

    def _offer_decoded(self, partition: Partition, batch: SourceBatch) -> None:
        entry = self.entry
        data, rows = batch.data, None
        partition.rows += data.num_rows
        passed = self._door(batch)
        if not (passed.loose and data.schema.equals(passed.schema)):
            conformed = passed.conformer.conform(data)
            if conformed.bad:
                frame = to_frame(data if batch.whole is None else batch.whole())
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
        time = self._door(batch).time
        if time is not None:
            timed = time.of(data, partition.running_max)
            full = data if batch.whole is None or not timed.bad else self._whole(batch, rows)
            for number, reason in timed.bad:
                row = number if rows is None else rows[number]
                whole = to_frame(full.slice(number, 1))
                self.rejected.append(RejectedRow(batch.locate(row), reason, whole))
            self.entry.rejected += len(timed.bad)
            if timed.rows is not None:
                rows = timed.rows if rows is None else [rows[i] for i in timed.rows]
            data, times, low, high = timed.data, timed.times, timed.low, timed.high
            if not data.num_rows:
                return
        self.entry.passed += data.num_rows
        self.entry.rows_out += data.num_rows
        full_rows = None if batch.whole is None else partial(self._whole, batch, rows)
        before, floor, why = partition.running_max, partition.floor, partition.why
        self._pending.append(Pending(partition, batch, data, times, before, floor, why, low, high, rows, full_rows))
        partition.running_max = max(partition.running_max, high) if time is not None else NEVER
        self._rows += data.num_rows
        self._bytes += data.nbytes

    def _door(self, batch: SourceBatch) -> Door:
        found = self._doors.get(batch.left_out)
        if found is None:
            found = self._doors[batch.left_out] = door(self.read, batch.left_out)
        return found

    def _whole(self, batch: SourceBatch, rows: Sequence[int] | None) -> pa.RecordBatch:
        """Return rows of a batch, none of which the schema rejects, with the columns that were not read."""
        assert batch.whole is not None, "asked for only where columns were left out"
        data = batch.whole()
        if rows is not None:
            data = data.take(pa.array(rows, pa.int64()))
        return self._doors[()].conformer.conform(data).data

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

    def ended(self, until: Until | None) -> bool:
        """Return whether all is read that a run up to some end reads."""
        # A source that ends by itself is read to its end; of the others what is there now is all.
        now = until == "caught-up" or (until == "end" and not self.read.source.final)
        return all(p.exhausted or (now and p.caught_up) for p in self.partitions.values())

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

    def take(self) -> Rows | None:
        """Return all that waits."""
        if not self._pending:
            return None
        pending, self._pending = self._pending, []
        self.row_bytes = self._bytes // self._rows
        self._rows = self._bytes = 0
        # Rows of one partition side by side, so that running maxima go over whole runs.
        pending.sort(key=lambda p: p.partition.name)
        frame = _frame(pending, self._narrow)
        if self.read.time is None:
            return Rows(self._with_numbers(frame), origin=_origin(pending))
        low, high = min(p.low for p in pending), max(p.high for p in pending)
        if not self.timed:
            return Rows(self._with_numbers(frame), low, high, _origin(pending))
        times = self._times(frame, pending).alias(TIME)
        beside = [times]
        if self._late_possible(pending):
            marks = _watermarks(times, pending, self.read.lateness_us)
            # A row that is late for anything lies behind its watermark.
            if (times < marks[0]).any():
                beside += marks
                if len(self._narrow) < len(self._wide):
                    frame = _frame(pending, self._wide)  # late rows are shown whole
        frame = frame.hstack(beside)
        if len(beside) > 1 or self.numbered:
            frame = self._numbered(frame)
        return Rows(frame, low, high, _origin(pending))

    def _with_numbers(self, frame: pl.DataFrame) -> pl.DataFrame:
        return self._numbered(frame) if self.numbered else frame

    def _numbered(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.hstack([pl.int_range(frame.height, dtype=pl.Int64, eager=True).alias(ROW)])

    def _times(self, frame: pl.DataFrame, pending: Sequence[Pending]) -> pl.Series:
        if self._time is not None:
            return frame.get_column(self._time).cast(pl.Int64)
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
    parts: list[pl.Series] = []
    floors = any(p.floor != NEVER for p in pending)
    reasons: list[pl.Series] = []
    start = 0
    for p in pending:
        height = p.data.num_rows
        # Minus infinity stays minus infinity.
        before = pl.Series([p.before if p.before != NEVER else NEVER + lateness_us], dtype=pl.Int64)
        marks = before.append(times[start : start + height - 1]).cum_max() - lateness_us
        if floors:
            reasons.append((marks < p.floor).cast(pl.UInt8) * p.why)
        parts.append(marks.clip(lower_bound=p.floor) if p.floor != NEVER else marks)
        start += height
    columns = [(parts[0] if len(parts) == 1 else pl.concat(parts)).alias(WATERMARK)]
    if floors:
        columns.append(pl.concat(reasons).cast(pl.UInt8).alias(WHY))
    return columns


def _frame(pending: Sequence[Pending], names: list[str]) -> pl.DataFrame:
    return to_frame(pa.Table.from_batches([p.picked(names) for p in pending]))


def _sliced(whole: Callable[[], pa.RecordBatch], start: int, rows: int) -> pa.RecordBatch:
    return whole().slice(start, rows)


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
