"""How often a row gets to a sink, and why."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from thalweg.core.errors import PlanError
from thalweg.core.ports import Recording, Sink
from thalweg.plan.nodes import Plan

Guarantee: TypeAlias = Literal["at_most_once", "at_least_once", "exactly_once"]
_GUARANTEES: Final = ("at_most_once", "at_least_once", "exactly_once")


def delivered(sink: Sink) -> str:
    """Return how often each row gets to a sink, and what that rests on."""
    if isinstance(sink, Recording):
        return f"exactly once: {sink.recorded}"
    return f"at least once: {sink.describe()} keeps no record"


def checked_guarantee(asked: Guarantee | None, plan: Plan, *, saved: bool) -> Guarantee | None:
    """Return what a run was asked for, if the plan's sinks can give it.

    Args:
        asked: What it was asked for.
        plan: The plan.
        saved: Whether the run keeps a state.

    Raises:
        PlanError: There is no such guarantee, or a sink cannot give it.
    """
    if asked not in (None, *_GUARANTEES):
        raise PlanError(f"app.run(delivery={asked!r}): allowed are None, {', '.join(map(repr, _GUARANTEES))}")
    if asked == "exactly_once":
        if not saved:
            raise PlanError('app.run(delivery="exactly_once", data=None): a run without a state cannot be gone on with')
        for write in plan.writes:
            if isinstance(write.output, Sink) and not isinstance(write.output, Recording):
                raise PlanError(
                    f'app.run(delivery="exactly_once"): {delivered(write.output)} of what it has; write to files, a '
                    'topic or a database instead, or ask for "at_least_once" or "at_most_once"',
                    place=write.place,
                )
    return asked
