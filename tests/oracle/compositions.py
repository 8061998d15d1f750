"""Programs of several operators one after the other, and what they add up to: row at a time, from the definitions.

A changing table is here its rows at the end of the input, in a list: an operator over it takes that list, as if nothing
had ever been withdrawn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from tests.oracle.aggregates import Aggregate, Overflow, evaluate
from tests.oracle.expect import Exactly
from tests.oracle.expressions import Expression
from tests.oracle.formed import Session, runs
from tests.oracle.values import Row, Value, canonical, is_nan, tie_key
from tests.oracle.windows import Read, Span, Window, events, is_late

Kind = Literal["int", "text", "float", "real", "rough", "time", "bool"]
"""What a column holds. Sums of ``float`` are exact; ``rough`` is a result that rounding may change: nothing is decided
by it."""
Kinds = Mapping[str, Kind]


@dataclass(frozen=True, slots=True)
class Item:
    """A row under way.

    Attributes:
        row: Its columns.
        time_us: Its event time; 0 where it has none.
        watermark_us: The watermark before it; None for what an operator made, which is never late.
    """

    row: Row
    time_us: int = 0
    watermark_us: int | None = None


class Node(ABC):
    """A step of a program."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[Node, ...]:
        """The steps that it reads."""

    @property
    @abstractmethod
    def kinds(self) -> Kinds:
        """Its columns, in order."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(self.kinds)

    @property
    def changing(self) -> bool:
        """Whether its rows can be withdrawn."""
        return self.inputs[0].changing

    @property
    def timed(self) -> bool:
        """Whether its rows have an event time."""
        return self.inputs[0].timed

    @property
    def closes(self) -> str | None:
        """The column with the ends of the windows that its rows are final results of; None if they are none."""
        return None

    @abstractmethod
    def made(self, run: Run) -> list[Item]:
        """Return its rows."""


@dataclass(slots=True, eq=False)
class Run:
    """What a program makes of what its reads hold.

    Attributes:
        reads: The sources.
        late: Time, watermark and window of the rows that came too late, once for each step and window.
        errors: Rows rejected: at the door, by a function, or because a sum did not fit.
    """

    reads: Sequence[Read]
    late: Counter[tuple[int, int, int | None, int | None]] = field(default_factory=Counter)
    errors: int = 0
    _known: dict[int, tuple[Node, list[Item]]] = field(default_factory=dict)

    def of(self, node: Node) -> list[Item]:
        """Return the rows of a step, which is taken once however many read it."""
        if id(node) not in self._known:
            self._known[id(node)] = (node, node.made(self))
        return self._known[id(node)][1]

    def in_time(self, node: Node) -> list[Item]:
        """Return a step's rows for what takes rows in order: without the late ones."""
        found = []
        for item in self.of(node):
            if item.watermark_us is not None and item.time_us < item.watermark_us:
                self.late[(item.time_us, item.watermark_us, None, None)] += 1
            else:
                found.append(item)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Source(Node):
    """The rows of a read."""

    read: int
    of: Kinds

    @property
    def inputs(self) -> tuple[Node, ...]:
        return ()

    @property
    def kinds(self) -> Kinds:
        return self.of

    @property
    def changing(self) -> bool:
        return False

    @property
    def timed(self) -> bool:
        return True

    def made(self, run: Run) -> list[Item]:
        found, rejected = events(run.reads[self.read])
        run.errors += rejected
        return [Item(event.row, event.time_us, event.watermark_us) for event in found]


@dataclass(frozen=True, slots=True, eq=False)
class Step(Node):
    """A step with one input."""

    input: Node

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def kinds(self) -> Kinds:
        return self.input.kinds


@dataclass(frozen=True, slots=True, eq=False)
class Filter(Step):
    """The rows for which a condition is True."""

    condition: Expression

    @property
    def closes(self) -> str | None:
        return self.input.closes

    def made(self, run: Run) -> list[Item]:
        return [item for item in run.of(self.input) if self.condition.value(item.row) is True]


@dataclass(frozen=True, slots=True, eq=False)
class WithColumn(Step):
    """One more column."""

    name: str
    value: Expression
    kind: Kind

    @property
    def kinds(self) -> Kinds:
        return {**self.input.kinds, self.name: self.kind}

    @property
    def closes(self) -> str | None:
        return self.input.closes

    def made(self, run: Run) -> list[Item]:
        return [_with(item, {**item.row, self.name: self.value.value(item.row)}) for item in run.of(self.input)]


