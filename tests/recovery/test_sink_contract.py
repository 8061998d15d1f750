"""What every sink that records epochs promises: each epoch once, in order, from the state that it belongs to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from tests.recovery.sink_targets import TARGETS, Target, rows
from thalweg import SinkError
from thalweg.connect import _files_write, _topic, topic
from thalweg.core import sink_record
from thalweg.core.ports import WriteRequest
from thalweg.core.sink_record import SinkRecord
from thalweg.log import Log
from thalweg.log.claims import FILE as CLAIMS
from thalweg.state import table_output

Check = Callable[[Target, Path], None]


def each_epoch_counts_once(target: Target, folder: Path) -> None:
    writer = target.open(folder)
    assert writer.last_epoch() == 0
    writer.apply(2, 0, rows(1, 2))
    writer.apply(2, 0, rows(1, 2))
    writer.apply(5, 2, rows(3))
    writer.close()
    again = target.open(folder, term=2, epoch=2)
    assert again.last_epoch() == 5
    again.apply(2, 0, rows(1, 2))
    again.apply(5, 2, rows(3))
    again.apply(6, 5, rows(4))
    again.close()
    assert target.values(folder) == [1, 2, 3, 4]


def an_epoch_whose_predecessor_is_missing_is_refused(target: Target, folder: Path) -> None:
    writer = target.open(folder)
    writer.apply(1, 0, rows(1))
    with pytest.raises(SinkError, match=r"has the output up to epoch 1, and epoch 5 comes after 3: what is between is"):
        writer.apply(5, 3, rows(5))
    writer.close()
    assert target.values(folder) == [1]


def an_older_term_is_refused(target: Target, folder: Path) -> None:
    old = target.open(folder)
    old.apply(1, 0, rows(1))
    new = target.open(folder, term=2, epoch=1)
    with pytest.raises(SinkError, match=r"is written by a later start of this app \(2; this is start 1\); this one"):
        old.apply(2, 1, rows(9))
    old.close()
    with pytest.raises(SinkError, match="is written by a later start of this app"):
        target.open(folder, epoch=1)
    new.apply(2, 1, rows(2))
    new.close()
    assert target.values(folder) == [1, 2]


def a_second_run_on_a_copy_of_the_state_is_refused(target: Target, folder: Path) -> None:
    first, second = target.open(folder), target.open(folder)
    first.apply(1, 0, rows(1))
    with pytest.raises(SinkError, match="has epoch 1 of this state from another run, which goes on with a copy of it"):
        second.apply(1, 0, rows(9))
    first.apply(2, 1, rows(2))
    first.close()
    second.close()
    assert target.values(folder) == [1, 2]


def a_foreign_run_is_refused_unless_it_replaces_what_is_there(target: Target, folder: Path) -> None:
    first = target.open(folder)
    first.apply(1, 0, rows(1))
    first.close()
    ways = r"Go on with the state that wrote it \(name its data=\), replace .* \(replace_output=True, --rep.*, or name"
    with pytest.raises(SinkError, match=rf"has the output of another state of the app app\. {ways} another output"):
        target.open(folder, run="other")
    assert target.values(folder) == [1]
    first = target.open(folder, term=2, epoch=1)
    first.apply(2, 1, rows(2))
    assert target.values(folder) == [1, 2]
    other = target.open(folder, run="other", foreign="replaced")
    assert (other.last_epoch(), target.values(folder)) == (0, [])
    with pytest.raises(SinkError, match="has by now the output of another run, or none; nothing was written"):
        first.apply(3, 2, rows(9))
    first.close()
    other.apply(1, 0, rows(7))
    other.close()
    with pytest.raises(SinkError, match=r"has something else by now than what this state has written there, up to ep"):
        target.open(folder, term=3, epoch=2, foreign="replaced")
    assert target.values(folder) == [7]


def a_target_that_lost_what_it_had_is_refused(target: Target, folder: Path) -> None:
    with pytest.raises(SinkError, match=r"no record any more of what this state has written there, up to epoch 3\. R"):
        target.open(folder, term=2, epoch=3, foreign="replaced")


CHECKS: tuple[Check, ...] = (
    each_epoch_counts_once,
    an_epoch_whose_predecessor_is_missing_is_refused,
    an_older_term_is_refused,
    a_second_run_on_a_copy_of_the_state_is_refused,
    a_foreign_run_is_refused_unless_it_replaces_what_is_there,
    a_target_that_lost_what_it_had_is_refused,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", TARGETS)
def test_every_sink(name: str, check: Check, tmp_path: Path) -> None:
    check(TARGETS[name], tmp_path)


# ---------------------------------------------------------------------- planted bugs


def _any_term(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sink_record, "_check_term", lambda *given: None)


def _any_run(patch: pytest.MonkeyPatch) -> None:
    true = sink_record.goes_on

    def planted(record: SinkRecord | None, request: WriteRequest, target: str, *, empty: bool) -> bool:
        if record is not None and record.run != request.run:
            record = replace(record, run=request.run, term=0)
        return true(record, request, target, empty=empty)

    for module in (_files_write, _topic, table_output):
        patch.setattr(module, "goes_on", planted)


def _applied_again(patch: pytest.MonkeyPatch) -> None:
    true = sink_record.may_apply

    def planted(found: SinkRecord | None, own: SinkRecord, epoch: int, previous: int, target: str) -> bool:
        return epoch <= own.epoch or true(found, own, epoch, previous, target)

    for module in (_files_write, _topic, table_output):
        patch.setattr(module, "may_apply", planted)


def _any_predecessor(patch: pytest.MonkeyPatch) -> None:
    true = sink_record.may_apply

    def planted(found: SinkRecord | None, own: SinkRecord, epoch: int, previous: int, target: str) -> bool:
        return true(found, own, epoch, own.epoch, target)

    for module in (_files_write, _topic, table_output):
        patch.setattr(module, "may_apply", planted)


PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Check, tuple[str, ...]]] = {
    "an older term accepted": (_any_term, an_older_term_is_refused, tuple(TARGETS)),
    "a foreign run accepted": (
        _any_run,
        a_foreign_run_is_refused_unless_it_replaces_what_is_there,
        tuple(TARGETS),
    ),
    # A file has the name of its epoch, and a frame is dropped by its partition: they have it once in any case.
    "an epoch applied twice": (_applied_again, each_epoch_counts_once, ("sqlite", "duckdb")),
    "an epoch left out": (_any_predecessor, an_epoch_whose_predecessor_is_missing_is_refused, tuple(TARGETS)),
}


@pytest.mark.parametrize(("bug", "name"), [(bug, name) for bug, (*_, names) in PLANTED.items() for name in names])
def test_the_checks_find_planted_bugs(bug: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, check, _ = PLANTED[bug]
    plant(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, SinkError)):
        check(TARGETS[name], tmp_path)


# ---------------------------------------------------------------------- whole runs


def run(target: Target, folder: Path, data: str, output: str = "out", **options: Any) -> None:
    app = tw.App("app")
    app.read(topic("in", log=folder / "log")).write(target.sink(folder, output))
    app.run(data=folder / data, until="caught-up", quiet=True, **options)


def given(folder: Path, *values: int) -> None:
    schema = pa.schema([("v", pa.int64())])
    Log(folder / "log").create("in", schema).append([{"v": value} for value in values])


@pytest.mark.parametrize("name", TARGETS)
def test_a_state_that_was_deleted_has_three_ways_out(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    given(tmp_path, 1, 2)
    run(target, tmp_path, "data")
    (tmp_path / "data").rename(tmp_path / "lost")
    given(tmp_path, 3)
    with pytest.raises(SinkError, match="has the output of another state of the app app"):
        run(target, tmp_path, "data")
    assert target.values(tmp_path) == [1, 2], "what is refused touches nothing"

    run(target, tmp_path, "lost")
    assert target.values(tmp_path) == [1, 2, 3], "the state that wrote it goes on"

    run(target, tmp_path, "data", "other")
    assert target.read(tmp_path, "other") == [1, 2, 3], "another output"

    shutil.rmtree(tmp_path / "data")
    run(target, tmp_path, "data", replace_output=True)
    assert target.values(tmp_path) == [1, 2, 3], "replaced, not added to"
    given(tmp_path, 4)
    run(target, tmp_path, "data", replace_output=True)
    assert target.values(tmp_path) == [1, 2, 3, 4], "one's own output is gone on with"
    with pytest.raises(SinkError, match="has something else by now than what this state has written there"):
        run(target, tmp_path, "lost", replace_output=True)


@pytest.mark.parametrize("name", ["files", "sqlite", "duckdb"])
def test_a_batch_and_a_run_without_state_are_replaced_by_whoever_comes(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    given(tmp_path, 1, 2)
    app = tw.App("app")
    app.read(topic("in", log=tmp_path / "log")).write(target.sink(tmp_path, "out"))
    for _ in range(2):
        app.batch()
        assert target.values(tmp_path) == [1, 2]
    for _ in range(2):
        app.run(data=None, until="end", quiet=True)
        assert target.values(tmp_path) == [1, 2]
    run(target, tmp_path, "data")
    assert target.values(tmp_path) == [1, 2]
    given(tmp_path, 3)
    run(target, tmp_path, "data")  # now the state has let go of its first rows
    with pytest.raises(SinkError, match="has the output of another state"):
        app.run(data=None, until="end", quiet=True)
    app.batch()
    assert target.values(tmp_path) == [1, 2, 3]
    with pytest.raises(SinkError, match=r"has something else by now than what|has no record any more of what"):
        run(target, tmp_path, "data")


def test_late_and_rejected_rows_of_a_new_state_join_those_of_the_old_one(tmp_path: Path) -> None:
    given(tmp_path, 1, 2)

    def odd_fails(row: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("odd")

    def go() -> None:
        app = tw.App("app")
        app.read(topic("in", log=tmp_path / "log")).map(odd_fails, schema=pa.schema([("v", pa.int64())])).write(
            TARGETS["files"].sink(tmp_path, "out")
        )
        app.run(data=tmp_path / "data", until="caught-up", quiet=True, replace_output=True)

    go()
    (tmp_path / "data" / "log").rename(tmp_path / "kept")
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data").mkdir()
    (tmp_path / "kept").rename(tmp_path / "data" / "log")
    go()
    assert Log(tmp_path / "data" / "log").topic("app.errors").end() == 4


def test_claims_that_are_damaged_are_named_and_kept(tmp_path: Path) -> None:
    target = TARGETS["topic"]
    target.open(tmp_path).close()
    path = tmp_path / "log" / "out" / CLAIMS
    path.write_bytes(path.read_bytes().replace(b'"r"', b'"x"'))
    damaged = path.read_bytes()
    with pytest.raises(SinkError, match=r"writers\.json is damaged.*: the checksum of the topic's writers is wrong"):
        target.open(tmp_path, run="x")
    assert path.read_bytes() == damaged


def test_a_topic_without_claims_is_claimed_by_who_has_written_it(tmp_path: Path) -> None:
    target = TARGETS["topic"]
    writer = target.open(tmp_path)
    writer.apply(1, 0, rows(1))
    writer.close()
    (tmp_path / "log" / "out" / CLAIMS).unlink()
    again = target.open(tmp_path, term=2, epoch=1)
    assert again.last_epoch() == 1
    again.close()
