"""Group commit: threads that append at the same time share one write and one sync."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import pyarrow as pa

from thalweg.core.errors import LogError, RowsRefused, WriterPoisoned
from thalweg.log.frames import Body, bodies_of, body_of
from thalweg.log.ids import RecentIds
from thalweg.log.layout import FRAME_HEADER, NO_WRITER
from thalweg.log.metadata import Metadata
from thalweg.log.partition import PartitionWriter
from thalweg.log.rows import arrow_rows
from thalweg.log.turns import Turn, Turns

GROUP_BYTES: Final = 64 * 2**20
"""About how much one group writes at most."""

_JOINED_BYTES: Final = 4 * 2**20
"""Up to how many bytes of small appends become one frame."""

_SMALL_BYTES: Final = 64 * 2**10
"""Below so many bytes an append waits for the group to be turned into bytes together with others."""


@dataclass(slots=True, eq=False)
class Request(Turn):
    """One call's rows for one partition.

    Attributes:
        table: The rows, of the schema of ``version``.
        version: The schema's version.
        writer: Whose epoch it is, or zeros.
        epoch: The epoch.
        bodies: The rows as frames, where they were made before the group's turn.
        first: The offset of its first row, when done.
        kept: The indices of the rows that were appended; None: all.
        rows: How many rows it had when it came.
        nbytes: How many bytes these had.
    """

    table: pa.Table
    version: int
    writer: bytes = NO_WRITER
    epoch: int = 0
    bodies: list[Body] | None = None
    first: int = 0
    kept: list[int] | None = None
    rows: int = 0
    nbytes: int = 0

    def __post_init__(self) -> None:
        self.rows = len(self.table)
        self.nbytes = self.table.nbytes  # kept: asking Arrow takes longer than all else that is done with a row

    @property
    def count(self) -> int:
        """How many of its rows were appended."""
        return self.rows if self.kept is None else len(self.kept)

    def offsets(self) -> list[int | None]:
        """Return the offset of each of its rows; None for those that were dropped."""
        if self.kept is None:
            return list(range(self.first, self.first + self.rows))
        found: list[int | None] = [None] * self.rows
        for place, row in enumerate(self.kept):
            found[row] = self.first + place
        return found


@dataclass(slots=True)
class Poison:
    """Why a handle may no longer append; shared by the handle's partitions."""

    cause: BaseException | None = None

    def check(self, topic: str) -> None:
        """Raise if it may not.

        Raises:
            WriterPoisoned: A write or sync failed before.
        """
        if self.cause is not None:
            raise WriterPoisoned(
                f'the topic "{topic}" took no more appends after a write or sync failed ({self.cause}); what was not '
                f'acknowledged may or may not be there: open it anew with log.topic("{topic}"), which recovers it'
            ) from self.cause


@dataclass(slots=True)
class AppendStats:
    """What a handle's appends cost: rows, groups that they were written in, and syncs."""

    rows: int = 0
    groups: int = 0
    syncs: int = 0


Frame: TypeAlias = tuple[Body, bytes, int]
"""A body, its writer (or zeros) and epoch."""

Begun: TypeAlias = tuple[Request, int, int]
"""A request, the frame in which its rows begin, and how many rows of that frame are before them."""


