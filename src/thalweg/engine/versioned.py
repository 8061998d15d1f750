"""Which version of an app a run is, and from where it reads: the state directory, the outputs, the start."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from thalweg.core.errors import Place, PlanError, UnsupportedError
from thalweg.core.ports import Sink, Source, Timed, Versioned
from thalweg.core.version import DEV, FIRST, is_version, parted
from thalweg.engine.contract import RunOptions
from thalweg.plan.nodes import Plan, Read
from thalweg.state.versions import Version, begin, current, existing, versions

Start: TypeAlias = 'Literal["checkpoint", "earliest"] | datetime'


def of_version(plan: Plan, options: RunOptions, first: Path | None, start: Start, name: str | None) -> RunOptions:
    """Return the options of a run of one version of an app; a new version is made where the run is to start anew.

    Args:
        plan: What is run.
        options: The other options.
        first: The state directory of the first version; None where no state is kept.
        start: Where to begin.
        name: The version that is asked for; None: the current one.

    Raises:
        PlanError: What is asked for does not go together.
        UnsupportedError: A source does not know when its rows came, and is to be read from a time on; or a sink has no
            place for a version.
        StateError: There is no such version, or it cannot be made.
    """
    if not (start in ("checkpoint", "earliest") or isinstance(start, datetime)):
        raise PlanError(f'app.run(start={start!r}): allowed are "checkpoint", "earliest" and a datetime')
    if name is not None and not is_version(name):
        raise PlanError(f'app.run(version={name}): allowed are a number from 1 and "dev"')
    if first is None:
        if start != "checkpoint" or name is not None:
            raise PlanError("a version of an app is its state: start= and version= need a state directory (data=)")
        return options
    if parted(first.name)[1] is not None:
        base, named = parted(first.name)
        raise PlanError(
            f"data={first} is that of a version; name the first one's, {first.with_name(base)}, and version={named}"
        )
    if start != "checkpoint" and name is not None:
        raise PlanError(
            f"start={start!r} makes a new version, so version={name} cannot be meant; leave one of them out"
        )
    if start != "checkpoint":
        version = _new(plan, first, _micros(start) if isinstance(start, datetime) else None)
    elif name is not None:
        version = Version(first, DEV) if name == DEV else existing(first, name)
    else:
        version = current(first)
    if version.name != FIRST:
        _check_places(plan)
    beside = version != current(first)
    return replace(options, data=version.directory, version=version.name, beside=beside, start_us=version.from_us)


def _new(plan: Plan, first: Path, from_us: int | None) -> Version:
    # What cannot be is refused before there is a version.
    if from_us is not None:
        for node in plan.nodes():
            if isinstance(node, Read):
                timed(node.source, node.place)
    if versions(first):
        _check_places(plan)
    return begin(first, from_us)


def _check_places(plan: Plan) -> None:
    """Raise where a sink would write into the first version's place."""
    for write in plan.writes:
        sink = write.output
        # What has no address, such as a function, replaces nothing: see ``RunOptions.beside``.
        if isinstance(sink, Sink) and sink.target is not None and not isinstance(sink, Versioned):
            raise UnsupportedError(
                f"{sink.describe()} has one place, which is the first version's: no other version can write there. "
                "Take it out of the program for the replay, or give the sink a method beside(version)",
                place=write.place,
            )


def timed(source: Source, place: Place | None = None) -> Timed:
    """Return a source that knows when its rows came.

    Args:
        source: The source.
        place: The line of the program that reads it.

    Raises:
        UnsupportedError: It does not know.
    """
    if not isinstance(source, Timed):
        raise UnsupportedError(
            f"a start from a time: {source.describe()} does not keep when its rows came; topics and files do. "
            'start="earliest" (--from earliest) reads all that there is',
            place=place,
        )
    return source


def _micros(time: datetime) -> int:
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
