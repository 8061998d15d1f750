"""What a result may be: one value exactly, or any within a stated error."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from tests.oracle.values import Value, canonical

LARGEST = Fraction(1.7976931348623157e308)
SMALLEST = Fraction(5e-324)
"""The spacing of floats near 0, which rounding of a result may always cost."""


class Expected(Protocol):
    """What a result may be."""

    def accepts(self, got: object) -> bool:
        """Return whether a result is right."""
        ...


@dataclass(frozen=True, slots=True)
class Exactly:
    """One value; any NaN for NaN, −0.0 for 0.0."""

    value: Value

    def accepts(self, got: object) -> bool:
        """Return whether a result is the value, of the same type (a sum of nothing is 0 of its column's type)."""
        if self.value == 0 and isinstance(self.value, int) and isinstance(got, float):
            return got == 0
        if isinstance(self.value, bool) != isinstance(got, bool) or isinstance(self.value, float) != isinstance(
            got, float
        ):
            return False
        wanted: Hashable = canonical(self.value)
        return canonical(got) == wanted


@dataclass(frozen=True, slots=True)
class Within:
    """A float between two bounds; infinite where a bound lies outside what a float can hold."""

    low: Fraction
    high: Fraction

    def accepts(self, got: object) -> bool:
        """Return whether a result is a float between the bounds."""
        if not isinstance(got, float) or math.isnan(got):
            return False
        if math.isinf(got):
            return self.high > LARGEST if got > 0 else self.low < -LARGEST
        return self.low <= Fraction(got) <= self.high

    def __str__(self) -> str:
        return f"{_shown(self.low)} … {_shown(self.high)}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any of several."""

    choices: tuple[Expected, ...]

    def accepts(self, got: object) -> bool:
        """Return whether any of the choices accepts the result."""
        return any(choice.accepts(got) for choice in self.choices)


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number between two bounds."""

    low: int
    high: int

    def accepts(self, got: object) -> bool:
        """Return whether a result is an int between the bounds."""
        return isinstance(got, int) and not isinstance(got, bool) and self.low <= got <= self.high


@dataclass(frozen=True, slots=True)
class AnyFloat:
    """A float that no promise fixes: it must only not be null."""

    def accepts(self, got: object) -> bool:
        """Return whether a result is a float."""
        return isinstance(got, float)


def around(exact: Fraction, error: Fraction) -> Within:
    """Return the floats within an error of an exact number, and the rounding to a float."""
    margin = abs(error) + SMALLEST
    return Within(exact - margin, exact + margin)


def _shown(bound: Fraction) -> str:
    try:
        return repr(float(bound))
    except OverflowError:
        return "beyond a float"
