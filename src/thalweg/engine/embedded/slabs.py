"""Rows of one side of a join in time: kept by key for as long as a partner can come, in slabs.

A slab is a run of rows with the bounds of their times. Small slabs are laid together, larger ones merge geometrically,
and a slab is cut when half of its rows are past: a row is copied a logarithmic number of times, and rows that are past
go without a look at the rest. A slab's rows are sorted by nothing; it is given an index by key when few rows look for
partners in many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.direct import FEW_ROWS, kept, picked, repeated
from thalweg.engine.embedded.joining import comparable
from thalweg.engine.embedded.rows import NEVER, TIME

PLACE: Final = "__place"
"""The number of a row in its slab."""
_MET: Final = "met"
_SEED: Final = 0x7A1
_SCAN: Final = 4
"""Where more than one row looks for partners among so many, a hash join is faster than an index."""


@dataclass(slots=True, eq=False)
class Slab:
    """A run of rows.

    Attributes:
        frame: The rows, with ``TIME``.
        compared: The columns that keys are compared by; NaN is among them, null is not.
        low: The least time.
        high: The greatest time.
        met: By row, whether it has met a partner, where that is asked for.
        due_from: No row that is not past has a time below.
        look_at: From which limit on it is worth counting the rows that are past.
    """

    frame: pl.DataFrame
    compared: list[pl.Series]
    low: int
    high: int
    met: pl.Series | None
    due_from: int
    look_at: int = NEVER
    _index: tuple[pl.Series, pl.Series] | None = field(default=None, repr=False)

    @property
    def names(self) -> list[str]:
        """The names of the columns that keys are compared by."""
        return [column.name for column in self.compared]

    @property
    def times(self) -> pl.Series:
        """The rows' times."""
        return self.frame.get_column(TIME)

    def among(self, other: Slab) -> pl.DataFrame:
        """Return the rows that can be partners of another slab's, by key: compared columns, ``TIME``, ``PLACE``."""
        whole = pl.DataFrame([*self.compared, self.times])
        if self.frame.height <= max(FEW_ROWS, other.frame.height * _SCAN):
            return whole.with_row_index(PLACE)
        places = self._places(pl.DataFrame(other.compared).hash_rows(_SEED).unique())
        return whole[places].with_columns(places.alias(PLACE))

    def meets(self, places: pl.Series) -> None:
        """Note that rows have met a partner."""
        assert self.met is not None, "only a side that is asked for it notes what has met"
        self.met = self.met.scatter(places, True)

    def _places(self, hashes: pl.Series) -> pl.Series:
        if self._index is None:
            own = pl.DataFrame(self.compared).hash_rows(_SEED)
            order = own.arg_sort()
            self._index = own.gather(order), order
        ordered, order = self._index
        spans = pl.DataFrame(
            [ordered.search_sorted(hashes, side="left"), ordered.search_sorted(hashes, side="right")],
            schema=["low", "high"],
        ).filter(pl.col("high") > pl.col("low"))
        if spans.is_empty():
            return order.clear()
        return order.gather(spans.select(pl.int_ranges("low", "high").explode()).to_series())


