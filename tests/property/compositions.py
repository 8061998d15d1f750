"""Compositions: programs of several operators with what their sources hold, as apps of Thalweg; how they are run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import pyarrow as pa

import thalweg as tw
from tests.oracle import compositions as of
from tests.oracle.compositions import Kind, Node, Run
from tests.oracle.compositions_in_order import Dedupe, Listed, Numbered, TopK
from tests.oracle.compositions_of_two import AsOf, Join
from tests.oracle.tables import batch_of
from tests.oracle.values import Row
from tests.oracle.windows import Read
from tests.property.cases import Cuts, aggregate, duration, expression
from tests.property.cases import window as grid_window
from tests.property.kinds import TIMESTAMP
from thalweg import col
from thalweg.connect import view
from thalweg.testing import Scripted
from thalweg.testing.scripted import Piece

TYPES: Mapping[Kind, pa.DataType] = {
    "int": pa.int64(),
    "text": pa.string(),
    "float": pa.float64(),
    "real": pa.float64(),
    "rough": pa.float64(),
    "time": TIMESTAMP,
    "bool": pa.bool_(),
}


Late = Counter[tuple[int, int, int | None, int | None]]
"""Time, watermark and window of rows that came too late."""


@dataclass(frozen=True, slots=True)
class Composition:
    """A program, and what its sources hold.

    Attributes:
        reads: The sources.
        schemas: Their declared schemas.
        cuts: Where their partitions are cut into batches.
        outputs: The steps whose rows are written, the last one among them.
    """

    reads: tuple[Read, ...]
    schemas: tuple[pa.Schema, ...]
    cuts: tuple[tuple[Cuts, ...], ...]
    outputs: tuple[Node, ...]

    def sources(self) -> tuple[Scripted, ...]:
        """Return the sources, which show all that they have."""
        return tuple(_scripted(number, self) for number in range(len(self.reads)))

    def app(self, sources: Sequence[Scripted]) -> tw.App:
        """Return the app; its views are called ``v0``, ``v1``, …"""
        app = tw.App("compositions")
        build = _Build(app, self, sources, {})
        for number, node in enumerate(self.outputs):
            build.stream(node).write(view(f"v{number}"))
        return app

    def meaning(self) -> Meaning:
        """Return what the oracle makes of all."""
        run = Run(self.reads)
        tables = [of.rows_of(node, run) for node in self.outputs]
        # Of a changing table a row may come and go before it stays, and be rejected each time.
        again = any(isinstance(one, of.Mapped) and one.function == "picky" and one.changing for one in self.nodes())
        return Meaning(tables, run.late, None if again else run.errors)

    def nodes(self) -> list[Node]:
        """Return all steps."""
        found: dict[int, Node] = {}
        todo = list(self.outputs)
        while todo:
            node = todo.pop()
            if id(node) not in found:
                found[id(node)] = node
                todo += node.inputs
        return list(found.values())

    def __repr__(self) -> str:
        return "\n".join(shown(self))


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a program adds up to.

    Attributes:
        tables: The rows of each output.
        late: Time, watermark and window of the late rows, for each step.
        errors: How many rows are rejected; None where that depends on the steps.
    """

    tables: list[list[Row]]
    late: Late
    errors: int | None


@dataclass
class Seen:
    """How many rows of a key there were."""

    n: int = 0


