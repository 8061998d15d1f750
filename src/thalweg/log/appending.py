"""What appends need of a topic: rows sorted to partitions, and an appender for each, opened when first used."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.core.clock import Clock
from thalweg.core.errors import LogError, WriterPoisoned
from thalweg.log import disk
from thalweg.log.commit import Appender, AppendStats, Poison, Request
from thalweg.log.known import KnownMetadata
from thalweg.log.metadata import Metadata
from thalweg.log.partition import PartitionWriter
from thalweg.log.route import partitions_of
from thalweg.log.topic_reader import Wakes

_QUEUE_BYTES: Final = 256 * 2**20
"""How much may wait to be appended by one handle; an append past it waits first."""


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one call for one partition, and their indices in the call (None: all, in order)."""

    partition: int
    table: pa.Table
    rows: pa.Array | None


class Appenders:
    """The appenders of one handle.

    Args:
        path: The topic's directory.
        known: Its metadata.
        clock: Gives append times.
        wakes: Wakes readers of this process.
        rolled: Called with a partition that has got a new segment.

    Attributes:
        stats: What the appends cost.
        poison: Why no more may be made.
    """

    def __init__(
        self, path: Path, known: KnownMetadata, clock: Clock, wakes: Wakes, rolled: Callable[[int], None]
    ) -> None:
        self.path = path
        self.name = known.current.name
        self.stats = AppendStats()
        self.poison = Poison()
        self._known = known
        self._clock = clock
        self._wakes = wakes
        self._rolled = rolled
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._room = threading.Condition()
        self._waiting = 0
        self._turn = 0
        self._appenders: dict[int, Appender] = {}

    def parts(self, table: pa.Table, metadata: Metadata, partition: int | None) -> list[Part]:
        """Sort rows to their partitions: the one that is asked for, else by key, else all to the next in turn."""
        options = metadata.options
        if partition is not None:
            self.check_partition(partition)
            return [Part(partition, table, None)] if len(table) else []
        if len(table) == 0:
            return []
        if options.partitions == 1:
            return [Part(0, table, None)]
        if options.route is None:
            with self._lock:
                self._turn = (self._turn + 1) % options.partitions
                return [Part(self._turn, table, None)]
        where = partitions_of(table[options.route], options.partitions)
        used = pc.unique(where).to_pylist()
        if len(used) == 1:
            return [Part(used[0], table, None)]
        parts = []
        for one in sorted(used):
            rows = pc.indices_nonzero(pc.equal(where, one)).cast(pa.int64())
            parts.append(Part(one, table.take(rows), rows))
        return parts

    def commit(
        self, parts: Sequence[Part], metadata: Metadata, writer: bytes | None = None, epoch: int = 0
    ) -> list[tuple[Part, Request]]:
        """Append parts, all of them made durable when it returns.

        Raises:
            LogError: Some part was not appended; others may be.
        """
        self.poison.check(self.name)
        pairs = []
        for part in parts:
            request = Request(part.table, metadata.version)
            if writer is not None:
                request.writer, request.epoch = writer, epoch
            pairs.append((part, request))
        try:
            appenders = [self.appender(part.partition) for part, _ in pairs]
        except LogError:
            raise
        except OSError as refused:
            self.poison.cause = refused
            raise WriterPoisoned(
                f'the topic "{self.name}" cannot be appended to: {refused}; nothing was appended: mend the cause, and '
                f'open it anew with log.topic("{self.name}")'
            ) from refused
        for appender, (_, request) in zip(appenders, pairs, strict=True):
            appender.prepare(request)
        size = sum(request.nbytes for _, request in pairs)
        with self._room:
            # Room for all of a call at once, so that no two calls wait for each other's partitions.
            self._room.wait_for(lambda: not self._waiting or self._waiting + size <= _QUEUE_BYTES)
            self._waiting += size
        failed: BaseException | None = None
        try:
            for appender, (_, request) in zip(appenders, pairs, strict=True):
                appender.enqueue(request)
            for appender, (_, request) in zip(appenders, pairs, strict=True):
                try:
                    appender.finish(request)
                except LogError as raised:
                    failed = failed or raised  # the other partitions' requests must be seen through as well
        finally:
            with self._room:
                self._waiting -= size
                self._room.notify_all()
        if failed is not None:
            raise failed
        return pairs

    def appender(self, partition: int) -> Appender:
        """Return a partition's appender.

        Raises:
            LogError: There is no such partition, or the topic was deleted.
            OSError: The disk refused.
        """
        self.check_partition(partition)
        if self._pid != os.getpid():
            # After a fork: a lock on the parent's file would be the parent's own, and its threads are not here.
            self._pid, self._lock, self._room = os.getpid(), threading.Lock(), threading.Condition()
            self._appenders, self._waiting = {}, 0
        appender = self._appenders.get(partition)
        if appender is not None:
            return appender
        with self._lock:
            if partition not in self._appenders:
                directory = self.path / f"{partition:04d}"
                try:
                    if not self._appenders:
                        # Who created the topic may have died before its name was on the medium.
                        disk.sync_directory(self.path.parent)
                        disk.sync_directory(self.path.parent.parent)
                    writer = PartitionWriter(directory, self._known, self._clock)
                except FileNotFoundError as error:
                    raise LogError(f'the topic "{self.name}" in {self.path.parent} was deleted') from error
                self._appenders[partition] = Appender(
                    self.name,
                    writer,
                    self._known,
                    self.poison,
                    self.stats,
                    lambda: self._wakes.wake(self.name, partition),
                    lambda: self._rolled(partition),
                )
            return self._appenders[partition]

    def check_partition(self, partition: int) -> None:
        """Check that there is such a partition.

        Raises:
            LogError: There is none.
        """
        count = self._known().options.partitions
        if not isinstance(partition, int) or isinstance(partition, bool) or not 0 <= partition < count:
            raise LogError(f'the topic "{self.name}" has no partition {partition!r}; it has 0 to {count - 1}')

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            for appender in self._appenders.values():
                appender.writer.close()
            self._appenders = {}
