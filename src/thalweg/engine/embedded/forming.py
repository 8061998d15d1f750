"""Windows that rows form themselves, per key: what sessions and count windows share.

Rows wait until the watermark is strictly past them. What is then there of a key is all that there will ever be before
the watermark, so groups are formed from front to back: a key has one open group at the most, the last one, and rows are
added to its end only. Nothing that was formed depends on where batches were cut.

    time     ……………………………………|  watermark  |………………
    rows     taken up, in groups             wait, in any order

Proof that no row comes for what was taken up: a row of time t was taken up at an operator watermark W > t. The operator
watermark is no greater than that of any partition, so a later row of whatever partition has a ``watermark_before`` ≥ W;
if its own time is below W it is late, and is put aside. A row that an operator made has no ``watermark_before``, and
lies behind W only where idle sources let W run ahead of that operator: it is put aside as well.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from thalweg.columnar.frames import empty_frame
from thalweg.engine.embedded.aggregate import recipe
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.folding import fold_checked
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.open_groups import FIRST, LATEST, Found, OpenGroups, part_of
from thalweg.engine.embedded.overflow import without_overflows
from thalweg.engine.embedded.partial import COUNT, GROUP, Partial
from thalweg.engine.embedded.rows import TIME, Rows
from thalweg.engine.embedded.stage import Output, RejectedRow, Stage
from thalweg.engine.embedded.timeline import Timeline
from thalweg.engine.embedded.waiting import EACH_ROW, Waiting, split_behind
from thalweg.plan.nodes import Aggregate

NUMBER: Final = "__number"
"""The new number of a group (Int64)."""

_TIMESTAMP = pl.Datetime("us", "UTC")


class FormedWindows(Stage):
    """One final row per key and window, for windows whose bounds are times of rows.

    Args:
        node: The aggregate.
        name: The step's name.
        prepared: Whether rows wait as they are prepared, not as they come.
        reach_us: How far behind its last row a window ends.
    """

    remembers = True

    def __init__(self, node: Aggregate, name: str, *, prepared: bool, reach_us: int) -> None:
        super().__init__(node, name)
        self.late_test = EACH_ROW
        self._reach_us = reach_us
        self._recipe = recipe(node, [GROUP])
        rows = empty_frame(node.input.schema).with_columns(pl.lit(None, pl.Int64).alias(TIME))
        taken = self._recipe.prepared(rows)
        self._open = OpenGroups(self._recipe.folding, taken.with_columns(pl.lit(None, pl.Int64).alias(GROUP)))
        self._timeline = Timeline(self._open.keys)
        self._prepared = prepared
        self._waiting = Waiting([name for name in (taken if prepared else rows).columns if name != TIME])

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        for rows in inputs:
            self._take(rows, out)
        closed = [part for part in self._formed(watermark, out) if part.main.height]
        if closed:
            frame = stacked([self._result(part, out) for part in closed]).sort(TIME)
            if frame.height:
                times = frame.get_column(TIME)
                out.rows.append(Rows(frame, int(times[0]), int(times[-1])))
        return out

    @abstractmethod
    def _formed(self, watermark: int, out: Output) -> Iterator[Partial]:
        """Take up the rows that the watermark has passed; give the windows that it closes."""

    @abstractmethod
    def _complete(self, groups: pl.DataFrame, watermark: int) -> pl.Series:
        """Tell of each group whether it is a closed window, and nothing will be added to it."""

    def held(self) -> int:
        return self._waiting.held() + self._open.held()

    def open_windows(self) -> int:
        # How many windows the rows form that still wait is not known before they do.
        return self._open.count or int(self._waiting.held() > 0)

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        for name, frame in self._waiting.snapshot():
            yield f"waiting/{name}", frame
        for name, frame in self._open.snapshot():
            yield f"open/{name}", frame

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        parts: dict[str, dict[str, pl.DataFrame]] = {"waiting": {}, "open": {}}
        for name, frame in frames.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = frame
        self._waiting.restore(parts["waiting"])
        self._open.restore(parts["open"])
        self._timeline = Timeline(self._open.keys)
        self._timeline.add(self._open.rows())

    def _take(self, rows: Rows, out: Output) -> None:
        entry = self.entry
        entry.rows_in += rows.frame.height
        entry.pairs += rows.frame.height
        rows, late = split_behind(rows, self.watermark)
        if late is not None:
            entry.late += late.rows.frame.height
            out.late.append(late)
        entry.absorbed += rows.frame.height
        self._waiting.add(rows.replaced(self._recipe.prepared(rows.frame)) if self._prepared else rows)

    def _folded(self, rows: pl.DataFrame, out: Output) -> Partial | None:
        """Return the partial aggregates of rows."""
        partial, rejected, _ = fold_checked(self._open.folding, rows, self._aggregate)
        self._reject(rejected, out)
        return None if partial is None else self._open.counted(partial)

    def _reject(self, rejected: Sequence[RejectedRow], out: Output) -> None:
        """Put rows aside that were absorbed when they came."""
        out.rejected += rejected
        self.entry.rejected += len(rejected)
        self.entry.absorbed -= len(rejected)

    def _added(self, news: Partial, found: Found | None, watermark: int) -> Partial:
        """Add groups to the open ones; return those that are closed.

        Args:
            news: The groups, with the numbers of the open ones that they continue.
            found: The open groups of their keys, and perhaps others that may be closed.
            watermark: The operator watermark.
        """
        keys = self._open.folding.keys
        merged = news if found is None else self._open.folding.merge([found.groups, news])
        complete = self._complete(merged.main, watermark)
        stay = part_of(merged, ~complete, keys)
        self._open.replace(found, stay, news)
        touched = stay.main
        if found is not None:
            # What was looked up in vain has its entry still.
            touched = touched.filter(pl.col(LATEST) >= int(news.main.get_column(FIRST).min()))  # type: ignore[arg-type]  # an integer
        self._timeline.add(touched)
        return part_of(merged, complete, keys)

    def _closed(self, found: Found, watermark: int) -> Partial:
        """Return the groups, of those found, that are closed without anything new."""
        closed = found.where(self._complete(found.groups.main, watermark), self._open.folding.keys)
        if closed.groups.main.height:
            self._open.replace(closed, None, None)
        return closed.groups

    def _result(self, closed: Partial, out: Output) -> pl.DataFrame:
        finished = self._open.folding.finish(closed)
        self.entry.released += int(finished.get_column(COUNT).sum())
        end = pl.col(LATEST) + self._reach_us
        bounds = [pl.col(FIRST).cast(_TIMESTAMP).alias("window_start"), end.cast(_TIMESTAMP).alias("window_end")]
        # A closed window's rows stand at its last instant, so that a later window holds them.
        shown = finished.select(*self._recipe.show, *bounds, (end - 1).alias(TIME), *self._recipe.flags)
        fitting, rejected = without_overflows(shown, self._recipe.flags, self.node.schema.names)
        out.rejected += rejected
        return fitting.select(*self.node.schema.names, TIME)

    @property
    def _aggregate(self) -> Aggregate:
        assert isinstance(self.node, Aggregate)
        return self.node


def renumbered(news: Partial, numbers: pl.DataFrame, keys: Sequence[str]) -> Partial:
    """Return groups with other numbers; those that get the same one are still apart.

    Args:
        news: The groups.
        numbers: Its main frame, with the new number of each group in ``NUMBER``.
        keys: The columns that name a group, ``GROUP`` last.
    """
    main = numbers.drop(GROUP).rename({NUMBER: GROUP})
    known = numbers.select(*keys, NUMBER)
    sides = {
        number: join_on(side, known, keys, "left").drop(GROUP).rename({NUMBER: GROUP}).select(side.columns)
        for number, side in news.sides.items()
    }
    return Partial(main.select(news.main.columns), sides, news.bounds)
