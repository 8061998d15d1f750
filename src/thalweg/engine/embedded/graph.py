"""A plan compiled to stages, and one step through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from thalweg.core.clock import Clock
from thalweg.engine.contract import TimeException
from thalweg.engine.embedded.compile import stage_of
from thalweg.engine.embedded.fused import Fused, nodes_fused
from thalweg.engine.embedded.intake import Intake
from thalweg.engine.embedded.ledger import Entry
from thalweg.engine.embedded.outputs import Outlet
from thalweg.engine.embedded.rows import NEVER, Rows, combined_watermark
from thalweg.engine.embedded.stage import LateTest, Output, Stage, TwoSided
from thalweg.engine.embedded.stateless import MappedBatches, MappedRows
from thalweg.engine.embedded.taps import Tap, error_rows, late_rows
from thalweg.plan import nodes as n
from thalweg.plan.prune import NeededColumns
from thalweg.plan.show import step_name


@dataclass(slots=True)
class Vertex:
    """A stage and what it is connected to.

    Attributes:
        stage: The operator; None for a read, whose rows come from its intake.
        node: The plan's node.
        inputs: The vertices that it reads.
        late_to: The taps that take its late rows.
        errors_to: The taps that take the rows that it rejects.
        watermark: The watermark of what it gave last.
        idle: Whether all of its sources' partitions are idle.
    """

    stage: Stage | None
    node: n.Node
    inputs: list[Vertex]
    late_to: list[Tap] = field(default_factory=list)
    errors_to: list[Tap] = field(default_factory=list)
    watermark: int = NEVER
    idle: bool = False
    given: list[Rows] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The step's name."""
        return self.stage.entry.step if self.stage is not None else step_name(self.node)

    def is_fed_by(self, read: n.Read) -> bool:
        """Tell whether rows of a source come here."""
        todo, seen = [self], set()
        while todo:
            vertex = todo.pop()
            if vertex.node is read:
                return True
            seen.add(id(vertex))
            todo += [v for v in vertex.inputs if id(v) not in seen]
        return False


