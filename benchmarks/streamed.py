"""A streamed contestant: events through a pipeline into ``call``, and proof that it was a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

import thalweg as tw
from benchmarks.events import LATENESS
from benchmarks.outcome import WrongAnswerError
from thalweg.connect import call
from thalweg.core.ports import Json, Nothing, OpenSource, PartitionReader, Source, SourceBatch
from thalweg.core.schema import Schema
from thalweg.stream import Stream

SOONEST = 0.2
"""Before which part of the input is read the first result must come: that the input ends is no excuse to wait."""


@dataclass(slots=True)
class Seen:
    """What a source has handed out.

    Attributes:
        rows: How many rows.
    """

    rows: int = 0


class Streamed:
    """A pipeline over a source that ends.

    Args:
        source: Gives the events; their time is ``ts``.
        rows: How many it gives.
        build: Makes the pipeline.
        step_rows: The most rows of a step; None is the engine's own choice.
        schema: The events' columns, where the source does not know them.
    """

    def __init__(
        self,
        source: Source,
        rows: int,
        build: Callable[[Stream], Stream],
        step_rows: int | None = None,
        schema: object = None,
    ) -> None:
        self._source = source
        self._rows = rows
        self._build = build
        self._step_rows = step_rows
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._seen = Seen()
        self._first_at: int | None = None
        self._latest_first = 0

    def run(self) -> None:
        self._tables, self._seen, self._first_at = [], Seen(), None
        app = tw.App("benchmark")
        counted = Counted(self._source, self._seen)
        stream = app.read(counted, schema=self._schema, time="ts", lateness=LATENESS)
        self._build(stream).write(call(self._take))
        app.run(data=None, until="end", max_step_rows=self._step_rows, quiet=True)

    def answer(self) -> pl.DataFrame:
        tables, self._tables = self._tables, []
        first, rows = self._first_at, self._rows
        if self._seen.rows != rows:
            raise WrongAnswerError(f"the source handed out {self._seen.rows} rows, not {rows}")
        if first is None:
            raise WrongAnswerError("the run gave no rows")
        if first >= rows * SOONEST:
            raise WrongAnswerError(
                f"the first result came when {first} of {rows} rows had been read; a stream gives it before "
                f"{SOONEST:.0%} of them"
            )
        self._latest_first = max(self._latest_first, first)
        frame = pl.from_arrow(pa.concat_tables(tables))
        assert isinstance(frame, pl.DataFrame)
        return frame

    @property
    def note(self) -> str:
        """When the first result came, in the run where it came last."""
        return f"first result after {self._latest_first / self._rows:.1%} of the input"

    def _take(self, table: pa.Table) -> None:
        if self._first_at is None:
            self._first_at = self._seen.rows
        self._tables.append(table)


@dataclass(frozen=True, slots=True)
class Counted:
    """A source that counts the rows that it hands out.

    Attributes:
        source: Where they come from.
        seen: Where they are counted.
    """

    source: Source
    seen: Seen

    @property
    def name(self) -> str:
        """The source's name."""
        return self.source.name

    @property
    def final(self) -> bool:
        """As the source says."""
        return self.source.final

    @property
    def prefetch(self) -> bool:
        """As the source says."""
        return self.source.prefetch

    def describe(self) -> str:
        """Return one line for the plan."""
        return self.source.describe()

    def schema(self) -> pa.Schema | None:
        """Return the source's schema."""
        return self.source.schema()

    def open(self, schema: Schema) -> OpenSource:
        """Start to read."""
        return _OpenCounted(self.source.open(schema), self.seen)


class _OpenCounted:
    def __init__(self, source: OpenSource, seen: Seen) -> None:
        self._source = source
        self._seen = seen

    def partitions(self) -> Sequence[str]:
        return self._source.partitions()

    def reader(self, partition: str, position: Json) -> PartitionReader:
        return _CountedReader(self._source.reader(partition, position), self._seen)

    def close(self) -> None:
        self._source.close()


class _CountedReader:
    def __init__(self, reader: PartitionReader, seen: Seen) -> None:
        self._reader = reader
        self._seen = seen

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        batch = self._reader.read(max_rows, timeout_s)
        if isinstance(batch, SourceBatch):
            self._seen.rows += batch.data.num_rows
        return batch

    def close(self) -> None:
        self._reader.close()
