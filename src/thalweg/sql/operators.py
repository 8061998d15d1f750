"""Operators of SQL: names, constants, arithmetic, comparisons and logic with NULL, choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import pyarrow.types as t
from sqlglot import exp

from thalweg.plan.expr import Call, Expr, Literal, coalesce, concat_str, lit, when
from thalweg.sql.context import Context, Handler
from thalweg.sql.query import parts_of, shown

_UNKNOWN: Final = lit(None).cast(bool)


def _column(c: Context, node: exp.Expr) -> Expr:
    if isinstance(node.this, exp.Star):
        raise c.query.unsupported(node, "* stands in the SELECT list and in count(*) only")
    return c.named(node, parts_of(node))


def _dot(c: Context, node: exp.Expr) -> Expr:
    if parts := parts_of(node):
        return c.named(node, parts)
    return c.field(node, c.value(node.this), node.expression.name, exact=bool(node.expression.args.get("quoted")))


def _literal(c: Context, node: exp.Expr) -> Expr:
    text = str(node.this)
    if node.is_string:
        return lit(text)
    return lit(int(text)) if text.isdigit() else lit(float(text))


def _boolean(c: Context, node: exp.Expr) -> Expr:
    return lit(bool(node.this))


def _null(c: Context, node: exp.Expr) -> Expr:
    return lit(None)


def _paren(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this)


def _neg(c: Context, node: exp.Expr) -> Expr:
    value = c.value(node.this)
    if isinstance(value, Literal) and isinstance(value.value, (int, float)):
        return lit(-value.value)
    return -value


def _two(make: Callable[[Expr, Expr], Expr]) -> Handler:
    def handle(c: Context, node: exp.Expr) -> Expr:
        return make(c.value(node.this), c.value(node.expression))

    return handle


def _compared(make: Callable[[Expr, Expr], Expr]) -> Handler:
    def handle(c: Context, node: exp.Expr) -> Expr:
        for side in (node.this, node.expression):
            if isinstance(side, exp.Null):
                raise c.query.wrong(node, f"{shown(node)} is never true; write IS NULL or IS NOT NULL")
        return make(*c.pair(node.this, node.expression))

    return handle


def truth(c: Context, node: exp.Expr) -> Expr:
    """Return a condition; NULL is neither true nor false.

    Raises:
        PlanError: It is no condition.
    """
    value = c.value(node)
    if isinstance(value, Literal) and value.value is None:
        return _UNKNOWN
    if not t.is_boolean(kind := c.type_of(value)):
        raise c.query.wrong(node, f"{shown(node)} is {kind}; a condition is true or false, such as {shown(node)} <> 0")
    return value


def _joined(make: Callable[[Expr, Expr], Expr]) -> Handler:
    def handle(c: Context, node: exp.Expr) -> Expr:
        parts = [truth(c, part) for part in node.flatten()]
        return _balanced(parts, make)

    return handle


def _balanced(parts: Sequence[Expr], make: Callable[[Expr, Expr], Expr]) -> Expr:
    """Join many conditions without nesting deep."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return make(_balanced(parts[:half], make), _balanced(parts[half:], make))


def _not(c: Context, node: exp.Expr) -> Expr:
    return ~truth(c, node.this)


def _floor_divided(c: Context, node: exp.Expr) -> Expr:
    a, b = _integers(c, node)
    floor = a // b
    return when((a % b != 0) & ((a < 0) != (b < 0))).then(floor + 1).otherwise(floor)


def _remained(c: Context, node: exp.Expr) -> Expr:
    a, b = c.value(node.this), c.value(node.expression)
    if t.is_integer(c.type_of(a)) and t.is_integer(c.type_of(b)):
        rest = a % b
        return when((rest != 0) & ((rest < 0) != (a < 0))).then(rest - b).otherwise(rest)
    size = abs(a) % abs(b)
    return when(a < 0).then(-size).otherwise(size)


def _integers(c: Context, node: exp.Expr) -> tuple[Expr, Expr]:
    a, b = c.value(node.this), c.value(node.expression)
    for value in (a, b):
        if not t.is_integer(c.type_of(value)):
            raise c.query.unsupported(node, f"{shown(node)}: // takes integers; write floor(a / b) for others")
    return a, b


def _between(c: Context, node: exp.Expr) -> Expr:
    value, low = c.pair(node.this, node.args["low"])
    again, high = c.pair(node.this, node.args["high"])
    return (value >= low) & (again <= high)


def _in(c: Context, node: exp.Expr) -> Expr:
    if node.args.get("query") is not None:
        raise c.query.unsupported(
            node,
            f"{shown(node)}: IN (SELECT …) stands in WHERE, joined by AND, without NOT; else use a SEMI or ANTI JOIN",
        )
    if (held := node.args.get("field")) is not None:
        return c.value(held).list.contains(c.value(node.this))
    value = c.value(node.this)
    kind = c.type_of(value)
    items = [c.as_time(item, c.value(item), kind) for item in node.expressions]
    known = [item for item in items if not (isinstance(item, Literal) and item.value is None)]
    constants = [item.value for item in known if isinstance(item, Literal)]
    found = value.is_in(constants) if constants or not known else None
    for item in known:
        if not isinstance(item, Literal):
            found = (value == item) if found is None else found | (value == item)
    assert found is not None  # no items make an empty list of constants
    return found if len(known) == len(items) else when(found).then(lit(True)).otherwise(_UNKNOWN)


def _is(c: Context, node: exp.Expr) -> Expr:
    other = node.expression
    if isinstance(other, exp.Null):
        return c.value(node.this).is_null()
    if isinstance(other, exp.Boolean):
        value = truth(c, node.this)
        return coalesce(value if other.this else ~value, lit(False))
    raise c.query.unsupported(node, f"{shown(node)}: IS is followed by NULL, TRUE or FALSE, or by DISTINCT FROM")


