"""The ends of streams: sinks, written on threads of their own, and views, kept here."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import empty_frame, in_order, to_table
from thalweg.core.ports import Sink, SinkWriter, WriteRequest
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.bounded import BoundedQueue
from thalweg.engine.embedded.rows import WEIGHT, Rows
from thalweg.engine.embedded.stage import Output, Stage
from thalweg.engine.embedded.stored import portable, restored
from thalweg.plan.nodes import ViewOutput, Write

QUEUE_BYTES: Final = 64 * 2**20
"""Bytes of rows that wait for a sink; past it the run waits, and with it the sources."""

_LOOK_S: Final = 0.2
"""How often a run that waits for a sink looks for the sink's errors."""


class Outlet(Stage):
    """The end of a stream."""

    uses_time = False

    def begin(self, epoch: int, *, fresh: bool) -> None:
        """Open what is written to."""

    def commit(self, epoch: int) -> None:
        """Make everything given so far durable and visible."""

    def close(self) -> None:
        """Give back what is held; what was not committed is dropped."""

    def _count(self, rows: int) -> None:
        self.entry.rows_in += rows
        self.entry.pairs += rows
        self.entry.passed += rows


@dataclass(frozen=True, slots=True)
class _Commit:
    epoch: int
    done: threading.Event


class SinkOutlet(Outlet):
    """Hands rows to a sink, on a thread of its own behind a queue of steps."""

    def __init__(self, node: Write, name: str, sink: Sink, key: tuple[str, ...] | None) -> None:
        super().__init__(node, name)
        self._sink = sink
        self._key = key
        schema = node.schema.arrow
        self._schema = schema.append(pa.field(WEIGHT, pa.int64(), nullable=False)) if node.changing else schema
        self._queue: BoundedQueue[pa.Table | _Commit] = BoundedQueue(QUEUE_BYTES)
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def begin(self, epoch: int, *, fresh: bool) -> None:
        request = WriteRequest(self._schema, self.node.changing, self._key, epoch, fresh)
        writer = self._sink.open(request)
        self._thread = threading.Thread(target=self._run, args=(writer,), name="thalweg-writer", daemon=True)
        self._thread.start()

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        frames = [in_order(rows.frame, self._schema.names) for rows in inputs]
        if frames:
            frame = stacked(frames)
            self._count(frame.height)
            self._put(to_table(frame, self._schema))
        return Output()

    def commit(self, epoch: int) -> None:
        message = _Commit(epoch, threading.Event())
        self._put(message)
        while not message.done.wait(_LOOK_S):
            self._raise()
        self._raise()

    def close(self) -> None:
        if self._thread is None:
            return
        self._queue.close()
        self._thread.join()
        self._thread = None
        self._raise()

    def _put(self, message: pa.Table | _Commit) -> None:
        size = 0 if isinstance(message, _Commit) else message.nbytes
        self._raise()
        while not self._queue.put(message, size, _LOOK_S):
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self, writer: SinkWriter) -> None:
        try:
            while (message := self._queue.get()) is not None:
                if isinstance(message, _Commit):
                    writer.commit(message.epoch)
                    message.done.set()
                else:
                    writer.write(message)
        except BaseException as error:  # it is raised again in the loop's own thread
            self._error = error
        try:
            writer.close()
        except BaseException as error:  # as above; the first error is the one to tell
            self._error = self._error or error


class ViewOutlet(Outlet):
    """A view: the rows of a stream, or the table that a changing one adds up to."""

    _COMPACT_FRAMES: Final = 64

    def __init__(self, node: Write, name: str, view: ViewOutput) -> None:
        super().__init__(node, name)
        self.view = view
        self._names = list(node.schema.names)
        self._columns = [*self._names, WEIGHT] if node.changing else self._names
        self._frames: list[pl.DataFrame] = []
        self._settled = 0
        self._lock = threading.Lock()

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        frames = [rows.frame.select(self._columns) for rows in inputs]
        if not frames:
            return Output()
        self._count(sum(frame.height for frame in frames))
        with self._lock:
            self._frames += frames
            waiting = sum(frame.height for frame in self._frames) - self._settled
            if self.node.changing and waiting > max(self._settled, 65_536):
                self._settle()
            elif len(self._frames) > self._COMPACT_FRAMES:
                self._frames = [stacked(self._frames).rechunk()]
        return Output()

    def table(self) -> pa.Table:
        """Return the view's rows, sorted by its key, else by all columns."""
        with self._lock:
            if self.node.changing:
                self._settle()
            frames = list(self._frames)
        frame = stacked(frames) if frames else empty_frame(self.node.schema)
        if self.node.changing and frames:
            weight = pl.col(WEIGHT)
            if frame.height and int(frame.get_column(WEIGHT).max()) > 1:  # type: ignore[arg-type]  # an integer
                frame = frame.select(pl.col(self._names).repeat_by(weight.cast(pl.UInt32)).explode())
        order = list(self.view.key or ()) or self._names
        return to_table(frame.select(self._names).sort(order), self.node.schema.arrow)

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        with self._lock:
            if self._frames:
                self._frames = [stacked(self._frames)]
                yield "rows", portable(self._frames[0])

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._frames = [restored(frame) for frame in frames.values()]

    def _settle(self) -> None:
        """Add up the weights of equal rows; a row whose weights cancel is gone."""
        if not self._frames:
            return
        whole = stacked(self._frames)
        net = whole.group_by(self._names, maintain_order=True).agg(pl.col(WEIGHT).sum())
        self._frames = [net.filter(pl.col(WEIGHT) > 0)]
        self._settled = self._frames[0].height
