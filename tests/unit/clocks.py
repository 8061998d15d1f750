"""A live run that a test drives: it says what the source shows and how much time passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

import thalweg as tw
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.contract import Progress, Report, RunOptions, TimeException
from thalweg.engine.embedded.loop import Embedded
from thalweg.testing import Scripted, VirtualClock
from thalweg.testing.scripted import Piece

SCHEMA = pa.schema([("k", pa.string()), ("ts", TIMESTAMP)])
SECOND = 1_000_000
_PATIENCE_S = 20.0


def scripted(name: str, partitions: Mapping[str, Sequence[int | None]]) -> Scripted:
    """A source whose partitions have rows at the given seconds; it shows none of them yet."""
    pieces = {}
    for partition, seconds in partitions.items():
        times = pa.array([None if second is None else second * SECOND for second in seconds], TIMESTAMP)
        keys = pa.array([f"{partition}{index}" for index in range(len(seconds))])
        data = pa.record_batch([keys, times], schema=SCHEMA)
        pieces[partition] = [Piece(data, lambda row, p=partition: f"{name}[{p}]:{row}")]  # type: ignore[misc]  # binds p
    source = Scripted(name, SCHEMA, pieces)
    source.show({})
    return source


class Live:
    """A run in a thread of its own, on a clock that only the test moves.

    Args:
        app: What to run.
        source: What it reads; ``give`` shows more of it.
        data: Where the state is kept.
        replay: Exceptions of an earlier run.
    """

    def __init__(
        self, app: tw.App, source: Scripted, data: Path | None = None, replay: Sequence[TimeException] = ()
    ) -> None:
        self.clock = VirtualClock()
        self.source = source
        # A real second passes between two checkpoints of a live run only if the test lets it.
        self._run = Embedded().start(app.plan, RunOptions(data=data, clock=self.clock, replay=replay))
        self._thread = threading.Thread(target=self._main, name="live run")
        self._report: Report | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.stop()
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            raise AssertionError("the run did not stop")

    @property
    def report(self) -> Report:
        """What the run said when it had stopped."""
        if self._error is not None:
            raise self._error
        assert self._report is not None
        return self._report

    @property
    def progress(self) -> Progress:
        """How the run is going."""
        return self._run.progress()

    def view(self, name: str) -> list[dict[str, Any]]:
        """A view's rows now."""
        rows: list[dict[str, Any]] = self._run.view(name).to_pylist()
        return rows

    def give(self, **shown: int) -> None:
        """Show so many rows of each partition named, and wait until they are read and computed."""
        before = {name: self.source.shown(name) for name in self.source.partitions()}
        self.source.show(before | shown)
        total = self.progress.rows_in + sum(shown.values()) - sum(before.get(name, 0) for name in shown)
        self.until(lambda: self.progress.rows_in >= total)
        self.settle()

    def settle(self) -> None:
        """Let the run take a few turns, so that what it has is computed: rows may wait for company."""
        for _ in range(8):
            self.clock.advance("20ms")
            time.sleep(0.004)

    def silence(self, duration: str) -> None:
        """Let time pass in which nothing comes."""
        self.settle()
        self.clock.advance(duration)
        self.settle()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait in real time, while virtual time creeps on."""
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            assert self._error is None, self._error
            assert time.monotonic() < deadline, f"it did not happen; {self.progress}"
            self.clock.advance("10ms")
            time.sleep(0.001)

    def _main(self) -> None:
        try:
            self._report = self._run.run()
        except BaseException as error:  # the test's own thread raises it
            self._error = error
