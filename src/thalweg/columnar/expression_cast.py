"""Casts, as Polars computes them: only what ``plan.type_cast`` allows comes here."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.types as t

from thalweg.columnar.expression_values import MICROSECONDS, TOO_LARGE, Arg, stop_where
from thalweg.columnar.frames import polars_type


def cast(arg: Arg, target: pa.DataType, strict: bool) -> pl.Expr:
    """Return a value in another type; what it cannot hold stops the query, or is null where not strict."""
    given, to = arg.type, polars_type(target)
    if given == target:
        return arg.expr
    if t.is_null(given):
        return pl.lit(None, dtype=to)
    if t.is_string(given) and t.is_floating(target):
        return _float_of_text(arg.expr, to, strict)
    if t.is_date32(given):
        return arg.micros.cast(MICROSECONDS)
    if t.is_integer(given) and (t.is_timestamp(target) or t.is_duration(target)):
        return arg.expr.cast(pl.Int64, strict=strict).cast(to)
    if t.is_timestamp(given) or t.is_duration(given):
        # Every value fits; a strict cast that failed would print the time, and Polars cannot print them all.
        return arg.expr.cast(to, strict=False)
    return arg.expr.cast(to, strict=strict)


def _float_of_text(text: pl.Expr, to: pl.DataType, strict: bool) -> pl.Expr:
    """Polars reads ``1e400`` as infinite; only a text that says so is."""
    number = text.cast(to, strict=strict)
    too_large = number.is_infinite() & ~text.str.contains("(?i)inf")
    return stop_where(too_large, number, TOO_LARGE) if strict else pl.when(~too_large).then(number)
