"""A log that is rotated, filled or removed between any two looks that its reader takes at it: every line once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.tail_follower import Follower, add
from thalweg.connect import _tail_files, _tail_read
from thalweg.connect._tail_files import PlainFile

Act = Callable[[Path], None]


class Looks:
    """Counts the looks at files, and lets something happen right before one of them."""

    def __init__(self) -> None:
        self.left = -1
        self.act: Callable[[], None] = lambda: None

    def before(self, number: int, act: Callable[[], None]) -> None:
        self.left, self.act = number, act

    def look(self) -> None:
        self.left -= 1
        if not self.left:
            self.act()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    found = Looks()

    def watched(true: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            found.look()
            return true(*given, **named)

        return call

    for name in ("__init__", "read", "status"):
        monkeypatch.setattr(PlainFile, name, watched(getattr(PlainFile, name)))
    monkeypatch.setattr(_tail_files, "_entries", watched(_tail_files._entries))
    for module in (_tail_files, _tail_read):
        for name in ("status_of", "rotated_of", "find"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, watched(getattr(module, name)))
    monkeypatch.setattr("thalweg.connect._tail.rotated_of", watched(_tail_files.rotated_of))
    yield found


def shift(log: Path) -> None:
    for number in range(9, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.rename(log.with_name(f"{log.name}.{number + 1}"))


def rename(log: Path) -> None:
    shift(log)
    log.rename(log.with_name(f"{log.name}.1"))


def copy(log: Path) -> None:
    shift(log)
    hidden = log.with_name("hidden")
    hidden.write_bytes(log.read_bytes())
    hidden.rename(log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)


def lines(first: int, count: int) -> list[str]:
    return [f"line {n} {'x' * (n % 5 * 40)}" for n in range(first, first + count)]


@pytest.mark.parametrize("started_anew", [False, True], ids=["goes on", "started anew"])
@pytest.mark.parametrize("seen", [0, 3, 30])
@pytest.mark.parametrize("after", [0, 40], ids=["stays empty", "is filled"])
@pytest.mark.parametrize("rotate", [rename, copy])
def test_a_rotation_between_any_two_looks(
    rotate: Act, after: int, seen: int, started_anew: bool, tmp_path: Path, looks: Looks
) -> None:
    """A log of which some lines were read gets more, is read again, and is rotated in the middle of that."""
    for number in range(1, 10**6):
        folder = tmp_path / str(number)
        folder.mkdir()
        log = folder / "app.log"
        for age in (2, 1):  # logs of before, so that names shift
            add(log.with_name(f"app.log.{age}"), f"old {age}\n")
        written = ["old 2", "old 1", *lines(0, seen)]
        add(log, "".join(f"{line}\n" for line in lines(0, seen)))
        follower = Follower(f"{log}*", partition="app.log")
        follower.catch_up()
        add(log, "".join(f"{line}\n" for line in lines(seen, 20)))
        written += lines(seen, 20)

        def act(log: Path = log, written: list[str] = written) -> None:
            end = lines(seen + 20, 5)
            add(log, "".join(f"{line}\n" for line in end))
            rotate(log)
            new = lines(seen + 25, after)
            add(log, "".join(f"{line}\n" for line in new))
            written += end + new

        looks.before(number, act)
        if started_anew:
            follower.start()
        while follower.step(timeout_s=0.01) is None:
            pass
        has_happened = looks.left <= 0
        if not has_happened:
            looks.left = -1
            act()
        follower.catch_up()
        add(log, "more\n")
        written.append("more")
        follower.catch_up()
        follower.stop()
        counts = Counter(follower.rows)
        lost = [line for line in written if line not in counts]
        twice = [line for line, count in counts.items() if count > 1]
        assert (lost, twice, follower.rejected) == ([], [], []), f"before look {number}"
        assert follower.rows == written
        if not has_happened:
            return
