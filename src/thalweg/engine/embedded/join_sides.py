"""What a join of tables remembers of one side: its rows, and which keys are there.

A key is *there* while at least one row of it has a net weight above zero. Rows with null in a key agree with nothing,
and are not remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, Protocol

import polars as pl

from thalweg.engine.embedded.direct import AS_WRITTEN, kept, picked, repeated
from thalweg.engine.embedded.keyed import Keyed
from thalweg.engine.embedded.rows import WEIGHT
from thalweg.engine.embedded.weighted import Weighted

SIGN: Final = "__sign"
"""+1 for a key that comes to be there, -1 for one that is there no more."""
_PLACE: Final = "__place"
_BEFORE, _WAS, _NOW = "__before", "__was", "__now"
_WEIGHT_RIGHT: Final = "__weight_right"


class Keys:
    """The key columns of a join, as they are compared: NaN equals NaN, and −0.0 equals 0.0.

    Polars takes NaN for unequal to itself where it knows that a frame is sorted. So a float key is compared by another
    column in which NaN is null: rows with null in a key are not compared at all.

    Args:
        names: The key columns.
        kinds: The types of the columns.

    Attributes:
        on: The columns that are compared.
    """

    def __init__(self, names: Sequence[str], kinds: Mapping[str, pl.DataType]) -> None:
        self._names = list(names)
        compared = {name: f"__key{n}" if kinds[name].is_float() else name for n, name in enumerate(names)}
        self.on = list(compared.values())
        self._floats = [name for name in names if kinds[name].is_float()]
        self._made = [pl.col(name).fill_nan(None).alias(compared[name]) for name in self._floats]

    def split(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Return the rows that can agree with others, with the columns that are compared, and those that cannot."""
        alone = None
        nullable = [column.is_null() for name in self._names if (column := rows.get_column(name)).has_nulls()]
        if nullable:
            null = nullable[0]
            for other in nullable[1:]:
                null = null | other
            rows, alone = kept(rows, ~null), kept(rows, null)
        return rows.with_columns(self._made) if self._made else rows, alone

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the keys of some rows, each once."""
        return picked(rows, self.on).unique(maintain_order=True)

    def pairs(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of two sides that agree, side by side; keys as the left side has them."""
        if self._floats:
            right = right.drop(self._floats, strict=False)
        if WEIGHT in right.columns and WEIGHT in left.columns:
            joined = self._joined(left, right.rename({WEIGHT: _WEIGHT_RIGHT}), "inner")
            return joined.with_columns(pl.col(WEIGHT) * pl.col(_WEIGHT_RIGHT)).drop(_WEIGHT_RIGHT)
        return self._joined(left, right, "inner")

    def among(self, rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that agree with one of the others."""
        return self._joined(rows, picked(others, self.on), "semi")

    def _joined(self, left: pl.DataFrame, right: pl.DataFrame, how: Literal["inner", "semi"]) -> pl.DataFrame:
        return left.join(right, on=self.on, how=how, nulls_equal=bool(self._floats))


class JoinSide(Protocol):
    """What is remembered of one side."""

    def turned(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the keys that would come to be there, or no more, with some rows; with ``SIGN``."""
        ...

    def add(self, rows: pl.DataFrame, turned: pl.DataFrame | None) -> int:
        """Add rows; return how many cancelled others, or need not be held.

        Args:
            rows: The rows.
            turned: What ``turned`` said of them, where it was asked.
        """
        ...

    def near(self, rows: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Give parts of what is held, each beside the part of some rows of the other side that it may agree with."""
        ...

    def there(self, rows: pl.DataFrame) -> pl.Series:
        """Tell of each of some rows of the other side whether its key is there."""
        ...

    def held(self) -> int:
        """Return how many rows are held, counted from them; a row counts as often as its weight says."""
        ...

    def snapshot(self, name: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give what is held as named frames."""
        ...

    def restore(self, name: str, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take it back."""
        ...


class AddedSide:
    """Rows of an append-only stream, without weights: a key that is there stays there.

    Args:
        keys: The key columns.
        rows: Whether the rows themselves are needed.
        counted: Whether it will be asked which keys are there. They are kept apart from the rows: a key may have very
            many of them.
    """

    def __init__(self, keys: Keys, *, rows: bool, counted: bool) -> None:
        self._keys = keys
        self._rows = Keyed(keys.on) if rows else None
        self._there = Keyed(keys.on) if counted else None

    def turned(self, rows: pl.DataFrame) -> pl.DataFrame:
        keys = self._keys.of(rows)
        new = kept(keys, ~self.there(keys))
        return new.hstack([repeated(SIGN, 1, new.height)])

    def add(self, rows: pl.DataFrame, turned: pl.DataFrame | None) -> int:
        if turned is not None and self._there is not None:
            self._there.add(picked(turned, self._keys.on))
        if self._rows is not None:
            self._rows.add(rows)
            return 0
        return rows.height - (0 if turned is None else turned.height)

    def near(self, rows: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        assert self._rows is not None, "only a side that holds rows is asked for them"
        return self._rows.near(rows)

    def there(self, rows: pl.DataFrame) -> pl.Series:
        assert self._there is not None, "only a side of which it is asked which keys are there knows"
        keys = picked(rows, self._keys.on).with_row_index(_PLACE)
        found = repeated("there", False, rows.height)
        for part, asked in self._there.near(keys):
            found = found.scatter(self._keys.among(asked, part).get_column(_PLACE), True)
        return found

    def held(self) -> int:
        kept_rows = self._rows if self._rows is not None else self._there
        assert kept_rows is not None, "a side holds rows or keys"
        return kept_rows.held()

    def snapshot(self, name: str) -> Iterator[tuple[str, pl.DataFrame]]:
        for part, what in (("rows", self._rows), ("keys", self._there)):
            if what is not None:
                yield from what.snapshot(f"{name}/{part}")

    def restore(self, name: str, frames: Mapping[str, pl.DataFrame]) -> None:
        for part, what in (("rows", self._rows), ("keys", self._there)):
            if what is not None:
                what.restore(f"{name}/{part}", frames)


class ChangingSide:
    """Rows of a changing stream with their net weights."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._rows = Weighted(keys.on)
        self._asked: tuple[pl.DataFrame, pl.DataFrame | None] | None = None
        """The last look-up since rows were added: one step asks of the same rows more than once."""

    def turned(self, rows: pl.DataFrame) -> pl.DataFrame:
        names = [name for name in rows.columns if name != WEIGHT]
        both = rows.with_columns(repeated(_BEFORE, 0, rows.height))
        if (before := self._found(rows)) is not None:
            both = before.with_columns(before.get_column(WEIGHT).alias(_BEFORE)).vstack(both)
        was, now = (pl.col(_BEFORE) > 0).any(), (pl.col(WEIGHT) > 0).any()
        turned = (
            both.lazy()
            .group_by(names)
            .agg(pl.col(WEIGHT).sum(), pl.col(_BEFORE).sum())
            .group_by(self._keys.on)
            .agg(was.alias(_WAS), now.alias(_NOW))
            .filter(pl.col(_WAS) != pl.col(_NOW))
            .select(*self._keys.on, pl.when(_NOW).then(1).otherwise(-1).cast(pl.Int64).alias(SIGN))
        )
        return turned.collect(engine="in-memory", optimizations=AS_WRITTEN)

    def add(self, rows: pl.DataFrame, turned: pl.DataFrame | None) -> int:
        before, self._asked = self._rows.cancelled, None
        self._rows.insert(rows)
        return self._rows.cancelled - before

    def near(self, rows: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        if (found := self._found(rows)) is not None:
            yield found, rows

    def there(self, rows: pl.DataFrame) -> pl.Series:
        there = repeated("there", False, rows.height)
        if (found := self._found(rows)) is None:
            return there
        numbered = picked(rows, self._keys.on).with_row_index(_PLACE)
        present = found.filter(pl.col(WEIGHT) > 0)
        return there.scatter(self._keys.among(numbered, present).get_column(_PLACE), True)

    def held(self) -> int:
        return self._rows.held()

    def snapshot(self, name: str) -> Iterator[tuple[str, pl.DataFrame]]:
        return self._rows.snapshot(name)

    def restore(self, name: str, frames: Mapping[str, pl.DataFrame]) -> None:
        self._rows.restore(name, frames)

    def _found(self, rows: pl.DataFrame) -> pl.DataFrame | None:
        """Return what is held of the keys of some rows."""
        if self._asked is None or self._asked[0] is not rows:
            self._asked = (rows, self._rows.lookup(self._keys.of(rows)) if rows.height else None)
        return self._asked[1]
