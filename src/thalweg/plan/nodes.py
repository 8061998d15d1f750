"""The nodes of a plan: what to compute, as pure data.

A node knows its inputs and what its output looks like (``schema``, ``changing``, ``timed``); the builder
works that out, so a node that exists is right. The graph hangs together by object identity: a node that
two streams share is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from thalweg.core.errors import Place
from thalweg.core.ports import Sink, Source
from thalweg.core.schema import Schema
from thalweg.core.state_class import StateClass
from thalweg.plan.expr import Expr
from thalweg.plan.windows import AnyWindow, CountWindow, Window

Emit: TypeAlias = Literal["on_close", "on_change"]
How: TypeAlias = Literal["inner", "left", "right", "full", "semi", "anti"]
Order: TypeAlias = Literal["time", "arrival"]
UserFunction: TypeAlias = Callable[..., Any]  # the user's: its signature is the user's affair


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """A step of the plan.

    Attributes:
        schema: The columns that come out.
        changing: Whether rows can be withdrawn again.
        timed: Whether rows have an event time.
        place: The line of the program that made it.
    """

    schema: Schema
    changing: bool
    timed: bool
    place: Place | None

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes that it reads."""
        return ()

    @property
    def verb(self) -> str:
        """What it does, in a word."""
        return type(self).__name__.lower()

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        """Return the same step over other inputs."""
        assert not inputs, f"{self.verb} reads nothing"
        return self


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Read(Node):
    """Rows of a source.

    Attributes:
        source: Where they come from.
        declared: Whether the program gave the schema.
        time: The event time, over the decoded row.
        time_unit: The unit of an integer time.
        lateness_us: How far a row may lie behind the greatest time before it in its partition.
        idle_timeout_us: After how much silence a partition no longer holds the watermark; None for never.
        max_jump_us: By how much a time may exceed the partition's running maximum.
    """

    source: Source
    declared: bool
    time: Expr | None
    time_unit: Literal["s", "ms", "us", "ns"] | None
    lateness_us: int
    idle_timeout_us: int | None
    max_jump_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step(Node):
    """A node with one input."""

    input: Node

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        (only,) = inputs
        return replace(self, input=only)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Filter(Step):
    """The rows for which a condition is true."""

    predicate: Expr


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Project(Step):
    """A new set of columns: ``(name, expression)`` each.

    Attributes:
        method: The builder method that made it, for people.
    """

    columns: tuple[tuple[str, Expr], ...]
    method: str

    @property
    def verb(self) -> str:
        return self.method


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explode(Step):
    """A row for each item of a list column; an empty list or null gives one row with null."""

    column: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unnest(Step):
    """The fields of a struct column as columns."""

    column: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapRows(Step):
    """A user's function over rows as dicts.

    Attributes:
        flat: Whether it gives any number of rows for each, instead of one.
    """

    function: UserFunction
    flat: bool

    @property
    def verb(self) -> str:
        return "flat_map" if self.flat else "map"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapBatches(Step):
    """A user's function over Arrow tables, as many rows out as in."""

    function: UserFunction

    @property
    def verb(self) -> str:
        return "map_batches"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Union(Node):
    """The rows of several streams with the same columns."""

    streams: tuple[Node, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return self.streams

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        return replace(self, streams=tuple(inputs))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Aggregate(Step):
    """Aggregates per key, and per window if there is one.

    Attributes:
        keys: Name and expression of each key column.
        aggregates: Name and expression of each result; the expressions combine aggregate calls.
        window: The windows; None for the whole stream.
        emit: One final row when a window closes, or a changing table.
        labelled_by: The time that says which windows a row belongs to, where the input is changing.
    """

    keys: tuple[tuple[str, Expr], ...]
    aggregates: tuple[tuple[str, Expr], ...]
    window: AnyWindow | None
    emit: Emit
    labelled_by: Expr | None = None


@dataclass(frozen=True, slots=True)
class Windows:
    """What ``.window(…)`` says.

    Attributes:
        window: The windows.
        emit: One final row when a window closes, or a changing table.
        labelled_by: The time that says which windows a row belongs to, where the input is changing.
    """

    window: AnyWindow
    emit: Emit
    labelled_by: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReduceByKey(Step):
    """Rows combined two by two per key, by a user's function that is associative and commutative.

    Attributes:
        key: The key column.
        function: Takes two rows as dicts and gives one.
    """

    key: str
    function: UserFunction

    @property
    def verb(self) -> str:
        return "reduce_by_key"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paired(Node):
    """A node with two inputs that it tells apart."""

    left: Node
    right: Node

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.left, self.right)

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        left, right = inputs
        return replace(self, left=left, right=right)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Join(Paired):
    """Rows of two streams that agree in some columns, side by side. Null agrees with nothing.

    Attributes:
        keys: The columns, of the same name and type on both sides; they come out once.
        how: What becomes of rows without a partner.
        within: Where rows of streams are joined that are not far apart: the least and the greatest of the right
            row's time less the left row's, in microseconds. None: rows of tables, however far apart.
        renamed: The right side's other columns, and what they are called in the result.
    """

    keys: tuple[str, ...]
    how: How
    within: tuple[int, int] | None
    renamed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JoinAsof(Paired):
    """Each row of the left stream beside the version of its key that was valid at its time.

    Attributes:
        keys: The columns that name what has versions; null names nothing.
        renamed: The right side's other columns, and what they are called in the result.
    """

    keys: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]

    @property
    def verb(self) -> str:
        return "join_asof"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lookup(Step):
    """Each row beside the row of a reference with the same key, as it is when the row comes.

    Attributes:
        reference: Where the reference is read from.
        reference_schema: Its columns.
        keys: The columns that name a row of it.
        renamed: Its other columns, and what they are called in the result.
        refresh_us: After how long it is read again, in microseconds; None for never.
    """

    reference: Source
    reference_schema: Schema
    keys: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    refresh_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dedupe(Step):
    """The first of the rows that agree in some columns.

    Attributes:
        keys: The columns.
        within_us: A row is kept if none of its key was kept so long before it, in microseconds. None: the first
            row per key alone, a changing table.
    """

    keys: tuple[str, ...]
    within_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TopK(Step):
    """The first rows of an order, per key, numbered by the column ``rank``.

    Attributes:
        rows: How many, per key.
        by: What rows are ordered by, the greatest first; null last.
        reverse: For each of ``by``: whether the least come first.
        per: The key columns.
        closes: The key column that holds the end of the window with which the result is final; None: it changes.
    """

    rows: int
    by: tuple[Expr, ...]
    reverse: tuple[bool, ...]
    per: tuple[str, ...]
    closes: str | None

    @property
    def verb(self) -> str:
        return "top_k"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Process(Step):
    """A user's function with a state per key.

    Attributes:
        function: Takes rows and the state of their key, gives rows.
        on_timer: Called when a timer is due; None where the function sets none.
        keys: The key columns.
        state: The class of the state.
        state_schema: Its fields as columns; None where the function is given objects of the class.
        ttl_us: For how long the state of a key without rows is kept, in microseconds of event time; None for ever.
        by_batch: Whether the function takes an Arrow table of all rows of a step, and the states of their keys.
        order: Whether rows come in the order of time, or as they arrive.
    """

    function: UserFunction
    on_timer: UserFunction | None
    keys: tuple[str, ...]
    state: StateClass
    state_schema: Schema | None
    ttl_us: int | None
    by_batch: bool
    order: Order


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Late(Step):
    """The rows that came too late for a window of the input, one for each window missed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Errors(Step):
    """The rows that the input rejected, with step, place and reason."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ViewOutput:
    """A view that a stream is written to.

    Attributes:
        name: The view's name.
        key: The columns that name a row, if any do.
    """

    name: str
    key: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Write(Step):
    """The end of a stream."""

    output: Sink | ViewOutput


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All that one app computes.

    Attributes:
        name: The app's name.
        writes: The ends of its streams, in the program's order.
    """

    name: str
    writes: tuple[Write, ...]

    def nodes(self) -> tuple[Node, ...]:
        """Return every node once, inputs before what reads them, in the program's order."""
        return tuple(_in_order(self.writes))

    def numbers(self) -> dict[Node, int]:
        """Return each node's number, from 1, as plans, reports and ledgers show it."""
        return {node: number for number, node in enumerate(self.nodes(), start=1)}


