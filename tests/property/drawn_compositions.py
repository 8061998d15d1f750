"""Strategies for compositions: a read, then two or three operators, of which some take a second branch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from hypothesis import strategies as st

from tests.oracle import compositions as of
from tests.oracle.aggregates import Aggregate
from tests.oracle.aggregates import Kind as Function
from tests.oracle.compositions import Kind, Node, Source
from tests.oracle.compositions_in_order import Dedupe, Listed, Numbered, TopK
from tests.oracle.compositions_of_two import AsOf, Join
from tests.oracle.expressions import Choose, Col, Compare, Comparison, Expression, FillNull, IsNull, Lit, Not
from tests.oracle.formed import Session
from tests.oracle.interval import How
from tests.oracle.values import Value
from tests.oracle.windows import Cumulating, Hopping, Tumbling, Window
from tests.property.compositions import Composition
from tests.property.kinds import KINDS
from tests.property.rows import SECOND, TIME, Columns, reads

POOLS: dict[Kind, Sequence[Value]] = {
    "int": (0, 1, 2, None, 3, -1, 2**62, 2**63 - 1),
    "text": ("a", "b", None, "", "ä", "a\u0308", "好"),
    "float": (0.0, -0.0, 1.0, None, math.nan, 0.5, -2.25, math.inf, -math.inf),
    "real": (0.1, 0.7, None, 1 / 3, -0.2, math.nan),
    "time": (0, 1, None),
    "bool": (True, False, None),
}
_TYPES: dict[Kind, str] = {"int": "int64", "text": "string", "float": "float64", "real": "float64", "time": "timestamp"}
_KEYS: tuple[Kind, ...] = ("int", "text", "float", "time", "bool")
_FUNCTIONS: dict[Kind, Sequence[Function]] = {
    "int": ("sum", "sum", "min", "max", "mean", "quantile", "user_sum", "user_nulls"),
    "text": ("min", "max"),
    "float": ("sum", "sum", "min", "max", "mean"),
    "real": ("sum", "sum", "min", "max", "mean"),
    "rough": ("sum", "min", "max", "mean"),
    "time": ("min", "max"),
    "bool": ("any", "all", "sum"),
}
_OF_ANY: Sequence[Function] = ("first", "last", "n_unique", "mode", "arg_min", "arg_max", "count")


@dataclass(slots=True)
class _Drawing:
    """What is drawn so far.

    Attributes:
        draw: Draws a value.
        every_us: The scale of windows and of disorder.
        sources: The reads.
        prefixes: Whether each step has to be the answer over a prefix, so that nothing waits for the watermark.
    """

    draw: st.DrawFn
    every_us: int
    sources: list[Source]
    prefixes: bool
    fresh: int = 0
    joins: int = 0
    made: list[Node] = field(default_factory=list)

    def one(self, *values: Any) -> Any:  # of any type
        """Draw one of several values."""
        return self.draw(st.sampled_from(values))

    def name(self) -> str:
        """Return a name that no column has."""
        self.fresh += 1
        return f"c{self.fresh}"

    def some(self, values: Sequence[str], least: int, most: int) -> tuple[str, ...]:
        """Draw some of several names, none twice."""
        most = min(most, len(values))
        if most == 0:
            return ()
        return tuple(
            self.draw(st.lists(st.sampled_from(values), min_size=min(least, most), max_size=most, unique=True))
        )

    def window(self) -> Window:
        """Draw windows on a grid."""
        every = self.every_us
        found: Window = self.one(
            Tumbling(every),
            Tumbling(2 * every, 1),
            Hopping(2 * every, every),
            Hopping(2 * every + every // 3, every),
            Cumulating(3 * every, every),
            Hopping(every // 2, every),
        )
        return found

    def keys(self, node: Node) -> list[str]:
        """Return the columns that can be keys."""
        return [name for name, kind in node.kinds.items() if kind in _KEYS]


@st.composite
def compositions(draw: st.DrawFn, *, prefixes: bool = False, most: int = 45) -> Composition:
    """Draw a program of two or three operators and what its sources hold."""
    every_us = draw(st.sampled_from([3, 10])) * draw(st.sampled_from([SECOND, 1]))
    count = draw(st.sampled_from([1, 1, 2]))
    columns = _columns(draw)
    sources = [Source(number, {name: kind for name, (kind, _) in columns.items()}) for number in range(count)]
    drawing = _Drawing(draw, every_us, sources, prefixes)
    node: Node = sources[0]
    for _ in range(draw(st.sampled_from([2, 2, 3]))):
        node = _then(drawing, node)
        drawing.made.append(node)
    more = draw(st.lists(st.sampled_from(drawing.made), max_size=2, unique_by=id))
    outputs = (*(one for one in more if one is not node), node)
    given = Columns(
        {name: KINDS[_TYPES[kind]] for name, (kind, _) in columns.items()},
        {name: pool for name, (_, pool) in columns.items() if name != TIME},
        frozenset([TIME] if draw(st.booleans()) else []),
    )
    rows = max(3, most // (1 + drawing.joins // 2) // count)
    partitions = 2 if prefixes else 3
    few = draw(st.sampled_from([rows // 2, rows // 2, 0]))
    window = Tumbling(every_us)
    found = [draw(reads(given, window, max_rows=rows, least_rows=few, max_partitions=partitions)) for _ in sources]
    return Composition(
        tuple(read for read, _ in found),
        (given.schema,) * count,
        tuple(cuts for _, cuts in found),
        outputs,
    )


def _columns(draw: st.DrawFn) -> dict[str, tuple[Kind, Sequence[Value]]]:
    """Draw the columns of the sources; both have the same, so that they can be joined."""
    kinds: list[Kind] = [
        draw(st.sampled_from(["int", "text", "float"])),
        "int",
        draw(st.sampled_from(["float", "real"])),
    ]
    names = ["k", "x", "y"][: draw(st.sampled_from([3, 3, 2]))]
    found: dict[str, tuple[Kind, Sequence[Value]]] = {}
    for name, kind in zip(names, kinds, strict=False):
        pool = POOLS[kind]
        found[name] = (kind, draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4)))
    ordered = list(found.items())
    ordered.insert(draw(st.integers(0, len(ordered))), (TIME, ("time", ())))
    return dict(ordered)


def _then(drawing: _Drawing, node: Node) -> Node:
    """Draw an operator over a step's rows."""
    two_sided = [make for can, make in _TWO_SIDED if can(node, drawing)]
    if two_sided and drawing.one(False, True):
        make: Make = drawing.one(*two_sided)
        return _of_few_columns(drawing, make(drawing, node))
    return _of_few_columns(drawing, _one_sided(drawing, node))


