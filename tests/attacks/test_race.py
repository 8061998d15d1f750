"""D7: processes that append at once get gapless, unique offsets; one that is stopped only makes others wait."""

from __future__ import annotations

from pathlib import Path

from tests.attacks.run import attack


def test_racing_processes_share_the_offsets_without_gap_or_repeat(
    either_folder: Path, seed: str, torture: bool
) -> None:
    rounds = (1_000 if torture else 20) // 2
    report = attack("race", either_folder, seed, rounds=rounds, timeout_s=36_000 if torture else 110)
    assert report.faults == ()
    assert report.counts["rounds"] == rounds and report.counts["stops"] == 3 * rounds
