"""Sessions: windows per key of rows that are less than a gap apart.

Rows are first put in slices as long as the gap: what a key has in one slice is of one session, however it lies. So rows
are folded by a hash of key and slice, and only the slices' edges are put in order and linked.

    gap     |--------|--------|--------|--------|
    key a      x  x      x                  x        slices 0 and 1 are linked: their edges are less than a gap apart
               [ one session  |             [ another

A session is closed when the watermark W has reached its last row's time plus the gap. No row can reach it then: one
that is not late has a time ≥ its ``watermark_before`` ≥ W (see ``forming``), so it lies at least the gap behind the
last row. Nor do two sessions ever become one: the row between them would lie before the watermark, and be late.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.direct import picked
from thalweg.engine.embedded.forming import NUMBER, FormedWindows, renumbered
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.open_groups import FIRST, LATEST, Found
from thalweg.engine.embedded.partial import GROUP, Partial
from thalweg.engine.embedded.rows import ALWAYS, NEVER, TIME
from thalweg.engine.embedded.stage import Output
from thalweg.plan.nodes import Aggregate
from thalweg.plan.windows import SessionWindow

_PLACE = "__place"
_ID = "__id"
_OPEN = "__open"
_BEFORE = "__before"
_STEPS_PER_GAP = 16
"""A session may close at any time; rows of so small a part of the gap are gathered before it is looked."""


class Sessions(FormedWindows):
    """One final row per session."""

    def __init__(self, node: Aggregate, window: SessionWindow, name: str) -> None:
        super().__init__(node, name, prepared=True, reach_us=window.gap_us)
        self._gap_us = window.gap_us

    def due(self, watermark: int) -> bool:
        earliest = self._timeline.earliest()
        # Rows that have come since the last step lie at the last watermark or after it.
        start = self.watermark if earliest is None else min(earliest, self.watermark)
        return start + self._gap_us <= watermark and watermark - self.watermark >= self._gap_us // _STEPS_PER_GAP

    def _complete(self, groups: pl.DataFrame, watermark: int) -> pl.Series:
        return groups.get_column(LATEST) <= watermark - self._gap_us

    def _formed(self, watermark: int, out: Output) -> Iterator[Partial]:
        rows = self._waiting.passed(watermark)
        news = None if rows is None else self._folded(self._sliced(rows), out)
        found = self._looked_up(None if news is None else news.main, watermark)
        if news is not None:
            yield self._added(self._linked(news, found), found, watermark)
        elif found is not None:
            yield self._closed(found, watermark)

    def _looked_up(self, touched: pl.DataFrame | None, watermark: int) -> Found | None:
        """Return the open sessions of keys that have new rows, and of those that have been silent for the gap."""
        if watermark == ALWAYS:
            self._timeline.clear()
            return self._open.all()
        silent = None if watermark == NEVER else self._timeline.pop_up_to(watermark - self._gap_us)
        keys = [picked(part, self._open.keys) for part in (touched, silent) if part is not None]
        return self._open.lookup(stacked(keys).unique()) if keys else None

    def _sliced(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows with the number of their slice."""
        times = rows.get_column(TIME)
        low = int(times.min())  # type: ignore[arg-type]  # an integer: there are rows
        return rows.with_columns(((pl.col(TIME) - low) // self._gap_us).alias(GROUP))

    def _linked(self, news: Partial, found: Found | None) -> Partial:
        """Return slices with the number of their session: the time of its first row.

        Where the session is open already, that is the first row of all, so that the number stays.
        """
        keys = self._open.folding.keys
        if news.main.get_column(GROUP).max() != 0:
            linked = renumbered(news, self._along(news.main, found), keys)
            return linked if found is not None else self._open.folding.merge([self._open.nothing, linked])
        number = pl.col(FIRST)
        if found is None:
            return renumbered(news, news.main.with_columns(number.alias(NUMBER)), keys)
        begun = found.groups.main.select(*self._open.keys, pl.col(GROUP).alias(_OPEN), pl.col(LATEST).alias(_BEFORE))
        beside = join_on(news.main, begun, self._open.keys, "left")
        goes_on = pl.col(_BEFORE).is_not_null() & (pl.col(FIRST) - pl.col(_BEFORE) < self._gap_us)
        number = pl.when(goes_on).then(pl.col(_OPEN)).otherwise(number)
        return renumbered(news, beside.with_columns(number.alias(NUMBER)).drop(_OPEN, _BEFORE), keys)

    def _along(self, slices: pl.DataFrame, found: Found | None) -> pl.DataFrame:
        """Return slices with their session's number, where a key may have several."""
        keys = self._open.keys
        edges = slices.with_row_index(_PLACE).with_columns(pl.col(_PLACE).cast(pl.Int64))
        names = [*keys, FIRST, LATEST, _PLACE]
        both = [picked(edges, names)]
        if found is not None:
            both.insert(0, found.groups.main.with_columns(pl.lit(-1, pl.Int64).alias(_PLACE)).select(names))
        whole = stacked(both)
        ids = whole.select(keys).unique().with_row_index(_ID)
        # Numbers are put in order faster than keys, and more kinds of keys have an equality than an order.
        ordered = join_on(whole, ids, keys, "left").select(_ID, FIRST, LATEST, _PLACE).sort(_ID, FIRST)
        same = pl.col(_ID) == pl.col(_ID).shift(1)
        near = pl.col(FIRST) - pl.col(LATEST).shift(1) < self._gap_us
        begins = (same & near).fill_null(False).not_()
        numbers = ordered.select(_PLACE, pl.when(begins).then(pl.col(FIRST)).forward_fill().alias(NUMBER))
        numbers = numbers.filter(pl.col(_PLACE) >= 0).sort(_PLACE)
        return slices.hstack([numbers.get_column(NUMBER)])
