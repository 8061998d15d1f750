"""The ends of streams: sinks, written on threads of their own, and views, kept here."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import empty_frame, in_order, to_table
from thalweg.core.instants import Reached, goes_on
from thalweg.core.outage import Patience
from thalweg.core.ports import EpochWriter, Sink, SinkWriter, StepWriter, WriteRequest
from thalweg.core.version import FIRST
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.beside import open_version
from thalweg.engine.embedded.delivery import Delivery, PassingDelivery, StepDelivery
from thalweg.engine.embedded.posting import OutboxDelivery, Post
from thalweg.engine.embedded.rows import WEIGHT, Rows, copies
from thalweg.engine.embedded.stage import Output, Stage
from thalweg.engine.embedded.stored import in_tiers, load_frames, save_frames
from thalweg.engine.embedded.unrepeated import Unrepeated
from thalweg.engine.embedded.weighted import added_up
from thalweg.plan.nodes import ViewOutput, Write, key_of
from thalweg.state.outbox import Owed

_ROWS: Final = "rows"
_SETTLE: Final = 8
"""Where fewer than one row in so many has changed, a view is read without being settled: the next checkpoint would
write all of it."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the outputs of a run begin with.

    Attributes:
        app: The app's name.
        run: The random id of the state, or of the run if it keeps none.
        term: How many times a run was started on that state; 0 if it keeps none.
        fresh: Whether outputs are replaced.
        directory: The state directory; None for none.
        foreign: What becomes of a target that has the output of another state.
        repeats: Whether a sink that keeps no record may get rows again after a crash; else it may lose them.
        owed: By output: the last epoch that had rows for it, and what of them it has not confirmed.
        recovers: Whether the checkpoint is an older one, which the operator chose.
        patience: How long a sink is waited for.
        version: The version of the app whose places are written to.
        beside: Whether another version is the current one.
        reached: Is told how far the way of an epoch to an output is.
    """

    app: str
    run: str
    term: int = 0
    fresh: bool = False
    directory: Path | None = None
    foreign: Literal["refused", "replaced", "joined"] = "refused"
    repeats: bool = True
    owed: Mapping[str, tuple[int, Sequence[Owed]]] = field(default_factory=dict)
    recovers: bool = False
    patience: Patience = field(default_factory=Patience)
    version: str = FIRST
    beside: bool = False
    reached: Reached = goes_on

    def delivery(
        self, sink: Sink, name: str, schema: pa.Schema, *, changing: bool = False, key: tuple[str, ...] | None = None
    ) -> Delivery:
        """Open a sink and return the way to it.

        Raises:
            SinkError: It cannot be opened, or does not fit the state.
        """
        last, owed = self.owed.get(name, (0, ()))
        confirmed = owed[0].previous if owed else last
        request = WriteRequest(
            schema, changing, key, confirmed, self.fresh, self.app, self.run, self.term, foreign=self.foreign
        )
        open_sink = partial(open_version, sink, self.version, request, beside=self.beside)
        writer = open_sink()
        if not isinstance(writer, EpochWriter):
            if self.repeats or self.directory is None:
                return StepDelivery(writer, name, self.patience)
            again = unrepeated(writer, open_sink, last)
        elif self.directory is None:
            return PassingDelivery(writer, name, empty=self.fresh, patience=self.patience)
        else:
            again = opener(writer, open_sink)
        return OutboxDelivery(Post(name, again, self.directory, schema, self.patience, self.reached), owed, last)


def opener(first: EpochWriter, again: Callable[[], SinkWriter]) -> Callable[[], EpochWriter]:
    """Return what gives a writer that is open, and later ones that are opened anew."""
    ready = [first]

    def opened() -> EpochWriter:
        writer: SinkWriter = ready.pop() if ready else again()
        assert isinstance(writer, EpochWriter), "a sink has writers of one kind"
        return writer

    return opened


def unrepeated(first: StepWriter, again: Callable[[], SinkWriter], last: int) -> Callable[[], EpochWriter]:
    """Return the same for a sink without a record, which gets nothing a second time."""
    ready, given = [first], [last]

    def opened() -> EpochWriter:
        writer: SinkWriter = ready.pop() if ready else again()
        assert not isinstance(writer, EpochWriter), "a sink has writers of one kind"
        return Unrepeated(writer, given)

    return opened


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
        frames = [in_order(rows.frame, self._schema.names) for rows in inputs]
        if frames:
            frame = stacked(frames)
            self._count(frame.height)
            self.give(to_table(frame, self._schema))
        return Output()

    def give(self, rows: pa.Table) -> None:
        """Give rows to the sink."""
        assert self.delivery is not None, "a run begins before its first step"
        self.delivery.put(rows)


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
        self._clean: pl.DataFrame | None = None
        """Where no weights of equal rows are to be added up: the frame that says so."""
        self._lock = threading.Lock()

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        frames = [rows.frame.select(self._columns) for rows in inputs]
        if not frames:
            return Output()
        self._count(sum(frame.height for frame in frames))
        with self._lock:
            self._frames += frames
            if self.node.changing and self._waiting() > max(self._settled, 65_536):
                self._settle()
            elif len(self._frames) > self._COMPACT_FRAMES:
                self._frames = in_tiers(self._frames)
        return Output()

    def table(self) -> pa.Table:
        """Return the view's rows, sorted by its key, else by all columns."""
        with self._lock:
            if self.node.changing and self._waiting() * _SETTLE > self._settled:
                self._settle()
            frames = list(self._frames)
        frame = stacked(frames) if frames else empty_frame(self.node.schema)
        if self.node.changing and frames:
            frame = copies(frame if frame is self._clean else self._net(frame))
        order = list(self.view.key or ()) or self._names
        return to_table(frame.select(self._names).sort(order), self.node.schema.arrow)

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        with self._lock:
            self._frames = in_tiers(self._frames)
            yield from save_frames(_ROWS, self._frames)

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._frames = load_frames(_ROWS, frames)
        self._settled = sum(frame.height for frame in self._frames)

    def _waiting(self) -> int:
        return sum(frame.height for frame in self._frames) - self._settled

    def _net(self, rows: pl.DataFrame) -> pl.DataFrame:
        return added_up(rows).filter(pl.col(WEIGHT) > 0)

    def _settle(self) -> None:
        """Add up the weights of equal rows; a row whose weights cancel is gone."""
        if not self._frames:
            return
        self._clean = self._net(stacked(self._frames))
        self._frames = [self._clean]
        self._settled = self._frames[0].height


def outlet_of(node: Write, name: str) -> Outlet:
    """Return the end of a stream."""
    if isinstance(node.output, ViewOutput):
        return ViewOutlet(node, name, node.output)
    assert isinstance(node.output, Sink)
    return SinkOutlet(node, name, node.output, key_of(node.input))
