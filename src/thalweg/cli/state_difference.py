"""``thalweg plan --diff``: what becomes of a state under a program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from thalweg.cli.versions import state_of
from thalweg.engine.embedded.resume import state_difference
from thalweg.plan.difference import StepChange
from thalweg.plan.nodes import Plan


def difference_lines(plan: Plan, data: Path | None) -> Iterator[str]:
    """Give a line for each step that keeps something: kept, rebuilt or lost, and why.

    Args:
        plan: The program.
        data: The state directory of the first version; None for the app's own place. The current version is meant.

    Raises:
        StateError: The state is damaged.
    """
    directory = state_of(plan.name, data).directory
    found = state_difference(plan, directory)
    if found is None:
        yield f"{plan.name}: there is no state in {directory}; a run starts from nothing"
        return
    epoch, difference = found
    yield f"{plan.name}: beside the state in {directory} at epoch {epoch}"
    for change in difference.changes:
        yield from _told(change)
    if difference.lost:
        yield "A run goes on without what is lost only with --allow-state-loss."


def _told(change: StepChange) -> Iterator[str]:
    yield f"{change.verdict:<8} {change.step}"
    if change.verdict == "rebuilt":
        yield f"         {change.why}; {change.rows:,} rows are read again"
    elif change.why:
        yield f"         {change.why}"
