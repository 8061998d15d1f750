"""D2: after a loss of power, what was acknowledged is readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks import mounted, shim
from tests.attacks.run import attack
from tests.attacks.scenes import SCENES

PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_what_was_acknowledged_survives_power_cuts_of_a_file_system(
    tmp_path: Path, part: int, seed: str, torture: bool
) -> None:
    if reason := mounted.why_not("mkfs.ext4") or mounted.why_no_loop(tmp_path / "try"):
        pytest.skip(reason)
    cuts = (20_000 if torture else 200) // PARTS
    report = attack("cut", tmp_path, seed, cuts=cuts, timeout_s=36_000 if torture else 110)
    assert report.faults == ()
    assert report.counts["cuts"] >= cuts and report.counts["rows acknowledged"] > cuts


@pytest.mark.parametrize("scene", SCENES)
def test_what_was_acknowledged_survives_a_loss_at_every_call(
    fast_folder: Path, scene: str, seed: str, torture: bool
) -> None:
    if reason := shim.why_not():
        pytest.skip(reason)
    for turn in range(20 if torture else 1):
        folder = fast_folder / str(turn)
        folder.mkdir()
        report = attack("calls", folder, f"{seed}:{turn}", preload=True, scenes=[scene], ways=[], cuts_whole=100_000)
        assert report.faults == ()
        assert report.counts["cuts"] > 20
