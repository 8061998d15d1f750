"""Few rows, handled directly: a query costs some 100 µs whatever it does, a look at a column 2 µs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

AS_WRITTEN: Final = pl.QueryOptFlags.none()
"""For queries that are written as they should run: to optimise one takes longer than to run it on few rows."""

FEW_ROWS: Final = 16_384
"""Up to so many rows one thread is as fast as several."""


def picked(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return columns of a frame, in this order."""
    return frame if frame.columns == list(names) else pl.DataFrame([frame.get_column(name) for name in names])


def kept(frame: pl.DataFrame, mask: pl.Series) -> pl.DataFrame:
    """Return the rows where the mask is true; it has no null."""
    if frame.height > FEW_ROWS:
        return frame.filter(mask)
    return pl.DataFrame([column.filter(mask) for column in frame.get_columns()])


def repeated(name: str, value: int | bool, length: int) -> pl.Series:
    """Return a column of one value."""
    kind = pl.Boolean() if isinstance(value, bool) else pl.Int64()
    return pl.Series(name, [value], kind).new_from_index(0, length)


def only_value(column: pl.Series) -> object:
    """Return the one value that a column of integers has; None if there are several, or null ones."""
    low = column.min()
    return low if not column.has_nulls() and low == column.max() else None
