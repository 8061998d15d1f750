"""A program is changed between two runs: what it shows is what the new one shows of all the input."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.recovery.changed import (
    CHANGING,
    Branch,
    Runs,
    Target,
    changed,
    drawn_branch,
    drawn_input,
    drawn_shown,
    outputs,
    rounded,
)

CASES, MANY = 200, 5_000


def drawn_change(rng: random.Random) -> tuple[list[Branch], list[Branch]]:
    old = [drawn_branch(rng, f"v{number}") for number in range(rng.randint(1, 3))]
    new = [changed(rng, branch) if rng.random() < 0.5 else branch for branch in old]
    if rng.random() < 0.3 and len(new) > 1:
        del new[rng.randrange(len(new))]
    if rng.random() < 0.4:
        new.insert(rng.randint(0, len(new)), drawn_branch(rng, "added"))
    rng.shuffle(new)
    return old, new


def loses(old: Sequence[Branch], new: Sequence[Branch]) -> bool:
    """Whether a view or a source of the old program is not in the new one."""
    gone = {branch.output for branch in old} - {branch.output for branch in new}
    read = {name for branch in old for name in branch.reads} - {name for branch in new for name in branch.reads}
    return bool(gone or read)


def check_change(seed: str, folder: Path) -> None:
    rng = random.Random(seed)
    given = drawn_input(rng)
    old, new = drawn_change(rng)
    runs, into = Runs(given, rng), Target()
    shown = None
    for _ in range(rng.choice([1, 1, 2])):
        shown = drawn_shown(rng, given, shown)
        runs.caught_up(old, shown, folder / "state", into)
    assert shown is not None
    before = {name: rounded(rows) for name, rows in into.rows.items()}
    loss = loses(old, new)
    if rng.random() < 0.5:
        runs.caught_up(new, drawn_shown(rng, given, shown), folder / "state", into, loss=loss)
    report = runs.to_the_end(new, folder / "state", into, loss=loss)

    at_once, prefix = Target(), Target()
    assert outputs(report) == outputs(runs.fresh(new, at_once)), seed
    # Of a source that the old program did not read nothing has been read.
    read = {name for branch in old for name in branch.reads}
    before_change = {name: dict.fromkeys(rows, 0) if name not in read else rows for name, rows in shown.items()}
    runs.caught_up(new, before_change, folder / "prefix", prefix)
    known = {branch.output for branch in old if branch.sunk}
    for branch in new:
        if branch.sunk:
            whole = rounded(at_once.rows.get(branch.output, []))
            if branch.operator not in CHANGING and branch.output in known:
                whole = whole - rounded(prefix.rows.get(branch.output, [])) + before.get(branch.output, rounded([]))
            assert rounded(into.rows.get(branch.output, [])) == whole, (seed, branch)


@pytest.fixture(autouse=True)
def nothing_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here, and syncing takes most of the time."""
    monkeypatch.setattr(os, "fdatasync", _done)
    monkeypatch.setattr(os, "fsync", _done)


def _done(descriptor: int) -> None:
    """What was written can be read again by this process."""


def test_a_changed_program_shows_what_it_would_have_shown_from_the_beginning(
    seed: str, torture: bool, tmp_path: Path
) -> None:
    for number in range(MANY if torture else CASES):
        check_change(f"{seed}:{number}", tmp_path / str(number))


@pytest.mark.parametrize("number", range(3))
def test_a_program_that_is_the_same_is_kept_whole(number: int, tmp_path: Path) -> None:
    rng = random.Random(number)
    given, into = drawn_input(rng), Target()
    branches = [drawn_branch(rng, "v0"), drawn_branch(rng, "v1")]
    runs = Runs(given, rng)
    runs.caught_up(branches, drawn_shown(rng, given, None), tmp_path / "state", into)
    report = runs.to_the_end(branches, tmp_path / "state", into)
    assert outputs(report) == outputs(runs.fresh(branches, Target()))
