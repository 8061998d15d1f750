"""The arrangement: keyed rows in a few runs, each sorted by a hash of the key.

A look-up of a batch of keys is a binary search per run and a gather, verified on the real key (two
keys may share a hash). Runs are immutable and grow geometrically, so a row is rewritten a logarithmic
number of times.

In this arrangement a later row *replaces* an earlier one of the same identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from thalweg.engine.embedded.direct import FEW_ROWS, kept, only_value, picked, repeated
from thalweg.engine.embedded.hashed_runs import (
    HASH,
    AnyRun,
    Run,
    StoredRun,
    hashes_of,
    in_pieces,
    merged,
    run_of,
    sorted_run,
    sought,
    stored,
)
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.memory import UNBOUNDED, Memory

_PLACE: Final = "__place"
MANY_ROWS: Final = 2_048
_PLAIN: Final = 16
"""Where steps replace more than so many rows, and one in so many, one frame that is looked through each time is faster
than sorted runs that are merged again and again."""
_SCAN: Final = 4
"""Where more than one in so many keys is looked up, hash joins with whole frames are faster."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How an arrangement counts what went into its rows.

    Attributes:
        total: The column that says it of a row.
        added: The column that says how much more that is than of the row that it replaces.
    """

    total: str
    added: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a look-up found.

    Attributes:
        rows: The current rows of the keys.
        among: The few rows that it looked through, where they are one plain frame.
        places: The numbers of the found rows in there.
    """

    rows: pl.DataFrame
    among: pl.DataFrame | None = None
    places: pl.Series | None = None


