"""D1: after a SIGKILL at any instant, what was acknowledged is readable, and nothing is torn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.run import attack

PARTS = 8


@pytest.mark.parametrize("part", range(PARTS))
def test_what_was_acknowledged_survives_kills(either_folder: Path, part: int, seed: str, torture: bool) -> None:
    kills = (100_000 if torture else 2_000) // (2 * PARTS)
    report = attack("kill", either_folder, seed, kills=kills, timeout_s=36_000 if torture else 110)
    assert report.faults == ()
    assert report.counts["kills"] >= kills
    assert report.counts["heals"] > 0 and report.counts["rows acknowledged"] > kills
