"""What a state directory knows of runs that failed on it: enough to see that the same thing fails again and again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from thalweg.state.files import writing
from thalweg.state.store import StateStore

CRASHES: Final = "crashes.json"
_IN_FLIGHT: Final = "in-flight.json"


@dataclass(frozen=True, slots=True)
class Crash:
    """A run that failed.

    Attributes:
        epoch: The last checkpoint at that time.
        at_us: When, in microseconds since 1970.
        error: What it failed with.
        trace: The traceback; empty where the process died without a word.
        rows: By partition, which positions were being processed.
    """

    epoch: int
    at_us: int
    error: str
    trace: str
    rows: Mapping[str, str]

    def text(self) -> str:
        """Return it in one line."""
        places = ", ".join(f"{name} {span}" for name, span in self.rows.items())
        return self.error + (f", while it processed {places}" if places else "")


@dataclass(frozen=True, slots=True)
class Crashes:
    """What is noted.

    Attributes:
        program: The fingerprint of the program that failed.
        crashes: The failures, oldest first.
        running: Whether a run has begun that did not say how it ended.
    """

    program: str
    crashes: Sequence[Crash] = ()
    running: bool = False

    def at(self, epoch: int) -> list[Crash]:
        """Return the failures since a checkpoint: those before it are history, as the run got past them."""
        return [each for each in self.crashes if each.epoch == epoch]


def read_crashes(store: StateStore) -> Crashes | None:
    """Return what is noted; None for nothing.

    Raises:
        StateError: It is damaged.
    """
    body = store.noted(CRASHES)
    if body is None:
        return None
    return Crashes(body["program"], [Crash(**each) for each in body["crashes"]], body["running"])


def write_crashes(store: StateStore, crashes: Crashes) -> None:
    """Note, durably."""
    store.note(CRASHES, asdict(crashes))


def forget_crashes(store: StateStore) -> None:
    """Note that there is nothing to note."""
    for name in (CRASHES, _IN_FLIGHT):
        store.forget(name)


def note_in_flight(directory: Path, rows: Mapping[str, str]) -> None:
    """Say which rows a step is about to process; empty: none. It is for a process that dies, so nothing is synced.

    Raises:
        StateError: It cannot be written.
    """
    path = directory / _IN_FLIGHT
    with writing(path):
        path.write_text(json.dumps(dict(rows)), encoding="utf-8")


def in_flight(directory: Path) -> Mapping[str, str]:
    """Return the rows that the last run was processing when it died; empty for none, or where that is not known."""
    try:
        rows = json.loads((directory / _IN_FLIGHT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # nothing noted, or the machine died while it was
        return {}
    return {str(name): str(span) for name, span in rows.items()} if isinstance(rows, dict) else {}
