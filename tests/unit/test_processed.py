"""``process``: keyed states, timers, time-to-live, by row and by batch."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pyarrow as pa
import pydantic
import pytest

import thalweg as tw
from tests.unit.in_order import Steps
from tests.unit.processing import DAY, STEPS, Count, Event, Out, at, counted, events, line_of, run, running, shown
from thalweg import count
from thalweg.connect import files, memory, view
from thalweg.testing import check, rows

# ---------------------------------------------------------------------- order, late rows, errors


@pytest.mark.parametrize("step_rows", STEPS)
def test_rows_come_in_the_order_of_time_then_of_their_columns(step_rows: int) -> None:
    app, seen = tw.App("order"), []

    def note(row: dict[str, Any], state: Count, timers: Any) -> list[Any]:
        seen.append((row["x"], timers.now))
        return []

    stream = events(app, ("a", 3, 2), ("a", 2, 1), ("a", 1, 2), ("a", 0, 3), lateness="5s")
    stream.process(note, key="k", state=Count, schema=Out).write(view("v"))
    run(app, step_rows)
    assert seen == [(2, at(1)), (1, at(2)), (3, at(2)), (0, at(3))]


@pytest.mark.parametrize("step_rows", STEPS)
def test_a_row_behind_its_watermark_is_late_and_counted_once(step_rows: int) -> None:
    app = tw.App("late")
    made = events(app, ("a", 1, 10), ("a", 1, 3), ("a", 1, 11)).process(counted, key="k", state=Count, schema=Out)
    made.write(view("v"))
    made.late.write(view("late"))
    report = run(app, step_rows)
    assert shown(report) == [("a", 1), ("a", 2)]
    assert [row["ts"] for row in report.view("late").to_pylist()] == [at(3)]
    line = line_of(report)
    assert (line["in"], line["late"], line["absorbed"], line["released"]) == (3, 1, 2, 2)


def test_a_row_that_the_watermark_has_left_behind_is_late() -> None:
    # As where all sources of an operator before it were idle, and it then gives what it had kept.
    steps = Steps(lambda stream: stream.process(counted, key="k", state=Count, schema=Out))
    assert steps.take([("a", 1, 40)], 50) == [{"k": "a", "n": 1}]
    assert steps.take([("a", 1, 45), ("a", 1, 50)], 60) == [{"k": "a", "n": 2}]
    assert [(row["x"], row["ts"]) for row in steps.late] == [(1, dt.datetime.fromtimestamp(45, dt.UTC))]
    assert steps.stage.entry.late == 1


@pytest.mark.parametrize("step_rows", STEPS)
def test_a_row_that_raises_is_rejected_and_state_and_timers_are_as_before(step_rows: int) -> None:
    app = tw.App("raises")

    def grudging(row: dict[str, Any], state: Count, timers: Any) -> Iterator[dict[str, Any]]:
        state.n += row["x"]
        timers.set(dt.timedelta(seconds=row["x"]))
        if row["x"] == 5:
            raise ValueError("no fives")
        yield {"k": row["k"], "n": state.n}

    def told(time: dt.datetime, state: Count, timers: Any) -> list[dict[str, Any]]:
        return [{"k": f"{timers.key['k']} at {(time - DAY).seconds}", "n": state.n}]

    stream = events(app, ("a", 1, 0), ("a", 5, 1), ("a", 2, 2), ("b", 5, 3))
    stream.process(grudging, key="k", state=Count, schema=Out, on_timer=told).write(view("v"))
    report = run(app, step_rows)
    assert sorted(shown(report)) == [("a", 1), ("a", 3), ("a at 1", 1), ("a at 4", 3)]
    errors = report.errors.to_pylist()
    assert [(row["place"], row["reason"], row["time"]) for row in errors] == [
        ("key a", "ValueError: no fives", at(1)),
        ("key b", "ValueError: no fives", at(3)),
    ]
    assert all("no fives" in row["traceback"] for row in errors)
    line = line_of(report)
    assert (line["in"], line["rejected"], line["absorbed"], line["released"], line["held"]) == (4, 2, 2, 2, 0)


def test_nested_parts_of_a_state_are_put_back() -> None:
    app = tw.App("nested")

    @dataclasses.dataclass
    class Deep:
        seen: dict[str, list[int]] = dataclasses.field(default_factory=dict)

    def deep(row: dict[str, Any], state: Deep, timers: Any) -> Iterator[dict[str, Any]]:
        state.seen.setdefault("all", []).append(row["x"])
        if row["x"] < 0:
            raise ValueError("negative")
        yield {"k": str(state.seen["all"]), "n": 0}

    events(app, ("a", 1, 0), ("a", -1, 1), ("a", 2, 2)).process(deep, key="k", state=Deep, schema=Out).write(view("v"))
    assert [key for key, _ in shown(run(app))] == ["[1, 2]", "[1]"]


def test_a_result_that_does_not_fit_is_rejected_and_the_row_has_passed() -> None:
    app = tw.App("unfit")

    def wrong(row: dict[str, Any], state: Count, timers: Any) -> list[dict[str, Any]]:
        return [{"k": row["k"], "n": "many" if row["x"] == 2 else row["x"]}]

    events(app, ("a", 1, 0), ("a", 2, 1)).process(wrong, key="k", state=Count, schema=Out).write(view("v"))
    report = run(app)
    assert shown(report) == [("a", 1)]
    (error,) = report.errors.to_pylist()
    assert "what wrong gave does not fit its schema" in error["reason"]
    assert (line_of(report)["rejected"], line_of(report)["released"]) == (0, 2)


# ---------------------------------------------------------------------- timers, time-to-live


def ticking(row: dict[str, Any], state: Count, timers: Any) -> Iterator[dict[str, Any]]:
    state.n += 1
    timers.set(at(row["x"]))
    yield {"k": f"row {row['x']}", "n": state.n}


def tick(time: dt.datetime, state: Count, timers: Any) -> Iterator[dict[str, Any]]:
    state.n *= 10
    yield {"k": f"timer {(time - DAY).seconds}", "n": state.n}


@pytest.mark.parametrize("step_rows", STEPS)
def test_a_timer_comes_before_rows_of_its_time_and_once(step_rows: int) -> None:
    app = tw.App("timers")
    stream = events(app, ("a", 5, 0), ("a", 5, 1), ("a", 0, 5), ("a", 9, 6))
    stream.process(ticking, key="k", state=Count, schema=Out, on_timer=tick).write(view("v"))
    expected = [("row 0", 21), ("row 5", 1), ("row 5", 2), ("row 9", 211), ("timer 5", 20), ("timer 5", 210)]
    assert shown(run(app, step_rows)) == [*expected, ("timer 9", 2110)]  # the row at 5 sets one that is over


@pytest.mark.parametrize("step_rows", STEPS)
def test_windows_behind_it_take_rows_at_the_time_of_their_row_or_timer(step_rows: int) -> None:
    app = tw.App("windows")
    stream = events(app, ("a", 12, 0), ("a", 13, 11), ("a", 30, 14))
    made = stream.process(ticking, key="k", state=Count, schema=Out, on_timer=tick)
    made.group_by().window("10s").agg(n=count()).write(view("v"))
    report = run(app, step_rows)
    assert [row["n"] for row in report.view("v").to_pylist()] == [1, 4, 1]
    assert report.late.num_rows == 0


def test_a_timer_that_raises_is_told_with_its_key_and_is_no_row() -> None:
    app = tw.App("timer-error")

    def bad(time: dt.datetime, state: Count, timers: Any) -> list[Any]:
        state.n = 99
        raise RuntimeError("broken")

    stream = events(app, ("a", 1, 0), ("a", 9, 5))
    stream.process(ticking, key="k", state=Count, schema=Out, on_timer=bad).write(view("v"))
    report = run(app)
    assert shown(report) == [("row 1", 1), ("row 9", 2)]
    assert [(e["place"], e["reason"], e["time"]) for e in report.errors.to_pylist()] == [
        ("timer of key a", "RuntimeError: broken", at(1)),
        ("timer of key a", "RuntimeError: broken", at(9)),
    ]
    assert line_of(report)["rejected"] == 0


def test_a_timer_that_sets_itself_at_its_own_time_is_told() -> None:
    app = tw.App("itself")

    def again(time: dt.datetime, state: Count, timers: Any) -> list[Any]:
        timers.set(time)
        return []

    events(app, ("a", 1, 0)).process(ticking, key="k", state=Count, schema=Out, on_timer=again).write(view("v"))
    (error,) = run(app).errors.to_pylist()
    assert "it must be later than its own time" in error["reason"]


def test_timers_without_end_stop_the_run_and_many_keys_do_not() -> None:
    def app_of(keys: int, again: Callable[..., Any]) -> tw.App:
        app = tw.App("for-ever")
        stream = events(app, *[(str(key), 1, 0) for key in range(keys)])
        stream.process(ticking, key="k", state=Count, schema=Out, on_timer=again).write(view("v"))
        return app

    def always(time: dt.datetime, state: Count, timers: Any) -> list[Any]:
        timers.set(dt.timedelta(seconds=1))
        return []

    with pytest.raises(tw.ThalwegError, match="let it set one only while its state waits"):
        app_of(1, always).batch(quiet=True)
    assert app_of(12_000, tick).batch(quiet=True).view("v").num_rows == 24_000


def test_a_function_that_sets_timers_needs_something_to_call() -> None:
    app = tw.App("no-timer")
    events(app, ("a", 1, 0)).process(ticking, key="k", state=Count, schema=Out).write(view("v"))
    with pytest.raises(tw.ThalwegError, match=r"ticking set a timer, and process\(…\) has no on_timer="):
        app.batch(quiet=True)


@pytest.mark.parametrize("by_batch", [False, True])
@pytest.mark.parametrize("step_rows", STEPS)
def test_a_state_is_forgotten_a_while_after_its_last_row(step_rows: int, by_batch: bool) -> None:
    app = tw.App("ttl")
    stream = events(app, ("a", 1, 0), ("a", 1, 9), ("b", 1, 12), ("a", 1, 19), ("a", 1, 28), ("b", 1, 28))
    function: Callable[..., Any] = running if by_batch else counted
    stream.process(function, key="k", state=Count, schema=Out, ttl="10s", by_batch=by_batch).write(view("v"))
    assert shown(run(app, step_rows)) == [("a", 1), ("a", 1), ("a", 2), ("a", 2), ("b", 1), ("b", 1)]


@pytest.mark.parametrize("step_rows", STEPS)
def test_a_state_with_a_timer_is_kept_until_a_while_after_it(step_rows: int) -> None:
    app = tw.App("ttl-and-timers")
    stream = events(app, ("a", 20, 0), ("a", 29, 29), ("a", 50, 45))
    stream.process(ticking, key="k", state=Count, schema=Out, on_timer=tick, ttl="10s").write(view("v"))
    expected = [("row 20", 1), ("row 29", 11), ("row 50", 1), ("timer 20", 10), ("timer 29", 110), ("timer 50", 10)]
    assert shown(run(app, step_rows)) == expected


# ---------------------------------------------------------------------- keys, classes, restarts


@pytest.mark.parametrize("by_batch", [False, True])
def test_nan_null_and_zero_keys_are_one_key_each(by_batch: bool) -> None:
    app = tw.App("keys")
    nan = float("nan")
    data = [{"k": key, "x": 1, "ts": at(n)} for n, key in enumerate([nan, None, -0.0, -nan, 0.0, None])]
    schema = pa.schema([("k", pa.float64()), ("x", pa.int64()), ("ts", pa.timestamp("us", "UTC"))])
    result = pa.schema([("k", pa.float64()), ("n", pa.int64())])
    stream = app.read(memory([data]), schema=schema, time="ts")
    function: Callable[..., Any] = running if by_batch else counted
    stream.process(function, key="k", state=Count, schema=result, by_batch=by_batch).write(view("v"))
    assert sorted(n for _, n in shown(run(app, 1))) == [1, 1, 1, 2, 2, 2]


class OfStruct(msgspec.Struct):
    n: int = 0
    seen: dict[str, list[int]] = {}
    last: dt.datetime | None = None
    names: set[str] = set()


class OfPydantic(pydantic.BaseModel):
    n: int = 0
    seen: dict[str, list[int]] = {}
    last: dt.datetime | None = None
    names: set[str] = set()


@dataclasses.dataclass(slots=True)
class OfDataclass:
    n: int = 0
    seen: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    last: dt.datetime | None = None
    names: set[str] = dataclasses.field(default_factory=set)


class OfPlain:
    n: int = 0
    seen: dict[str, list[int]]
    last: dt.datetime | None = None
    names: set[str]

    def __init__(self) -> None:
        self.seen = {}
        self.names = set()


class OfDict(TypedDict, total=False):
    n: int
    seen: dict[str, list[int]]
    last: dt.datetime
    names: set[str]


class Told:
    text: str


def remembering(row: dict[str, Any], state: Any, timers: Any) -> Iterator[dict[str, Any]]:
    parts = (
        state if isinstance(state, dict) else {name: getattr(state, name) for name in ("n", "seen", "last", "names")}
    )
    parts = {"n": 0, "seen": {}, "last": None, "names": set()} | parts
    yield {"text": f"{parts['n']} {parts['seen']} {parts['last']} {sorted(parts['names'])}"}
    parts["n"] += row["x"]
    parts["seen"].setdefault("é", []).append(row["x"])
    parts["last"] = row["ts"]
    parts["names"].add(f"n{row['x']}")
    if isinstance(state, dict):
        state.update(parts)
    else:
        for name, value in parts.items():
            setattr(state, name, value)
    if row["x"] == 3:
        raise ValueError("three")


@pytest.mark.parametrize("kind", [OfStruct, OfPydantic, OfDataclass, OfPlain, OfDict], ids=lambda kind: kind.__name__)
def test_states_of_any_class_survive_restarts_and_errors(kind: type, tmp_path: Path) -> None:
    def part(number: int, x: int) -> None:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.csv").write_text(f"k,x,ts\na,{x},2026-01-01T00:00:0{number}Z\n")

    def again(until: str) -> list[str]:
        app = tw.App("classes")
        stream = app.read(files(f"{tmp_path}/in/*.csv"), schema=Event, time="ts")
        stream.process(remembering, key="k", state=kind, schema=Told).write(view("v"))
        return [text for (text,) in shown(run(app, data=tmp_path / "state", until=until))]

    for number, x in enumerate([1, 3, 2]):
        part(number, x)
        again("caught-up")
    part(5, 4)
    assert again("end") == [
        "0 {} None []",
        "1 {'é': [1]} 2026-01-01 00:00:00+00:00 ['n1']",
        "3 {'é': [1, 2]} 2026-01-01 00:00:02+00:00 ['n1', 'n2']",
    ]


def test_timers_and_forgotten_states_survive_restarts(tmp_path: Path) -> None:
    def again(number: int, lines: str, until: str = "caught-up") -> list[tuple[Any, ...]]:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.csv").write_text(f"k,x,ts\n{lines}")
        app = tw.App("timers")
        stream = app.read(files(f"{tmp_path}/in/*.csv"), schema=Event, time="ts")
        made = stream.process(ticking, key="k", state=Count, schema=Out, on_timer=tick, ttl="5s")
        made.write(view("v"))
        return shown(run(app, data=tmp_path / "state", until=until))

    assert again(0, "a,20,2026-01-01T00:00:00Z\nb,2,2026-01-01T00:00:01Z\n") == [("row 20", 1)]
    after = again(1, "b,16,2026-01-01T00:00:15Z\nc,0,2026-01-01T00:00:16Z\n")
    assert after == [
        ("row 16", 1),
        ("row 2", 1),
        ("row 20", 1),
        ("timer 16", 10),
        ("timer 2", 10),
    ]  # b was forgotten at 7
    whole = [("row 0", 1), ("row 16", 1), ("row 2", 1), ("row 20", 1), ("row 21", 11)]
    whole += [("timer 16", 10), ("timer 16", 10), ("timer 2", 10), ("timer 20", 10), ("timer 21", 110)]
    assert again(2, "a,21,2026-01-01T00:00:21Z\n", "end") == whole


def test_a_state_that_is_not_what_its_class_says_stops_the_run_at_the_checkpoint(tmp_path: Path) -> None:
    app = tw.App("wrong-state")

    def wrong(row: dict[str, Any], state: Any, timers: Any) -> list[Any]:
        state.n = "many"
        return []

    events(app, ("a", 1, 0), ("a", 1, 1)).process(wrong, key="k", state=Count, schema=Out).write(view("v"))
    with pytest.raises(tw.ThalwegError, match=r"state=Count\) is not what the class says \(n: int\), for the key"):
        run(app, data=tmp_path / "state")


def test_a_class_whose_objects_cannot_be_made_or_kept_is_refused_when_the_plan_is_built() -> None:
    @dataclasses.dataclass
    class Needs:
        n: int

    app = tw.App("plans")
    stream = events(app, ("a", 1, 0))
    with pytest.raises(tw.PlanError, match=r"a key begins with Needs\(\), so every field needs a default"):
        stream.process(counted, key="k", state=Needs, schema=Out)
    with pytest.raises(tw.PlanError, match="int has no annotated fields"):
        stream.process(counted, key="k", state=int, schema=Out)
    with pytest.raises(tw.PlanError, match='two columns "k"'):
        stream.process(counted, key="k", state=Out, schema=Out, by_batch=True)


def test_the_test_kit_agrees() -> None:
    app = tw.App("kit")
    stream = app.read(memory([[]]), schema=Event, time="ts", lateness="2s")
    made = stream.process(ticking, key="k", state=Count, schema=Out, on_timer=tick, ttl="7s")
    made.write(view("v"))
    given = [[(key, n * 7 % 11, at(n * 5 % 13 + n // 3)) for n, key in enumerate("abcab" * 4)] for _ in range(2)]
    check(app, memory=rows(Event, *given))
