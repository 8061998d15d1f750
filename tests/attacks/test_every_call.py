"""D3 and D5: whichever call fails or is the last, what was acknowledged is there, and the log goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks import shim
from tests.attacks.run import attack
from tests.attacks.scenes import SCENES

pytestmark = pytest.mark.skipif(bool(shim.why_not()), reason=shim.why_not() or "it is possible here")

# Each call in each of these ways; the short form takes every third, another third for each way.
WAYS = ["KILL", "TEAR", "EIO", "ENOSPC", "SHORT", "FULL"]


@pytest.mark.parametrize("scene", SCENES)
def test_every_call_may_fail_or_be_the_last(fast_folder: Path, scene: str, seed: str, torture: bool) -> None:
    stride = 1 if torture else 3
    report = attack(
        "calls",
        fast_folder,
        seed,
        preload=True,
        scenes=[scene],
        ways=WAYS,
        stride=stride,
        cuts=40 if torture else 1,
        timeout_s=36_000 if torture else 110,
    )
    assert report.faults == ()
    assert report.counts["runs"] + report.counts["idle"] >= len(WAYS) * (report.counts["calls"] // stride)


@pytest.mark.parametrize("scene", SCENES)
def test_after_any_failed_sync_nothing_is_acknowledged_by_that_handle(
    fast_folder: Path, scene: str, seed: str, torture: bool
) -> None:
    cuts = 1_000 if torture else 3
    report = attack(
        "calls",
        fast_folder,
        seed,
        preload=True,
        scenes=[scene],
        ways=["SYNC_EIO"],
        cuts=cuts,
        timeout_s=36_000 if torture else 110,
    )
    assert report.faults == ()
    assert report.counts["fired"] == report.counts["runs"] - 1 >= 1
