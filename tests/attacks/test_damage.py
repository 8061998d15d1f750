"""D4: damage is never read as rows, never crashes, and is named by file and position."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.run import attack

PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_changed_bytes_are_named_and_never_read(fast_folder: Path, part: int, seed: str, torture: bool) -> None:
    # What is written twice, or not read, can be changed without harm; most of a topic is neither.
    count = (1_000_000 if torture else 4_200) // PARTS
    report = attack("damage", fast_folder, seed, count=count, timeout_s=36_000 if torture else 110)
    assert report.faults == ()
    assert report.counts["damages"] >= count
    assert report.counts["named"] > report.counts["damages"] / 2


def test_every_truncation_is_named_or_recovered(fast_folder: Path, seed: str, torture: bool) -> None:
    stride = 1 if torture else 17
    report = attack("damage", fast_folder, seed, stride=stride, timeout_s=36_000 if torture else 110)
    assert report.faults == ()
    assert report.counts["damages"] >= report.counts["bytes"] // stride


def test_every_missing_file_is_named_or_made_again(fast_folder: Path, seed: str) -> None:
    report = attack("damage", fast_folder, seed, removals=True)
    assert report.faults == ()
    assert report.counts["named"] >= report.counts["damages"] / 2 >= 5
