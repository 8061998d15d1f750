"""Rows with impossible times, and rows on which the user's functions raise: rejected, and the rest go on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from tests.unit.rejections import checked, told, whole_rows
from thalweg import Report, Stream, col, count
from thalweg.connect import memory, view
from thalweg.core.errors import FunctionError
from thalweg.core.schema import TIMESTAMP

# ---------------------------------------------------------------------- times


def timed(seconds_us: list[int | None], **options: Any) -> tuple[Report, list[tuple[int, int]]]:
    """Count rows per minute; return also each window's end and count."""
    app = tw.App("times")
    table = pa.table({"id": range(len(seconds_us)), "ts": pa.array(seconds_us, TIMESTAMP)})
    stream = app.read(memory([table]), time="ts", lateness="0s", **options)
    stream.group_by().window("1m").agg(n=count()).write(view("v"))
    report = checked(app.batch())
    ends = report.view("v").column("window_end").cast(pa.int64()).to_pylist()
    return report, list(zip(ends, report.view("v").column("n").to_pylist(), strict=True))


def us(year: int, *rest: int) -> int:
    moment = dt.datetime(year, *(rest or (1, 1)), tzinfo=dt.UTC)  # type: ignore[arg-type]  # month, day, hour …
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


MINUTE = 60_000_000


@pytest.mark.parametrize(
    "moment",
    [
        us(2262, 4, 11, 23, 47, 16),  # the last that 64 bits of nanoseconds hold
        us(2262, 4, 12),
        us(2300),
        us(9999, 12, 31, 23, 59, 59),
        us(1969, 12, 31, 23, 59, 59),
        us(1677, 9, 21),
        us(1, 1, 1, 0, 0, 1),
    ],
)
def test_every_time_of_the_years_1_to_9999_has_its_window(moment: int) -> None:
    report, windows = timed([moment])
    assert windows == [(moment - moment % MINUTE + MINUTE, 1)]
    assert told(report) == []


def test_a_time_in_the_year_2262_closes_what_lies_before_it() -> None:
    report, windows = timed([us(2026), us(2262, 6, 1), us(2026)])
    assert [n for _, n in windows] == [1, 1]
    assert report.late_rows == 1


@pytest.mark.parametrize("moment", [us(9999, 12, 31, 23, 59, 59) + 1_000_000, us(1) - 1, 2**63 - 1, -(2**63)])
def test_a_time_outside_of_these_years_is_rejected_and_moves_no_watermark(moment: int) -> None:
    report, windows = timed([us(2026), moment, us(2026) + 1])
    assert [n for _, n in windows] == [2]
    assert report.late_rows == 0
    assert told(report) == [("memory[partition 0]:1", "ts lies outside the years 1 to 9999; is its unit right?", None)]


def test_a_row_without_a_time_is_rejected() -> None:
    report, windows = timed([us(2026), None, us(2026) + 1])
    assert [n for _, n in windows] == [2]
    assert told(report) == [("memory[partition 0]:1", "ts is null; every row needs an event time", None)]


def test_a_clock_that_runs_ahead_is_stopped_by_max_jump() -> None:
    report, windows = timed([us(2026), us(2262), us(2026) + 1], max_jump="1d")
    assert [n for _, n in windows] == [2]
    assert report.late_rows == 0
    ((place, reason, _),) = told(report)
    assert place == "memory[partition 0]:1"
    assert reason.endswith("ahead of all rows before it, more than max_jump=1d; a clock may be wrong")


def test_a_clock_set_back_makes_late_rows_and_no_wrong_ones() -> None:
    report, windows = timed([us(2026), us(2026) + 10 * MINUTE, us(2026) - 60 * MINUTE, us(2026) + 10 * MINUTE + 1])
    assert [n for _, n in windows] == [1, 2]
    assert [row["position"] for row in report.late.to_pylist()] == ["memory[partition 0]:2"]


def test_a_time_that_is_no_time_is_rejected() -> None:
    app = tw.App("times")
    rows = [{"ts": "2026-01-01T00:00:00"}, {"ts": "soon"}, {"ts": "2026-01-01T00:00:30"}]
    stream = app.read(memory(rows), time=col("ts").str.to_datetime())
    stream.group_by().window("1m").agg(n=count()).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").column("n").to_pylist() == [2]
    ((place, reason, _),) = told(report)
    assert place == "memory[partition 0]:1"
    assert "soon" in reason


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)])
def test_integer_times_count_in_their_unit(unit: str, factor: int) -> None:
    app = tw.App("times")
    stream = app.read(memory([{"t": second * factor} for second in (0, 59, 60, 125)]), time="t", time_unit=unit)  # type: ignore[arg-type]  # one of the four
    stream.group_by().window("1m").agg(n=count()).write(view("v"))
    assert checked(app.batch()).view("v").column("n").to_pylist() == [2, 1, 1]


