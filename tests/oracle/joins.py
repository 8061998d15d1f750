"""Joins of tables, row by row, from the definitions alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.oracle.values import Row, canonical

How = Literal["inner", "left", "right", "full", "semi", "anti"]
HOWS: tuple[How, ...] = ("inner", "left", "right", "full", "semi", "anti")

Given = tuple[Hashable, ...]
"""A row as the values of its columns, each in the form in which equal ones are one."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A join of tables.

    Attributes:
        left: The left side's columns.
        right: The right side's columns.
        keys: The columns that must agree.
        how: What becomes of rows without a partner.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    keys: tuple[str, ...]
    how: How

    def of(self, left: Mapping[Given, int], right: Mapping[Given, int]) -> Counter[Given]:
        """Return the rows of the result with their weights, from those of both sides."""
        found: Counter[Given] = Counter()
        for mine, weight in left.items():
            partners = [(other, times) for other, times in right.items() if self._agree(mine, other)]
            matched = any(times > 0 for _, times in partners)
            if self.how in ("semi", "anti"):
                found[mine] += weight if matched == (self.how == "semi") else 0
                continue
            for other, times in partners:
                found[self._beside(mine, other)] += weight * times
            if not matched and self.how in ("left", "full"):
                found[self._beside(mine, None)] += weight
        for other, times in right.items():
            matched = any(weight > 0 for mine, weight in left.items() if self._agree(mine, other))
            if not matched and self.how in ("right", "full"):
                found[self._beside(None, other)] += times
        return Counter({row: weight for row, weight in found.items() if weight})

    def _agree(self, left: Given, right: Given) -> bool:
        mine = [left[self.left.index(key)] for key in self.keys]
        other = [right[self.right.index(key)] for key in self.keys]
        return None not in mine and mine == other

    def _beside(self, left: Given | None, right: Given | None) -> Given:
        mine = dict(zip(self.left, left or (None,) * len(self.left), strict=True))
        other = dict(zip(self.right, right or (None,) * len(self.right), strict=True))
        if left is None:
            mine |= {key: other[key] for key in self.keys}
        return (*mine.values(), *(value for name, value in other.items() if name not in self.keys))


def given(row: Row, columns: Sequence[str]) -> Given:
    """Return a row in the form in which equal ones are one."""
    return tuple(canonical(row[name]) for name in columns)


def present(rows: Mapping[Given, int]) -> dict[Given, int]:
    """Return the rows that a table has: a weight of zero or less is of a row that is not there."""
    return {row: weight for row, weight in rows.items() if weight > 0}
