"""Outputs that record epochs have each row once, wherever a run dies on the way to them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import SinkError, StateError, col
from thalweg.connect import _files_write, _sqlite, files, sqlite, topic, view
from thalweg.connect import _topic as topic_module
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.embedded.posting import OutboxDelivery
from thalweg.state.store import StateStore
from thalweg.testing import Scripted
from thalweg.testing.scripted import Piece

SCHEMA = pa.schema([("v", pa.int64()), ("ts", TIMESTAMP)])
ROWS = 24


class Killed(BaseException):
    """The process is gone."""


def source_of(rows: int) -> Scripted:
    columns = [pa.array(range(rows), pa.int64()), pa.array([n * 1_000_000 for n in range(rows)], TIMESTAMP)]
    data = pa.record_batch(columns, schema=SCHEMA)
    source = Scripted("events", SCHEMA, {"0": [Piece(data, "events:{}".format)]})
    return source


def app_of(source: Scripted, folder: Path) -> tw.App:
    app = tw.App("once")
    rows = app.read(source, time="ts")
    rows.filter(col("v") % 2 == 0).write(files(folder / "out", format="ndjson"))
    rows.select("v").write(topic("out", log=folder / "log"))
    rows.select("v").write(sqlite(folder / "out.db", table="out"))
    rows.map(odd_fails, schema=SCHEMA).write(view("even"))
    return app


def odd_fails(row: dict[str, Any]) -> dict[str, Any]:
    if row["v"] % 2:
        raise ValueError("odd")
    return row


def written(folder: Path) -> list[int]:
    parts = sorted((folder / "out").glob("part-*.ndjson"))
    return [json.loads(line)["v"] for part in parts for line in part.read_text().splitlines()]


def appended(folder: Path, name: str, log: str = "log") -> list[dict[str, Any]]:
    opened = tw.Log(folder / log)
    found: list[dict[str, Any]] = opened.topic(name).read(limit=10**6).to_pylist() if name in opened.topics() else []
    return found


def stored(folder: Path) -> list[int]:
    with closing(sqlite3.connect(folder / "out.db")) as database:
        return [v for (v,) in database.execute("SELECT v FROM out ORDER BY v")]


def check_outputs(folder: Path, rows: int) -> None:
    assert stored(folder) == list(range(rows))
    assert sorted(written(folder)) == [n for n in range(rows) if n % 2 == 0]
    assert sorted(row["v"] for row in appended(folder, "out")) == list(range(rows))
    errors = appended(folder, "once.errors", "data/log")
    assert sorted(row["place"] for row in errors) == sorted(f"events:{n}" for n in range(rows) if n % 2)


def run(folder: Path, there: int, until: Literal["caught-up", "end"] = "caught-up") -> None:
    source = source_of(ROWS)
    source.show({"0": there})
    app_of(source, folder).run(data=folder / "data", until=until, quiet=True)


def dies(*given: object) -> None:
    raise Killed


def before(target: type, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(target, name, dies)


def after(target: type, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    whole = getattr(target, name)

    def acts_and_dies(*given: Any) -> None:
        whole(*given)
        raise Killed

    return lambda patch: patch.setattr(target, name, acts_and_dies)


INSTANTS = {
    "before the outbox is sealed": before(OutboxDelivery, "_sealed"),
    "after the outbox is sealed": after(OutboxDelivery, "_sealed"),
    "before the manifest": before(StateStore, "commit"),
    "after the manifest": after(StateStore, "commit"),
    "before the delivery": before(OutboxDelivery, "_deliver"),
    "after the delivery": after(OutboxDelivery, "_deliver"),
    "before a file's record": before(_files_write.FolderWriter, "_write_record"),
    "after a file's record": after(_files_write.FolderWriter, "_write_record"),
    "before an append": before(topic_module._Writer, "apply"),
    "after an append": after(topic_module._Writer, "apply"),
    "before a table's commit": before(_sqlite._Connection, "commit"),
    "after a table's commit": after(_sqlite._Connection, "commit"),
}


@pytest.mark.parametrize("instant", INSTANTS)
def test_a_run_that_dies_on_the_way_to_its_outputs_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    run(tmp_path, 5)
    check_outputs(tmp_path, 5)
    for there in (11, 17):
        with monkeypatch.context() as patch, suppress(Killed):
            INSTANTS[instant](patch)
            run(tmp_path, there)
            pytest.fail("the run went on")
    run(tmp_path, 20)
    check_outputs(tmp_path, 20)
    run(tmp_path, ROWS)
    check_outputs(tmp_path, ROWS)


@pytest.mark.parametrize("instant", INSTANTS)
def test_a_run_to_the_end_that_dies_delivers_its_last_epoch_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    run(tmp_path, 5)
    with monkeypatch.context() as patch, suppress(Killed):
        INSTANTS[instant](patch)
        run(tmp_path, ROWS, "end")
        pytest.fail("the run went on")
    for _ in range(2):
        run(tmp_path, ROWS, "end")
        check_outputs(tmp_path, ROWS)


@pytest.mark.parametrize("planted", ["applied before the manifest", "epoch not recorded"])
def test_the_deaths_find_planted_bugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    if planted == "applied before the manifest":
        sealed = OutboxDelivery._sealed

        def at_once(self: OutboxDelivery, epoch: int) -> None:
            sealed(self, epoch)
            for owed in self._owed:
                self._writer.apply(owed.epoch, owed.previous, iter(topic_rows(self, owed)))

        def topic_rows(self: OutboxDelivery, owed: Any) -> Sequence[pa.Table]:
            from thalweg.state.outbox import outbox_rows

            return list(outbox_rows(self._directory, owed.stored))

        monkeypatch.setattr(OutboxDelivery, "_sealed", at_once)
    else:
        monkeypatch.setattr(topic_module._Writer, "last_epoch", lambda self: 0)
        monkeypatch.setattr(topic_module._Writer, "_last", lambda self: self._own.epoch if hasattr(self, "_own") else 0)
        whole = topic_module._Writer.apply
        names = iter(range(1000))

        def forgets(self: Any, epoch: int, previous: int, rows: Any) -> None:
            self._writer = f"writer {next(names)}"
            whole(self, epoch, previous, rows)

        monkeypatch.setattr(topic_module._Writer, "apply", forgets)
    found = 0
    for number, instant in enumerate(INSTANTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            with monkeypatch.context() as patch:
                test_a_run_that_dies_on_the_way_to_its_outputs_loses_and_repeats_nothing(folder, patch, instant)
        except (AssertionError, SinkError):
            found += 1
    assert found > 0


def test_outputs_and_state_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    run(tmp_path, 5)
    (tmp_path / "data" / "starts.json").rename(tmp_path / "starts.json")
    with pytest.raises(StateError, match=r"starts.json is missing, which names the state"):
        run(tmp_path, 7)
    (tmp_path / "data").rename(tmp_path / "lost")
    with pytest.raises(SinkError, match=r"has the output of another state of the app once\. Go on with the state that"):
        run(tmp_path, 7)


def test_an_older_copy_of_the_state_is_refused(tmp_path: Path) -> None:
    run(tmp_path, 5)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    for there in (7, 9, 11):
        run(tmp_path, there)
    starts = (tmp_path / "data" / "starts.json").read_bytes()
    shutil.copytree(tmp_path / "data" / "log", tmp_path / "copy" / "log", dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "copy").rename(tmp_path / "data")
    with pytest.raises(SinkError, match=r"is written by a later start of this app \(4; this is start 2\)"):
        run(tmp_path, 13)
    (tmp_path / "data" / "starts.json").write_bytes(starts)
    with pytest.raises(SinkError, match=r"has the output up to epoch 4, and the state in .* can go on from"):
        run(tmp_path, 13)
