"""Programs (reads, steps, windowed and unwindowed aggregates in a chain) and what they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.oracle.aggregates import Aggregate, Overflow, evaluate
from tests.oracle.expect import Exactly, Expected
from tests.oracle.expressions import Filter, Step
from tests.oracle.formed import Session, is_late
from tests.oracle.values import Row, Value, canonical, tie_key
from tests.oracle.windows import Event, Read, Span, Window, events, split

Emit = Literal["on_close", "on_change"]


@dataclass(frozen=True, slots=True)
class Branch:
    """One part of the union that a program starts from: a read, filtered."""

    read: int
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps, then a grouped aggregate; without a window its result is a changing table."""

    keys: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    window: Window | Session | None = None
    emit: Emit = "on_close"
    steps: tuple[Step, ...] = ()

    @property
    def changing(self) -> bool:
        """Whether its result is a changing table."""
        return self.window is None or self.emit == "on_change"

    @property
    def group(self) -> tuple[str, ...]:
        """The columns that name a row of its result."""
        return self.keys + (("window_start", "window_end") if self.window else ())


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages one after the other, then steps, into a view."""

    view: str
    stages: tuple[Stage, ...]
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """The union of the branches, read by every pipeline."""

    reads: tuple[Read, ...]
    branches: tuple[Branch, ...]
    pipelines: tuple[Pipeline, ...]


@dataclass(frozen=True, slots=True)
class Late:
    """A row that came after one of its windows was over; without one where rows are taken in order."""

    read: int
    partition: int
    time_us: int
    watermark_us: int
    span: Span | tuple[None, None]


Result = dict[str, Expected]


@dataclass(slots=True)
class Outcome:
    """What one pipeline adds up to at the end of the input.

    Attributes:
        key: The columns that name a row.
        columns: All columns, in order.
        rows: What each row may be, by its key (as ``canonical`` values).
        of_nothing: The row that an aggregate over a whole stream without rows may give, or may not.
        late: The late (row, window) pairs.
        overflows: Rows that were rejected on close because a sum did not fit.
        filtered: Rows that the pipeline's filters dropped, of all stages, or that lie in no window.
        counted: (row, window) pairs of the first stage that were not late.
    """

    key: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: dict[tuple[Hashable, ...], Result] = field(default_factory=dict)
    of_nothing: Result | None = None
    late: Counter[Late] = field(default_factory=Counter)
    overflows: int = 0
    filtered: int = 0
    counted: int = 0


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a program adds up to.

    Attributes:
        outcomes: By view.
        read: Rows of all branches, rejected ones included.
        rejected: Rows of the reads that were rejected at the door.
        filtered: Rows that the branches' filters dropped.
    """

    outcomes: Mapping[str, Outcome]
    read: int
    rejected: int
    filtered: int


@dataclass(frozen=True, slots=True)
class _Item:
    """A row under way; one that a stateful operator made has no event and is never late."""

    time_us: int
    row: Row
    event: Event | None = None
    read: int = 0


def meaning(program: Program) -> Meaning:
    """Return what a program adds up to over all that its reads hold."""
    decoded = [events(read) for read in program.reads]
    items: list[_Item] = []
    seen = filtered = 0
    for branch in program.branches:
        for event in decoded[branch.read][0]:
            seen += 1
            if all(step.condition.value(event.row) is True for step in branch.filters):
                items.append(_Item(event.time_us, event.row, event, branch.read))
            else:
                filtered += 1
    columns = program.reads[program.branches[0].read].columns
    outcomes = {pipeline.view: _run(pipeline, items, columns) for pipeline in program.pipelines}
    rejected = sum(count for _, count in decoded)
    return Meaning(outcomes, seen + rejected, rejected, filtered)


def _run(pipeline: Pipeline, items: Sequence[_Item], columns: tuple[str, ...]) -> Outcome:
    outcome = Outcome()
    results: list[Result] = []
    last = len(pipeline.stages) - 1
    for number, stage in enumerate(pipeline.stages):
        items, columns = _apply(stage.steps, items, columns, outcome)
        results = _aggregate(stage, items, columns, outcome)
        columns = stage.group + tuple(a.name for a in stage.aggregates)
        if number < last:
            items = [_made(stage, result) for result in results]
    outcome.key = pipeline.stages[last].group
    outcome.rows, outcome.columns = _finished(pipeline.steps, results, columns, outcome)
    if outcome.of_nothing is not None:
        of_nothing, _ = _finished(pipeline.steps, [outcome.of_nothing], columns, Outcome())
        outcome.of_nothing = of_nothing.get(())
    return outcome