class Graph:
    """The compiled plan.

    Args:
        plan: What to compute.
        outlet: Makes the end of a stream.
        clock: Where time comes from.
        needed: The columns that can be seen of each node's rows.
    """

    def __init__(
        self, plan: n.Plan, outlet: Callable[[n.Write, str], Outlet], clock: Clock, needed: NeededColumns
    ) -> None:
        self._clock = clock
        self._needed = needed
        numbers = plan.numbers()
        consumers: dict[int, list[n.Node]] = {}
        for node in numbers:
            for source in node.inputs:
                consumers.setdefault(id(source), []).append(node)
        self._by_node: dict[int, Vertex] = {}
        self.vertices: list[Vertex] = []
        for node, number in numbers.items():
            name = step_name(node, number)
            vertex = self._vertex(node, name, consumers, outlet)
            if vertex is not None:
                self.vertices.append(vertex)
                self._by_node[id(node)] = vertex
        self.reads = [v for v in self.vertices if isinstance(v.node, n.Read)]
        self.stages = [v.stage for v in self.vertices if v.stage is not None]

    def connect(self, entries: Mapping[int, object]) -> None:
        """Tell the ledger which operator feeds which; ``entries`` are the reads' by node identity."""
        for vertex in self.vertices:
            if vertex.stage is None or isinstance(vertex.stage, Tap):
                continue
            for source in vertex.inputs:
                entry = source.stage.entry if source.stage is not None else entries[id(source.node)]
                entry.feeds.append(vertex.stage.entry)  # type: ignore[attr-defined]  # entries of the ledger

    def intake(self, vertex: Vertex, number: int, replayed: Sequence[TimeException] = ()) -> Intake:
        """Return what feeds a read, which is not open yet.

        Args:
            vertex: The read.
            number: Its number in the program.
            replayed: Idle and new partitions as an earlier run recorded them.
        """
        read = vertex.node
        assert isinstance(read, n.Read), "only reads have an intake"
        return Intake(
            read=read,
            entry=Entry(step_name(read, number)),
            source=None,
            late_tests=self.late_tests_below(vertex),
            eager=self.eager_below(vertex),
            numbered=self.rejects_below(vertex),
            timed=self.time_used_below(vertex),
            needed=self._needed[read],
            number=number,
            replayed=replayed,
        )

    def late_tests_below(self, read: Vertex) -> list[LateTest]:
        """Return the tests for being late that a source's rows reach without passing through state."""
        stages = [v.stage for v in self._reached(read) if v.stage is not None]
        return [stage.late_test for stage in stages if stage.late_test is not None]

    def remembering_below(self, read: Vertex) -> list[Vertex]:
        """Return the operators in which a source's rows stay."""
        return [v for v in self._reached(read) if v.stage is not None and v.stage.remembers]

    def operator_watermark(self, read: Vertex) -> int:
        """Return the greatest watermark of the operators that test a source's rows for being late."""
        stages = [v.stage for v in self._reached(read) if v.stage is not None]
        return max((stage.watermark for stage in stages if stage.late_test is not None), default=NEVER)

    def eager_below(self, read: Vertex) -> bool:
        """Tell whether something that a source's rows reach at once wants every row at once."""
        reached = self._reached(read)
        return any((v.stage is not None and v.stage.eager) or v.late_to or v.errors_to for v in reached)

    def time_used_below(self, read: Vertex) -> bool:
        """Tell whether something that a source's rows reach looks at their event time."""
        return any(v.stage is not None and v.stage.uses_time for v in self._reached(read))

    def rejects_below(self, read: Vertex) -> bool:
        """Tell whether rows may be rejected behind a step that changes their number."""
        return any(
            isinstance(v.stage, (MappedRows, MappedBatches)) or (isinstance(v.stage, Fused) and read not in v.inputs)
            for v in self._reached(read)
        )

    def step(
        self,
        taken: Mapping[int, Rows],
        watermarks: Mapping[int, int | None],
        note: Callable[[Vertex, Output], None],
        redriven: Mapping[int, Sequence[Rows]],
    ) -> None:
        """Push one step's rows through every stage, inputs first.

        Args:
            taken: Rows by read node identity.
            watermarks: The reads' watermarks by node identity; None for one that is idle.
            note: Called with each stage's output.
            redriven: Rows that are sent again, by vertex identity.
        """
        for vertex in self.vertices:
            stage = vertex.stage
            if stage is None:
                rows = taken.get(id(vertex.node))
                vertex.given = [rows] if rows is not None and rows.frame.height else []
                mark = watermarks[id(vertex.node)]
                vertex.idle = mark is None
                vertex.watermark = vertex.watermark if mark is None else mark
                continue
            sides = [source.given for source in vertex.inputs]
            inputs = [rows for given in sides for rows in given]
            inputs += redriven.get(id(vertex), ())
            marks = [None if source.idle else source.watermark for source in vertex.inputs]
            vertex.idle = all(mark is None for mark in marks)
            watermark = combined_watermark(stage.watermark, marks)
            if isinstance(stage, Tap):
                vertex.given, vertex.watermark = stage.drain(), watermark
                continue
            if not inputs and watermark == stage.watermark:
                vertex.given, vertex.watermark = [], stage.watermark_out()
                continue
            if isinstance(stage, TwoSided):
                left, right = sides
                out = stage.process_sides(left, right, watermark)
            else:
                out = stage.process(inputs, watermark)
            vertex.given, stage.watermark = out.rows, watermark
            vertex.watermark = stage.watermark_out()
            for tap in vertex.late_to:
                tap.give(late_rows(out.late))
            for tap in vertex.errors_to:
                tap.give(error_rows(vertex.name, out.rejected))
            stage.entry.rows_out += sum(rows.frame.height for rows in out.rows)
            note(vertex, out)

    def _vertex(
        self,
        node: n.Node,
        name: str,
        consumers: Mapping[int, Sequence[n.Node]],
        outlet: Callable[[n.Write, str], Outlet],
    ) -> Vertex | None:
        readers = consumers.get(id(node), [])
        if nodes_fused(node) and len(readers) == 1 and nodes_fused(readers[0]):
            return None  # it runs as a part of the node that reads it
        if isinstance(node, (n.Late, n.Errors)):
            tap = Tap(node, name)
            of = self._by_node[id(node.input)]
            (of.late_to if isinstance(node, n.Late) else of.errors_to).append(tap)
            return Vertex(tap, node, [of])
        if isinstance(node, n.Read):
            return Vertex(None, node, [])
        chain: list[n.Node] = [node]
        while nodes_fused(chain[0]) and id(chain[0].inputs[0]) not in self._by_node:
            chain.insert(0, chain[0].inputs[0])
        inputs = [self._by_node[id(needed)] for needed in chain[0].inputs]
        return Vertex(stage_of(node, chain, name, outlet, self._clock, self._needed), node, inputs)

    def _reached(self, read: Vertex) -> list[Vertex]:
        found: list[Vertex] = []
        todo = [read]
        while todo:
            vertex = todo.pop()
            found.append(vertex)
            if vertex.stage is None or not vertex.stage.remembers:
                todo += [v for v in self.vertices if vertex in v.inputs and not isinstance(v.stage, Tap)]
        return found


def feeds(node: n.Node, vertex: Vertex) -> bool:
    """Tell whether rows of a node may reach a vertex."""
    todo, seen = [vertex], set()
    while todo:
        each = todo.pop()
        if each.node is node:
            return True
        seen.add(id(each))
        todo += [v for v in each.inputs if id(v) not in seen]
    return False