def _one_sided(drawing: _Drawing, node: Node) -> Node:
    make: Make = drawing.one(*[make for can, make in _ONE_SIDED if can(node, drawing)])
    return make(drawing, node)


def _of_few_columns(drawing: _Drawing, node: Node) -> Node:
    """Leave columns out where there are many: what matters are the rows."""
    if len(node.columns) <= 6:
        return node
    kept = drawing.some([name for name in node.columns if name != node.closes], 3, 5)
    kept = (*kept, node.closes) if node.closes else kept
    return of.Select(node, tuple((name, name) for name in node.columns if name in kept))


def _branch(drawing: _Drawing, node: Node) -> Node:
    """Draw the second input of an operator: of the same rows, of others, or of an operator over them."""
    base: Node = drawing.one(*drawing.sources, node, *drawing.made)
    if drawing.one(True, False) and not isinstance(base, (Join, AsOf)):
        return _one_sided(drawing, base)
    return base


def _condition(drawing: _Drawing, node: Node) -> Expression:
    names = [name for name, kind in node.kinds.items() if kind in ("int", "text", "float")]
    if not names:
        name = drawing.one(*node.columns)
        return Not(IsNull(Col(name)))
    name = drawing.one(*names)
    value = drawing.one(*[value for value in POOLS[node.kinds[name]] if value is not None])
    comparison: Comparison = drawing.one("<=", ">", "==", "!=")
    return Compare(Col(name), comparison, Lit(value)) if drawing.one(True, True, False) else IsNull(Col(name))