# ---------------------------------------------------------------------- functions of the user

NUMBERS = pa.schema([("k", pa.string()), ("n", pa.int64())])
ROWS = [{"k": "ab"[n % 2], "n": n} for n in range(10)]
BAD = 6


def picky(row: dict[str, Any]) -> dict[str, Any]:
    if row["n"] == BAD:
        raise ValueError(f"I do not like {row['n']}")
    return row


def picky_many(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield row
    if row["n"] == BAD:
        raise ValueError(f"I do not like {row['n']}")
    yield row


def picky_batch(table: pa.Table) -> pa.Table:
    if BAD in table.column("n").to_pylist():
        raise ValueError(f"I do not like {BAD}")
    return table


def picky_sum(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    if other["n"] == BAD:  # the row that is added: a sum may well be what a row may not
        raise ValueError(f"I do not like {BAD}")
    return one | {"n": one["n"] + other["n"]}


def picky_step(state: int, value: int) -> int:
    if value == BAD:
        raise ValueError(f"I do not like {value}")
    return state + value


picky_total = tw.aggregate(init=int, step=picky_step, merge=lambda a, b: a + b, returns=int)
KEPT = [row for row in ROWS if row["n"] != BAD]
TOTALS = [{"k": "a", "n": 0 + 2 + 4 + 8}, {"k": "b", "n": 1 + 3 + 5 + 7 + 9}]
USERS: dict[str, tuple[Callable[[Stream], Stream], list[dict[str, Any]], str]] = {
    "map": (lambda s: s.map(picky, schema=NUMBERS), KEPT, "memory[partition 0]:6"),
    "flat_map": (
        lambda s: s.flat_map(picky_many, schema=NUMBERS),
        [row for row in KEPT for _ in (1, 2)],
        "memory[partition 0]:6",
    ),
    "map_batches": (lambda s: s.map_batches(picky_batch), KEPT, "memory[partition 0]:6"),
    "map after a filter": (
        lambda s: s.filter(col("n") > 2).map(picky, schema=NUMBERS),
        [row for row in KEPT if row["n"] > 2],
        "memory[partition 0]:6",
    ),
    "aggregate": (lambda s: s.group_by("k").agg(n=picky_total(col("n"))), TOTALS, "a"),
    "reduce": (lambda s: s.reduce_by_key("k", picky_sum), TOTALS, "a"),
}


@pytest.mark.parametrize("rows", [None, 1, 3])
@pytest.mark.parametrize("what", USERS)
def test_a_row_on_which_a_function_raises_is_rejected_and_the_rest_go_on(what: str, rows: int | None) -> None:
    build, expected, where = USERS[what]
    app = tw.App("users")
    build(app.read(memory(ROWS))).write(view("v"))
    report = checked(app.batch(max_step_rows=rows))
    assert report.view("v").to_pylist() == sorted(expected, key=lambda row: (row["k"], row["n"]))
    (error,) = report.errors.to_pylist()
    assert error["reason"] == f"ValueError: I do not like {BAD}"
    assert where in error["place"]
    assert "picky" in error["traceback"]
    assert __file__ in error["traceback"]
    assert whole_rows(report) == [ROWS[BAD]]


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_a_window_s_aggregate_leaves_out_the_row_on_which_it_raises(rows: int | None) -> None:
    app = tw.App("users")
    given = [row | {"ts": dt.datetime(2026, 1, 1, 0, 0, row["n"] * 10)} for row in ROWS[:6]]
    given += [{"k": "a", "n": BAD, "ts": dt.datetime(2026, 1, 1, 0, 0, 30)}]
    stream = app.read(memory(given), time="ts", lateness="1m")
    stream.group_by("k").window("1m").agg(n=picky_total(col("n")), rows=count()).write(view("v"))
    report = checked(app.batch(max_step_rows=rows))
    assert [(row["k"], row["n"], row["rows"]) for row in report.view("v").to_pylist()] == [("a", 6, 3), ("b", 9, 3)]
    (error,) = report.errors.to_pylist()
    assert error["reason"] == f"ValueError: I do not like {BAD}"


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "a row is a dict or an object of the schema's class, not NoneType"),
        ([1], "a row is a dict or an object of the schema's class, not list"),
        ({"k": "a", "n": "many"}, "what odd returned does not fit its schema"),
        ({"k": 3, "n": 3}, "what odd returned does not fit its schema"),
        ({"k": "a", "n": 2**70}, "what odd returned does not fit its schema"),
        ({"k": "a", "n": 1.5}, "what odd returned does not fit its schema"),
    ],
    ids=str,
)
def test_a_row_for_which_a_function_returns_something_else_is_rejected(returned: Any, words: str) -> None:
    def odd(row: dict[str, Any]) -> Any:
        return returned if row["n"] == BAD else row

    app = tw.App("users")
    app.read(memory(ROWS)).map(odd, schema=NUMBERS).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").num_rows == len(ROWS) - 1
    (error,) = report.errors.to_pylist()
    assert words in error["reason"]
    assert error["place"] == f"memory[partition 0]:{BAD}"


