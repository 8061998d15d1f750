"""Checkpoints of keyed state: what one costs of which little has changed, what they cost a run, and recovery."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

import thalweg as tw
from benchmarks.outcome import Benchmark, WrongAnswerError
from thalweg.connect import call
from thalweg.core.errors import SourceError
from thalweg.core.ports import Json, Nothing, PartitionReader, SourceBatch
from thalweg.core.schema import Schema
from thalweg.engine.contract import RunOptions
from thalweg.state.manifests import read_manifest
from thalweg.testing import VirtualClock

SCHEMA = pa.schema([("key", pa.int64()), ("value", pa.int64())])
CHANGED: Final = 0.01
"""The part of the keys that changes between two checkpoints."""
HOLD: Final = 100
"""So many portions in a row, ten seconds of a run or so, are of one hundredth of the keys where it is timed."""
TARGET: Final = 0.1
"""Bytes and time of such a checkpoint, as a part of those of a full one, that are aimed at."""
COST: Final = {"10s": 0.05, "1s": 0.15}
"""The part of a run's throughput that a checkpoint after each such pause may cost."""
_SPREAD = 2_654_435_761


@dataclass(slots=True)
class Portions:
    """A source that gives each key once, and then one hundredth of the keys again and again.

    Attributes:
        keys: How many keys there are.
        portions: How many portions there are, the first included.
        hold: After so many portions it is another hundredth.
        state: Where checkpoints are looked at when a portion is asked for; None: they are not.
        asked_s: When each portion was asked for.
        new_bytes: How many bytes the checkpoint before each portion has that the one before that had not.
    """

    keys: int
    portions: int
    hold: int = 1
    state: Path | None = None
    asked_s: list[float] = field(default_factory=list)
    new_bytes: list[int] = field(default_factory=list)
    _files: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """``portions``."""
        return "portions"

    @property
    def final(self) -> bool:
        """There is a last row."""
        return True

    @property
    def prefetch(self) -> bool:
        """A portion is asked for when the one before is done with."""
        return False

    @property
    def changed(self) -> int:
        """How many rows a portion after the first has."""
        return max(round(self.keys * CHANGED), 1)

    def describe(self) -> str:
        """Return one line for the plan."""
        return f"portions({self.keys} keys)"

    def schema(self) -> pa.Schema:
        """Return the schema."""
        return SCHEMA

    def open(self, schema: Schema) -> Portions:
        """Start to read."""
        return self

    def partitions(self) -> Sequence[str]:
        """Return the one partition."""
        return ["0"]

    def reader(self, partition: str, position: Json) -> PartitionReader:
        """Go on with a portion."""
        if position is not None and not isinstance(position, int):
            raise SourceError(f"{self.describe()} cannot be read from {position!r}; a portion's number is wanted")
        return _Reader(self, position or 0)

    def close(self) -> None:
        """Nothing is held."""

    def rows(self, portion: int) -> pa.RecordBatch:
        """Return the rows of a portion."""
        first, count = (0, self.keys) if portion == 0 else ((portion - 1) // self.hold * self.changed, self.changed)
        numbers = pl.int_range(first, first + count, dtype=pl.UInt64, eager=True)
        keys = (numbers % self.keys * _SPREAD % self.keys).cast(pl.Int64)
        return pa.record_batch([keys.to_arrow(), (numbers % 100).cast(pl.Int64).to_arrow()], schema=SCHEMA)

    def ask(self) -> None:
        """Note that a portion is asked for."""
        self.asked_s.append(time.perf_counter())
        if self.state is not None and (body := read_manifest(self.state)) is not None:
            files: dict[str, list[int]] = body["files"]
            self.new_bytes.append(sum(facts[1] for file, facts in files.items() if file not in self._files))
            self._files = frozenset(files)


class _Reader:
    def __init__(self, source: Portions, portion: int) -> None:
        self._source = source
        self._portion = portion

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        if max_rows < self._source.keys:
            return Nothing.NOW  # this step has a portion already
        self._source.ask()
        if self._portion == self._source.portions:
            return Nothing.EVER
        rows = self._source.rows(self._portion)
        self._portion += 1
        return SourceBatch(rows, self._portion, str)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Incremental:
    """Checkpoints of which little has changed beside a full one.

    Attributes:
        keys: How many keys the state has.
        full_bytes: What the first checkpoint wrote.
        full_s: How long it took.
        new_bytes: What each one after it wrote.
        seconds: How long each of them took.
    """

    keys: int
    full_bytes: int
    full_s: float
    new_bytes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def of_bytes(self) -> float:
        """The mean of the bytes, as a part of the first's."""
        return statistics.mean(self.new_bytes) / self.full_bytes

    @property
    def of_seconds(self) -> float:
        """The mean of the times, as a part of the first's."""
        return statistics.mean(self.seconds) / self.full_s

    @property
    def met(self) -> bool:
        """Whether both targets are reached."""
        return max(self.of_bytes, self.of_seconds) <= TARGET

    def lines(self) -> Sequence[str]:
        mib = 2**20
        worst = max(self.new_bytes) / mib
        return [
            f"checkpoints of {self.keys / 1e6:g} M keys, {CHANGED:.0%} of them changed before each",
            f"  the first    {self.full_bytes / mib:8.1f} MiB  {self.full_s * 1e3:8.0f} ms",
            f"  {len(self.seconds)} more, mean {statistics.mean(self.new_bytes) / mib:5.1f} MiB  "
            f"{statistics.mean(self.seconds) * 1e3:8.0f} ms (the largest {worst:.1f} MiB, "
            f"the slowest {max(self.seconds) * 1e3:.0f} ms)",
            f"  {self.of_bytes:.1%} of the bytes, {self.of_seconds:.1%} of the time, target ≤ {TARGET:.0%}: "
            f"{'met' if self.met else 'MISSED'}",
        ]

    def record(self) -> dict[str, Json]:
        return {
            "name": "incremental",
            "keys": self.keys,
            "full_bytes": self.full_bytes,
            "full_seconds": self.full_s,
            "new_bytes": list(self.new_bytes),
            "seconds": list(self.seconds),
            "of_bytes": self.of_bytes,
            "of_seconds": self.of_seconds,
            "met": self.met,
        }


@dataclass(frozen=True, slots=True)
class Overhead:
    """A run with checkpoints beside one that makes only its last.

    Attributes:
        keys: How many keys the state has.
        rows: How many rows are read.
        seconds: How long the run took, by the time between two checkpoints.
        recovery_s: How long a run takes that restores the state and has nothing to read.
        state_bytes: How large the state is.
    """

    keys: int
    rows: int
    seconds: dict[str, float]
    recovery_s: float
    state_bytes: int

    def cost(self, pause: str) -> float:
        """The part of the throughput without checkpoints that they cost."""
        return 1 - self.seconds[_NONE] / self.seconds[pause]

    def lines(self) -> Sequence[str]:
        lines = [f"{self.rows / 1e6:g} M rows over {self.keys / 1e6:g} M keys"]
        for pause, seconds in self.seconds.items():
            line = f"  checkpoint {'at the end' if pause == _NONE else 'every ' + pause:<11}"
            line += f"{self.rows / seconds / 1e6:7.2f} M rows/s"
            if pause in COST:
                met = "met" if self.cost(pause) <= COST[pause] else "MISSED"
                line += f", costs {self.cost(pause):.0%} of it, target ≤ {COST[pause]:.0%}: {met}"
            lines.append(line)
        mib = 2**20
        return [
            *lines,
            f"  recovery of {self.state_bytes / mib:.0f} MiB: {self.recovery_s:.2f} s "
            f"({self.state_bytes / mib / self.recovery_s:.0f} MiB/s), no target",
        ]

    def record(self) -> dict[str, Json]:
        return {
            "name": "overhead",
            "keys": self.keys,
            "rows": self.rows,
            "seconds": dict(self.seconds),
            "cost": {pause: self.cost(pause) for pause in COST},
            "recovery_seconds": self.recovery_s,
            "state_bytes": self.state_bytes,
        }


_NONE: Final = "1h"


class _Sums:
    """Adds up what comes out, so that no time is told of a wrong answer."""

    def __init__(self) -> None:
        self.groups = self.rows = self.total = 0
        self.done_s: list[float] = []

    def take(self, change: pa.Table) -> None:
        weights = change["_weight"]
        self.groups += pc.sum(weights).as_py() or 0
        self.rows += pc.sum(pc.multiply(change["n"], weights)).as_py() or 0
        self.total += pc.sum(pc.multiply(change["total"], weights)).as_py() or 0
        self.done_s.append(time.perf_counter())

    def check(self, source: Portions) -> None:
        """Compare with the rows that were read.

        Raises:
            WrongAnswerError: They do not add up to them.
        """
        rows = source.keys + (source.portions - 1) * source.changed
        values = sum(pc.sum(source.rows(portion)["value"]).as_py() for portion in range(source.portions))
        if (self.groups, self.rows, self.total) != (source.keys, rows, values):
            raise WrongAnswerError(
                f"{self.groups} groups, {self.rows} rows, sum {self.total}; expected {source.keys}, {rows}, {values}"
            )


def _run(source: Portions, options: RunOptions, sums: _Sums) -> float:
    app = tw.App("checkpoints")
    counts = app.read(source).group_by("key").agg(n=tw.count(), total=tw.col("value").sum())
    counts.write(call(sums.take))
    return app.start(options).seconds


def incremental(keys: int, checkpoints: int) -> Incremental:
    """Make a full checkpoint and others, each after one hundredth of the keys has changed."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        source, sums = Portions(keys, checkpoints + 1, state=data), _Sums()
        # A clock that stands still: there is a checkpoint after every step.
        options = RunOptions(data=data, until="caught-up", max_step_rows=keys, checkpoint_us=0, clock=VirtualClock())
        _run(source, options, sums)
        sums.check(source)
    if not len(sums.done_s) == len(source.new_bytes) == checkpoints + 1:
        raise WrongAnswerError(f"{len(source.new_bytes)} checkpoints of {len(sums.done_s)} steps were seen")
    # A portion is asked for when the checkpoint of the one before is committed.
    seconds = [asked - done for asked, done in zip(source.asked_s[1:], sums.done_s, strict=True)]
    return Incremental(keys, source.new_bytes[0], seconds[0], tuple(source.new_bytes[1:]), tuple(seconds[1:]))


def overhead(keys: int, portions: int) -> Overhead:
    """Run with checkpoints and without, then restore the state."""
    seconds, recovery_s, state_bytes = dict[str, float](), 0.0, 0
    for pause in (_NONE, *COST, _NONE):  # the run without them stands on both sides, and its better time counts
        with tempfile.TemporaryDirectory() as folder:
            source, sums = Portions(keys, portions, HOLD), _Sums()
            pause_us = {"10s": 10, "1s": 1, _NONE: 3_600}[pause] * 1_000_000
            options = RunOptions(data=Path(folder), until="caught-up", max_step_rows=keys, checkpoint_us=pause_us)
            took_s = _run(source, options, sums)
            seconds[pause] = min(seconds.get(pause, took_s), took_s)
            sums.check(source)
            began = time.perf_counter()
            _run(source, options, sums)
            recovery_s = time.perf_counter() - began
            sums.check(source)  # nothing was read once more
            body = read_manifest(Path(folder))
            assert body is not None, "a run that has ended has a checkpoint"
            state_bytes = sum(size for _, size, _ in body["files"].values())
    rows = keys + (portions - 1) * Portions(keys, portions).changed
    return Overhead(keys, rows, seconds, recovery_s, state_bytes)


def measure(keys: int, checkpoints: int, portions: int) -> Iterator[Incremental | Overhead]:
    """Measure both."""
    yield incremental(keys, checkpoints)
    yield overhead(keys, portions)


BENCHMARK = Benchmark(
    "checkpoints",
    "checkpoints of keyed state: of which 1 % has changed, their cost to a run, recovery",
    full=lambda: measure(18_000_000, 100, 401),
    quick=lambda: measure(1_800_000, 100, 1_001),
)
