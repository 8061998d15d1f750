"""A streamed contestant: events through a pipeline into ``call``, and proof that it was a stream."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pyarrow as pa

import thalweg as tw
from benchmarks.events import LATENESS, Scale
from benchmarks.outcome import WrongAnswerError
from thalweg.connect import call
from thalweg.core.ports import Source
from thalweg.engine.contract import Run, RunOptions
from thalweg.engine.embedded.loop import Embedded
from thalweg.plan.nodes import Plan
from thalweg.stream import Stream


class Watched:
    """The embedded engine, with an eye on how much it has read."""

    def __init__(self) -> None:
        self._run: Run | None = None

    def start(self, plan: Plan, options: RunOptions) -> Run:
        """Return a run of the plan, and watch it."""
        self._run = Embedded().start(plan, options)
        return self._run

    @property
    def rows_in(self) -> int:
        """Rows read so far; from any thread."""
        return 0 if self._run is None else self._run.progress().rows_in


class Streamed:
    """A pipeline over a source that ends.

    Args:
        source: Gives the events; their time is ``ts``.
        build: Makes the pipeline.
        scale: How many events there are, how large the steps, when the first result must come.
        schema: The events' columns, where the source does not know them.
    """

    def __init__(self, source: Source, build: Callable[[Stream], Stream], scale: Scale, schema: object = None) -> None:
        self._source = source
        self._build = build
        self._scale = scale
        self._schema = schema
        self._engine = Watched()
        self._tables: list[pa.Table] = []
        self._first_at: int | None = None
        self._latest_first = 0

    def run(self) -> None:
        self._tables, self._first_at, self._engine = [], None, Watched()
        app = tw.App("benchmark")
        stream = app.read(self._source, schema=self._schema, time="ts", lateness=LATENESS)
        self._build(stream).write(call(self._take))
        app.run(data=None, until="end", max_step_rows=self._scale.step_rows, quiet=True, engine=self._engine)

    def answer(self) -> pl.DataFrame:
        tables, self._tables = self._tables, []
        first, read, rows = self._first_at, self._engine.rows_in, self._scale.rows
        if read != rows:
            raise WrongAnswerError(f"the run read {read} rows, not {rows}")
        if first is None:
            raise WrongAnswerError("the run gave no rows")
        if first >= rows * self._scale.soonest:
            raise WrongAnswerError(
                f"the first result came when {first} of {rows} rows had been read; a stream gives it before "
                f"{self._scale.soonest:.0%} of them"
            )
        self._latest_first = max(self._latest_first, first)
        frame = pl.from_arrow(pa.concat_tables(tables))
        assert isinstance(frame, pl.DataFrame)
        return frame

    @property
    def note(self) -> str:
        """When the first result came, in the run where it came last."""
        return f"first result after {self._latest_first / self._scale.rows:.1%} of the input"

    def _take(self, table: pa.Table) -> None:
        if self._first_at is None:
            self._first_at = self._engine.rows_in
        self._tables.append(table)
