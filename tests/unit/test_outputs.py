"""The ends of streams: what views show, and how sinks are written to."""

from __future__ import annotations

import threading
import time
from typing import Any, Literal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from tests.property.shares import share
from thalweg import col, count
from thalweg.connect import call, memory, view
from thalweg.core.errors import PlanError, SinkError
from thalweg.core.ports import WriteRequest
from thalweg.engine.contract import RunOptions
from thalweg.engine.embedded import delivery as module
from thalweg.engine.embedded.outputs import ViewOutlet

ROWS = [{"k": "b", "v": 2}, {"k": "a", "v": 9}, {"k": "b", "v": 1}, {"k": "a", "v": 9}]


class Recorder:
    """A sink that writes down what happens to it."""

    changes: Literal["passed on"] = "passed on"
    target = None
    name = "recorder"

    def __init__(self, fails_at: str = "", slow_s: float = 0.0) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.threads: set[int] = set()
        self.requests: list[WriteRequest] = []
        self._fails_at = fails_at
        self._slow_s = slow_s

    def describe(self) -> str:
        return "recorder()"

    def open(self, request: WriteRequest) -> Recorder:
        self._note("open")
        self.requests.append(request)
        return self

    def write(self, rows: pa.Table) -> None:
        self.threads.add(threading.get_ident())
        time.sleep(self._slow_s)
        self._note("write", rows.num_rows)

    def flush(self) -> None:
        self.threads.add(threading.get_ident())
        self._note("flush")

    def close(self) -> None:
        self._note("close")

    def _note(self, *what: Any) -> None:
        self.log.append(what)
        if what[0] == self._fails_at:
            raise SinkError(f"the disk is full at {what[0]}; make room")


def run(sink: Recorder, **options: Any) -> None:
    app = tw.App("writes")
    app.read(memory(ROWS)).write(sink)
    app.start(RunOptions(until="end", **options))


def test_all_rows_are_written_before_the_checkpoint_and_the_sink_is_closed() -> None:
    sink = Recorder()
    run(sink, max_step_rows=1)
    written = [entry[1] for entry in sink.log if entry[0] == "write"]
    assert sum(written) == len(ROWS)
    assert sink.log[0] == ("open",)
    assert sink.log[-2:] == [("flush",), ("close",)]
    assert len(sink.threads) == 1
    assert threading.get_ident() not in sink.threads


@pytest.mark.parametrize("fresh", [True, False])
def test_a_sink_is_told_what_it_gets(fresh: bool) -> None:
    sink = Recorder()
    app = tw.App("writes")
    app.read(memory(ROWS)).group_by("k").agg(n=count()).write(sink)
    app.start(RunOptions(until="end", fresh=fresh))
    (request,) = sink.requests
    assert request.schema.names == ["k", "n", "_weight"]
    assert (request.changing, request.key, request.epoch, request.fresh) == (True, ("k",), 0, fresh)


@pytest.mark.parametrize("when", ["open", "write", "flush", "close"])
def test_an_error_of_a_sink_stops_the_run_with_its_own_message(when: str) -> None:
    sink = Recorder(fails_at=when)
    with pytest.raises(SinkError, match=f"the disk is full at {when}; make room"):
        run(sink)
    if when in ("open", "write"):
        assert ("flush",) not in sink.log
    if when != "open":
        assert ("close",) in sink.log


def test_a_slow_sink_makes_the_run_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_BYTES", 1)
    sink = Recorder(slow_s=0.002)
    app = tw.App("writes")
    app.read(memory([{"v": n} for n in range(60)])).write(sink)
    app.start(RunOptions(until="end", max_step_rows=1))
    assert sum(entry[1] for entry in sink.log if entry[0] == "write") == 60


def test_when_one_sink_fails_the_others_are_closed() -> None:
    good, bad = Recorder(), Recorder(fails_at="write")
    app = tw.App("writes")
    stream = app.read(memory(ROWS))
    stream.write(good)
    stream.write(bad)
    with pytest.raises(SinkError):
        app.start(RunOptions(until="end"))
    assert good.log[-1] == bad.log[-1] == ("close",)
    assert ("flush",) not in bad.log


