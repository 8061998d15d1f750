"""The ends of streams: sinks, written on threads of their own, and views, kept here."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import empty_frame, in_order, to_table
from thalweg.core.instants import Reached, goes_on
from thalweg.core.ports import EpochWriter, Sink, WriteRequest
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.delivery import Delivery, OutboxDelivery, PassingDelivery, StepDelivery
from thalweg.engine.embedded.rows import WEIGHT, Rows, copies
from thalweg.engine.embedded.stage import Output, Stage
from thalweg.engine.embedded.stored import portable, restored
from thalweg.plan.nodes import ViewOutput, Write
from thalweg.state.outbox import Owed


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the outputs of a run begin with.

    Attributes:
        app: The app's name.
        run: The random id of the state, or of the run if it keeps none.
        term: How many times a run was started on that state; 0 if it keeps none.
        epoch: The last checkpoint.
        fresh: Whether outputs are replaced.
        directory: The state directory; None for none.
        owed: By output: the last epoch that had rows for it, and what of them it has not confirmed.
        reached: Is told how far the way of an epoch to an output is.
    """

    app: str
    run: str
    term: int = 0
    epoch: int = 0
    fresh: bool = False
    directory: Path | None = None
    owed: Mapping[str, tuple[int, Sequence[Owed]]] = field(default_factory=dict)
    reached: Reached = goes_on

    def delivery(
        self, sink: Sink, name: str, schema: pa.Schema, *, changing: bool = False, key: tuple[str, ...] | None = None
    ) -> Delivery:
        """Open a sink and return the way to it.

        Raises:
            SinkError: It cannot be opened, or does not fit the state.
        """
        writer = sink.open(WriteRequest(schema, changing, key, self.epoch, self.fresh, self.app, self.run, self.term))
        if not isinstance(writer, EpochWriter):
            return StepDelivery(writer, name)
        if self.directory is None:
            return PassingDelivery(writer, name, empty=self.fresh)
        last, owed = self.owed.get(name, (0, ()))
        return OutboxDelivery(writer, name, self.directory, schema, owed, last, self.reached)


class Outlet(Stage):
    """The end of a stream."""

    uses_time = False
    eager = True

    def begin(self, beginning: Beginning) -> None:
        """Open what is written to."""

    def _count(self, rows: int) -> None:
        self.entry.rows_in += rows
        self.entry.pairs += rows
        self.entry.passed += rows


class SinkOutlet(Outlet):
    """Hands rows to a sink.

    Attributes:
        delivery: The way to it; None before the run begins.
    """

    def __init__(self, node: Write, name: str, sink: Sink, key: tuple[str, ...] | None) -> None:
        super().__init__(node, name)
        self._sink = sink
        self._key = key
        schema = node.schema.arrow
        self._schema = schema.append(pa.field(WEIGHT, pa.int64(), nullable=False)) if node.changing else schema
        self.delivery: Delivery | None = None

    def begin(self, beginning: Beginning) -> None:
        self.delivery = beginning.delivery(
            self._sink, output_name(self._sink), self._schema, changing=self.node.changing, key=self._key
        )

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        assert self.delivery is not None, "a run begins before its first step"
        frames = [in_order(rows.frame, self._schema.names) for rows in inputs]
        if frames:
            frame = stacked(frames)
            self._count(frame.height)
            self.delivery.put(to_table(frame, self._schema))
        return Output()


def output_name(sink: Sink) -> str:
    """Return what a sink is called in the state: it stays the same whatever else the program does."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", sink.name).strip("_")[:40]
    return f"{words}-{hashlib.sha256(sink.describe().encode()).hexdigest()[:8]}"


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
            frame = copies(frame)
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
