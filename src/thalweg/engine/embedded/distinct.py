"""Different values counted as they come: what a group has seen is kept, and only what is new is added to its count.

To count all that a group has seen anew would take longer with every step.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from thalweg.engine.embedded.arrangement import Arrangement
from thalweg.engine.embedded.joining import join_on
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
        found = self.pairs.lookup(values)
        new = values if found is None else join_on(values, found.rows, values.columns, "anti")
        self.pairs.insert(new)
        counts = new.group_by(self._keys).agg(pl.len().cast(pl.Int64).alias(self._count))
        beside = join_on(main, counts, self._keys, "left")
        return beside.with_columns(pl.col(self._count).fill_null(0))
