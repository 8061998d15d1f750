"""Rejected rows that are sent again: they enter the step that rejected them.

To the rest of the plan they are rows of one more partition that was found late: they hold nothing up, and
for windows that have closed they are late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import to_frame
from thalweg.log import Log
from thalweg.log import Topic as LogTopic

PARTITION: Final = "redriven"
"""The name of the partition that such rows are of."""

_MOST_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Sent:
    """Rows that are sent again to one step, all encoded the same way.

    Attributes:
        step: The step's name.
        encoding: ``received`` or ``arrow``.
        rows: The rows' bytes.
        times: Their event times, microseconds since 1970; None where it is not known.
        errors: Their offsets in the topic of errors.
    """

    step: str
    encoding: str
    rows: Sequence[bytes]
    times: Sequence[int | None]
    errors: Sequence[int]

    def place(self, row: int) -> str:
        """Return where a row came from, for people."""
        return f"errors:{self.errors[row]}"

    def frames(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """Return each row as a frame, with its number."""
        for number, data in enumerate(self.rows):
            with pa.ipc.open_stream(data) as reader:
                yield number, to_frame(reader.read_all())


class Redriven:
    """The topic of rows that an app is sent again.

    Attributes:
        offset: Up to where they were taken.
    """

    def __init__(self, log: Path, app: str, offset: int) -> None:
        self._log = Log(log)
        self._name = f"{app}.redrive"
        self._topic: LogTopic | None = None
        self.offset = offset

    def take(self) -> list[Sent]:
        """Return the rows that came since the last call, in their order; at most some thousands."""
        if self._topic is None:
            if self._name not in self._log.topics():
                return []
            self._topic = self._log.topic(self._name)
        if self.offset >= self._topic.end():
            return []
        table = self._topic.read(offset=self.offset, limit=_MOST_ROWS)
        self.offset += table.num_rows
        columns = [table[name].to_pylist() for name in ("step", "encoding", "row", "error")]
        times = table["time"].cast(pa.int64()).to_pylist()
        rows: list[tuple[Any, ...]] = list(zip(*columns, times, strict=True))
        return [
            Sent(step, encoding, *_columns([(row[2], row[4], row[3]) for row in group]))
            for (step, encoding), group in groupby(rows, key=lambda row: (row[0], row[1]))
        ]


def _columns(rows: Sequence[tuple[bytes, int | None, int]]) -> tuple[list[bytes], list[int | None], list[int]]:
    return [row for row, _, _ in rows], [time for _, time, _ in rows], [error for _, _, error in rows]
