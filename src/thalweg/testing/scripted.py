"""A source that gives what a test says, when it says so, cut as it says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from thalweg.core.ports import Json, Nothing, Rejected, Source, SourceBatch
from thalweg.core.schema import Schema
from thalweg.testing.given import Given


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of rows, or of rejected rows, of a partition."""

    data: pa.RecordBatch
    locate: Callable[[int], str]
    rejected: tuple[Rejected, ...] = ()

    @property
    def size(self) -> int:
        """How many rows it has."""
        return int(self.data.num_rows) + len(self.rejected)


@dataclass(slots=True, eq=False)
class Scripted:
    """A source whose partitions hold given rows, of which it shows as many as it is told.

    A position is the number of rows before it.

    Args:
        name: The source's name.
        given: The rows' schema.
        pieces: By partition, the rows.
        final: Whether nothing can follow the last row.
    """

    name: str
    given: pa.Schema
    pieces: dict[str, list[Piece]]
    final: bool = False
    prefetch: bool = False
    _shown: dict[str, int] | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @classmethod
    def of(cls, name: str, given: Given, *, final: bool = False) -> Scripted:
        """Return a source of rows written down in a test."""
        pieces = {}
        for number, table in enumerate(given.partitions):
            batches = table.combine_chunks().to_batches()
            pieces[str(number)] = [
                Piece(batch, lambda row, n=number: f"{name}[partition {n}]:{row}")  # type: ignore[misc]  # binds n
                for batch in batches
            ]
        return cls(name, given.schema.arrow, pieces, final)

    @classmethod
    def recorded(cls, source: Source, schema: Schema) -> Scripted:
        """Return a source with all that another has now."""
        opened = source.open(schema)
        pieces: dict[str, list[Piece]] = {}
        for partition in opened.partitions():
            reader = opened.reader(partition, None)
            pieces[partition] = []
            while not isinstance(batch := reader.read(65_536, 0.05), Nothing):
                pieces[partition].append(Piece(batch.data, batch.locate))
                if batch.rejected:
                    nothing = batch.data.slice(0, 0)
                    pieces[partition].append(Piece(nothing, batch.locate, tuple(batch.rejected)))
            reader.close()
        opened.close()
        return cls(source.name, schema.arrow, pieces)

    def show(self, rows: Mapping[str, int] | None) -> None:
        """Show so many rows of each partition from now on (those not named: none); None shows all."""
        with self._changed:
            self._shown = None if rows is None else dict(rows)
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Wait for more to be shown."""
        with self._changed:
            self._changed.wait(timeout_s)

    def rows(self, partition: str) -> int:
        """Return how many rows a partition has, rejected ones included."""
        return sum(piece.size for piece in self.pieces[partition])

    def shown(self, partition: str) -> int:
        """Return how many of them it shows now."""
        total = self.rows(partition)
        return total if self._shown is None else min(self._shown.get(partition, 0), total)

    def describe(self) -> str:
        """Return one line for the plan."""
        return f"scripted({self.name})"

    def schema(self) -> pa.Schema:
        """Return the rows' schema."""
        return self.given

    def open(self, schema: Schema) -> Scripted:
        """Start to read."""
        return self

    def partitions(self) -> Sequence[str]:
        """Return the partitions that show rows; all of them until ``show`` was called."""
        return [name for name in self.pieces if self._shown is None or name in self._shown]

    def reader(self, partition: str, position: Json) -> ScriptedReader:
        """Return a reader of a partition."""
        return ScriptedReader(self, partition, position if isinstance(position, int) else 0)

    def replay(self, partition: str, position: Json) -> ScriptedReader:
        """Return a reader of a partition from its beginning."""
        return ScriptedReader(self, partition, 0)

    def close(self) -> None:
        """Nothing is held."""


class ScriptedReader:
    """Reads what a scripted source shows of a partition."""

    def __init__(self, source: Scripted, partition: str, row: int) -> None:
        self._source = source
        self._partition = partition
        self._row = row

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        """Return the next rows."""
        stop = self._source.shown(self._partition)
        if self._row >= stop:
            if self._source.final and stop == self._source.rows(self._partition):
                return Nothing.EVER
            if timeout_s:
                self._source.wait(min(timeout_s, 0.001))
            return Nothing.NOW
        start = 0
        for piece in self._source.pieces[self._partition]:
            inside = self._row - start
            if inside < piece.size:
                count = min(max_rows, piece.size - inside, stop - self._row)
                self._row += count
                if piece.rejected:
                    return SourceBatch(piece.data, self._row, piece.locate, piece.rejected[inside : inside + count])
                locate = _shifted(piece.locate, inside)
                return SourceBatch(piece.data.slice(inside, count), self._row, locate)
            start += piece.size
        return Nothing.NOW

    def close(self) -> None:
        """Nothing is held."""


def _shifted(locate: Callable[[int], str], by: int) -> Callable[[int], str]:
    return lambda row: locate(row + by)