def _apply(
    steps: Sequence[Step], items: Sequence[_Item], columns: tuple[str, ...], outcome: Outcome
) -> tuple[list[_Item], tuple[str, ...]]:
    kept = list(items)
    for step in steps:
        if isinstance(step, Filter):
            before = len(kept)
            kept = [item for item in kept if step.condition.value(item.row) is True]
            outcome.filtered += before - len(kept)
        else:
            columns = columns if step.name in columns else (*columns, step.name)
            kept = [_Item(i.time_us, {**i.row, step.name: step.of.value(i.row)}, i.event, i.read) for i in kept]
    return kept, columns


def _aggregate(stage: Stage, items: Sequence[_Item], columns: Sequence[str], outcome: Outcome) -> list[Result]:
    groups: dict[tuple[Hashable, ...], list[_Item]] = {}
    names: dict[tuple[Hashable, ...], dict[str, Value]] = {}
    for item, span in _placed(stage, items, columns, outcome):
        named = {key: item.row[key] for key in stage.keys}
        if span is not None:
            named |= {"window_start": span[0], "window_end": span[1]}
        group = tuple(canonical(value) for value in named.values())
        groups.setdefault(group, []).append(item)
        names.setdefault(group, named)
    results = []
    for group, members in groups.items():
        members.sort(key=lambda item: tie_key(item.time_us, item.row, columns))
        result: Result = {name: Exactly(value) for name, value in names[group].items()}
        try:
            for aggregate in stage.aggregates:
                result[aggregate.name] = _evaluate(aggregate, [m.row for m in members], null=stage.changing)
        except Overflow:
            outcome.overflows += 1
            continue
        results.append(result)
    if not stage.keys and stage.window is None and not items:
        outcome.of_nothing = {a.name: _evaluate(a, [], null=True) for a in stage.aggregates}
    return results


def _evaluate(aggregate: Aggregate, rows: Sequence[Row], *, null: bool) -> Expected:
    try:
        return evaluate(aggregate, rows)
    except Overflow:
        if null:
            return Exactly(None)
        raise


def _placed(
    stage: Stage, items: Sequence[_Item], columns: Sequence[str], outcome: Outcome
) -> Iterator[tuple[_Item, Span | None]]:
    """Give each item with each of its windows."""
    if isinstance(stage.window, Session):
        yield from _in_sessions(stage.window, stage.keys, items, columns, outcome)
        return
    for item in items:
        if stage.window is None:
            yield item, None
        elif item.event is None:
            yield from ((item, span) for span in stage.window.spans(item.time_us))  # never late
        else:
            yield from ((item, span) for span in _spans(stage.window, item, item.event, outcome))


def _in_sessions(
    window: Session, keys: Sequence[str], items: Sequence[_Item], columns: Sequence[str], outcome: Outcome
) -> Iterator[tuple[_Item, Span]]:
    members: dict[tuple[Hashable, ...], list[_Item]] = {}
    for item in items:
        if item.event is not None and is_late(item.event):
            assert item.event.watermark_us is not None
            late = Late(item.read, item.event.partition, item.time_us, item.event.watermark_us, (None, None))
            outcome.late[late] += 1
        else:
            members.setdefault(tuple(canonical(item.row[key]) for key in keys), []).append(item)
            outcome.counted += item.event is not None
    for rows in members.values():
        rows.sort(key=lambda item: tie_key(item.time_us, item.row, columns))
        yield from zip(rows, window.spans([item.time_us for item in rows]), strict=True)


def _spans(window: Window, item: _Item, event: Event, outcome: Outcome) -> list[Span]:
    counted, late = split(event, window)
    outcome.counted += len(counted)
    outcome.filtered += not counted and not late  # between two windows that are further apart than long
    for span in late:
        assert event.watermark_us is not None
        outcome.late[Late(item.read, event.partition, item.time_us, event.watermark_us, span)] += 1
    return counted


def _made(stage: Stage, result: Result) -> _Item:
    row = _plain(result)
    end_us = row.get("window_end") if stage.window and not stage.changing else 0  # rows of tables have no time
    assert isinstance(end_us, int)
    return _Item(end_us - 1, row)


def _plain(result: Result) -> dict[str, Value]:
    """Return the values that are known exactly; steps and later stages use no others."""
    return {name: expected.value for name, expected in result.items() if isinstance(expected, Exactly)}


def _finished(
    steps: Sequence[Step], results: Sequence[Result], columns: tuple[str, ...], outcome: Outcome
) -> tuple[dict[tuple[Hashable, ...], Result], tuple[str, ...]]:
    rows: dict[tuple[Hashable, ...], Result] = {}
    for result in results:
        kept = True
        finished = dict(result)
        for step in steps:
            if isinstance(step, Filter):
                kept = kept and step.condition.value(_plain(finished)) is True
            else:
                finished[step.name] = Exactly(step.of.value(_plain(finished)))
        if kept:
            rows[tuple(canonical(finished[name].value) for name in outcome.key)] = finished  # type: ignore[attr-defined]
        else:
            outcome.filtered += 1
    for step in steps:
        if not isinstance(step, Filter) and step.name not in columns:
            columns = (*columns, step.name)
    return rows, columns
