"""JOIN … ON and USING, between tables and within a range of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeAlias, get_args

from sqlglot import exp

from thalweg.plan import nodes as n
from thalweg.plan.expr import Column, Expr
from thalweg.plan.type_rules import common_type
from thalweg.sql.context import Context
from thalweg.sql.operators import truth
from thalweg.sql.query import Query, conjuncts, parts_of, shown
from thalweg.sql.scope import Name, Relation, unique
from thalweg.sql.times import interval_us
from thalweg.sql.values import context_of

Side: TypeAlias = Literal["left", "right"]
_FLIPPED: Final[dict[type[exp.Expr], type[exp.Expr]]] = {
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
}


@dataclass(slots=True)
class _Conditions:
    """What ON says, sorted.

    Attributes:
        keys: Expressions of the left and of the right side that are equal.
        low: The least of the right row's time less the left row's, in microseconds.
        high: The greatest.
        right: Conditions on the right side alone.
        others: All others.
        spans: The conditions that say the range of time.
    """

    keys: list[tuple[exp.Expr, exp.Expr]]
    low: int | None
    high: int | None
    right: list[exp.Expr]
    others: list[exp.Expr]
    spans: list[exp.Expr]


def joined(query: Query, left: Relation, right: Relation, join: exp.Join) -> Relation:
    """Return the rows of a join.

    Raises:
        PlanError: There is no equality in it, a condition cannot be kept, or types differ.
    """
    how = _how(query, join)
    using = join.args.get("using") or []
    found = _Conditions([], None, None, [], [], [])
    for name in using:
        column = exp.Column(this=name.copy())
        column.parent = join
        found.keys.append((column, column))
    if join.args.get("on") is not None:
        for condition in conjuncts(join.args["on"]):
            _sort(query, left, right, condition, found)
    if not found.keys:
        raise query.unsupported(
            join, "JOIN needs an equality in ON between a column of each side, or USING; rows are found by their keys"
        )
    if found.others and how != "inner":
        wrong = found.others[0]
        raise query.unsupported(
            wrong,
            f"{shown(wrong)}: ON of a {how.upper()} JOIN takes equalities, a range of time, and conditions on the "
            "right side; put others into WHERE or a sub-query",
        )
    if found.right and how in ("right", "full"):
        wrong = found.right[0]
        raise query.unsupported(
            wrong, f"{shown(wrong)}: put conditions on one side of a {how.upper()} JOIN into a sub-query"
        )
    if found.right:
        right = filtered(query, right, found.right)
    made = _join(query, left, right, join, how, found)
    return filtered(query, made, found.others) if found.others else made


def filtered(query: Query, relation: Relation, conditions: Sequence[exp.Expr]) -> Relation:
    """Return the rows of a relation for which conditions are true."""
    c = context_of(query, relation)
    stream = relation.stream.filter(*(truth(c, condition) for condition in conditions))
    return Relation(stream, relation.names, relation.time)


def _how(query: Query, join: exp.Join) -> n.How:
    method, side, kind = (str(join.args.get(part) or "").upper() for part in ("method", "side", "kind"))
    if method or kind == "CROSS" or not (join.args.get("on") or join.args.get("using")):
        what = f"{method or kind} JOIN".strip() if method or kind == "CROSS" else "a join without ON"
        advice = "use stream.join_asof(…)" if method == "ASOF" else "write JOIN … ON a.key = b.key"
        raise query.unsupported(join, f"{what} is not supported; {advice}")
    name = (kind if kind in ("SEMI", "ANTI") else side or "INNER").lower()
    for how in get_args(n.How):
        if how == name:
            return how  # type: ignore[no-any-return]  # one of the names that the type lists
    raise query.unsupported(join, f"{name.upper()} JOIN is not supported; there are {', '.join(get_args(n.How))}")


def _sort(query: Query, left: Relation, right: Relation, condition: exp.Expr, found: _Conditions) -> None:
    sides = _sides(query, left, right, condition)
    if len(sides) == 2 and isinstance(condition, exp.EQ):
        first, second = (_sides(query, left, right, part) for part in (condition.this, condition.expression))
        if first == {"left"} and second == {"right"}:
            found.keys.append((condition.this, condition.expression))
            return
        if first == {"right"} and second == {"left"}:
            found.keys.append((condition.expression, condition.this))
            return
    if len(sides) == 2 and _span(query, left, right, condition, found):
        found.spans.append(condition)
    elif sides == {"right"}:
        found.right.append(condition)
    else:
        found.others.append(condition)


def _sides(query: Query, left: Relation, right: Relation, node: exp.Expr) -> set[Side]:
    both = Relation(left.stream, (*left.names, *(_right(name) for name in right.names)), None)
    found: set[Side] = set()
    for column in node.find_all(exp.Column):
        name, _ = both.find(query, column, parts_of(column))
        found.add("right" if name.column.startswith(_MARK) else "left")
    return found


_MARK: Final = "the right side's "


def _right(name: Name) -> Name:
    return Name(name.table, name.name, _MARK + name.column, name.bare)


def _span(query: Query, left: Relation, right: Relation, condition: exp.Expr, found: _Conditions) -> bool:
    """Take a condition on how far apart two rows are in time; return whether it is one."""
    if isinstance(condition, exp.Between):
        low = exp.GTE(this=condition.this, expression=condition.args["low"])
        high = exp.LTE(this=condition.this, expression=condition.args["high"])
        return all(
            _bound(query, left, right, type(part), condition.this, part.expression, found) for part in (low, high)
        )
    if not isinstance(condition, (exp.LT, exp.LTE, exp.GT, exp.GTE)):
        return False
    return _bound(query, left, right, type(condition), condition.this, condition.expression, found)


def _bound(
    query: Query,
    left: Relation,
    right: Relation,
    kind: type[exp.Expr],
    first: exp.Expr,
    second: exp.Expr,
    found: _Conditions,
) -> bool:
    a, b = _moved(query, left, right, first), _moved(query, left, right, second)
    if a is None or b is None or a[0] == b[0]:
        return False
    # right + x  <=  left + y  says that right - left <= y - x
    if a[0] == "left":
        a, b, kind = b, a, _FLIPPED[kind]
    limit = b[1] - a[1]
    if kind in (exp.LT, exp.LTE):
        limit -= kind is exp.LT
        found.high = limit if found.high is None else min(found.high, limit)
    else:
        limit += kind is exp.GT
        found.low = limit if found.low is None else max(found.low, limit)
    return True


def _moved(query: Query, left: Relation, right: Relation, node: exp.Expr) -> tuple[Side, int] | None:
    """Return whose event time an expression is, and by how much it is moved."""
    node = node.unnest()
    if isinstance(node, exp.Column):
        for side, relation in (("left", left), ("right", right)):
            sides = _sides(query, left, right, node)
            if sides == {side} and relation.time is not None:
                name, taken = relation.find(query, node, parts_of(node))
                if name.column == relation.time and taken == len(node.parts):
                    return ("left" if side == "left" else "right"), 0
        return None
    if isinstance(node, (exp.Add, exp.Sub)) and isinstance(node.expression.unnest(), exp.Interval):
        inner = _moved(query, left, right, node.this)
        us = interval_us(context_of(query, left), node.expression)
        return None if inner is None else (inner[0], inner[1] + (us if isinstance(node, exp.Add) else -us))
    return None


def _join(query: Query, left: Relation, right: Relation, join: exp.Join, how: n.How, found: _Conditions) -> Relation:
    within = _within(query, found)
    ours, theirs = context_of(query, left), context_of(query, right)
    keeps = how in ("inner", "left", "semi", "anti")  # the left side's columns stay as they are
    taken = [*left.stream.schema.names, *right.stream.schema.names]
    keys: list[str] = []
    left_keys: dict[str, Expr] = {}
    right_keys: dict[str, Expr] = {}
    for a, b in found.keys:
        first, second = _same_type(query, a, ours, b, theirs)
        plain = first.name if keeps and isinstance(first, Column) and first.name not in keys else None
        key = plain or unique("joined_on", [*taken, *keys])
        keys.append(key)
        left_keys |= {} if plain else {key: first}
        right_keys[key] = second
    columns: dict[str, Expr] = {}
    named: dict[str, str] = {}
    if how not in ("semi", "anti"):
        for column in right.stream.schema.names:
            same = next(
                (key for key, value in right_keys.items() if isinstance(value, Column) and value.name == column), None
            )
            if how == "inner" and same is not None:
                named[column] = same
            else:
                named[column] = unique(column, [*left.stream.schema.names, *left_keys, *right_keys, *columns])
                columns[named[column]] = Column(column)
    stream = left.stream
    if left_keys:
        stream = stream.select(**left_keys, **{name: Column(name) for name in stream.schema.names})
    other = right.stream.select(**right_keys, **columns)
    with query.at(join):
        stream = stream.join(other, keys, how, within)
    names = [*left.names]
    if how not in ("semi", "anti"):
        names += [Name(name.table, name.name, named[name.column], name.bare) for name in right.names]
        names = _merged(join, names, keys, left, how)
    return Relation(stream, tuple(names), _time(left, right, named, found) if how == "inner" else None)


def _merged(join: exp.Join, names: list[Name], keys: list[str], left: Relation, how: n.How) -> list[Name]:
    """Return names with the columns of USING once, where one of them names both sides'."""
    using = [name.name.casefold() for name in join.args.get("using") or []]
    made: list[Name] = []
    for position, name in enumerate(names):
        if name.bare and name.name.casefold() in using:
            if position < len(left.names):
                made.append(Name(None, name.name, keys[using.index(name.name.casefold())]))
            made.append(Name(name.table, name.name, name.column, bare=False))
        else:
            made.append(name)
    return made


