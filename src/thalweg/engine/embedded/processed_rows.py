"""A user's function with a state per key, called with each row and each timer, in the order of time.

    rows at       1   3        7           12
    timer at             5           10
    calls         1   3  5     7     10    12      once the watermark is past each

A timer comes before the rows of its own time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from thalweg.columnar.frames import to_frame
from thalweg.core.errors import FunctionError
from thalweg.core.python_rows import decode_rows
from thalweg.engine.embedded.keyed_state import Kept, Key, KeyedStates, Timers
from thalweg.engine.embedded.processed import Processed
from thalweg.engine.embedded.rows import ALWAYS, TIME, Rows, visible
from thalweg.engine.embedded.stage import Output, RejectedRow, described, traced, unfit_for_python
from thalweg.plan.nodes import Process

MOST_AFTER_THE_END: Final = 10_000
"""How many timers of a key are called once the input is complete: one that sets the next would go on for ever."""


class ProcessedRows(Processed):
    """``process``: a call for each row and each timer."""

    def __init__(self, node: Process, name: str) -> None:
        super().__init__(node, name)
        self._states = KeyedStates(node)
        self._keys = [node.input.schema.names.index(key) for key in node.keys]

    def due(self, watermark: int) -> bool:
        timer = self._states.next_timer()
        return super().due(watermark) or (timer is not None and timer <= watermark)

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        yield from self._waiting.snapshot()
        yield from self._states.snapshot()

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._waiting.restore(frames)
        self._states.restore(frames)

    def _handled(self, given: pl.DataFrame | None, watermark: int, out: Output) -> int:
        made: list[dict[str, Any]] = []
        times: list[int] = []
        bad = self._rows(given, made, times, out) if given is not None else 0
        self._timers(watermark, made, times, out)
        self._states.forget(watermark)
        result, times = self._conformed(made, times, out)
        if result is not None and self.node.timed:
            frame = result.hstack([pl.Series(TIME, times, pl.Int64)])
            out.rows.append(Rows(frame, min(times), max(times)))
        elif result is not None:
            out.rows.append(Rows(result))
        return bad

    def _rows(self, given: pl.DataFrame, made: list[dict[str, Any]], times: list[int], out: Output) -> int:
        """Call the function with each row, after the timers before it; return how many rows were rejected."""
        states, function, columns = self._states, self._process.function, self._columns
        unfit = unfit_for_python(given)
        at = given.get_column(TIME).to_list() if TIME in given.columns else [0] * given.height
        bad = 0
        in_order = self._in_order and self._process.on_timer is not None
        for number, (at_us, values) in enumerate(zip(at, visible(given).iter_rows(), strict=True)):
            if in_order and (timer := states.next_timer()) is not None and timer <= at_us:
                self._timers(at_us, made, times, out)
            if number in unfit:
                out.rejected.append(unfit[number])
                bad += 1
                continue
            kept = states.of(values, at_us)
            try:
                rows = states.called(kept, at_us, function, dict(zip(columns, values, strict=True)))
            except FunctionError:
                raise
            except Exception as error:  # the user's code may raise anything; the row is rejected with it
                whole = given[number : number + 1]
                out.rejected.append(RejectedRow(_place(kept), described(error), whole, None, traced(error)))
                bad += 1
                continue
            if rows:
                made += rows
                times += [at_us] * len(rows)
        return bad

    def _timers(self, until_us: int, made: list[dict[str, Any]], times: list[int], out: Output) -> None:
        """Call ``on_timer`` for the timers up to a time.

        Raises:
            FunctionError: It sets timers for ever, though the input is complete.
        """
        calls: Counter[Key] = Counter()
        for at_us, kept in self._states.due(until_us):
            if until_us == ALWAYS:
                calls[kept.key] += 1
                if calls[kept.key] > MOST_AFTER_THE_END:
                    raise FunctionError(
                        f"on_timer of {self._name} was called {MOST_AFTER_THE_END} times for {_place(kept)} after the "
                        "end of the input, and has set a timer again; let it set one only while its state waits for "
                        "something"
                    )
            rows = self._on_timer(at_us, kept, out)
            made += rows
            times += [at_us] * len(rows)

    def _on_timer(self, at_us: int, kept: Kept, out: Output) -> list[dict[str, Any]]:
        function = self._process.on_timer
        assert function is not None, "no timer is set where there is nothing to call"
        on_timer = function

        def call(_: object, state: Any, timers: Timers) -> Any:
            return on_timer(timers.now, state, timers)

        try:
            return self._states.called(kept, at_us, call, None, of_timer=True)
        except Exception as error:  # as above; no row is at fault, so the key is told
            columns = [self._process.input.schema.names[key] for key in self._keys]
            row = pl.DataFrame([[*kept.values, at_us]], schema=[*columns, TIME], orient="row")
            out.rejected.append(RejectedRow(f"timer of {_place(kept)}", described(error), row, None, traced(error)))
            return []

    def _conformed(
        self, made: list[dict[str, Any]], times: list[int], out: Output
    ) -> tuple[pl.DataFrame | None, list[int]]:
        """Return what was made as a frame, with times, without the rows that do not fit the schema."""
        while made:
            decoded = decode_rows(made, self.node.schema, str)
            wrong = {int(row.place): (row.reason, row.column) for row in decoded.rejected}
            if not wrong:
                conformed = self._conformer.conform(decoded.data)
                wrong = {row.row: (row.reason, row.column) for row in conformed.bad}
                if not wrong:
                    return to_frame(conformed.data), times
            out.rejected += [self._unfit(reason, column, made[row]) for row, (reason, column) in wrong.items()]
            kept = [number for number in range(len(made)) if number not in wrong]
            made, times = [made[number] for number in kept], [times[number] for number in kept]
        return None, []


def _place(kept: Kept) -> str:
    return f"key {', '.join('null' if value is None else str(value) for value in kept.values)}"
