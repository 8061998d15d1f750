"""What each aggregate gives for the rows of one group."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from tests.oracle.expect import SMALLEST, AnyFloat, Count, Exactly, Expected, OneOf, around
from tests.oracle.values import Row, Value, canonical, is_nan, order_key

Kind = Literal[
    "rows",  # count()
    "count",
    "sum",
    "mean",
    "var",
    "std",
    "min",
    "max",
    "first",
    "last",
    "arg_min",
    "arg_max",
    "any",
    "all",
    "n_unique",
    "approx_n_unique",
    "quantile",
    "approx_quantile",
    "median",
    "mode",
    "collect",
    "sum_per_row",  # col.sum() / count()
    "user_sum",  # sum of the values that are not null, modulo MODULUS
    "user_nulls",  # number of nulls, through a user's function that gets them as None
]
Interpolation = Literal["nearest", "lower", "higher", "midpoint", "linear"]

MODULUS = 1_000_003
INT64 = (-(2**63), 2**63 - 1)
UINT64 = (0, 2**64 - 1)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate of a program.

    Attributes:
        name: The result's column.
        kind: Which one.
        column: What it is of; only ``rows`` has none.
        by: The column that ``arg_min`` and ``arg_max`` go by.
        q: The quantile, 0 to 1.
        interpolation: How ``quantile`` chooses between two values.
        unsigned: Whether the column is uint64, so that its sum is one too.
    """

    name: str
    kind: Kind
    column: str = ""
    by: str = ""
    q: float = 0.5
    interpolation: Interpolation = "nearest"
    unsigned: bool = False


class Overflow(Exception):
    """An integer sum does not fit 64 bits."""


def evaluate(aggregate: Aggregate, rows: Sequence[Row]) -> Expected:
    """Return what an aggregate over rows, which are in tie order, may be.

    Raises:
        Overflow: An integer sum is outside 64 bits.
    """
    if aggregate.kind == "rows":
        return Exactly(len(rows))
    values = [row[aggregate.column] for row in rows]
    if aggregate.kind == "user_nulls":
        return Exactly(sum(value is None for value in values))
    present = [value for value in values if value is not None]
    if aggregate.kind in ("arg_min", "arg_max"):
        pairs = [(row[aggregate.by], row[aggregate.column]) for row in rows]
        return _extreme_by([(by, value) for by, value in pairs if by is not None and value is not None], aggregate)
    if aggregate.kind == "sum":
        return _sum(present, unsigned=aggregate.unsigned)
    if aggregate.kind == "sum_per_row":
        return _sum_per_row(present, len(rows), unsigned=aggregate.unsigned)
    if aggregate.kind == "quantile":
        return _quantile(present, aggregate.q, aggregate.interpolation)
    if aggregate.kind == "approx_quantile":
        return _approximate_quantile(present, aggregate.q)
    return _SIMPLE[aggregate.kind](present)


def _sum(values: Sequence[Value], *, unsigned: bool = False) -> Expected:
    numbers = _numbers(values)
    if any(isinstance(number, float) for number in numbers):
        special = _special(numbers)
        return special or around(_exact_sum(numbers), _absolute_sum(numbers) / 10**9)
    total = sum(int(number) for number in numbers)
    low, high = UINT64 if unsigned else INT64
    if not low <= total <= high:
        raise Overflow(f"{total} is outside {low} … {high}")
    return Exactly(total)


def _sum_per_row(values: Sequence[Value], rows: int, *, unsigned: bool) -> Expected:
    total = _sum(values, unsigned=unsigned)
    assert isinstance(total, Exactly) and isinstance(total.value, int), "only of integers"
    if not rows:
        return Exactly(float("nan"))  # 0 / 0
    ratio = Fraction(total.value, rows)
    return around(ratio, ratio / 10**15)


def _mean(values: Sequence[Value]) -> Expected:
    numbers = _numbers(values)
    if not numbers:
        return Exactly(None)
    if special := _special(numbers):
        return special
    mean = _exact_sum(numbers) / len(numbers)
    if all(isinstance(number, int) for number in numbers):
        return around(mean, mean / 10**15)  # two roundings of an exact sum
    return around(mean, _absolute_sum(numbers) / len(numbers) / 10**9)


_SMALLEST = Fraction(1, 10**300)


def _var(values: Sequence[Value]) -> Expected:
    numbers = _numbers(values)
    if len(numbers) < 2:
        return Exactly(None)
    if _special(numbers):
        return Exactly(math.nan)
    if any(abs(number) > 1e150 for number in numbers):
        return AnyFloat()  # squares are outside a float
    exact, error = _spread(numbers)
    return around(exact, error)


def _std(values: Sequence[Value]) -> Expected:
    expected = _var(values)
    if isinstance(expected, (Exactly, AnyFloat)):
        return expected
    exact, error = _spread(_numbers(values))
    low, high = _root(max(exact - error, Fraction(0))), _root(exact + error)
    middle = (low + high) / 2
    return around(middle, (high - low) / 2 + middle / 10**12)


def _spread(numbers: Sequence[int | float]) -> tuple[Fraction, Fraction]:
    """Return the exact sample variance and the error that a stable algorithm may have.

    Two passes, or Welford's and Chan's updates, lose about n·ε·κ with κ² = Σx² / Σ(x − mean)²; the
    difference of two sums of squares loses ε·κ² and is refused where κ is large. Squares below 1e-300 or so
    are none of a float's.
    """
    exact = [Fraction(number) for number in numbers]
    mean = sum(exact, Fraction(0)) / len(exact)
    variance = sum(((x - mean) ** 2 for x in exact), Fraction(0)) / (len(exact) - 1)
    square = sum((x * x for x in exact), Fraction(0)) / (len(exact) - 1)
    return variance, variance / 10**9 + _root(variance * square) / 10**12 + square / 10**24 + _SMALLEST


