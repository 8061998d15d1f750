"""The first rows of an order: ORDER BY … LIMIT, and row_number() with a condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlglot import exp

from thalweg.plan.expr import Column, Expr, col
from thalweg.sql.context import Context
from thalweg.sql.query import Query, conjuncts, shown
from thalweg.sql.scope import Relation, unique

Render = Callable[[exp.Expr], Expr]


def bounded(query: Query, condition: exp.Expr, names: dict[str, exp.Expr]) -> tuple[exp.Window, int] | None:
    """Return the row number that a condition bounds, and the bound; None where it is another condition.

    Args:
        query: The query.
        condition: Such as ``row_number() OVER (…) <= 3``, or ``r <= 3``.
        names: What names stand for, in lower case.
    """
    if not isinstance(condition, (exp.LTE, exp.LT, exp.EQ)):
        return None
    numbered, bound = condition.this, condition.expression
    if isinstance(numbered, exp.Column):
        numbered = names.get(numbered.name.casefold(), numbered)
    if not is_row_number(numbered) or not isinstance(bound, exp.Literal) or not str(bound.this).isdigit():
        return None
    rows = int(str(bound.this)) - isinstance(condition, exp.LT)
    if rows < 1 or (isinstance(condition, exp.EQ) and rows != 1):
        raise query.unsupported(condition, f"{shown(condition)}: write row_number() OVER (…) <= n, with n from 1")
    return numbered, rows


def is_row_number(node: object) -> bool:
    """Tell whether a part of a query is ``row_number() OVER (…)``."""
    return isinstance(node, exp.Window) and isinstance(node.this, exp.RowNumber)


def numbered_in(select: exp.Select) -> dict[str, exp.Expr]:
    """Return the row numbers of a SELECT list, by their names in lower case."""
    return {
        item.alias.casefold(): item.this
        for item in select.expressions
        if isinstance(item, exp.Alias) and is_row_number(item.this)
    }


def pushed_down(query: Query, inner: exp.Select, outer: exp.Select) -> None:
    """Move a condition on a row number from around a sub-query into it, as QUALIFY."""
    names = numbered_in(inner)
    where = outer.args.get("where")
    if not names or where is None or inner.args.get("qualify") is not None:
        return
    kept: list[exp.Expr] = []
    for condition in conjuncts(where.this):
        if inner.args.get("qualify") is None and bounded(query, condition, names) is not None:
            inner.set("qualify", exp.Qualify(this=condition.copy()))
        else:
            kept.append(condition.copy())
    if len(kept) < len(conjuncts(where.this)):
        outer.set("where", exp.Where(this=exp.and_(*kept, copy=False)) if kept else None)


def qualified(c: Context, select: exp.Select, relation: Relation, render: Render) -> tuple[Relation, Context]:
    """Return the rows that QUALIFY keeps, and a place where their number can be named.

    Raises:
        PlanError: The condition is another than one that bounds a row number.
    """
    qualify = select.args.get("qualify")
    if qualify is None:
        return relation, c
    found = bounded(c.query, qualify.this.unnest(), numbered_in(select))
    if found is None:
        raise c.query.unsupported(
            qualify.this,
            f"QUALIFY {shown(qualify.this)}: write QUALIFY row_number() OVER (PARTITION BY … ORDER BY …) <= n",
        )
    window, rows = found
    if window.args.get("spec") is not None:
        raise c.query.unsupported(window, f"{shown(window)}: row_number() takes no frame")
    order = window.args.get("order")
    if order is None:
        raise c.query.wrong(window, f"{shown(window)}: row_number() needs ORDER BY: which rows are the first?")
    stream = relation.stream
    per: list[str] = []
    for part in window.args.get("partition_by") or []:
        value = render(part)
        if not isinstance(value, Column):
            name = unique(shown(part), stream.schema.names)
            stream = stream.with_columns(value.alias(name))
            value = col(name)
        per.append(value.name)
    with c.query.at(window):
        by, reverse = _order(c, order.expressions, render)
        stream = stream.top_k(rows, by, reverse, per or None)
    rank = unique("row_number", stream.schema.names) if _limit(c, select) is not None else "rank"
    if rank != "rank":
        stream = stream.rename({"rank": rank})  # LIMIT will add another
    made = replace(relation, stream=stream, time=None)
    return made, replace(c, rank=(window, rank))


def limited(c: Context, node: exp.Query, relation: Relation, render: Render) -> Relation:
    """Return the rows that ORDER BY and LIMIT keep.

    Raises:
        PlanError: One is there without the other, or the number is no constant.
    """
    limit, order = _limit(c, node), node.args.get("order")
    if limit is None:
        if order is not None:
            raise c.query.unsupported(
                order, "ORDER BY needs LIMIT: the rows of a stream have no order; sort the result where it is shown"
            )
        return relation
    if order is None:
        raise c.query.unsupported(limit[0], "LIMIT needs ORDER BY: which rows are the first?")
    rows, skipped = limit[1], limit[2]
    with c.query.at(order):
        by, reverse = _order(c, order.expressions, render)
        stream = relation.stream.top_k(rows + skipped, by, reverse)
    if skipped:
        stream = stream.filter(col("rank") > skipped)
    return replace(relation, stream=stream, time=None)


def _order(c: Context, parts: Sequence[exp.Expr], render: Render) -> tuple[list[Expr], list[bool]]:
    """Return what rows are ordered by, the greatest first, and which of it the other way round."""
    by: list[Expr] = []
    reverse: list[bool] = []
    for part in parts:
        value = render(part.this)
        if part.args.get("nulls_first"):
            by.append(value.is_null())
            reverse.append(False)
        by.append(value)
        reverse.append(not part.args.get("desc"))
    return by, reverse


def _limit(c: Context, node: exp.Query) -> tuple[exp.Expr, int, int] | None:
    limit, offset = node.args.get("limit"), node.args.get("offset")
    if limit is None:
        if offset is not None:
            raise c.query.unsupported(offset, "OFFSET needs LIMIT")
        return None
    if not isinstance(limit, exp.Limit) or limit.args.get("limit_options") is not None:
        raise c.query.unsupported(limit, f"{shown(limit)}: write LIMIT n")
    rows = c.whole(limit.expression, "LIMIT")
    if rows < 1:
        raise c.query.unsupported(limit, f"{shown(limit)}: a number of rows from 1 is wanted")
    return limit, rows, 0 if offset is None else c.whole(offset.expression, "OFFSET")
