"""Rejected rows that are sent again: they enter the step that rejected them.

To the rest of the plan they are rows of one more partition that was found late: they hold nothing up, and
for windows that have closed they are late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import empty_frame, to_frame
from thalweg.core.errors import near
from thalweg.core.ports import Redecodes, SourceBatch
from thalweg.engine.embedded.graph import Graph, Vertex
from thalweg.engine.embedded.intake import PARTITION, Intake
from thalweg.engine.embedded.rows import LATE_REASONS, NEVER, ROW, TIME, WATERMARK, WHY, Origin, Rows
from thalweg.engine.embedded.stage import RejectedRow
from thalweg.engine.embedded.taps import Tap
from thalweg.log import Log
from thalweg.log import Topic as LogTopic

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


class Resent:
    """The topic of rows that an app is sent again.

    Args:
        log: The log that it is in.
        topic: Its name.
        offset: Up to where the rows were taken before.

    Attributes:
        offset: Up to where they were taken.
    """

    def __init__(self, log: Path, topic: str, offset: int) -> None:
        self._log = Log(log)
        self._name = topic
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


class Redrive:
    """Brings rows that are sent again to the steps that rejected them.

    Args:
        resent: The rows.
        graph: The plan's steps.
        intakes: The plan's sources, each with its vertex.
        reject: Takes the rows that cannot be given to their step, with the step's name.
    """

    def __init__(
        self,
        resent: Resent,
        graph: Graph,
        intakes: Sequence[tuple[Intake, Vertex]],
        reject: Callable[[str, Sequence[RejectedRow]], None],
    ) -> None:
        self._resent = resent
        self._graph = graph
        self._intakes = {intake.entry.step: (intake, vertex) for intake, vertex in intakes}
        self._vertices = {v.name: v for v in graph.vertices if v.stage is not None and not isinstance(v.stage, Tap)}
        self._reject = reject

    @property
    def offset(self) -> int:
        """Up to where the rows were taken."""
        return self._resent.offset

    def take(self) -> tuple[int, dict[int, list[Rows]]]:
        """Take what was sent since the last call.

        Returns:
            How many rows there were, and those for steps that are not sources, by vertex identity.
        """
        count = 0
        given: dict[int, list[Rows]] = {}
        for sent in self._resent.take():
            count += len(sent.rows)
            if sent.step in self._intakes:
                self._read(*self._intakes[sent.step], sent)
            elif (vertex := self._vertices.get(sent.step)) is not None:
                if (rows := self._rows(vertex, sent)) is not None:
                    given.setdefault(id(vertex), []).append(rows)
            else:
                steps = near(sent.step, [*self._intakes, *self._vertices])
                self._refuse(sent, range(len(sent.rows)), f'the program has no step "{sent.step}" now; {steps}')
        return count, given

    def _read(self, intake: Intake, vertex: Vertex, sent: Sent) -> None:
        source, schema = intake.read.source, intake.read.schema
        if sent.encoding == "arrow":
            batches = [SourceBatch(_batch(frame), None, partial(_at, sent, n)) for n, frame in sent.frames()]
        elif isinstance(source, Redecodes):
            decoded = source.redecode(sent.rows, schema, sent.place)
            # Each row by itself: none makes another one late.
            rows = [(decoded.data.slice(n, 1), decoded.locate(n)) for n in range(decoded.data.num_rows)]
            batches = [SourceBatch(row, None, partial(_fixed, place)) for row, place in rows]
            if decoded.rejected:
                batches.append(SourceBatch(decoded.data.slice(0, 0), None, decoded.locate, decoded.rejected))
        else:
            self._refuse(sent, range(len(sent.rows)), f"{source.describe()} cannot decode single rows again")
            return
        partition = intake.redriven(self._graph.operator_watermark(vertex))
        for batch in batches:
            partition.running_max = NEVER
            intake.offer(partition, batch)

    def _rows(self, vertex: Vertex, sent: Sent) -> Rows | None:
        input_ = vertex.inputs[0].node
        wanted = empty_frame(input_.schema)
        timed = self._graph.time_used_below(vertex)
        frames, numbers = [], []
        for number, frame in sent.frames():
            wrong = None
            if input_.changing:
                wrong = "it is of a changing stream, in which a row alone means nothing"
            elif frame.schema != wanted.schema:
                wrong = f"the step takes ({input_.schema}) and the row is of another kind"
            elif timed and sent.times[number] is None:
                wrong = "its event time is not known"
            if wrong is None:
                frames.append(frame)
                numbers.append(number)
            else:
                self._refuse(sent, [number], f"it cannot be sent again: {wrong}")
        if not frames:
            return None
        frame = pl.concat(frames)
        assert vertex.stage is not None, "sources are read, not given rows"
        vertex.stage.entry.redriven += frame.height
        origin = Origin(lambda row: (PARTITION, sent.place(numbers[row])))
        if not timed:
            return Rows(frame, origin=origin)
        times = pl.Series(TIME, [sent.times[n] for n in numbers], pl.Int64)
        watermark = self._graph.operator_watermark(vertex)
        frame = frame.with_columns(
            times,
            pl.lit(watermark, pl.Int64).alias(WATERMARK),
            pl.lit(LATE_REASONS.index("new"), pl.UInt8).alias(WHY),
            pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW),
        )
        return Rows(frame, int(times.min()), int(times.max()), origin)  # type: ignore[arg-type]  # integers

    def _refuse(self, sent: Sent, rows: Sequence[int], reason: str) -> None:
        if sent.encoding == "arrow":
            frames = dict(sent.frames())
            self._reject(sent.step, [RejectedRow(sent.place(n), reason, frames[n]) for n in rows])
        else:
            self._reject(sent.step, [RejectedRow(sent.place(n), reason, sent.rows[n]) for n in rows])


def _batch(frame: pl.DataFrame) -> pa.RecordBatch:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()[0]


def _at(sent: Sent, number: int, row: int) -> str:
    return sent.place(number)


def _fixed(place: str, row: int) -> str:
    return place


def _columns(rows: Sequence[tuple[bytes, int | None, int]]) -> tuple[list[bytes], list[int | None], list[int]]:
    return [row for row, _, _ in rows], [time for _, time, _ in rows], [error for _, _, error in rows]
