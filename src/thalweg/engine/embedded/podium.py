"""The first rows of each key as they were emitted, and what takes their place.

Each place on the podium (key and rank) holds one row. A step puts the new rows of some keys there and gives what
that withdraws and adds:

    rank   was   now            withdrawn   added
      1     x     y                 x         y
      2     z     z
      3     w                       w
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import polars as pl

from thalweg.engine.embedded.arrangement import Arrangement, Counted
from thalweg.engine.embedded.direct import kept, picked, repeated
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.ranking import RANK
from thalweg.engine.embedded.rows import WEIGHT
from thalweg.engine.embedded.stored import load_frames, save_frames

_ONE: Final = "__one"
"""What a place counts: the row that stands there."""
_ADDED: Final = "__added"
"""One where the place was empty before."""
_GONE: Final = "__gone"
"""Whether the place is empty again."""
_NOW: Final = "__now"
_WAS: Final = "__was"


class Podium:
    """The first rows of each key.

    Args:
        names: The user's columns.
        hidden: Columns that are kept beside them.
        keys: The key columns, among the others.
        grows: Whether no place becomes empty again; only then are the rows counted.
    """

    def __init__(self, names: Sequence[str], hidden: Sequence[str], keys: Sequence[str], *, grows: bool) -> None:
        self._names = list(names)
        self._hidden = list(hidden)
        self._slot = [*keys, RANK]
        self._grows = grows
        if grows:
            self._rows = Arrangement(keys, [RANK], counted=Counted(_ONE, _ADDED))
        else:
            self._rows = Arrangement(keys, [RANK], gone=_GONE)

    def use_memory(self, memory: Memory) -> None:
        """Keep to a budget."""
        self._rows.memory = memory

    def lookup(self, keys: pl.DataFrame) -> pl.DataFrame | None:
        """Return the rows of some keys (each given once) with their ``RANK``; None where there are none."""
        found = self._rows.lookup(keys)
        if found is None:
            return None
        rows = found.rows
        if not self._grows and (gone := rows.get_column(_GONE)).any():
            rows = kept(rows, ~gone)
        return picked(rows, [*self._names, *self._hidden, RANK]) if rows.height else None

    def replace(self, was: pl.DataFrame | None, now: pl.DataFrame) -> pl.DataFrame:
        """Put new rows in the place of what ``lookup`` has just found; return what is withdrawn and added.

        Shape: the user's columns, ``RANK`` and ``WEIGHT``.
        """
        if was is None:
            self._insert(now, repeated(_ADDED, 1, now.height))
            return self._given(now, 1)
        places = self._places(was, now)
        new = repeated("", False, now.height)
        if places.has_nulls():
            new, places = places.is_null(), places.fill_null(0)
        before = picked(was, [*self._names, *self._hidden])[places]
        changed = _differing(new, picked(before, self._names), now)
        if not changed.all():
            now = self._as_shown(now, before, changed)
        stale = _differing(changed, picked(before, self._hidden), now)
        self._insert(kept(now, stale), kept(new.cast(pl.Int64).alias(_ADDED).to_frame(), stale).to_series())
        withdrawn = places.filter(changed & ~new)
        if not self._grows:
            empty = repeated(_GONE, True, was.height).scatter(places.filter(~new), False)
            if empty.any():
                self._insert(kept(was, empty), gone=True)
                withdrawn = withdrawn.append(empty.arg_true().cast(withdrawn.dtype))
        return self._given(was[withdrawn], -1).vstack(self._given(kept(now, changed), 1))

    def count(self) -> int:
        """Return how many rows there are, counted from them; only where no place becomes empty."""
        return self._rows.total()

    def snapshot(self, name: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the rows as named frames; one that did not change is the same object as before."""
        yield from save_frames(name, self._rows.frames())

    def restore(self, name: str, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the rows back, of those frames whose names begin so."""
        if saved := load_frames(name, frames):
            self._rows.restore(saved)

    def _places(self, was: pl.DataFrame, now: pl.DataFrame) -> pl.Series:
        """Return for each new row the number of the old one in its place; null for none."""
        left = picked(now, self._slot).with_row_index(_NOW)
        right = picked(was, self._slot).with_row_index(_WAS)
        return join_on(left, right, self._slot, "left").sort(_NOW).get_column(_WAS)

    def _as_shown(self, now: pl.DataFrame, before: pl.DataFrame, changed: pl.Series) -> pl.DataFrame:
        """Return the new rows, where they equal the old ones to the bits of those: −0.0 equals 0.0."""
        loose = [name for name in self._names if now.schema[name].is_float() or now.schema[name].is_nested()]
        if not loose:
            return now
        same = [now.get_column(name).zip_with(changed, before.get_column(name)) for name in loose]
        return now.with_columns(same)

    def _insert(self, rows: pl.DataFrame, added: pl.Series | None = None, *, gone: bool = False) -> None:
        rows = picked(rows, [*self._names, *self._hidden, RANK])
        if self._grows:
            assert added is not None, "what grows is counted"
            self._rows.insert(rows.hstack([repeated(_ONE, 1, rows.height), added]))
        else:
            self._rows.insert(rows.hstack([repeated(_GONE, gone, rows.height)]))

    def _given(self, rows: pl.DataFrame, weight: int) -> pl.DataFrame:
        return picked(rows, [*self._names, RANK]).hstack([repeated(WEIGHT, weight, rows.height)])


def _differing(known: pl.Series, was: pl.DataFrame, now: pl.DataFrame) -> pl.Series:
    """Tell of each row whether it is known to be another or differs in a column; null equals null, NaN equals NaN."""
    for name in was.columns:
        if known.all():
            break
        before, after = was.get_column(name), now.get_column(name)
        # A plain comparison costs a tenth, but what is compared with null is null.
        plain = None if after.dtype.is_nested() else after != before
        known = known | (after.ne_missing(before) if plain is None or plain.has_nulls() else plain)
    return known
