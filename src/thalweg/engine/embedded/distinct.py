"""Different values counted as they come: what a group has seen is kept, and only what is new is added to its count.

To count all that a group has seen anew would take longer with every step.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from thalweg.engine.embedded.arrangement import Arrangement
from thalweg.engine.embedded.direct import picked, repeated
from thalweg.engine.embedded.partial import Exprs, Flat


class NewValues(Flat):
    """The number of values that a group had not seen before; over all steps, of its different values."""

    def fold(self, bound: float) -> Exprs:
        return []

    def merge(self, bound: float) -> Exprs:
        return [pl.col(self.column("d")).sum()]

    def finish(self, main: pl.DataFrame) -> Exprs:
        return [pl.col(self.column("d")).alias(self.result_name)]


class SeenValues:
    """The different values that each group has seen.

    Args:
        count: Where a step's new ones are counted.
        keys: The columns that name a group.
        value: The column of the values.
    """

    def __init__(self, count: NewValues, keys: Sequence[str], value: str) -> None:
        self._keys = list(keys)
        self._count = count.column("d")
        self.pairs = Arrangement([*keys, value], identity=None)

    def counted(self, main: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
        """Return groups with how many of their values are new, and keep those.

        Args:
            main: The groups, a row for each.
            values: Groups beside values, each pair once.
        """
        new = self.pairs.missing(values)
        if new.is_empty():
            return main.hstack([repeated(self._count, 0, main.height)])
        self.pairs.insert(new)
        # The groups come first, so they are counted in their order.
        each = [picked(of, self._keys).hstack([repeated(self._count, n, of.height)]) for of, n in ((main, 0), (new, 1))]
        counts = pl.concat(each).group_by(self._keys, maintain_order=True).agg(pl.col(self._count).sum())
        return main.hstack([counts.get_column(self._count)])