class Arrangement:
    """Keyed rows.

    Args:
        keys: The columns that rows are looked up by.
        identity: The columns that, with the keys, name a row; None where rows are only ever added.
        counted: How to count what went into the rows, where that is asked for.
        gone: The column (Boolean) that says of a row that it only takes an earlier one away. Such rows are found like
            others until they, too, are dropped.

    Attributes:
        memory: What its rows and those of others may take; runs beyond it live in files.
    """

    def __init__(
        self,
        keys: Sequence[str],
        identity: Sequence[str] | None = (),
        counted: Counted | None = None,
        gone: str | None = None,
    ) -> None:
        self._keys = list(keys)
        self._names = None if identity is None else [*keys, *identity]
        self._counted = counted
        self._gone = gone
        self.memory: Memory = UNBOUNDED
        self._runs: list[AnyRun] = []
        self._few: pl.DataFrame | None = None
        """Few rows, and those of which many are replaced at once, are one plain frame: looking through it costs less
        than keeping it sorted."""

    def insert(self, rows: pl.DataFrame, instead_of: Found | None = None) -> None:
        """Add rows; they replace older ones of the same identity.

        Args:
            rows: The rows.
            instead_of: The rows that they replace, where they have just been looked up.
        """
        if rows.is_empty():
            return
        few, self._few = self._few, None
        if not self._runs and self._stays_plain(rows, few):
            few = rows if few is None else self._replaced(few, rows, instead_of)
            few = self._without_gone(few)
            self._few = few if few.height else None
            return
        if few is not None:
            self._runs.append(self._first_run(few))
        self._runs.append(run_of(rows, self._keys))
        while len(self._runs) > 1 and self._runs[-2].height < 2 * self._runs[-1].height:
            newer, older = self._runs.pop(), self._runs.pop()
            if not self.memory.takes(older.size_bytes + newer.size_bytes):
                older = stored(older, self.memory.folder())
            self._runs.append(merged(older, newer, self._merged, self.memory.folder))
        if len(self._runs) == 1 and isinstance(only := self._runs[0], Run):
            left = self._without_gone(only.frame)
            if left is not only.frame:
                self._runs = [run_of(left, self._keys)] if left.height else []
        self.memory.grown(self)

    def lookup(self, keys: pl.DataFrame) -> Found | None:
        """Return the current rows of some keys (each given once); None where there are none.

        Args:
            keys: The key columns.
        """
        if self._few is not None:
            return self._among_few(self._few, keys)
        if not self._runs:
            return None
        wanted = picked(keys, self._keys)
        hashes = sought(keys, self._keys)
        found = []
        for run in self._runs:
            part = _candidates(run, hashes)
            part = None if part is None else join_on(part, wanted, self._keys, "semi")
            if part is not None and part.height:
                found.append(part)
        if not found:
            return None
        rows = stacked(found)
        if self._names is not None and len(found) > 1:
            rows = rows.unique(self._names, keep="last", maintain_order=True)
        return Found(rows)

    def missing(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Return those of some keys (each given once) that have no row.

        Args:
            keys: The key columns alone.
        """
        if self._few is not None:
            return join_on(keys, picked(self._few, self._keys), self._keys, "anti")
        if not self._runs:
            return keys
        hashes = sought(keys, self._keys)
        for run in self._runs:
            if (part := _candidates(run, hashes)) is not None:
                keys = join_on(keys, picked(part, self._keys), self._keys, "anti")
        return keys

    def drop_up_to(self, column: str, limit: int) -> None:
        """Forget the rows whose value in an integer column is not above a limit."""
        if self._few is not None:
            few = kept(self._few, self._few.get_column(column) > limit)
            self._few = None if few.is_empty() else few
        runs: list[AnyRun] = []
        for run in self._runs:
            pieces = [left for piece in run.pieces if (left := _above(piece, column, limit)) is not None]
            if pieces:
                runs.append(StoredRun(pieces) if isinstance(run, StoredRun) else pieces[0])
        self._runs = runs

    def total(self) -> int:
        """Return what went into all rows, counted from them."""
        assert self._counted is not None, "only an arrangement that was told how can count"
        if self._few is not None:
            return int(self._few.get_column(self._counted.total).sum())
        # A row may stand in several runs: each says what it added.
        added = self._counted.added
        return sum(piece.total(added) for run in self._runs for piece in run.pieces)

    def current(self) -> Iterator[pl.DataFrame]:
        """Give the current rows; each row is given once."""
        if self._few is not None:
            yield self._few
            return
        assert self._names is not None, "rows that are only ever added have no current ones"
        for number, run in enumerate(self._runs):
            bounds = run.bounds if isinstance(run, StoredRun) else [(0, 2**64)]
            for piece, (low, high) in zip(run.pieces, bounds, strict=True):
                parts = [part for other in self._runs[number + 1 :] if (part := other.between(low, high)) is not None]
                newer = [picked(part.frame, self._names) for part in parts]
                yield join_on(piece.frame, stacked(newer), self._names, "anti") if newer else piece.frame

    def frames(self) -> Sequence[pl.DataFrame]:
        """Return what ``restore`` takes; a frame that did not change is the same object as before."""
        if self._few is not None:
            return [self._few]
        return [piece.frame for run in self._runs for piece in run.pieces]

    def resident_bytes(self) -> int:
        """Return what its runs take of the memory."""
        return sum(run.size_bytes for run in self._runs)

    def largest_bytes(self) -> int:
        """Return what its largest run in memory takes."""
        return max((run.size_bytes for run in self._runs), default=0)

    def spill(self, folder: Path) -> None:
        """Move its largest run in memory to files."""
        place = max(range(len(self._runs)), key=lambda number: self._runs[number].size_bytes)
        self._runs[place] = stored(self._runs[place], folder)

    def restore(self, frames: Sequence[pl.DataFrame]) -> None:
        """Take the rows back, in an arrangement that is empty."""
        if len(frames) == 1 and frames[0].height <= FEW_ROWS:
            self._few = frames[0]
        elif len(frames) == 1:
            self._runs = [self._restored(frames[0], first=True)]
        else:
            self._runs = [self._joined(pieces) for pieces in in_pieces(self._restored(frame) for frame in frames)]

    def _restored(self, rows: pl.DataFrame, *, first: bool = False) -> Run:
        """Return a run; the rows that were saved as one are sorted, and stay the very frame."""
        hashes = hashes_of(rows, self._keys).alias(HASH)
        counted = self._counted
        as_first = not first or counted is None or rows.get_column(counted.added).equals(rows.get_column(counted.total))
        if as_first and hashes.is_sorted():
            return Run(rows, hashes)
        return self._first_run(rows) if first else run_of(rows, self._keys)

    def _joined(self, pieces: Sequence[Run]) -> AnyRun:
        """Return the pieces of one run as it."""
        if len(pieces) == 1:
            return pieces[0]
        if self.memory.takes(sum(piece.size_bytes for piece in pieces)):
            return Run(stacked([piece.frame for piece in pieces]), pl.concat([piece.hashes for piece in pieces]))
        return StoredRun([part for piece in pieces for part in stored(piece, self.memory.folder()).pieces])

    def _stays_plain(self, rows: pl.DataFrame, few: pl.DataFrame | None) -> bool:
        height = 0 if few is None else few.height
        if rows.height + height <= FEW_ROWS:
            return True
        if self._names is None or rows.height <= MANY_ROWS or rows.height * _PLAIN <= height:
            return False
        return self.memory.takes(int(rows.estimated_size()) + (0 if few is None else int(few.estimated_size())))

    def _among_few(self, few: pl.DataFrame, keys: pl.DataFrame) -> Found | None:
        wanted = self._keys
        # A column that has one value on both sides need not be joined on.
        for name in reversed(self._keys[1:]):
            if few.get_column(name).dtype == pl.Int64() and (one := only_value(few.get_column(name))) is not None:
                other = only_value(keys.get_column(name))
                if other is not None and other != one:
                    return None
                if other is not None:
                    wanted = [key for key in wanted if key != name]
        rows = join_on(few.with_row_index(_PLACE), picked(keys, wanted), wanted, "semi")
        if rows.is_empty():
            return None
        return Found(picked(rows, few.columns), few, rows.get_column(_PLACE))

    def _replaced(self, older: pl.DataFrame, newer: pl.DataFrame, instead_of: Found | None) -> pl.DataFrame:
        if instead_of is not None and instead_of.among is older and instead_of.places is not None:
            stays = repeated("", True, older.height).scatter(instead_of.places, False)
            older = kept(older, stays)
        elif self._names is not None:
            older = join_on(older, picked(newer, self._names), self._names, "anti")
        return stacked([older, newer]).rechunk()

    def _without_gone(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return all rows without those that have no earlier ones left to take away."""
        if self._gone is None or not (gone := rows.get_column(self._gone)).any():
            return rows
        return kept(rows, ~gone)

    def _first_run(self, rows: pl.DataFrame) -> Run:
        if self._counted is not None:
            rows = rows.with_columns(pl.col(self._counted.total).alias(self._counted.added))
        return run_of(rows, self._keys)

    def _merged(self, older: Run, newer: Run) -> Run:
        rows = stacked([older.frame, newer.frame])
        hashes = pl.concat([older.hashes, newer.hashes])
        if self._names is None:
            return sorted_run(rows.hstack([hashes.alias(HASH)]))
        # What decides is narrow; the rows themselves are moved once.
        added = [] if self._counted is None else [self._counted.added]
        narrow = picked(rows, [*self._names, *added]).hstack(
            [hashes.alias(HASH), pl.int_range(rows.height, eager=True).alias(_PLACE)]
        )
        sums = [pl.col(name).sum() for name in added]
        last = narrow.group_by(self._names).agg(pl.col(_PLACE).max(), pl.col(HASH).first(), *sums).sort(HASH)
        frame = rows[last.get_column(_PLACE)]
        return Run(frame.with_columns(last.get_column(name) for name in added), last.get_column(HASH))


def _candidates(run: AnyRun, hashes: pl.Series) -> pl.DataFrame | None:
    """Return rows of a run, all that have one of some hashes among them; None where there are none."""
    if isinstance(run, Run) and len(hashes) * _SCAN > run.height:
        return run.frame
    return run.matches(hashes)


def _above(run: Run, column: str, limit: int) -> Run | None:
    """Return the rows whose value in a column is above a limit; None where there are none."""
    mask = run.frame.get_column(column) > limit
    if mask.all():
        return run
    frame = kept(run.frame, mask)
    return None if frame.is_empty() else Run(frame, run.hashes.filter(mask))


def stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return frames one below the other; a column may have become wider, or be new, in some."""
    if len(frames) == 1:
        return frames[0]
    same = all(frame.schema == frames[0].schema for frame in frames)
    return pl.concat(frames, how="vertical" if same else "diagonal_relaxed", rechunk=False)
