"""What a benchmark is and what comes out of one: figures beside their targets, never without a checked answer."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from thalweg.core.ports import Json

ROOT: Final = Path(__file__).resolve().parent.parent
"""Where ``python -m benchmarks`` works, for processes that a benchmark starts."""


class WrongAnswerError(AssertionError):
    """A run gave other rows than its reference, or gave them only after it had read most of its input."""


class Outcome(Protocol):
    """A measured figure beside its target."""

    def lines(self) -> Sequence[str]:
        """Return the figure for people; the target stands in the last line."""
        ...

    def record(self) -> dict[str, Json]:
        """Return the figure for machines."""
        ...


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Something to measure, in two sizes.

    Attributes:
        name: What it is called on the command line.
        about: What it measures, in one line.
        full: Measures at full size.
        quick: Measures at a size for a look in between.
    """

    name: str
    about: str
    full: Callable[[], Iterable[Outcome]]
    quick: Callable[[], Iterable[Outcome]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How fast Thalweg was beside a reference, in runs that took turns.

    Attributes:
        name: What was compared.
        rows: Rows that one run read.
        own_s: Seconds of each run of Thalweg.
        reference: What it was compared with.
        reference_s: Seconds of each run of the reference; run *i* stood beside run *i* of Thalweg.
        target: The ratio that is aimed at; None where the figure stands for itself.
        note: What else was seen, such as when the first result came.
    """

    name: str
    rows: int
    own_s: tuple[float, ...]
    reference: str
    reference_s: tuple[float, ...]
    target: float | None
    note: str = ""

    @property
    def ratios(self) -> tuple[float, ...]:
        """Thalweg's speed over the reference's, round by round: what slows the machine slows both."""
        return tuple(theirs / ours for ours, theirs in zip(self.own_s, self.reference_s, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.target is None or self.ratio >= self.target

    def lines(self) -> Sequence[str]:
        mark = "met" if self.met else "MISSED"
        aim = "no target" if self.target is None else f"target ≥ {self.target:g}: {mark}"
        lines = [
            self.name,
            f"  thalweg          {_speed(self.rows, self.own_s)}",
            f"  {self.reference:<16} {_speed(self.rows, self.reference_s)}",
        ]
        lines += [f"  {self.note}"] if self.note else []
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        return [*lines, f"  ratio {self.ratio:.2f} ({spread}), {aim}"]

    def record(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "rows": self.rows,
            "seconds": list(self.own_s),
            "reference": self.reference,
            "reference_seconds": list(self.reference_s),
            "ratio": self.ratio,
            "ratios": list(self.ratios),
            "target": self.target,
            "met": self.met,
            "note": self.note,
        }


def _speed(rows: int, seconds: Sequence[float]) -> str:
    middle = statistics.median(seconds)
    low, high = rows / max(seconds) / 1e6, rows / min(seconds) / 1e6
    return f"{rows / middle / 1e6:7.2f} M rows/s ({low:.2f} to {high:.2f}), {middle:.3f} s"
