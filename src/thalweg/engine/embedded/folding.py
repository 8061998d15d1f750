"""Folding where the user's own functions take part, which may raise on a row."""

from __future__ import annotations

import polars as pl

from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.partial import END, GROUP, Folding, Partial
from thalweg.engine.embedded.stage import RejectedRow, described, traced, unfit_for_python
from thalweg.engine.embedded.user_state import RowsFailed
from thalweg.plan.nodes import Node


def fold_checked(
    folding: Folding, rows: pl.DataFrame, node: Node, before: Partial | None = None
) -> tuple[Partial | None, list[RejectedRow], pl.DataFrame | None]:
    """Fold prepared rows; those on which user code raises are left out.

    Args:
        folding: How to fold.
        rows: The prepared rows.
        node: What they are folded for.
        before: The state of their groups, where folding goes on from it.

    Returns:
        The partial (None if no row is left), the rows that were left out as they are told, and as they were given.
    """
    rejected: list[RejectedRow] = []
    left_out: list[pl.DataFrame] = []
    names = [name for name in node.inputs[0].schema.names if name in rows.columns]
    if folding.runs_user_code and (unfit := unfit_for_python(rows)):
        for number, bad in unfit.items():
            place = _key(folding, rows, number)
            rejected.append(RejectedRow(place, bad.reason, rows[number : number + 1].select(names), bad.column))
        left_out.append(rows[list(unfit)])
        rows = _without(rows, list(unfit))
    while rows.height:
        try:
            return folding.fold(rows, before), rejected, stacked(left_out) if left_out else None
        except RowsFailed as failed:
            errors = {row.row: row.error for row in failed.rows}
            for number, error in errors.items():
                row = rows[number : number + 1].select(names)
                rejected.append(RejectedRow(_key(folding, rows, number), described(error), row, None, traced(error)))
            left_out.append(rows[list(errors)])
            rows = _without(rows, list(errors))
    return None, rejected, stacked(left_out) if left_out else None


def _without(rows: pl.DataFrame, numbers: list[int]) -> pl.DataFrame:
    return rows.with_row_index("__bad").filter(pl.col("__bad").is_in(numbers).not_()).drop("__bad")


def _key(folding: Folding, rows: pl.DataFrame, number: int) -> str:
    """Return a row's key, for people: behind state its place in the source is not known."""
    names = [name for name in folding.keys if name not in (END, GROUP)]
    values = rows[number : number + 1].select(names).select(pl.all().cast(pl.String, strict=False)).row(0)
    return "key " + ", ".join("null" if value is None else str(value) for value in values)
