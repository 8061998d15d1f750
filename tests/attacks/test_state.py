"""C7: a checkpoint is the old or the new, never a mixture; damage is found, and what is said about it helps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.attacks import shim, state_bugs
from tests.attacks.run import attack

needs_shim = pytest.mark.skipif(bool(shim.why_not()), reason=shim.why_not() or "it is possible here")

# Each call in each of these ways; the short form takes a few of them, others for each way.
WAYS = ["KILL", "TEAR", "EIO", "ENOSPC", "SHORT", "FULL"]


@needs_shim
def test_every_call_may_fail_or_be_the_last(fast_folder: Path, seed: str, torture: bool) -> None:
    report = attack(
        "state_calls",
        fast_folder,
        seed,
        preload=True,
        ways=WAYS,
        stride=1 if torture else 61,
        cuts=10_000 if torture else 3,
        timeout_s=36_000 if torture else 110,
    )
    assert report.faults == ()
    assert report.counts["killed"] > 0
    assert report.counts["refused"] > 0
    assert report.counts["cuts"] >= 12


def test_damage_of_any_file_stops_the_run_and_an_older_checkpoint_can_be_gone_on_from(
    fast_folder: Path, seed: str, torture: bool
) -> None:
    report = attack(
        "state_damage",
        fast_folder,
        seed,
        count=20_000 if torture else 200,
        recoveries=200 if torture else 5,
        timeout_s=36_000 if torture else 110,
    )
    assert report.faults == ()
    assert report.counts["damages"] >= 150  # what leaves the bytes as they were is none
    assert report.counts["recovered"] > 0


FOUND: Mapping[str, tuple[str, dict[str, Any]]] = {
    "rename without sync": ("state_calls", {"scenes": ["begin"], "cuts": 200, "losses": ["all"]}),
    "a file not synced": ("state_calls", {"scenes": ["begin"], "cuts": 20}),
    "names of files not synced": ("state_calls", {"scenes": ["begin"], "cuts": 20}),
    "a manifest written before its files": ("state_calls", {"scenes": ["begin"], "ways": ["KILL"], "stride": 4}),
    "checksum unchecked": ("state_damage", {"count": 20}),
    "checksum of the manifest unchecked": ("state_damage", {"count": 60}),
    "files removed before the commit": ("state_calls", {"scenes": ["go on"], "ways": ["KILL"], "stride": 4}),
}
"""Which attack finds which bug."""


@pytest.mark.parametrize("bug", state_bugs.PATCHES)
def test_an_attack_finds_the_bug(bug: str, fast_folder: Path, seed: str) -> None:
    name, options = FOUND[bug]
    if name == "state_calls" and (reason := shim.why_not()):
        pytest.skip(reason)
    report = attack(name, fast_folder, seed, preload=name == "state_calls", bug=bug, **options)
    assert report.faults


def test_every_bug_has_an_attack_and_an_unknown_one_is_refused() -> None:
    assert set(FOUND) == set(state_bugs.PATCHES)
    with pytest.raises(LookupError, match='no patch plants "rust"'), state_bugs.planted("rust"):
        raise AssertionError("the block must not run")
