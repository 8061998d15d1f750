"""Streams: what a program is built of. Immutable; building one runs nothing.

Every method returns a new stream; a mistake (an unknown column, a wrong type, a window without time)
is a ``PlanError`` that names the line of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.types as t

from thalweg.columnar.rules import RuleSet
from thalweg.core.envelope import ERROR_SCHEMA
from thalweg.core.errors import PlanError, short, user_place
from thalweg.core.ports import Sink, Source
from thalweg.core.schema import Field, Schema, schema_of
from thalweg.plan import nodes as n
from thalweg.plan.build import (
    aggregate_node,
    annotation,
    check_names,
    function_schema,
    known,
    named_exprs,
    project_node,
    row_expr,
    windows_of,
)
from thalweg.plan.build_ends import ViewLike, late_node, union_node, write_node
from thalweg.plan.build_joins import Within, asof_node, join_node, lookup_node
from thalweg.plan.build_ordered import dedupe_node, process_node, top_k_node
from thalweg.plan.expr import Column, Expr, infer, show
from thalweg.plan.windows import AnyWindow, Duration, as_window

_ERRORS = schema_of(ERROR_SCHEMA)


class Registry(Protocol):
    """Where the ends of streams are noted: the app."""

    def add_write(self, write: n.Write) -> None:
        """Note the end of a stream."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Rows that flow, append-only or changing.

    Made by ``App.read``; see the methods for what can be done with it.
    """

    _node: n.Node
    _registry: Registry

    def __repr__(self) -> str:
        return f"Stream({self.schema})"

    @property
    def schema(self) -> Schema:
        """The stream's columns."""
        return self._node.schema

    @property
    def changing(self) -> bool:
        """Whether rows can be withdrawn again: the stream adds up to a table."""
        return self._node.changing

    @property
    def late(self) -> Stream:
        """The rows that came too late for this step, for windows one for each window missed.

        Shape: the columns that went into the step; for windows on a grid then ``window_start`` and ``window_end`` of
        the window missed.

        Raises:
            PlanError: No row can be late for the step, or it is a join, whose late rows are of two kinds.
        """
        return self._of(late_node(self._node))

    @property
    def errors(self) -> Stream:
        """The rows that this step rejected: ``step, place, column, reason, traceback, time, row, encoding``."""
        return self._of(n.Errors(input=self._node, schema=_ERRORS, changing=False, timed=False, place=user_place()))

    def filter(self, *predicates: object) -> Stream:
        """Keep the rows for which every condition is true (null is not).

        Raises:
            PlanError: A condition is not boolean, or names a column that is not there.
        """
        if not predicates:
            raise PlanError(".filter() needs a condition")
        node = self._node
        for predicate in predicates:
            expr = row_expr(self._node, predicate, "filter")
            if (kind := infer(expr, node.schema).type) != pa.bool_():
                raise PlanError(f".filter({show(expr)}): a condition is true or false; this is {kind}")
            node = n.Filter(
                input=node,
                predicate=expr,
                schema=node.schema,
                changing=node.changing,
                timed=node.timed,
                place=user_place(),
            )
        return self._of(node)

    def select(self, *exprs: object, **named: object) -> Stream:
        """Compute a new set of columns; a text names a column, a keyword names the result."""
        return self._of(project_node(self._node, named_exprs(self._node, exprs, named, "select"), "select"))

    def with_columns(self, *exprs: object, **named: object) -> Stream:
        """Add columns, or replace those of the same name."""
        made = dict(named_exprs(self._node, exprs, named, "with_columns"))
        columns = [(name, made.pop(name, Column(name))) for name in self.schema.names]
        return self._of(project_node(self._node, [*columns, *made.items()], "with_columns"))

    def drop(self, *names: str) -> Stream:
        """Leave columns out."""
        for name in names:
            known(self.schema, name, "drop")
        kept = [(name, Column(name)) for name in self.schema.names if name not in names]
        return self._of(project_node(self._node, kept, "drop"))

    def rename(self, mapping: Mapping[str, str]) -> Stream:
        """Give columns other names: ``{"old": "new"}``."""
        for name in mapping:
            known(self.schema, name, "rename")
        columns = [(mapping.get(name, name), Column(name)) for name in self.schema.names]
        return self._of(project_node(self._node, columns, "rename"))

    def explode(self, column: str) -> Stream:
        """Make a row of each item of a list; an empty list or null gives one row with null."""
        field = known(self.schema, column, "explode")
        if not t.is_list(field.type):
            raise PlanError(f'.explode("{column}"): the column is {field.type}, not a list')
        fields = [Field(f.name, f.type.value_type) if f.name == column else f for f in self.schema]
        return self._step(n.Explode, Schema(tuple(fields)), column=column)

    def unnest(self, column: str) -> Stream:
        """Put the fields of a struct in its place."""
        field = known(self.schema, column, "unnest")
        if not t.is_struct(field.type):
            raise PlanError(f'.unnest("{column}"): the column is {field.type}, not a struct')
        fields: list[Field] = []
        for f in self.schema:
            fields += [Field(part.name, part.type) for part in f.type] if f.name == column else [f]
        return self._step(n.Unnest, Schema(tuple(fields)), column=column)

    def union(self, *others: Stream) -> Stream:
        """Put the rows of other streams of the same columns beside this one's.

        Raises:
            PlanError: The columns differ.
        """
        return self._of(union_node([self._node, *(_node_of(other, "union") for other in others)]))

    def map(self, function: Callable[[dict[str, Any]], Any], schema: object = None) -> Stream:
        """Call a function for each row, a dict; it returns the new row: a dict, or an object of the schema's class.

        A row on which it raises is rejected with the traceback; the rest go on.

        Args:
            function: Takes a dict, gives a row.
            schema: The new rows' columns; by default the class that the function is annotated to return.
        """
        found = function_schema(function, schema, "map", many=False)
        return self._user(n.MapRows, found, "map", function=function, flat=False)

    def flat_map(self, function: Callable[[dict[str, Any]], Iterable[Any]], schema: object = None) -> Stream:
        """Call a function for each row, a dict; it returns (or yields) any number of new rows.

        Args:
            function: Takes a dict, gives rows.
            schema: The new rows' columns; by default the class in the annotation, as in ``Iterator[Word]``.
        """
        found = function_schema(function, schema, "flat_map", many=True)
        return self._user(n.MapRows, found, "flat_map", function=function, flat=True)

    def map_batches(self, function: Callable[[pa.Table], pa.Table], schema: object = None) -> Stream:
        """Call a function with Arrow tables; it returns as many rows, in order.

        Args:
            function: Takes an Arrow table, gives an Arrow table (or record batch).
            schema: The new columns; by default the same as before.
        """
        found = self.schema if schema is None else schema_of(schema)
        return self._user(n.MapBatches, found, "map_batches", function=function)

    def reduce_by_key(self, key: str | Callable[[dict[str, Any]], Any], function: n.UserFunction) -> Stream:
        """Combine the rows of each key two by two.

        Shape: the same columns, one row per key: a changing table. With a function as the key, its
        value is the additional column ``key``.

        Args:
            key: A column, or a function of a row with a return annotation.
            function: Takes two rows as dicts, gives one; associative and commutative.
        """
        if callable(key):
            hint = annotation(key)
            if hint is None:
                raise PlanError("reduce_by_key: the key function needs a return annotation, such as -> str")
            kind = schema_of(type("Key", (), {"__annotations__": {"key": hint}}))["key"]
            of = key
            schema = Schema((*self.schema.fields, Field("key", kind.type)))
            return self.map(lambda row: row | {"key": of(row)}, schema=schema).reduce_by_key("key", function)
        known(self.schema, key, "reduce_by_key")
        if not callable(function):
            raise PlanError(f"reduce_by_key({key!r}, {short(function)}): a function of two rows is wanted")
        node = n.ReduceByKey(
            input=self._node,
            key=key,
            function=function,
            schema=Schema(tuple(Field(f.name, f.type) for f in self.schema)),
            changing=True,
            timed=False,
            place=user_place(),
        )
        return self._of(node)

    def group_by(self, *keys: object, **named: object) -> GroupedStream:
        """Group rows by columns or expressions; a keyword names a key."""
        return GroupedStream(self, tuple(named_exprs(self._node, keys, named, "group_by")))

    def agg(self, *exprs: object, **named: object) -> Stream:
        """Aggregate the whole stream: a changing table of one row, once there is a row.

        Example:
            >>> import thalweg as tw
            >>> from thalweg.connect import memory, view
            >>> app = tw.App("total")
            >>> sales = app.read(memory([{"price": 3}, {"price": 4}]))
            >>> _ = sales.agg(total=tw.col("price").sum()).write(view("total"))
            >>> app.batch().view("total").to_pylist()
            [{'total': 7}]
        """
        return GroupedStream(self, ()).agg(*exprs, **named)

    def join(
        self, other: Stream, on: str | Sequence[str], how: n.How = "inner", within: Within | None = None
    ) -> Stream:
        """Put the rows of two streams side by side that agree in some columns; null agrees with nothing.

        Shape: the columns of both, those of ``on`` once; another of this stream's names gets the suffix ``_right``.
        With ``semi`` and ``anti`` this stream's columns alone.

        State: with ``within`` rows until no partner can come, and without it both sides' rows for ever. Streams of
        closed windows that are joined on ``window_end`` among others keep a window's rows until all have come.

        Args:
            other: The right stream.
            on: The columns, of the same name and type on both sides.
            how: ``inner``, ``left``, ``right``, ``full``, ``semi`` or ``anti``.
            within: How much later the right row may be: ``"15m"``; or from when to when: ``("-5m", "15m")``. Both
                streams have event times then, and the result is append-only.

        Raises:
            PlanError: A column is not there or differs in type, or ``within`` is given for a changing table.
        """
        return self._of(join_node(self._node, _node_of(other, "join"), on, how, within))

    def join_asof(self, table: Stream, by: str | Sequence[str]) -> Stream:
        """Put beside each row the version of its key that was valid at its time: the last one not later.

        Shape: as for a left join; each row comes once, when the watermark is past its time.

        State: rows ahead of the watermark, and for each key its versions from the last before the watermark on.

        Args:
            table: The versions: a stream with event time, each row valid until the next one of its key.
            by: The columns that name what has versions.

        Raises:
            PlanError: A stream is changing or has no event time, or a column is not there or differs in type.
        """
        return self._of(asof_node(self._node, _node_of(table, "join_asof"), by))

    def lookup(self, reference: Source, on: str | Sequence[str], refresh: Duration | None = "60s") -> Stream:
        """Put beside each row the row of a reference with the same key, as it is when the row comes.

        Shape: as for a left join; one row for each. A key that the reference has several times is an error.

        Order and delivery: what is found depends on when a row comes, not on its event time.

        Args:
            reference: A source that ends, such as ``files("products.csv")``; it is read whole.
            on: The columns that name a row of it.
            refresh: After how long it is read again; None for never.

        Raises:
            PlanError: A column is not there or differs in type.
        """
        if not isinstance(reference, Source):
            raise PlanError(f'.lookup({short(reference)}): a source is wanted, such as files("products.csv")')
        return self._of(lookup_node(self._node, reference, schema_of(reference.schema()), on, refresh))

    def dedupe(self, by: str | Sequence[str], within: Duration | None = None) -> Stream:
        """Keep the first of the rows that agree in some columns, in the order of time.

        Args:
            by: The columns.
            within: A row is kept if none of its key was kept so long before it; the result is append-only. Without
                it the result is a changing table of the first row per key.

        State: with ``within`` rows ahead of the watermark and keys for that long; without it a row per key, for ever.

        Raises:
            PlanError: A column is not there, or the stream is changing or has no event time.
        """
        return self._of(dedupe_node(self._node, by, within))

    def top_k(
        self,
        n: int,
        by: object,
        reverse: bool | Sequence[bool] = False,
        per: str | Sequence[str] | None = None,
    ) -> Stream:
        """Keep the first rows of an order, the greatest first and null last, per key.

        Shape: the same columns and ``rank``, from 1; equal rows are ordered by time, then by all columns.

        State: the rows that can come among the first: for ever, or until the window closes of which ``per`` names the
        end.

        Args:
            n: How many.
            by: Columns or expressions.
            reverse: The least first; one for all, or one for each of ``by``.
            per: Key columns.

        Raises:
            PlanError: A column is not there or has no order.
        """
        return self._of(top_k_node(self._node, n, by, reverse, per))

    def process(
        self,
        function: n.UserFunction,
        key: str | Sequence[str],
        state: type,
        schema: object = None,
        *,
        on_timer: n.UserFunction | None = None,
        ttl: Duration | None = None,
        by_batch: bool = False,
        order: n.Order = "time",
    ) -> Stream:
        """Call a function with each row and the state of its key, in the order of time.

        ``function(row, state, timers)`` gives any number of new rows; ``row`` is a dict, ``state`` an object that it
        may change, and ``timers.set(time)`` has ``on_timer(time, state, timers)`` called with the same state when the
        watermark is there; ``timers.key`` has the key columns. A row on which it raises is rejected, and state and
        timers are as they were before.

        Order and delivery: what it gives has the time of its row or timer; by batch, and in the order of arrival, none.

        State: rows ahead of the watermark; a state per key, for ever or ``ttl`` after its last row or timer.

        Args:
            function: As above; with ``by_batch`` it takes an Arrow table of rows in order, and a table of the states of
                their keys, and gives both: the new rows, and the new states.
            key: The key columns.
            state: The class of the state; all fields have defaults.
            schema: The new rows' columns; by default the class in the annotation, as in ``Iterator[Alert]``.
            on_timer: Gives new rows, too.
            ttl: For how long the state of a key without rows and timers is kept, in event time.
            by_batch: One call for all rows that the watermark has passed, instead of one for each.
            order: ``time``, or ``arrival``: at once, but then the result depends on how rows arrive.

        Raises:
            PlanError: A column is not there, or the stream is changing or has no event time.
        """
        node = process_node(self._node, function, key, state, schema, on_timer, ttl, by_batch, order)
        RuleSet(node.schema)  # a rule that does not fit its column is a mistake of the program
        return self._of(node)

    def write(self, output: Sink | ViewLike) -> Stream:
        """Send the rows to a sink or view; returns this stream, so that it can be written to more than one.

        Raises:
            PlanError: The sink cannot take a changing stream, or the view's name or key cannot be used.
        """
        self._registry.add_write(write_node(self._node, output))
        return self

    def _of(self, node: n.Node) -> Stream:
        return Stream(node, self._registry)

    def _step(self, kind: type[n.Explode] | type[n.Unnest], schema: Schema, *, column: str) -> Stream:
        node = self._node
        return self._of(
            kind(
                input=node,
                column=column,
                schema=schema,
                changing=node.changing,
                timed=node.timed,
                place=user_place(),
            )
        )

    def _user(self, kind: Any, schema: Schema, method: str, **details: Any) -> Stream:  # a node class and its fields
        if not callable(details["function"]):
            raise PlanError(f".{method}({short(details['function'])}): a function is wanted")
        check_names(schema.names, method)
        RuleSet(schema)  # a rule that does not fit its column is a mistake of the program
        node = self._node
        return self._of(
            kind(input=node, schema=schema, changing=node.changing, timed=node.timed, place=user_place(), **details)
        )


