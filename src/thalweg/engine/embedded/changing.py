"""Aggregates as changing tables: each step withdraws the rows that it changes and adds the new ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from thalweg.engine.embedded.aggregate import recipe
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.assign import LAST, label
from thalweg.engine.embedded.changing_table import Table
from thalweg.engine.embedded.direct import only_value
from thalweg.engine.embedded.folding import fold_checked
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.partial import COUNT, END, Partial
from thalweg.engine.embedded.rows import Rows
from thalweg.engine.embedded.stage import LateRows, Output, Stage
from thalweg.plan.nodes import Aggregate, ReduceByKey
from thalweg.plan.windows import Window


class ChangingAggregate(Stage):
    """Aggregates whose result is a changing table, per window or over the whole stream."""

    remembers = True
    eager = True

    def __init__(self, node: Aggregate | ReduceByKey, name: str) -> None:
        super().__init__(node, name)
        window = node.window if isinstance(node, Aggregate) else None
        assert window is None or isinstance(window, Window), "other windows do not change"
        self.window = window
        self.late_test = self.window
        self._overlap = self.window is not None and self.window.kind != "tumbling"
        # Rows of several windows are folded once, by the first and the last of them.
        by = [] if self.window is None else [END, LAST] if self._overlap else [END]
        self._recipe = recipe(node, by)
        self._table = Table(node, self.window)

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        taken = [rows for part in inputs if (rows := self._take(part, out)).height]
        if taken and (news := self._folded(stacked(taken), out)) is not None:
            frame = self._table.apply(news)
            if frame.height:
                out.rows.append(Rows(frame))
        self.entry.released += self._table.close(watermark)
        return out

    def use_memory(self, memory: Memory) -> None:
        self._table.use_memory(memory)

    def held(self) -> int:
        return self._table.rows()

    def open_windows(self) -> int:
        return self._table.open_windows()

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        return self._table.snapshot()

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        if frames:
            self._table.restore(frames)

    def _take(self, rows: Rows, out: Output) -> pl.DataFrame:
        """Return what is taken from rows, beside their windows."""
        entry = self.entry
        entry.rows_in += rows.frame.height
        prepared = self._recipe.prepared(rows.frame)
        if self.window is None:
            entry.pairs += prepared.height
            return prepared
        labelled = label(self.window, rows, prepared)
        entry.pairs += self._pairs(labelled.frame) + labelled.outside
        entry.filtered += labelled.outside
        if labelled.late is not None:
            entry.late += labelled.late.frame.height
            entry.pairs += labelled.late.frame.height
            out.late.append(LateRows(labelled.late))
        return labelled.frame

    def _pairs(self, rows: pl.DataFrame) -> int:
        if self.window is None or not self._overlap:
            return rows.height
        span = rows.get_column(LAST) - rows.get_column(END)
        return int((span // self.window.every_us).sum()) + rows.height

    def _folded(self, rows: pl.DataFrame, out: Output) -> Partial | None:
        """Return the partial aggregates of rows, one group per key and window."""
        folding, before = self._recipe.folding, None
        if folding.runs_user_code and self.window is None:
            before = self._table.state_of(rows.select(folding.keys).unique())
        partial, rejected, _ = fold_checked(folding, rows, self.node, before)
        pairs = self._pairs(rows)
        if partial is not None and self._overlap:
            partial = self._spread(partial)
        absorbed = pairs
        if rejected:
            absorbed = 0 if partial is None else int(partial.main.get_column(COUNT).sum())
            out.rejected += rejected
        self.entry.absorbed += absorbed
        self.entry.rejected += pairs - absorbed
        return partial

    def _spread(self, partial: Partial) -> Partial:
        """Return the partial with each group in every one of its windows."""
        assert self.window is not None, "only windows overlap"
        main = partial.main
        one_slice = all(only_value(main.get_column(name)) is not None for name in (END, LAST))
        ends = pl.int_ranges(END, pl.col(LAST) + 1, self.window.every_us).alias(END)
        spread = Partial(
            main.with_columns(ends).explode(END).drop(LAST),
            {n: side.with_columns(ends).explode(END).drop(LAST) for n, side in partial.sides.items()},
            partial.bounds,
        )
        return spread if one_slice else self._table.folding.regrouped(spread)
