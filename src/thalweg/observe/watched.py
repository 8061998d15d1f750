"""The embedded engine with somebody who looks on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

import pyarrow as pa

from thalweg.engine.contract import Progress, Report, Run, RunOptions
from thalweg.plan.nodes import Plan

Follow: TypeAlias = Callable[[Run, Plan, RunOptions], AbstractContextManager[None]]
"""Gives the context in which a run goes on."""


class Watched:
    """The embedded engine, each of whose runs is followed in a way of one's own.

    Args:
        follow: Gives the context in which a run goes on.

    Attributes:
        follow: The same.
        options: Those of the last run.
        stopped: Whether it was told to stop.
    """

    def __init__(self, follow: Follow) -> None:
        self.follow = follow
        self.options = RunOptions()
        self.stopped = False

    def start(self, plan: Plan, options: RunOptions) -> Run:
        """Return a run of the plan that has not read anything yet."""
        from thalweg.engine.embedded.loop import Embedded  # engines load when a plan runs

        self.options = options
        self.stopped = False
        return _WatchedRun(Embedded().start(plan, options), plan, self)


class _WatchedRun:
    def __init__(self, run: Run, plan: Plan, watched: Watched) -> None:
        self._run = run
        self._plan = plan
        self._watched = watched

    def run(self) -> Report:
        with self._watched.follow(self._run, self._plan, self._watched.options):
            return self._run.run()

    def stop(self, *, soon: threading.Event | None = None) -> None:
        self._watched.stopped = True
        self._run.stop()

    def progress(self) -> Progress:
        return self._run.progress()

    def view(self, name: str) -> pa.Table:
        return self._run.view(name)
