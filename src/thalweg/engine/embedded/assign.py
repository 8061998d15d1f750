"""Which windows rows belong to, and which of them they are late for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from thalweg.engine.embedded.buckets import Slice
from thalweg.engine.embedded.direct import kept, picked, repeated
from thalweg.engine.embedded.partial import END
from thalweg.engine.embedded.rows import ROW, TIME, WATERMARK, WHY, Rows, visible
from thalweg.plan.windows import Window

LAST: Final = "__last"
"""The end of the last of a row's windows (Int64); ``END`` is that of the first."""

_FROM: Final = "__from"
_FEW_SLICES: Final = 2
"""So many slices of tumbling windows are filtered one by one; more are split at once."""
_FEW_SHARED: Final = 24
"""As ``_FEW_SLICES``, of windows that share rows: two columns say how to split those, which takes twice as long."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """Rows split by their windows.

    Attributes:
        slices: The rows that are in time, by first and last window end.
        late: The rows that are late, one for each window that they missed, with its bounds.
        outside: How many rows belong to no window.
    """

    slices: list[tuple[Slice, pl.DataFrame]]
    late: Rows | None
    outside: int


def assign(window: Window, rows: Rows, prepared: pl.DataFrame) -> Assigned:
    """Split rows by their windows.

    Args:
        window: The windows.
        rows: The rows; those with ``WATERMARK`` are tested for being late.
        prepared: What to split: a frame with the rows' ``TIME``, row by row the same.
    """
    if WATERMARK in rows.frame.columns:
        return _split_late(window, rows, prepared)
    parts = list(_slices(window, rows, prepared))
    return Assigned(parts, None, prepared.height - sum(part.height for _, part in parts))


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows beside their windows.

    Attributes:
        frame: The rows that are in time, with ``END`` and, where windows may overlap, ``LAST``.
        late: The rows that are late, one for each window that they missed, with its bounds.
        outside: How many rows belong to no window.
    """

    frame: pl.DataFrame
    late: Rows | None
    outside: int


def label(window: Window, rows: Rows, prepared: pl.DataFrame) -> Labelled:
    """Say of each row which windows it belongs to; those that belong to none are left out.

    Args:
        window: The windows.
        rows: The rows; those with ``WATERMARK`` are tested for being late.
        prepared: What to label: a frame with the rows' ``TIME``, row by row the same.
    """
    if WATERMARK in rows.frame.columns:
        return _labelled_late(window, rows, prepared)
    first, last = window.first_end(rows.low), window.last_end(rows.low)
    if (first, last) == (window.first_end(rows.high), window.last_end(rows.high)) and first <= last:
        ends = [repeated(END, first, prepared.height)]
        if window.kind != "tumbling":
            ends.append(repeated(LAST, last, prepared.height))
        return Labelled(prepared.hstack(ends), None, 0)
    if window.kind == "tumbling":
        return Labelled(prepared.with_columns(_first(window).alias(END)), None, 0)
    inside = prepared.with_columns(_first(window).alias(END), _last(window).alias(LAST))
    if window.every_us > window.size_us:
        inside = inside.filter(pl.col(END) <= pl.col(LAST))
    return Labelled(inside, None, prepared.height - inside.height)


def window_columns(names: tuple[str, ...]) -> tuple[str, str]:
    """Return the names of the columns that say which window a late row missed."""
    taken = "window_start" in names or "window_end" in names
    return ("missed_window_start", "missed_window_end") if taken else ("window_start", "window_end")


def _slices(window: Window, rows: Rows, prepared: pl.DataFrame) -> Iterator[tuple[Slice, pl.DataFrame]]:
    """Split rows, none of them late, by the windows that they belong to.

    Rows between two windows belong to none and are left out.

    Args:
        window: The windows.
        rows: The rows, for the bounds of their times.
        prepared: What to split: a frame with the rows' ``TIME``.
    """
    first, last = window.first_end(rows.low), window.last_end(rows.low)
    if (first, last) == (window.first_end(rows.high), window.last_end(rows.high)):
        if first <= last:
            yield (first, last), prepared
        return
    few = _FEW_SLICES if window.kind == "tumbling" else _FEW_SHARED
    starts = [rows.low]
    while (upper := window.next_slice(starts[-1])) <= rows.high and len(starts) <= few:
        starts.append(upper)
    if upper <= rows.high:
        yield from _split(window, prepared)
        return
    time = prepared.get_column(TIME)
    for low in starts:
        first, last = window.first_end(low), window.last_end(low)
        if first > last:
            continue
        part = kept(prepared, (time >= low) & (time < window.next_slice(low)))
        if part.height:
            yield (first, last), part


