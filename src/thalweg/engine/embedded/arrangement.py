"""The arrangement: keyed rows in a few runs, each sorted by a hash of the key.

A look-up of a batch of keys is a binary search per run and a gather, verified on the real key (two
keys may share a hash). Runs are immutable and grow geometrically, so a row is rewritten a logarithmic
number of times.

In this arrangement a later row *replaces* an earlier one of the same identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from thalweg.engine.embedded.joining import join_on

FEW_ROWS: Final = 16_384
"""Up to so many rows are one plain frame: looking through it costs less than keeping it sorted."""

_HASH: Final = "__hash"
_RUN: Final = "__run"
_SEED = 0x7A1


@dataclass(frozen=True, slots=True)
class Run:
    """Rows sorted by the hash of their key, the hash last."""

    frame: pl.DataFrame

    @property
    def hashes(self) -> pl.Series:
        """The sorted hashes."""
        return self.frame.get_column(_HASH)


class Arrangement:
    """Keyed rows.

    Args:
        keys: The columns that rows are looked up by.
        identity: The columns that, with the keys, name a row; None where rows are only ever added.
    """

    def __init__(self, keys: Sequence[str], identity: Sequence[str] | None = ()) -> None:
        self._keys = list(keys)
        self._names = None if identity is None else [*keys, *identity]
        self._runs: list[Run] = []
        self._few: pl.DataFrame | None = None

    def insert(self, rows: pl.DataFrame) -> None:
        """Add rows; they replace older ones of the same identity."""
        if rows.is_empty():
            return
        few, self._few = self._few, None
        if not self._runs and rows.height + (0 if few is None else few.height) <= FEW_ROWS:
            self._few = rows if few is None else self._replaced(few, rows)
            return
        if few is not None:
            self._runs.append(_run(few, self._keys))
        self._runs.append(_run(rows, self._keys))
        while len(self._runs) > 1 and self._runs[-2].frame.height < 2 * self._runs[-1].frame.height:
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(self._merged(older, newer))

    def lookup(self, keys: pl.DataFrame) -> pl.DataFrame | None:
        """Return the current rows of some keys (each given once); None where there are none.

        Args:
            keys: The key columns.
        """
        if self._few is not None:
            rows = join_on(self._few, keys.select(self._keys), self._keys, "semi")
            return None if rows.is_empty() else rows
        hashes = _hashes(keys, self._keys)
        found = [
            part.with_columns(pl.lit(number, pl.UInt32).alias(_RUN))
            for number, run in enumerate(self._runs)
            if (part := _matches(run, hashes)) is not None
        ]
        if not found:
            return None
        rows = stacked(found)
        if self._names is not None and len(found) > 1:
            rows = rows.sort(_RUN).unique(self._names, keep="last", maintain_order=True)
        real = join_on(rows, keys.select(self._keys), self._keys, "semi")
        return real.drop(_HASH, _RUN) if not real.is_empty() else None

    def all(self) -> pl.DataFrame | None:
        """Return every current row."""
        if self._few is not None:
            return self._few
        if not self._runs:
            return None
        while len(self._runs) > 1:
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(self._merged(older, newer))
        return self._runs[0].frame.drop(_HASH)

    def _replaced(self, older: pl.DataFrame, newer: pl.DataFrame) -> pl.DataFrame:
        if self._names is not None:
            older = join_on(older, newer.select(self._names), self._names, "anti")
        return stacked([older, newer]).rechunk()

    def _merged(self, older: Run, newer: Run) -> Run:
        both = stacked([older.frame, newer.frame])
        if self._names is not None:
            both = both.unique(self._names, keep="last", maintain_order=True)
        return Run(both.sort(_HASH))


def stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return frames one below the other; a column may have become wider, or be new, in some."""
    if len(frames) == 1:
        return frames[0]
    same = all(frame.schema == frames[0].schema for frame in frames)
    return pl.concat(frames, how="vertical" if same else "diagonal_relaxed", rechunk=False)


def _hashes(frame: pl.DataFrame, keys: list[str]) -> pl.Series:
    return frame.select(keys).hash_rows(_SEED)


def _run(rows: pl.DataFrame, keys: list[str]) -> Run:
    return Run(rows.hstack([_hashes(rows, keys).alias(_HASH)]).sort(_HASH))


def _matches(run: Run, hashes: pl.Series) -> pl.DataFrame | None:
    low = run.hashes.search_sorted(hashes, side="left")
    high = run.hashes.search_sorted(hashes, side="right")
    spans = pl.DataFrame({"low": low, "high": high}).filter(pl.col("high") > pl.col("low"))
    if spans.is_empty():
        return None
    rows = spans.select(pl.int_ranges("low", "high").explode().unique()).to_series()
    return run.frame[rows]
