"""Nodes made from what a program says, checked: the rules that the stream builder shares."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Any

from thalweg.core.errors import PlanError, UnsupportedError, user_place
from thalweg.core.schema import TIMESTAMP, Field, Schema, schema_of
from thalweg.plan import nodes as n
from thalweg.plan.expr import Expr, as_expr, infer, is_aggregate, output_name, show
from thalweg.plan.windows import Window

BOUNDS = (Field("window_start", TIMESTAMP, False), Field("window_end", TIMESTAMP, False))


def aggregate_node(
    node: n.Node,
    keys: tuple[tuple[str, Expr], ...],
    window: Window | None,
    emit: n.Emit,
    exprs: Iterable[object],
    named: Mapping[str, object],
) -> n.Aggregate:
    """Return the node of an aggregate.

    Raises:
        PlanError: A result is no aggregate, has a wrong type, or two have one name.
    """
    if node.changing:
        raise unsupported("agg", "a changing table")
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
        schema=Schema(tuple(fields)),
        changing=emit == "on_change",
        timed=window is not None and emit == "on_close",
        place=user_place(),
    )


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


def unsupported(method: str, what: str) -> UnsupportedError:
    """Return the error of a step that cannot follow something yet."""
    return UnsupportedError(f".{method} cannot yet follow {what}; write it to a view, or aggregate before it changes")
