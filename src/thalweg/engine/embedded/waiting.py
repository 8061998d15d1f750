"""Rows that wait until the watermark is strictly past them, and then come in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import polars as pl

from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.direct import repeated
from thalweg.engine.embedded.rows import LATE_REASONS, ROW, TIME, WATERMARK, WHY, Rows, visible
from thalweg.engine.embedded.stage import LateRows
from thalweg.engine.embedded.stored import in_tiers, load_frames, save_frames

_NAME: Final = "waiting"
_MANY: Final = 32


class EachRow:
    """The late test of operators that take rows in order: a row is late when its own time is below the watermark."""

    def first_end(self, time_us: int) -> int:
        """Return from which watermark on a row of this time is late."""
        return time_us + 1


EACH_ROW: Final = EachRow()


class Waiting:
    """Rows ahead of the watermark.

    Args:
        columns: What is kept of a row beside its time, such as the user's columns, in schema order.
        ties: Whether equal times are ordered by them.
    """

    def __init__(self, columns: Sequence[str], *, ties: bool = True) -> None:
        self._columns = [*columns, TIME]
        self._order = [TIME, *columns] if ties else [TIME]
        self._frames: list[pl.DataFrame] = []

    def add(self, rows: Rows) -> None:
        """Take rows, none of which is late."""
        if rows.frame.height:
            self._frames.append(rows.frame.select(self._columns))

    def release(self, watermark: int) -> pl.DataFrame | None:
        """Return the rows that the watermark is strictly past, by time, ties by all columns; None for none.

        Shape: the user's columns and ``TIME``.
        """
        ready = self.passed(watermark)
        return None if ready is None else ready.sort(self._order)

    def passed(self, watermark: int) -> pl.DataFrame | None:
        """Return the rows that the watermark is strictly past, in no order; None for none."""
        ready, waits = [], []
        for frame in self._frames:
            times = frame.get_column(TIME)
            if int(times.min()) >= watermark:  # type: ignore[arg-type]  # an integer: no frame is empty
                waits.append(frame)
            elif int(times.max()) < watermark:  # type: ignore[arg-type]  # as above
                ready.append(frame)
            else:
                mask = times < watermark
                ready.append(frame.filter(mask))
                waits.append(frame.filter(~mask))
        # Many small frames would be looked at one by one, again and again.
        self._frames = waits if len(waits) < _MANY else [stacked(waits).rechunk()]
        return stacked(ready) if ready else None

    def due(self, watermark: int) -> bool:
        """Tell whether a row waits that this watermark is strictly past."""
        return any(int(frame.get_column(TIME).min()) < watermark for frame in self._frames)  # type: ignore[arg-type]  # as above

    def held(self) -> int:
        """Return how many rows wait."""
        return sum(frame.height for frame in self._frames)

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the rows as named frames; one that did not change is the same object as before."""
        self._frames = in_tiers(self._frames)
        yield from save_frames(_NAME, self._frames)

    def restore(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the rows back."""
        self._frames = load_frames(_NAME, frames)


def split_late(rows: Rows) -> tuple[Rows, LateRows | None]:
    """Return the rows that are in time, and those whose own time is below their ``watermark_before``."""
    frame = rows.frame
    if WATERMARK not in frame.columns:
        return rows, None
    late = frame.get_column(TIME) < frame.get_column(WATERMARK)
    if not late.any():
        return rows, None
    hidden = [name for name in (TIME, WATERMARK, WHY, ROW) if name in frame.columns]
    missed = frame.filter(late).select(*visible(frame).columns, *hidden)
    kept = Rows(frame.filter(~late), rows.low, rows.high, rows.origin)
    return kept, LateRows(Rows(missed, rows.low, rows.high, rows.origin), of_windows=False)


def split_behind(rows: Rows, watermark: int) -> tuple[Rows, LateRows | None]:
    """Return the rows that are in time, and the late ones, where a watermark may have run ahead of an operator.

    Rows that operators make are never late, but for this: while all sources of an operator are idle it does not hold
    the watermark of what reads it, and when they wake it may give rows that it had kept, with times behind.

    Args:
        rows: The rows.
        watermark: The watermark of the operator that takes them, before it does.
    """
    if WATERMARK in rows.frame.columns:
        return split_late(rows)
    if rows.low >= watermark or not (behind := rows.frame.get_column(TIME) < watermark).any():
        return rows, None
    missed = rows.frame.filter(behind)
    why = repeated(WHY, LATE_REASONS.index("idle"), missed.height).cast(pl.UInt8)
    missed = missed.hstack([repeated(WATERMARK, watermark, missed.height), why])
    kept = Rows(rows.frame.filter(~behind), rows.low, rows.high, rows.origin)
    return kept, LateRows(Rows(missed, rows.low, rows.high, rows.origin), of_windows=False)
