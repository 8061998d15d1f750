"""Topics of the embedded log as a source and a sink."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, overload

import pyarrow as pa

from thalweg.core.errors import LogError, PlanError, SinkError, SourceError, near
from thalweg.core.ports import EpochWriter, Json, Nothing, OpenSource, PartitionReader, SourceBatch, WriteRequest
from thalweg.core.schema import Schema, schema_of
from thalweg.log import Log, TopicReader
from thalweg.log import Topic as LogTopic

DEFAULT_LOG: Final = ".thalweg/log"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of an embedded log, to read or to write; made by ``topic``."""

    topic: str
    log: str = DEFAULT_LOG

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

    def describe(self) -> str:
        """Return one line for the plan."""
        return f"topic({self.topic}{'' if self.log == DEFAULT_LOG else f', log={self.log}'})"

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
            if has != field.type and not _widens(has, field.type):
                raise PlanError(
                    f'the topic "{self.topic}" has the column "{field.name}" as {has}, the program declares '
                    f"{field.type}; declare {has} and cast it in the program"
                )

    def check_write(self, schema: Schema) -> None:
        """Raise where rows of a schema cannot be appended to the topic; one that is not there yet will be made.

        Raises:
            PlanError: The topic has other columns.
        """
        if (found := self._found()) is None:
            return
        have = {field.name: field.type for field in found.schema}
        given = {field.name: field.type for field in schema}
        if have != given:
            wrong = next(name for name in [*given, *have] if have.get(name) != given.get(name))
            what = (
                f'"{wrong}" as {given.get(wrong, "no column")}, and the topic has {have.get(wrong, "no such column")}'
            )
            raise PlanError(
                f'the stream cannot be written to the topic "{self.topic}": it has {what}; select the topic\'s columns '
                f"({found.schema}), or write to another topic"
            )

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

    def partitions(self) -> Sequence[str]:
        return [str(number) for number in range(self._topic.options.partitions)]

    def reader(self, partition: str, position: Json) -> PartitionReader:
        topic, number = self._topic, int(partition)
        if not (position is None or (isinstance(position, int) and not isinstance(position, bool))):
            raise SourceError(f"{topic.name}[{partition}] cannot be read from {position!r}; a position is an offset")
        start = topic.start(number) if position is None else position
        try:
            return _Reader(topic.reader(number, start, columns=self._columns), f"{topic.name}:{partition}")
        except LogError as error:
            raise SourceError(f"{topic.name}[{partition}] cannot be read from offset {start}: {error}") from error

    def close(self) -> None:
        """Readers are closed by their owners."""


class _Reader:
    def __init__(self, reader: TopicReader, place: str) -> None:
        self._reader = reader
        self._place = place

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        try:
            first = self._reader.offset
            batch = self._reader.read(max_rows, timeout_s)
        except LogError as error:
            raise SourceError(str(error)) from error
        if batch is None:
            return Nothing.NOW
        return SourceBatch(batch, self._reader.offset, partial(_located, self._place, first))

    def close(self) -> None:
        self._reader.close()


class _Writer:
    """Appends an epoch's rows in frames that carry the state's id and the epoch."""

    def __init__(self, topic: LogTopic, writer: str) -> None:
        self._topic = topic
        self._writer = writer

    def last_epoch(self) -> int:
        try:
            return self._topic.last_epoch(self._writer)
        except LogError as error:
            raise SinkError(str(error)) from error

    def apply(self, epoch: int, rows: Iterator[pa.Table]) -> None:
        tables = list(rows)
        if not tables:
            return
        try:
            self._topic.append_epoch(self._writer, epoch, pa.concat_tables(tables))
        except LogError as error:
            raise SinkError(str(error)) from error

    def close(self) -> None:
        """The topic holds nothing open between appends."""


def _writer(target: Topic, request: WriteRequest) -> _Writer:
    try:
        log = Log(target.log)
        if target.topic in log.topics():
            found = log.topic(target.topic)
        else:
            found = log.create(target.topic, schema_of(request.schema))
    except LogError as error:
        raise SinkError(f"{target.describe()} cannot be written: {error}") from error
    return _Writer(found, f"{request.app}/{request.run}")


def _located(place: str, first: int, row: int) -> str:
    return f"{place}:{first + row}"


def _widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Tell whether every value of a type is one of another."""
    t = pa.types
    if t.is_integer(narrow) and t.is_integer(wide):
        if t.is_signed_integer(narrow) == t.is_signed_integer(wide):
            return bool(narrow.bit_width <= wide.bit_width)
        return bool(t.is_unsigned_integer(narrow) and narrow.bit_width < wide.bit_width)
    return bool(t.is_floating(narrow) and t.is_floating(wide) and narrow.bit_width <= wide.bit_width)


def topic(name: str, log: str | os.PathLike[str] = DEFAULT_LOG) -> Topic:
    """Return a topic of the embedded log, to read or to write.

    *Reading*: each of the topic's partitions is one; a position is an offset. Without ``schema=`` the
    rows have the topic's. *Writing*: the topic is made, with one partition, where there is none; each
    checkpoint's rows are appended once, whatever crashes (with a state directory).

    Args:
        name: The topic's name.
        log: The log's folder.

    Raises:
        PlanError: The name cannot be a topic's.

    Example:
        >>> topic("clicks").describe()
        'topic(clicks)'
    """
    if not isinstance(name, str) or not name:
        raise PlanError(f"topic({name!r}): a topic's name is text")
    return Topic(name, os.fspath(log))