def _filter(drawing: _Drawing, node: Node) -> Node:
    return of.Filter(node, _condition(drawing, node))


def _with_column(drawing: _Drawing, node: Node) -> Node:
    names = [name for name, kind in node.kinds.items() if kind in ("int", "text", "float")]
    condition = _condition(drawing, node)
    if not names:
        return of.WithColumn(node, drawing.name(), condition, "bool")
    name = drawing.one(*names)
    kind = node.kinds[name]
    value = Lit(drawing.one(*[value for value in POOLS[kind] if value is not None]))
    made: Expression = drawing.one(FillNull(Col(name), value), Choose(condition, value, Col(name)))
    return of.WithColumn(node, drawing.name(), made, kind)


def _mapped(drawing: _Drawing, node: Node) -> Node:
    function: of.UserFunction = drawing.one("nulls", "picky", "times")
    numbers = [name for name, kind in node.kinds.items() if kind == "int"]
    if function == "nulls" or not numbers:
        return of.Mapped(node, "nulls", drawing.name())
    return of.Mapped(node, function, drawing.one(*numbers))


def _sorted(drawing: _Drawing, node: Node) -> Node:
    """Return rows without the columns whose exact values are not known: nothing may be decided by those."""
    if all(kind == "rough" for kind in node.kinds.values()):
        node = of.WithColumn(node, drawing.name(), Not(IsNull(Col(node.columns[0]))), "bool")
    exact = [name for name, kind in node.kinds.items() if kind != "rough"]
    return node if len(exact) == len(node.columns) else of.Select(node, tuple((name, name) for name in exact))


def _aggregates(drawing: _Drawing, node: Node) -> tuple[Aggregate, ...]:
    found = []
    fuzzy = "rough" in node.kinds.values()
    for _ in range(drawing.one(1, 2, 3)):
        column = drawing.one(*node.columns)
        kind = node.kinds[column]
        functions = [*_FUNCTIONS[kind], "rows"]
        if not fuzzy:
            functions += _OF_ANY
        function: Function = drawing.one(*functions)
        by = drawing.one(*node.columns) if function in ("arg_min", "arg_max") else ""
        found.append(Aggregate(drawing.name(), function, "" if function == "rows" else column, by))
    return tuple(found)


def _grouped(drawing: _Drawing, node: Node, window: Any, *, final: bool, label: str | None = None) -> Node:
    names = [name for name in drawing.keys(node) if window is None or name not in ("window_start", "window_end")]
    keys = drawing.some(names, 0, 2)
    return of.Grouped(node, keys, _aggregates(drawing, node), window, final, label)


def _unwindowed(drawing: _Drawing, node: Node) -> Node:
    return _grouped(drawing, node, None, final=False)


def _on_close(drawing: _Drawing, node: Node) -> Node:
    return _grouped(drawing, node, drawing.window(), final=True)


def _on_change(drawing: _Drawing, node: Node) -> Node:
    return _grouped(drawing, node, drawing.window(), final=False)


def _labelled(drawing: _Drawing, node: Node) -> Node:
    label = drawing.one(*[name for name, kind in node.kinds.items() if kind == "time"])
    return _grouped(drawing, node, drawing.window(), final=False, label=label)


