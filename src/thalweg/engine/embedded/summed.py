"""Groups that are counts and exact sums: what is withdrawn is taken from them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import polars as pl

from thalweg.engine.embedded.arrangement import Arrangement
from thalweg.engine.embedded.direct import kept
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.partial import COUNT, CountRows, CountValues, Folding, IntegerSum, Partial, PlainSum
from thalweg.engine.embedded.rows import WEIGHT, copies
from thalweg.engine.embedded.stored import load_frames, save_frames

_NAME: Final = "sums"


class SummedGroups:
    """Counts and sums per group.

    Args:
        folding: How rows fold.
    """

    def __init__(self, folding: Folding) -> None:
        self._folding = folding
        self._groups = Arrangement(folding.keys)
        self._bounds: dict[int, float] = {}

    @staticmethod
    def can(folding: Folding) -> bool:
        """Tell whether all aggregates are counts and exact sums."""
        exact = (CountRows, CountValues, IntegerSum, PlainSum)
        return not folding.sides and all(isinstance(flat, exact) for flat in folding.flats)

    def apply(self, change: pl.DataFrame, keys: pl.DataFrame) -> tuple[pl.DataFrame | None, int]:
        """Add what a change adds and take what it withdraws.

        Args:
            change: Prepared rows with their weights, each once.
            keys: Their groups, each once.

        Returns:
            The results of those groups that have rows then, None if none has; and how much more ``held`` is.
        """
        folding = self._folding
        parts, weights = [], change.get_column(WEIGHT)
        for sign in (1, -1):
            rows = kept(change, weights * sign > 0)
            if rows.height:
                folded = folding.fold(copies(rows if sign > 0 else rows.with_columns(-rows.get_column(WEIGHT))))
                parts.append(folded if sign > 0 else self._negative(folded))
        found = self._groups.lookup(keys)
        if found is not None:
            parts.insert(0, Partial(found.rows, {}, dict(self._bounds)))
        merged = folding.merge(parts)
        for part in parts[found is not None :]:
            for number, bound in part.bounds.items():
                self._bounds[number] = self._bounds.get(number, 0) + bound
        self._groups.insert(merged.main, found)
        there = kept(merged.main, merged.main.get_column(COUNT) > 0)
        more = _held(merged.main) - (0 if found is None else _held(found.rows))
        return folding.finish(Partial(there, {}, merged.bounds)) if there.height else None, more

    def use_memory(self, memory: Memory) -> None:
        """Keep to a budget."""
        self._groups.memory = memory

    def held(self) -> int:
        """Return how many additions (or withdrawals of what was not added yet) the groups hold."""
        return sum(map(_held, self._groups.current()))

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the groups as named frames."""
        numbers = {"number": list(self._bounds), "bound": [float(bound) for bound in self._bounds.values()]}
        yield f"{_NAME}-bounds", pl.DataFrame(numbers, schema={"number": pl.Int64, "bound": pl.Float64})
        yield from save_frames(_NAME, self._groups.frames())

    def restore(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the groups back."""
        if f"{_NAME}-bounds" not in frames:
            return
        self._bounds = dict(frames[f"{_NAME}-bounds"].rows())
        if saved := load_frames(_NAME, frames):
            self._groups.restore(saved)

    def _negative(self, partial: Partial) -> Partial:
        keys = self._folding.keys
        main = [part if part.name in keys else _negated(part) for part in partial.main.get_columns()]
        return Partial(pl.DataFrame(main), {}, partial.bounds)


def _negated(part: pl.Series) -> pl.Series:
    # Polars negates no integers of 128 bits, which sums beyond 64 bits are held in.
    return pl.Series(part.name, [0], part.dtype) - part if part.dtype.is_integer() else -part


def _held(groups: pl.DataFrame) -> int:
    return int(groups.get_column(COUNT).abs().sum())
