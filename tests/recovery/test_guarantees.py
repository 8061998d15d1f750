"""How often a row gets to a sink: what a run is asked for, what it gives where it dies, and what the plan says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import PlanError, SinkError, count
from thalweg.connect import call, duckdb, files, memory, sqlite, stdout, topic, view
from thalweg.engine.embedded.unrepeated import Unrepeated
from thalweg.log import Log
from thalweg.plan.delivery import Guarantee
from thalweg.plan.show import tree

SCHEMA = pa.schema([("v", pa.int64())])


class Receiver:
    """Takes rows, and fails once when it has taken some."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self.fails_on: int | None = None

    def __call__(self, rows: pa.Table) -> None:
        values = rows["v"].to_pylist()
        self.values += values
        if self.fails_on in values:
            raise RuntimeError("the network is down")


def received(folder: Path, delivery: Guarantee | None) -> list[int]:
    """Return what a function gets over three runs, the second of which dies after it has got its rows."""
    log, receiver = Log(folder / "log"), Receiver()
    app = tw.App("app")
    app.read(topic("in", log=folder / "log"), schema=SCHEMA).write(call(receiver))

    def run(*values: int) -> None:
        log.create("in", SCHEMA).append([{"v": value} for value in values])
        app.run(data=folder / "data", until="caught-up", quiet=True, delivery=delivery)

    log.create("in", SCHEMA)
    run(1, 2)
    receiver.fails_on = 4
    with pytest.raises(SinkError, match="the network is down"):
        run(3, 4)
    receiver.fails_on = None
    run(5)
    return receiver.values


@pytest.fixture(autouse=True)
def _created(tmp_path: Path) -> None:
    Log(tmp_path / "log").create("in", SCHEMA)


@pytest.mark.parametrize("delivery", [None, "at_least_once"])
def test_at_least_once_repeats_what_a_run_that_died_has_given(delivery: Guarantee | None, tmp_path: Path) -> None:
    assert received(tmp_path, delivery) == [1, 2, 3, 4, 3, 4, 5]


def test_at_most_once_gives_nothing_twice(tmp_path: Path) -> None:
    assert received(tmp_path, "at_most_once") == [1, 2, 3, 4, 5]


def test_that_nothing_comes_twice_is_found_out_where_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = Unrepeated.__init__
    # A writer that believes to have nothing yet is given all that is still there.
    monkeypatch.setattr(Unrepeated, "__init__", lambda self, writer, given: true(self, writer, [max(0, given[0] - 1)]))
    with pytest.raises((AssertionError, SinkError)):
        test_at_most_once_gives_nothing_twice(tmp_path)


def test_at_most_once_gives_rows_when_they_are_committed(tmp_path: Path) -> None:
    given: list[Any] = []
    app = tw.App("app")

    def fails_at_three(row: dict[str, Any]) -> dict[str, Any]:
        if row["v"] == 3:
            raise SystemExit  # the process ends here, before its checkpoint
        return row

    rows = app.read(topic("in", log=tmp_path / "log"), schema=SCHEMA)
    rows.map(fails_at_three, schema=SCHEMA).write(call(given.append))
    Log(tmp_path / "log").topic("in").append([{"v": 1}, {"v": 2}, {"v": 3}])
    with pytest.raises(SystemExit):
        app.run(data=tmp_path / "data", until="caught-up", quiet=True, max_step_rows=1, delivery="at_most_once")
    assert given == []


def test_exactly_once_refuses_a_sink_that_keeps_no_record(tmp_path: Path) -> None:
    app = tw.App("app")
    rows = app.read(memory([{"v": 1}]))
    rows.write(files(tmp_path / "out", format="csv"))
    app.run(data=tmp_path / "data", until="end", quiet=True, delivery="exactly_once")
    rows.write(stdout())
    with pytest.raises(
        PlanError, match=r"exactly_once.*: at least once: stdout\(\) keeps no record.*; write to files"
    ) as at:
        app.run(data=tmp_path / "data", until="end", quiet=True, delivery="exactly_once")
    assert at.value.place is not None and at.value.place.file == __file__


def test_guarantees_that_cannot_be_are_mistakes_of_the_program(tmp_path: Path) -> None:
    app = tw.App("app")
    app.read(memory([{"v": 1}])).write(view("rows"))
    twice: Any = "twice"
    with pytest.raises(
        PlanError, match=r"delivery='twice'\): allowed are None, 'at_most_once', 'at_least_once', 'exac"
    ):
        app.run(data=tmp_path / "data", until="end", delivery=twice)
    with pytest.raises(PlanError, match="a run without a state cannot be gone on with"):
        app.run(data=None, until="end", delivery="exactly_once")


def test_the_plan_says_how_often_and_why(tmp_path: Path) -> None:
    app = tw.App("app")
    rows = app.read(memory([{"v": 1}]))
    for sink in (
        view("rows"),
        files(tmp_path / "out", format="csv"),
        topic("out", log=tmp_path / "log"),
        sqlite(tmp_path / "x.db", table="t"),
        duckdb(tmp_path / "x.duckdb", table="t"),
        call(print),
        stdout(),
    ):
        rows.write(sink)
    rows.group_by("v").agg(n=count()).write(sqlite(tmp_path / "x.db", table="counts", key="v"))
    said = [line.split("; ")[-1].rstrip("]") for line in tree(app.plan) if " write " in line]
    assert said == [
        "state: the view's rows",
        "exactly once: the folder's record names the epoch",
        "exactly once: frames carry their state and epoch",
        "exactly once: the epoch in the same transaction",
        "exactly once: the epoch in the same transaction",
        "at least once: call(print) keeps no record",
        "at least once: stdout() keeps no record",
        "exactly once: the epoch in the same transaction",
    ]
