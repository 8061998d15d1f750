"""Small appends of several threads become one; each of them is told of its own rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from thalweg.core.errors import LogError, NoSpace, RowsRefused
from thalweg.log import Appended, Log, Topic, disk, gathering

SCHEMA = pa.schema([pa.field("user", pa.string(), False), ("n", pa.int64()), ("text", pa.string())])
Rows = list[dict[str, object]]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log", upkeep=False)


def row(user: str, n: object, text: str = "") -> dict[str, object]:
    return {"user": user, "n": n, "text": text}


def together(
    topic: Topic, calls: Sequence[tuple[Rows, int | None]], patch: pytest.MonkeyPatch
) -> list[list[Appended] | LogError]:
    """Make calls of which all but the first wait while that is synced, and return what each gave or raised."""
    free, inside, true = threading.Event(), threading.Event(), disk.sync
    topic.append([row("first", -1)], calls[0][1])  # opens the files

    def slow(fd: int) -> None:
        inside.set()
        free.wait(20)
        true(fd)

    found: list[list[Appended] | LogError] = [[] for _ in calls]

    def call(place: int) -> None:
        try:
            found[place] = topic.append(*calls[place])
        except LogError as error:
            found[place] = error

    patch.setattr(disk, "sync", slow)
    threads = [threading.Thread(target=call, args=(place,)) for place in range(len(calls))]
    threads[0].start()
    assert inside.wait(20)
    for thread in threads[1:]:
        thread.start()
    queue = topic._gathering._turns._queue
    until = time.monotonic() + 20
    while len(queue) < len(calls) - 1 and time.monotonic() < until:
        time.sleep(0.001)
    assert len(queue) == len(calls) - 1
    free.set()
    for thread in threads:
        thread.join()
    patch.setattr(disk, "sync", true)
    return found


def stored(topic: Topic, appended: Sequence[Appended]) -> Rows:
    rows: Rows = []
    for place in appended:
        rows += topic.read(place.partition, place.offset, place.count).to_pylist()
    return sorted(rows, key=str)


@pytest.mark.parametrize("options", [{}, {"partitions": 3, "key": "user"}, {"partitions": 3}])
def test_each_call_is_told_where_its_own_rows_are(
    log: Log, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = log.create("t", SCHEMA, **options)
    calls: list[tuple[Rows, int | None]] = [
        ([row(f"u{n % 5}", 10 * i + n) for n in range(1 + i % 4)], None) for i in range(12)
    ]
    before = topic.stats.groups
    found = together(topic, calls, monkeypatch)
    for (rows, _), appended in zip(calls, found, strict=True):
        assert isinstance(appended, list)
        assert stored(topic, appended) == sorted(rows, key=str)
    assert topic.stats.rows == 1 + sum(len(rows) for rows, _ in calls)
    assert topic.stats.groups - before <= 3 * options.get("partitions", 1)


def test_calls_for_several_partitions_go_where_they_are_told(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = log.create("t", SCHEMA, partitions=2)
    calls = [([row("ann", i)], i % 2) for i in range(8)]
    found = together(topic, calls, monkeypatch)
    for (rows, partition), appended in zip(calls, found, strict=True):
        assert isinstance(appended, list)
        assert [place.partition for place in appended] == [partition]
        assert stored(topic, appended) == rows


def test_a_call_with_a_bad_row_is_refused_alone(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = log.create("t", SCHEMA)
    calls: list[tuple[Rows, int | None]] = [([row("ann", i)], None) for i in range(6)]
    calls[3] = ([row("ann", 3), row("bob", "many")], None)
    found = together(topic, calls, monkeypatch)
    refused = found[3]
    assert isinstance(refused, RowsRefused)
    assert (refused.row, refused.column) == (1, "n")
    for place, appended in enumerate(found):
        if place != 3:
            assert isinstance(appended, list)
            assert stored(topic, appended) == calls[place][0]
    assert topic.end() == 6


def test_a_repeat_within_a_group_is_appended_once(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = log.create("t", SCHEMA, id="user")
    calls: list[tuple[Rows, int | None]] = [([row("a", 0)], None)]
    calls += [([row(name, i)], None) for i, name in enumerate(["b", "c", "b", "a", "d"], start=1)]
    found = together(topic, calls, monkeypatch)
    counts = [sum(place.count for place in appended) for appended in found if isinstance(appended, list)]
    assert sorted(counts) == [0, 0, 1, 1, 1, 1]
    assert sorted(topic.read()["user"].to_pylist()) == ["a", "b", "c", "d", "first"]


def test_long_values_are_appended_by_themselves(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = log.create("t", SCHEMA)
    calls: list[tuple[Rows, int | None]] = [([row("ann", i, "x" * 400_000)], None) for i in range(5)]
    found = together(topic, calls, monkeypatch)
    assert topic.end() == 6
    for (rows, _), appended in zip(calls, found, strict=True):
        assert isinstance(appended, list)
        assert stored(topic, appended) == rows


def test_after_a_failed_sync_no_call_of_the_group_is_acknowledged(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = log.create("t", SCHEMA)
    true = disk.sync
    turns: list[int] = []

    def broken(fd: int) -> None:
        turns.append(fd)
        if len(turns) == 3:  # the one of all who waited
            raise OSError(5, "the disk is broken")
        true(fd)

    monkeypatch.setattr(disk, "sync", broken)
    found = together(topic, [([row("ann", i)], None) for i in range(6)], monkeypatch)
    assert isinstance(found[0], list)
    assert all(isinstance(one, LogError) for one in found[1:])
    with pytest.raises(LogError, match="took no more appends"):
        topic.append([row("ann", 9)])


def test_a_call_that_finds_no_room_does_not_speak_for_those_before_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = log.create("t", SCHEMA)
    true = topic._gathering._commit
    commits: list[int] = []

    def commit(table: pa.Table, *more: Any) -> Any:
        commits.append(len(table))
        if len(commits) == 4:  # two before it were appended alone, as the one with the bad row made them
            raise NoSpace("the disk is full")
        return true(table, *more)

    calls: list[tuple[Rows, int | None]] = [([row("ann", i)], None) for i in range(5)]
    calls[4] = ([row("bob", "many")], None)
    monkeypatch.setattr(topic._gathering, "_commit", commit)
    found = together(topic, calls, monkeypatch)
    refused = [one for one in found if not isinstance(one, list)]
    assert sorted(type(one).__name__ for one in refused) == ["NoSpace", "RowsRefused"]
    for (rows, _), appended in zip(calls, found, strict=True):
        if isinstance(appended, list):
            assert stored(topic, appended) == rows
    assert topic.end() == 1 + 3


def _bug_shared_evenly(group: Sequence[Any], requests: Sequence[tuple[Any, Any]]) -> None:
    # Every call gets the first place of the group.
    for call in group:
        call.appended = [Appended(part.partition, one.first, len(call.rows)) for part, one in requests]


def test_the_tests_find_places_that_are_another_calls(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_share_out", _bug_shared_evenly)
    check: Callable[..., None] = test_each_call_is_told_where_its_own_rows_are
    with pytest.raises(AssertionError):
        check(log, {}, monkeypatch)
