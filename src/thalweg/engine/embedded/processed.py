"""User functions with a state per key: rows that wait for the watermark, then come in the order of time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import polars as pl

from thalweg.columnar.conform import Conformer
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.rows import TIME, Rows
from thalweg.engine.embedded.stage import Output, RejectedRow, Stage
from thalweg.engine.embedded.waiting import EACH_ROW, Waiting, split_behind
from thalweg.plan.nodes import Process


class Processed(Stage):
    """``process``: takes rows, and has them handled when it is their turn.

    In the ledger a row that waits is absorbed, and released when the function has taken it; one that the function
    rejects is rejected instead.
    """

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
        self._conformer = Conformer(node.schema)

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        given = self._given(inputs, watermark, out)
        bad = self._handled(given, watermark, out)
        done = 0 if given is None else given.height
        entry = self.entry
        entry.rejected += bad
        if self._in_order:
            entry.absorbed -= bad
            entry.released += done - bad
        else:
            entry.passed += done - bad
        return out

    def due(self, watermark: int) -> bool:
        return self._waiting.due(watermark)

    def held(self) -> int:
        return self._waiting.held()

    @abstractmethod
    def _handled(self, given: pl.DataFrame | None, watermark: int, out: Output) -> int:
        """Handle rows in their order, then what the watermark makes due; return how many rows were rejected."""

    def _given(self, inputs: Sequence[Rows], watermark: int, out: Output) -> pl.DataFrame | None:
        """Take rows; return those whose turn it is, in order, with their times if they have any."""
        entry = self.entry
        ready = []
        for rows in inputs:
            entry.rows_in += rows.frame.height
            entry.pairs += rows.frame.height
            if not self._in_order:
                hidden = [TIME] if TIME in rows.frame.columns else []
                ready.append(rows.frame.select(*self._columns, *hidden))
                continue
            kept, late = split_behind(rows, self.watermark)
            if late is not None:
                entry.late += late.rows.frame.height
                out.late.append(late)
            entry.absorbed += kept.frame.height
            self._waiting.add(kept)
        if self._in_order:
            return self._waiting.release(watermark)
        return stacked(ready) if ready else None

    def _unfit(self, reason: str, column: str | None, row: Any) -> RejectedRow:
        """Return a row that the function gave as rejected; it is none that this step could be sent again."""
        told = f"what {self._name} gave does not fit its schema: {reason}"
        return RejectedRow("a row of the result", told, pl.DataFrame({"result": [repr(row)]}), column)

    @property
    def _name(self) -> str:
        return getattr(self._process.function, "__name__", repr(self._process.function))
