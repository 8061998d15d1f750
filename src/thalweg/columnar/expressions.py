"""Expression trees compiled to Polars.

What a function means is declared in ``plan.functions``; the modules ``expression_…`` hold how Polars computes it,
one entry per function, and differ from a plain call where Polars would wrap, guess or fall over. A value without
a right answer raises when the expression runs: the caller finds its row by halving the batch, and ``reason_of``
says in words what was wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import polars as pl
import pyarrow as pa

from thalweg.columnar import expression_lists, expression_numbers, expression_text, expression_times
from thalweg.columnar.expression_values import Arg, Compile, converted, literal, outside_reason
from thalweg.columnar.integer_bounds import Bounds, Range, of_type
from thalweg.core.errors import PlanError
from thalweg.core.schema import Schema
from thalweg.plan.expr import Aggregate, Alias, Call, Column, Expr, Literal, columns, infer, is_aggregate, resolve, show

COMPILED: Final[Mapping[str, Compile]] = MappingProxyType(
    {
        **expression_numbers.COMPILED,
        **expression_text.COMPILED,
        **expression_times.COMPILED,
        **expression_lists.COMPILED,
    }
)

_RANGES: Final[Mapping[str, Range]] = MappingProxyType({**expression_numbers.RANGES, **expression_times.RANGES})

_GUARDED: Final = frozenset({"add", "sub", "mul", "neg", "abs"})
"""The functions that are computed without a check where bounds prove that none is needed."""


def compile_expr(expr: Expr, schema: Schema) -> pl.Expr:
    """Return a Polars expression with the type that ``infer`` says, named as ``infer`` names it.

    A constant gives one value, as in Polars: beside a column it is repeated.

    Raises:
        PlanError: ``infer`` refuses the expression, it holds an aggregate, or one of its patterns is wrong.

    Example:
        >>> import pyarrow as pa
        >>> from thalweg.core.schema import Field
        >>> from thalweg.plan.expr import col
        >>> double = compile_expr(col("n") * 2, Schema((Field("n", pa.int8()),)))
        >>> pl.DataFrame({"n": [1, 100]}, schema={"n": pl.Int8}).select(double).to_series().to_list()
        [2, 200]
    """
    return compile_bounded(expr, schema, {})[0]


def compile_bounded(expr: Expr, schema: Schema, bounds: Mapping[str, Bounds]) -> tuple[pl.Expr, Bounds]:
    """Return an expression compiled for integer columns whose values lie between bounds, and the bounds of its own.

    It gives what ``compile_expr`` gives, with fewer checks; over values outside the bounds it may be wrong.

    Args:
        expr: The expression.
        schema: The columns that it is over.
        bounds: Of some of the integer columns, by name.

    Raises:
        PlanError: As ``compile_expr``.

    Example:
        >>> import pyarrow as pa
        >>> from thalweg.core.schema import Field
        >>> from thalweg.plan.expr import col
        >>> compile_bounded(col("n") * 2 + 1, Schema((Field("n", pa.int64()),)), {"n": Bounds(0, 9)})[1]
        Bounds(low=1, high=19)
    """
    if is_aggregate(expr):
        raise PlanError(f"{show(expr)} has a value per group, and here one per row is needed; use it in .agg(…)")
    field = infer(expr, schema)
    found = _compiled(expr, schema, bounds)
    # A constant without a type of its own (None, an empty list) has one at the end.
    return converted(found, field.type).expr.alias(field.name), found.bounds


def guarded_columns(expr: Expr) -> frozenset[str]:
    """Return the columns whose bounds may spare an expression checks: those under integer arithmetic.

    Example:
        >>> from thalweg.plan.expr import col
        >>> sorted(guarded_columns((col("a") + col("b") > col("c")) & (col("d") > 1)))
        ['a', 'b']
    """
    match expr:
        case Alias(inner, _):
            return guarded_columns(inner)
        case Call():
            if expr.function in _GUARDED:
                return columns(expr)
            return frozenset().union(*(guarded_columns(arg) for arg in expr.args))
        case _:
            return frozenset()


def reason_of(error: BaseException) -> str:
    """Return why a row could not be computed, in one line.

    Args:
        error: What Polars raised when a compiled expression ran over the row alone.

    Example:
        >>> try:
        ...     pl.select(pl.lit("x").cast(pl.Int64))
        ... except pl.exceptions.PolarsError as error:
        ...     reason_of(error)
        'the text "x" is not an int64'
    """
    first = str(error).strip().split("\n", 1)[0]
    if match := _CONVERSION.search(first):
        given, to, value = match.groups()
        if special := outside_reason(given, to):
            return special
        shown = f"the text {value}" if given == "str" else f"{value} ({given})"
        return f"{shown} is not {_ARTICLES.get(to, to)}"
    if match := _INTEGER.search(first):
        return f"the text {match.group(1)} is not an integer"
    return first or type(error).__name__


_CONVERSION: Final = re.compile(r"conversion from `([^`]+)` to `([^`]+)` failed in column .*?: \[(.*)\]")
_INTEGER: Final = re.compile(r"strict integer parsing failed for .*?: \[(.*?)\]")
_ARTICLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{f"i{bits}": f"an int{bits}" for bits in (8, 16, 32, 64)},
        **{f"u{bits}": f"a uint{bits}" for bits in (8, 16, 32, 64)},
        **{f"f{bits}": f"a float{bits}" for bits in (32, 64)},
        "date": "a date in this format",
        "datetime[μs]": "a time in this format",
        "datetime[μs, UTC]": "a time in this format",
    }
)


def _compiled(expr: Expr, schema: Schema, bounds: Mapping[str, Bounds]) -> Arg:
    match expr:
        case Column(name):
            return Arg(pl.col(name), schema[name].type, known=bounds.get(name))
        case Literal():
            return Arg(literal(expr.value, expr.type), expr.type, expr)
        case Alias(inner, _):
            return _compiled(inner, schema, bounds)
        case Call():
            return _call(expr, schema, bounds)
        case Aggregate() | _:
            raise PlanError(f"{show(expr)} cannot be computed per row")


def _call(call: Call, schema: Schema, bounds: Mapping[str, Bounds]) -> Arg:
    given = [_compiled(arg, schema, bounds) for arg in call.args]
    types = resolve(call, tuple(arg.type for arg in given))
    args = [converted(arg, to) if arg.constant is not None else arg for arg, to in zip(given, types.args, strict=True)]
    try:
        found = COMPILED[call.function](args, dict(call.options), types.result)
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().replace("\n", " ")
        raise PlanError(f"{show(call)}: {reason}") from error
    return Arg(found, types.result, known=_known(call.function, args, types.result))


def _known(function: str, args: Sequence[Arg], result: pa.DataType) -> Bounds | None:
    """Return where an integer result lies, where that says more than its type."""
    if function not in _RANGES or not pa.types.is_integer(result):
        return None
    found = _RANGES[function]([arg.bounds for arg in args])
    if found is None:
        return None
    # A result that its type cannot hold stops the query, so that the others lie in both.
    held = of_type(result)
    low, high = max(found.low, held.low), min(found.high, held.high)
    return Bounds(low, high) if low <= high else None