@dataclass(frozen=True, slots=True)
class _Build:
    app: tw.App
    case: Composition
    sources: Sequence[Scripted]
    known: dict[object, tuple[object, tw.Stream]]

    def stream(self, node: Node) -> tw.Stream:
        """Return the stream of a step; one that several read is built once."""
        if id(node) not in self.known:
            made = self._made(node)
            assert tuple(made.schema.names) == node.columns, (made.schema.names, node.columns)
            flags = (made._node.changing, made._node.timed)
            assert flags == (node.changing, node.timed), f"changing, timed: {flags}: {node}"
            self.known[id(node)] = (node, made)
        return self.known[id(node)][1]

    def _made(self, node: Node) -> tw.Stream:
        inputs = [self.stream(one) for one in node.inputs]
        match node:
            case of.Source(read):
                given = self.case.reads[read]
                lateness, jump = duration(given.lateness_us), given.max_jump_us
                return self.app.read(
                    self.sources[read],
                    schema=self.case.schemas[read],
                    time=given.time,
                    lateness=lateness,
                    max_jump=None if jump is None else duration(jump),
                )
            case of.Filter(_, condition):
                return inputs[0].filter(expression(condition))
            case of.WithColumn(_, name, value):
                return inputs[0].with_columns(**{name: expression(value)})
            case of.Select(_, names):
                return inputs[0].select(**{new: col(old) for new, old in names})
            case of.Mapped():
                schema = pa.schema([pa.field(name, TYPES[kind]) for name, kind in node.kinds.items()])
                if node.function == "times":
                    return inputs[0].flat_map(node.call, schema=schema)
                return inputs[0].map(partial(_only, node.call), schema=schema)
            case of.Union():
                return inputs[0].union(*inputs[1:])
            case of.Grouped():
                return _grouped(inputs[0], node)
            case Listed(_, keys, column, name):
                return inputs[0].group_by(*keys).agg(**{name: col(column).collect()}).explode(name)
            case TopK(_, rows, by, reverse, per):
                return inputs[0].top_k(rows, list(by), list(reverse), list(per) or None)
            case Dedupe(_, keys, within_us):
                return inputs[0].dedupe(list(keys), None if within_us is None else duration(within_us))
            case Numbered(_, keys, name):
                schema = pa.schema([pa.field(name, TYPES[kind]) for name, kind in node.kinds.items()])
                return inputs[0].process(partial(_number, name), list(keys), Seen, schema)
            case Join(_, _, keys, how, within):
                bounds = None if within is None else (duration(within[0]), duration(within[1]))
                return inputs[0].join(inputs[1], on=list(keys), how=how, within=bounds)
            case AsOf(_, _, keys):
                return inputs[0].join_asof(inputs[1], by=list(keys))
        raise AssertionError(f"{node} has no form here")


def _grouped(stream: tw.Stream, node: of.Grouped) -> tw.Stream:
    made = {one.name: aggregate(one) for one in node.aggregates}
    match node.window:
        case None:
            return stream.group_by(*node.keys).agg(**made) if node.keys else stream.agg(**made)
        case of.CountWindow(rows):
            window: Any = tw.count_window(rows)
        case given:
            window = grid_window(given)
    emit: Any = "on_close" if node.final else "on_change"
    return stream.group_by(*node.keys).window(window, emit=emit, time=node.label).agg(**made)


def _only(call: Callable[[Row], list[dict[str, Any]]], row: Row) -> dict[str, Any]:
    return call(row)[0]


def _number(name: str, row: Row, state: Seen, timers: object) -> Iterator[dict[str, Any]]:
    state.n += 1
    yield {**row, name: state.n}


def _scripted(number: int, case: Composition) -> Scripted:
    loose = pa.schema([pa.field(field.name, field.type) for field in case.schemas[number]])
    pieces = {}
    for name, (rows, at) in enumerate(zip(case.reads[number].partitions, case.cuts[number], strict=True)):
        pieces[str(name)] = [
            Piece(batch_of(rows[a:b], loose), lambda row, name=name: f"read{number}[{name}]:{row}")  # type: ignore[misc]  # binds it
            for a, b in pairwise((0, *at, len(rows)))
        ]
    return Scripted(f"read{number}", loose, pieces)


def shown(case: Composition) -> Iterator[str]:
    """Give lines that say what the steps are and what the sources hold, for the message of a failure."""
    names: dict[int, str] = {}

    def name(node: Node) -> str:
        return names[id(node)]

    todo = [*case.outputs]
    ordered: list[Node] = []
    while todo:
        node = todo[-1]
        missing = [one for one in node.inputs if one not in ordered]
        if node in ordered or not missing:
            todo.pop()
            ordered += [] if node in ordered else [node]
        todo += missing
    for number, node in enumerate(ordered):
        names[id(node)] = f"s{number}"
        fields = {
            one: getattr(node, one)
            for one in node.__dataclass_fields__  # type: ignore[attr-defined]  # every step is a dataclass
            if one not in ("input", "left", "right", "streams")
        }
        said = ", ".join(f"{key}={value!r}" for key, value in fields.items())
        mark = " → written" if node in case.outputs else ""
        yield f"s{number} = {type(node).__name__}({', '.join(map(name, node.inputs))}; {said}){mark}"
    for number, read in enumerate(case.reads):
        yield f"read {number}, late by {read.lateness_us} µs, jump {read.max_jump_us}, required {sorted(read.required)}"
        for rows, cuts in zip(read.partitions, case.cuts[number], strict=True):
            yield f"  partition cut at {cuts}"
            yield from (f"    {dict(row)}" for row in rows)
