"""Windows that emit once, when they close."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from thalweg.engine.embedded.aggregate import Recipe, recipe
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.assign import assign, bounds_of
from thalweg.engine.embedded.buckets import Bucket, Buckets, Slice
from thalweg.engine.embedded.direct import picked, repeated
from thalweg.engine.embedded.folding import fold_checked
from thalweg.engine.embedded.overflow import without_overflows
from thalweg.engine.embedded.partial import COUNT, END, Partial
from thalweg.engine.embedded.rows import TIME, Rows
from thalweg.engine.embedded.stage import LateRows, Output, Stage
from thalweg.engine.embedded.stored import load_partial, portable, restored, save_partial
from thalweg.plan.nodes import Aggregate
from thalweg.plan.windows import Window


class ClosingWindows(Stage):
    """One final row per key and window."""

    remembers = True

    def __init__(self, node: Aggregate, window: Window, name: str) -> None:
        super().__init__(node, name)
        self.window = self.late_test = window
        self._recipe = recipe(node)
        self._of_several = recipe(node, [END])
        self._buckets = Buckets(window, self._recipe.folding)

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        for rows in inputs:
            self._take(rows, out)
        closed: list[pl.DataFrame] = []
        if (small := self._buckets.close_small(watermark)) is not None:
            closed.append(self._shown(self._of_several, self._of_several.folding.fold(small), None, out))
        for end, partial in self._buckets.close(watermark):
            closed.append(self._shown(self._recipe, partial, end, out))
        if closed:
            frame = stacked(closed)
            if frame.height:
                times = frame.get_column(TIME)
                low, high = int(times.min()), int(times.max())  # type: ignore[arg-type]  # integers, none null
                out.rows.append(Rows(frame, low, high))
        return out

    def due(self, watermark: int) -> bool:
        return self.window.first_end(self.watermark) <= watermark

    def held(self) -> int:
        return self._buckets.held()

    def open_windows(self) -> int:
        return len(self._buckets.open_windows())

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        for (first, last), bucket in self._buckets.contents():
            name = f"{first}_{last}"
            if bucket.frames:
                bucket.frames = [stacked(bucket.frames)]
                yield f"{name}/rows", portable(bucket.frames[0])
            for number, partial in enumerate(bucket.partials):
                yield from save_partial(f"{name}/partial{number}", partial)

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        buckets: dict[Slice, Bucket] = {}
        for name, frame in frames.items():
            slice_name, part, *_ = name.split("/")
            first, last = map(int, slice_name.split("_"))
            bucket = buckets.setdefault((first, last), Bucket())
            if part == "rows":
                bucket.frames, bucket.waiting = [restored(frame)], frame.height
            elif name.endswith("/main"):
                bucket.partials.append(load_partial(f"{slice_name}/{part}", frames))
        for key, bucket in buckets.items():
            self._buckets.restore(key, bucket)

    def _take(self, rows: Rows, out: Output) -> None:
        entry = self.entry
        entry.rows_in += rows.frame.height
        assigned = assign(self.window, rows, self._recipe.prepared(rows.frame))
        for key, part in assigned.slices:
            self._wait(key, part, out)
        # A row between two windows is one that the windows filter.
        entry.filtered += assigned.outside
        entry.pairs += assigned.outside
        if assigned.late is not None:
            entry.late += assigned.late.frame.height
            entry.pairs += assigned.late.frame.height
            out.late.append(LateRows(assigned.late))

    def _wait(self, key: Slice, part: pl.DataFrame, out: Output) -> None:
        windows = (key[1] - key[0]) // self.window.every_us + 1
        pairs = part.height * windows
        self.entry.pairs += pairs
        if not self._recipe.folding.runs_user_code:
            self.entry.absorbed += pairs
            self._buckets.add(key, part)
            return
        partial, rejected, _ = fold_checked(self._recipe.folding, part, self.node)
        out.rejected += rejected
        self.entry.rejected += len(rejected) * windows
        self.entry.absorbed += pairs - len(rejected) * windows
        if partial is not None:
            self._buckets.add_partial(key, partial)

    def _shown(self, recipe: Recipe, partial: Partial, end: int | None, out: Output) -> pl.DataFrame:
        """Return the rows of closed windows.

        Args:
            recipe: How they are computed.
            partial: What they were folded to.
            end: Their end; None where there are several, which the recipe groups by.
            out: Takes groups that have no row, as a sum leaves its type.
        """
        self.entry.released += int(partial.main.get_column(COUNT).sum())
        # A closed window's rows stand at its last instant, so that a later window holds them.
        shown = recipe.folding.finish(partial, [*recipe.show, *map(pl.col, recipe.flags)])
        ends = shown.get_column(END) if end is None else repeated(END, end, shown.height)
        shown = shown.hstack([*bounds_of(self.window, ends), (ends - 1).alias(TIME)])
        fitting, rejected = without_overflows(shown, recipe.flags, self.node.schema.names)
        out.rejected += rejected
        return picked(fitting, [*self.node.schema.names, TIME])