def _split_late(window: Window, rows: Rows, prepared: pl.DataFrame) -> Assigned:
    """Split rows, some of which may be late, by the windows that they belong to and are not late for."""
    labelled = _labelled_late(window, rows, prepared)
    return Assigned(list(_parted(labelled.frame, [END, LAST])), labelled.late, labelled.outside)


def _labelled_late(window: Window, rows: Rows, prepared: pl.DataFrame) -> Labelled:
    frame = rows.frame
    ends = frame.select(_first(window).alias(_FROM), _first_not_late(window).alias(END), _last(window).alias(LAST))
    good = pl.concat([prepared, ends.select(END, LAST)], how="horizontal").filter(pl.col(END) <= pl.col(LAST))
    stop = pl.min_horizontal(pl.col(END), pl.col(LAST) + window.every_us)
    missed = ends.select(pl.col(_FROM), stop.alias(END))
    is_late = missed.get_column(END) > missed.get_column(_FROM)
    outside = int((ends.get_column(_FROM) > ends.get_column(LAST)).sum())
    if not is_late.any():
        return Labelled(good, None, outside)
    names = visible(frame).columns
    start, end = window_columns(tuple(names))
    hidden = [name for name in (TIME, WATERMARK, WHY, ROW) if name in frame.columns]
    late = (
        pl.concat([frame.select(*names, *hidden), missed], how="horizontal")
        .filter(is_late)
        .with_columns(pl.int_ranges(_FROM, END, window.every_us).alias(END))
        .explode(END)
        .with_columns(_timestamp(_start(window, pl.col(END))).alias(start), _timestamp(pl.col(END)).alias(end))
        .select(*names, start, end, *hidden)
    )
    return Labelled(good, Rows(late, rows.low, rows.high, rows.origin), outside)


def bounds_of(window: Window, ends: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the columns of windows that say where each starts and ends.

    Args:
        window: The windows.
        ends: Their ends.
    """
    timestamp = pl.Datetime("us", "UTC")
    starts = ends - window.size_us
    if window.kind == "cumulating":
        starts = ends - 1 - (ends - 1 - window.offset_us) % window.size_us
    return starts.cast(timestamp).alias("window_start"), ends.cast(timestamp).alias("window_end")


def _split(window: Window, prepared: pl.DataFrame) -> Iterator[tuple[Slice, pl.DataFrame]]:
    if window.kind == "tumbling":  # the first window is the last one: half of the work
        return _parted(prepared.with_columns(_first(window).alias(END)), [END])
    ends = prepared.with_columns(_first(window).alias(END), _last(window).alias(LAST))
    return _parted(ends.filter(pl.col(END) <= pl.col(LAST)), [END, LAST])


def _parted(frame: pl.DataFrame, bounds: list[str]) -> Iterator[tuple[Slice, pl.DataFrame]]:
    """Give the rows of each slice; its bounds are the first and the last of some columns."""
    names = [name for name in frame.columns if name not in bounds]
    for part in frame.partition_by(bounds):
        yield (int(part.get_column(bounds[0])[0]), int(part.get_column(bounds[-1])[0])), picked(part, names)


def _first(window: Window) -> pl.Expr:
    time = pl.col(TIME)
    grid = window.first_end(0) % window.every_us
    return time - (time - grid) % window.every_us + window.every_us


def _last(window: Window) -> pl.Expr:
    time = pl.col(TIME)
    step = window.size_us if window.kind == "cumulating" else window.every_us
    return time - (time - window.offset_us) % step + window.size_us


def _first_not_late(window: Window) -> pl.Expr:
    first, mark = _first(window), pl.col(WATERMARK)
    after = first + ((mark - first) // window.every_us + 1) * window.every_us
    return pl.when(mark >= first).then(after).otherwise(first)


def _start(window: Window, end: pl.Expr) -> pl.Expr:
    if window.kind == "cumulating":
        return end - 1 - (end - 1 - window.offset_us) % window.size_us
    return end - window.size_us


def _timestamp(us: pl.Expr) -> pl.Expr:
    return us.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
