"""Joins of streams in event time: rows of one key that are not far apart, and rows in one window.

A left row *l* and a right row *r* of the same key are partners when r's time less l's lies within ``[low, high]``:

    left         l ---------------------------> time
    right          |<-- low … high -->|
                       partners come here

No row that comes later lies before the watermark, so no partner of *l* can come once the watermark is past l's time
plus *high*, and none of *r* once it is past r's time less *low*. Then the row leaves, and comes out if it has met
nobody and the kind of join wants it. Rows of one window stand at one time, with its end among the keys: an interval of
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from thalweg.columnar.frames import empty_frame
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.direct import kept, picked
from thalweg.engine.embedded.rows import ALWAYS, NEVER, TIME, Rows
from thalweg.engine.embedded.slabs import PLACE, Side, Slab
from thalweg.engine.embedded.stage import Output, TwoSided
from thalweg.engine.embedded.waiting import EACH_ROW, split_behind
from thalweg.plan.nodes import Join, closing_column
from thalweg.plan.prune import Needed, all_of, join_columns

_FARTHEST_US: Final = 2**59
"""More than the years from 1 to 9999 have: no two rows are farther apart."""
_STRIP: Final = "__strip"
_BEGINS: Final = "__begins"
_OTHER_PLACE: Final = f"{PLACE}_right"
_OTHER_TIME: Final = f"{TIME}_right"
_MANY_PAIRS: Final = 2**20
_FEW_EACH: Final = 4
"""Where a row has more rows of its key before it than so many, most of them may be far apart."""
_STRIPS: Final = 4
"""A strip of time is so many intervals long; one left row in so many lies in two."""


class IntervalJoin(TwoSided):
    """Rows of two streams side by side that agree in some columns and are not far apart in time.

    State: a row until the watermark proves that no partner can come.

    Order and delivery: partners come out in the step in which the second of them is there; rows without one in the
    step in which the watermark proves it.

    Args:
        node: The node.
        low: The least of the right row's time less the left row's.
        high: The greatest.
        name: The step's name.
        needed: The columns that can be seen of what it gives out, which it keeps alone; None: all.
    """

    eager = True

    def __init__(self, node: Join, low: int, high: int, name: str, needed: Needed | None = None) -> None:
        super().__init__(node, name)
        needed = needed or all_of(node)
        self.late_test = EACH_ROW
        self._low, self._high = (max(-_FARTHEST_US, min(bound, _FARTHEST_US)) for bound in (low, high))
        self._how = how = node.how
        self._paired = how not in ("semi", "anti")
        """Whether partners come out beside each other."""
        self._alone = (how in ("left", "full", "anti"), how in ("right", "full"))
        """Whether left and right rows come out that have met nobody."""
        noted = self._alone[0] or how == "semi"
        own, others = join_columns(node, needed)
        self._left = Side(own, node.keys, self._high, noted=noted)
        self._right = Side(others, node.keys, -self._low, noted=self._alone[1])
        self._keys = list(node.keys)
        self._names = [name for name in node.schema.names if name in needed.columns]
        self._right_names = {old: old for old in node.keys} | dict(node.renamed)
        self._nothing = empty_frame(node.schema).select(self._names)
        self._of_windows = closing_column(node) is not None
        # A row that waits for partners comes out with its own time; a pair with that of the row that came last.
        left_back = max(self._high, 0) if noted else 0
        self._back_us = max(left_back, max(-self._low, 0) if self._alone[1] else 0)

    def process_sides(self, left: Sequence[Rows], right: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        made: list[pl.DataFrame] = []
        one, other = self._taken(0, left, made, out), self._taken(1, right, made, out)
        if other is not None:
            for slab in self._left.slabs:
                made += self._meeting(slab, other)
            self._right.keep(other)
            self._right.merge()  # fewer slabs are fewer joins
        if one is not None:
            for slab in self._right.slabs:
                made += self._meeting(one, slab)
            self._left.keep(one)
        for number, side in enumerate((self._left, self._right)):
            if self._alone[number]:
                made += [self._without_partner(number, frame) for frame in side.alone(watermark)]
            self.entry.released += side.drop(watermark)
        if made:
            frame = stacked(made)
            times = frame.get_column(TIME)
            out.rows.append(Rows(frame, int(times.min()), int(times.max())))  # type: ignore[arg-type]  # integers
        return out

    def due(self, watermark: int) -> bool:
        sides = (self._left, self._right)
        return any(wanted and side.due(watermark) for side, wanted in zip(sides, self._alone, strict=True))

    def watermark_out(self) -> int:
        return self.watermark if self.watermark in (NEVER, ALWAYS) else self.watermark - self._back_us

    def held(self) -> int:
        return self._left.held() + self._right.held()

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        yield from self._left.snapshot("left")
        yield from self._right.snapshot("right")

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._left.restore("left", frames)
        self._right.restore("right", frames)

    def _taken(self, number: int, inputs: Sequence[Rows], made: list[pl.DataFrame], out: Output) -> Slab | None:
        """Return the rows of one side that can have partners."""
        entry, frames = self.entry, []
        for given in inputs:
            entry.rows_in += given.frame.height
            entry.pairs += given.frame.height
            rows, late = split_behind(given, self.watermark)
            if late is not None:
                entry.late += late.rows.frame.height
                out.late.append(late)
            frame = self._with_keys(number, rows.frame, made)
            entry.absorbed += frame.height
            frames.append(frame)
        return (self._left, self._right)[number].slab(frames)

    def _with_keys(self, number: int, frame: pl.DataFrame, made: list[pl.DataFrame]) -> pl.DataFrame:
        """Return the rows without those with null in a key, which agree with nothing."""
        mask: pl.Series | None = None
        for name in self._keys:
            if (column := frame.get_column(name)).has_nulls():
                mask = column.is_null() if mask is None else mask | column.is_null()
        if mask is None:
            return frame
        count = int(mask.sum())
        if self._alone[number]:
            made.append(self._without_partner(number, kept(frame, mask)))
            self.entry.passed += count
        else:
            self.entry.filtered += count
        return kept(frame, ~mask)

    def _meeting(self, left: Slab, right: Slab) -> Iterator[pl.DataFrame]:
        """Give what comes out because these rows are there; note who has met a partner."""
        if right.high < left.low + self._low or right.low > left.high + self._high:
            return
        ones, others = self._pairs(left, right)
        if ones.is_empty():
            return
        if self._how == "semi":
            assert left.met is not None, "a semi-join notes what has met"
            first = ones.unique()
            first = first.filter(~left.met.gather(first))
            if not first.is_empty():
                yield picked(left.frame[first], [*self._names, TIME])
        if left.met is not None:
            left.meets(ones)
        if right.met is not None:
            right.meets(others)
        if self._paired:
            yield self._beside(left.frame[ones], right.frame[others])

    def _pairs(self, left: Slab, right: Slab) -> tuple[pl.Series, pl.Series]:
        """Return the places of partners; of a semi- or anti-join one partner of each left row will do."""
        low, high = self._low, self._high
        one, other, on = left.among(right), right.among(left), left.names
        if not self._of_windows and _may_be_many(one, other, on):
            if not self._paired:
                return self._nearest(one, other, on)
            one, other, on = self._in_strips(left, right, one, other)
        both = one.join(other, on=on, how="inner")
        places = both.get_column(PLACE), both.get_column(_OTHER_PLACE)
        if right.low - left.high >= low and right.high - left.low <= high:
            return places
        apart = both.get_column(_OTHER_TIME) - both.get_column(TIME)
        near = (apart >= low) & (apart <= high)
        return places[0].filter(near), places[1].filter(near)

    def _nearest(self, one: pl.DataFrame, other: pl.DataFrame, on: list[str]) -> tuple[pl.Series, pl.Series]:
        """Return the places of left rows that have a partner, and of their first one."""
        begins = one.with_columns((pl.col(TIME) + self._low).alias(_BEGINS)).sort(_BEGINS)
        others = other.rename({PLACE: _OTHER_PLACE, TIME: _OTHER_TIME}).sort(_OTHER_TIME)
        both = begins.join_asof(
            others,
            left_on=_BEGINS,
            right_on=_OTHER_TIME,
            by=on,
            strategy="forward",
            coalesce=False,
            check_sortedness=False,
        )
        near = both.filter(pl.col(_OTHER_TIME) - pl.col(TIME) <= self._high)
        return near.get_column(PLACE), near.get_column(_OTHER_PLACE)

    def _in_strips(
        self, left: Slab, right: Slab, one: pl.DataFrame, other: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
        """Cut time into strips, and have only rows of one strip compared, where rows are far apart.

        strips       0         1         2
        left          [low … high]                in 0 and in 1: it is there twice
        right                r                    in 0 or in 1: the pair is found once
        """
        low, high, on = self._low, self._high, left.names
        width = _STRIPS * (high - low + 1)
        start, stop = max(left.low + low, right.low), min(left.high + high, right.high)
        if stop - start < 2 * width:
            return one, other, on
        first = (pl.col(TIME) + (low - start)) // width
        last = (pl.col(TIME) + (high - start)) // width
        begins = one.with_columns(first.alias(_STRIP))
        ends = one.filter(first != last).with_columns(last.alias(_STRIP))
        other = other.with_columns(((pl.col(TIME) - start) // width).alias(_STRIP))
        return pl.concat([begins, ends]), other, [*on, _STRIP]

    def _beside(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        """Return rows beside their partners, at the later time."""
        right_names = {new: old for old, new in self._right_names.items()}
        columns = []
        for name in self._names:
            if name in left.columns:
                columns.append(left.get_column(name))
            else:
                columns.append(right.get_column(right_names[name]).alias(name))
        times, others = left.get_column(TIME), right.get_column(TIME)
        return pl.DataFrame([*columns, times.zip_with(times >= others, others)])

    def _without_partner(self, number: int, frame: pl.DataFrame) -> pl.DataFrame:
        """Return rows with null beside them."""
        names = {name: name for name in self._names} if number == 0 else self._right_names
        renamed = {new: frame.get_column(old) for old, new in names.items() if old in frame.columns}
        columns = []
        for name in self._names:
            given = renamed.get(name)
            kind = self._nothing.schema[name]
            columns.append(
                pl.Series(name, [None], kind).new_from_index(0, frame.height) if given is None else given.alias(name)
            )
        return pl.DataFrame([*columns, frame.get_column(TIME)])


def _may_be_many(one: pl.DataFrame, other: pl.DataFrame, on: list[str]) -> bool:
    """Tell whether so many rows may agree in the keys that to look at each pair would take long."""
    if one.height * other.height <= _MANY_PAIRS:
        return False
    fewer, more = (one, other) if one.height < other.height else (other, one)
    most = int(fewer.group_by(on).len().get_column("len").max())  # type: ignore[arg-type]  # integers, none null
    return more.height * most > max(_MANY_PAIRS, _FEW_EACH * more.height)
