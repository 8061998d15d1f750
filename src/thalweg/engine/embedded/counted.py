"""Count windows: runs of so many rows per key, in the order of time.

    count_window(3)

    key a     x   x x      x    x   x     x
              [  run 1 ]   [  run 2 ]     [ run 3: closed by two more rows, or when the input is complete

A key's rows are numbered from the one after its last closed run. A row on which the user's code raises has no number:
it is found by handing each row alone to that code before any is numbered.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from thalweg.engine.embedded.direct import picked
from thalweg.engine.embedded.folding import fold_checked
from thalweg.engine.embedded.forming import NUMBER, FormedWindows, renumbered
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.open_groups import LATEST, Found
from thalweg.engine.embedded.partial import COUNT, GROUP, Partial
from thalweg.engine.embedded.rows import ALWAYS
from thalweg.engine.embedded.stage import Output
from thalweg.plan.nodes import Aggregate
from thalweg.plan.windows import CountWindow

_PLACE = "__place"
_OPEN = "__open"
_LOOKED_AT = 64
"""Entries of the timeline that are looked up at a time."""
_FEW_ENTRIES = 4096
_MANY_TIMES = 4
"""A timeline of more entries, and of so many times as many as there are open runs, is made anew."""


class CountWindows(FormedWindows):
    """One final row per key and run of rows."""

    def __init__(self, node: Aggregate, window: CountWindow, name: str) -> None:
        super().__init__(node, name, prepared=False, reach_us=1)
        self._rows = window.rows
        self._next_number = 0
        self._earliest: int | None = None

    def due(self, watermark: int) -> bool:
        return self._waiting.due(watermark)

    def watermark_out(self) -> int:
        # A run that is never filled comes at the end, with the time of its last row.
        return self.watermark if self._earliest is None else min(self.watermark, self._earliest)

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        super().restore(frames)
        self._next_number = self._open.greatest_group() + 1
        self._earliest = self._earliest_open()

    def _complete(self, groups: pl.DataFrame, watermark: int) -> pl.Series:
        full = groups.get_column(COUNT) >= self._rows
        if watermark == ALWAYS:
            return full | True
        # Code that raises on a row after some, and not on the row alone, leaves a run short that others follow.
        if self._open.folding.runs_user_code:
            last = groups.select(pl.col(GROUP) == pl.col(GROUP).max().over(self._open.keys)).to_series()
            return full | ~last
        return full

    def _formed(self, watermark: int, out: Output) -> Iterator[Partial]:
        rows = self._waiting.release(watermark)
        prepared = None if rows is None else self._without_bad(self._recipe.prepared(rows), out)
        found = None
        if prepared is not None and prepared.height:
            found = self._open_of(prepared)
            news = self._folded(self._numbered(prepared, found), out)
            if news is not None:
                yield self._added(self._continued(news, found), found, watermark)
        if watermark == ALWAYS and (rest := self._open.all()) is not None:
            yield self._closed(rest, watermark)
            self._timeline.clear()
        # Behind a key that is seldom seen, entries of the others would gather that say nothing any more.
        if len(self._timeline) > max(_FEW_ENTRIES, _MANY_TIMES * self._open.count):
            self._timeline.clear()
            self._timeline.add(self._open.rows())
        # The earliest run is the same as before unless it was among those that were looked up.
        if (
            self._earliest is None
            or watermark == ALWAYS
            or (found is not None and self._earliest in found.groups.main.get_column(LATEST))
        ):
            self._earliest = self._earliest_open()

    def _without_bad(self, prepared: pl.DataFrame, out: Output) -> pl.DataFrame:
        """Return the rows on which the user's code does not raise."""
        if not self._open.folding.runs_user_code:
            return prepared
        alone = prepared.with_row_index(_PLACE).with_columns(pl.col(_PLACE).cast(pl.Int64).alias(GROUP))
        _, rejected, left_out = fold_checked(self._open.folding, alone, self._aggregate)
        if left_out is None:
            return prepared
        self._reject(rejected, out)
        return alone.join(left_out, on=_PLACE, how="anti", maintain_order="left").select(prepared.columns)

    def _numbered(self, prepared: pl.DataFrame, found: Found | None) -> pl.DataFrame:
        """Return rows with the number of their run: 0 is the one that is open, or the first."""
        keys = self._open.keys
        # Open runs go before their keys' rows, and count as many as they have.
        places = picked(prepared, keys).with_columns(pl.lit(1, pl.Int64).alias(_PLACE))
        before = 0
        if found is not None:
            places = pl.concat([found.groups.main.select(*keys, pl.col(COUNT).alias(_PLACE)), places])
            before = found.groups.main.height
        runs = places.select(((pl.col(_PLACE).cum_sum().over(keys) - 1) // self._rows).alias(GROUP))
        return prepared.hstack(runs.slice(before))

    def _continued(self, news: Partial, found: Found | None) -> Partial:
        """Return runs with numbers that no run of their key had before, but for those that go on."""
        numbers = (pl.col(GROUP) + self._next_number).alias(NUMBER)
        self._next_number += int(news.main.get_column(GROUP).max()) + 1  # type: ignore[arg-type]  # an integer: there are runs
        if found is None:
            return renumbered(news, news.main.with_columns(numbers), self._open.folding.keys)
        begun = found.groups.main.select(*self._open.keys, pl.col(GROUP).alias(_OPEN))
        both = join_on(news.main, begun, self._open.keys, "left")
        goes_on = (pl.col(GROUP) == 0) & pl.col(_OPEN).is_not_null()
        both = both.with_columns(pl.when(goes_on).then(pl.col(_OPEN)).otherwise(numbers).alias(NUMBER)).drop(_OPEN)
        return renumbered(news, both, self._open.folding.keys)

    def _open_of(self, rows: pl.DataFrame) -> Found | None:
        return self._open.lookup(picked(rows, self._open.keys).unique())

    def _earliest_open(self) -> int | None:
        """Return the least time of an open run's last row so far; None where no run is open."""
        while (entries := self._timeline.head(_LOOKED_AT)) is not None:
            found = self._open_of(entries)
            if found is not None:
                now = join_on(found.groups.main, entries, [*self._open.keys, LATEST], "semi")
                if now.height:
                    return int(now.get_column(LATEST).min())  # type: ignore[arg-type]  # an integer: there is one
            self._timeline.drop(entries.height)
        return None
