"""Whatever a body is, the answer blames no server, and the log is what was answered."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from tests.serve import fuzzing
from tests.serve.conftest import Order
from tests.serve.fuzzing import campaign
from thalweg.core.errors import LogError
from thalweg.log import Appended, Log, Topic, disk


@pytest.fixture(autouse=True)
def without_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the waits for the medium: what is told apart here is told apart in the files."""
    monkeypatch.setattr(disk, "sync", lambda fd: None)


@pytest.mark.timeout(36_000)
def test_broken_bodies(rng: random.Random, tmp_path: Path, torture: bool) -> None:
    count = 1_000_000 if torture else 10_000
    assert campaign(rng, tmp_path / "log", count) > count // 4


def test_a_row_that_is_answered_and_not_stored_is_found(
    rng: random.Random, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = Topic.append_each

    def planted(self: Topic, tables: Sequence[pa.Table]) -> list[list[Appended] | LogError]:
        found = true(self, [table.slice(0, max(1, len(table) - 1)) for table in tables])
        return [
            [place._replace(count=len(table)) for place in result] if isinstance(result, list) else result
            for table, result in zip(tables, found, strict=True)
        ]

    monkeypatch.setattr(Topic, "append_each", planted)
    with pytest.raises(AssertionError):
        campaign(rng, tmp_path / "log", 300)


def test_a_repeated_id_that_is_taken_is_found(
    rng: random.Random, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(path: Path) -> Log:
        log = Log(path)
        log.create("events")
        for name in ("orders", "once"):  # the second one should have id="id"
            log.create(name, Order)
        return log

    monkeypatch.setattr(fuzzing, "make_topics", planted)
    with pytest.raises(AssertionError, match="an id is there twice"):
        campaign(rng, tmp_path / "log", 300)
