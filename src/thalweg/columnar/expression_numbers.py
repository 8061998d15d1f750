"""Operators, numbers, null and NaN, choices and casts, as Polars computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.types as t

from thalweg.columnar.expression_cast import cast
from thalweg.columnar.expression_values import WIDE, Arg, Compile, comparable, narrowed
from thalweg.columnar.frames import polars_type
from thalweg.columnar.integer_bounds import (
    INT64,
    Bounds,
    Range,
    absolute,
    added,
    always,
    floor_divided,
    hull,
    multiplied,
    negated,
    remained,
    same,
    subtracted,
)

Args = Sequence[Arg]
Options = Mapping[str, Any]
Operator = Callable[[pl.Expr, pl.Expr], pl.Expr]


def _arithmetic(operator: Operator, within: Range) -> Compile:
    """Return the compilation of ``+``, ``-`` or ``*``: exact in integers and times, IEEE in floats."""

    def compiled(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
        left, right = args
        if t.is_floating(result) or t.is_decimal(result):
            return operator(left.to(result), right.to(result))
        if t.is_string(result):
            return left.expr + right.expr
        if result == pa.int64() and _cannot_wrap(within, args):
            return operator(left.to(result), right.to(result))
        return narrowed(operator(left.wide, right.wide), result)

    return compiled


def _cannot_wrap(within: Range, args: Args) -> bool:
    """Tell whether an operation on integers fits 64 bits with all that it takes, so that no check is needed."""
    given = [arg.bounds for arg in args]
    found = within(given)
    return found is not None and all(bounds.within(INT64) for bounds in (*given, found))


def _divide(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    left, right = args
    if t.is_duration(left.type):
        return left.micros.cast(pl.Float64) / right.micros.cast(pl.Float64)
    return left.to(result) / right.to(result)


def _floor_divide(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    left, right = args
    if t.is_floating(result):
        return left.to(result) // right.to(result)
    divisor = right.constant.value if right.constant is not None else None
    if isinstance(divisor, int) and divisor > 0 and pa.uint64() not in (left.type, right.type):
        quotient = left.micros.cast(pl.Int64) // pl.lit(divisor, dtype=pl.Int64)
        return quotient.cast(polars_type(result))
    return narrowed(left.wide // right.wide, result)


def _remainder(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    left, right = args
    if t.is_floating(result):
        return left.to(result) % right.to(result)
    if pa.uint64() in (left.type, right.type):
        return narrowed(left.wide % right.wide, result)
    return (left.micros.cast(pl.Int64) % right.micros.cast(pl.Int64)).cast(polars_type(result))


def _power(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    left, right = args
    return left.to(result).pow(right.to(result))


def _negative(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    (arg,) = args
    if t.is_floating(result) or t.is_decimal(result):
        return -arg.expr
    if result == pa.int64() and _cannot_wrap(negated, args):
        return -arg.to(result)
    return narrowed(pl.lit(0, dtype=WIDE) - arg.wide, result)


def _absolute(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    (arg,) = args
    if t.is_floating(result) or t.is_decimal(result):
        return arg.expr.abs()
    if t.is_unsigned_integer(arg.type):
        return arg.to(result)
    if result == pa.int64() and _cannot_wrap(absolute, args):
        return arg.to(result).abs()
    return narrowed(arg.wide.abs(), result)


def _compare(operator: Operator) -> Compile:
    def compiled(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
        return operator(*comparable(args))

    return compiled


def _bits(operator: Operator) -> Compile:
    def compiled(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
        return operator(*(arg.to(result) for arg in args))

    return compiled


def _not(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
    return ~args[0].expr


def _round(args: Args, options: Options, result: pa.DataType) -> pl.Expr:
    (arg,) = args
    return arg.expr if t.is_integer(result) else arg.expr.round(options["decimals"], mode=options["mode"])


def _whole(method: str) -> Compile:
    def compiled(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
        (arg,) = args
        found: pl.Expr = arg.expr if t.is_integer(result) else getattr(arg.expr, method)()
        return found

    return compiled


def _real(method: str) -> Compile:
    def compiled(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
        found: pl.Expr = getattr(args[0].to(result), method)()
        return found

    return compiled


def _log(args: Args, options: Options, result: pa.DataType) -> pl.Expr:
    value = args[0].to(result)
    return value.log(options["base"]) if "base" in options else value.log()


def _sign(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    return args[0].expr.sign().cast(polars_type(result))


def _clip(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    value, lower, upper = args
    return value.to(result).clip(*(None if bound.is_none else bound.to(result) for bound in (lower, upper)))


def _test(method: str) -> Compile:
    def compiled(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
        found: pl.Expr = getattr(args[0].expr, method)()
        return found

    return compiled


def _float_test(method: str, otherwise: bool) -> Compile:
    def compiled(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
        (arg,) = args
        if not t.is_floating(arg.type):
            return pl.when(arg.expr.is_not_null()).then(pl.lit(otherwise))
        found: pl.Expr = getattr(arg.expr, method)()
        return found

    return compiled


def _fill_null(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    value, fill = args
    return value.to(result).fill_null(fill.to(result))


def _fill_nan(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    value, fill = args
    return value.to(result).fill_nan(fill.to(result))


def _is_in(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
    value, others = args
    if others.constant is not None:
        some = [part for part in others.constant.value if part is not None]
        if not some:
            return pl.when(value.expr.is_not_null()).then(pl.lit(False))
        members = Arg(pl.lit(pl.Series(some, dtype=polars_type(others.type.value_type))), others.type.value_type)
        left, right = comparable([value, members])
        return left.is_in(right.implode())
    return listed(value, others, lambda item, items: items.list.contains(item, nulls_equal=False))


def listed(item: Arg, items: Arg, test: Operator) -> pl.Expr:
    """Return a test of a value and a list of values, in one type."""
    inner = Arg(pl.element(), items.type.value_type)
    left, right = comparable([item, inner])
    if inner.expr is right:
        return test(left, items.expr)
    return test(left, items.expr.list.eval(right))


def _is_between(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
    value, lower, upper = args
    a, low = comparable([value, lower])
    b, high = comparable([value, upper])
    above = a >= low if options["closed"] in ("both", "left") else a > low
    below = b <= high if options["closed"] in ("both", "right") else b < high
    return above & below


def _cast(args: Args, options: Options, result: pa.DataType) -> pl.Expr:
    return cast(args[0], result, options["strict"])


def _when(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    if t.is_null(result):
        return pl.lit(None)
    found = args[-1].to(result)
    for condition, value in zip(reversed(args[:-1:2]), reversed(args[1::2]), strict=True):
        found = pl.when(condition.expr).then(value.to(result)).otherwise(found)
    return found


def _coalesce(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    if t.is_null(result):
        return pl.lit(None)
    return pl.coalesce([arg.to(result) for arg in args])


def _concat(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
    texts = [cast(arg, pa.string(), True) for arg in args]
    return pl.concat_str(texts, separator=options["separator"], ignore_nulls=options["ignore_nulls"])


COMPILED: Final[Mapping[str, Compile]] = MappingProxyType(
    {
        "or": _bits(pl.Expr.__or__),
        "xor": _bits(pl.Expr.__xor__),
        "and": _bits(pl.Expr.__and__),
        "eq": _compare(pl.Expr.__eq__),
        "ne": _compare(pl.Expr.__ne__),
        "lt": _compare(pl.Expr.__lt__),
        "le": _compare(pl.Expr.__le__),
        "gt": _compare(pl.Expr.__gt__),
        "ge": _compare(pl.Expr.__ge__),
        "add": _arithmetic(pl.Expr.__add__, added),
        "sub": _arithmetic(pl.Expr.__sub__, subtracted),
        "mul": _arithmetic(pl.Expr.__mul__, multiplied),
        "truediv": _divide,
        "floordiv": _floor_divide,
        "mod": _remainder,
        "pow": _power,
        "neg": _negative,
        "not": _not,
        "abs": _absolute,
        "round": _round,
        "floor": _whole("floor"),
        "ceil": _whole("ceil"),
        "sqrt": _real("sqrt"),
        "exp": _real("exp"),
        "log": _log,
        "sign": _sign,
        "clip": _clip,
        "is_null": _test("is_null"),
        "is_not_null": _test("is_not_null"),
        "is_nan": _float_test("is_nan", otherwise=False),
        "is_finite": _float_test("is_finite", otherwise=True),
        "fill_null": _fill_null,
        "fill_nan": _fill_nan,
        "is_in": _is_in,
        "is_between": _is_between,
        "cast": _cast,
        "when": _when,
        "coalesce": _coalesce,
        "concat_str": _concat,
    }
)


def _of_branches(args: Sequence[Bounds]) -> Bounds:
    return hull([*args[1::2], args[-1]])


RANGES: Final[Mapping[str, Range]] = MappingProxyType(
    {
        "add": added,
        "sub": subtracted,
        "mul": multiplied,
        "floordiv": floor_divided,
        "mod": remained,
        "neg": negated,
        "abs": absolute,
        "round": same,
        "floor": same,
        "ceil": same,
        "sign": always(-1, 1),
        "fill_null": hull,
        "coalesce": hull,
        "when": _of_branches,
    }
)
"""Where the integers of a function's result lie; one that is not here may give whatever its type holds."""
