"""Every kind of expression that SQL here has, and the place where they are turned into the plan's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sqlglot import exp

from thalweg.core.errors import near
from thalweg.plan.expr import Column, Expr
from thalweg.sql.aggregates import AGGREGATE_FUNCTIONS, AGGREGATES
from thalweg.sql.context import Context, Functions, Handler
from thalweg.sql.operators import OPERATORS
from thalweg.sql.query import Query, shown
from thalweg.sql.scope import Relation
from thalweg.sql.texts import TEXT_FUNCTIONS, TEXTS
from thalweg.sql.times import TIME_FUNCTIONS, TIMES

WINDOWS: Final = ("tumble", "hop", "cumulate", "session")
_FUNCTIONS: Final[Functions] = MappingProxyType({**TEXT_FUNCTIONS, **TIME_FUNCTIONS, **AGGREGATE_FUNCTIONS})


def _function(c: Context, node: exp.Expr) -> Expr:
    """Call a function that the parser knows by name only."""
    name = str(node.this).lower()
    if name in WINDOWS:
        raise c.query.unsupported(
            node, f"{name}(…) stands in GROUP BY; SELECT has its bounds as the columns window_start and window_end"
        )
    if name not in _FUNCTIONS:
        allowed = sorted(
            {*_FUNCTIONS, *WINDOWS, *(kind.sql_name().lower() for kind in _HANDLERS if issubclass(kind, exp.Func))}
        )
        raise c.query.unsupported(node, f"there is no function {name}(…); {near(name, allowed)}")
    try:
        return _FUNCTIONS[name](c, node, node.expressions)
    except IndexError:
        raise c.query.wrong(node, f"{shown(node)}: an argument is missing") from None


def _ranked(c: Context, node: exp.Expr) -> Expr:
    if c.rank is not None and node == c.rank[0]:
        return Column(c.rank[1])
    raise c.query.unsupported(
        node,
        f"{shown(node)}: of the functions with OVER there is row_number(), with QUALIFY row_number() OVER "
        "(PARTITION BY … ORDER BY …) <= n, or with such a condition around it",
    )


def _sub_query(c: Context, node: exp.Expr) -> Expr:
    raise c.query.unsupported(
        node, "a sub-query gives a value only where it is one aggregate without GROUP BY, in WHERE; else use JOIN"
    )


def _unnested(c: Context, node: exp.Expr) -> Expr:
    raise c.query.unsupported(node, f"{shown(node)} is not supported; use stream.explode(…) before the query")


_HANDLERS: Final[Mapping[type[exp.Expr], Handler]] = MappingProxyType(
    {
        **OPERATORS,
        **TEXTS,
        **TIMES,
        **AGGREGATES,
        exp.Anonymous: _function,
        exp.Window: _ranked,
        exp.Subquery: _sub_query,
        exp.Exists: _sub_query,
        exp.Explode: _unnested,
    }
)


def context_of(query: Query, relation: Relation) -> Context:
    """Return the place where expressions over a relation's rows stand."""
    return Context(query, relation, _HANDLERS, _FUNCTIONS, relation.stream.schema)
