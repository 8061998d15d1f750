"""The ports: what a source and a sink are to the engine. Data is Arrow.

A source has partitions. Within a partition rows have an order and every cut between two rows has a
*position*, a JSON value that the source alone understands and from which it can read on. A sink gets
one Arrow table per step, or the tables of an epoch once its checkpoint is committed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import pyarrow as pa

from thalweg.core.schema import Schema

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that could not be decoded.

    Attributes:
        place: Where it stands, for people: ``clicks.ndjson:17``.
        reason: What is wrong with it and what was allowed.
        raw: The row as it was received, whole.
        column: The column at fault, where it is one.
    """

    place: str
    reason: str
    raw: bytes
    column: str | None = None


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """A run of rows of one partition.

    Attributes:
        data: The decoded rows, in the partition's order.
        position: Where to read on: after the last row of this batch, decoded or rejected.
        locate: Gives the place of row *i* of ``data``, for people.
        rejected: The rows in between that could not be decoded.
        left_out: The columns of the schema that were not read, as the source was asked; no row is rejected by them.
        whole: Gives the rows of ``data`` with these columns too; there where some were left out.
    """

    data: pa.RecordBatch
    position: Json
    locate: Callable[[int], str]
    rejected: Sequence[Rejected] = ()
    left_out: tuple[str, ...] = ()
    whole: Callable[[], pa.RecordBatch] | None = None


class Nothing(enum.Enum):
    """Why a read gave no batch."""

    NOW = "now"
    """Nothing is there now; more may come."""
    EVER = "ever"
    """The partition has given all that it will give in this run."""


class PartitionReader(Protocol):
    """Reads one partition, in order, from a position."""

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        """Return the next rows, at most ``max_rows`` (rejected ones count).

        Waits up to ``timeout_s`` for the first row; with 0 it returns at once.

        Raises:
            SourceError: The partition cannot be read on.
        """
        ...

    def close(self) -> None:
        """Give back what the reader holds."""
        ...


class OpenSource(Protocol):
    """A source that is being read."""

    def partitions(self) -> Sequence[str]:
        """Return the names of the partitions there are now; ones found before keep their names.

        A live run asks again from time to time, so that new partitions are found.
        """
        ...

    def reader(self, partition: str, position: Json) -> PartitionReader:
        """Return a reader of a partition from a position (None: its beginning)."""
        ...

    def close(self) -> None:
        """Give back what the source holds."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """An open source that asks to be told when a run ends by itself, before its partitions are asked for."""

    def bound(self, *, complete: bool) -> None:
        """End at what is there now; ``complete`` declares it to be all, as ``batch`` and ``until="end"`` do."""
        ...


@runtime_checkable
class Replayable(Protocol):
    """An open source that can give again what it gave: a changed program's new state is made from that."""

    def replay(self, partition: str, position: Json) -> PartitionReader:
        """Return a reader of a partition from its beginning: the same rows in the same order up to a position.

        What it gives after that is not asked for. It does not wait for a clock.

        Raises:
            SourceError: They are gone, or are not the same any more.
        """
        ...


@runtime_checkable
class Source(Protocol):
    """Describes where events come from; opening it does the first I/O beyond a look at the schema."""

    @property
    def name(self) -> str:
        """A short name for plans, reports and the test kit."""
        ...

    @property
    def final(self) -> bool:
        """Whether nothing can ever be added once it was read to its end (data in memory, generators)."""
        ...

    @property
    def prefetch(self) -> bool:
        """Whether reading waits for I/O or works hard, so that it belongs on a thread of its own."""
        ...

    def describe(self) -> str:
        """Return one line for the plan, such as ``files(clicks/*.ndjson)``."""
        ...

    def schema(self) -> pa.Schema | Schema | None:
        """Return the schema of the data, looking at it where needed; None if it must be declared.

        Raises:
            SourceError: The data cannot be looked at.
        """
        ...

    def open(self, schema: Schema) -> OpenSource:
        """Start to read.

        Batches have the schema's columns, or the source's own types for them: the engine casts what is
        typed; a source of text decodes to the schema's types itself.

        Raises:
            SourceError: The source cannot be opened.
        """
        ...


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """What a sink is about to get.

    Attributes:
        schema: The columns; a changing stream has ``_weight`` (int64) as the last one.
        changing: Whether rows can be withdrawn.
        key: The columns that name a row, where the plan knows them.
        epoch: The last epoch that the target has confirmed to this state, 0 for none: it must still have that.
        fresh: Whether the run starts from nothing and keeps no state (``batch``): the output is replaced.
        app: The app's name.
        run: The random id of the state that the rows come from; a new state has a new one.
        term: How many times a run was started on that state; a sink refuses one that is older than it knows. 0: the
            run keeps no state, so its output can be replaced, but not be gone on with.
        foreign: What becomes of a target that has the output of another state: the run is refused, the output is
            replaced, or (where targets allow for several writers) the run adds to it.
    """

    schema: pa.Schema
    changing: bool
    key: tuple[str, ...] | None
    epoch: int
    fresh: bool
    app: str = ""
    run: str = ""
    term: int = 0
    foreign: Literal["refused", "replaced", "joined"] = "refused"