@dataclass(frozen=True, slots=True, eq=False)
class GroupedStream:
    """A stream grouped by keys, on its way to ``agg``."""

    _stream: Stream
    _keys: tuple[tuple[str, Expr], ...]

    def window(self, window: AnyWindow | Duration, emit: n.Emit = "on_close", time: object = None) -> WindowedStream:
        """Group by event-time windows too.

        Args:
            window: ``tumbling``, ``hopping``, ``cumulating``, ``session``, ``count_window``, or a duration for a
                tumbling one.
            emit: ``on_close``: one final row per key and window. ``on_change``: a changing table.
            time: The time that says which windows a row belongs to, where the stream is a changing table, whose rows
                have no event time: a column or expression. Nothing is late there, and nothing closes.

        Raises:
            PlanError: The stream has no event time, or is changing and ``time`` is missing.
        """
        found = as_window(window)
        if emit not in ("on_close", "on_change"):
            raise PlanError(f'.window(emit={emit!r}): allowed are "on_close" and "on_change"')
        return WindowedStream(self, windows_of(self._stream._node, found, emit, time))

    def agg(self, *exprs: object, **named: object) -> Stream:
        """Aggregate per key over the whole stream: a changing table.

        Shape: the keys, then one column per aggregate; one row per key.

        State: one row per key, for ever.
        """
        stream = self._stream
        return stream._of(aggregate_node(stream._node, self._keys, None, exprs, named))


@dataclass(frozen=True, slots=True, eq=False)
class WindowedStream:
    """A stream grouped by keys and windows, on its way to ``agg``."""

    _grouped: GroupedStream
    _windows: n.Windows

    def agg(self, *exprs: object, **named: object) -> Stream:
        """Aggregate per key and window.

        Shape: the keys, ``window_start``, ``window_end``, then one column per aggregate.

        State: until a window closes.
        """
        stream, keys = self._grouped._stream, self._grouped._keys
        return stream._of(aggregate_node(stream._node, keys, self._windows, exprs, named))


def _node_of(other: object, method: str) -> n.Node:
    if not isinstance(other, Stream):
        raise PlanError(f".{method}({short(other)}): a stream is wanted")
    return other._node
