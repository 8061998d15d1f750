"""Bugs planted into how a changed program goes on: the test of generated changes finds each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.recovery.test_changed_programs import check_change
from thalweg import ThalwegError
from thalweg.engine.embedded import rebuild, resume
from thalweg.plan.nodes import Node, Plan

_CASES = 60


def _by_position(patch: pytest.MonkeyPatch) -> None:
    """A step is given the state of the step that had its number."""

    def planted(plan: Plan) -> Mapping[Node, str]:
        return {node: str(number) for node, number in plan.numbers().items()}

    patch.setattr(resume, "fingerprints", planted)


def _appended_twice(patch: pytest.MonkeyPatch) -> None:
    """Every output gets all that a rebuild makes, those too that have it."""
    true = resume.difference

    def planted(plan: Plan, *given: Any) -> Any:
        return replace(true(plan, *given), new_outputs=frozenset(plan.writes))

    patch.setattr(resume, "difference", planted)


def _appended_never(patch: pytest.MonkeyPatch) -> None:
    """A new output gets nothing of what a rebuild makes."""
    true = resume.difference

    def planted(plan: Plan, *given: Any) -> Any:
        return replace(true(plan, *given), new_outputs=frozenset())

    patch.setattr(resume, "difference", planted)


def _past_the_positions(patch: pytest.MonkeyPatch) -> None:
    """Sources are read again further than they were."""
    true = rebuild._Rebuild._take

    def planted(self: Any, intake: Any, vertex: Any, partition: Any, end: int) -> None:
        more = partition.reader is not None and hasattr(partition.reader, "_source")
        there = partition.reader._source.shown(partition.name) if more else end
        true(self, intake, vertex, partition, min(end + 1, max(there, end)))

    patch.setattr(rebuild._Rebuild, "_take", planted)
    patch.setattr(rebuild._Rebuild, "_as_it_was", _as_it_was)


def _as_it_was(self: Any, intake: Any, saved: Any) -> None:
    """Take the positions of the checkpoint without a look at what was read."""
    saved.restore(intake)


def _not_up_to_the_positions(patch: pytest.MonkeyPatch) -> None:
    """The last row before the positions is not read again."""
    true = rebuild._Rebuild._take

    def planted(self: Any, intake: Any, vertex: Any, partition: Any, end: int) -> None:
        true(self, intake, vertex, partition, end - 1)

    patch.setattr(rebuild._Rebuild, "_take", planted)
    patch.setattr(rebuild._Rebuild, "_as_it_was", _as_it_was)


def _no_difference(patch: pytest.MonkeyPatch) -> None:
    """A keyed table is left as the earlier program had it."""
    patch.setattr(rebuild._KeyedTable, "give_difference", lambda self: None)


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "restored by position": _by_position,
    "appended twice": _appended_twice,
    "a new output starts empty": _appended_never,
    "past the positions": _past_the_positions,
    "not up to the positions": _not_up_to_the_positions,
    "no difference for keyed tables": _no_difference,
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(number: int) -> bool:
        try:
            check_change(f"planted:{number}", tmp_path / str(number))
        except (AssertionError, ThalwegError, ValueError, KeyError):
            return True
        return False

    BUGS[bug](monkeypatch)
    assert any(fails(number) for number in range(_CASES))
