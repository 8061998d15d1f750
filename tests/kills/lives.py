"""A life of a pipeline: what a child does until it is killed, or done."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

import thalweg as tw
from tests.attacks.tale import Line, Teller
from tests.kills.operators import OPERATORS, read_input
from tests.kills.targets import TARGETS, Rows, Seen
from thalweg.connect import view
from thalweg.engine.contract import RunOptions
from thalweg.log import Log
from thalweg.testing import VirtualClock

Found = Counter[str]
"""Rows as text, and how often each is there."""
_LOOK_S = 0.05
_OF_ASIDES = ("partition", "position", "place", "reason", "window_start", "window_end")


@dataclass(frozen=True, slots=True)
class Act:
    """A pipeline under attack.

    Attributes:
        folder: Where its state and its outputs are.
        outputs: The target of each operator.
        step_rows: The most rows that a step takes from a partition.
        in_line: Whether each step has its checkpoint, and the next waits for it; else they come now and then, and the
            run goes on meanwhile.
    """

    folder: Path
    outputs: Mapping[str, str]
    step_rows: int
    in_line: bool

    def app(self) -> tw.App:
        """Return the program."""
        app = tw.App("killed")
        given = read_input(app, self.folder.parent)
        for operator, target in self.outputs.items():
            OPERATORS[operator].build(given).write(TARGETS[target].sink(self.folder, name_of(operator)))
        return app


class LooksClock:
    """Time that passes with each look of the run's own thread: checkpoints come as often on a slow machine as on a
    quick one. The threads that write them and that give sinks their rows look, too, but how often is chance.

    At most looks little time passes, so that a checkpoint seems to take little; at some as much as is between two.
    """

    _JUMP_EVERY = 4

    def __init__(self) -> None:
        self._looks = 0

    def now_us(self) -> int:
        """Return the wall clock."""
        return 1_800_000_000_000_000

    def monotonic_s(self) -> float:
        """Return what has passed."""
        self._looks += threading.current_thread() is threading.main_thread()
        return self._looks // self._JUMP_EVERY + self._looks / 1e6

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait in real time."""
        return event.wait(timeout_s)


def name_of(operator: str) -> str:
    """Return what an operator's output is called."""
    return "".join(letter if letter.isalnum() else "_" for letter in operator)


def live(act: Act, teller: Teller) -> None:
    """Run to the end, and note what the views have."""
    app = act.app()
    teller.tell(Line("alive"))
    options = RunOptions(
        data=act.folder / "data",
        until="end",
        max_step_rows=act.step_rows,
        checkpoint_us=0 if act.in_line else 1_000_000,
        clock=VirtualClock() if act.in_line else LooksClock(),
        ignore_crash_loop=True,  # all deaths are planned
    )
    report = app.start(options)
    (act.folder / "views").mkdir(exist_ok=True)
    for name, table in report.views.items():
        path = act.folder / "views" / f"{name}.arrow"
        with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
    teller.tell(Line("done"))


def look(act: Act, expected: Mapping[str, Found], teller: Teller) -> None:
    """Read the outputs that grow, again and again: what they have is a part of what they will have, and whole."""
    seen = Seen()
    while True:
        for operator, target in act.outputs.items():
            kind, name = TARGETS[target], name_of(operator)
            if kind.changing or kind.shut:
                continue
            found = counted(kind.rows(act.folder, name))
            if more := found - expected[operator]:
                raise AssertionError(f"{operator} to {target} shows {more.total()} rows too many: {list(more)[:3]}")
            if kind.look is not None:
                kind.look(act.folder, name, seen)
        teller.tell(Line("looked"))
        time.sleep(_LOOK_S)


def judge(act: Act, expected: Mapping[str, Found], late: Found, errors: Found, teller: Teller) -> None:
    """Tell where an act's outputs are other than those of a run that nothing interrupts."""
    for operator, target in act.outputs.items():
        found = counted(TARGETS[target].rows(act.folder, name_of(operator)))
        _tell(f"{operator} to {target}", expected[operator], found, teller)
    for kind, wanted in (("late", late), ("errors", errors)):
        with Log(act.folder / "data" / "log") as log:
            name = f"killed.{kind}"
            topic = log.topic(name) if name in log.topics() else None
            rows = [] if topic is None else topic.read(limit=max(topic.end(), 1)).to_pylist()
        _tell(f"{kind} rows", wanted, asides(rows), teller)


def _tell(what: str, expected: Found, found: Found, teller: Teller) -> None:
    if found != expected:
        lost, more = expected - found, found - expected
        note = f"{what}: lost {lost.total()} {list(lost)[:3]}, too many {more.total()} {list(more)[:3]}"
        teller.tell(Line("fault", note=note[:1500]))


def uninterrupted(folder: Path, operator: str) -> tuple[Found, Found, Found]:
    """Return the rows, late rows and rejected rows of an operator's own run, without state, in one go."""
    app = tw.App("killed")
    OPERATORS[operator].build(read_input(app, folder)).write(view("v"))
    report = app.batch()
    return counted(report.view("v").to_pylist()), asides(report.late.to_pylist()), asides(report.errors.to_pylist())


def counted(rows: Rows) -> Found:
    """Return rows as text, with how often each is there."""
    return Counter(json.dumps(row, sort_keys=True, default=_text) for row in rows)


def asides(rows: Rows) -> Found:
    """Return late or rejected rows but for what depends on the program around: the step's number, for one."""
    return counted([{name: row[name] for name in _OF_ASIDES if name in row} for row in rows])


def _text(value: Any) -> str:  # of any type that JSON lacks
    # A time as the sink of NDJSON writes it.
    return f"{value:%Y-%m-%dT%H:%M:%S.%fZ}" if isinstance(value, datetime) else str(value)
