"""Runs that crash and are started again on their state, until one comes to the end."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from thalweg.core.envelope import ERROR_SCHEMA, LATE_SCHEMA
from thalweg.core.errors import ThalwegError
from thalweg.engine.contract import Pick, Report, RunOptions
from thalweg.engine.embedded.loop import Embedded
from thalweg.engine.embedded.outputs import output_name
from thalweg.log import Log
from thalweg.plan.nodes import Plan
from thalweg.testing.clock import VirtualClock
from thalweg.testing.faults import Crashed, Death, Fuse, drawn_death
from thalweg.testing.folders import state_folder
from thalweg.testing.kept import Kept

_ASIDES = ("late", "errors")


def crashing(plan: Plan, deaths: Sequence[Death], rng: random.Random, pick: Pick) -> Mapping[str, pa.Table]:
    """Run a plan that dies so often, then to the end; return what it has given, by output.

    Each start goes on from the state as the one before has left it on disk. Checkpoints come at random.

    Args:
        plan: What to run; its sinks are ``Kept``.
        deaths: When it dies; one that it does not come to is none.
        rng: Decides when a checkpoint is due.
        pick: Chooses partitions and rows.
    """
    kept = [node.output for node in plan.writes if isinstance(node.output, Kept)]
    for sink in kept:
        sink.epochs.clear()
    with state_folder() as folder:
        data = Path(folder)
        for death in deaths:
            _life(plan, data, death, rng, pick)
        report = _life(plan, data, None, rng, pick)
        assert report is not None, "a run that nothing ends comes to its end"
        # What a run that died had put aside is in no report; the topics have all of it.
        aside = {kind: _aside(data / "log", plan.name, kind) for kind in _ASIDES}
    return {**report.views, **{sink.name: sink.table() for sink in kept}, **aside}


def drawn_deaths(plan: Plan, given: Mapping[str, pa.Table], rng: random.Random) -> list[Death]:
    """Return some deaths of runs of a plan, which gives such tables."""
    outputs = [output_name(node.output) for node in plan.writes if isinstance(node.output, Kept)]
    outputs += [kind for kind in _ASIDES if given[kind].num_rows]
    return [drawn_death(rng, outputs) for _ in range(rng.randint(1, 3))]


def _life(plan: Plan, data: Path, death: Death | None, rng: random.Random, pick: Pick) -> Report | None:
    """Run until the death, or to the end; return the report, if it came so far."""
    clock, fuse = VirtualClock(), Fuse(data, death)

    def mortal(names: Sequence[str]) -> Sequence[tuple[str, int]]:
        fuse.reached(None)
        if rng.random() < 0.25:
            clock.advance("1s")  # so that a checkpoint is due
        return pick(names)

    options = RunOptions(data=data, until="end", clock=clock, pick=mortal, reached=fuse.reached, ignore_crash_loop=True)
    try:
        return Embedded().start(plan, options).run()
    except (Crashed, ThalwegError):
        # What comes of the death may be told first, by another thread.
        if not fuse.blown:
            raise
        return None


def _aside(log: Path, app: str, kind: str) -> pa.Table:
    """Return what a topic of late or rejected rows has."""
    schema = LATE_SCHEMA if kind == "late" else ERROR_SCHEMA
    with Log(log) as opened:
        name = f"{app}.{kind}"
        if name not in opened.topics():
            return schema.empty_table()
        topic = opened.topic(name)
        return topic.read(limit=topic.end()).select(schema.names)