@dataclass(frozen=True, slots=True, eq=False)
class Select(Step):
    """Some columns, under names of their own: (new, old) each."""

    names: tuple[tuple[str, str], ...]

    @property
    def kinds(self) -> Kinds:
        return {new: self.input.kinds[old] for new, old in self.names}

    @property
    def closes(self) -> str | None:
        return next((new for new, old in self.names if old == self.input.closes), None)

    def made(self, run: Run) -> list[Item]:
        return [_with(item, {new: item.row[old] for new, old in self.names}) for item in run.of(self.input)]


UserFunction = Literal["nulls", "picky", "times"]


@dataclass(frozen=True, slots=True, eq=False)
class Mapped(Step):
    """A user's function over rows.

    Attributes:
        function: ``nulls`` counts the nulls of a row in a column more; ``picky`` raises on some; ``times`` gives each
            as often as a column says.
        column: A whole number that ``picky`` and ``times`` look at; the new column of ``nulls``.
    """

    function: UserFunction
    column: str

    @property
    def kinds(self) -> Kinds:
        return {**self.input.kinds, self.column: "int"}

    def call(self, row: Row) -> list[dict[str, Value]]:
        """Call the function.

        Raises:
            ValueError: The row is one that ``picky`` does not like.
        """
        if self.function == "nulls":
            return [{**row, self.column: sum(value is None for value in row.values())}]
        number = row[self.column]
        if self.function == "picky" and number == 1:
            raise ValueError("not one")
        times = number % 3 if self.function == "times" and isinstance(number, int) else 1
        return [dict(row)] * times

    def made(self, run: Run) -> list[Item]:
        found = []
        for item in run.of(self.input):
            try:
                found += [_with(item, row) for row in self.call(item.row)]
            except ValueError:
                run.errors += 1
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Union(Node):
    """The rows of several steps with the same columns."""

    streams: tuple[Node, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return self.streams

    @property
    def kinds(self) -> Kinds:
        rough = {name for one in self.streams for name, kind in one.kinds.items() if kind == "rough"}
        return {name: "rough" if name in rough else kind for name, kind in self.streams[0].kinds.items()}

    @property
    def changing(self) -> bool:
        return any(one.changing for one in self.streams)

    @property
    def timed(self) -> bool:
        return all(one.timed for one in self.streams)

    def made(self, run: Run) -> list[Item]:
        items = [item for one in self.streams for item in run.of(one)]
        return items if self.timed else [Item(item.row) for item in items]


@dataclass(frozen=True, slots=True)
class CountWindow:
    """Windows of so many rows of a key."""

    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Grouped(Step):
    """Aggregates per key and, where there is one, per window.

    Attributes:
        keys: The key columns.
        aggregates: The results.
        window: The windows.
        final: Whether there is one row when a window closes; else a changing table.
        label: The column that says which windows a row of a changing table belongs to.
    """

    keys: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    window: Window | Session | CountWindow | None = None
    final: bool = False
    label: str | None = None

    @property
    def kinds(self) -> Kinds:
        found: dict[str, Kind] = {name: self.input.kinds[name] for name in self.keys}
        if self.window is not None:
            found |= {"window_start": "time", "window_end": "time"}
        return found | {one.name: result_kind(one, self.input.kinds) for one in self.aggregates}

    @property
    def changing(self) -> bool:
        return not self.final

    @property
    def timed(self) -> bool:
        return self.final

    @property
    def closes(self) -> str | None:
        return "window_end" if self.final and not isinstance(self.window, (Session, CountWindow)) else None

    def made(self, run: Run) -> list[Item]:
        groups: dict[tuple[Hashable, ...], list[Item]] = {}
        labels: dict[tuple[Hashable, ...], dict[str, Value]] = {}
        for item, number, span in self._placed(run):
            named = {key: item.row[key] for key in self.keys}
            if span is not None:
                named |= {"window_start": span[0], "window_end": span[1]}
            group = (number, *(canonical(value) for value in named.values()))
            groups.setdefault(group, []).append(item)
            labels.setdefault(group, named)
        found = []
        for group, members in groups.items():
            row = labels[group]
            members.sort(key=lambda item: tie_key(item.time_us, item.row, self.input.columns))
            try:
                results = {one.name: self._result(one, [item.row for item in members]) for one in self.aggregates}
            except Overflow:
                run.errors += 1
                continue
            end = row["window_end"] if self.final else 1
            assert isinstance(end, int)
            found.append(Item({**row, **results}, end - 1))
        return found

    def _result(self, aggregate: Aggregate, rows: Sequence[Row]) -> Value:
        try:
            return result(aggregate, rows, self.input.kinds)
        except Overflow:
            if self.final:
                raise
            return None

    def _placed(self, run: Run) -> Iterator[tuple[Item, int, Span | None]]:
        """Give each row with each of its windows; windows of a key may have the same bounds, but not number."""
        if isinstance(self.window, (Session, CountWindow)):
            for items in in_order(run.in_time(self.input), self.keys, self.input.columns):
                times = [item.time_us for item in items]
                if isinstance(self.window, Session):
                    yield from ((item, 0, span) for item, span in zip(items, self.window.spans(times), strict=True))
                else:
                    formed = runs(self.window.rows, times)
                    yield from ((item, *run_) for item, run_ in zip(items, formed, strict=True))
            return
        for item in run.of(self.input):
            if self.window is None:
                yield item, 0, None
                continue
            time_us = item.time_us if self.label is None else item.row[self.label]
            if time_us is None:
                continue
            assert isinstance(time_us, int)
            for span in self.window.spans(time_us):
                if is_late(span, item.watermark_us):
                    assert item.watermark_us is not None
                    run.late[(time_us, item.watermark_us, *span)] += 1
                else:
                    yield item, 0, span


def in_order(items: Sequence[Item], keys: Sequence[str], columns: Sequence[str]) -> list[list[Item]]:
    """Return the rows of each key, in the order of time, then of all columns."""
    groups: dict[tuple[Hashable, ...], list[Item]] = {}
    for item in items:
        groups.setdefault(tuple(canonical(item.row[key]) for key in keys), []).append(item)
    for group in groups.values():
        group.sort(key=lambda item: tie_key(item.time_us, item.row, columns))
    return list(groups.values())


def result(aggregate: Aggregate, rows: Sequence[Row], kinds: Kinds) -> Value:
    """Return what an aggregate gives for the rows of a group, which are in tie order.

    Raises:
        Overflow: An integer sum is outside 64 bits.
    """
    numeric = aggregate.kind in ("sum", "mean") and kinds[aggregate.column] != "bool"
    if not numeric or (aggregate.kind == "sum" and kinds[aggregate.column] == "int"):
        found = evaluate(aggregate, rows)
        assert isinstance(found, Exactly), f"{aggregate.kind} is not of one value"
        return found.value
    numbers = [value for row in rows if isinstance(value := row[aggregate.column], (int, float))]
    if aggregate.kind == "mean" and not numbers:
        return None
    outside = [number for number in numbers if number in (float("inf"), float("-inf"))]
    if outside or any(is_nan(number) for number in numbers):
        return float(sum(outside)) if not any(is_nan(number) for number in numbers) else float("nan")
    total = sum((Fraction(number) for number in numbers), Fraction(0))
    return float(total / len(numbers) if aggregate.kind == "mean" else total)


def result_kind(aggregate: Aggregate, kinds: Kinds) -> Kind:
    """Return what an aggregate gives."""
    kind = kinds[aggregate.column] if aggregate.column else "int"
    match aggregate.kind:
        case "min" | "max" | "first" | "last" | "mode" | "arg_min" | "arg_max":
            return kind
        case "mean":
            return "rough"
        case "sum":
            return {"int": "int", "bool": "int", "float": "float"}.get(kind, "rough")  # type: ignore[return-value]
        case "quantile":
            return "real"
        case "any" | "all":
            return "bool"
        case _:
            return "int"


def _with(item: Item, row: Row) -> Item:
    return Item(row, item.time_us, item.watermark_us)


def rows_of(node: Node, run: Run) -> list[Row]:
    """Return a step's rows."""
    return [item.row for item in run.of(node)]
