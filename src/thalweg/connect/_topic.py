"""Topics of the embedded log as a source and a sink."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, Literal, overload

import pyarrow as pa

from thalweg.core import places
from thalweg.core.errors import LogError, PlanError, SinkError, SourceError, near, short
from thalweg.core.ports import EpochWriter, Json, Nothing, OpenSource, PartitionReader, SourceBatch, WriteRequest
from thalweg.core.schema import Schema, schema_of
from thalweg.core.sink_record import SinkRecord, goes_on, may_apply
from thalweg.core.version import topic_of
from thalweg.log import Log, TopicReader
from thalweg.log import Topic as LogTopic
from thalweg.log.claims import Claim, Claims
from thalweg.log.evolution import is_widened
from thalweg.log.options import check_name

_DEFAULT_LOG: Final = str(places.LOG)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of an embedded log, to read or to write; made by ``topic``."""

    topic: str
    log: str = _DEFAULT_LOG
    like: str | None = None

    @property
    def name(self) -> str:
        """The topic's name."""
        return self.topic

    @property
    def final(self) -> bool:
        """A row can be appended at any time."""
        return False

    @property
    def prefetch(self) -> bool:
        """Rows are mapped from the file, but checking and waiting are work."""
        return True

    @property
    def changes(self) -> Literal["refused"]:
        """A topic is only added to."""
        return "refused"

    @property
    def target(self) -> str:
        """The topic's folder, absolute."""
        return str(Path(self.log, self.topic).absolute())

    @property
    def recorded(self) -> str:
        """Each partition has the rows and their epoch in one frame."""
        return "frames carry their state and epoch"

    def beside(self, version: str) -> Topic:
        """Return the topic of a version: ``clicks.v2`` beside ``clicks``, made with its options."""
        return replace(self, topic=topic_of(self.topic, version), like=self.topic)

    def position_at(self, partition: str, time_us: int) -> Json:
        """Return the offset of the first row that was appended at a time or after it."""
        try:
            return self._existing().offset_at(int(partition), time_us)
        except LogError as error:
            raise SourceError(f"{self.topic}[{partition}] cannot be read: {error}") from error

    def describe(self) -> str:
        """Return one line for the plan."""
        return f"topic({self.topic}{'' if self.log == _DEFAULT_LOG else f', log={self.log}'})"

    def schema(self) -> Schema:
        """Return the topic's schema, with its rules.

        Raises:
            SourceError: There is no such topic, or it cannot be read.
        """
        return self._existing().schema

    def check_read(self, schema: Schema) -> None:
        """Raise where the topic's rows cannot have a schema; a topic that is not there yet says nothing.

        Raises:
            PlanError: The topic lacks a column, or has one of another type.
        """
        if (found := self._found()) is None:
            return
        for field in schema:
            if field.name not in found.schema:
                raise PlanError(
                    f'the topic "{self.topic}" has no column "{field.name}"; {near(field.name, found.schema.names)}'
                )
            has = found.schema[field.name].type
            if not is_widened(has, field.type):
                raise PlanError(
                    f'the topic "{self.topic}" has the column "{field.name}" as {has}, the program declares '
                    f"{field.type}; declare {has} and cast it in the program"
                )

    def check_write(self, schema: Schema) -> None:
        """Raise where rows of a schema cannot be appended to the topic; one that is not there yet will be made.

        A stream that fitted the topic before it evolved still does.

        Raises:
            PlanError: The topic has other columns, or allows no nulls where the stream may have some.
        """
        if (found := self._found()) is not None and (difference := _difference(found, schema)) is not None:
            raise PlanError(f'the stream cannot be written to the topic "{self.topic}": {difference}')

    @overload
    def open(self, schema: Schema, /) -> OpenSource: ...

    @overload
    def open(self, schema: WriteRequest, /) -> EpochWriter: ...

    def open(self, schema: Schema | WriteRequest, /) -> OpenSource | EpochWriter:
        """Start to read rows of a schema, or to write what is requested.

        Raises:
            SourceError: There is no such topic.
            SinkError: The topic cannot be made or written.
        """
        if isinstance(schema, WriteRequest):
            return _writer(self, schema)
        return _OpenTopic(self._existing(), schema)

    def _found(self) -> LogTopic | None:
        log = Log(self.log)
        return log.topic(self.topic) if self.topic in log.topics() else None

    def _existing(self) -> LogTopic:
        try:
            log = Log(self.log)
            names = log.topics()
            if self.topic in names:
                return log.topic(self.topic)
        except LogError as error:
            raise SourceError(f"{self.describe()} cannot be read: {error}") from error
        raise SourceError(
            f'there is no topic "{self.topic}" in {self.log}; {near(self.topic, names)}. To make it: '
            f"thalweg topic create {self.topic} --schema PROGRAM.py:CLASS"
        )