def _root(of: Fraction) -> Fraction:
    """Return a square root to more than 50 digits."""
    shift = 200 + of.denominator.bit_length()
    return Fraction(math.isqrt((of.numerator << (2 * shift)) // of.denominator), 1 << shift)


def _smallest(values: Sequence[Value]) -> Expected:
    return Exactly(min(values, key=order_key, default=None))


def _greatest(values: Sequence[Value]) -> Expected:
    return Exactly(max(values, key=order_key, default=None))


def _extreme_by(pairs: Sequence[tuple[Value, Value]], aggregate: Aggregate) -> Expected:
    best: tuple[Value, Value] | None = None
    for by, value in pairs:
        if best is None:
            best = (by, value)
            continue
        new, old = order_key(by), order_key(best[0])
        if new < old if aggregate.kind == "arg_min" else new > old:
            best = (by, value)
    return Exactly(best[1] if best else None)


def _distinct(values: Sequence[Value]) -> int:
    return len({canonical(value) for value in values})


def _about_distinct(values: Sequence[Value]) -> Expected:
    exact = _distinct(values)
    error = max(1, exact * 2 // 100) if exact < 100 else exact * 5 // 100
    return Count(0 if exact == 0 else max(1, exact - error), exact + (error if exact else 0))


def _quantile(values: Sequence[Value], q: float, interpolation: Interpolation) -> Expected:
    if not values:
        return Exactly(None)
    numbers = sorted(_numbers(values), key=order_key)
    index = q * (len(numbers) - 1)
    below, above = numbers[math.floor(index)], numbers[math.ceil(index)]
    if interpolation == "nearest":
        return Exactly(float(numbers[math.floor(index + 0.5)]))  # a half goes up
    if interpolation == "lower" or canonical(below) == canonical(above):
        return Exactly(float(below))
    if interpolation == "higher":
        return Exactly(float(above))
    share = Fraction(1, 2) if interpolation == "midpoint" else Fraction(index) - math.floor(index)
    if special := _special([below, above]):
        return special
    low, high = Fraction(below), Fraction(above)
    return around(low + (high - low) * share, max(abs(low), abs(high)) / 10**12)


def _median(values: Sequence[Value]) -> Expected:
    return _quantile(values, 0.5, "midpoint")


def _approximate_quantile(values: Sequence[Value], q: float) -> Expected:
    """Within 1 % of the value at the rank; between two ranks, of either."""
    if not values:
        return Exactly(None)
    numbers = sorted(_numbers(values), key=order_key)
    index = q * (len(numbers) - 1)
    choices: list[Expected] = []
    for number in (numbers[math.floor(index)], numbers[math.ceil(index)]):
        special = _special([number])
        near = None if special else around(Fraction(number), abs(Fraction(number)) / 100 + _SUBNORMAL)
        choices.append(special or near or Exactly(None))
    return OneOf(tuple(choices))


def _mode(values: Sequence[Value]) -> Expected:
    counts = Counter(canonical(value) for value in values)
    most = max(counts.values(), default=0)
    return Exactly(next((value for value in values if counts[canonical(value)] == most), None))


def _user_sum(values: Sequence[Value]) -> Expected:
    return Exactly(sum(int(number) for number in _numbers(values)) % MODULUS)


def _numbers(values: Sequence[Value]) -> list[int | float]:
    numbers: list[int | float] = []
    for value in values:
        assert isinstance(value, (int, float)), f"{value!r} is not a number"
        numbers.append(value)
    return numbers


def _special(numbers: Sequence[int | float]) -> Exactly | None:
    """Return the sum by IEEE 754 where a NaN or an infinity decides it."""
    if any(is_nan(number) for number in numbers):
        return Exactly(math.nan)
    infinite = {number for number in numbers if isinstance(number, float) and math.isinf(number)}
    if len(infinite) == 2:
        return Exactly(math.nan)
    return Exactly(infinite.pop()) if infinite else None


def _exact_sum(numbers: Sequence[int | float]) -> Fraction:
    return sum((Fraction(number) for number in numbers), Fraction(0))


def _absolute_sum(numbers: Sequence[int | float]) -> Fraction:
    return sum((abs(Fraction(number)) for number in numbers), Fraction(0))


_SUBNORMAL = SMALLEST * 2**52
"""The least normal float: a sketch may take what is smaller for 0."""

_SIMPLE: dict[Kind, Callable[[Sequence[Value]], Expected]] = {
    "count": lambda values: Exactly(len(values)),
    "mean": _mean,
    "var": _var,
    "std": _std,
    "min": _smallest,
    "max": _greatest,
    "first": lambda values: Exactly(values[0] if values else None),
    "last": lambda values: Exactly(values[-1] if values else None),
    "any": lambda values: Exactly(any(values)),
    "all": lambda values: Exactly(all(values)),
    "n_unique": lambda values: Exactly(_distinct(values)),
    "approx_n_unique": _about_distinct,
    "median": _median,
    "mode": _mode,
    "collect": lambda values: Exactly(list(values)),
    "user_sum": _user_sum,
}