def _distinct(c: Context, node: exp.Expr) -> Expr:
    a, b = c.pair(node.this, node.expression)
    for value, other in ((a, b), (b, a)):
        if isinstance(other, Literal) and other.value is None:
            return value.is_not_null()
    return when(a.is_null() | b.is_null()).then(a.is_null() != b.is_null()).otherwise(a != b)


def _same(c: Context, node: exp.Expr) -> Expr:
    return ~_distinct(c, node)


def _case(c: Context, node: exp.Expr) -> Expr:
    args: list[Expr] = []
    for branch in node.args["ifs"]:
        given = node.this
        if given is None:
            chosen = truth(c, branch.this)
        else:
            value, other = c.pair(given, branch.this)
            chosen = value == other
        args += [chosen, c.value(branch.args["true"])]
    default = node.args.get("default")
    return Call("when", (*args, lit(None) if default is None else c.value(default)))


def _if(c: Context, node: exp.Expr) -> Expr:
    otherwise = node.args.get("false")
    value = when(truth(c, node.this)).then(c.value(node.args["true"]))
    return value if otherwise is None else value.otherwise(c.value(otherwise))


def _coalesce(c: Context, node: exp.Expr) -> Expr:
    return coalesce(*(c.value(part) for part in (node.this, *node.expressions)))


def _nullif(c: Context, node: exp.Expr) -> Expr:
    a, b = c.pair(node.this, node.expression)
    return when(coalesce(a == b, lit(False))).then(lit(None)).otherwise(a)


def _extreme(make: Callable[[Expr, Expr], Expr]) -> Handler:
    """GREATEST and LEAST: NULL is left out."""

    def handle(c: Context, node: exp.Expr) -> Expr:
        found = c.value(node.this)
        for part in node.expressions:
            other = c.value(part)
            found = when(found.is_null() | make(other, found)).then(other).otherwise(found)
        return found

    return handle


def _piped(c: Context, node: exp.Expr) -> Expr:
    a, b = c.value(node.this), c.value(node.expression)
    return a + b if t.is_string(c.type_of(a)) and t.is_string(c.type_of(b)) else concat_str(a, b)


def _bits(make: Callable[[Expr, Expr], Expr]) -> Handler:
    def handle(c: Context, node: exp.Expr) -> Expr:
        return make(*_integers(c, node))

    return handle


def _power(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this) ** c.value(node.expression)


def _rounded(c: Context, node: exp.Expr) -> Expr:
    decimals = node.args.get("decimals")
    places = 0 if decimals is None else c.whole(decimals, "the number of decimals")
    return c.value(node.this).round(places, mode="half_away_from_zero")


def _log(c: Context, node: exp.Expr) -> Expr:
    base, value = (node.this, node.expression) if node.expression else (None, node.this)
    if base is None:
        return c.value(value).log(10)
    return c.value(value).log(c.whole(base, "the base"))


def _truncated(c: Context, node: exp.Expr) -> Expr:
    value = c.value(node.this)
    return when(value < 0).then(value.ceil()).otherwise(value.floor())


def _one(make: Callable[[Expr], Expr]) -> Handler:
    def handle(c: Context, node: exp.Expr) -> Expr:
        return make(c.value(node.this))

    return handle


OPERATORS: Final[Mapping[type[exp.Expr], Handler]] = {
    exp.Column: _column,
    exp.Dot: _dot,
    exp.Literal: _literal,
    exp.Boolean: _boolean,
    exp.Null: _null,
    exp.Paren: _paren,
    exp.Neg: _neg,
    exp.Add: _two(lambda a, b: a + b),
    exp.Sub: _two(lambda a, b: a - b),
    exp.Mul: _two(lambda a, b: a * b),
    exp.Div: _two(lambda a, b: a / b),
    exp.IntDiv: _floor_divided,
    exp.Mod: _remained,
    exp.Pow: _power,
    exp.EQ: _compared(lambda a, b: a == b),
    exp.NEQ: _compared(lambda a, b: a != b),
    exp.LT: _compared(lambda a, b: a < b),
    exp.LTE: _compared(lambda a, b: a <= b),
    exp.GT: _compared(lambda a, b: a > b),
    exp.GTE: _compared(lambda a, b: a >= b),
    exp.And: _joined(lambda a, b: a & b),
    exp.Or: _joined(lambda a, b: a | b),
    exp.Not: _not,
    exp.Between: _between,
    exp.In: _in,
    exp.Is: _is,
    exp.NullSafeEQ: _same,
    exp.NullSafeNEQ: _distinct,
    exp.Case: _case,
    exp.If: _if,
    exp.Coalesce: _coalesce,
    exp.Nullif: _nullif,
    exp.Greatest: _extreme(lambda a, b: a > b),
    exp.Least: _extreme(lambda a, b: a < b),
    exp.DPipe: _piped,
    exp.BitwiseAnd: _bits(lambda a, b: a & b),
    exp.BitwiseOr: _bits(lambda a, b: a | b),
    exp.BitwiseXor: _bits(lambda a, b: a ^ b),
    exp.Abs: _one(abs),
    exp.Round: _rounded,
    exp.Floor: _one(lambda a: a.floor()),
    exp.Ceil: _one(lambda a: a.ceil()),
    exp.Trunc: _truncated,
    exp.Sqrt: _one(lambda a: a.sqrt()),
    exp.Exp: _one(lambda a: a.exp()),
    exp.Ln: _one(lambda a: a.log()),
    exp.Log: _log,
    exp.Sign: _one(lambda a: a.sign()),
    exp.IsNan: _one(lambda a: a.is_nan()),
}