class Side:
    """The rows of one side.

    Args:
        columns: The user's columns that are kept.
        keys: The columns of them that partners agree in.
        reach_us: How far the watermark must be past a row's time so that no partner can come.
        noted: Whether it is noted which rows have met a partner.

    Attributes:
        slabs: The rows.
    """

    def __init__(self, columns: Sequence[str], keys: Sequence[str], reach_us: int, *, noted: bool) -> None:
        self._columns = [*columns, TIME]
        self._keys = list(keys)
        self._reach_us = reach_us
        self._noted = noted
        self.slabs: list[Slab] = []

    def slab(self, frames: Sequence[pl.DataFrame], met: pl.Series | None = None) -> Slab | None:
        """Return rows, whose keys have no null, as a slab that is not kept yet; None for no rows."""
        frame = stacked([picked(frame, self._columns) for frame in frames]) if frames else None
        if frame is None or frame.is_empty():
            return None
        if self._noted and met is None:
            met = repeated(_MET, False, frame.height)
        times = frame.get_column(TIME)
        low, high = int(times.min()), int(times.max())  # type: ignore[arg-type]  # integers, none null
        return Slab(frame, comparable(frame, self._keys), low, high, met, low)

    def keep(self, slab: Slab) -> None:
        """Keep rows from now on."""
        self.slabs.append(slab)

    def due(self, watermark: int) -> bool:
        """Tell whether there may be rows that no partner can come for once the watermark is this."""
        return any(slab.due_from < watermark - self._reach_us for slab in self.slabs)

    def alone(self, watermark: int) -> Iterator[pl.DataFrame]:
        """Give the rows that have met no partner, and for which none can come any more; each once."""
        limit = watermark - self._reach_us
        for slab in self.slabs:
            if slab.due_from < limit:
                assert slab.met is not None, "only a side that is asked for it notes what has met"
                mask = (slab.times < limit) & ~slab.met
                if mask.any():
                    yield kept(slab.frame, mask)
                    slab.met = slab.met | mask

    def drop(self, watermark: int) -> int:
        """Forget rows for which no partner can come any more; return how many."""
        limit = watermark - self._reach_us
        dropped, slabs = 0, []
        for slab in self.slabs:
            left = self._cut(slab, limit) if slab.due_from < limit else slab
            if left is not None:
                slabs.append(left)
            dropped += slab.frame.height - (0 if left is None else left.frame.height)
        self.slabs = slabs
        self.merge()
        return dropped

    def merge(self) -> None:
        """Lay slabs together where that pays."""
        slabs = self.slabs
        while len(slabs) > 1 and _merge_pays(slabs[-2].frame.height, slabs[-1].frame.height):
            newer, older = slabs.pop(), slabs.pop()
            slabs.append(self._merged(older, newer))

    def held(self) -> int:
        """Return how many rows are kept."""
        return sum(slab.frame.height for slab in self.slabs)

    def snapshot(self, name: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the rows as named frames; one that did not change is the same object as before."""
        for number, slab in enumerate(self.slabs):
            yield f"{name}/{number}/rows", slab.frame
            if slab.met is not None:
                yield f"{name}/{number}/{_MET}", slab.met.to_frame(_MET)

    def restore(self, name: str, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the rows back, of those frames whose names begin so."""
        numbers = sorted({int(key.split("/")[1]) for key in frames if key.startswith(f"{name}/")})
        for number in numbers:
            met = frames.get(f"{name}/{number}/{_MET}")
            slab = self.slab([frames[f"{name}/{number}/rows"]], None if met is None else met.get_column(_MET))
            assert slab is not None, "no slab is empty"
            self.keep(slab)

    def _cut(self, slab: Slab, limit: int) -> Slab | None:
        """Return a slab without the rows that are past, if that are enough of them; None where none is left."""
        if slab.high < limit:
            return None
        slab.due_from = limit
        if limit >= slab.look_at:
            stays = slab.times >= limit
            if 2 * int(stays.sum()) <= slab.frame.height:
                return self.slab([kept(slab.frame, stays)], None if slab.met is None else slab.met.filter(stays))
            slab.look_at = (limit + slab.high + 1) // 2
        return slab

    def _merged(self, older: Slab, newer: Slab) -> Slab:
        met = None if older.met is None or newer.met is None else older.met.append(newer.met).rechunk()
        merged = self.slab([stacked([older.frame, newer.frame]).rechunk()], met)
        assert merged is not None, "no slab is empty"
        merged.due_from = min(older.due_from, newer.due_from)
        return merged


def _merge_pays(older: int, newer: int) -> bool:
    return older + newer <= FEW_ROWS or older < 2 * newer
