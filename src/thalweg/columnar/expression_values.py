"""What the compiled functions share: arguments, constants, conversions, and checks that stop on a bad row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.types as t

from thalweg.columnar.frames import polars_type
from thalweg.columnar.integer_bounds import Bounds, of_type
from thalweg.plan.expr import Literal
from thalweg.plan.type_rules import common_type

DAY_US: Final = 86_400_000_000
MICROSECONDS: Final = pl.Datetime("us", "UTC")
WIDE: Final = pl.Int128

OUTSIDE_CALENDAR: Final = "the time is outside the years 1 to 9999"
TOO_LARGE: Final = "the text is a number too large for a float"
_STOPS: Final[Mapping[str, type[pl.DataType]]] = MappingProxyType({OUTSIDE_CALENDAR: pl.Int8, TOO_LARGE: pl.Int16})
_REASONS: Final[Mapping[str, str]] = MappingProxyType({"i8": OUTSIDE_CALENDAR, "i16": TOO_LARGE})


@dataclass(frozen=True, slots=True)
class Arg:
    """A compiled argument.

    Attributes:
        expr: How Polars computes it.
        type: Its type.
        constant: The node, where it is a constant.
        known: Where its values lie, where more is known than its type says.
    """

    expr: pl.Expr
    type: pa.DataType
    constant: Literal | None = None
    known: Bounds | None = None

    @property
    def bounds(self) -> Bounds:
        """Where its values lie; of times and durations, their microseconds."""
        value = None if self.constant is None else self.constant.value
        if isinstance(value, int) and t.is_integer(self.type):
            return Bounds(value, value)
        return self.known or of_type(self.type)

    @property
    def is_none(self) -> bool:
        """Whether it is the constant None."""
        return self.constant is not None and self.constant.value is None

    def to(self, target: pa.DataType) -> pl.Expr:
        """Return the value in another type that can hold it."""
        return converted(self, target).expr

    @property
    def wide(self) -> pl.Expr:
        """The integer, or a time's or duration's microseconds, in 128 bits, where no sum or product of two wraps."""
        return self.micros.cast(WIDE)

    @property
    def micros(self) -> pl.Expr:
        """The microseconds of a time or duration; an integer as it is."""
        if t.is_date32(self.type):
            # Polars wraps for dates far away, and fails on printing them.
            return (self.expr.to_physical().cast(WIDE) * DAY_US).cast(pl.Int64)
        return self.expr if t.is_integer(self.type) else self.expr.to_physical()


Compile: TypeAlias = Callable[[Sequence[Arg], Mapping[str, Any], pa.DataType], pl.Expr]
"""From arguments, options and the result's type to how Polars computes it."""


def literal(value: Any, given: pa.DataType) -> pl.Expr:
    """Return a constant of exactly a type."""
    if t.is_null(given):
        return pl.lit(None)
    if isinstance(value, tuple):
        inner = pl.Null() if t.is_null(given.value_type) else polars_type(given.value_type)
        return pl.lit(list(value), dtype=pl.List(inner))
    return pl.lit(value, dtype=polars_type(given))


def converted(arg: Arg, target: pa.DataType) -> Arg:
    """Return an argument in a type that can hold its values."""
    if arg.type == target:
        return arg
    if arg.constant is not None:
        if arg.is_none:
            return Arg(
                pl.lit(None, dtype=polars_type(target)) if not t.is_null(target) else arg.expr, target, arg.constant
            )
        if not t.is_date32(arg.type):
            return Arg(literal(arg.constant.value, arg.type).cast(polars_type(target)), target, arg.constant)
    if t.is_date32(arg.type) and t.is_timestamp(target):
        return Arg(arg.micros.cast(MICROSECONDS), target, arg.constant)
    return Arg(arg.expr.cast(polars_type(target)), target, arg.constant)


def comparable(args: Sequence[Arg]) -> list[pl.Expr]:
    """Return values in one type in which they compare without loss: 128 bits for integers that have no other."""
    found = common_type([arg.type for arg in args])
    if found is None:
        return [arg.expr.cast(WIDE) for arg in args]
    return [arg.to(found) for arg in args]


def narrowed(wide: pl.Expr, result: pa.DataType) -> pl.Expr:
    """Return 128-bit integers in a 64-bit type; one that does not fit stops the query."""
    if t.is_integer(result):
        return wide.cast(polars_type(result))
    return wide.cast(pl.Int64).cast(polars_type(result))


def stop_where(bad: pl.Expr, value: pl.Expr, reason: str) -> pl.Expr:
    """Return the value; a row where ``bad`` is true stops the query, and ``outside_reason`` gives the reason.

    Polars has no call that raises. Minus one does not fit an unsigned integer of 128 bits, a type that no
    program can cast to itself; the signed type that it is cast from says which check it was.
    """
    marker = _STOPS[reason]
    proof = (pl.lit(0, dtype=marker) - bad.cast(marker)).cast(pl.UInt128)
    return pl.when(proof.is_not_null()).then(value)


def in_calendar(arg: Arg) -> pl.Expr:
    """Return a time or date; outside the years 1 to 9999, which Polars and Python cannot all name, it stops."""
    first, last = -719_162, 2_932_896
    physical = arg.expr.to_physical()
    if t.is_date32(arg.type):
        return stop_where(~physical.is_between(first, last), arg.expr, OUTSIDE_CALENDAR)
    return stop_where(~physical.is_between(first * DAY_US, (last + 1) * DAY_US - 1), arg.expr, OUTSIDE_CALENDAR)


def outside_reason(given: str, to: str) -> str | None:
    """Return the reason behind a failed conversion that stands for something else."""
    if to == "u128":
        return _REASONS.get(given)
    if given == "i128":
        kind = {"i64": "int64", "u64": "uint64"}.get(to, to)
        return f"the result is outside the range of {kind}"
    return None
