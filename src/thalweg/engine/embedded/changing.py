"""Aggregates as changing tables: each step withdraws the rows that it changes and adds the new ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from thalweg.engine.embedded.aggregate import Recipe, recipe
from thalweg.engine.embedded.arrangement import Arrangement, stacked
from thalweg.engine.embedded.assign import assign, end_column
from thalweg.engine.embedded.folding import fold_checked
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.partial import COUNT, Partial
from thalweg.engine.embedded.rows import ALWAYS, WEIGHT, Rows
from thalweg.engine.embedded.stage import LateRows, Output, Stage
from thalweg.engine.embedded.stored import load_partial, portable, restored, save_partial
from thalweg.plan.nodes import Aggregate, ReduceByKey
from thalweg.plan.windows import Window

_WHOLE = ALWAYS
"""The window end that stands for the whole stream."""


class Table:
    """The changing rows of one window, or of the whole stream.

    Args:
        how: How rows become aggregates.
    """

    def __init__(self, how: Recipe) -> None:
        self._recipe = how
        folding = how.folding
        self._main = Arrangement(folding.keys)
        self._sides = {n: Arrangement(folding.keys, side.identity) for n, side in folding.sides.items()}
        self._shown = Arrangement(folding.keys)
        self._bounds: dict[int, float] = {}

    def apply(self, news: Partial) -> pl.DataFrame:
        """Add partial aggregates; return the rows withdrawn and added, with keys, output columns and ``WEIGHT``.

        A row is withdrawn exactly as it was added: it is remembered, not computed again.
        """
        folding = self._recipe.folding
        keys = news.main.select(folding.keys)
        merged = news
        if (before := self.state_of(keys)) is not None:
            before.sides = {
                n: before.sides[n].select(side.columns) if n in before.sides else side.clear()
                for n, side in news.sides.items()
            }
            merged = folding.merge([before, news])
        # Of all groups ever touched, not only of those that this step touches.
        for number, bound in merged.bounds.items():
            self._bounds[number] = max(self._bounds.get(number, 0), bound)
        finished = folding.finish(merged).select(*folding.keys, *self._recipe.show)
        was = self._shown.lookup(keys)
        self._insert(merged, news)
        self._shown.insert(finished)
        added = finished.with_columns(pl.lit(1, pl.Int64).alias(WEIGHT))
        if was is None:
            return added
        withdrawn = was.select(finished.columns).with_columns(pl.lit(-1, pl.Int64).alias(WEIGHT))
        return _net(pl.concat([withdrawn, added]))

    def state_of(self, keys: pl.DataFrame) -> Partial | None:
        """Return the state of some groups, each key given once; None where there is none."""
        main = self._main.lookup(keys)
        if main is None:
            return None
        found = {n: side.lookup(keys) for n, side in self._sides.items()}
        return Partial(main, {n: side for n, side in found.items() if side is not None}, self._bounds)

    def rows(self) -> int:
        """Return how many rows went into the table, counted from its state."""
        main = self._main.all()
        return 0 if main is None else int(main.get_column(COUNT).sum())

    def snapshot(self, name: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the state as named frames."""
        if (main := self._main.all()) is None or (shown := self._shown.all()) is None:
            return
        sides = {n: frame for n, side in self._sides.items() if (frame := side.all()) is not None}
        yield from save_partial(f"{name}/partial", Partial(main, sides, self._bounds))
        yield f"{name}/shown", portable(shown)

    def restore(self, name: str, frames: dict[str, pl.DataFrame]) -> None:
        """Take the state back."""
        partial = load_partial(f"{name}/partial", frames)
        self._main.insert(partial.main)
        for number, side in partial.sides.items():
            self._sides[number].insert(side)
        self._shown.insert(restored(frames[f"{name}/shown"]))
        self._bounds = partial.bounds

    def _insert(self, merged: Partial, news: Partial) -> None:
        self._main.insert(merged.main)
        for number, side in self._sides.items():
            identity = self._recipe.folding.sides[number].identity
            if identity is None:
                side.insert(news.sides[number])
            elif not identity:
                side.insert(merged.sides[number])
            else:
                names = [*self._recipe.folding.keys, *identity]
                touched = join_on(merged.sides[number], news.sides[number], names, "semi")
                side.insert(touched)


class ChangingAggregate(Stage):
    """Aggregates whose result is a changing table, per window or over the whole stream."""

    def __init__(self, node: Aggregate | ReduceByKey, name: str) -> None:
        super().__init__(node, name)
        self.window: Window | None = node.window if isinstance(node, Aggregate) else None
        self._recipe = recipe(node)
        self._tables: dict[int, Table] = {}

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        touched: dict[int, list[pl.DataFrame]] = {}
        for rows in inputs:
            self._take(rows, touched, out)
        frames = [frame for end, parts in touched.items() if (frame := self._change(end, parts, out)) is not None]
        if frames:
            frame = stacked(frames)
            self.entry.rows_out += frame.height
            out.rows.append(Rows(frame))
        for end in [end for end in self._tables if end <= watermark and end != _WHOLE]:
            self.entry.released += self._tables.pop(end).rows()
        return out

    def held(self) -> int:
        return sum(table.rows() for table in self._tables.values())

    def open_windows(self) -> int:
        return len(self._tables) if self.window is not None else 0

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        for end, table in self._tables.items():
            yield from table.snapshot(str(end))

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        for end in {int(name.split("/")[0]) for name in frames}:
            self._tables[end] = Table(self._recipe)
            self._tables[end].restore(str(end), frames)

    def _take(self, rows: Rows, touched: dict[int, list[pl.DataFrame]], out: Output) -> None:
        entry = self.entry
        entry.rows_in += rows.frame.height
        prepared = self._recipe.prepared(rows.frame)
        if self.window is None:
            entry.pairs += prepared.height
            entry.absorbed += prepared.height
            touched.setdefault(_WHOLE, []).append(prepared)
            return
        assigned = assign(self.window, rows, prepared)
        for (first, last), part in assigned.slices:
            for end in range(first, last + 1, self.window.every_us):
                entry.pairs += part.height
                entry.absorbed += part.height
                touched.setdefault(end, []).append(part)
        entry.filtered += assigned.outside
        entry.pairs += assigned.outside
        if assigned.late is not None:
            entry.late += assigned.late.frame.height
            entry.pairs += assigned.late.frame.height
            out.late.append(LateRows(assigned.late))

    def _change(self, end: int, parts: list[pl.DataFrame], out: Output) -> pl.DataFrame | None:
        rows = stacked(parts)
        table = self._tables.get(end)
        folding, before = self._recipe.folding, None
        if table is not None and folding.runs_user_code:
            before = table.state_of(rows.select(folding.keys).unique())
        partial, rejected = fold_checked(folding, rows, self.node, before)
        self.entry.absorbed -= len(rejected)
        self.entry.rejected += len(rejected)
        out.rejected += rejected
        if partial is None:
            return None
        table = self._tables.setdefault(end, Table(self._recipe))
        frame = table.apply(partial)
        if self.window is not None:
            frame = frame.with_columns(*end_column(self.window, end))
        return frame.select(*self.node.schema.names, WEIGHT)


def _net(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows whose weights do not cancel; withdrawn ones first."""
    names = [name for name in frame.columns if name != WEIGHT]
    net = frame.group_by(names, maintain_order=True).agg(pl.col(WEIGHT).sum())
    return net.filter(pl.col(WEIGHT) != 0).select(frame.columns)