class Appender:
    """Appends to one partition for all threads of one handle.

    Args:
        topic: The topic's name, for messages.
        writer: The partition's files.
        metadata: Gives the topic's metadata.
        poison: Shared by the handle's partitions.
        stats: Shared as well.
        published: Called after each publication, to wake readers of this process.
        rolled: Called after one with which a new segment was begun.
    """

    def __init__(
        self,
        topic: str,
        writer: PartitionWriter,
        metadata: Callable[[int], Metadata],
        poison: Poison,
        stats: AppendStats,
        published: Callable[[], None],
        rolled: Callable[[], None],
    ) -> None:
        self.writer = writer
        self._topic = topic
        self._metadata = metadata
        self._poison = poison
        self._stats = stats
        self._published = published
        self._rolled = rolled
        self._turns = Turns(_take, self._lead)
        known = metadata(0)
        options = known.options
        self._ids = RecentIds(writer.directory, known.number, options.id, options.id_within_us) if options.id else None

    def prepare(self, request: Request) -> None:
        """Turn a long request into bytes before its turn, so that others need not wait for that."""
        if self._ids is None and request.nbytes >= _SMALL_BYTES:
            request.bodies = self._bodies(request)

    def enqueue(self, request: Request) -> None:
        """Let a request wait for its turn."""
        self._turns.enqueue(request)

    def finish(self, request: Request) -> None:
        """Wait until a request is over; leads a group when nobody else does.

        Raises:
            WriterPoisoned: The write or the sync failed.
            LogError: Nothing was appended, for another reason.
        """
        self._turns.finish(request)

    def _lead(self, group: list[Request]) -> None:
        try:
            self._poison.check(self._topic)
            self._commit(group)
        except BaseException as raised:
            if self._ids is not None:
                self._ids.forget()
            if isinstance(raised, LogError):
                raise  # poisoned, no space, or refused before anything was written
            self._poison.cause = raised
            error = WriterPoisoned(
                f'appending to the topic "{self._topic}" failed: {raised}; the rows may or may not be there: open it '
                f'anew with log.topic("{self._topic}"), which recovers it'
            )
            error.__cause__ = raised
            for request in group:
                request.error = request.error or error
            if not isinstance(raised, Exception):
                raise

    def _commit(self, group: list[Request]) -> None:
        before = self.writer.syncs
        with self.writer.session() as end:
            metadata = self._metadata(end.schema_version)
            now = self.writer.now_us()
            if self._ids is not None:
                self._ids.catch_up(end, now)
            frames, begun = self._frames(group, metadata, now)
            if frames:
                length = sum(FRAME_HEADER + body.length for body, _, _ in frames)
                self.writer.make_room(length, metadata.options.segment_bytes, metadata.version)
                firsts = self.writer.write(frames, now)
                for request, frame, rows in begun:
                    request.first = firsts[frame] + rows
            if self._ids is not None:
                self._ids.appended(self.writer.end)
        self._stats.rows += sum(request.count for request in group if request.error is None)
        self._stats.groups += 1
        self._stats.syncs += self.writer.syncs - before
        self._published()
        if self.writer.end.segment != end.segment:
            self._rolled()

    def _frames(self, group: list[Request], metadata: Metadata, now: int) -> tuple[list[Frame], list[Begun]]:
        """Turn requests into frames; small ones that follow each other become one."""
        frames: list[Frame] = []
        begun: list[Begun] = []
        joined = _Joined()
        epochs: dict[bytes, int] = {}
        time = metadata.options.time
        for request in group:
            try:
                self._fit(request, metadata, now)
                if request.writer != NO_WRITER:
                    last = epochs.get(request.writer, self.writer.last_epoch(request.writer))
                    if request.epoch <= last:
                        request.kept = []
                        continue
                    epochs[request.writer] = request.epoch
                    request.bodies = request.bodies or [body_of(request.table, time)]
            except RowsRefused as error:
                request.error = error
                continue
            if request.bodies is None and request.nbytes < _SMALL_BYTES:
                if joined.nbytes + request.nbytes > _JOINED_BYTES:
                    joined.flush(frames, begun, time)
                joined.add(request)
                continue
            joined.flush(frames, begun, time)
            begun.append((request, len(frames), 0))
            bodies = self._bodies(request) if request.bodies is None else request.bodies
            frames += [(body, request.writer, request.epoch) for body in bodies]
        joined.flush(frames, begun, time)
        return frames, [one for one in begun if one[1] < len(frames)]

    def _fit(self, request: Request, metadata: Metadata, now: int) -> None:
        """Bring a request to the current schema, and leave out the rows whose ids are repeats."""
        if request.version != metadata.version:
            request.table = arrow_rows(request.table, metadata.schema)
            request.version, request.bodies = metadata.version, None
        if self._ids is not None:
            request.kept = self._ids.fresh(request.table, now)
            if request.kept is not None:
                request.table = request.table.take(pa.array(request.kept, pa.int64()))

    def _bodies(self, request: Request) -> list[Body]:
        time = self._metadata(0).options.time
        if request.writer != NO_WRITER:
            return [body_of(request.table, time)]
        return bodies_of(request.table, time)


def _take(queue: deque[Request]) -> list[Request]:
    group: list[Request] = []
    size = 0
    while queue and (not group or size + queue[0].nbytes <= GROUP_BYTES):
        group.append(queue.popleft())
        size += group[-1].nbytes
    return group


@dataclass(slots=True)
class _Joined:
    """Small requests on their way into one frame."""

    requests: list[Request] = field(default_factory=list)
    nbytes: int = 0

    def add(self, request: Request) -> None:
        self.requests.append(request)
        self.nbytes += request.nbytes

    def flush(self, frames: list[Frame], begun: list[Begun], time: str | None) -> None:
        rows = 0
        for request in self.requests:
            begun.append((request, len(frames), rows))
            rows += len(request.table)
        if rows:
            table = pa.concat_tables([request.table for request in self.requests])
            frames.append((body_of(table, time), NO_WRITER, 0))
        self.requests, self.nbytes = [], 0
