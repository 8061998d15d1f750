"""Expressions: ``col``, ``lit``, ``when`` and the rest, and what can be asked of a tree of them.

The nodes are in ``expr_nodes``, the functions in ``functions``, the aggregates in ``aggregates``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace as changed
from typing import Any

from thalweg.core.errors import PlanError
from thalweg.core.schema import Field, Schema, normal_type
from thalweg.plan.aggregates import UserAggregate, user_aggregate
from thalweg.plan.expr_infer import Resolved, Typed, infer_type, resolve
from thalweg.plan.expr_nodes import Aggregate, Alias, Call, Column, Expr, Literal, Then, When, as_expr
from thalweg.plan.expr_show import show

__all__ = [
    "Aggregate",
    "Alias",
    "Call",
    "Column",
    "Expr",
    "Literal",
    "Resolved",
    "Then",
    "Typed",
    "UserAggregate",
    "When",
    "aggregate",
    "aggregates",
    "as_expr",
    "coalesce",
    "col",
    "columns",
    "concat_str",
    "count",
    "infer",
    "infer_type",
    "is_aggregate",
    "lit",
    "output_name",
    "replace",
    "resolve",
    "show",
    "when",
]


def col(name: str) -> Column:
    """Return the value of a column.

    Example:
        >>> col("price") * 2
        col("price") * 2
    """
    found = as_expr(name, column=True)
    if not isinstance(found, Column) or not found.name:
        raise PlanError(f"col({name!r}): a column's name is a text that is not empty")
    return found


def lit(value: object) -> Expr:
    """Return a constant: a number, text, bytes, bool, time (naive is UTC), duration, decimal, None, or list of these.

    Example:
        >>> lit("a").str.to_uppercase()
        lit("a").str.to_uppercase()
    """
    return as_expr(value, column=False)


def when(predicate: object) -> When:
    """Start a choice: ``when(…).then(…).when(…).then(…).otherwise(…)``; null where no condition holds.

    A text names a column; a constant text is ``lit("…")``. Every branch is computed for every row.

    Example:
        >>> when(col("price") > 10).then(lit("dear")).otherwise(lit("cheap"))
        when(col("price") > 10).then(lit("dear")).otherwise(lit("cheap"))
    """
    return When((), as_expr(predicate, column=True))


def coalesce(expr: object, *more: object) -> Expr:
    """Return the first value that is not null; a text names a column."""
    return Call("coalesce", tuple(as_expr(value, column=True) for value in (expr, *more)))


def concat_str(expr: object, *more: object, separator: str = "", ignore_nulls: bool = False) -> Expr:
    """Return the values as text, joined; a text names a column.

    A null makes the result null, or is left out with its separator where ``ignore_nulls``.
    """
    if not isinstance(separator, str):
        raise PlanError(f"concat_str(separator={separator!r}): the separator is a text")
    options = (("ignore_nulls", bool(ignore_nulls)), ("separator", separator))
    return Call("concat_str", tuple(as_expr(value, column=True) for value in (expr, *more)), options)


def count() -> Aggregate:
    """Return the number of rows."""
    return Aggregate("count", ())


def aggregate(
    *,
    init: Callable[[], Any],
    step: Callable[..., Any],
    merge: Callable[[Any, Any], Any],
    finish: Callable[[Any], Any] | None = None,
    returns: object = None,
    batches: bool = False,
    version: str | None = None,
) -> Callable[..., Aggregate]:
    """Make a new aggregate of Python functions.

    Args:
        init: Gives a new state.
        step: Takes the state and the arguments' values (None for null), and gives the state after the row;
            with ``batches`` the arguments are Arrow arrays.
        merge: Gives one state for two. It must be associative and commutative.
        finish: Gives the result of a state; the state itself by default.
        returns: The result's type, where ``finish`` has no return annotation.
        batches: Whether ``step`` gets batches.
        version: Stands for the functions' source: change it when they do something else.

    Raises:
        PlanError: The result's type is not said, or one of the functions is none.

    Example:
        >>> longest = aggregate(init=lambda: 0, step=lambda n, text: max(n, len(text or "")), merge=max, returns=int)
        >>> output_name(longest(col("page")))
        'page'
    """
    made = user_aggregate((init, step, merge, finish), returns, batches=bool(batches), version=version)

    def of(expr: object, *more: object) -> Aggregate:
        return Aggregate("user", tuple(as_expr(value, column=True) for value in (expr, *more)), user=made)

    return of


def output_name(expr: Expr) -> str:
    """Return the name of the column that an expression makes: its alias, else the leftmost column's; ``count`` of rows.

    Raises:
        PlanError: It has none, as a constant has.

    Example:
        >>> output_name(col("a") + col("b")), output_name(count()), output_name(lit(1).alias("one"))
        ('a', 'count', 'one')
    """
    name = _name(expr)
    if name is None:
        raise PlanError(f"{show(expr)} has no name; give it one with a keyword or .alias(…)")
    return name


def columns(expr: Expr) -> frozenset[str]:
    """Return the names of the columns that an expression reads.

    Example:
        >>> sorted(columns(col("a") + col("b").sum()))
        ['a', 'b']
    """
    return frozenset(node.name for node in _walk(expr) if isinstance(node, Column))


def infer(expr: Expr, schema: Schema) -> Field:
    """Return the column that an expression makes over a schema; a constant without a name is ``literal``.

    Raises:
        PlanError: A column is unknown, an argument has a wrong type, an aggregate stands in an aggregate or
            beside a bare column.

    Example:
        >>> import pyarrow as pa
        >>> infer(col("price").mean(), Schema((Field("price", pa.int32(), False),)))
        Field(name='price', type=DataType(double), nullable=True, rules=())
    """
    found = infer_type(expr, schema)
    name = _name(expr) or "literal"
    return Field(name, normal_type(found.type, name), found.nullable)


def aggregates(expr: Expr) -> tuple[Aggregate, ...]:
    """Return the different aggregates of an expression, in order.

    Example:
        >>> aggregates(col("a").sum() / count() + col("a").sum())
        (col("a").sum(), count())
    """
    return tuple({show(node): node for node in _walk(expr) if isinstance(node, Aggregate)}.values())


def is_aggregate(expr: Expr) -> bool:
    """Tell whether an expression holds an aggregate."""
    return any(isinstance(node, Aggregate) for node in _walk(expr))


def replace(expr: Expr, by: Mapping[str, Expr]) -> Expr:
    """Return the expression with parts replaced, each named by its text (``show``).

    Example:
        >>> replace(col("a").sum() / count(), {"count()": col("n")})
        col("a").sum() / col("n")
    """
    if (found := by.get(show(expr))) is not None:
        return found
    match expr:
        case Alias(inner, _):
            return changed(expr, expr=replace(inner, by))
        case Call() | Aggregate():
            return changed(expr, args=tuple(replace(arg, by) for arg in expr.args))
        case _:
            return expr


def _name(expr: Expr) -> str | None:
    match expr:
        case Alias(_, name) | Column(name):
            return name
        case Aggregate(args=()):
            return expr.function
        case Call("when"):
            # As in Polars the first value names the choice, not its condition.
            return _first_name((*expr.args[1::2], expr.args[-1], *expr.args[:-1:2]))
        case Call() | Aggregate():
            return _first_name(expr.args)
        case _:
            return None


def _first_name(args: tuple[Expr, ...]) -> str | None:
    return next((name for arg in args if (name := _name(arg)) is not None), None)


def _walk(expr: Expr) -> Iterator[Expr]:
    yield expr
    match expr:
        case Alias(inner, _):
            yield from _walk(inner)
        case Call() | Aggregate():
            for arg in expr.args:
                yield from _walk(arg)
