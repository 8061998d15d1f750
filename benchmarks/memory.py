"""Memory while many rows stream through: flat, or growing."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.outcome import ROOT, Benchmark, WrongAnswerError
from thalweg.core.ports import Json

GROWTH = 0.1
"""The part of its steady size by which memory may grow over the second half of the run."""
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Memory:
    """The resident memory of a run, in bytes.

    Attributes:
        rows: Rows that were streamed.
        seconds: How long it took.
        start: Before the run, with everything loaded and the source's block made.
        steady: The median over the second half of the rows.
        most: The greatest sample.
        slope: Bytes more for each row, over the second half.
    """

    rows: int
    seconds: float
    start: int
    steady: int
    most: int
    slope: float

    @property
    def growth(self) -> float:
        """The part of its steady size by which memory grew over the second half."""
        return self.slope * self.rows / 2 / self.steady

    @property
    def met(self) -> bool:
        """Whether memory is flat."""
        return self.growth <= GROWTH

    def lines(self) -> Sequence[str]:
        return [
            f"memory of tumbling 1 m, default steps, {self.rows} rows in a process of its own",
            f"  {self.rows / self.seconds / 1e6:.2f} M rows/s; start {self.start / _MB:.0f} MB, "
            f"steady {self.steady / _MB:.0f} MB, max {self.most / _MB:.0f} MB",
            f"  slope {self.slope * 1e6 / _MB:+.3f} MB per M rows, {self.growth:+.1%} over the second half, "
            f"target ≤ {GROWTH:.0%}: {'met' if self.met else 'MISSED'}",
        ]

    def record(self) -> dict[str, Json]:
        return {
            "name": "memory",
            "rows": self.rows,
            "seconds": self.seconds,
            "start_bytes": self.start,
            "steady_bytes": self.steady,
            "max_bytes": self.most,
            "slope_bytes_per_row": self.slope,
            "growth": self.growth,
            "target_growth": GROWTH,
            "met": self.met,
        }


def measure(rows: int) -> Iterator[Memory]:
    """Stream so many rows in a process of its own.

    Raises:
        WrongAnswerError: The windows did not count every row.
    """
    command = [sys.executable, "-m", "benchmarks.endless", str(rows)]
    got = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout)
    yield memory_of(rows, got["counted"], got["seconds"], [(read, resident) for read, resident in got["samples"]])


def memory_of(rows: int, counted: int, seconds: float, samples: Sequence[tuple[int, int]]) -> Memory:
    """Return what samples of rows read and bytes resident say.

    Raises:
        WrongAnswerError: Not every row was counted, or there are too few samples to say anything.
    """
    if counted != rows:
        raise WrongAnswerError(f"the windows counted {counted} of {rows} rows")
    later = [(read, resident) for read, resident in samples if read >= rows / 2]
    if len(later) < 3:
        raise WrongAnswerError(f"{len(later)} samples in the second half of the run; stream more rows")
    resident = [size for _, size in samples]
    steady = int(statistics.median(size for _, size in later))
    slope = statistics.linear_regression([read for read, _ in later], [size for _, size in later]).slope
    return Memory(rows, seconds, resident[0], steady, max(resident), slope)


BENCHMARK = Benchmark(
    "memory",
    "resident memory while 100 M rows stream through",
    full=lambda: measure(100_000_000),
    quick=lambda: measure(10_000_000),
)
