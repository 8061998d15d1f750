"""Nodes made from what a program says, checked: the rules that the stream builder shares."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow.types as t

from thalweg.core.errors import PlanError, UnsupportedError, near, user_place
from thalweg.core.schema import TIMESTAMP, Field, Schema, schema_of
from thalweg.plan import nodes as n
from thalweg.plan.expr import Expr, as_expr, infer, infer_type, is_aggregate, output_name, show
from thalweg.plan.windows import AnyWindow, Window

BOUNDS = (Field("window_start", TIMESTAMP, False), Field("window_end", TIMESTAMP, False))


def aggregate_node(
    node: n.Node,
    keys: tuple[tuple[str, Expr], ...],
    windows: n.Windows | None,
    exprs: Iterable[object],
    named: Mapping[str, object],
) -> n.Aggregate:
    """Return the node of an aggregate.

    Raises:
        PlanError: A result is no aggregate, has a wrong type, or two have one name.
    """
    window = None if windows is None else windows.window
    emit: n.Emit = "on_change" if windows is None else windows.emit
    pairs: list[tuple[str, Expr]] = []
    flat: list[object] = []
    for value in exprs:
        flat += value if isinstance(value, (list, tuple)) else [value]
    for value in flat:
        expr = as_expr(value, column=True)
        pairs.append((output_name(expr), expr))
    pairs += [(name, as_expr(value, column=True)) for name, value in named.items()]
    if not pairs:
        raise PlanError(".agg() needs an aggregate, such as n=count()")
    fields = [Field(name, infer(expr, node.schema).type) for name, expr in keys]
    fields += BOUNDS if window is not None else ()
    for name, expr in pairs:
        field = infer(expr, node.schema)
        if not is_aggregate(expr):
            raise PlanError(
                f".agg({name}={show(expr)}): this is a value per row, not per group; use an aggregate such as "
                f".sum(), .first() or .collect(), or group by it"
            )
        fields.append(Field(name, field.type, field.nullable))
    check_names([field.name for field in fields], "agg")
    names = [field.name for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f'.agg: two columns would have the name "{name}"; name one with a keyword')
    return n.Aggregate(
        input=node,
        keys=keys,
        aggregates=tuple(pairs),
        window=window,
        emit=emit,
        labelled_by=None if windows is None else windows.labelled_by,
        schema=Schema(tuple(fields)),
        changing=emit == "on_change",
        timed=window is not None and emit == "on_close",
        place=user_place(),
    )


def windows_of(node: n.Node, window: AnyWindow, emit: n.Emit, time: object) -> n.Windows:
    """Return what ``.window(…)`` says of a stream.

    Raises:
        PlanError: The stream has no event time, or is changing and ``time`` is missing or no time.
    """
    if node.changing:
        if emit == "on_close":
            raise PlanError('.window(…, emit="on_close") needs rows that stay; this stream is a changing table')
        if not isinstance(window, Window):
            raise PlanError(f".window({window}) needs rows that stay; this stream is a changing table")
        if time is None:
            raise PlanError(
                ".window(…) of a changing table needs time=: the column that says which windows a row belongs to"
            )
        by = row_expr(node, time, "window")
        if (kind := infer(by, node.schema).type) != TIMESTAMP:
            raise PlanError(f".window(time={show(by)}): a timestamp is wanted; this is {kind}")
        return n.Windows(window, emit, by)
    if time is not None:
        raise PlanError(".window(time=…): rows that stay have the event time that app.read(…, time=) says")
    if not node.timed:
        raise PlanError(
            ".window(…) needs event time, and this stream has none; give it with "
            'app.read(…, time="COLUMN", lateness="5s")'
        )
    if emit == "on_change" and not isinstance(window, Window):
        raise UnsupportedError(f'.window({window}, emit="on_change"): these windows emit when they close')
    return n.Windows(window, emit, None)


def check_names(names: Iterable[str], method: str) -> None:
    """Refuse names that Thalweg keeps for itself."""
    for name in names:
        if name.startswith("__") or name == "_weight":
            raise PlanError(f'.{method}: "{name}" is a name that Thalweg keeps for itself; use another')


def function_schema(function: Any, schema: object, method: str, *, many: bool) -> Schema:
    """Return the columns that a user's function makes: as given, or as it is annotated."""
    if schema is not None:
        return schema_of(schema)
    hint = annotation(function)
    if many and hint is not None:
        items = typing.get_args(hint)
        hint = items[0] if items else None
    if hint is None or hint is dict or typing.get_origin(hint) is dict:
        raise PlanError(
            f".{method}({getattr(function, '__name__', function)}): the new rows' columns are not known; give schema=, "
            f"or annotate what the function returns with a class{' in a list or Iterator' if many else ''}"
        )
    return schema_of(hint)


def annotation(function: Any) -> Any:  # annotations can be anything
    """Return what a function is annotated to return; None if it is not."""
    try:
        return typing.get_type_hints(function).get("return")
    except (NameError, TypeError):
        return None


def project_node(node: n.Node, columns: Iterable[tuple[str, Expr]], method: str) -> n.Project:
    """Return the node that computes a new set of columns.

    Raises:
        PlanError: No column is left, a name cannot be used, or a column has no type.
    """
    pairs = tuple(columns)
    if not pairs:
        raise PlanError(f".{method}: no column is left")
    check_names([name for name, _ in pairs], method)
    fields = []
    for name, expr in pairs:
        field = infer(expr, node.schema)
        if t.is_null(infer_type(expr, node.schema).type):
            raise PlanError(f'.{method}: "{name}" is always null and has no type; use .cast(…)')
        fields.append(Field(name, field.type, field.nullable))
    return n.Project(
        input=node,
        columns=pairs,
        method=method,
        schema=Schema(tuple(fields)),
        changing=node.changing,
        timed=node.timed,
        place=user_place(),
    )


def named_exprs(
    node: n.Node, exprs: Iterable[object], named: Mapping[str, object], method: str
) -> list[tuple[str, Expr]]:
    """Return expressions over a node's rows with the names of their results.

    Raises:
        PlanError: One is wrong, or two have one name.
    """
    flat: list[object] = []
    for expr in exprs:
        flat += expr if isinstance(expr, (list, tuple)) else [expr]
    pairs = []
    for value in flat:
        expr = row_expr(node, value, method)
        pairs.append((output_name(expr), expr))
    pairs += [(name, row_expr(node, value, method)) for name, value in named.items()]
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise PlanError(f'.{method}: two columns would have the name "{name}"; name one with a keyword')
        seen.add(name)
    return pairs


def row_expr(node: n.Node, value: object, method: str) -> Expr:
    """Return an expression over a node's rows, one value for each."""
    expr = as_expr(value, column=True)
    infer(expr, node.schema)
    if is_aggregate(expr):
        raise PlanError(f".{method}({show(expr)}): an aggregate is computed by .agg(…)")
    return expr


def known(schema: Schema, name: str, method: str) -> Field:
    """Return the column of a name.

    Raises:
        PlanError: There is none.
    """
    if name not in schema:
        raise PlanError(f'.{method}: there is no column "{name}"; {near(name, schema.names)}')
    return schema[name]
