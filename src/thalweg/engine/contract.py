"""What every engine does: run a plan, tell how it goes, report what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import pyarrow as pa

from thalweg.core.clock import Clock, SystemClock
from thalweg.core.errors import PlanError, near
from thalweg.core.instants import Reached, goes_on
from thalweg.core.outage import Outage
from thalweg.core.version import FIRST
from thalweg.plan.delivery import Guarantee
from thalweg.plan.nodes import Plan

Until: TypeAlias = Literal["caught-up", "end"]
Pick: TypeAlias = Callable[[Sequence[str]], Sequence[tuple[str, int]]]
"""Chooses, of partitions named ``read/partition``, which to read in a step and how many rows of each."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a plan is run.

    Attributes:
        data: The directory that keeps the state; None keeps none.
        log: The embedded log that gets late and rejected rows, where there is state; ``log`` within it by default.
        until: When to stop: at what is there now, at the end of the input, or (None) when told to.
        max_step_rows: The most rows that one step takes from each partition.
        memory_bytes: What state may take of the memory; what goes beyond it lives in files. None: no bound.
        checkpoint_us: The time between two checkpoints, in microseconds. They are written while the run goes on; with
            0 there is one after every step, and the next step waits for it.
        fresh: Whether outputs are replaced (``batch``).
        delivery: How often each row must get to every sink; None: exactly once where the sink records what it has,
            at least once where it cannot.
        replace_output: Whether a state that is new replaces what another one has left in its sinks.
        clock: Where time comes from.
        pick: Overrides which partitions a step reads; for tests. What it sees has an order that repeats: a step waits
            for the checkpoint before it.
        replay: Idle and new partitions as an earlier run recorded them.
        leave_out: Whether columns that nobody can see are not read, computed and kept; results are the same.
        recover_from: The epoch of the checkpoint to go on from; None for the last.
        stop_timeout_us: How long a run that is told to stop may take for it, in microseconds.
        ignore_crash_loop: Whether to start though the runs before failed again and again at the same checkpoint.
        version: The version of the app whose outputs are written (see ``core.version``).
        beside: Whether another version is the current one: what has no place of its own gets nothing.
        start_us: From which time on sources are read that have no checkpoint yet, in microseconds since 1970; None:
            from their beginning.
        allow_state_loss: Whether a changed program may go on without state that it cannot take over or rebuild.
        reached: Is told how far each checkpoint is; for tests, which end runs there.
    """

    data: Path | None = None
    log: Path | None = None
    until: Until | None = None
    max_step_rows: int | None = None
    memory_bytes: int | None = None
    checkpoint_us: int = 1_000_000
    fresh: bool = False
    delivery: Guarantee | None = None
    replace_output: bool = False
    clock: Clock = field(default_factory=SystemClock)
    pick: Pick | None = None
    replay: Sequence[TimeException] = ()
    leave_out: bool = True
    recover_from: int | None = None
    stop_timeout_us: int = 30_000_000
    ignore_crash_loop: bool = False
    version: str = FIRST
    beside: bool = False
    start_us: int | None = None
    allow_state_loss: bool = False
    reached: Reached = goes_on

    @property
    def log_path(self) -> Path:
        """Where the embedded log of late and rejected rows is."""
        return self.log or (self.data or Path()) / "log"


@dataclass(frozen=True, slots=True)
class TimeException:
    """A partition whose watermark was held up to a floor from some row on.

    Attributes:
        read: The number of the plan's read step.
        partition: The partition's name.
        row: How many of the partition's rows were decoded before.
        floor: The watermark from then on, in microseconds since 1970.
        why: ``idle`` (it had been silent) or ``new`` (it was discovered later).
    """

    read: int
    partition: str
    row: int
    floor: int
    why: Literal["idle", "new"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run is going.

    Attributes:
        seconds: Since its start.
        rows_in: Rows read, rejected ones included.
        rows_out: Rows given to sinks and views.
        watermark_us: The least watermark of the sources; None while unknown or when all is read.
        holder: The partition that holds it.
        open_windows: Windows that hold rows.
        held: Rows (for windows: pairs) in the state, at the last checkpoint.
        late: Rows late, per missed window.
        rejected: Rows rejected.
        epoch: The last checkpoint.
        state_bytes: What the state takes of the memory that it is given, as far as that is counted.
        state_limit_bytes: How much it may take; None: no bound.
        waiting_bytes: Rows on disk that wait for sinks.
        paused: Whether nothing is read, because as much waits for a sink as may.
        outages: What outside is away, takes nothing or has no room.
    """

    seconds: float
    rows_in: int
    rows_out: int
    watermark_us: int | None
    holder: str | None
    open_windows: int
    held: int
    late: int
    rejected: int
    epoch: int
    state_bytes: int = 0
    state_limit_bytes: int | None = None
    waiting_bytes: int = 0
    paused: bool = False
    outages: tuple[Outage, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did.

    Attributes:
        views: The views' rows by name.
        late: Late rows: ``step, partition, position, reason, time, watermark, window_start, window_end``,
            ``row`` and its ``encoding``.
        errors: Rejected rows: ``step, place, column, reason, traceback, time, row, encoding``.
        ledger: What became of every row, per step.
        rows_in: Rows read, rejected ones included.
        seconds: How long it took.
        open_windows: Windows that still hold rows.
        exceptions: Partitions that were idle or new, as recorded.
        late_rows: How many rows were late, per missed window; ``late`` holds the first of them only, if they are many.
        error_rows: How many rows were rejected; ``errors`` likewise.
        sealed: Whether the state's input had been declared complete, so that nothing was read.
        state_bytes: What the state took of the memory at the end, as far as that is counted.
    """

    views: Mapping[str, pa.Table]
    late: pa.Table
    errors: pa.Table
    ledger: pa.Table
    rows_in: int
    seconds: float
    open_windows: int
    exceptions: tuple[TimeException, ...] = ()
    late_rows: int = 0
    error_rows: int = 0
    sealed: bool = False
    state_bytes: int = 0

    def view(self, name: str) -> pa.Table:
        """Return a view's rows, sorted by its key.

        Raises:
            PlanError: There is no such view.
        """
        if name not in self.views:
            raise PlanError(f'there is no view "{name}"; {near(name, self.views)}')
        return self.views[name]


class Run(Protocol):
    """A plan that is being run."""

    def run(self) -> Report:
        """Run until the end that was asked for, or until stopped."""
        ...

    def stop(self) -> None:
        """Ask the run to checkpoint and stop; from any thread or signal handler."""
        ...

    def progress(self) -> Progress:
        """Return how it is going; from any thread."""
        ...

    def view(self, name: str) -> pa.Table:
        """Return a view's rows as of the latest step; from any thread."""
        ...


class Engine(Protocol):
    """Runs plans."""

    def start(self, plan: Plan, options: RunOptions) -> Run:
        """Return a run of the plan that has not read anything yet.

        Raises:
            UnsupportedError: The engine cannot run a part of the plan.
        """
        ...