def _same_type(query: Query, a: exp.Expr, ours: Context, b: exp.Expr, theirs: Context) -> tuple[Expr, Expr]:
    first, second = ours.value(a), theirs.value(b)
    kinds = ours.type_of(first), theirs.type_of(second)
    kind = common_type(kinds)
    if kind is None:
        raise query.wrong(a, f"{shown(a)} is {kinds[0]} and {shown(b)} is {kinds[1]}; make them equal with CAST")
    return (
        first if kinds[0] == kind else first.cast(kind),
        second if kinds[1] == kind else second.cast(kind),
    )


def _within(query: Query, found: _Conditions) -> tuple[timedelta, timedelta] | None:
    if found.low is None and found.high is None:
        return None
    if found.low is None or found.high is None:
        raise query.unsupported(
            found.spans[0],
            f"{shown(found.spans[0])}: a range of time has two ends, as in b.ts BETWEEN a.ts AND "
            "a.ts + INTERVAL '15 minutes'",
        )
    return timedelta(microseconds=found.low), timedelta(microseconds=found.high)


def _time(left: Relation, right: Relation, named: dict[str, str], found: _Conditions) -> str | None:
    """Return the column that holds the time of the joined rows: that of the later one."""
    if found.low is None or found.high is None:
        return None
    if found.low >= 0 and right.time is not None:
        return named.get(right.time)
    return left.time if found.high <= 0 else None
