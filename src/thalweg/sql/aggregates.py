"""Aggregates of SQL: NULL is left out, and of no values there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from sqlglot import exp

from thalweg.plan.expr import Aggregate, Expr, Literal, count, is_aggregate, lit, when
from thalweg.sql.context import Context, Functions, Handler
from thalweg.sql.operators import truth
from thalweg.sql.query import conjuncts, shown


def _argument(c: Context, node: exp.Expr) -> Expr:
    """Return what is aggregated: null where FILTER leaves the row out."""
    if isinstance(node, exp.Distinct):
        raise c.query.unsupported(node, "DISTINCT is supported in count(DISTINCT x), min and max")
    if isinstance(node, exp.Order):
        raise c.query.unsupported(node, "an aggregate takes rows by event time; leave ORDER BY out")
    value = c.of_rows().value(node)
    if is_aggregate(value):
        raise c.query.wrong(node, f"{shown(node)}: an aggregate of an aggregate; aggregate in a sub-query first")
    return value if c.only is None else when(c.only).then(value)


def _plain(make: Callable[[Expr], Expr], *, empty: bool = False) -> Handler:
    """Return the handler of an aggregate of one argument; ``empty``: the plan's has a value of nothing, SQL's none."""

    def handle(c: Context, node: exp.Expr) -> Expr:
        if node.expressions:
            raise c.query.unsupported(node, f"{shown(node)}: one argument is wanted")
        value = _argument(c, node.this)
        found = make(value)
        return when(value.count() > 0).then(found) if empty and c.nullable(value) else found

    return handle


def _extreme(make: Callable[[Expr], Expr]) -> Handler:
    def handle(c: Context, node: exp.Expr) -> Expr:
        if node.expressions:
            raise c.query.unsupported(node, f"{shown(node)}: one argument is wanted")
        given = node.this
        return make(_argument(c, given.expressions[0] if isinstance(given, exp.Distinct) else given))

    return handle


def _count(c: Context, node: exp.Expr) -> Expr:
    given = node.this
    if isinstance(given, exp.Distinct):
        if len(given.expressions) != 1:
            raise c.query.unsupported(node, f"{shown(node)}: one column is counted at a time")
        return _argument(c, given.expressions[0]).n_unique()
    if given is None or isinstance(given, exp.Star):
        return count() if c.only is None else when(c.only).then(lit(1)).count()
    value = _argument(c, given)
    return count() if isinstance(value, Literal) and value.value is not None else value.count()


def _count_if(c: Context, node: exp.Expr) -> Expr:
    chosen = truth(c.of_rows(), node.this)
    return when(chosen if c.only is None else chosen & c.only).then(lit(1)).count()


def _filter(c: Context, node: exp.Expr) -> Expr:
    return replace(c, only=truth(c.of_rows(), node.expression.this)).value(node.this)


def _ignore_nulls(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this)


def _quantile(c: Context, node: exp.Expr) -> Expr:
    return _share(c, node, node.this, node.expression)


def _within_group(c: Context, node: exp.Expr) -> Expr:
    inner, order = node.this, node.expression
    ordered = order.expressions[0] if isinstance(order, exp.Order) and len(order.expressions) == 1 else None
    if not isinstance(inner, exp.PercentileCont) or ordered is None or ordered.args.get("desc"):
        raise c.query.unsupported(node, f"{shown(node)}: write quantile_cont(x, 0.5)")
    return _share(c, node, ordered.this, inner.this)


def _share(c: Context, node: exp.Expr, value: exp.Expr, share: exp.Expr) -> Expr:
    if not isinstance(share, exp.Literal) or share.is_string:
        raise c.query.unsupported(node, f"{shown(node)}: the share is a constant from 0 to 1, such as 0.99")
    return _argument(c, value).quantile(float(share.this), "linear")


def _at_extreme(function: str) -> Handler:
    def handle(c: Context, node: exp.Expr) -> Expr:
        if node.args.get("count") is not None or node.expressions:
            raise c.query.unsupported(node, f"{shown(node)}: two arguments are wanted")
        value, by = _argument(c, node.this), _argument(c, node.expression)
        by = when(value.is_not_null()).then(by) if c.nullable(value) else by  # SQL skips rows without a value
        return Aggregate(function, (value, by))

    return handle


def _gathered(c: Context, node: exp.Expr) -> Expr:
    inside = c.of_rows()
    value = _argument(c, node.this)
    bare = inside.value(node.this)
    kept = c.only is not None and any(
        isinstance(part, exp.Not) and isinstance(part.this, exp.Is) and part.this.this == node.this
        for part in _conditions(node)
    )
    if c.nullable(bare) and not kept:
        raise c.query.unsupported(
            node,
            f"{shown(node)} would hold NULLs, and a list here holds none; add FILTER (WHERE {shown(node.this)} "
            "IS NOT NULL)",
        )
    found = value.collect()
    return when(value.count() > 0).then(found) if c.nullable(value) else found


def _conditions(node: exp.Expr) -> list[exp.Expr]:
    holder = node.parent
    return conjuncts(holder.expression.this) if isinstance(holder, exp.Filter) else []


AGGREGATES: Final[Mapping[type[exp.Expr], Handler]] = {
    exp.Count: _count,
    exp.CountIf: _count_if,
    exp.Sum: _plain(lambda a: a.sum(), empty=True),
    exp.Avg: _plain(lambda a: a.mean()),
    exp.Min: _extreme(lambda a: a.min()),
    exp.Max: _extreme(lambda a: a.max()),
    exp.Variance: _plain(lambda a: a.var()),
    exp.VariancePop: _plain(lambda a: a.var(0)),
    exp.Stddev: _plain(lambda a: a.std()),
    exp.StddevSamp: _plain(lambda a: a.std()),
    exp.StddevPop: _plain(lambda a: a.std(0)),
    exp.Median: _plain(lambda a: a.median()),
    exp.PercentileCont: _quantile,
    exp.WithinGroup: _within_group,
    exp.ArgMax: _at_extreme("arg_max"),
    exp.ArgMin: _at_extreme("arg_min"),
    exp.First: _plain(lambda a: a.first()),
    exp.Last: _plain(lambda a: a.last()),
    exp.AnyValue: _plain(lambda a: a.first()),
    exp.Mode: _plain(lambda a: a.mode()),
    exp.LogicalAnd: _plain(lambda a: a.all(), empty=True),
    exp.LogicalOr: _plain(lambda a: a.any(), empty=True),
    exp.ArrayAgg: _gathered,
    exp.ApproxDistinct: _plain(lambda a: a.approx_n_unique()),
    exp.Filter: _filter,
    exp.IgnoreNulls: _ignore_nulls,
}

AGGREGATE_FUNCTIONS: Final[Functions] = {
    "mean": lambda c, node, args: _argument(c, args[0]).mean(),
}
