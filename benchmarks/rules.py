"""Five rules of a schema checked on events, a hundredth of which break one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import pyarrow as pa
from annotated_types import Ge, Le, MaxLen, MinLen, MultipleOf

from benchmarks.outcome import Benchmark, WrongAnswerError
from thalweg.columnar.conform import Conformer
from thalweg.core.ports import Json
from thalweg.core.schema import schema_of

TARGET_M_ROWS_S = 2.0
STEP_ROWS = 100_000


class Event:
    """What an event must be."""

    user: Annotated[str, MinLen(1), MaxLen(20)]
    price: Annotated[float, Ge(0)]
    percent: Annotated[int, Le(100)]
    amount: Annotated[int, MultipleOf(5)]


@dataclass(frozen=True, slots=True)
class RuleSpeed:
    """How fast rows were checked.

    Attributes:
        rows: Rows of one round.
        broken: How many of them broke a rule.
        seconds: Each round's time.
    """

    rows: int
    broken: int
    seconds: tuple[float, ...]

    @property
    def m_rows_s(self) -> float:
        """The median speed in million rows a second."""
        return self.rows / statistics.median(self.seconds) / 1e6

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.m_rows_s >= TARGET_M_ROWS_S

    def lines(self) -> Sequence[str]:
        low, high = self.rows / max(self.seconds) / 1e6, self.rows / min(self.seconds) / 1e6
        return [
            f"five rules checked on {self.rows:,} rows in steps of {STEP_ROWS:,}; {self.broken:,} break one",
            f"  {self.m_rows_s:.2f} M rows/s ({low:.2f} to {high:.2f}), target ≥ {TARGET_M_ROWS_S:g}: "
            f"{'met' if self.met else 'MISSED'}",
        ]

    def record(self) -> dict[str, Json]:
        return {
            "name": "rules",
            "rows": self.rows,
            "broken": self.broken,
            "seconds": list(self.seconds),
            "m_rows_s": self.m_rows_s,
            "target_m_rows_s": TARGET_M_ROWS_S,
            "met": self.met,
        }


def measure(steps: int, rounds: int) -> Iterator[RuleSpeed]:
    """Check the same rows several times; each time the rows that were made to break a rule must be found."""
    # One row of a hundred breaks one of the five rules in turn.
    broken = {number * 100: number % 5 for number in range(STEP_ROWS // 100)}
    batch = pa.record_batch(
        {
            "user": [("", "u" * 21)[rule] if (rule := broken.get(n, 9)) < 2 else f"user {n}" for n in range(STEP_ROWS)],
            "price": [-1.0 if broken.get(n) == 2 else n / 7 for n in range(STEP_ROWS)],
            "percent": [101 if broken.get(n) == 3 else n % 101 for n in range(STEP_ROWS)],
            "amount": [n * 5 + (broken.get(n) == 4) for n in range(STEP_ROWS)],
        }
    )
    columns = ("user", "user", "price", "percent", "amount")
    conformer = Conformer(schema_of(Event))
    seconds = []
    for turn in range(rounds + 1):
        began = time.perf_counter()
        found = [conformer.conform(batch) for _ in range(steps)]
        took = time.perf_counter() - began
        for one in found:
            if {bad.row: bad.column for bad in one.bad} != {row: columns[rule] for row, rule in broken.items()}:
                raise WrongAnswerError("other rows were found to break a rule than do")
            if one.data.num_rows != STEP_ROWS - len(broken):
                raise WrongAnswerError(f"{one.data.num_rows} rows were passed on")
        if turn:
            seconds.append(took)
    yield RuleSpeed(steps * STEP_ROWS, steps * len(broken), tuple(seconds))


BENCHMARK = Benchmark(
    "rules",
    "five rules of a schema checked, the rows that break one told apart",
    full=lambda: measure(20, 7),
    quick=lambda: measure(5, 3),
)
