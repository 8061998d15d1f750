"""Streams: what a program is built of. Immutable; building one runs nothing.

Every method returns a new stream; a mistake (an unknown column, a wrong type, a window without time)
is a ``PlanError`` that names the line of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.types as t

from thalweg.columnar.rules import RuleSet
from thalweg.core.envelope import ERROR_SCHEMA
from thalweg.core.errors import PlanError, near, short, user_place
from thalweg.core.ports import Sink
from thalweg.core.schema import Field, Schema, schema_of
from thalweg.plan import nodes as n
from thalweg.plan.build import BOUNDS, aggregate_node, annotation, check_names, function_schema, unsupported
from thalweg.plan.expr import Column, Expr, as_expr, infer, infer_type, is_aggregate, output_name, show
from thalweg.plan.windows import Duration, Window, as_window

_ERRORS = schema_of(ERROR_SCHEMA)


class Registry(Protocol):
    """Where the ends of streams are noted: the app."""

    def add_write(self, write: n.Write) -> None:
        """Note the end of a stream."""
        ...


class ViewLike(Protocol):
    """A description of a view: it has a name and a key, and nothing to open."""

    @property
    def name(self) -> str:
        """The view's name."""
        ...

    @property
    def key(self) -> tuple[str, ...] | None:
        """The columns that name a row."""
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
        """The rows that came too late for a window of this stream, one for each window missed.

        Shape: the columns that went into the windows, then ``window_start`` and ``window_end`` of the
        window missed.

        Raises:
            PlanError: The stream is not made by windows.
        """
        node = self._node
        if not isinstance(node, n.Aggregate) or node.window is None:
            raise PlanError(".late is what a windowed aggregate puts aside; this stream is made by " + node.verb)
        taken = node.input.schema
        bounds = BOUNDS
        if any(field.name in taken for field in BOUNDS):
            bounds = tuple(Field(f"missed_{field.name}", field.type, False) for field in BOUNDS)  # type: ignore[assignment]  # two of them
        schema = Schema((*taken.fields, *bounds))
        return self._of(n.Late(input=node, schema=schema, changing=False, timed=False, place=user_place()))

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
            expr = self._row_expr(predicate, "filter")
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
        return self._project(self._named(exprs, named, "select"), "select")

    def with_columns(self, *exprs: object, **named: object) -> Stream:
        """Add columns, or replace those of the same name."""
        made = dict(self._named(exprs, named, "with_columns"))
        columns = [(name, made.pop(name, Column(name))) for name in self.schema.names]
        return self._project([*columns, *made.items()], "with_columns")

    def drop(self, *names: str) -> Stream:
        """Leave columns out."""
        for name in names:
            self._known(name, "drop")
        kept = [(name, Column(name)) for name in self.schema.names if name not in names]
        return self._project(kept, "drop")

    def rename(self, mapping: Mapping[str, str]) -> Stream:
        """Give columns other names: ``{"old": "new"}``."""
        for name in mapping:
            self._known(name, "rename")
        return self._project([(mapping.get(name, name), Column(name)) for name in self.schema.names], "rename")

    def explode(self, column: str) -> Stream:
        """Make a row of each item of a list; an empty list or null gives one row with null."""
        field = self._known(column, "explode")
        if not t.is_list(field.type):
            raise PlanError(f'.explode("{column}"): the column is {field.type}, not a list')
        fields = [Field(f.name, f.type.value_type) if f.name == column else f for f in self.schema]
        return self._step(n.Explode, Schema(tuple(fields)), column=column)

    def unnest(self, column: str) -> Stream:
        """Put the fields of a struct in its place."""
        field = self._known(column, "unnest")
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
        streams = (self, *others)
        for other in others:
            if not isinstance(other, Stream):
                raise PlanError(f".union({short(other)}): streams are wanted")
            if [(f.name, f.type) for f in other.schema] != [(f.name, f.type) for f in self.schema]:
                raise PlanError(f".union: the columns differ: ({self.schema}) and ({other.schema}); use select first")
        fields = [Field(f.name, f.type, any(other.schema[f.name].nullable for other in streams)) for f in self.schema]
        node = n.Union(
            streams=tuple(stream._node for stream in streams),
            schema=Schema(tuple(fields)),
            changing=any(stream.changing for stream in streams),
            timed=all(stream._node.timed for stream in streams),
            place=user_place(),
        )
        return self._of(node)

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
        self._known(key, "reduce_by_key")
        if not callable(function):
            raise PlanError(f"reduce_by_key({key!r}, {short(function)}): a function of two rows is wanted")
        if self.changing:
            raise unsupported("reduce_by_key", "a changing table")
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
        return GroupedStream(self, tuple(self._named(keys, named, "group_by")))

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

    def write(self, output: Sink | ViewLike) -> Stream:
        """Send the rows to a sink or view; returns this stream, so that it can be written to more than one.

        Raises:
            PlanError: The sink cannot take a changing stream, or the view's name or key cannot be used.
        """
        node = self._node
        if isinstance(output, Sink):
            if self.changing and output.changes == "refused":
                raise PlanError(
                    f"{output.describe()} only adds rows, but this stream is a changing table; write it to a view, or "
                    'use .window(…, emit="on_close")'
                )
            end: Sink | n.ViewOutput = output
        elif hasattr(output, "name") and hasattr(output, "key"):
            end = n.ViewOutput(name=output.name, key=self._view_key(output))
        else:
            raise PlanError(
                f".write({short(output)}): a sink of thalweg.connect is wanted, such as view(…) or files(…)"
            )
        self._registry.add_write(
            n.Write(
                input=node,
                output=end,
                schema=node.schema,
                changing=node.changing,
                timed=node.timed,
                place=user_place(),
            )
        )
        return self

    def _view_key(self, output: ViewLike) -> tuple[str, ...] | None:
        derived = n.key_of(self._node)
        if output.key is None:
            return derived
        for name in output.key:
            self._known(name, f"write(view({output.name!r}, key=…))")
        if derived is None or set(derived) != set(output.key):
            known = f"the key is {', '.join(derived)}" if derived else "no columns are known to name a row"
            raise PlanError(
                f"view({output.name!r}, key={output.key}): {known}; leave key out, or group the stream by the key first"
            )
        return output.key

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
        if self.changing:
            raise unsupported(method, "a changing table")
        check_names(schema.names, method)
        RuleSet(schema)  # a rule that does not fit its column is a mistake of the program
        node = self._node
        return self._of(
            kind(input=node, schema=schema, changing=False, timed=node.timed, place=user_place(), **details)
        )

    def _project(self, columns: Iterable[tuple[str, Expr]], method: str) -> Stream:
        node = self._node
        pairs = tuple(columns)
        if not pairs:
            raise PlanError(f".{method}: no column is left")
        check_names([name for name, _ in pairs], method)
        fields = []
        for name, expr in pairs:
            field = infer(expr, node.schema)
            if pa.types.is_null(infer_type(expr, node.schema).type):
                raise PlanError(f'.{method}: "{name}" is always null and has no type; use .cast(…)')
            fields.append(Field(name, field.type, field.nullable))
        return self._of(
            n.Project(
                input=node,
                columns=pairs,
                method=method,
                schema=Schema(tuple(fields)),
                changing=node.changing,
                timed=node.timed,
                place=user_place(),
            )
        )

    def _named(self, exprs: Iterable[object], named: Mapping[str, object], method: str) -> list[tuple[str, Expr]]:
        flat: list[object] = []
        for expr in exprs:
            flat += expr if isinstance(expr, (list, tuple)) else [expr]
        pairs = []
        for value in flat:
            expr = self._row_expr(value, method)
            pairs.append((output_name(expr), expr))
        pairs += [(name, self._row_expr(value, method)) for name, value in named.items()]
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise PlanError(f'.{method}: two columns would have the name "{name}"; name one with a keyword')
            seen.add(name)
        return pairs

    def _row_expr(self, value: object, method: str) -> Expr:
        expr = as_expr(value, column=True)
        infer(expr, self.schema)
        if is_aggregate(expr):
            raise PlanError(f".{method}({show(expr)}): an aggregate is computed by .agg(…)")
        return expr

    def _known(self, name: str, method: str) -> Field:
        if name not in self.schema:
            raise PlanError(f'.{method}: there is no column "{name}"; {near(name, self.schema.names)}')
        return self.schema[name]


