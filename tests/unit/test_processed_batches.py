"""``process`` by batch, and in the order of arrival."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from tests.unit.processing import STEPS, Count, Event, Out, counted, events, line_of, run, running, shown
from thalweg import count
from thalweg.connect import files, view


@pytest.mark.parametrize("step_rows", STEPS)
def test_a_batch_function_takes_rows_in_order_and_the_states_of_their_keys(step_rows: int) -> None:
    app = tw.App("batch")
    stream = events(app, ("a", 1, 0), ("b", 2, 1), ("a", 3, 3), ("a", 4, 2), lateness="5s")
    stream.process(running, key="k", state=Count, schema=Out, by_batch=True).write(view("v"))
    assert shown(run(app, step_rows)) == [("a", 1), ("a", 5), ("a", 8), ("b", 2)]


@pytest.mark.parametrize("step_rows", STEPS)
def test_rows_on_which_a_batch_function_raises_are_rejected_alone(step_rows: int) -> None:
    app = tw.App("batch-errors")

    def picky(table: pa.Table, states: pa.Table) -> tuple[pa.Table, pa.Table]:
        if 5 in table["x"].to_pylist():
            raise ValueError("no fives")
        return running(table, states)

    stream = events(app, *[("ab"[n % 2], 5 if n == 3 else 1, n) for n in range(8)])
    stream.process(picky, key="k", state=Count, schema=Out, by_batch=True).write(view("v"))
    report = run(app, step_rows)
    assert shown(report) == [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 1), ("b", 2), ("b", 3)]
    assert [(e["place"], e["reason"]) for e in report.errors.to_pylist()] == [("key b", "ValueError: no fives")]
    assert (line_of(report)["rejected"], line_of(report)["released"]) == (1, 7)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda table, states: table, "it gave Table"),
        (lambda table, states: (table, 3), "it gave Table and int"),
        (lambda table, states: (table, states.slice(1)), "it gave 1 states that are not of the same 2 keys"),
        (lambda table, states: (table, states.select(["k"])), "the states lack n"),
        (lambda table, states: (table, pa.table({"k": ["a", "a"], "n": [1, 1]})), "not of the same 2 keys"),
        (lambda table, states: (table, states.set_column(1, "n", pa.array(["x", "y"]))), 'column "n"'),
    ],
)
def test_a_batch_function_that_gives_something_else_stops_the_run(wrong: Callable[..., Any], words: str) -> None:
    app = tw.App("wrong")
    stream = events(app, ("a", 1, 0), ("b", 1, 0))
    stream.process(wrong, key="k", state=Count, schema=Out, by_batch=True).write(view("v"))
    with pytest.raises(tw.ThalwegError, match=words):
        app.batch(quiet=True)


def test_states_by_batch_may_come_back_in_any_order_and_survive_restarts(tmp_path: Path) -> None:
    def turned(table: pa.Table, states: pa.Table) -> tuple[pa.Table, pa.Table]:
        made, after = running(table, states)
        return made, after.take(list(range(after.num_rows))[::-1])

    def again(number: int, until: str) -> list[tuple[Any, ...]]:
        (tmp_path / "in").mkdir(exist_ok=True)
        lines = "".join(f"{key},1,2026-01-01T00:00:0{number}Z\n" for key in "abc")
        (tmp_path / "in" / f"{number}.csv").write_text(f"k,x,ts\n{lines}")
        app = tw.App("turned")
        stream = app.read(files(f"{tmp_path}/in/*.csv"), schema=Event, time="ts")
        stream.process(turned, key="k", state=Count, schema=Out, by_batch=True).write(view("v"))
        return shown(run(app, data=tmp_path / "state", until=until))

    again(0, "caught-up")
    again(1, "caught-up")
    assert again(2, "end") == [(key, n) for key in "abc" for n in (1, 2, 3)]


@pytest.mark.parametrize("by_batch", [False, True])
def test_rows_as_they_arrive_come_at_once_late_or_not_and_without_time(by_batch: bool) -> None:
    app = tw.App("arrival")
    stream = events(app, ("a", 1, 10), ("a", 2, 3), ("a", 4, 11))
    function: Callable[..., Any] = running if by_batch else counted
    made = stream.process(function, key="k", state=Count, schema=Out, order="arrival", by_batch=by_batch)
    made.write(view("v"))
    report = run(app, 1, until="caught-up")
    assert shown(report) == [("a", 1), ("a", 3), ("a", 7)]
    assert (line_of(report)["passed"], line_of(report)["absorbed"]) == (3, 0)
    with pytest.raises(tw.PlanError, match="needs event time, and this stream has none"):
        made.group_by("k").window("1m").agg(n=count())