class _OpenTopic:
    def __init__(self, topic: LogTopic, schema: Schema) -> None:
        self._topic = topic
        self._columns = list(schema.names)
        self._ends: Sequence[int] | None = None

    def bound(self, *, complete: bool) -> None:
        """End at what is there now: others may append faster than it is read."""
        try:
            self._ends = [self._topic.end(number) for number in range(self._topic.options.partitions)]
        except LogError as error:
            raise SourceError(str(error)) from error

    def partitions(self) -> Sequence[str]:
        return [str(number) for number in range(self._topic.options.partitions)]

    def reader(self, partition: str, position: Json) -> PartitionReader:
        topic, number = self._topic, int(partition)
        if not (position is None or (isinstance(position, int) and not isinstance(position, bool))):
            raise SourceError(f"{topic.name}[{partition}] cannot be read from {position!r}; a position is an offset")
        try:
            start = topic.start(number) if position is None else position
            end = topic.end(number)
            if start > end:
                raise SourceError(
                    f"{topic.name}[{partition}] ends at offset {end}, and was read up to {start} before: it was "
                    "deleted and made anew, or is an older copy. Restore the one that was read, or start anew with "
                    "another data="
                )
            reader = topic.reader(number, start, columns=self._columns)
        except LogError as error:
            raise SourceError(f"{topic.name}[{partition}] cannot be read: {error}") from error
        return _Reader(reader, f"{topic.name}:{partition}", None if self._ends is None else self._ends[number])

    def replay(self, partition: str, position: Json) -> PartitionReader:
        reader = self.reader(partition, position)  # raises if the topic ends before it
        reader.close()
        try:
            start = self._topic.start(int(partition))
        except LogError as error:
            raise SourceError(f"{self._topic.name}[{partition}] cannot be read: {error}") from error
        if start > 0:
            raise SourceError(
                f"{self._topic.name}[{partition}] starts at offset {start} now; what was before was trimmed"
            )
        return self.reader(partition, 0)

    def close(self) -> None:
        """Readers are closed by their owners."""
        self._topic.close()


class _Reader:
    """Reads one partition; up to an offset, where one is given."""

    def __init__(self, reader: TopicReader, place: str, end: int | None) -> None:
        self._reader = reader
        self._place = place
        self._end = end

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        first, end = self._reader.offset, self._end
        if end is not None and first >= end:
            return Nothing.EVER
        try:
            batch = self._reader.read(max_rows if end is None else min(max_rows, end - first), timeout_s)
        except LogError as error:
            raise SourceError(str(error)) from error
        if batch is None:
            return Nothing.NOW if end is None else Nothing.EVER
        return SourceBatch(batch, self._reader.offset, self._locate(first, batch.num_rows))

    def _locate(self, first: int, rows: int) -> Callable[[int], str]:
        if self._reader.offset - first == rows:
            return partial(_located, self._place, range(first, first + rows))
        # Some rows of a compacted topic are gone. The next read forgets where these are.
        return partial(_located, self._place, array("q", map(self._reader.row_offset, range(rows))))

    def close(self) -> None:
        self._reader.close()


