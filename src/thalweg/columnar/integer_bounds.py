"""Interval arithmetic: from where integers lie to where a result of theirs lies.

Integers never wrap (``plan.type_arithmetic``), so an operation is computed in 128 bits and checked, at several times
the cost of a plain one. Where the bounds of its operands prove that 64 bits hold every result, the plain one is right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t


@dataclass(frozen=True, slots=True)
class Bounds:
    """An interval of integers.

    Attributes:
        low: No value is below.
        high: No value is above.
    """

    low: int
    high: int

    def within(self, other: Bounds) -> bool:
        """Tell whether every integer between these bounds lies between the others too."""
        return other.low <= self.low and self.high <= other.high


INT64: Final = Bounds(-(2**63), 2**63 - 1)

Range: TypeAlias = Callable[[Sequence[Bounds]], "Bounds | None"]
"""From the bounds of the arguments to those of the result; None: nothing is known beyond its type."""


def of_type(kind: pa.DataType) -> Bounds:
    """Return what a type can hold; times and durations count as their 64 bits.

    Example:
        >>> of_type(pa.uint8())
        Bounds(low=0, high=255)
    """
    if t.is_unsigned_integer(kind):
        return Bounds(0, 2**kind.bit_width - 1)
    if t.is_signed_integer(kind):
        return Bounds(-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1)
    return INT64


def hull(parts: Sequence[Bounds]) -> Bounds:
    """Return the bounds of values of which each lies in one of the intervals.

    Example:
        >>> hull([Bounds(0, 1), Bounds(5, 9)])
        Bounds(low=0, high=9)
    """
    return Bounds(min(part.low for part in parts), max(part.high for part in parts))


def same(args: Sequence[Bounds]) -> Bounds:
    """Return the bounds of a value that is passed on."""
    return args[0]


def added(args: Sequence[Bounds]) -> Bounds:
    """Return the bounds of a sum."""
    a, b = args
    return Bounds(a.low + b.low, a.high + b.high)


def subtracted(args: Sequence[Bounds]) -> Bounds:
    """Return the bounds of a difference."""
    a, b = args
    return Bounds(a.low - b.high, a.high - b.low)


def multiplied(args: Sequence[Bounds]) -> Bounds:
    """Return the bounds of a product."""
    a, b = args
    corners = (a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high)
    return Bounds(min(corners), max(corners))


def floor_divided(args: Sequence[Bounds]) -> Bounds | None:
    """Return the bounds of a quotient, rounded down, by a divisor above zero."""
    a, b = args
    if b.low <= 0:
        return None
    corners = (a.low // b.low, a.low // b.high, a.high // b.low, a.high // b.high)
    return Bounds(min(corners), max(corners))


def remained(args: Sequence[Bounds]) -> Bounds | None:
    """Return the bounds of a remainder by a divisor above zero."""
    _, b = args
    return Bounds(0, b.high - 1) if b.low > 0 else None


def negated(args: Sequence[Bounds]) -> Bounds:
    """Return the bounds of the opposite."""
    (a,) = args
    return Bounds(-a.high, -a.low)


def absolute(args: Sequence[Bounds]) -> Bounds:
    """Return the bounds of the distance from zero."""
    (a,) = args
    least = 0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high))
    return Bounds(least, max(abs(a.low), abs(a.high)))


def always(low: int, high: int) -> Range:
    """Return the range of a function whose results lie between two numbers, whatever its arguments."""
    found = Bounds(low, high)
    return lambda _: found


def measured(frame: pl.DataFrame, names: Collection[str]) -> Mapping[str, Bounds]:
    """Return where the values of some integer columns lie, loosely: as what 1, 2, … or 8 bytes can hold.

    Values differ from step to step and their bytes hardly, so what is compiled for one step serves the next.

    Example:
        >>> measured(pl.DataFrame({"n": [7, None, 200]}), ["n"])
        {'n': Bounds(low=-32768, high=32767)}
    """
    if not names:
        return {}
    table = frame.select(names).to_arrow(compat_level=pl.CompatLevel.oldest())
    found = {}
    for name in names:
        ends = pc.min_max(table.column(name))
        # A column of nulls has no values, and any bounds hold.
        low, high = ends["min"].as_py() or 0, ends["max"].as_py() or 0
        found[name] = _loosened(low, high)
    return found


def _loosened(low: int, high: int) -> Bounds:
    # Beside the sign -2ⁿ takes as many bits as 2ⁿ - 1, its complement.
    size_bytes = max((end if end >= 0 else ~end).bit_length() for end in (low, high)) // 8 + 1
    return Bounds(-(2 ** (8 * size_bytes - 1)), 2 ** (8 * size_bytes - 1) - 1)