def shown(build: Any, **read: Any) -> list[dict[str, Any]]:
    app = tw.App("views")
    build(app.read(memory(ROWS), **read))
    rows: list[dict[str, Any]] = app.batch().view("v").to_pylist()
    return rows


def test_a_view_without_a_key_is_a_sorted_multiset() -> None:
    assert shown(lambda s: s.write(view("v"))) == sorted(ROWS, key=lambda row: (row["k"], row["v"]))


def test_a_view_of_a_table_is_sorted_by_its_key() -> None:
    assert shown(lambda s: s.group_by("k").agg(n=count()).write(view("v"))) == [{"k": "a", "n": 2}, {"k": "b", "n": 2}]


def test_equal_rows_of_a_changing_stream_stay_as_many() -> None:
    found = shown(lambda s: s.group_by("k").agg(n=count()).select("n").write(view("v")))
    assert found == [{"n": 2}, {"n": 2}]


@share(0.2)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(-2, 2)), min_size=1, max_size=40),
    st.integers(1, 5),
)
def test_a_view_is_the_table_that_the_changes_add_up_to(values: list[tuple[str, int]], rows: int) -> None:
    app = tw.App("changes")
    changes: list[pa.Table] = []
    table = app.read(memory([{"k": key, "v": value} for key, value in values])).group_by("k").agg(t=col("v").sum())
    table.write(view("v")).write(call(changes.append))
    report = app.batch(max_step_rows=rows)
    net: dict[tuple[str, int], int] = {}
    for step in changes:
        for row in step.to_pylist():
            pair = (row["k"], row["t"])
            net[pair] = net.get(pair, 0) + row["_weight"]
    expected = {key: sum(v for k, v in values if k == key) for key, _ in values}
    assert {pair: weight for pair, weight in net.items() if weight} == {(k, t): 1 for k, t in expected.items()}
    assert {row["k"]: row["t"] for row in report.view("v").to_pylist()} == expected


def test_the_changes_of_a_step_never_show_a_row_of_negative_weight() -> None:
    app = tw.App("changes")
    changes: list[pa.Table] = []
    app.read(memory([{"v": n} for n in range(20)])).agg(t=col("v").sum()).write(call(changes.append))
    app.batch(max_step_rows=1)
    net: dict[int, int] = {}
    for step in changes:
        for row in step.to_pylist():
            net[row["t"]] = net.get(row["t"], 0) + row["_weight"]
            assert net[row["t"]] in (0, 1)
        assert sum(net.values()) == 1  # a total: one row at every step


def test_a_view_that_changes_often_stays_small() -> None:
    app = tw.App("changes")
    app.read(memory([{"v": n} for n in range(300)])).agg(t=col("v").sum()).write(view("v"))
    outlets: list[ViewOutlet] = []
    original = ViewOutlet.process

    def process(self: ViewOutlet, *given: Any) -> Any:
        outlets.append(self)
        return original(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ViewOutlet, "process", process)
        report = app.batch(max_step_rows=1)
    assert len(outlets[0]._frames) <= ViewOutlet._COMPACT_FRAMES + 1
    assert report.view("v").to_pylist() == [{"t": sum(range(300))}]


def test_a_view_that_got_nothing_is_empty_with_its_columns() -> None:
    app = tw.App("views")
    app.read(memory([[]]), schema=pa.schema([("a", pa.int32())])).write(view("v"))
    table = app.batch().view("v")
    assert (table.num_rows, table.schema.field("a").type) == (0, pa.int32())


def test_a_view_that_is_not_there_names_those_that_are() -> None:
    app = tw.App("views")
    app.read(memory(ROWS)).write(view("visits"))
    report = app.batch()
    with pytest.raises(PlanError, match='there is no view "visit"; did you mean "visits"'):
        report.view("visit")
    with pytest.raises(PlanError, match='did you mean "visits"'):
        app.view("visit")
    assert app.view("visits").equals(report.view("visits"))