@runtime_checkable
class StepWriter(Protocol):
    """Writes one output step by step, as soon as a step is done. All calls come from one thread.

    *Order and delivery*: at least once. The steps since the last checkpoint are written again by the
    run that goes on after a crash.
    """

    def write(self, rows: pa.Table) -> None:
        """Take the rows of one step.

        Raises:
            SinkError: They cannot be written.
        """
        ...

    def flush(self) -> None:
        """Hand on all that was written: a checkpoint comes."""
        ...

    def close(self) -> None:
        """Give back what the writer holds."""
        ...


@runtime_checkable
class EpochWriter(Protocol):
    """Writes one output epoch by epoch, and records in the target itself which it has. All calls come from one thread.

    *Order and delivery*: exactly once. An epoch is applied when its checkpoint is committed, again if nobody
    knows whether it was; rows and record become visible in one act, or in acts that can be finished later.
    The record and its rules are ``core.sink_record``: a writer claims its target when it is opened, and looks
    at the record again with each epoch.
    """

    def last_epoch(self) -> int:
        """Return the last epoch that the target has of this state; 0 for none.

        Raises:
            SinkError: The target cannot be asked.
        """
        ...

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        """Write an epoch's rows, whole or not at all; one that the target has already changes nothing.

        Args:
            epoch: The epoch.
            previous: The epoch before it that had rows for this target; 0 for none.
            rows: Its rows.

        Raises:
            SinkError: They cannot be written; the target has not the epoch before, knows a later start of the same
                state, or has another's output.
        """
        ...

    def close(self) -> None:
        """Give back what the writer holds."""
        ...


@runtime_checkable
class Rereadable(Protocol):
    """An epoch writer of a keyed table that can be read: where a step is rebuilt, it gets the difference."""

    def rows(self) -> Iterator[pa.Table]:
        """Return the rows of this output that the target has: the stream's columns, without a weight.

        Raises:
            SinkError: The target cannot be read.
        """
        ...


SinkWriter: TypeAlias = "StepWriter | EpochWriter"


@runtime_checkable
class Sink(Protocol):
    """Describes where results go."""

    @property
    def name(self) -> str:
        """A short name for plans and reports."""
        ...

    @property
    def changes(self) -> Literal["refused", "applied", "passed on"]:
        """What becomes of a changing stream.

        It is refused when the plan is built, applied to a keyed table, or passed on as signed rows.
        """
        ...

    @property
    def target(self) -> str | None:
        """The path or address that it writes to, to find a sink that writes into its own source."""
        ...

    def describe(self) -> str:
        """Return one line for the plan."""
        ...

    def open(self, request: WriteRequest) -> SinkWriter:
        """Start to write.

        Raises:
            SinkError: The target cannot be opened.
        """
        ...


@runtime_checkable
class Narrowable(Protocol):
    """A source that can leave columns unread."""

    def open_narrow(self, schema: Schema, columns: Collection[str]) -> OpenSource:
        """Start to read as ``open`` does, but leave out columns that cannot reject a row, but for some.

        Args:
            schema: What rows are decoded to.
            columns: The columns that are needed.

        Raises:
            SourceError: The source cannot be opened.
        """
        ...


@runtime_checkable
class Versioned(Protocol):
    """A sink that has a place of its own for each version of an app (see ``core.version``)."""

    def beside(self, version: str) -> Sink:
        """Return the sink of a version that is not the first."""
        ...


@runtime_checkable
class Timed(Protocol):
    """A source that knows when its rows came."""

    def position_at(self, partition: str, time_us: int) -> Json:
        """Return the position of a partition before the first row that came at a time or after it.

        Units: Microseconds since 1970.

        Raises:
            SourceError: The source cannot be asked.
        """
        ...


@runtime_checkable
class Recording(Protocol):
    """A sink whose writers record epochs in the target: each row is there once, whatever crashes."""

    @property
    def recorded(self) -> str:
        """How, in a few words for the plan: ``the epoch in the same transaction``."""
        ...


@runtime_checkable
class Redecodes(Protocol):
    """A source that can decode rows again which it gave as rejected."""

    def redecode(self, rows: Sequence[bytes], schema: Schema, place: Callable[[int], str]) -> SourceBatch:
        """Decode rows as they were received.

        Args:
            rows: Their bytes, as ``Rejected.raw`` has them.
            schema: What they are decoded to.
            place: Gives the place of a row's index, for people.
        """
        ...


@runtime_checkable
class Readable(Protocol):
    """A source that knows whether its data can have a declared schema."""

    def check_read(self, schema: Schema) -> None:
        """Raise where the data cannot have the schema.

        Raises:
            PlanError: It lacks a column, or has one of another type.
        """
        ...


@runtime_checkable
class Writable(Protocol):
    """A sink whose target has a schema of its own."""

    def check_write(self, schema: Schema) -> None:
        """Raise where rows of the schema cannot be written.

        Raises:
            PlanError: The target has other columns.
        """
        ...
