"""The first of the rows of a key within a time, in the order of time.

    dedupe("id", within="10m")

    id a     12:00   12:04   12:09   12:10   12:15
             kept      –       –     kept      –         12:10 is ten minutes after the last row kept: it is free again

A row is kept if no kept row of its key lies less than ``within`` before it. So what counts is the last row *kept*, not
the last row seen: a key that comes every minute is kept every ten minutes, not once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa

from thalweg.core.schema import Field
from thalweg.engine.embedded.arrangement import Arrangement
from thalweg.engine.embedded.direct import picked
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.rows import NEVER, TIME, Rows
from thalweg.engine.embedded.stage import Output, Stage
from thalweg.engine.embedded.waiting import EACH_ROW, Waiting, split_behind
from thalweg.plan.nodes import Dedupe

_KEPT = "__kept"
"""When the last row of a key was kept (Int64)."""
_PLACE = "__place"
"""The number of a row, in the order of time (Int64)."""
_FREE = "__free"
"""From when on a key's next row is kept, if this one is (Int64)."""
_NEXT = "__next"
"""The row that is kept next, if this one is (Int64)."""
_ID = "__id"
"""The number of a key (Int64)."""
_DROPS_PER_WITHIN = 4
"""What can block no row any more is let go of so many times in ``within``: to look for it reads all that is kept."""


class Deduped(Stage):
    """Rows without those that lie too soon behind a kept row of their key."""

    remembers = True

    def __init__(self, node: Dedupe, name: str) -> None:
        super().__init__(node, name)
        assert node.within_us is not None, "without a duration the result is a changing table"
        self.late_test = EACH_ROW
        self._within_us = node.within_us
        self._names = list(node.schema.names)
        self._keys = [f"__k{number}" for number in range(len(node.keys))]
        self._prepare = [_key(node.schema[name], key) for name, key in zip(node.keys, self._keys, strict=True)]
        self._waiting = Waiting(self._names)
        self._kept = Arrangement(self._keys)
        self._dropped_at = NEVER

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        entry = self.entry
        for rows in inputs:
            entry.rows_in += rows.frame.height
            entry.pairs += rows.frame.height
            rows, late = split_behind(rows, self.watermark)
            if late is not None:
                entry.late += late.rows.frame.height
                out.late.append(late)
            entry.absorbed += rows.frame.height
            self._waiting.add(rows)
        ready = self._waiting.release(watermark)
        if ready is not None:
            entry.released += ready.height
            frame = self._without_repeats(ready)
            if frame.height:
                times = frame.get_column(TIME)
                out.rows.append(Rows(frame, int(times[0]), int(times[-1])))
        self._drop(watermark)
        return out

    def due(self, watermark: int) -> bool:
        return True

    def held(self) -> int:
        return self._waiting.held()

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        for name, frame in self._waiting.snapshot():
            yield f"waiting/{name}", frame
        for number, frame in enumerate(self._kept.frames()):
            yield f"kept/{number}", frame

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._waiting.restore({name.removeprefix("waiting/"): f for name, f in frames.items() if "waiting/" in name})
        numbers = sorted(int(name.removeprefix("kept/")) for name in frames if name.startswith("kept/"))
        if numbers:
            self._kept.restore([frames[f"kept/{number}"] for number in numbers])

    def _without_repeats(self, ready: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that are kept, of rows in order."""
        free = self._free(ready.with_columns(*self._prepare))
        if free.is_empty():
            return ready.clear()
        times = free.get_column(TIME)
        if int(times[-1]) - int(times[0]) < self._within_us:
            chosen = free.unique(self._keys, keep="first", maintain_order=True)
        else:
            chosen = free[_chosen(free, self._keys, self._within_us)]
        last = picked(chosen, [*self._keys, TIME]).unique(self._keys, keep="last", maintain_order=True)
        self._kept.insert(last.rename({TIME: _KEPT}))
        return picked(chosen, [*self._names, TIME])

    def _free(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that no row kept in an earlier step blocks."""
        found = self._kept.lookup(picked(rows, self._keys).unique())
        if found is None:
            return rows
        beside = join_on(rows.with_row_index(_PLACE), found.rows, self._keys, "left").sort(_PLACE)
        blocked = pl.col(_KEPT).is_not_null() & (pl.col(TIME) - pl.col(_KEPT) < self._within_us)
        return beside.filter(~blocked).drop(_PLACE, _KEPT)

    def _drop(self, watermark: int) -> None:
        # A row that comes has a time at the watermark or after it.
        if watermark - self._dropped_at >= max(self._within_us // _DROPS_PER_WITHIN, 1):
            self._kept.drop_up_to(_KEPT, watermark - self._within_us)
            self._dropped_at = watermark


def _key(field: Field, name: str) -> pl.Expr:
    column = pl.col(field.name)
    # −0.0 and 0.0 are one key.
    return (column + 0.0 if pa.types.is_floating(field.type) else column).alias(name)


def _chosen(rows: pl.DataFrame, keys: Sequence[str], within_us: int) -> pl.Series:
    """Return the numbers of the rows that are kept, of rows in order that nothing before them blocks.

    The first row of a key is kept, and from each row that is kept the next one is known: the first that lies at least
    ``within`` behind it. To follow these steps one at a time would take as many rounds as a key has kept rows. So the
    steps are doubled with each round: rows that are one step apart, then two, then four.
    """
    places = pl.int_range(pl.len(), dtype=pl.Int64)
    numbered = rows.select(*keys, TIME, places.alias(_PLACE))
    first = numbered.group_by(keys).agg(pl.col(_PLACE).min().alias(_ID))
    known = join_on(numbered, first, keys, "left").select(_ID, TIME, _PLACE).sort(_PLACE)
    wanted = known.select(_ID, (pl.col(TIME) + within_us).alias(_FREE))
    found = wanted.join_asof(
        known.rename({_PLACE: _NEXT}),
        left_on=_FREE,
        right_on=TIME,
        by=_ID,
        strategy="forward",
        check_sortedness=False,
    )
    # One row behind all others stands for the end of a key.
    end = rows.height
    steps = pl.concat([found.get_column(_NEXT).fill_null(end), pl.Series([end], dtype=pl.Int64)])
    kept = first.get_column(_ID)
    while True:
        further = steps.gather(kept)
        further = further.filter(further < end)
        if further.is_empty():
            return kept.sort()
        kept = pl.concat([kept, further])
        steps = steps.gather(steps)
