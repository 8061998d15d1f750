"""A topic: what a program appends to and reads from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.core.clock import Clock
from thalweg.core.errors import LogDamaged, LogError, OffsetGone, PlanError, SchemaChange
from thalweg.core.schema import Schema, schema_of
from thalweg.log import disk
from thalweg.log.appended import Appended, AppendResult
from thalweg.log.appending import Appenders, Part
from thalweg.log.commit import AppendStats, Request
from thalweg.log.evolution import check_change
from thalweg.log.known import KnownMetadata
from thalweg.log.layout import writer_key
from thalweg.log.metadata import FILE, Metadata, read_metadata, write_metadata
from thalweg.log.options import TopicOptions, check_options
from thalweg.log.places import MAINTENANCE
from thalweg.log.reading import PartitionReader
from thalweg.log.refused import told
from thalweg.log.rows import table_of
from thalweg.log.survey import Damage, TopicInfo, damages, is_stale, offset_at, partition_info, published_end
from thalweg.log.topic_reader import TopicReader, Wakes
from thalweg.log.upkeep import Maintained, Upkeep


class Topic:
    """A handle of one topic; ``Log.create`` and ``Log.topic`` make it. All of its methods may be called by any thread.

    Order and delivery: Rows of one append keep their order within a partition; offsets have no gaps when appended. When
    an append returns its rows are on the medium.

    Attributes:
        name: The topic's name.
        path: Its directory.
    """

    def __init__(self, path: Path, metadata: Metadata, clock: Clock, wakes: Wakes) -> None:
        self.name = metadata.name
        self.path = path
        self._known = KnownMetadata(path, metadata)
        self._appenders = Appenders(path, self._known, clock, wakes)
        self._clock = clock
        self._wakes = wakes
        self._looked: set[int] = set()

    @property
    def stats(self) -> AppendStats:
        """What the appends of this handle have cost: rows, groups that were written at once, syncs."""
        return self._appenders.stats

    @property
    def schema(self) -> Schema:
        """The columns, with their rules, as this handle knows them; ``refresh`` asks again."""
        return self._known.current.schema

    @property
    def options(self) -> TopicOptions:
        """What it was created with."""
        return self._known.current.options

    def refresh(self) -> Schema:
        """Read the schema anew, which another process may have evolved, and return it.

        Raises:
            LogError: The topic was deleted.
            LogDamaged: Its metadata is not what was written.
        """
        return self._known.refresh().schema

    def append(self, rows: object, partition: int | None = None) -> list[Appended]:
        """Append rows; they are durable when it returns.

        Args:
            rows: A list of dicts, an Arrow table or batch, a Polars frame, or anything with ``__arrow_c_stream__``.
            partition: Where to; None: as the key says, and for a topic without key each append whole to the next one.

        Returns:
            Partition, first offset and count of what was appended; rows whose id is a repeat are not among them.

        Raises:
            RowsRefused: A row does not fit; none was appended.
            NoSpace: The disk is full; nothing was appended (with several partitions: in those that are not yet full).
            WriterPoisoned: A write or sync failed, now or before; open the topic anew.
            LogDamaged: What is stored is not what was written.

        Example:
            >>> import tempfile
            >>> from thalweg.log import Log
            >>> log = Log(tempfile.mkdtemp())
            >>> orders = log.create("orders", pa.schema([("user", pa.string()), ("price", pa.float64())]))
            >>> orders.append([{"user": "ann", "price": 3.0}, {"user": "bob", "price": 4.5}])
            [Appended(partition=0, offset=0, count=2)]
            >>> orders.read(offset=1).to_pylist()
            [{'user': 'bob', 'price': 4.5}]
        """
        metadata = self._known.current
        requests = self._append(table_of(rows, metadata.schema), metadata, partition)
        return [_appended(part, request) for part, request in requests if request.count]

    def append_unique(self, rows: pa.Table, partition: int | None = None) -> AppendResult:
        """Append rows and say what became of each; as ``append`` otherwise.

        Shape: ``offsets`` and ``partitions`` have one value per row.
        """
        metadata = self._known.current
        table = table_of(rows, metadata.schema)
        requests = self._append(table, metadata, partition)
        found: list[pa.Table] = []
        for part, request in requests:
            count = request.rows
            indices = pa.array(range(count), pa.int64()) if part.rows is None else part.rows
            offsets = pa.array(request.offsets(), pa.int64())
            found.append(pa.table({"row": indices, "offset": offsets, "partition": pa.repeat(part.partition, count)}))
        if not found:
            return AppendResult([], pa.nulls(0, pa.int64()), pa.nulls(0, pa.int64()), pa.nulls(0, pa.int32()))
        whole = pa.concat_tables(found).sort_by("row").combine_chunks()
        offsets = whole["offset"].combine_chunks()
        return AppendResult(
            [_appended(part, request) for part, request in requests if request.count],
            pc.indices_nonzero(offsets.is_null()).cast(pa.int64()),
            offsets,
            whole["partition"].combine_chunks().cast(pa.int32()),
        )

    def append_epoch(self, writer: str, epoch: int, rows: pa.Table) -> list[Appended]:
        """Append a writer's rows of an epoch, once.

        Each partition gets the epoch with one frame, also one without rows, and drops it if it has this or a later
        epoch of the writer: so an epoch that was interrupted is sent again whole.

        Args:
            writer: Who writes; a name that stays the same over restarts.
            epoch: Counts from 1 and rises; gaps are allowed.
            rows: The rows.

        Returns:
            What was appended now; partitions that had the epoch, or got no rows of it, are not among it.

        Raises:
            LogError: The epoch is below 1, or as for ``append``.
        """
        if not isinstance(epoch, int) or epoch < 1:
            raise LogError(f"epoch={epoch!r}; allowed: a whole number from 1")
        metadata = self._known.current
        table = table_of(rows, metadata.schema)
        parts = {part.partition: part for part in self._appenders.parts(table, metadata, None)}
        empty = table.slice(0, 0)
        every = [parts.get(p, Part(p, empty, None)) for p in range(metadata.options.partitions)]
        requests = self._appenders.commit(every, metadata, writer_key(writer), epoch)
        return [_appended(part, request) for part, request in requests if request.count]

    def last_epoch(self, writer: str) -> int:
        """Return the last epoch of a writer that every partition has; 0 for none.

        Raises:
            LogDamaged: What is stored is not what was written.
        """
        key = writer_key(writer)
        found = []
        for partition in range(self.options.partitions):
            appender = self._appenders.appender(partition)
            with appender.writer.session():
                found.append(appender.writer.last_epoch(key))
        return min(found)

    def read(self, partition: int = 0, offset: int = 0, limit: int = 10_000) -> pa.Table:
        """Return rows from an offset on.

        Shape: The topic's columns; at most ``limit`` rows, fewer at the end, none past it. In a compacted topic the
        first row is the first kept one from ``offset`` on.

        Raises:
            OffsetGone: The offset is below the start.
            LogDamaged: What is stored is not what was written.
        """
        if limit < 0:
            raise LogError(f"limit={limit!r}; allowed: a whole number from 0")
        reader = self._reader(partition, offset)
        try:
            found: list[pa.RecordBatch] = []
            while limit > 0 and (rows := reader.read(limit)) is not None:
                found.append(rows.batch)
                limit -= len(rows)
            return pa.Table.from_batches(found, self._known.current.schema.arrow)
        finally:
            reader.close()

    def start(self, partition: int = 0) -> int:
        """Return the first offset that may be read."""
        reader = self._reader(partition, None)
        try:
            return reader.end().start
        finally:
            reader.close()

    def end(self, partition: int = 0) -> int:
        """Return the offset after the last durable row."""
        reader = self._reader(partition, None)
        try:
            return reader.end().offset
        finally:
            reader.close()

    def reader(self, partition: int = 0, offset: int = 0, columns: Sequence[str] | None = None) -> TopicReader:
        """Return a reader from an offset on, which waits for rows of any process.

        Args:
            partition: Which one.
            offset: Where to begin.
            columns: The columns to give, in this order; None: all.

        Raises:
            OffsetGone: The offset is below the start.
            LogError: There is no such partition or column.
        """
        for name in columns or ():
            try:
                self.schema[name]
            except PlanError as error:
                raise LogError(f'the topic "{self.name}": {error.message}') from error
        partition_reader = self._reader(partition, offset, columns)
        wake = self._wakes.add(self.name, partition)
        return TopicReader(partition_reader, wake, self._clock, lambda: self._wakes.remove(self.name, partition, wake))

    def offset_at(self, partition: int, time_us: int) -> int:
        """Return the first offset of a frame with rows that were appended at or after a time; the end if there is none.

        Units: Microseconds since 1970, of the clock of whoever appended; append times never fall within a partition.
        """
        reader = self._reader(partition, None)
        try:
            return offset_at(self._directory(partition), self._known.current.number, reader.end(), time_us)
        finally:
            reader.close()

    def trim(self, before: int, partition: int = 0) -> int:
        """Make the rows below an offset unreadable, for ever, and remove the segments that have no others.

        Returns:
            The new start: ``before``, but no less than the start and no more than the end were.

        Raises:
            NoSpace: The disk is full.
            LogError: The disk refused, or a write or sync failed before.
        """
        self._appenders.poison.check(self.name)
        with told(f'trimming the topic "{self.name}" in {self.path.parent}', self._appenders.poison):
            writer = self._appenders.appender(partition).writer
            with writer.session():
                return writer.trim(before)

    def evolve(self, schema: object) -> None:
        """Change the schema: columns are added, types widened, nulls allowed; stored rows read as the new one.

        Args:
            schema: Anything that describes a schema, whole. Its rules replace the old ones.

        Raises:
            SchemaChange: It cannot follow the present one.
            NoSpace: The disk is full.
            LogError: The disk refused, or a write or sync failed before.
        """
        self._appenders.poison.check(self.name)
        try:
            columns = schema_of(schema)
        except PlanError as error:
            raise SchemaChange(f'the topic "{self.name}" cannot evolve: {error.message}') from error
        with (
            told(f'evolving the topic "{self.name}" in {self.path.parent}', self._appenders.poison),
            ExitStack() as locks,
        ):
            writers = [self._appenders.appender(partition).writer for partition in range(self.options.partitions)]
            for writer in writers:
                locks.enter_context(writer.session())
            metadata = self._known.refresh()
            if columns == metadata.schema:
                return
            check_change(self.name, metadata.schema, columns)
            check_options(metadata.options, columns)
            write_metadata(self.path, metadata.evolved(columns))
            self._known.current = metadata.evolved(columns)
            for writer in writers:
                writer.evolved(metadata.version + 1)

    def maintain(self) -> Maintained:
        """Do upkeep once: remove what has outlived its retention, rewrite sealed segments, compact by key.

        Safe beside appenders and readers of any process; waits for another that maintains the topic.

        Raises:
            LogDamaged: What is stored is not what was written; it is left alone.
            NoSpace: The disk is full.
            LogError: The disk refused, or a write or sync failed before.
        """
        self._appenders.poison.check(self.name)
        done = Maintained()
        with told(f'upkeep of the topic "{self.name}" in {self.path.parent}', self._appenders.poison):
            fd = disk.open_file(self.path / MAINTENANCE, write=True, create=True)
            try:
                with disk.locked(fd):
                    for partition in range(self.options.partitions):
                        writer = self._appenders.appender(partition).writer
                        done += Upkeep(writer, self._known.current, self._clock.now_us()).run()
            finally:
                disk.close(fd)
        return done

    def verify(self) -> list[Damage]:
        """Read every byte that is stored and return what is damaged; nothing is changed."""
        found: list[Damage] = []
        try:
            read_metadata(self.path)
        except LogDamaged as error:
            found.append(Damage(error.path, error.position, None, None, str(error)))
        except FileNotFoundError:
            found.append(Damage(self.path / FILE, 0, None, None, "the file is missing"))
        for partition in range(self.options.partitions):
            found += damages(self._directory(partition), self._known.current.number)
        return found

    def describe(self) -> TopicInfo:
        """Return what is in the topic: rows, bytes, segments, offsets and append times.

        Raises:
            LogDamaged: What is stored is not what was written.
        """
        found = []
        for partition in range(self.options.partitions):
            reader = self._reader(partition, None)
            try:
                found.append(partition_info(self._directory(partition), self._known.current.number, reader.end()))
            finally:
                reader.close()
        return TopicInfo(self.name, self.schema, self.options, tuple(found))

    def close(self) -> None:
        """Close the files that appending has opened."""
        self._appenders.close()

    def _append(self, table: pa.Table, metadata: Metadata, partition: int | None) -> list[tuple[Part, Request]]:
        return self._appenders.commit(self._appenders.parts(table, metadata, partition), metadata)

    def _reader(self, partition: int, offset: int | None, columns: Sequence[str] | None = None) -> PartitionReader:
        self._appenders.check_partition(partition)
        if partition not in self._looked:
            self._look(partition)
        try:
            return PartitionReader(
                self._directory(partition), offset, self._known, lambda: self._recover(partition), columns
            )
        except FileNotFoundError as error:
            raise OffsetGone(f'the topic "{self.name}" in {self.path.parent} was deleted') from error

    def _look(self, partition: int) -> None:
        """Before the first read: after a power cut the published end may be older than what was acknowledged."""
        try:
            if is_stale(self._directory(partition)):
                self._appenders.appender(partition).writer.recover_if_free()
        except (FileNotFoundError, PermissionError, LogDamaged):
            return  # deleted, not to be written by this process, or damaged behind the end: as far as published
        self._looked.add(partition)

    def _recover(self, partition: int) -> None:
        """Make a published end where a power cut has left none."""
        try:
            with self._appenders.appender(partition).writer.session():
                return
        except LogDamaged:
            if published_end(self._directory(partition)) is None:
                raise  # else what is sound before the damage can be read
        except PermissionError as error:
            raise LogError(
                f"{self._directory(partition)} has no published end, as after a power cut, and this process may not "
                "write there to recover it; read or append once as a user who may"
            ) from error

    def _directory(self, partition: int) -> Path:
        return self.path / f"{partition:04d}"


def _appended(part: Part, request: Request) -> Appended:
    return Appended(part.partition, request.first, request.count)
