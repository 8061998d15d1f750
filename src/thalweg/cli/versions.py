"""The versions of an app on the command line: which one runs, what it writes, and which is made the current one."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from pathlib import Path

from thalweg.core import places
from thalweg.core.errors import PlanError
from thalweg.core.ports import Sink, Versioned
from thalweg.core.version import DEV, FIRST, parted
from thalweg.engine.contract import RunOptions
from thalweg.plan.nodes import Plan, ViewOutput
from thalweg.state.versions import Version, current, existing, promote


def start_of(text: str | None) -> dt.datetime | str:
    """Return what ``--from`` says.

    Raises:
        PlanError: It is neither a word nor a time.
    """
    if text is None or text in ("earliest", "checkpoint"):
        return text or "checkpoint"
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise PlanError(
            f"--from {text}: allowed are earliest, checkpoint and a time such as 2026-03-01T10:00:00Z (UTC if it names "
            "no zone)"
        ) from error


def notes(plan: Plan, options: RunOptions) -> Iterator[str]:
    """Give lines that say what a run of a version does otherwise than one of the program's own names."""
    if options.version == FIRST and options.start_us is None and not options.beside:
        return
    since = "" if options.start_us is None else f", from {_time(options.start_us)}"
    beside = ", beside the current one" if options.beside else ""
    yield f"{plan.name}: version {options.version}{beside}{since}; state: {options.data}"
    for write in plan.writes:
        output = write.output
        if isinstance(output, ViewOutput):
            continue
        assert isinstance(output, Sink), "an output is a view or a sink"
        if isinstance(output, Versioned):
            if options.version != FIRST and (own := output.beside(options.version).describe()) != output.describe():
                yield f"  {output.describe()} is {own}"
        elif options.beside:
            yield f"  {output.describe()} gets nothing: it has no place beside the current version's"


def current_notes(plan: Plan, data: Path | None) -> Iterator[str]:
    """Give lines that say where runs of a program write now; none while that is where the program says.

    Args:
        plan: The program.
        data: The state directory of its first version; None for the app's own place.

    Raises:
        StateError: What says which version is the current one is damaged.
    """
    version = state_of(plan.name, data)
    return notes(plan, RunOptions(data=version.directory, version=version.name))


def promote_version(name: str, data: Path | None) -> None:
    """Make a version the current one, and say so.

    Raises:
        PlanError: The name has no version.
        StateError: There is none, or a run is on.
    """
    app, number = parted(name)
    if number is None or number == DEV:
        raise PlanError(f"{name} names no version to go on with; write the app's name and its number: {app}@2")
    version = existing(data or places.APPS / app, number)
    before = promote(version)
    if before == version:
        print(f"runs of {app} go on with version {number} already", file=sys.stderr)
        return
    print(
        f"runs of {app} go on with version {number} from now on; state: {version.directory}\n"
        f"to go back: thalweg promote {app}@{before.name}{'' if data is None else f' --data {data}'}",
        file=sys.stderr,
    )


def state_of(app: str, data: Path | None) -> Version:
    """Return the version of an app that a command means: the one that is named with it, else the current one."""
    name, version = parted(app)
    first = data or places.APPS / name
    return current(first) if version is None else Version(first, version)


def _time(us: int) -> str:
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=us)).isoformat(" ", "auto")