def test_a_function_of_batches_that_changes_their_length_is_told_so() -> None:
    app = tw.App("users")
    app.read(memory(ROWS)).map_batches(lambda table: table.slice(1)).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").num_rows == 0
    assert all("it must return as many, in order" in reason for _, reason, _ in told(report))


def test_an_error_that_has_no_text_of_its_own_is_named() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def mute(row: dict[str, Any]) -> dict[str, Any]:
        if row["n"] == BAD:
            raise Mute
        return row

    app = tw.App("users")
    app.read(memory(ROWS)).map(mute, schema=NUMBERS).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").num_rows == len(ROWS) - 1
    assert "Mute" in report.errors.column("reason")[0].as_py()


def test_a_row_that_no_python_value_can_hold_is_rejected_before_the_function() -> None:
    table = pa.table({"n": [1, 2, 3], "at": pa.array([0, 10**18, 0], TIMESTAMP)})
    app = tw.App("users")
    app.read(memory(table)).map(lambda row: {"n": row["n"]}, schema=pa.schema([("n", pa.int64())])).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").to_pylist() == [{"n": 1}, {"n": 3}]
    ((place, reason, column),) = told(report)
    assert (place, column) == ("memory[partition 0]:1", "at")
    assert "outside the years 1 to 9999" in reason


def test_a_merge_that_raises_stops_the_run_and_is_named() -> None:
    def no_merge(one: int, other: int) -> int:
        raise ValueError("I cannot merge")

    total = tw.aggregate(init=int, step=picky_step, merge=no_merge, returns=int)
    app = tw.App("users")
    app.read(memory(ROWS[:4])).group_by("k").agg(n=total(col("n"))).write(view("v"))
    # No single row is at fault, so there is none to reject.
    with pytest.raises(
        FunctionError, match=r"merge of the aggregate picky_step raised ValueError on \(0, 2\): I cannot merge"
    ):
        app.batch(max_step_rows=1)


def test_a_finish_that_raises_stops_the_run_and_is_named() -> None:
    def no_finish(state: int) -> int:
        raise ValueError("too much")

    total = tw.aggregate(init=int, step=picky_step, merge=lambda a, b: a + b, finish=no_finish)
    app = tw.App("users")
    app.read(memory(ROWS[:1])).group_by("k").agg(n=total(col("n"))).write(view("v"))
    with pytest.raises(
        FunctionError, match=r"finish of the aggregate picky_step raised ValueError on \(0,\): too much"
    ):
        app.batch()


def test_a_value_that_cannot_be_cast_has_its_row_rejected() -> None:
    app = tw.App("casts")
    rows = [{"n": "1"}, {"n": "two"}, {"n": "3"}]
    app.read(memory(rows)).select(n=col("n").cast(int)).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").to_pylist() == [{"n": 1}, {"n": 3}]
    ((place, reason, _),) = told(report)
    assert place == "memory[partition 0]:1"
    assert "two" in reason
    assert whole_rows(report) == [{"n": "two"}]


def test_a_cast_after_a_step_that_others_read_too_knows_its_place() -> None:
    app = tw.App("casts")
    rows = [{"n": "0"}, {"n": "1"}, {"n": "two"}]
    kept = app.read(memory(rows)).filter(col("n") != "0")
    kept.write(view("kept"))
    kept.select(n=col("n").cast(int)).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").to_pylist() == [{"n": 1}]
    assert [place for place, _, _ in told(report)] == ["memory[partition 0]:2"]


def test_errors_can_be_read_as_a_stream() -> None:
    app = tw.App("errors")
    mapped = app.read(memory(ROWS)).map(picky, schema=NUMBERS)
    mapped.write(view("v"))
    mapped.errors.select("place", "reason").write(view("errors"))
    report = checked(app.batch())
    assert report.view("errors").to_pylist() == [
        {"place": f"memory[partition 0]:{BAD}", "reason": f"ValueError: I do not like {BAD}"}
    ]
