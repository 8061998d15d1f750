"""Rows of closed windows whose sums left their type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from thalweg.engine.embedded.stage import RejectedRow

OVERFLOW: Final = "a sum does not fit in 64 bits; cast the column to float, or sum a part of it"


def without_overflows(
    shown: pl.DataFrame, flags: Sequence[str], names: Sequence[str]
) -> tuple[pl.DataFrame, list[RejectedRow]]:
    """Return the rows in which every sum fits, and the others, as rejected.

    Args:
        shown: Output rows of closed windows.
        flags: The columns that say, where true, that a sum does not fit.
        names: The output columns.
    """
    wrong = [flag for flag in flags if shown.get_column(flag).any()]
    if not wrong:
        return shown, []
    bad = shown.filter(pl.any_horizontal(wrong)).select(names)
    rejected = [
        RejectedRow(f"window that ends at {bad['window_end'][row]}", OVERFLOW, bad[row : row + 1])
        for row in range(bad.height)
    ]
    return shown.filter(pl.any_horizontal(wrong).not_()), rejected
