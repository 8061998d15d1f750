"""Sub-queries in WHERE: the rows that have a partner, and one value for all rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlglot import exp

from thalweg.plan.expr import col, lit
from thalweg.sql.joins import joined
from thalweg.sql.query import Query, conjuncts, shown
from thalweg.sql.scope import Name, Relation, unique

_TABLE = "the sub-query"


def sub_queries(
    query: Query, relation: Relation, where: exp.Expr, of: Callable[[exp.Expr], Relation]
) -> tuple[Relation, dict[int, str], list[exp.Expr]]:
    """Join what the sub-queries of a condition give to the rows.

    Args:
        query: The query.
        relation: The rows.
        where: The condition.
        of: Returns the rows of a query.

    Returns:
        The rows, the columns that hold the values of sub-queries by their identity, and the conditions that are left.

    Raises:
        PlanError: A sub-query has several columns, or may have several rows where one value is wanted.
    """
    held: dict[int, str] = {}
    left: list[exp.Expr] = []
    for condition in conjuncts(where):
        inner = condition.args.get("query") if isinstance(condition, exp.In) else None
        if inner is not None:
            relation = _members(query, relation, condition, of(inner))
            continue
        left.append(condition)
        for part in condition.find_all(exp.Subquery):
            if part.find_ancestor(exp.In, exp.Exists, exp.Subquery) is None and _gives_one(part.this):
                relation, column = _value(query, relation, part, of(part.this))
                held[id(part)] = column
    return relation, held, left


def _members(query: Query, relation: Relation, condition: exp.Expr, other: Relation) -> Relation:
    if len(other.names) != 1:
        raise query.wrong(condition, f"{shown(condition)}: the sub-query has {len(other.names)} columns; one is wanted")
    wanted = exp.column(
        exp.to_identifier(other.names[0].name, quoted=True), table=exp.to_identifier(_TABLE, quoted=True)
    )
    on = exp.EQ(this=condition.this.copy(), expression=wanted)
    join = exp.Join(this=exp.Table(this=exp.to_identifier(_TABLE)), kind="SEMI", on=on)
    join.parent = condition.parent
    names = tuple(Name(_TABLE, name.name, name.column, bare=False) for name in other.names)
    return joined(query, relation, replace(other, names=names), join)


def _gives_one(node: exp.Expr) -> bool:
    grouped = node.args.get("group") is not None or not isinstance(node, exp.Select)
    return not grouped and len(node.expressions) == 1 and any(node.expressions[0].find_all(exp.AggFunc))


def _value(query: Query, relation: Relation, node: exp.Expr, other: Relation) -> tuple[Relation, str]:
    names = relation.stream.schema.names
    column = unique(shown(node), names)
    key = unique("joined_on", [*names, column])
    with query.at(node):
        right = other.stream.select(lit(1).alias(key), col(other.names[0].column).alias(column))
        stream = relation.stream.with_columns(lit(1).alias(key)).join(right, key, "left")
    return Relation(stream, relation.names, None), column
