"""Ends a run as SIGKILL would: at an instant of a checkpoint, between two steps, or by hand."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thalweg.core.instants import INSTANTS, Instant

_OF_OUTPUTS: Final = frozenset[Instant]({"seal", "sealed", "deliver", "delivered"})
_MOST_TIMES: Final = 3
_MOST_READS: Final = 10


class Crashed(BaseException):
    """The process is gone. No ``except Exception`` of a program may take it for an error."""


@dataclass(frozen=True, slots=True)
class Death:
    """When a run dies.

    Attributes:
        instant: The instant of a checkpoint; None: between two steps.
        output: Which output's, where the instant is one of outputs: each has a thread of its own, so only what one
            of them does has an order that a seed repeats.
        times: How often it is reached, up to the death.
        torn: How much of a file that no manifest names yet is left, from 0 to 1: a process may die within a write.
    """

    instant: Instant | None
    output: str | None
    times: int
    torn: float = 1.0

    def __str__(self) -> str:
        """Return when it is, for people."""
        if self.instant is None:
            return f"before read {self.times}"
        of = "" if self.output is None else f" of {self.output}"
        return f'at "{self.instant}"{of}, time {self.times}'


def drawn_death(rng: random.Random, outputs: Sequence[str]) -> Death:
    """Return a death at random, of a run with these outputs."""
    instants = [one for one in INSTANTS if outputs or one not in _OF_OUTPUTS]
    instant = rng.choice([None, None, *instants])
    output = rng.choice(list(outputs)) if instant in _OF_OUTPUTS else None
    times = rng.randint(1, _MOST_READS if instant is None else _MOST_TIMES if output else 2 * _MOST_TIMES)
    return Death(instant, output, times, rng.choice([1.0, 1.0, rng.random()]))


class Fuse:
    """What a run hangs on: when it has blown, the run does nothing any more that lasts.

    Args:
        data: The state directory.
        death: When it blows; None: when ``blow`` is called, or as it is armed.

    Attributes:
        blown: Whether it has.
        sealed: How often rows for an output were sealed since it was armed.
    """

    def __init__(self, data: Path, death: Death | None = None) -> None:
        self.blown = False
        self.sealed = 0
        self._data = data
        self._death = death
        self._times = 0
        self._lock = threading.Lock()

    def arm(self, death: Death) -> None:
        """Say when it blows."""
        with self._lock:
            self._death, self._times, self.sealed = death, 0, 0

    def blow(self) -> None:
        """End the run at the next thing that it does."""
        with self._lock:
            self.blown = True

    def reached(self, instant: Instant | None, what: str = "") -> None:
        """End the run if it is time.

        Raises:
            Crashed: It is, or was before.
        """
        with self._lock:
            death = self._death
            self.sealed += instant == "sealed"
            if not self.blown and death is not None and death.instant == instant and death.output in (None, what):
                self._times += 1
                self.blown = self._times >= death.times
                if self.blown and instant in ("written", "rename"):
                    path = self._data / what
                    _tear(path if instant == "written" else path.with_name(f"_{path.name}"), death.torn)
            if self.blown:
                raise Crashed


def _tear(path: Path, left: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * left)])
