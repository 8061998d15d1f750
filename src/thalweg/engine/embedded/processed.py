"""A user's function with a state per key: rows in the order of time, timers in between.

    rows at       1   3        7           12
    timer at             5           10
    calls         1   3  5     7     10    12      once the watermark is past each

A timer comes before the rows of its own time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.conform import Conformer
from thalweg.columnar.frames import to_frame, to_table
from thalweg.core.errors import FunctionError
from thalweg.core.python_rows import decode_rows
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.keyed_state import Kept, KeyedStates, Timers
from thalweg.engine.embedded.rows import ALWAYS, TIME, Rows, visible
from thalweg.engine.embedded.stage import Output, RejectedRow, Stage, described, traced, unfit_for_python
from thalweg.engine.embedded.stateless import as_dict
from thalweg.engine.embedded.waiting import EACH_ROW, Waiting, split_late
from thalweg.plan.nodes import Process

_MOST_AFTER_THE_END: Final = 100_000


class Processed(Stage):
    """``process``: calls per row, per timer, or per batch."""

    remembers = True

    def __init__(self, node: Process, name: str) -> None:
        super().__init__(node, name)
        self._process = node
        self._in_order = node.order == "time"
        self.uses_time = node.input.timed  # type: ignore[misc]  # of this one, not of the class
        self.eager = not self._in_order  # type: ignore[misc]  # as above
        self.late_test = EACH_ROW if self._in_order else None
        self._columns = list(node.input.schema.names)
        self._waiting = Waiting(self._columns)
        self._states = KeyedStates(node)
        self._conformer = Conformer(node.schema)

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        entry = self.entry
        ready = []
        for rows in inputs:
            entry.rows_in += rows.frame.height
            entry.pairs += rows.frame.height
            if not self._in_order:
                ready.append(self._as_they_are(rows.frame))
                continue
            kept, late = split_late(rows)
            if late is not None:
                entry.late += late.rows.frame.height
                out.late.append(late)
            entry.absorbed += kept.frame.height
            self._waiting.add(kept)
        if self._in_order and (released := self._waiting.release(watermark)) is not None:
            entry.absorbed -= released.height
            ready.append(released)
        given = stacked(ready) if ready else None
        if self._process.by_batch:
            if given is not None and given.height:
                self._call_by_batch(given, out)
        else:
            made = self._call_in_order(given, watermark, out)
            out.rows += made
        self._states.forget(watermark)
        return out

    def due(self, watermark: int) -> bool:
        timer = self._states.next_timer()
        return self._waiting.due(watermark) or (timer is not None and timer <= watermark)

    def held(self) -> int:
        return self._waiting.held()

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        yield from self._waiting.snapshot()
        yield from self._states.snapshot()

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._waiting.restore(frames)
        self._states.restore(frames)

    def _as_they_are(self, frame: pl.DataFrame) -> pl.DataFrame:
        hidden = [TIME] if TIME in frame.columns else []
        return frame.select(*self._columns, *hidden)

    # ------------------------------------------------------------------ row by row

    def _call_in_order(self, given: pl.DataFrame | None, watermark: int, out: Output) -> list[Rows]:
        made: list[dict[str, Any]] = []
        times: list[int] = []
        bad: list[RejectedRow] = []
        for at_us, rows in self._calls(given, bad, out):
            made += rows
            times += [at_us] * len(rows)
        self.entry.rejected += len(bad)
        self.entry.passed += (0 if given is None else given.height) - len(bad)
        for at_us, rows in self._timers(watermark, out):
            made += rows
            times += [at_us] * len(rows)
        result, result_times, wrong = self._conformed(made, times)
        out.rejected += [*bad, *wrong]
        if result is None or not result.height:
            return []
        if not self.node.timed:
            return [Rows(result)]
        frame = result.hstack([pl.Series(TIME, result_times, pl.Int64)])
        return [Rows(frame, min(result_times), max(result_times))]

    def _calls(
        self, given: pl.DataFrame | None, bad: list[RejectedRow], out: Output
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Call the function with each row, after the timers before it; give the time of each call and what came out."""
        if given is None:
            return
        unfit = unfit_for_python(given)
        keys = [given.columns.index(name) for name in self._process.keys]
        times = given.get_column(TIME).to_list() if TIME in given.columns else [0] * given.height
        shown = visible(given)
        for number, at_us in enumerate(times):
            if self._in_order:
                yield from self._timers(at_us, out)
            if number in unfit:
                bad.append(unfit[number])
                continue
            values = shown.row(number)
            kept = self._states.of(tuple(values[key] for key in keys), at_us)
            call = partial(self._rows_of, dict(zip(self._columns, values, strict=True)))
            try:
                rows = self._states.called(kept, at_us, call)
            except Exception as error:  # the user's code may raise anything; the row is rejected with it
                whole = given[number : number + 1]
                bad.append(RejectedRow(_place(kept), described(error), whole, None, traced(error)))
                continue
            yield at_us, rows

    def _rows_of(self, row: dict[str, Any], state: Any, timers: Timers) -> list[dict[str, Any]]:
        return [as_dict(made) for made in self._process.function(row, state, timers)]

    def _timers(self, until_us: int, out: Output) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for calls, (at_us, kept) in enumerate(self._states.due(until_us)):
            if until_us == ALWAYS and calls >= _MOST_AFTER_THE_END:
                raise FunctionError(
                    "on_timer sets a timer whenever it is called, so it would be called for ever now that the input is "
                    "complete; let it set one only while its state waits for something"
                )
            yield at_us, self._on_timer(at_us, kept, out)

    def _on_timer(self, at_us: int, kept: Kept, out: Output) -> list[dict[str, Any]]:
        function = self._process.on_timer
        if function is None:
            raise FunctionError(f"{self._name} set a timer, and process(…) has no on_timer= to call")

        def call(state: Any, timers: Timers) -> list[dict[str, Any]]:
            return [as_dict(made) for made in function(timers.now, state, timers)]

        try:
            return self._states.called(kept, at_us, call)
        except Exception as error:  # as above; no row is at fault, so the key is told
            row = pl.DataFrame([list(kept.values)], schema=list(self._process.keys), orient="row")
            out.rejected.append(RejectedRow(f"timer of {_place(kept)}", described(error), row, None, traced(error)))
            return []

    def _conformed(
        self, made: list[dict[str, Any]], times: list[int]
    ) -> tuple[pl.DataFrame | None, list[int], list[RejectedRow]]:
        """Return what was made as a frame, with times, without the rows that do not fit the schema."""
        bad: list[RejectedRow] = []
        while made:
            decoded = decode_rows(made, self.node.schema, str)
            wrong = {int(row.place): (row.reason, row.column) for row in decoded.rejected}
            if not wrong:
                conformed = self._conformer.conform(decoded.data)
                wrong = {row.row: (row.reason, row.column) for row in conformed.bad}
                if not wrong:
                    return to_frame(conformed.data), times, bad
            for number, (reason, column) in wrong.items():
                told = f"what {self._name} gave does not fit its schema: {reason}"
                bad.append(RejectedRow("", told, repr(made[number]).encode(), column))
            kept = [number for number in range(len(made)) if number not in wrong]
            made, times = [made[number] for number in kept], [times[number] for number in kept]
        return None, [], bad

    # ------------------------------------------------------------------ by batch

    def _call_by_batch(self, given: pl.DataFrame, out: Output) -> None:
        """Call the function with all rows and the states of their keys.

        Raises:
            FunctionError: It raised, or gave something else than rows and states: no single row is at fault.
        """
        process = self._process
        keys = given.select(process.keys).unique(maintain_order=True)
        last = (
            given.group_by(process.keys, maintain_order=True).agg(pl.col(TIME).max()) if TIME in given.columns else None
        )
        last_us = last.get_column(TIME).to_list() if last is not None else [0] * keys.height
        states = self._states.table(keys)
        names = [name for name in states.columns if name not in process.keys]
        rows = to_table(visible(given), process.input.schema.arrow)
        try:
            result, new = process.function(rows, states.to_arrow(compat_level=pl.CompatLevel.oldest()))
        except Exception as error:
            raise FunctionError(f"{self._name} raised on {given.height} rows: {described(error)}") from error
        told = f"{self._name} gives two Arrow tables: the new rows, and the states of the keys as it was given them"
        if not (isinstance(result, pa.Table) and isinstance(new, pa.Table)):
            raise FunctionError(f"{told}; it gave {type(result).__name__} and {type(new).__name__}")
        if new.num_rows != states.height or not set(states.columns) <= set(new.column_names):
            raise FunctionError(f"{told}; it gave {new.num_rows} states of {states.height} keys ({new.column_names})")
        after = to_frame(new)
        self._states.put(after.select(process.keys), after.select(names).to_dicts(), last_us)
        batch = result.combine_chunks().to_batches()
        conformed = self._conformer.conform(batch[0] if batch else pa.RecordBatch.from_pylist([], result.schema))
        for row in conformed.bad:
            out.rejected.append(
                RejectedRow("", f"what {self._name} gave does not fit its schema: {row.reason}", b"", row.column)
            )
        self.entry.passed += given.height
        if conformed.data.num_rows:
            out.rows.append(Rows(to_frame(conformed.data)))

    @property
    def _name(self) -> str:
        return getattr(self._process.function, "__name__", repr(self._process.function))


def _place(kept: Kept) -> str:
    return f"key {', '.join('null' if value is None else str(value) for value in kept.values)}"
