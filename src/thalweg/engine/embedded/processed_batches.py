"""A user's function over all rows that the watermark has passed, and the states of their keys, as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import in_order, to_frame, to_table
from thalweg.core.errors import FunctionError
from thalweg.engine.embedded.processed import Processed
from thalweg.engine.embedded.rows import Rows, visible
from thalweg.engine.embedded.stage import Output, RejectedRow, described, traced
from thalweg.engine.embedded.state_table import StateTable
from thalweg.plan.nodes import Process


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the function gave: rows, and the states of some keys."""

    rows: pa.Table
    states: pl.DataFrame


class ProcessedBatches(Processed):
    """``process(…, by_batch=True)``.

    A call that raises is made again with each half of its rows, until those at fault stand alone.
    """

    def __init__(self, node: Process, name: str) -> None:
        super().__init__(node, name)
        self._states = StateTable(node)
        self._keys = list(node.keys)

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        yield from self._waiting.snapshot()
        yield from self._states.snapshot()

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._waiting.restore(frames)
        self._states.restore(frames)

    def _handled(self, given: pl.DataFrame | None, watermark: int, out: Output) -> int:
        bad = 0
        todo = [given] if given is not None and given.height else []
        while todo:
            part = todo.pop()
            try:
                answers = self._answers(part)
            except FunctionError:
                raise
            except Exception as error:  # the user's code may raise anything; the rows are rejected with it
                if part.height > 1:
                    half = part.height // 2
                    todo += [part[half:], part[:half]]
                    continue
                bad += 1
                place = ", ".join("null" if value is None else str(value) for value in part.select(self._keys).row(0))
                out.rejected.append(RejectedRow(f"key {place}", described(error), part, None, traced(error)))
                continue
            for answer in answers:
                self._states.put(answer.states)
                self._give(answer.rows, out)
        self._states.forget(watermark)
        return bad

    def _answers(self, rows: pl.DataFrame) -> Sequence[_Answer]:
        """Call the function with rows, and with the states of their keys.

        A state that was kept long enough before a row begins anew with it, so that row is for a later call.

        Raises:
            FunctionError: It gave something else than rows and the states of the same keys.
        """
        return [
            self._answer(part, self._states.of(part, anew=number > 0))
            for number, part in enumerate(self._states.lives(rows))
            if part.height
        ]

    def _answer(self, rows: pl.DataFrame, before: pl.DataFrame) -> _Answer:
        shown = to_table(visible(rows), self._process.input.schema.arrow)
        given = self._process.function(shown, to_table(before, self._states.schema.arrow))
        told = f"{self._name} gives two Arrow tables: the new rows, and the states of the keys as it was given them"
        if not (isinstance(given, tuple) and len(given) == 2):
            raise FunctionError(f"{told}; it gave {type(given).__name__}")
        made, states = given
        if not (isinstance(made, pa.Table) and isinstance(states, pa.Table)):
            raise FunctionError(f"{told}; it gave {type(made).__name__} and {type(states).__name__}")
        after = self._states.stamped(self._states.conformed(states, told), before)
        if after is None:
            raise FunctionError(
                f"{told}; it gave {states.num_rows} states that are not of the same {before.height} keys"
            )
        return _Answer(made, after)

    def _give(self, made: pa.Table, out: Output) -> None:
        batch = made.combine_chunks().to_batches()
        if not batch:
            return
        conformed = self._conformer.conform(batch[0])
        for row in conformed.bad:
            out.rejected.append(self._unfit(row.reason, row.column, batch[0].slice(row.row, 1).to_pylist()[0]))
        if conformed.data.num_rows:
            out.rows.append(Rows(in_order(to_frame(conformed.data), list(self.node.schema.names))))
