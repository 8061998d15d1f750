"""Checkpoints as runs make them: written while the run goes on, gone on from where they are older, small where little
has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import PlanError, SinkError, StateError, col, count
from thalweg.connect import call, topic, view
from thalweg.engine.contract import RunOptions
from thalweg.engine.embedded.checkpoint import Checkpoints, Cut
from thalweg.engine.embedded.outputs import ViewOutlet
from thalweg.state import manifests
from thalweg.state.files import Stored
from thalweg.state.store import StateStore
from thalweg.testing import Scripted, VirtualClock
from thalweg.testing.scripted import Piece

SCHEMA = pa.schema([("k", pa.int64()), ("v", pa.int64())])


def source_of(rows: int, shown: int | None = None) -> Scripted:
    data = pa.record_batch([[n % 50_000 for n in range(rows)], list(range(rows))], schema=SCHEMA)
    source = Scripted("events", SCHEMA, {"0": [Piece(data, "events:{}".format)]})
    source.show(None if shown is None else {"0": shown})
    return source


def counting(source: Scripted, folder: Path, *, appends: bool = False) -> tw.App:
    app = tw.App("counting")
    rows = app.read(source)
    rows.group_by("k").agg(n=count(), total=col("v").sum()).write(view("table"))
    if appends:
        rows.write(topic("out", log=folder / "log"))
    return app


def run_each(folder: Path, stops: Sequence[int], *, appends: bool = False) -> None:
    for stop in stops:
        counting(source_of(100, stop), folder, appends=appends).run(data=folder / "data", until="caught-up", quiet=True)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damaged", ["manifest", "file"])
def test_a_run_goes_on_from_an_older_checkpoint_where_the_last_is_damaged(tmp_path: Path, damaged: str) -> None:
    run_each(tmp_path, [10, 20, 30, 40])
    data = tmp_path / "data"
    before, newest = manifests.kept(data)[1], manifests.kept(data)[0]
    own = next(stored.file for stored in newest.files if stored not in before.files)
    flip(data / (manifests.name_of(4) if damaged == "manifest" else own))
    app = counting(source_of(100, 100), tmp_path)
    with pytest.raises(StateError, match=r"go on from an older checkpoint with --recover-from 3 \(also whole: 2\)"):
        app.run(data=data, quiet=True, until="end")
    with pytest.raises(StateError, match=r"keeps no checkpoint of epoch 1; there are 4, 3, 2"):
        app.run(data=data, quiet=True, until="end", recover_from=1)
    report = app.run(data=data, quiet=True, until="end", recover_from=2)
    assert report.rows_in == 80
    assert report.view("table").equals(app.batch().view("table"))
    assert [each.epoch for each in manifests.kept(data)] == [3, 2]


def test_an_output_that_has_more_than_the_older_checkpoint_refuses_and_nothing_goes(tmp_path: Path) -> None:
    run_each(tmp_path, [10, 20, 30], appends=True)
    app = counting(source_of(100, 40), tmp_path, appends=True)
    with pytest.raises(SinkError, match=r"has the output up to epoch 3, and the state in .* can go on from 1 to 2"):
        app.run(data=tmp_path / "data", until="caught-up", quiet=True, recover_from=2)
    assert manifests.epochs(tmp_path / "data") == [3, 2, 1]
    app.run(data=tmp_path / "data", until="caught-up", quiet=True, recover_from=3)  # the last: as without it
    assert sorted(tw.Log(tmp_path / "log").topic("out").read(limit=100)["v"].to_pylist()) == list(range(40))


def odd_fails(row: dict[str, Any]) -> dict[str, Any]:
    if row["v"] >= 20:
        raise ValueError("twenty")
    return row


def test_the_topic_of_rejected_rows_is_asked_too_where_the_older_checkpoint_owes_it_nothing(tmp_path: Path) -> None:
    def app(shown: int) -> tw.App:
        made = tw.App("failing")
        made.read(source_of(100, shown)).map(odd_fails, schema=SCHEMA).write(view("v"))
        return made

    for shown in (10, 15, 30):
        app(shown).run(data=tmp_path, until="caught-up", quiet=True)
    with pytest.raises(SinkError, match=r"errors has the output up to epoch 3, and the state in .* from 0 to 0"):
        app(30).run(data=tmp_path, until="caught-up", quiet=True, recover_from=2)


@pytest.mark.parametrize(
    ("given", "words"),
    [({"recover_from": 0}, "a whole number from 1 on"), ({"recover_from": 3, "data": None}, "no checkpoint is kept")],
)
def test_an_epoch_that_cannot_be_is_a_mistake(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=words):
        counting(source_of(10), tmp_path).run(**({"data": tmp_path} | given))


def new_rows(data: Path) -> int:
    """How many rows the last checkpoint wrote."""
    newest, before = manifests.kept(data)[:2]
    return sum(stored.rows for stored in newest.files if stored.file not in {old.file for old in before.files})


def test_where_little_has_changed_little_is_written_also_after_a_restart(tmp_path: Path) -> None:
    for shown in (50_000, 60_000, 60_100, 60_200):
        app = counting(source_of(100_000, shown), tmp_path)
        app.run(data=tmp_path, until="caught-up", quiet=True)
    assert new_rows(tmp_path) < 5_000
    report = counting(source_of(100_000, None), tmp_path).run(data=tmp_path, until="end", quiet=True)
    assert report.view("table")["n"].to_pylist() == [2] * 50_000


def test_the_run_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later, begun, writing = threading.Event(), threading.Event(), []
    commit = StateStore.commit

    def waits(self: StateStore, body: Mapping[str, Any], files: Sequence[Stored]) -> None:
        writing.append(body["epoch"])
        begun.set()
        if len(writing) == 1:
            assert later.wait(60), "no step was made while the checkpoint was written"
        commit(self, body, files)

    source = source_of(100, 10)
    app = tw.App("on")
    rows = app.read(source)
    rows.write(call(lambda table: later.set() if begun.is_set() and table["v"].to_pylist()[-1] >= 10 else None))
    rows.write(topic("out", log=tmp_path / "log"))
    monkeypatch.setattr(StateStore, "commit", waits)
    options = RunOptions(data=tmp_path / "data", checkpoint_us=1)
    live = threading.Thread(target=lambda: app.start(options))
    live.start()
    assert begun.wait(60)
    source.show({"0": 20})
    assert later.wait(60)
    app.stop()
    live.join(60)
    assert not live.is_alive()
    assert writing == sorted(set(writing)), "one after the other"
    assert len(writing) > 1
    assert sorted(tw.Log(tmp_path / "log").topic("out").read()["v"].to_pylist()) == list(range(20))


def test_a_checkpoint_that_cannot_be_written_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: StateStore, body: Mapping[str, Any], files: Sequence[Stored]) -> None:
        raise StateError("the state file cannot be written")

    monkeypatch.setattr(StateStore, "commit", fails)
    with pytest.raises(StateError, match="cannot be written"):
        counting(source_of(100, 10), tmp_path).start(RunOptions(data=tmp_path, checkpoint_us=1))


def joined(stream: tw.Stream) -> tw.Stream:
    table = stream.group_by("k").agg(n=count())
    return table.join(stream.group_by("k").agg(most=col("v").max()), on="k")


PROGRAMS: dict[str, Callable[[tw.Stream], tw.Stream]] = {
    "rows": lambda s: s,
    "table": lambda s: s.group_by("k").agg(n=count(), most=col("v").max(), all=col("v").collect()),
    "first rows": lambda s: s.dedupe("k"),
    "ranked": lambda s: s.top_k(2, by="v", per="k"),
    "joined": joined,
    "changed again": lambda s: s.group_by("k").agg(n=count()).group_by("n").agg(keys=count()),
}


def as_bytes(frame: pl.DataFrame) -> bytes:
    return bytes(frame.write_ipc(None).getvalue())


def changed_since(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run with a checkpoint after every step; name the frames that were other at the end than when they were given."""
    kept: list[tuple[str, pl.DataFrame, bytes]] = []
    write = Checkpoints.write

    def noting(self: Checkpoints, cut: Cut) -> None:
        for frames in cut.frames.values():
            kept.extend((key, frame, as_bytes(frame)) for key, frame in frames.items())
        write(self, cut)

    monkeypatch.setattr(Checkpoints, "write", noting)
    data = pa.record_batch([[n % 7 for n in range(200)], list(range(200))], schema=SCHEMA)
    source = Scripted("events", SCHEMA, {"0": [Piece(data, "events:{}".format)]})
    source.show(None)
    app = tw.App("given")
    PROGRAMS[program](app.read(source)).write(view("v"))
    app.start(RunOptions(data=folder, until="end", max_step_rows=40, checkpoint_us=0, clock=VirtualClock()))
    assert len(kept) >= 5
    return [key for key, frame, before in kept if as_bytes(frame) != before]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_frame_that_was_given_to_a_checkpoint_never_changes(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert changed_since(program, tmp_path, monkeypatch) == []


def test_a_planted_stage_that_changes_its_frames_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = ViewOutlet.process

    def planted(self: ViewOutlet, inputs: Sequence[Any], watermark: int) -> Any:
        if self._frames and inputs:
            self._frames[0].extend(self._frames[0][:1])
        return process(self, inputs, watermark)

    monkeypatch.setattr(ViewOutlet, "process", planted)
    assert changed_since("rows", tmp_path, monkeypatch)
