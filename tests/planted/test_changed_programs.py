"""Bugs planted into how a changed program goes on: the test of generated changes finds each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.recovery import test_state_across_code as across
from tests.recovery.test_changed_programs import check_change, nothing_is_synced
from thalweg import ThalwegError
from thalweg.engine.embedded import rebuild, resume
from thalweg.engine.embedded.rows import NEVER
from thalweg.plan import difference
from thalweg.plan.nodes import Node, Plan
from thalweg.plan.prune import NeededColumns

_CASES = 60

__all__ = ["nothing_is_synced"]  # a fixture


def _by_position(patch: pytest.MonkeyPatch) -> None:
    """A step is given the state of the step that had its number."""

    def planted(plan: Plan, needed: NeededColumns) -> Mapping[Node, str]:
        return {node: str(number) for node, number in plan.numbers().items()}

    patch.setattr(resume, "state_fingerprints", planted)


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


BUGS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], int]] = {
    "restored by position": (_by_position, 12),
    "appended twice": (_appended_twice, 7),
    "a new output starts empty": (_appended_never, 7),
    "past the positions": (_past_the_positions, 2),
    "not up to the positions": (_not_up_to_the_positions, 2),
    "no difference for keyed tables": (_no_difference, 32),
}
"""Each bug, and the first case that found it: where the cases are drawn otherwise, another one does."""


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(number: int) -> bool:
        try:
            check_change(f"planted:{number}", tmp_path / f"{number}")
        except AssertionError:
            return True
        except (ThalwegError, ValueError, KeyError):  # found as well, but not by its results
            return False
        return False

    plant, first = BUGS[bug]
    plant(monkeypatch)
    assert any(fails(number) for number in dict.fromkeys([first, *range(_CASES)]))


def test_silence_that_is_forgotten_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = rebuild._Rebuild._as_it_was

    def planted(self: Any, intake: Any, saved: Any) -> None:
        true(self, intake, replace(saved, watermark=NEVER))
        for partition in intake.partitions.values():
            partition.idle = False

    monkeypatch.setattr(rebuild._Rebuild, "_as_it_was", planted)
    with pytest.raises(AssertionError):
        across.test_windows_that_closed_because_of_silence_are_not_given_again(tmp_path)


def test_a_last_bit_that_is_made_again_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difference._Comparison, "_to_remake", lambda *given: set())
    with pytest.raises(AssertionError):
        across.check_last_bits(tmp_path)
