"""Strategies for programs: aggregates, steps, stages, unions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import pyarrow as pa
from hypothesis import strategies as st

from tests.oracle.aggregates import Aggregate, Interpolation, Kind
from tests.oracle.expressions import (
    Both,
    Choose,
    Col,
    Compare,
    Comparison,
    Either,
    Expression,
    FillNull,
    Filter,
    IsNull,
    Lit,
    Not,
    Step,
    WithColumn,
)
from tests.oracle.formed import Session
from tests.oracle.programs import Branch, Emit, Pipeline, Program, Stage
from tests.oracle.windows import Window
from tests.property.cases import Case
from tests.property.kinds import EXACT, KINDS, ColumnKind, aggregates_of
from tests.property.rows import Columns, columns, reads, sessions, windows

AnyWindow = Window | Session
Kinds = Mapping[str, ColumnKind]
Input = Literal["one read", "two reads", "one read twice"]

_COMPARISONS: tuple[Comparison, ...] = ("==", "!=", "<", "<=", ">", ">=")
_INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "lower", "higher", "midpoint", "linear")
_QUANTILES = (0.5, 0.0, 1.0, 0.25, 0.9, 0.99, 1 / 3)


@st.composite
def windowed(draw: st.DrawFn, *, emit: Emit = "on_close", most: int = 2, max_rows: int = 60) -> Case:
    """Draw one or two windowed aggregates over one read."""
    given = draw(columns())
    first = draw(windows())
    pipelines = []
    for number in range(draw(st.integers(1, most))):
        window = draw(windows()) if number else first
        pipelines.append(draw(_pipeline(f"v{number}", given.kinds, window, emit)))
    return draw(_case(given, first, pipelines, "one read", max_rows))


@st.composite
def unwindowed(draw: st.DrawFn) -> Case:
    """Draw one or two changing tables over one read."""
    given = draw(columns())
    pipelines = [draw(_pipeline(f"v{number}", given.kinds, None)) for number in range(draw(st.integers(1, 2)))]
    return draw(_case(given, draw(windows()), pipelines, "one read", 60))


@st.composite
def unions(draw: st.DrawFn) -> Case:
    """Draw aggregates over a union of two reads, or of two filtered branches of one."""
    given = draw(columns())
    window = draw(windows())
    emit: Emit = draw(st.sampled_from(["on_close", "on_change"]))
    pipelines = [draw(_pipeline("v0", given.kinds, draw(st.sampled_from([window, window, None])), emit))]
    source: Input = draw(st.sampled_from(["two reads", "one read twice"]))
    return draw(_case(given, window, pipelines, source, 40))


@st.composite
def chains(draw: st.DrawFn) -> Case:
    """Draw an aggregate of an aggregate: windows of windows, tables of windows."""
    given = draw(columns())
    window = draw(windows())
    first = draw(_stage(given.kinds, window, "on_close", exact=True))
    between = _result_kinds(first, given.kinds)
    again = draw(windows()) if draw(st.booleans()) else None
    second = draw(_stage(between, again, "on_close", exact=True, prefix="s"))
    return draw(_case(given, window, [Pipeline("v0", (first, second))], "one read", 40))


@st.composite
def in_sessions(draw: st.DrawFn) -> Case:
    """Draw one or two aggregates of sessions over one read, or over a union."""
    given = draw(columns())
    first = draw(sessions())
    pipelines = []
    for number in range(draw(st.integers(1, 2))):
        window = draw(sessions()) if number else first
        pipelines.append(draw(_pipeline(f"v{number}", given.kinds, window)))
    source: Input = draw(st.sampled_from(["one read", "one read", "two reads", "one read twice"]))
    return draw(_case(given, first, pipelines if source == "one read" else pipelines[:1], source, 60))


@st.composite
def chains_of_sessions(draw: st.DrawFn) -> Case:
    """Draw sessions of windows, windows of sessions, tables of sessions, sessions of sessions."""
    given = draw(columns())
    session = draw(sessions())
    form = draw(st.sampled_from(["first", "second", "both"]))
    window: AnyWindow = draw(windows()) if form == "second" else session
    first = draw(_stage(given.kinds, window, "on_close", exact=True))
    between = _result_kinds(first, given.kinds)
    again: AnyWindow | None = draw(st.one_of(st.none(), windows())) if form == "first" else draw(sessions())
    second = draw(_stage(between, again, "on_close", exact=True, prefix="s"))
    return draw(_case(given, window, [Pipeline("v0", (first, second))], "one read", 40))


@st.composite
def tables(draw: st.DrawFn) -> Case:
    """Draw aggregates of a changing table: of rows that come and go."""
    given = draw(columns())
    window = draw(windows())
    first = draw(_stage(given.kinds, draw(st.sampled_from([window, None])), "on_change", exact=True))
    between = _result_kinds(first, given.kinds)
    pipelines = []
    for number in range(draw(st.integers(1, 2))):
        deep = draw(st.booleans())
        stages = [first, draw(_stage(between, None, "on_change", exact=deep, prefix="s"))]
        if deep:
            stages.append(draw(_stage(_result_kinds(stages[1], between), None, "on_change", exact=True, prefix="t")))
        pipelines.append(Pipeline(f"v{number}", tuple(stages)))
    return draw(_case(given, window, pipelines, "one read", 40))


@st.composite
def _case(
    draw: st.DrawFn, given: Columns, window: AnyWindow, pipelines: Sequence[Pipeline], source: Input, max_rows: int
) -> Case:
    count = 2 if source == "two reads" else 1
    found = [draw(reads(given, window, max_rows=max_rows // count)) for _ in range(count)]
    branches = [Branch(0), Branch(count - 1)] if source != "one read" else [Branch(0)]
    if source != "one read":
        branches = [Branch(b.read, tuple(draw(st.lists(_filters(given.kinds), max_size=1)))) for b in branches]
    program = Program(tuple(read for read, _ in found), tuple(branches), tuple(pipelines))
    return Case(program, given.schema, tuple(cuts for _, cuts in found))


@st.composite
def _pipeline(draw: st.DrawFn, name: str, kinds: Kinds, window: AnyWindow | None, emit: Emit = "on_close") -> Pipeline:
    stage = draw(_stage(kinds, window, emit))
    if not draw(st.booleans()):
        return Pipeline(name, (stage,))
    counted = Stage(stage.keys, (*stage.aggregates, Aggregate("n", "rows")), window, emit, stage.steps)
    comparison: Comparison = draw(st.sampled_from([">", "<=", "=="]))
    condition = Compare(Col("n"), comparison, Lit(draw(st.integers(0, 4))))
    after: Step = Filter(condition) if draw(st.booleans()) else WithColumn("many", condition)
    return Pipeline(name, (counted,), (after,))


@st.composite
def _stage(
    draw: st.DrawFn,
    kinds: Kinds,
    window: AnyWindow | None,
    emit: Emit,
    *,
    exact: bool = False,
    least_keys: int = 0,
    prefix: str = "r",
) -> Stage:
    """Draw a stage; one that others build on is ``exact``: each result is one value, in no order."""
    known = dict(kinds)
    steps: list[Step] = []
    for _ in range(draw(st.integers(0, 2))):
        step, known = draw(_steps(known))
        steps.append(step)
    named = [name for name in known if name not in ("window_start", "window_end")]
    keys = draw(st.lists(st.sampled_from(named), min_size=least_keys, max_size=2, unique=True))
    count = draw(st.integers(1, 4))
    aggregates = tuple(draw(_aggregates(f"{prefix}{number}", known, exact=exact)) for number in range(count))
    return Stage(tuple(keys), aggregates, window, emit, tuple(steps))


@st.composite
def _aggregates(draw: st.DrawFn, name: str, kinds: Kinds, *, exact: bool) -> Aggregate:
    column = draw(st.sampled_from(list(kinds)))
    allowed: Collection[Kind] = ("rows", *aggregates_of(kinds[column]))
    if exact:
        floats = pa.types.is_floating(kinds[column].type)
        allowed = [one for one in allowed if one in EXACT and not (one == "sum" and floats)]
    kind: Kind = draw(st.sampled_from(list(allowed)))
    if kind == "rows":
        return Aggregate(name, kind)
    by = draw(st.sampled_from(list(kinds))) if kind in ("arg_min", "arg_max") else ""
    q = draw(st.sampled_from(_QUANTILES)) if "quantile" in kind else 0.5
    interpolation = draw(st.sampled_from(_INTERPOLATIONS)) if kind == "quantile" else "nearest"
    return Aggregate(name, kind, column, by, q, interpolation, unsigned=kinds[column].type == pa.uint64())


@st.composite
def _steps(draw: st.DrawFn, kinds: Kinds) -> tuple[Step, dict[str, ColumnKind]]:
    """Draw a step, and the columns after it."""
    what = draw(st.sampled_from(["filter", "flag", "fill", "replace"]))
    if what == "filter":
        return draw(_filters(kinds)), dict(kinds)
    if what == "flag":
        return WithColumn("flag", draw(_conditions(kinds))), {**kinds, "flag": KINDS["bool"]}
    column = draw(st.sampled_from(list(kinds)))
    kind = kinds[column]
    if not kind.literals:
        same = [name for name, other in kinds.items() if other.type == kind.type]
        value: Expression = Col(draw(st.sampled_from(same)))
    else:
        value = _literal(draw(st.sampled_from(kind.special)), kind)
    if what == "fill":
        return WithColumn("filled", FillNull(Col(column), value)), {**kinds, "filled": kind}
    # The time column too: rows keep the time that they came with.
    return WithColumn(column, Choose(draw(_conditions(kinds)), value, Col(column))), {**kinds, column: kind}


@st.composite
def _filters(draw: st.DrawFn, kinds: Kinds) -> Filter:
    return Filter(draw(_conditions(kinds)))


@st.composite
def _conditions(draw: st.DrawFn, kinds: Kinds) -> Expression:
    first = draw(_comparisons(kinds))
    form = draw(st.sampled_from(["plain", "plain", "not", "both", "either"]))
    if form == "plain":
        return first
    if form == "not":
        return Not(first)
    second = draw(_comparisons(kinds))
    return Both(first, second) if form == "both" else Either(first, second)


@st.composite
def _comparisons(draw: st.DrawFn, kinds: Kinds) -> Expression:
    column = draw(st.sampled_from(list(kinds)))
    kind = kinds[column]
    if draw(st.integers(0, 3)) == 0:
        return IsNull(Col(column))
    if kind.literals:
        value: Expression = _literal(draw(st.sampled_from(kind.special)), kind)
    elif pa.types.is_integer(kind.type):
        value = Lit(draw(st.integers(0, 3)))
    else:
        same = [name for name, other in kinds.items() if other.type == kind.type]
        value = Col(draw(st.sampled_from(same)))
    return Compare(Col(column), draw(st.sampled_from(_COMPARISONS)), value)


def _literal(value: object, kind: ColumnKind) -> Lit:
    return Lit(value, timestamp=pa.types.is_timestamp(kind.type))  # type: ignore[arg-type]  # from the kind's values


def _result_kinds(stage: Stage, kinds: Kinds) -> dict[str, ColumnKind]:
    """Return the columns of a stage's result."""
    known = dict(kinds)
    for step in stage.steps:
        if isinstance(step, WithColumn):
            known.setdefault(step.name, KINDS["bool"])
            if isinstance(step.of, FillNull):
                assert isinstance(step.of.of, Col)
                known[step.name] = known[step.of.of.name]
    result = {name: known[name] for name in stage.keys}
    if stage.window is not None:
        result |= {"window_start": KINDS["timestamp"], "window_end": KINDS["timestamp"]}
    return result | {made.name: _result_kind(made, known) for made in stage.aggregates}


def _result_kind(made: Aggregate, known: Kinds) -> ColumnKind:
    if made.kind in ("any", "all"):
        return KINDS["bool"]
    if made.kind in ("min", "max"):
        return known[made.column]
    return KINDS["uint64"] if made.kind == "sum" and made.unsigned else KINDS["int64"]