class _Writer:
    """Appends an epoch's rows in frames that carry the state's id and the epoch.

    Which state, and which start on it, the topic takes is claimed in the topic. A run without a state claims nothing
    and adds its rows to whatever is there.
    """

    def __init__(self, topic: LogTopic, request: WriteRequest) -> None:
        self._topic = topic
        self._request = request
        self._target = f'the topic "{topic.name}"'
        self._writer = f"{request.app}/{request.run}"
        # Where several states may write beside each other, each has a claim of its own.
        self._name = self._writer if request.foreign == "joined" else request.app
        self._own = self._claimed() if request.term else SinkRecord(request.app, request.run, 0, self._last())

    def last_epoch(self) -> int:
        return self._own.epoch

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        tables = list(rows)
        # An epoch without rows is recorded too: the state counts it among those that the topic has.
        table = pa.concat_tables(tables) if tables else self._topic.schema.arrow.empty_table()
        try:
            with self._topic.claims() as claims:
                found = self._found(claims) if self._request.term else self._own
                if may_apply(found, self._own, epoch, previous, self._target):
                    self._topic.append_epoch(self._writer, epoch, table)
                    self._own = replace(self._own, epoch=epoch)
        except LogError as error:
            raise SinkError(str(error)) from error

    def close(self) -> None:
        self._topic.close()

    def _claimed(self) -> SinkRecord:
        """Make the topic this start's, or refuse to; return what it has of this state."""
        request, topic = self._request, self._topic
        try:
            with topic.claims() as claims:
                found = self._found(claims)
                if not goes_on(found, request, self._target, empty=True) and found is not None:
                    for partition in range(topic.options.partitions):
                        topic.trim(topic.end(partition), partition)
                claims.claim(self._name, Claim(request.run, request.term))
                return SinkRecord(request.app, request.run, request.term, self._last())
        except LogError as error:
            raise SinkError(str(error)) from error

    def _found(self, claims: Claims) -> SinkRecord | None:
        """Return whose output the topic has under this name."""
        claim, last = claims.of(self._name), self._last()
        if claim is None:
            return SinkRecord(self._request.app, self._request.run, 0, last) if last else None
        return SinkRecord(self._request.app, claim.run, claim.term, last)

    def _last(self) -> int:
        return self._topic.last_epoch(self._writer)


def _writer(target: Topic, request: WriteRequest) -> _Writer:
    schema = schema_of(request.schema)
    try:
        log = Log(target.log)
        found = log.topic(target.topic) if target.topic in log.topics() else _made(log, target, schema)
    except LogError as error:
        raise SinkError(f"{target.describe()} cannot be written: {error}") from error
    # It may have been made since the program was built.
    if (difference := _difference(found, schema)) is not None:
        raise SinkError(f"{target.describe()} cannot be written: {difference}")
    return _Writer(found, request)


def _made(log: Log, target: Topic, schema: Schema) -> LogTopic:
    """Make a topic, with the options of the one that it stands beside, if there is one."""
    if target.like is None or target.like not in log.topics():
        return log.create(target.topic, schema)
    given = log.topic(target.like).options
    return log.create(
        target.topic,
        schema,
        given.partitions,
        given.key,
        time=given.time,
        id=given.id,
        id_within=timedelta(microseconds=given.id_within_us),
        retention=None if given.retention_us is None else timedelta(microseconds=given.retention_us),
        retention_bytes=given.retention_bytes,
        compact=given.compact,
        segment_bytes=given.segment_bytes,
        drift=given.drift,
    )


def _difference(topic: LogTopic, stream: Schema) -> str | None:
    """Return why a stream's rows are none of a topic's; None where they are, or were before it evolved."""
    if any(_difference_from(schema, stream) is None for schema in topic.history):
        return None
    return _difference_from(topic.schema, stream)


def _difference_from(topic: Schema, stream: Schema) -> str | None:
    given = {field.name: field for field in stream}
    for field in topic:
        if field.name not in given:
            what = f'it has no column "{field.name}"'
        elif given[field.name].type != field.type:
            what = f'it has "{field.name}" as {given[field.name].type}, the topic as {field.type}'
        elif given[field.name].nullable and not field.nullable:
            what = f'"{field.name}" may be null in it, but never in the topic: fill_null() says what stands for null'
        else:
            continue
        break
    else:
        more = next((name for name in given if name not in topic), None)
        if more is None:
            return None
        what = f'it has the column "{more}", which the topic has not'
    return f"{what}; select the topic's columns ({topic}), or write to another topic"


def _located(place: str, offsets: Sequence[int], row: int) -> str:
    return f"{place}:{offsets[row]}"


def topic(name: str, log: str | os.PathLike[str] = _DEFAULT_LOG) -> Topic:
    """Return a topic of the embedded log, to read or to write.

    *Reading*: each of the topic's partitions is one; a position is an offset. Without ``schema=`` the
    rows have the topic's. A run that ends by itself reads what was there when it began. Where the topic evolves
    while it is read, added columns are left out; a value of a widened column that the schema's type cannot
    hold, or a null where it allows none, makes its row a rejected one. *Writing*: the
    topic is made, with one partition, where there is none; each checkpoint's rows are appended once,
    whatever crashes. A batch, or a run without state, appends its rows anew each time.

    Args:
        name: The topic's name.
        log: The log's folder.

    Raises:
        PlanError: The name cannot be a topic's.

    Example:
        >>> topic("clicks").describe()
        'topic(clicks)'
    """
    try:
        return Topic(check_name(name), os.fspath(log))
    except LogError as error:
        raise PlanError(f"topic({short(name)}): {error}") from error
