"""A few expressions over one row, with SQL's three-valued logic and the one order of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from tests.oracle.values import Row, Value, order_key

Comparison = Literal["==", "!=", "<", "<=", ">", ">="]


class Expression(Protocol):
    """Something that has a value for a row."""

    def value(self, row: Row) -> Value:
        """Return its value for a row."""
        ...


@dataclass(frozen=True, slots=True)
class Col:
    """A column."""

    name: str

    def value(self, row: Row) -> Value:
        """Return the row's value of the column."""
        return row[self.name]


@dataclass(frozen=True, slots=True)
class Lit:
    """A constant; ``timestamp`` says that an int is one."""

    constant: Value
    timestamp: bool = False

    def value(self, row: Row) -> Value:
        """Return the constant."""
        return self.constant


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison: null when a side is null; NaN equals NaN and is the greatest."""

    left: Expression
    operator: Comparison
    right: Expression

    def value(self, row: Row) -> Value:
        """Return True, False or null."""
        left, right = self.left.value(row), self.right.value(row)
        if left is None or right is None:
            return None
        a, b = order_key(left), order_key(right)
        if self.operator == "==":
            return a == b
        if self.operator == "!=":
            return a != b
        if self.operator == "<":
            return a < b
        if self.operator == "<=":
            return a <= b
        return a > b if self.operator == ">" else a >= b


@dataclass(frozen=True, slots=True)
class IsNull:
    """Whether a value is null."""

    of: Expression

    def value(self, row: Row) -> Value:
        """Return True or False."""
        return self.of.value(row) is None


@dataclass(frozen=True, slots=True)
class Not:
    """Negation: null stays null."""

    of: Expression

    def value(self, row: Row) -> Value:
        """Return True, False or null."""
        inner = self.of.value(row)
        return None if inner is None else not inner


@dataclass(frozen=True, slots=True)
class Both:
    """Conjunction: False wins over null."""

    left: Expression
    right: Expression

    def value(self, row: Row) -> Value:
        """Return True, False or null."""
        sides = (self.left.value(row), self.right.value(row))
        if False in sides:
            return False
        return None if None in sides else True


@dataclass(frozen=True, slots=True)
class Either:
    """Disjunction: True wins over null."""

    left: Expression
    right: Expression

    def value(self, row: Row) -> Value:
        """Return True, False or null."""
        sides = (self.left.value(row), self.right.value(row))
        if True in sides:
            return True
        return None if None in sides else False


@dataclass(frozen=True, slots=True)
class FillNull:
    """A value, or another one where it is null."""

    of: Expression
    fill: Expression

    def value(self, row: Row) -> Value:
        """Return the first that is not null."""
        inner = self.of.value(row)
        return self.fill.value(row) if inner is None else inner


@dataclass(frozen=True, slots=True)
class Choose:
    """One value where a condition is True, else (False or null) another."""

    condition: Expression
    then: Expression
    otherwise: Expression

    def value(self, row: Row) -> Value:
        """Return the chosen value."""
        chosen = self.then if self.condition.value(row) is True else self.otherwise
        return chosen.value(row)


@dataclass(frozen=True, slots=True)
class Filter:
    """A step that keeps the rows for which the condition is True."""

    condition: Expression


@dataclass(frozen=True, slots=True)
class WithColumn:
    """A step that adds a column at the end, or replaces one in its place."""

    name: str
    of: Expression


Step = Filter | WithColumn
