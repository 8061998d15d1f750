"""State beyond its memory budget: what it takes of the memory, and how much slower it is than in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.outcome import ROOT, Benchmark
from thalweg.core.ports import Json
from thalweg.core.sizes import size_bytes

OVER: Final = 1.5
"""The anonymous memory over the idle engine's, as a part of the budget, that is aimed at."""
SPEED: Final = 0.3
"""The rate, as a part of that in memory, that is aimed at."""


@dataclass(frozen=True, slots=True)
class LargeState:
    """A run within a budget beside one without.

    Attributes:
        keys: How many keys it had.
        rows: How many rows it read.
        budget_bytes: The budget.
        seconds: How long it took within the budget.
        free_s: How long it took without.
        idle_bytes: Anonymous memory of the idle engine.
        most_bytes: The most within the budget.
        free_bytes: The most without.
    """

    keys: int
    rows: int
    budget_bytes: int
    seconds: float
    free_s: float
    idle_bytes: int
    most_bytes: int
    free_bytes: int

    @property
    def over(self) -> float:
        """The memory over the idle engine's, as a part of the budget."""
        return (self.most_bytes - self.idle_bytes) / self.budget_bytes

    @property
    def ratio(self) -> float:
        """The rate as a part of that in memory."""
        return self.free_s / self.seconds

    @property
    def met(self) -> bool:
        """Whether both targets are reached."""
        return self.over <= OVER and self.ratio >= SPEED

    def lines(self) -> Sequence[str]:
        mib, millions = 2**20, self.rows / 1e6
        return [
            f"count and sum of {self.keys / 1e6:g} M keys, {millions:g} M rows, each run in a process of its own",
            f"  in memory        {millions / self.free_s:7.2f} M rows/s, {self.free_bytes / mib:.0f} MiB anonymous",
            f"  within {self.budget_bytes / mib:.0f} MiB   {millions / self.seconds:7.2f} M rows/s, "
            f"{self.most_bytes / mib:.0f} MiB anonymous, {self.idle_bytes / mib:.0f} MiB of them idle",
            f"  memory {self.over:.2f} × the budget, target ≤ {OVER}; rate {self.ratio:.2f} × in memory, "
            f"target ≥ {SPEED}: {'met' if self.met else 'MISSED'}",
        ]

    def record(self) -> dict[str, Json]:
        return {
            "name": "state",
            "keys": self.keys,
            "rows": self.rows,
            "budget_bytes": self.budget_bytes,
            "seconds": self.seconds,
            "free_seconds": self.free_s,
            "idle_bytes": self.idle_bytes,
            "most_bytes": self.most_bytes,
            "free_bytes": self.free_bytes,
            "over": self.over,
            "ratio": self.ratio,
            "met": self.met,
        }


def measure(keys: int, budget: str) -> Iterator[LargeState]:
    """Run with and without a budget; each key comes twice."""
    rows = 2 * keys
    free, bound = _counted(keys, rows), _counted(keys, rows, budget)
    yield LargeState(
        keys,
        rows,
        size_bytes(budget, "budget"),
        bound["seconds"],
        free["seconds"],
        int(bound["idle"]),
        int(bound["most"]),
        int(free["most"]),
    )


def _counted(keys: int, rows: int, *budget: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.large_state", str(keys), str(rows), *budget]
    got: dict[str, float] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    )
    return got


BENCHMARK = Benchmark(
    "state",
    "the state of 20 M keys within a budget of 256 MiB",
    full=lambda: measure(20_000_000, "256MiB"),
    quick=lambda: measure(3_000_000, "64MiB"),
)
