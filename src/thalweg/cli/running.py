"""``thalweg run`` and ``thalweg batch``: a program is run, followed and reported."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.app import App
from thalweg.cli.program import load
from thalweg.cli.results import Results, json_line
from thalweg.cli.versions import notes, start_of
from thalweg.engine.contract import Report, Run, RunOptions, Until
from thalweg.observe.status import Meter, Status, following, total_rows, watching
from thalweg.observe.watched import Watched
from thalweg.plan.delivery import Guarantee
from thalweg.plan.nodes import Plan

_JSON_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for on the command line.

    Attributes:
        program: The program's file, and the name of its app.
        until: When to stop.
        data: Where the state is kept; None for the app's own place.
        checkpoint: The time between two checkpoints.
        max_step_rows: The most rows that one step takes from each partition.
        quiet: Whether to show results only.
        json: Whether machines read the output.
        fresh: Whether it is a batch.
        serve: Where HTTP is served while the run lives; None: nowhere.
        memory: What state may take of the memory.
        recover_from: The epoch of the checkpoint to go on from; None for the last.
        delivery: How often a row must get to each sink.
        replace_output: Whether a new state replaces what another has left in the sinks.
        stop_timeout: How long it may take to stop.
        ignore_crash_loop: Whether to start though the runs before failed again and again.
        start: Where to begin, as ``--from`` says it.
        version: The version to go on with; None: the current one.
        allow_state_loss: Whether a changed program may go on without some of its state.
    """

    program: str
    until: Until | None = None
    data: Path | None = None
    checkpoint: str = "1s"
    max_step_rows: int | None = None
    quiet: bool = False
    json: bool = False
    fresh: bool = False
    serve: str | None = None
    memory: str | None = None
    recover_from: int | None = None
    delivery: Guarantee | None = None
    replace_output: bool = False
    stop_timeout: str = "30s"
    ignore_crash_loop: bool = False
    start: str | None = None
    version: int | None = None
    allow_state_loss: bool = False


def run_program(wanted: Wanted) -> None:
    """Run a program and print what came out: views on standard output, the rest on standard error.

    Raises:
        ThalwegError: The program is wrong, or the run failed.
        LoadError: The program's own code raised while it was loaded.
    """
    app = load(wanted.program)
    engine = Watched(lambda run, plan, options: _follow(wanted, run, plan, options))
    report = _started(app, wanted, engine)
    results = Results(app.name, report, engine.options.data, fresh=wanted.fresh, version=engine.options.version)
    if wanted.json:
        results.print_json(with_report=not wanted.fresh)
        if wanted.fresh and not wanted.quiet:
            print(json_line({"report": results.as_json()}), file=sys.stderr)
        return
    results.print_tables()
    if not wanted.quiet:
        sys.stdout.flush()
        print(results.summary(), file=sys.stderr)


def _started(app: App, wanted: Wanted, engine: Watched) -> Report:
    if wanted.fresh:
        return app.batch(max_step_rows=wanted.max_step_rows, engine=engine)
    chosen: dict[str, Any] = {} if wanted.data is None else {"data": wanted.data}  # the arguments of App.run
    chosen["start"] = start_of(wanted.start)
    return app.run(
        until=wanted.until,
        max_step_rows=wanted.max_step_rows,
        checkpoint=wanted.checkpoint,
        quiet=True,
        engine=engine,
        serve=wanted.serve,
        memory=wanted.memory,
        recover_from=wanted.recover_from,
        delivery=wanted.delivery,
        replace_output=wanted.replace_output,
        stop_timeout=wanted.stop_timeout,
        ignore_crash_loop=wanted.ignore_crash_loop,
        version=wanted.version,
        allow_state_loss=wanted.allow_state_loss,
        **chosen,
    )


def _follow(wanted: Wanted, run: Run, plan: Plan, options: RunOptions) -> AbstractContextManager[None]:
    if not (wanted.quiet or wanted.json):
        for line in notes(plan, options):
            print(line, file=sys.stderr)
    live = options.until is None
    # A run that goes on from a state has read a part already.
    whole = options.data is None or not options.data.exists()
    rows = total_rows(plan) if whole and not live else None
    if wanted.json and not wanted.fresh and not wanted.quiet:
        return watching(run, Meter(live=live, total_rows=rows), _print_status, _JSON_EVERY_S)
    quiet = wanted.quiet or wanted.json or not sys.stderr.isatty()
    return following(run, quiet=quiet, live=live, total_rows=rows)


def _print_status(status: Status) -> None:
    sys.stdout.write(json_line({"status": status.as_json()}) + "\n")
    sys.stdout.flush()
