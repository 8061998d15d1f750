"""Groups that are counts and exact sums: what is withdrawn is taken from them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import polars as pl

from thalweg.engine.embedded.arrangement import Arrangement
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.partial import COUNT, CountRows, CountValues, Folding, IntegerSum, Partial, PlainSum
from thalweg.engine.embedded.rows import WEIGHT
from thalweg.engine.embedded.stored import portable, restored

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

    def apply(self, change: pl.DataFrame) -> pl.DataFrame | None:
        """Add what a change adds and take what it withdraws; return the results of the groups that have rows then.

        Args:
            change: Prepared rows with their weights, each once.
        """
        folding = self._folding
        parts = []
        for sign in (1, -1):
            rows = change.filter(pl.col(WEIGHT) * sign > 0)
            if rows.height:
                weights = rows.get_column(WEIGHT) * sign
                if int(weights.max()) > 1:  # type: ignore[arg-type]  # an integer
                    rows = rows.select(pl.all().exclude(WEIGHT).repeat_by(weights).explode())
                else:
                    rows = rows.drop(WEIGHT)
                folded = folding.fold(rows)
                parts.append(folded if sign > 0 else self._negative(folded))
        keys = change.select(folding.keys).unique()
        found = self._groups.lookup(keys)
        if found is not None:
            parts.insert(0, Partial(found.rows, {}, dict(self._bounds)))
        merged = folding.merge(parts)
        for part in parts[found is not None :]:
            for number, bound in part.bounds.items():
                self._bounds[number] = self._bounds.get(number, 0) + bound
        self._groups.insert(merged.main, found)
        there = merged.main.filter(pl.col(COUNT) > 0)
        return folding.finish(Partial(there, {}, merged.bounds)) if there.height else None

    def use_memory(self, memory: Memory) -> None:
        """Keep to a budget."""
        self._groups.memory = memory

    def held(self) -> int:
        """Return how many additions (or withdrawals of what was not added yet) the groups hold."""
        frames = list(self._groups.current())
        return sum(int(frame.get_column(COUNT).abs().sum()) for frame in frames)

    def held_of(self, keys: pl.DataFrame) -> int:
        """Return the same of some groups."""
        found = self._groups.lookup(keys)
        return 0 if found is None else int(found.rows.get_column(COUNT).abs().sum())

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the groups as named frames."""
        numbers = {"number": list(self._bounds), "bound": [float(bound) for bound in self._bounds.values()]}
        yield f"{_NAME}-bounds", pl.DataFrame(numbers, schema={"number": pl.Int64, "bound": pl.Float64})
        for number, frame in enumerate(self._groups.frames()):
            yield f"{_NAME}/{number}", portable(frame)

    def restore(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the groups back."""
        if f"{_NAME}-bounds" not in frames:
            return
        self._bounds = dict(frames[f"{_NAME}-bounds"].rows())
        numbers = sorted(int(key.split("/")[1]) for key in frames if key.startswith(f"{_NAME}/"))
        if numbers:
            self._groups.restore([restored(frames[f"{_NAME}/{number}"]) for number in numbers])

    def _negative(self, partial: Partial) -> Partial:
        parts = [name for name in partial.main.columns if name not in self._folding.keys]
        return Partial(partial.main.with_columns(-pl.col(parts)), {}, partial.bounds)
