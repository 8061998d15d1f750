"""Reading a topic from memory that the system keeps of its files, every checksum verified."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from benchmarks.log_append import BATCH_ROWS, SCHEMA, events
from benchmarks.outcome import ROOT, Benchmark, WrongAnswerError
from thalweg.core.ports import Json
from thalweg.log import Log

TARGET_GB_S = 2.0


@dataclass(frozen=True, slots=True)
class ReadSpeed:
    """How fast a topic was read.

    Attributes:
        rows: Rows of one round.
        bytes: Bytes of these rows.
        seconds: Each round's time.
    """

    rows: int
    bytes: int
    seconds: tuple[float, ...]

    @property
    def gb_s(self) -> float:
        """The median speed in 10⁹ bytes a second."""
        return self.bytes / statistics.median(self.seconds) / 1e9

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.gb_s >= TARGET_GB_S

    def lines(self) -> Sequence[str]:
        low, high = self.bytes / max(self.seconds) / 1e9, self.bytes / min(self.seconds) / 1e9
        return [
            f"reading {self.rows:,} events of a topic, {self.bytes / 1e6:.0f} MB, checksums verified",
            f"  {self.gb_s:.2f} GB/s ({low:.2f} to {high:.2f}), target ≥ {TARGET_GB_S:g}: "
            f"{'met' if self.met else 'MISSED'}",
        ]

    def record(self) -> dict[str, Json]:
        return {
            "name": "log_read",
            "rows": self.rows,
            "bytes": self.bytes,
            "seconds": list(self.seconds),
            "gb_s": self.gb_s,
            "target_gb_s": TARGET_GB_S,
            "met": self.met,
        }


def measure(batches: int, rounds: int) -> Iterator[ReadSpeed]:
    """Append, then read several times; each time all rows must come, in order."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as folder:
        topic = Log(folder).create("events", SCHEMA)
        for n in range(batches):
            topic.append(events(n * BATCH_ROWS, BATCH_ROWS))
        size = 0
        seconds = []
        for turn in range(rounds + 1):
            found = []
            began = time.perf_counter()
            with topic.reader() as reader:
                while (batch := reader.read(BATCH_ROWS)) is not None:
                    found.append(batch)
            took = time.perf_counter() - began
            size = sum(batch.nbytes for batch in found)
            first = 0
            for batch in found:
                span = pc.min_max(batch["id"]).as_py()
                if span != {"min": first, "max": first + batch.num_rows - 1}:
                    raise WrongAnswerError(f"from offset {first} on other events came than were appended")
                first += batch.num_rows
            if first != batches * BATCH_ROWS:
                raise WrongAnswerError(f"{first} events came where {batches * BATCH_ROWS} were appended")
            if turn:
                seconds.append(took)
    yield ReadSpeed(batches * BATCH_ROWS, size, tuple(seconds))


BENCHMARK = Benchmark(
    "log_read",
    "reading a topic from the page cache, every checksum verified",
    full=lambda: measure(30, 9),
    quick=lambda: measure(10, 5),
)
