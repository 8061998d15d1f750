"""A topic: what a program appends to and reads from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.core.clock import Clock
from thalweg.core.errors import LogDamaged, LogError, OffsetGone, PlanError, SchemaChange
from thalweg.core.schema import Schema, schema_of
from thalweg.log import disk
from thalweg.log.appended import Appended, AppendResult
from thalweg.log.appending import Appenders, Part
from thalweg.log.claims import Claims, claims_of
from thalweg.log.commit import AppendStats, Request
from thalweg.log.drift import SortedOut, envelopes
from thalweg.log.evolution import changes, check_change
from thalweg.log.fitting import Fitting
from thalweg.log.gathering import MOST_ROWS, Gathering
from thalweg.log.keeper import Keeper
from thalweg.log.known import KnownMetadata
from thalweg.log.layout import writer_key
from thalweg.log.metadata import FILE, Metadata, read_metadata, write_metadata
from thalweg.log.options import TopicOptions, check_options
from thalweg.log.reading import PartitionReader
from thalweg.log.refused import told
from thalweg.log.rows import widened
from thalweg.log.survey import Damage, TopicInfo, damages, is_stale, offset_at, partition_info, published_end
from thalweg.log.topic_reader import TopicReader, Wakes
from thalweg.log.upkeep import Maintained


class Topic:
    """A handle of one topic; ``Log.create`` and ``Log.topic`` make it. All of its methods may be called by any thread.

    Order and delivery: Rows of one append keep their order within a partition; offsets have no gaps when appended. When
    an append returns its rows are on the medium.

    Attributes:
        name: The topic's name.
        path: Its directory.
    """

    def __init__(
        self,
        path: Path,
        metadata: Metadata,
        clock: Clock,
        wakes: Wakes,
        open_rejected: Callable[[str], Topic],
        *,
        upkeep: bool,
    ) -> None:
        self.name = metadata.name
        self.path = path
        self._known = KnownMetadata(path, metadata)
        self._appenders = Appenders(path, self._known, clock, wakes, lambda partition: self._keeper.rolled(partition))
        self._keeper = Keeper(path, self._appenders, self._known, clock, by_itself=upkeep)
        self._fitting = Fitting(self._known, clock, self._change, self._keep_rejected)
        self._gathering = Gathering(self._fitting.fit, self._commit)
        self._clock = clock
        self._wakes = wakes
        self._looked: set[int] = set()
        self._open_rejected = open_rejected
        self._of_rejected: Topic | None = None

    @property
    def stats(self) -> AppendStats:
        """What the appends of this handle have cost: rows, groups that were written at once, syncs."""
        return self._appenders.stats

    @property
    def schema(self) -> Schema:
        """The columns, with their rules, as this handle knows them; ``refresh`` asks again."""
        return self._known.current.schema

    @property
    def history(self) -> tuple[Schema, ...]:
        """All the schemas that the topic has had, oldest first."""
        return self._known.current.schemas

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

        Rows that are not of the topic's columns are refused, rejected or widen the topic, as its ``drift`` says.
        Rejected ones are durable before the others, in the topic ``<name>.rejected``; where the others cannot be
        appended then, and are appended again, they are there twice.

        Args:
            rows: A list of dicts, an Arrow table or batch, a Polars frame, or anything with ``__arrow_c_stream__``.
            partition: Where to; None: as the key says, and for a topic without key each append whole to the next one.

        Returns:
            Partition, first offset and count of what was appended; rows whose id is a repeat are not among them.

        Raises:
            RowsRefused: A row does not fit, or is too long; none was appended.
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
        if isinstance(rows, list) and 0 < len(rows) <= MOST_ROWS and self.options.drift != "reject":
            return self._gathering.append(rows, partition)
        fitted, metadata = self._fitting.fit(rows)
        requests = self._commit(fitted.table, metadata, partition)
        return [_appended(part, request) for part, request in requests if request.count]

    def append_each(self, tables: Sequence[pa.Table]) -> list[list[Appended] | LogError]:
        """Append tables with one write: each whole or not at all, durable when it returns; as ``append`` otherwise.

        Returns:
            For each table what was appended, or why it was not.

        Raises:
            LogError: None of them is known to be appended.
        """
        return self._gathering.append_each(tables)

    def append_unique(self, rows: object, partition: int | None = None) -> AppendResult:
        """Append rows and say what became of each; as ``append`` otherwise.

        Shape: ``offsets`` and ``partitions`` have one value per row.
        """
        fitted, metadata = self._fitting.fit(rows)
        requests = self._commit(fitted.table, metadata, partition)
        found: list[pa.Table] = []
        for part, request in requests:
            count = request.rows
            indices = pa.array(range(count), pa.int64()) if part.rows is None else part.rows
            offsets = pa.array(request.offsets(), pa.int64())
            found.append(pa.table({"row": indices, "offset": offsets, "partition": pa.repeat(part.partition, count)}))
        if not found:
            return _result([], pa.nulls(0, pa.int64()), pa.nulls(0, pa.int32()), fitted)
        whole = pa.concat_tables(found).sort_by("row").combine_chunks()
        return _result(
            [_appended(part, request) for part, request in requests if request.count],
            whole["offset"].combine_chunks(),
            whole["partition"].combine_chunks().cast(pa.int32()),
            fitted,
        )

    def append_epoch(self, writer: str, epoch: int, rows: pa.Table) -> list[Appended]:
        """Append a writer's rows of an epoch, once.

        Each partition gets the epoch with one frame, also one without rows, and drops it if it has this or a later
        epoch of the writer: so an epoch that was interrupted is sent again whole. Whatever the topic's ``drift`` says,
        rows that do not fit are refused: an epoch is appended whole.

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
        table, metadata = self._fitting.fit_whole(rows)
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

    @contextmanager
    def claims(self) -> Iterator[Claims]:
        """Hold what the topic knows of who writes its epochs; nobody else can look or claim meanwhile.

        Raises:
            LogDamaged: What is stored is not what was written.
            LogError: The disk refused, or the topic was deleted.
        """
        with ExitStack() as holding:
            with told(f'looking up who writes the topic "{self.name}" in {self.path.parent}'):
                claims = holding.enter_context(claims_of(self.path))
            yield claims

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
            # The topic may have evolved between two of them.
            arrow = self._known.current.schema.arrow
            return pa.Table.from_batches([widened(batch, arrow) for batch in found], arrow)
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
        columns = self._columns(schema)
        self._change(lambda _: columns)

    def changes(self, schema: object) -> tuple[str, ...]:
        """Return what ``evolve`` would change, a line each; nothing where the schema is the present one.

        Raises:
            SchemaChange: It cannot follow the present one.
            LogError: As for ``refresh``.
        """
        columns, now = self._columns(schema), self._known.refresh()
        check_change(self.name, now.schema, columns)
        check_options(now.options, columns)
        return changes(now.schema, columns)

    def _columns(self, schema: object) -> Schema:
        try:
            return schema_of(schema)
        except PlanError as error:
            raise SchemaChange(f'the topic "{self.name}" cannot evolve: {error.message}') from error

    def _change(self, follow: Callable[[Schema], Schema]) -> None:
        """Give the topic the schema that follows the present one; no one else appends or evolves meanwhile."""
        self._appenders.poison.check(self.name)
        with (
            told(f'evolving the topic "{self.name}" in {self.path.parent}', self._appenders.poison),
            ExitStack() as locks,
        ):
            writers = [self._appenders.appender(partition).writer for partition in range(self.options.partitions)]
            for writer in writers:
                locks.enter_context(writer.session())
            metadata = self._known.refresh()
            columns = follow(metadata.schema)
            if columns == metadata.schema:
                # Who gave the topic these columns may have failed before they were on the medium.
                disk.sync_directory(self.path)
            else:
                check_change(self.name, metadata.schema, columns)
                check_options(metadata.options, columns)
                metadata = metadata.evolved(columns)
                write_metadata(self.path, metadata)
                self._known.current = metadata
            for writer in writers:
                if writer.end.schema_version != metadata.version:
                    writer.evolved(metadata.version)

    def maintain(self) -> Maintained:
        """Do upkeep now: remove what has outlived its retention, rewrite sealed segments, compact by key.

        It happens by itself when an append has begun a new segment. A topic that nobody appends to loses what has
        outlived its retention here alone.

        Safe beside appenders and readers of any process; waits for another that maintains the topic.

        Raises:
            LogDamaged: What is stored is not what was written; it is left alone.
            NoSpace: The disk is full.
            LogError: The disk refused, or a write or sync failed before.
        """
        self._appenders.poison.check(self.name)
        return self._keeper.maintain()

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
        return TopicInfo(self.name, self.schema, self.options, tuple(found), self._keeper.failure)

    def close(self) -> None:
        """Close the files that appending has opened; upkeep that is going on ends with the segment at hand."""
        self._keeper.stop()
        self._appenders.close()
        if self._of_rejected is not None:
            self._of_rejected.close()
            self._of_rejected = None

    def _keep_rejected(self, found: SortedOut, now_us: int) -> None:
        if self._of_rejected is None:
            self._of_rejected = self._open_rejected(self.name)
        self._of_rejected.append(envelopes(self.name, found, now_us))

    def _commit(self, table: pa.Table, metadata: Metadata, partition: int | None) -> list[tuple[Part, Request]]:
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


def _result(
    appended: list[Appended], offsets: pa.Int64Array, partitions: pa.Int32Array, sorted_out: SortedOut
) -> AppendResult:
    """Say of each row that came what became of it; the arrays are of those that fit."""
    duplicates = pc.indices_nonzero(offsets.is_null()).cast(pa.int64())
    if sorted_out.origins is None:
        return AppendResult(appended, duplicates, offsets, partitions)
    places: list[int | None] = [None] * sorted_out.total
    for place, row in enumerate(sorted_out.origins.to_pylist()):
        places[row] = place
    take = pa.array(places, pa.int64())
    return AppendResult(
        appended, sorted_out.origins.take(duplicates), offsets.take(take), partitions.take(take), sorted_out.rejected
    )


def _appended(part: Part, request: Request) -> Appended:
    return Appended(part.partition, request.first, request.count)