@dataclass(frozen=True, slots=True, eq=False)
class GroupedStream:
    """A stream grouped by keys, on its way to ``agg``."""

    _stream: Stream
    _keys: tuple[tuple[str, Expr], ...]

    def window(self, window: Window | Duration, emit: n.Emit = "on_close") -> WindowedStream:
        """Group by event-time windows too.

        Args:
            window: ``tumbling``, ``hopping``, ``cumulating``, or a duration for a tumbling one.
            emit: ``on_close``: one final row per key and window. ``on_change``: a changing table.

        Raises:
            PlanError: The stream has no event time, or is changing.
        """
        found = as_window(window)
        if emit not in ("on_close", "on_change"):
            raise PlanError(f'.window(emit={emit!r}): allowed are "on_close" and "on_change"')
        node = self._stream._node
        if node.changing:
            if emit == "on_close":
                raise PlanError('.window(…, emit="on_close") needs rows that stay; this stream is a changing table')
            raise unsupported("window", "a changing table")
        if not node.timed:
            raise PlanError(
                ".window(…) needs event time, and this stream has none; give it with "
                'app.read(…, time="COLUMN", lateness="5s")'
            )
        return WindowedStream(self, found, emit)

    def agg(self, *exprs: object, **named: object) -> Stream:
        """Aggregate per key over the whole stream: a changing table.

        Shape: the keys, then one column per aggregate; one row per key.

        State: one row per key, for ever.
        """
        stream = self._stream
        return stream._of(aggregate_node(stream._node, self._keys, None, "on_change", exprs, named))


@dataclass(frozen=True, slots=True, eq=False)
class WindowedStream:
    """A stream grouped by keys and windows, on its way to ``agg``."""

    _grouped: GroupedStream
    _window: Window
    _emit: n.Emit

    def agg(self, *exprs: object, **named: object) -> Stream:
        """Aggregate per key and window.

        Shape: the keys, ``window_start``, ``window_end``, then one column per aggregate.

        State: until a window closes.
        """
        stream, keys = self._grouped._stream, self._grouped._keys
        return stream._of(aggregate_node(stream._node, keys, self._window, self._emit, exprs, named))
