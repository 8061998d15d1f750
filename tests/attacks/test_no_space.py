"""D6: a full file system refuses appends by type, lets reads go on, and harms nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks import mounted
from tests.attacks.run import attack


def test_a_full_file_system_refuses_and_appends_resume_by_themselves(tmp_path: Path, seed: str, torture: bool) -> None:
    rounds = 2_000 if torture else 50
    if reason := mounted.why_not():
        pytest.skip(reason)
    try:
        with mounted.small_tmpfs(tmp_path / "small", "512k") as folder:
            report = attack("full", folder, seed, rounds=rounds, timeout_s=36_000 if torture else 110)
    except PermissionError as e:
        pytest.skip(str(e))
    assert report.faults == ()
    assert report.counts["rounds"] == report.counts["refused"] == rounds
