"""Aggregates of changing streams: rows are added and withdrawn, and each group's row follows.

What a group is computed from is kept: counts and exact sums as numbers that are added to and taken from; everything
else (minimum, quantile, float sums, the user's own) as the group's rows, from which it is computed anew. So nothing is
left of a row that was withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from thalweg.columnar.expressions import compile_expr
from thalweg.engine.embedded.aggregate import recipe
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.assign import LAST, label
from thalweg.engine.embedded.folding import fold_checked
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.partial import END
from thalweg.engine.embedded.rows import TIME, WEIGHT, Rows, copies, size_of
from thalweg.engine.embedded.shown import ShownTable
from thalweg.engine.embedded.stage import Output, Stage
from thalweg.engine.embedded.summed import SummedGroups
from thalweg.engine.embedded.weighted import Weighted, added_up
from thalweg.plan.nodes import Aggregate, ReduceByKey
from thalweg.plan.windows import Window

_ROWS: Final = "rows"


class RetractingAggregate(Stage):
    """An aggregate of a changing stream: a changing table."""

    remembers = True
    eager = True
    uses_time = False

    def __init__(self, node: Aggregate | ReduceByKey, name: str) -> None:
        super().__init__(node, name)
        self._window, self._time = _labels(node)
        self._recipe = recipe(node, [END] if self._window is not None else [])
        folding = self._recipe.folding
        self._sums = SummedGroups(folding) if SummedGroups.can(folding) else None
        self._rows = Weighted(folding.keys)
        self._shown = ShownTable(node, self._recipe, self._window)

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        taken = [part for rows in inputs if (part := self._taken(rows.frame)).height]
        if not taken:
            return out
        change = added_up(stacked(taken))
        size = sum(map(size_of, taken))
        self.entry.absorbed += size
        if change.is_empty():
            self.entry.released += size
            return out
        keys = change.select(self._recipe.folding.keys).unique(maintain_order=True)
        if self._sums is not None:
            groups, more = self._sums.apply(change, keys)
            self.entry.released += size - more
        else:
            self.entry.released += size - size_of(change)
            groups = self._regrouped(change, keys, out)
        frame = self._shown.apply(keys, groups)
        if frame.height:
            out.rows.append(Rows(frame))
        return out

    def use_memory(self, memory: Memory) -> None:
        self._shown.use_memory(memory)
        if self._sums is not None:
            self._sums.use_memory(memory)

    def held(self) -> int:
        return self._rows.held() if self._sums is None else self._sums.held()

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        yield from self._shown.snapshot()
        yield from self._rows.snapshot(_ROWS)
        if self._sums is not None:
            yield from self._sums.snapshot()

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._shown.restore(frames)
        self._rows.restore(_ROWS, frames)
        if self._sums is not None:
            self._sums.restore(frames)

    def _taken(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return what is taken from rows, with their weights, beside their windows."""
        entry = self.entry
        entry.rows_in += frame.height
        if self._window is None or self._time is None:
            entry.pairs += size_of(frame)
            return self._recipe.prepared(frame).hstack([frame.get_column(WEIGHT)])
        return self._labelled(self._window, self._time, frame)

    def _labelled(self, window: Window, time: pl.Expr, frame: pl.DataFrame) -> pl.DataFrame:
        """Return what is taken from rows, once for each of their windows; without a time they belong to none."""
        times = frame.select(time.dt.epoch("us").alias(TIME)).get_column(TIME)
        known = frame.filter(times.is_not_null())
        prepared = self._recipe.prepared(known).hstack([known.get_column(WEIGHT), times.drop_nulls()])
        outside = size_of(frame) - size_of(known)
        if known.height:
            low, high = int(times.min()), int(times.max())  # type: ignore[arg-type]  # integers, and there is one
            labelled = label(window, Rows(prepared.select(TIME), low, high), prepared).frame
            outside += size_of(prepared) - size_of(labelled)
            if LAST in labelled.columns:
                ends = pl.int_ranges(END, pl.col(LAST) + 1, window.every_us).alias(END)
                labelled = labelled.with_columns(ends).drop(LAST).explode(END)
            prepared = labelled
        else:
            prepared = prepared.with_columns(pl.lit(0, pl.Int64).alias(END))
        self.entry.filtered += outside
        self.entry.pairs += outside + size_of(prepared)
        return prepared.drop(TIME)

    def _regrouped(self, change: pl.DataFrame, keys: pl.DataFrame, out: Output) -> pl.DataFrame | None:
        """Return the results of some groups, computed from all of their rows; None where no group has any."""
        folding = self._recipe.folding
        before = self._rows.cancelled
        self._rows.insert(change)
        self.entry.released += self._rows.cancelled - before
        found = self._rows.lookup(keys)
        rows = _present(found) if found is not None else None
        if rows is None or not rows.height:
            return None
        partial, rejected, left_out = fold_checked(folding, rows, self.node)
        if left_out is not None:
            # A row that was rejected is in the state no more.
            before, wrong = self._rows.cancelled, left_out.with_columns(pl.lit(-1, pl.Int64).alias(WEIGHT))
            self._rows.insert(wrong)
            self.entry.released += self._rows.cancelled - before - 2 * left_out.height
            self.entry.absorbed -= left_out.height
            self.entry.rejected += left_out.height
            out.rejected += rejected
        return None if partial is None else folding.finish(partial)


def _labels(node: Aggregate | ReduceByKey) -> tuple[Window | None, pl.Expr | None]:
    if not isinstance(node, Aggregate) or node.window is None:
        return None, None
    assert isinstance(node.window, Window) and node.labelled_by is not None, "other windows refuse a changing input"
    return node.window, compile_expr(node.labelled_by, node.input.schema)


def _present(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that are there, each as often as its weight says; a weight below one is of a row that is not."""
    return copies(rows.filter(pl.col(WEIGHT) > 0))
