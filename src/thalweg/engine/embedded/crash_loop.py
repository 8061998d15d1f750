"""A run that fails again and again at the same place is not started for ever: it is noted, and then refused.

checkpoint 7 ──▶ rows ──▶ ✗        noted: checkpoint 7, error, rows
checkpoint 7 ──▶ rows ──▶ ✗        … and so on; the fifth time it is refused
checkpoint 7 ──▶ rows ──▶ checkpoint 8: it got past, so what was noted at 7 is history
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import polars as pl

from thalweg.core.clock import Clock
from thalweg.core.errors import FunctionError, LedgerError, StateError, ThalwegError
from thalweg.core.outage import passes
from thalweg.engine.embedded.intake import Intake
from thalweg.state.crashes import (
    CRASHES,
    Crash,
    Crashes,
    forget_crashes,
    in_flight,
    note_in_flight,
    read_crashes,
    write_crashes,
)
from thalweg.state.store import StateStore

MOST_CRASHES: Final = 5
"""So many failures in a row at the same checkpoint, and the run is not started again."""
CAREFUL_ROWS: Final = 1_024
"""Rows that a step takes from a partition after a failure, so that few are under suspicion."""
_KILLED: Final = "the process died within a step: a function of the program ended it, or it was killed"
_KEPT: Final = 20_000
"""Characters of a traceback that are kept."""


@dataclass(frozen=True, slots=True)
class Past:
    """What a run goes on from.

    Attributes:
        store: The state.
        prints: The fingerprints of the program's steps: a changed program begins anew.
        epoch: The last checkpoint.
        ignored: Whether earlier failures do not count.
    """

    store: StateStore
    prints: Iterable[str]
    epoch: int
    ignored: bool = False


class CrashLoop:
    """Notes how the runs on a state end, and refuses one that would fail again; without a state it does nothing.

    Args:
        clock: Where time comes from.

    Attributes:
        careful: Whether an earlier run failed since the last checkpoint: steps are small and say what they process.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._store: StateStore | None = None
        self._program = ""
        self._epoch = 0
        self._before: dict[str, object] = {}
        self._cut: dict[str, object] = {}
        self._crashes: list[Crash] = []
        self.careful = False

    def begin(self, past: Past, intakes: Sequence[Intake]) -> None:
        """Look at how earlier runs ended, and note that this one has begun.

        Raises:
            StateError: They failed too often.
        """
        store, directory, self._epoch = past.store, past.store.directory, past.epoch
        self._program = hashlib.sha256("".join(sorted(past.prints)).encode()).hexdigest()
        noted = read_crashes(store)
        if noted is not None and noted.program == self._program and not past.ignored:
            self._crashes = noted.at(past.epoch)
            died = in_flight(directory) if noted.running else {}
            if died:
                self._crashes.append(Crash(past.epoch, self._clock.now_us(), _KILLED, "", died))
            # A run that did not say how it ended may have died of its rows; the next time it is known of which.
            self.careful = bool(self._crashes) or noted.running
        note_in_flight(directory, {})
        refused = len(self._crashes) >= MOST_CRASHES
        write_crashes(store, Crashes(self._program, self._crashes, running=not refused))
        if refused:
            raise StateError(
                f"the run failed {len(self._crashes)} times in a row at checkpoint {past.epoch} and got no further, so "
                f"it is not started again. The last time: {self._crashes[-1].text()}. {directory / CRASHES} has each "
                "of them with its traceback. Mend the program (a changed one is started) or the rows, or start it once "
                "more with ignore_crash_loop=True (--ignore-crash-loop)"
            )
        self._store = store
        self._before = _positions(intakes)

    def cut(self, intakes: Sequence[Intake]) -> None:
        """Say that a checkpoint is made of the state as it is now."""
        self._cut = _positions(intakes)

    def advanced(self, epoch: int) -> None:
        """Say that it is committed: what failed before it is behind."""
        self._crashes, self.careful, self._epoch = [], False, epoch
        self._before = self._cut

    @contextmanager
    def step(self, intakes: Sequence[Intake]) -> Iterator[None]:
        """Process the rows read since the last step; after a failure it is noted which, in case the process dies."""
        if not self.careful or self._store is None:
            yield
            return
        note_in_flight(self._store.directory, self._spans(intakes))
        yield
        note_in_flight(self._store.directory, {})
        self._before = _positions(intakes)

    def failed(self, error: BaseException, intakes: Sequence[Intake]) -> None:
        """Note how the run failed, if that is its own fault."""
        if self._store is None:
            return
        if is_crash(error):
            trace = "".join(traceback.format_exception(error))[-_KEPT:]
            what = f"{type(error).__name__}: {error}"
            self._crashes.append(Crash(self._epoch, self._clock.now_us(), what, trace, self._spans(intakes)))
        write_crashes(self._store, Crashes(self._program, self._crashes))

    def ended(self) -> None:
        """Say that the run ended as it should."""
        if self._store is not None:
            forget_crashes(self._store)

    def _spans(self, intakes: Sequence[Intake]) -> dict[str, str]:
        now = _positions(intakes)
        return {
            name: f"from {_shown(self._before.get(name))} to {_shown(position)}"
            for name, position in now.items()
            if position != self._before.get(name)
        }


def is_crash(error: BaseException) -> bool:
    """Tell whether a failure is the program's (or Thalweg's) own, so that the same rows give it again.

    What is outside (a source, a sink, a disk, an operator who stops the run) can be mended without either, and
    a start afterwards must not be refused.
    """
    if isinstance(error, (FunctionError, LedgerError, SystemExit, pl.exceptions.PanicException)):
        return True
    return isinstance(error, Exception) and not isinstance(error, ThalwegError) and not passes(error)


def _positions(intakes: Sequence[Intake]) -> dict[str, object]:
    return {
        f"{intake.read.source.name}[{partition.name}]": partition.position
        for intake in intakes
        for partition in list(intake.partitions.values())
    }


def _shown(position: object) -> str:
    """Return a position for people: of one that has parts, those that say something."""
    if isinstance(position, dict):
        return ", ".join(f"{name} {part}" for name, part in position.items() if part and isinstance(part, (str, int)))
    return "the beginning" if position is None else str(position)