def _session(drawing: _Drawing, node: Node) -> Node:
    gap = Session(drawing.one(1, drawing.every_us // 2, drawing.every_us, 3 * drawing.every_us))
    return _grouped(drawing, _sorted(drawing, node), gap, final=True)


def _counted(drawing: _Drawing, node: Node) -> Node:
    return _grouped(drawing, _sorted(drawing, node), of.CountWindow(drawing.one(1, 2, 3, 5)), final=True)


def _listed(drawing: _Drawing, node: Node) -> Node:
    node = _sorted(drawing, node)
    keys = drawing.some(drawing.keys(node), 1, 2)
    return Listed(node, keys, drawing.one(*node.columns), drawing.name())


def _top_k(drawing: _Drawing, node: Node) -> Node:
    node = _sorted(drawing, node)
    by = drawing.some(node.columns, 1, 2)
    reverse = tuple(drawing.one(True, False) for _ in by)
    per = drawing.some(drawing.keys(node), 0, 2)
    if node.closes is not None and not drawing.prefixes and drawing.one(True, True, False):
        per = (*(name for name in per if name != node.closes), node.closes)
    made = TopK(node, drawing.one(1, 2, 3), by, reverse, per)
    return of.Select(made, tuple((drawing.name() if name == "rank" else name, name) for name in made.columns))


def _first(drawing: _Drawing, node: Node) -> Node:
    node = _sorted(drawing, node)
    return Dedupe(node, drawing.some(drawing.keys(node), 1, 2), None)


def _dedupe(drawing: _Drawing, node: Node) -> Node:
    node = _sorted(drawing, node)
    within = drawing.one(1, drawing.every_us, 3 * drawing.every_us)
    return Dedupe(node, drawing.some(drawing.keys(node), 1, 2), within)


def _numbered(drawing: _Drawing, node: Node) -> Node:
    node = _sorted(drawing, node)
    return Numbered(node, drawing.some(drawing.keys(node), 1, 2), drawing.name())


def _sides(drawing: _Drawing, left: Node, right: Node) -> tuple[Node, tuple[str, ...]]:
    """Return the right side with other names but for the keys, which are of one kind on both sides."""
    mine = drawing.some([n for n in drawing.keys(left) if left.kinds[n] in _kinds_of(drawing, right)], 1, 2)
    keys: dict[str, str] = {}
    for name in mine:
        same = [n for n in drawing.keys(right) if right.kinds[n] == left.kinds[name] and n not in keys]
        if same:
            keys[drawing.one(*([name] if name in same else []), *same)] = name
    names = tuple((keys[name] if name in keys else drawing.name(), name) for name in right.columns)
    return of.Select(right, names), tuple(keys.values())


def _kinds_of(drawing: _Drawing, node: Node) -> set[Kind]:
    return {node.kinds[name] for name in drawing.keys(node)}


def _join(drawing: _Drawing, node: Node) -> Node:
    right = _branch(drawing, node)
    if not _kinds_of(drawing, node) & _kinds_of(drawing, right):
        return _one_sided(drawing, node)
    drawing.joins += 1
    right, keys = _sides(drawing, node, right)
    made = Join(node, right, keys, drawing.one(*get_args(How)))
    if drawing.prefixes and made.of_windows:  # comes when the window closes
        return _one_sided(drawing, node)
    return made


def _window_join(drawing: _Drawing, node: Node) -> Node:
    """Join rows of windows with the windows of another branch."""
    base = drawing.one(*[one for one in (*drawing.sources, *drawing.made, node) if one.timed and not one.changing])
    right = base if base.closes is not None and drawing.one(True, False) else _on_close(drawing, base)
    drawing.joins += 1
    assert node.closes is not None and right.closes is not None, "both sides are of windows"
    keys = {right.closes: node.closes}
    for name in drawing.some([n for n in drawing.keys(node) if n != node.closes], 0, 1):
        same = [n for n in drawing.keys(right) if right.kinds[n] == node.kinds[name] and n not in keys]
        if same:
            keys[drawing.one(*same)] = name
    names = tuple((keys[name] if name in keys else drawing.name(), name) for name in right.columns)
    return Join(node, of.Select(right, names), tuple(keys.values()), drawing.one(*get_args(How)))


def _interval_join(drawing: _Drawing, node: Node) -> Node:
    right = _timed_branch(drawing, node)
    if right is None:
        return _one_sided(drawing, node)
    drawing.joins += 1
    right, keys = _sides(drawing, node, right)
    every = drawing.every_us
    within = drawing.one((0, every), (-every, every), (0, 0), (-every, 0), (every // 3, every), (-3 * every, -1))
    hows = ("inner", "semi") if drawing.prefixes else get_args(How)
    return Join(node, right, keys, drawing.one(*hows), within)


def _asof(drawing: _Drawing, node: Node) -> Node:
    right = _timed_branch(drawing, node)
    if right is None:
        return _one_sided(drawing, node)
    drawing.joins += 1
    right, keys = _sides(drawing, node, _sorted(drawing, right))
    return AsOf(node, right, keys)


def _timed_branch(drawing: _Drawing, node: Node) -> Node | None:
    """Draw a second input of rows that have a time and stay, and a key of a kind that the first has."""
    right = _branch(drawing, node)
    if right.changing or not right.timed:
        right = drawing.one(*drawing.sources, *[one for one in drawing.made if one.timed and not one.changing])
    return right if _kinds_of(drawing, node) & _kinds_of(drawing, right) else None


def _union(drawing: _Drawing, node: Node) -> Node:
    right = _branch(drawing, node)
    free = list(right.columns)
    pairs = []
    for name in node.columns:
        same = [other for other in free if _alike(right.kinds[other]) == _alike(node.kinds[name])]
        if same:
            pairs.append((name, name if name in same else drawing.one(*same)))
            free.remove(pairs[-1][1])
    if not pairs:
        return _one_sided(drawing, node)
    return of.Union((of.Select(node, tuple((n, n) for n, _ in pairs)), of.Select(right, tuple(pairs))))


def _alike(kind: Kind) -> str:
    return "float" if kind == "float" else _TYPES.get(kind, kind)


def _stays(node: Node, drawing: _Drawing) -> bool:
    return node.timed and not node.changing


def _waits(node: Node, drawing: _Drawing) -> bool:
    return _stays(node, drawing) and not drawing.prefixes


def _any(node: Node, drawing: _Drawing) -> bool:
    return True


Make = Callable[[_Drawing, Node], Node]
Can = Callable[[Node, _Drawing], bool]

_ONE_SIDED: tuple[tuple[Can, Make], ...] = (
    (_any, _filter),
    (_any, _with_column),
    (_any, _mapped),
    (_any, _unwindowed),
    (_any, _unwindowed),
    (_waits, _on_close),
    (_waits, _on_close),
    (_stays, _on_change),
    (_stays, _on_change),
    (lambda node, drawing: node.changing and "time" in node.kinds.values(), _labelled),
    (lambda node, drawing: node.changing and "time" in node.kinds.values(), _labelled),
    (_waits, _session),
    (_waits, _counted),
    (lambda node, drawing: bool(drawing.keys(node)), _listed),
    (_any, _top_k),
    (_any, _top_k),
    (lambda node, drawing: not node.changing and bool(drawing.keys(node)), _first),
    (lambda node, drawing: _waits(node, drawing) and bool(drawing.keys(node)), _dedupe),
    (lambda node, drawing: _waits(node, drawing) and bool(drawing.keys(node)), _numbered),
)
_TWO_SIDED: tuple[tuple[Can, Make], ...] = (
    (lambda node, drawing: drawing.joins < 2, _join),
    (lambda node, drawing: drawing.joins < 2, _join),
    (lambda node, drawing: _waits(node, drawing) and node.closes is not None, _window_join),
    (lambda node, drawing: _waits(node, drawing) and node.closes is not None, _window_join),
    (lambda node, drawing: _stays(node, drawing) and drawing.joins < 2, _interval_join),
    (lambda node, drawing: _stays(node, drawing) and drawing.joins < 2, _interval_join),
    (lambda node, drawing: _stays(node, drawing) and drawing.joins < 2, _interval_join),
    (lambda node, drawing: _waits(node, drawing) and drawing.joins < 2, _asof),
    (lambda node, drawing: _waits(node, drawing) and drawing.joins < 2, _asof),
    (_any, _union),
    (_any, _union),
)
