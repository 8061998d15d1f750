"""Runs of keyed rows, sorted by a hash of the key: in memory, or in files that are mapped.

A run in files is cut into pieces of rising hashes, some MiB each. Two runs are merged piece by piece, so that merging
takes the memory of a few pieces, however long the runs are; a piece that has nothing to be merged with stays as it is.
"""

from __future__ import annotations

import os
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import to_frame
from thalweg.engine.embedded.direct import picked
from thalweg.state.files import writing

HASH: Final = "__hash"
PIECE_ROWS: Final = 262_144

_SEED = 0x7A1
_FIRST, _BEHIND = 0, 2**64


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Run:
    """Rows sorted by the hash of their key.

    Attributes:
        frame: The rows.
        hashes: The sorted hashes.
    """

    frame: pl.DataFrame
    hashes: pl.Series
    _totals: dict[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def height(self) -> int:
        """How many rows it has."""
        return self.frame.height

    def total(self, column: str) -> int:
        """Return the sum of a column of integers; as a run stays as it is, it is looked through once."""
        if column not in self._totals:
            self._totals[column] = int(self.frame.get_column(column).sum())
        return self._totals[column]

    @property
    def pieces(self) -> Sequence[Run]:
        """Itself: it is one piece."""
        return (self,)

    @property
    def size_bytes(self) -> int:
        """What it takes of the memory."""
        return int(self.frame.estimated_size()) + 8 * self.frame.height

    def matches(self, hashes: pl.Series) -> pl.DataFrame | None:
        """Return the rows that have one of some hashes, which are sorted; None where there are none."""
        low = self.hashes.search_sorted(hashes, side="left")
        high = self.hashes.search_sorted(hashes, side="right")
        spans = pl.DataFrame({"low": low, "high": high}).filter(pl.col("high") > pl.col("low"))
        if spans.is_empty():
            return None
        rows = spans.select(pl.int_ranges("low", "high").explode().unique()).to_series()
        return self.frame[rows]

    def between(self, low: int, high: int) -> Run | None:
        """Return the part with hashes from one on to below another; None where there is none."""
        if not self.height:
            return None
        first = 0 if low <= _FIRST else int(self.hashes.search_sorted(low, side="left"))
        last = self.height if high >= _BEHIND else int(self.hashes.search_sorted(high, side="left"))
        if first == last:
            return None
        if (first, last) == (0, self.height):
            return self
        return Run(self.frame[first:last], self.hashes[first:last])


class StoredRun:
    """A run in files.

    Args:
        pieces: Its pieces, by rising hashes; equal hashes are in one.
    """

    size_bytes = 0

    def __init__(self, pieces: Sequence[Run]) -> None:
        self.pieces = list(pieces)
        self._lows = [int(piece.hashes[0]) for piece in pieces]

    @property
    def height(self) -> int:
        """How many rows it has."""
        return sum(piece.height for piece in self.pieces)

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """The hashes from which, and below which, each piece has its rows."""
        lows = [_FIRST, *self._lows[1:]]
        return list(zip(lows, [*lows[1:], _BEHIND], strict=True))

    def matches(self, hashes: pl.Series) -> pl.DataFrame | None:
        """Return the rows that have one of some hashes, which are sorted; None where there are none."""
        found = []
        for piece, (low, high) in zip(self.pieces, self.bounds, strict=True):
            first = 0 if low == _FIRST else int(hashes.search_sorted(low, side="left"))
            last = len(hashes) if high == _BEHIND else int(hashes.search_sorted(high, side="left"))
            if first < last and (part := piece.matches(hashes[first:last])) is not None:
                found.append(part)
        if not found:
            return None
        return found[0] if len(found) == 1 else pl.concat(found, rechunk=False)

    def between(self, low: int, high: int) -> Run | None:
        """Return the part with hashes from one on to below another, in memory; None where there is none."""
        first = max(bisect_right(self._lows, low) - 1, 0)
        parts = []
        for piece, start in zip(self.pieces[first:], self._lows[first:], strict=True):
            if start >= high:
                break
            if (part := piece.between(low, high)) is not None:
                parts.append(part)
        if not parts:
            return None
        if len(parts) == 1:
            return parts[0]
        hashes = pl.concat([part.hashes for part in parts])
        return Run(pl.concat([part.frame for part in parts], rechunk=False), hashes)


AnyRun: TypeAlias = Run | StoredRun
Merge: TypeAlias = Callable[[Run, Run], Run]


def run_of(rows: pl.DataFrame, keys: list[str]) -> Run:
    """Return rows sorted by the hash of their keys."""
    return sorted_run(rows.hstack([hashes_of(rows, keys).alias(HASH)]))


def sorted_run(rows: pl.DataFrame) -> Run:
    """Return rows as a run, given with their hashes in ``HASH``."""
    rows = rows.sort(HASH)
    return Run(rows.drop(HASH), rows.get_column(HASH))


def hashes_of(frame: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    """Return the hash of each row's key."""
    return _hashes(picked(frame, keys))


def sought(frame: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    """Return the hashes of the rows' keys, sorted: those are searched for several times as fast."""
    return hashes_of(frame, keys).sort()


def _hashes(keys: pl.DataFrame) -> pl.Series:
    return keys.hash_rows(_SEED)


def stored(run: AnyRun, folder: Path) -> StoredRun:
    """Return a run in files."""
    if isinstance(run, StoredRun):
        return run
    return StoredRun([_written(part, folder) for part in _cut(run)])


def merged(older: AnyRun, newer: AnyRun, merge: Merge, folder: Callable[[], Path]) -> AnyRun:
    """Return two runs as one: in files if one of them is.

    Args:
        older: The earlier one.
        newer: The later one.
        merge: Merges runs in memory.
        folder: Says where files go.
    """
    if isinstance(older, Run) and isinstance(newer, Run):
        return merge(older, newer)
    leading = older if isinstance(older, StoredRun) else newer
    assert isinstance(leading, StoredRun), "one of them is"
    pieces: list[Run] = []
    for low, high in leading.bounds:
        before, after = older.between(low, high), newer.between(low, high)
        if before is not None and after is not None:
            whole = merge(before, after)
            pieces += [_written(part, folder()) for part in _cut(whole)]
        elif (only := before or after) is not None:
            whole_piece = any(only is piece for piece in leading.pieces)
            pieces += [only] if whole_piece else [_written(part, folder()) for part in _cut(only)]
    return StoredRun(pieces)


def in_pieces(runs: Iterable[Run]) -> Iterator[list[Run]]:
    """Give runs that follow each other by rising hashes together: they were the pieces of one."""
    group: list[Run] = []
    for run in runs:
        if group and int(group[-1].hashes[-1]) >= int(run.hashes[0]):
            yield group
            group = []
        group.append(run)
    if group:
        yield group


def _cut(run: Run) -> Iterator[Run]:
    """Give a run in parts of about PIECE_ROWS; equal hashes are in one."""
    start = 0
    while run.height - start > 2 * PIECE_ROWS:
        edge = int(run.hashes[start + PIECE_ROWS])
        stop = int(run.hashes.search_sorted(edge, side="left"))
        if stop <= start:
            stop = int(run.hashes.search_sorted(edge, side="right"))
        yield Run(run.frame[start:stop], run.hashes[start:stop])
        start = stop
    if run.height > start:
        yield Run(run.frame[start:], run.hashes[start:])


def _written(run: Run, folder: Path) -> Run:
    """Write a run to a file and return it, mapped; the file goes with it.

    Raises:
        StateError: It cannot be written.
    """
    path = folder / f"{os.urandom(8).hex()}.arrow"
    table = run.frame.hstack([run.hashes.alias(HASH)]).rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    with writing(path), pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        rows = to_frame(reader.read_all())
    piece = Run(rows.drop(HASH), rows.get_column(HASH))
    weakref.finalize(piece, _unlink, path)
    return piece


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
