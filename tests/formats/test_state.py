"""State of every released format is gone on from for ever."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from tests.formats import make_state_1
from tests.formats.make_state_1 import app_of
from thalweg.state import manifests

SAME = ("epoch", "format", "time_us", "sealed", "redriven", "ledger")
STORED = Path(__file__).parent / "state_1"


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the stored state and of the topic that it writes to, in a folder that is the process's."""
    monkeypatch.chdir(shutil.copytree(STORED, tmp_path / "stored"))
    for name in ("files", "outbox"):
        Path("data", name).mkdir(exist_ok=True)
    return Path("data")


def rows(report: Any) -> dict[str, list[dict[str, Any]]]:
    return {name: report.view(name).to_pylist() for name in ("table", "windows")}


def appended() -> pa.Table:
    return tw.Log("log").topic("out").read(limit=1_000)


@pytest.mark.parametrize("epoch", [None, 3])
def test_a_stored_state_is_whole_and_gone_on_from(stored: Path, epoch: int | None) -> None:
    kept = manifests.kept(stored)
    assert [each.epoch for each in kept] == [3, 2, 1]
    assert [manifests.damage_of(stored, each) for each in kept] == [[], [], []]
    assert all(stored_file.rows and stored_file.size_bytes for each in kept for stored_file in each.files)
    app = app_of(60, Path("log"))
    report = app.run(data=stored, until="end", quiet=True, recover_from=epoch)
    assert report.rows_in == 30
    assert rows(report) == rows(app_of(60, Path("elsewhere")).batch())
    assert appended()["v"].to_pylist() == [n * n % 17 for n in range(60)]


def test_what_is_written_today_says_the_same(stored: Path) -> None:
    make_state_1.make(Path("new"), Path("newlog"))
    for before, now in zip(manifests.kept(stored), manifests.kept(Path("new")), strict=True):
        assert before.body is not None
        assert now.body is not None
        assert before.body.keys() == now.body.keys()
        assert [before.body[part] for part in SAME] == [now.body[part] for part in SAME]
        frames = [
            {stage["step"]: sorted(stage["frames"]) for stage in body["stages"].values()}
            for body in (before.body, now.body)
        ]
        assert frames[0] == frames[1]
