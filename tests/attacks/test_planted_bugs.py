"""The attacks find each planted bug; without one they find nothing, which the other tests show."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.attacks import mounted, shim
from tests.attacks.bugs import PATCHES, planted
from tests.attacks.run import attack


@dataclass(frozen=True, slots=True)
class Found:
    """Which attack finds a bug.

    Attributes:
        name: The campaign.
        options: What it is told (Any: of each campaign its own).
        says: A word of what it finds.
    """

    name: str
    options: Mapping[str, Any]
    says: str

    @property
    def preload(self) -> bool:
        """Whether it needs the shim."""
        return self.name == "calls"


def _power(scene: str, **options: object) -> Found:
    return Found("calls", {"scenes": [scene], "ways": [], "cuts_whole": 1_000, **options}, "power lost")


FOUND = {
    "no sync": _power("append"),
    "acknowledged before the sync": _power("append"),
    "no directory sync": _power("roll"),
    "retry after a failed sync": Found("calls", {"scenes": ["append"], "ways": ["SYNC_EIO"], "cuts": 3}, "SYNC_EIO"),
    "a short write taken for a whole one": Found("calls", {"scenes": ["append"], "ways": ["SHORT"]}, "SHORT"),
    "checksum unchecked": Found("damage", {"count": 400}, ".seg"),
    "a torn tail stays": Found("calls", {"scenes": ["torn"], "ways": ["KILL"]}, "scene torn"),
    "rows past the published end dropped": _power("append"),
    "a duplicate id accepted": Found("kill", {"kills": 100, "kinds": ["id"]}, "row"),
    "no space taken for any error": Found("full", {"rounds": 2}, "WriterPoisoned"),
    "no lock": Found("race", {"rounds": 3}, "round"),
}


@pytest.mark.parametrize("bug", PATCHES)
def test_an_attack_finds_the_bug(bug: str, fast_folder: Path, tmp_path: Path, seed: str) -> None:
    found = FOUND[bug]
    if found.preload and (reason := shim.why_not()):
        pytest.skip(reason)
    if found.name == "full" and (reason := mounted.why_not()):
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        folder = fast_folder
        if found.name == "full":
            try:
                folder = stack.enter_context(mounted.small_tmpfs(tmp_path / "small", "512k"))
            except PermissionError as e:
                pytest.skip(str(e))
        report = attack(found.name, folder, seed, preload=found.preload, bug=bug, **found.options)
    assert any(found.says in fault for fault in report.faults), report


def test_every_bug_has_an_attack_and_an_unknown_one_is_refused() -> None:
    assert set(FOUND) == set(PATCHES)
    with pytest.raises(LookupError, match='no patch plants "rust"'), planted("rust"):
        raise AssertionError("the block must not run")