def _in_order(ends: Sequence[Node]) -> Iterator[Node]:
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(end, False) for end in reversed(ends)]
    while stack:
        node, done = stack.pop()
        if done:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(needed, False) for needed in reversed(node.inputs) if id(needed) not in seen]


def key_of(node: Node) -> tuple[str, ...] | None:
    """Return the columns that name a row of this node's output, where the plan knows them."""
    if isinstance(node, Aggregate) and isinstance(node.window, CountWindow):
        return None  # rows of one time can fill several runs
    if isinstance(node, Aggregate):
        window = ("window_start", "window_end") if node.window else ()
        return tuple(name for name, _ in node.keys) + window
    if isinstance(node, ReduceByKey):
        return (node.key,)
    if isinstance(node, TopK):
        return (*node.per, "rank")
    if isinstance(node, Dedupe) and node.within_us is None:
        return node.keys
    if isinstance(node, Filter):
        return key_of(node.input)
    if isinstance(node, Project):
        key = key_of(node.input)
        kept = {_plain(expr): name for name, expr in node.columns}
        return tuple(kept[k] for k in key) if key is not None and all(k in kept for k in key) else None
    return None


def closing_column(node: Node) -> str | None:
    """Return the column that holds the ends of the windows that made a node's rows; None if no windows did.

    Such rows come when their window closes, so none of a window comes after the watermark has passed its end.
    """
    if node.changing or not node.timed:
        return None
    match node:
        case Aggregate(window=Window()):
            return "window_end"
        case Filter() | Dedupe():
            return closing_column(node.input)
        case TopK():
            return node.closes
        case Join(within=(0, 0)):
            found = closing_column(node.left)
            return found if found in node.keys else None
        case Project():
            column = closing_column(node.input)
            return next((name for name, expr in node.columns if column is not None and _plain(expr) == column), None)
        case _:
            return None


def _plain(expr: Expr) -> str | None:
    from thalweg.plan.expr import Alias, Column

    while isinstance(expr, Alias):
        expr = expr.expr
    return expr.name if isinstance(expr, Column) else None
