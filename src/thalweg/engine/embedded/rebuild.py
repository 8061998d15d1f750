"""The changed part of a program, run over again: from the start of its sources up to where they were read.

It runs by itself, with the steps above it, before the run goes on. What was written before is not written
again: views are made anew, a keyed table gets the difference, an output that only grows gets what comes
after, and an output that is new gets everything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import to_frame, to_table
from thalweg.core.errors import StateError, StoppedError
from thalweg.core.ports import Nothing, OpenSource, PartitionReader, Replayable, Sink
from thalweg.engine.contract import RunOptions
from thalweg.engine.embedded.checkpoint import counts_of, restore_counts
from thalweg.engine.embedded.graph import Graph, Vertex
from thalweg.engine.embedded.intake import Intake, Partition
from thalweg.engine.embedded.ledger import Entry
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.outputs import Outlet, SinkOutlet, ViewOutlet
from thalweg.engine.embedded.pace import STEP_ROWS
from thalweg.engine.embedded.resume import Program, Resumed, SavedRead
from thalweg.engine.embedded.rows import WEIGHT, Rows
from thalweg.engine.embedded.stage import Output
from thalweg.plan.difference import Difference
from thalweg.plan.nodes import Node, Plan, Read, ViewOutput, Write, key_of

_WAIT_S: Final = 1.0
_LOOKS: Final = 10
"""How often a source that gives nothing is asked again before it counts as shorter than it was."""

_Give = Callable[[pa.Table], None]


def rebuild(program: Program, resumed: Resumed, options: RunOptions, memory: Memory, stopping: threading.Event) -> None:
    """Make the state that a changed program has no checkpoint of, and give it to the program's steps.

    Args:
        program: The program: steps whose state was kept have it, outputs are open, sources at the positions of the
            checkpoint.
        resumed: What it goes on with.
        options: How it is run.
        memory: What state may take.
        stopping: Set when the run is to stop.

    Raises:
        StateError: A source gives other rows than it gave, or a keyed table cannot be given the difference.
        StoppedError: The run was stopped meanwhile.
    """
    assert resumed.difference is not None and resumed.reads is not None, "a program that has changed has a state"
    _Rebuild(program, resumed.difference, resumed.reads, options, memory, stopping).run()


@dataclass(slots=True)
class _Rebuild:
    """A run of the changed part.

    Attributes:
        program: The whole program.
        difference: What is to be rebuilt.
        reads: Up to where the sources were read.
        options: How the program is run.
        memory: What state may take.
        stopping: Set when the run is to stop.
    """

    program: Program
    difference: Difference
    reads: Mapping[Read, SavedRead]
    options: RunOptions
    memory: Memory
    stopping: threading.Event
    _outlets: Mapping[Node, Outlet] = field(default_factory=dict)
    _tables: list[_KeyedTable] = field(default_factory=list)
    _sources: list[OpenSource] = field(default_factory=list)
    _readers: list[PartitionReader] = field(default_factory=list)

    def run(self) -> None:
        """Read again, and hand over to the whole program's steps."""
        graph, intakes, name = self.program.graph, self.program.intakes, self.program.plan.name
        self._outlets = {v.node: v.stage for v in graph.vertices if isinstance(v.stage, Outlet)}
        part = Graph(Plan(name, self.difference.writes), self._outlet, self.options.clock, self.program.needed)
        for stage in part.stages:
            stage.use_memory(self.memory)
        numbers = {intake.read: intake.number for intake in intakes}
        again = []
        for vertex in part.reads:
            assert isinstance(vertex.node, Read), "only reads have an intake"
            saved = self.reads.get(vertex.node)
            exceptions = () if saved is None else saved.exceptions
            again.append((part.intake(vertex, numbers[vertex.node], exceptions), vertex))
        try:
            self._replay(part, again)
        finally:
            for reader in self._readers:
                reader.close()
            for source in self._sources:
                source.close()
        for table in self._tables:
            table.give_difference()
        self._hand_over(part, graph)
        for intake, _ in again:
            own = next(own for own in intakes if own.read is intake.read)
            if intake.read in self.difference.rebuilt:
                own.restore(intake.last_watermark, intake.exceptions, intake.saved())
                restore_counts(own.entry, counts_of(intake.entry))

    # ------------------------------------------------------------------ reading again

    def _replay(self, part: Graph, again: Sequence[tuple[Intake, Vertex]]) -> None:
        ends: list[tuple[Intake, Vertex, Partition, int]] = []
        for intake, vertex in again:
            if (saved := self.reads.get(intake.read)) is None:
                continue  # a new source: all of it comes after
            was = Intake(intake.read, Entry(""), None, (), False, False, intake.number)
            saved.restore(was)
            self._open(intake, was)
            ends += [(intake, vertex, intake.partitions[name], p.read) for name, p in was.partitions.items()]
        # Each step takes the same part of every partition, so that their times keep together.
        steps = -(-max((end for *_, end in ends), default=0) // (self.options.max_step_rows or STEP_ROWS))
        for step in range(1, steps + 1):
            if self.stopping.is_set():
                raise StoppedError("stopped while changed steps were rebuilt; the state is as it was before")
            for intake, vertex, partition, end in ends:
                self._take(intake, vertex, partition, end * step // steps)
            _step(part, again)
        for intake, _ in again:
            if (saved := self.reads.get(intake.read)) is not None:
                self._as_it_was(intake, saved)
        _step(part, again)

    def _open(self, intake: Intake, was: Intake) -> None:
        if not any(partition.read for partition in was.partitions.values()):
            intake.partitions = {name: Partition(name) for name in was.partitions}
            return
        opened = intake.open()
        self._sources.append(opened)
        assert isinstance(opened, Replayable), "a source that cannot be read again is not rebuilt from"
        for name, partition in was.partitions.items():
            intake.partitions[name] = Partition(name)
            if partition.read:
                reader = opened.replay(name, partition.position)
                self._readers.append(reader)
                intake.partitions[name].reader = reader

    def _take(self, intake: Intake, vertex: Vertex, partition: Partition, end: int) -> None:
        """Read on up to a number of rows: never past it."""
        looks = 0
        while partition.read < end:
            assert partition.reader is not None, "what has rows has a reader"
            batch = partition.reader.read(end - partition.read, _WAIT_S)
            if isinstance(batch, Nothing):
                looks += 1
                if batch is Nothing.EVER or looks == _LOOKS:
                    raise self._other(intake, partition, f"gives {partition.read} rows, and gave more before")
                continue
            intake.offer(partition, batch)
            rejected, intake.rejected = intake.rejected, []
            for tap in vertex.errors_to:
                tap.reject(intake.entry.step, rejected)

    def _as_it_was(self, intake: Intake, saved: SavedRead) -> None:
        """Bring the partitions to where the checkpoint has them, with what it knows of silence and ends."""
        made = dict(intake.partitions)
        watermark = intake.last_watermark
        saved.restore(intake)
        for name, partition in intake.partitions.items():
            own = made[name]
            if intake.read in self.difference.rebuilt:
                partition.running_max, partition.rows = own.running_max, own.rows
            elif (partition.running_max, partition.rows) != (own.running_max, own.rows):
                raise self._other(intake, own, "gives other rows than it gave")
            # Asleep then is asleep now: it holds nothing up.
            partition.idle, partition.slept = partition.slept, False
        if intake.read in self.difference.rebuilt:
            intake.restore(watermark, saved.exceptions, intake.saved())
            for partition in intake.partitions.values():
                partition.idle, partition.slept = partition.slept, False

    def _other(self, intake: Intake, partition: Partition, what: str) -> StateError:
        return StateError(
            f"{intake.read.source.describe()}[{partition.name}] {what}: the state in {self.options.data} was made from "
            "other data. Restore the data, or go on without the state of the changed steps: take their source away, or "
            "name another directory with data="
        )

    # ------------------------------------------------------------------ what comes out

    def _outlet(self, node: Write, name: str) -> Outlet:
        if isinstance(node.output, ViewOutput):
            return ViewOutlet(node, name, node.output)
        own = self._outlets[node]
        assert isinstance(own, SinkOutlet) and isinstance(node.output, Sink)
        give: _Give = _nowhere
        if node in self.difference.new_outputs:
            give = own.give
        elif node.output.changes == "applied":
            table = _KeyedTable(node, own, self.options)
            self._tables.append(table)
            give = table.made.append
        return _Replayed(node, name, node.output, give)

    def _hand_over(self, part: Graph, graph: Graph) -> None:
        whole = {vertex.node: vertex.stage for vertex in graph.vertices}
        for vertex in part.vertices:
            stage = whole.get(vertex.node)
            if vertex.stage is not None and stage is not None and vertex.node in self.difference.rebuilt:
                stage.restore(dict(vertex.stage.snapshot()))
                stage.watermark = vertex.stage.watermark
                restore_counts(stage.entry, counts_of(vertex.stage.entry))


class _Replayed(SinkOutlet):
    """Counts what a sink would get, and gives it elsewhere."""

    def __init__(self, node: Write, name: str, sink: Sink, give: _Give) -> None:
        super().__init__(node, name, sink, key_of(node.input))
        self._give = give

    def give(self, rows: pa.Table) -> None:
        self._give(rows)


@dataclass(slots=True)
class _KeyedTable:
    """A keyed output that an earlier program wrote: it has that program's rows, and gets the difference."""

    node: Write
    own: SinkOutlet
    options: RunOptions
    made: list[pa.Table] = field(default_factory=list)

    def give_difference(self) -> None:
        """Bring the table from what it has to what was made."""
        assert self.own.delivery is not None, "a run begins before its changed steps are rebuilt"
        there = self.own.delivery.target_rows()
        if there is None or not self.node.changing:
            if self.options.allow_state_loss:
                return
            raise self._refused("its target cannot be compared" if there is None else "its stream withdraws no rows")
        names = list(self.node.schema.names)
        made = [to_frame(rows) for rows in self.made]
        before = [
            to_frame(rows.select(names).cast(self.node.schema.arrow)).with_columns(pl.lit(-1, pl.Int64).alias(WEIGHT))
            for rows in there
        ]
        if not made and not before:
            return
        net = pl.concat([*made, *before]).group_by(names).agg(pl.col(WEIGHT).sum())
        net = net.filter(pl.col(WEIGHT) != 0).sort(WEIGHT)
        if net.height:
            schema = self.node.schema.arrow.append(pa.field(WEIGHT, pa.int64(), nullable=False))
            self.own.give(to_table(net, schema))

    def _refused(self, what: str) -> StateError:
        assert isinstance(self.node.output, Sink)
        return StateError(
            f"{self.node.output.describe()} has the rows of an earlier program, and cannot be given the difference: "
            f"{what}. Name a new output, which gets everything; or leave its rows as they are and write what comes "
            "from now on: allow_state_loss=True"
        )


def _nowhere(rows: pa.Table) -> None:
    """An output that only grows has these rows, or those that the earlier program made of the same input."""


def _step(part: Graph, again: Sequence[tuple[Intake, Vertex]]) -> None:
    marks = {id(intake.read): intake.watermark() for intake, _ in again}
    taken: dict[int, Rows] = {}
    for intake, _ in again:
        if (rows := intake.take()) is not None:
            taken[id(intake.read)] = rows
    part.step(taken, marks, _ignored, {})


def _ignored(vertex: Vertex, out: Output) -> None:
    """Late and rejected rows were told of by the earlier program."""
