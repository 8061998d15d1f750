"""S1, C7, R5: whatever is killed and whenever, the outputs are those of a run that nothing interrupts, to the row."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.conftest import either_folder, fast_folder
from tests.attacks.run import attack
from tests.kills.bugs import PATCHES
from tests.kills.operators import OPERATORS
from tests.kills.targets import TARGETS

__all__ = ["either_folder", "fast_folder"]


def test_outputs_are_those_of_a_run_that_nothing_interrupts(either_folder: Path, seed: str, torture: bool) -> None:
    kills = (10_000 if torture else 60) // 2
    report = attack("tests.kills.campaign", either_folder, seed, kills=kills, timeout_s=36_000 if torture else 110)
    assert report.faults == ()
    assert report.counts["kills"] >= kills and report.counts["looks"] > 0
    for name in (*OPERATORS, *TARGETS):
        assert report.counts.get(name, 0) > 0, f"{name} was not met by any kill"


FOUND = {
    "sources acknowledged before the manifest": ("union", "topic", ""),
    "the outbox applied twice": ("dedupe", "topic", "too many"),
    "a checkpoint without one operator's state": ("session", "topic", ""),
    "the manifest before the state files": ("top-k", "view", "cannot be read"),
    "outputs applied before the manifest": ("map", "files, NDJSON", "visible before its checkpoint"),
    "a file visible before it is whole": ("union", "files, Parquet", "Parquet"),
}
"""By bug: an operator and a target that it does harm to, and a word of what is found."""


@pytest.mark.parametrize("bug", PATCHES)
def test_a_planted_bug_is_found(bug: str, fast_folder: Path, seed: str) -> None:
    operator, target, word = FOUND[bug]
    report = attack(
        "tests.kills.campaign",
        fast_folder,
        seed,
        bug=bug,
        kills=1,
        operators=[operator],
        targets=[target],
        step_rows=[20],
    )
    assert any(word in fault for fault in report.faults), report
