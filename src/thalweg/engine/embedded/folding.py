"""Folding where the user's own functions take part, which may raise on a row."""

from __future__ import annotations

import polars as pl

from thalweg.engine.embedded.partial import Folding, Partial
from thalweg.engine.embedded.stage import RejectedRow, described, traced
from thalweg.engine.embedded.user_state import RowsFailed
from thalweg.plan.nodes import Node


def fold_checked(folding: Folding, rows: pl.DataFrame, node: Node) -> tuple[Partial | None, list[RejectedRow]]:
    """Fold prepared rows; those on which user code raises are left out.

    Returns:
        The partial (None if no row is left) and the rows that were left out.
    """
    rejected: list[RejectedRow] = []
    while rows.height:
        try:
            return folding.fold(rows), rejected
        except RowsFailed as failed:
            bad = {row.row: row.error for row in failed.rows}
            names = [name for name in node.inputs[0].schema.names if name in rows.columns]
            for number, error in bad.items():
                row = rows[number : number + 1].select(names)
                rejected.append(RejectedRow("", described(error), row, None, traced(error)))
            rows = rows.with_row_index("__bad").filter(pl.col("__bad").is_in(list(bad)).not_()).drop("__bad")
    return None, rejected
