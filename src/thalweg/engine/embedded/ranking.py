"""The order of a top-k: which rows of a key come first, and which rank they have.

key  by   time   rank            by descends unless reversed, null is always last;
a    9     3     1               then time, then all columns in schema order, ascending
a    7     1     2
a    7     2     3
b    null  1     1
"""

from __future__ import annotations

from typing import Final

import polars as pl

from thalweg.columnar.expressions import compile_expr
from thalweg.engine.embedded.aggregate import EVERYTHING
from thalweg.engine.embedded.direct import AS_WRITTEN, picked
from thalweg.engine.embedded.rows import TIME, WEIGHT
from thalweg.plan.expr import Alias, Column, Expr
from thalweg.plan.nodes import Dedupe, TopK

RANK: Final = "__rank"
"""A row's number within its key, from 1 (Int64)."""
_PLACE: Final = "__place"
_BEFORE: Final = "__before"
_FEW: Final = 512
"""So few rows are sorted by all columns at once: to look for ties takes longer."""


class Ranking:
    """How the rows of a key are ordered.

    Attributes:
        limit: How many rows of a key count.
        names: The user's columns.
        keys: The key columns of prepared rows; equal ones have null, NaN, or the same value (−0.0 equals 0.0).
        hidden: The columns that prepared rows have beside the user's.
        computes: Whether an expression has to be computed for the order, which may fail.
    """

    def __init__(self, node: TopK | Dedupe) -> None:
        schema = node.input.schema
        per, by, reverse = (node.keys, (), ()) if isinstance(node, Dedupe) else (node.per, node.by, node.reverse)
        self.limit = 1 if isinstance(node, Dedupe) else node.rows
        self.names = list(schema.names)
        self.keys = list(per) or [EVERYTHING]
        columns = [_column_of(expr) or f"__b{number}" for number, expr in enumerate(by)]
        made = [compile_expr(expr, schema).alias(f"__b{n}") for n, expr in enumerate(by) if _column_of(expr) is None]
        self.computes = bool(made)
        time = [TIME] if node.input.timed else []
        self.hidden = [*time, *(expr.meta.output_name() for expr in made), *([] if per else [EVERYTHING])]
        self._made = made if per else [*made, pl.lit(0, pl.Int8).alias(EVERYTHING)]
        # A column says all that it has to say where it comes first.
        coarse = dict.fromkeys(self.keys, False)
        for name, upwards in zip(columns, reverse, strict=True):
            coarse.setdefault(name, not upwards)
        coarse |= dict.fromkeys(time, False)
        self._full = coarse | {name: False for name in self.names if name not in coarse}
        self._coarse = coarse if by or time else self._full
        self._last = set(columns)

    def prepared(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return rows with the columns that the order needs; a weight stays."""
        if self._made:
            frame = frame.with_columns(self._made)
        weight = [WEIGHT] if WEIGHT in frame.columns else []
        return picked(frame, [*self.names, *self.hidden, *weight])

    def first(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the first rows of each key, by key, with their ``RANK``; rows with a weight as often as it says.

        Args:
            rows: Prepared rows; of weights, positive ones alone.
        """
        order = self._full if rows.height <= _FEW else self._coarse
        ordered = self._sorted(rows.select(*order, pl.int_range(pl.len()).alias(_PLACE)), order)
        places = ordered.get_column(_PLACE)
        if len(order) < len(self._full):
            places = self._ties_sorted(rows, ordered, places)
        weights = None if WEIGHT not in rows.columns else rows.get_column(WEIGHT)[places].clip(upper_bound=self.limit)
        before = self._before(ordered, weights)
        among = before < self.limit
        places, before = places.filter(among), before.filter(among)
        if weights is not None:
            rows = rows.drop(WEIGHT)
            if (weights > 1).any():
                # A row of weight three is three rows.
                end = pl.min_horizontal(pl.col(_BEFORE) + pl.col(WEIGHT), self.limit)
                spread = pl.DataFrame([places, before, weights.filter(among)])
                spread = spread.select(_PLACE, pl.int_ranges(_BEFORE, end).alias(_BEFORE)).explode(_BEFORE)
                places, before = spread.get_columns()
        return rows[places].hstack([(before + 1).alias(RANK)])

    def _sorted(self, rows: pl.DataFrame, order: dict[str, bool]) -> pl.DataFrame:
        return rows.sort(
            list(order), descending=list(order.values()), nulls_last=[name in self._last for name in order]
        )

    def _ties_sorted(self, rows: pl.DataFrame, ordered: pl.DataFrame, places: pl.Series) -> pl.Series:
        """Return the row numbers with those in order that the first columns leave open."""
        same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in self._coarse)
        same = same & (pl.int_range(pl.len()) > 0)
        tied = ordered.select((same | same.shift(-1, fill_value=False)).alias(_PLACE)).to_series()
        if not tied.any():
            return places
        # Rows that tie stand side by side, and stay there.
        open_ = places.filter(tied)
        part = self._sorted(picked(rows, list(self._full))[open_].hstack([open_]), self._full)
        return places.scatter(tied.arg_true(), part.get_column(_PLACE))

    def _before(self, ordered: pl.DataFrame, weights: pl.Series | None) -> pl.Series:
        """Return of each row, in order, how many of its key come before it."""
        new = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in self.keys)
        new = new | (pl.int_range(pl.len()) == 0)
        if weights is None:
            lazy, count = ordered.lazy(), pl.int_range(pl.len())
        else:
            lazy = ordered.lazy().with_columns(weights.alias(WEIGHT))
            count = pl.col(WEIGHT).cum_sum() - pl.col(WEIGHT)
        before = count - pl.when(new).then(count).forward_fill()
        return lazy.select(before.alias(_BEFORE)).collect(optimizations=AS_WRITTEN, engine="in-memory").to_series()


def _column_of(expr: Expr) -> str | None:
    while isinstance(expr, Alias):
        expr = expr.expr
    return expr.name if isinstance(expr, Column) else None
