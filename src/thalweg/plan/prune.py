"""Which columns of a step's rows can be seen: in a result, a late row, a rejected row or the order of ties.

A column that cannot be seen need not be read, computed or kept. The plan stays as it is: what is found here tells an
engine what it may leave out. ``docs/explanation/decisions/0004-leaving-columns-out.md`` has the rules and the reasons.

Late and rejected rows are shown whole, which would need every column everywhere. So a source's rows come in two widths:
as long as none of a batch can be late they have ``columns`` alone, else ``if_late``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.types as t

from thalweg.core.schema import Schema
from thalweg.plan import nodes as n
from thalweg.plan.expr import Alias, Call, Column, Expr, Literal, aggregates, columns, infer
from thalweg.plan.windows import Window

Names: TypeAlias = frozenset[str]

_NEVER_RAISE: Final = frozenset(
    {"eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "is_null", "is_not_null", "is_nan", "is_finite"}
    | {"fill_null", "when", "coalesce", "is_between", "str.starts_with", "str.ends_with", "str.to_lowercase"}
    | {"str.to_uppercase", "str.len_chars", "str.len_bytes"}
)
"""Functions that give a value for every row, given arguments of one type or of numbers that widen."""
_FLOAT_ARITHMETIC: Final = frozenset(("add", "sub", "mul", "truediv"))
"""The same where the result is a float: nothing overflows."""
_IN_ANY_ORDER: Final = frozenset(
    {"count", "sum", "mean", "min", "max", "var", "std", "any", "all", "n_unique", "approx_n_unique", "quantile"}
    | {"approx_quantile", "median"}
)
"""Aggregates that look at their arguments alone; the others order rows by all columns."""


@dataclass(frozen=True, slots=True)
class Needed:
    """The columns of a step's rows that can be seen; at least one, as rows without columns cannot be counted.

    Attributes:
        columns: While no row of a batch can be late.
        if_late: Where one may be.
    """

    columns: Names
    if_late: Names


NeededColumns: TypeAlias = Mapping[n.Node, Needed]


def needed_columns(plan: n.Plan) -> NeededColumns:
    """Return which columns of each node's rows can be seen."""
    order = plan.nodes()
    readers: dict[n.Node, list[n.Node]] = {node: [] for node in order}
    for node in order:
        for needed in dict.fromkeys(node.inputs):
            readers[needed].append(node)
    raising: set[n.Node] = set()
    for node in reversed(order):
        if _fusible(node) and (may_raise(node) or any(reader in raising for reader in readers[node])):
            raising.add(node)
    asked: dict[n.Node, tuple[set[str], set[str]]] = {node: (set(), set()) for node in order}
    found: dict[n.Node, Needed] = {}
    for node in reversed(order):
        schema = node.schema
        found[node] = live = Needed(*(_at_least_one(names, schema) for names in asked[node]))
        for side, needed in enumerate(node.inputs):
            for late in (False, True):
                names = live.if_late if late else live.columns
                whole = node in raising
                wanted = needed.schema.names if whole else _demanded(node, side, names, late=late)
                asked[needed][late].update(wanted)
                if late is False:
                    asked[needed][True].update(wanted)
    return MappingProxyType(found)


def all_columns(plan: n.Plan) -> NeededColumns:
    """Return that every column of every node can be seen, so that nothing is left out."""
    return MappingProxyType({node: all_of(node) for node in plan.nodes()})


def all_of(node: n.Node) -> Needed:
    """Return all columns of a node's rows."""
    names = frozenset(node.schema.names)
    return Needed(names, names)


def join_columns(node: n.Join, needed: Needed) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns of the left and the right side that a join has to keep.

    Where a side is changing these are all: rows that differ in a column that nobody sees would cancel each other, which
    the ledger would show.
    """
    left, right = node.left.schema.names, node.right.schema.names
    if node.within is None and (node.left.changing or node.right.changing):
        return tuple(left), tuple(right)
    live, renamed = needed.columns, dict(node.renamed)
    return (
        tuple(name for name in left if name in live or name in node.keys),
        tuple(name for name in right if name in node.keys or renamed.get(name) in live),
    )


def may_raise(node: n.Node) -> bool:
    """Tell whether a filter or projection may reject a row, which is then shown whole."""
    match node:
        case n.Filter():
            return _may_raise(node.predicate, node.input.schema)
        case n.Project():
            return any(_may_raise(expr, node.input.schema) for _, expr in node.columns)
        case _:
            return False


def _demanded(node: n.Node, side: int, live: Names, *, late: bool) -> Collection[str]:
    """Return what a node needs of an input, so that these of its own columns come out as they should."""
    everything = node.inputs[side].schema.names
    match node:
        case n.Late() | n.Errors():
            return ()  # they show what went into the node, which that node asks for itself
        case n.Filter():
            return live | columns(node.predicate)
        case n.Project():
            return frozenset().union(*(columns(expr) for name, expr in node.columns if name in live))
        case n.Unnest():
            return (live & frozenset(everything)) | {node.column}
        case n.Explode():
            return live | {node.column}
        case n.Union():
            return live
        case n.Aggregate(window=None | Window()):
            return _aggregated(node, late=late)
        case n.Join(within=None):
            if node.left.changing or node.right.changing:
                return everything
            return join_columns(node, Needed(live, live))[side]
        case _:
            # Ends, user code, what orders rows by all columns, what tests each row for being late by itself,
            # and every kind of node for which nobody has thought it through.
            return everything


def _aggregated(node: n.Aggregate, *, late: bool) -> Collection[str]:
    calls = [call for _, expr in node.aggregates for call in aggregates(expr)]
    in_time = node.window is not None and not node.input.changing
    if (late and in_time) or not all(call.function in _IN_ANY_ORDER for call in calls):
        return node.input.schema.names
    exprs = [*(expr for _, expr in node.keys), *(arg for call in calls for arg in call.args)]
    exprs += [] if node.labelled_by is None else [node.labelled_by]
    return frozenset().union(*map(columns, exprs))


def _fusible(node: n.Node) -> bool:
    return isinstance(node, (n.Filter, n.Project, n.Unnest))


def _at_least_one(names: Collection[str], schema: Schema) -> Names:
    if names or not schema.names:
        return frozenset(names)
    cheap = [field.name for field in schema if t.is_primitive(field.type)]
    return frozenset([*cheap, *schema.names][:1])


def _may_raise(expr: Expr, schema: Schema) -> bool:
    match expr:
        case Column() | Literal():
            return False
        case Alias():
            return _may_raise(expr.expr, schema)
        case Call():
            if any(_may_raise(arg, schema) for arg in expr.args):
                return True
            if expr.function in _FLOAT_ARITHMETIC:
                return not t.is_floating(infer(expr, schema).type) or not _widening(expr.args, schema)
            return expr.function not in _NEVER_RAISE or not _widening(expr.args, schema)
        case _:
            return True


def _widening(args: Sequence[Expr], schema: Schema) -> bool:
    """Tell whether arguments are of one type, or numbers that all have a wider type in common."""
    kinds = {infer(arg, schema).type for arg in args if not isinstance(arg, Literal)}
    return len(kinds) <= 1 or all(_widens(kind) for kind in kinds - {pa.bool_()})


def _widens(kind: pa.DataType) -> bool:
    return bool(t.is_floating(kind) or t.is_signed_integer(kind))
