"""User functions and look-ups over a changing stream: what was made of a row is withdrawn, nothing is asked again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.direct import picked
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.rows import ROW, WEIGHT, Rows, size_of, visible
from thalweg.engine.embedded.stage import Output, RejectedRow, Stage
from thalweg.engine.embedded.weighted import Weighted, added_up

_INPUTS: Final = "inputs"
_MADE: Final = "made"
_BEFORE: Final = "__before"
_NET: Final = "__net"


class Remembered(Stage):
    """A row-by-row operator over a changing stream.

    State: each input row that is there, and beside it what was made of it.

    Args:
        inner: The operator, for streams whose rows stay.
    """

    remembers = True
    eager = True
    uses_time = False

    def __init__(self, inner: Stage) -> None:
        super().__init__(inner.node, inner.entry.step)
        self._inner = inner
        self._columns = list(inner.node.inputs[0].schema.names)
        self._names = list(inner.node.schema.names)
        self._asked = [f"__i{number}" for number in range(len(self._columns))]
        self._inputs = Weighted(self._asked)
        self._made = Weighted(self._asked)

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        if not inputs:
            return out
        frame = stacked([picked(rows.frame, [*self._columns, WEIGHT]) for rows in inputs])
        size = size_of(frame)
        entry = self.entry
        entry.rows_in += frame.height
        entry.pairs += size
        entry.absorbed += size
        change = added_up(frame.rename(dict(zip(self._columns, self._asked, strict=True))))
        entry.released += size - size_of(change)
        if change.height:
            given = self._emitted(change, out)
            if given.height:
                out.rows.append(Rows(given))
        return out

    def held(self) -> int:
        return self._inputs.held()

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        yield from self._inputs.snapshot(_INPUTS)
        yield from self._made.snapshot(_MADE)

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._inputs.restore(_INPUTS, frames)
        self._made.restore(_MADE, frames)

    def _emitted(self, change: pl.DataFrame, out: Output) -> pl.DataFrame:
        """Return what is made of rows that come, and what was made of those that go."""
        found = self._inputs.lookup(change.select(self._asked))
        net = change.select(*self._asked, pl.lit(0, pl.Int64).alias(_NET)).clear() if found is None else found
        net = net.rename({WEIGHT: _NET} if WEIGHT in net.columns else {})
        both = join_on(change, net, self._asked, "left").with_columns(
            pl.col(_NET).fill_null(0).clip(lower_bound=0).alias(_BEFORE),
            (pl.col(_NET).fill_null(0) + pl.col(WEIGHT)).clip(lower_bound=0).alias(_NET),
        )
        new = both.filter((pl.col(_BEFORE) == 0) & (pl.col(_NET) > 0))
        old = both.filter((pl.col(_BEFORE) > 0) & (pl.col(_NET) != pl.col(_BEFORE)))
        fresh, rejected = self._asked_of(new, out)
        self._insert(change if rejected is None else join_on(change, rejected, self._asked, "anti"))
        if rejected is not None:
            gone = size_of(join_on(change, rejected, self._asked, "semi"))
            self.entry.absorbed -= gone
            self.entry.rejected += gone
        parts = [fresh] if fresh is not None else []
        if old.height and (made := self._made.lookup(old.select(self._asked))) is not None:
            beside = join_on(made, old.select(*self._asked, _BEFORE, _NET), self._asked, "left")
            times = pl.col(WEIGHT) // pl.col(_BEFORE) * (pl.col(_NET) - pl.col(_BEFORE))
            parts.append(beside.with_columns(times.alias(WEIGHT)).select(*self._asked, *self._names, WEIGHT))
        if not parts:
            return pl.DataFrame()
        made_now = stacked(parts)
        self._made.insert(made_now)
        return added_up(made_now.select(*self._names, WEIGHT))

    def _insert(self, change: pl.DataFrame) -> None:
        before = self._inputs.cancelled
        self._inputs.insert(change)
        self.entry.released += self._inputs.cancelled - before

    def _asked_of(self, new: pl.DataFrame, out: Output) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
        """Return what the operator makes of new rows, with their weights, and the rows that it rejects."""
        if not new.height:
            return None, None
        given = new.select(pl.col(asked).alias(name) for asked, name in zip(self._asked, self._columns, strict=True))
        given = given.hstack([pl.int_range(new.height, dtype=pl.Int64, eager=True).alias(ROW)])
        result = self._inner.process([Rows(given)], self.watermark)
        numbers = []
        for bad in result.rejected:
            assert isinstance(bad.row, pl.DataFrame), "an operator rejects rows, not bytes"
            numbers.append(int(bad.row.get_column(ROW)[0]))
            out.rejected.append(_named(bad))
        made = None
        if result.rows:
            rows = stacked([part.frame for part in result.rows])
            asked = new.select(*self._asked, pl.col(_NET).alias(WEIGHT))[rows.get_column(ROW)]
            made = rows.select(self._names).hstack(asked).select(*self._asked, *self._names, WEIGHT)
        return made, new.select(self._asked)[numbers] if numbers else None


def _named(bad: RejectedRow) -> RejectedRow:
    """Return the row without its number; behind state its place in the source is not known."""
    assert isinstance(bad.row, pl.DataFrame), "as above"
    return replace(bad, place="a row of a changing table", row=visible(bad.row))
