"""Joins within an interval: what comes out and when, and what is kept for how long."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import polars as pl
import pytest

import thalweg as tw
from tests.unit.clocks import SECOND, Live, scripted
from tests.unit.two_sides import Driven, Row, node_of, streams
from thalweg import col, count
from thalweg.connect import memory, view
from thalweg.engine.embedded import interval, slabs
from thalweg.engine.embedded.interval import IntervalJoin
from thalweg.engine.embedded.rows import ALWAYS, NEVER
from thalweg.plan.nodes import How, Join

KINDS: tuple[How, ...] = ("inner", "left", "right", "full", "semi", "anti")


def joined(how: How = "inner", low: int = 0, high: int = 10) -> Driven:
    left, right = streams()
    node = node_of(left.join(right, on="k", how=how, within=(f"{low}us", f"{high}us")))
    assert isinstance(node, Join)
    return Driven(IntervalJoin(node, low, high, "join"))


def at(second: int) -> dt.datetime:
    return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=second)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("inner", [("a", 1, 2, 105)]),
        ("left", [("a", 1, 2, 105), ("b", 3, None, 100)]),
        ("right", [("a", 1, 2, 105), ("c", None, 4, 100)]),
        ("full", [("a", 1, 2, 105), ("b", 3, None, 100), ("c", None, 4, 100)]),
        ("semi", [("a", 1, 100)]),
        ("anti", [("b", 3, 100)]),
    ],
)
def test_each_kind_gives_its_rows_with_the_later_or_the_kept_rows_time(
    how: How, expected: Sequence[tuple[object, ...]]
) -> None:
    run = joined(how)
    found = run.step([("a", 1, 100), ("b", 3, 100)], [("a", 2, 105), ("c", 4, 100)], watermark=100)
    found += run.step(watermark=ALWAYS)
    assert sorted(found) == sorted(expected)
    assert run.stage.held() == 0


@pytest.mark.parametrize(("low", "high"), [(0, 10), (-10, 0), (-5, 5), (3, 8), (-8, -3), (0, 0)])
def test_both_ends_of_the_interval_belong_to_it(low: int, high: int) -> None:
    run = joined("inner", low, high)
    rights: list[Row] = [("a", apart, 1000 + apart) for apart in range(-15, 16)]
    found = run.step([("a", 0, 1000)], rights, watermark=NEVER)
    assert [row[2] for row in found] == list(range(low, high + 1))


def test_partners_come_out_as_soon_as_the_second_is_there_whichever_side_it_is_of() -> None:
    run = joined("inner", -10, 10)
    assert run.step(left=[("a", 1, 100)]) == []
    assert run.step(right=[("a", 2, 95)]) == [("a", 1, 2, 100)]
    assert run.step(left=[("a", 3, 97)]) == [("a", 3, 2, 97)]


def test_a_row_without_partner_comes_when_the_watermark_is_past_all_that_could_be_one() -> None:
    run = joined("full", -5, 10)
    assert run.step([("a", 1, 100)], [("b", 2, 100)], watermark=100) == []
    assert not run.stage.due(105)
    assert run.stage.due(106)
    assert run.step(watermark=105) == []
    assert run.step(watermark=106) == [("b", None, 2, 100)]
    assert run.step(watermark=110) == []  # a row at 110 is in time, and a partner
    assert run.step(right=[("a", 3, 110)], watermark=110) == [("a", 1, 3, 110)]
    assert run.step(watermark=111) == []
    assert run.stage.held() == 1  # the row at 110, for left rows from 100 to 115
    assert run.step(watermark=116) == []
    assert run.stage.held() == 0


def test_a_semi_join_gives_each_row_once_and_keeps_nothing_to_give_again() -> None:
    run = joined("semi")
    assert run.step(left=[("a", 1, 100)], right=[("a", 2, 101), ("a", 3, 102)]) == [("a", 1, 100)]
    assert run.step(right=[("a", 4, 103)]) == []
    assert run.step(watermark=ALWAYS) == []


@pytest.mark.parametrize("how", KINDS)
def test_null_keys_agree_with_nothing_and_are_not_kept(how: How) -> None:
    run = joined(how)
    found = run.step([(None, 1, 100)], [(None, 2, 100)])
    assert run.stage.held() == 0
    assert (None, 1, 2, 100) not in found
    expected = {
        "left": [(None, 1, None, 100)],
        "right": [(None, None, 2, 100)],
        "full": [(None, None, 2, 100), (None, 1, None, 100)],
        "anti": [(None, 1, 100)],
    }
    assert found == expected.get(how, [])
    entry = run.stage.entry
    assert (entry.passed, entry.filtered) == (len(found), 2 - len(found))


def test_nan_equals_nan_and_the_two_zeros_are_one_key() -> None:
    app = tw.App("floats")
    keys = [float("nan"), 0.0, None, 1.5]
    left = app.read(memory([{"k": key, "t": at(n)} for n, key in enumerate(keys)]), time="t")
    right = app.read(
        memory([{"k": key, "t": at(n)} for n, key in enumerate([-float("nan"), -0.0, None, 1.25])]), time="t"
    )
    left.join(right, on="k", how="semi", within=("-1m", "1m")).write(view("v"))
    assert [str(row["k"]) for row in app.batch().view("v").to_pylist()] == ["0.0", "nan"]


def test_late_rows_of_both_sides_are_given_aside_counted_and_joined_with_nothing() -> None:
    run = joined("full")
    marks = {"left": [NEVER, 100, 100], "right": [NEVER, 105]}
    found = run.step([("a", 1, 100), ("b", 2, 99), ("c", 3, 100)], [("b", 4, 105), ("a", 5, 104)], 100, marks)
    assert found == []
    assert sorted(run.late) == [("a", 5, 104), ("b", 2, 99)]
    assert run.stage.entry.late == 2
    assert run.step(watermark=ALWAYS) == [("a", 1, None, 100), ("b", None, 4, 105), ("c", 3, None, 100)]


def test_a_report_names_the_late_rows_of_a_join() -> None:
    app = tw.App("late")
    left = app.read(memory([{"k": 1, "t": at(30)}, {"k": 1, "t": at(20)}]), time="t", lateness="5s")
    right = app.read(
        memory([{"k": 1, "t": at(40)}, {"k": 1, "t": at(35)}, {"k": 1, "t": at(34)}]), time="t", lateness="5s"
    )
    left.join(right, on="k", within="1m").write(view("v"))
    report = app.batch()
    assert [row["t_right"] for row in report.view("v").to_pylist()] == [at(35), at(40)]
    assert sorted((row["time"], row["watermark"], row["reason"]) for row in report.late.to_pylist()) == [
        (at(20), at(25), "late"),
        (at(34), at(35), "late"),
    ]


def test_rows_of_a_sleeper_that_the_watermark_has_left_behind_are_late() -> None:
    run = joined("left")
    run.step([("a", 1, 100)], watermark=120)
    # Rows that an operator made carry no watermark of their own.
    assert run.step(right=[("a", 2, 105), ("b", 3, 120)]) == []
    assert run.late == [("a", 2, 105)]
    assert [part.of_windows for part in run.last.late] == [False]


def test_an_idle_partition_holds_no_row_back_and_what_it_gives_too_late_is_named() -> None:
    source = scripted("clicks", {"a": [1, 15, 35], "b": [2, 12, 41]})
    app = tw.App("idle")
    clicks = app.read(source, time="ts", lateness="0s")
    clicks.join(clicks.filter(col("k") == "nobody"), on="k", how="anti", within="5s").write(view("v"))
    with Live(app, source) as run:
        run.give(a=2, b=1)
        run.silence("29s")
        run.give(a=3)
        assert run.view("v") == []
        run.silence("29s")
        run.until(lambda: [row["k"] for row in run.view("v")] == ["a0", "a1", "b0"])
        run.give(b=2)
        assert len(run.view("v")) == 3
    assert [(row["reason"], row["watermark"].timestamp()) for row in run.report.late.to_pylist()] == [("idle", 35.0)]
    assert run.report.exceptions[0].floor == 35 * SECOND


@pytest.mark.parametrize(
    ("how", "low", "high", "back"),
    [
        ("inner", -5, 10, 0),
        ("left", -5, 10, 10),
        ("semi", -5, 10, 10),
        ("anti", 3, 10, 10),
        ("right", -5, 10, 5),
        ("right", 3, 10, 0),
        ("full", -5, 10, 10),
        ("full", -20, 10, 20),
        ("left", -20, -5, 0),
    ],
)
def test_the_watermark_of_the_result_stays_behind_by_as_much_as_a_row_may_wait(
    how: How, low: int, high: int, back: int
) -> None:
    run = joined(how, low, high)
    assert run.stage.watermark_out() == NEVER
    run.step(watermark=1000)
    assert run.stage.watermark_out() == 1000 - back
    run.step(watermark=ALWAYS)
    assert run.stage.watermark_out() == ALWAYS


def test_an_interval_without_end_keeps_all_rows_and_overflows_nothing() -> None:
    app = tw.App("ever")
    left = app.read(memory([{"k": 1, "t": at(0)}, {"k": 1, "t": dt.datetime(9999, 12, 31, tzinfo=dt.UTC)}]), time="t")
    right = app.read(memory([{"k": 1, "t": dt.datetime(1, 1, 1, tzinfo=dt.UTC)}]), time="t")
    left.join(right, on="k", how="left", within=("-1000000w", "1000000w")).write(view("v"))
    assert [row["t_right"] is not None for row in app.batch().view("v").to_pylist()] == [True, True]


@pytest.mark.parametrize("how", KINDS)
def test_a_restored_state_goes_on_as_if_nothing_had_happened(how: How) -> None:
    steps: list[tuple[list[Row], list[Row], int]] = [
        ([("a", 1, 100), ("b", 2, 101)], [("a", 3, 103)], 100),
        ([("c", 4, 104)], [("b", 5, 106), ("d", 6, 105)], 104),
        ([("d", 7, 106)], [("c", 8, 130)], 120),
        ([], [], ALWAYS),
    ]
    whole = joined(how)
    expected = [whole.step(*step) for step in steps]
    run, found = joined(how), []
    for step in steps:
        found.append(run.step(*step))
        again = joined(how)
        again.stage.restore(dict(run.stage.snapshot()))
        again.stage.watermark, again.stage.entry = run.stage.watermark, run.stage.entry
        run = again
    assert found == expected


def test_a_frame_of_state_that_did_not_change_is_the_same_object() -> None:
    run = joined("left", 0, 1000)
    run.step([(str(number), number, 100) for number in range(slabs.FEW_ROWS)], watermark=100)
    before = dict(run.stage.snapshot())
    run.step([("x", 1, 101)], watermark=100)
    after = dict(run.stage.snapshot())
    assert after["left/0/rows"] is before["left/0/rows"]
    assert set(after) - set(before) == {"left/1/rows", "left/1/met"}


def test_the_state_does_not_grow_with_the_stream() -> None:
    run = joined("inner", 0, 100)
    most = 0
    for number in range(300):
        time = number * 50
        run.step([("a", number, time + n) for n in range(50)], [("b", number, time + n) for n in range(50)], time)
        most = max(most, run.stage.held())
    assert most < 1000  # 15,000 rows of each side went through
    run.step(watermark=ALWAYS)
    assert run.stage.held() == 0


def test_few_rows_find_their_partners_among_many() -> None:
    many: list[Row] = [(f"k{number % 5000}", number, number) for number in range(20_000)]
    few: list[Row] = [("k7", -1, 12_000), ("k4999", -2, 5_000), ("nobody", -3, 9_000)]
    run = joined("inner", -20_000, 20_000)
    run.step(right=many)
    found = run.step(left=few)
    assert sorted(row[2] for row in found) == sorted(n for n in range(20_000) if n % 5000 in (7, 4999))
    assert run.stage.held() == 20_003


@pytest.mark.parametrize("how", KINDS)
def test_however_partners_are_found_they_are_the_same(how: How, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Row] = [(f"k{number % 3}", number, number * 7 % 1000) for number in range(400)]
    right: list[Row] = [(f"k{number % 4}", number, number * 11 % 1000) for number in range(400)]
    plain = joined(how, -3, 9)
    expected = plain.step(left, right, 500) + plain.step(watermark=ALWAYS)
    for name, module, value in (("_MANY_PAIRS", interval, 0), ("_FEW_EACH", interval, 0), ("FEW_ROWS", slabs, 4)):
        monkeypatch.setattr(module, name, value)
        run = joined(how, -3, 9)
        found = run.step(left, right, 500) + run.step(watermark=ALWAYS)
        assert sorted(found, key=repr) == sorted(expected, key=repr), name


def test_a_key_of_very_many_rows_makes_no_pairs_that_are_far_apart() -> None:
    rows: list[Row] = [("hot", number, number * 10) for number in range(30_000)]
    run = joined("inner", 0, 10)
    assert len(run.step(rows, rows, 0)) == 59_999  # 900 million pairs agree in the key


def test_a_semi_join_of_a_key_of_very_many_rows_makes_no_pairs_at_all() -> None:
    rows: list[Row] = [("hot", number, number) for number in range(30_000)]
    run = joined("semi", 0, 1_000_000)
    assert len(run.step(rows, rows, 0)) == 30_000


@pytest.mark.parametrize("how", KINDS)
def test_windows_join_in_the_step_in_which_they_close(how: How) -> None:
    app = tw.App("windows")
    rows = [{"k": "a", "s": "l", "t": at(1)}, {"k": "b", "s": "l", "t": at(2)}, {"k": "a", "s": "r", "t": at(3)}]
    rows += [{"k": "c", "s": "r", "t": at(4)}, {"k": "z", "s": "?", "t": at(60)}]
    clicks = app.read(memory(rows), time="t")
    left, right = (
        clicks.filter(col("s") == side).group_by("k").window("10s").agg(**{name: count()})
        for side, name in (("l", "n"), ("r", "m"))
    )
    left.join(right, on=["k", "window_start", "window_end"], how=how).write(view("v"))
    # The watermark is at 60 s, and nothing says that the input is complete.
    report = app.run(data=None, until="caught-up", quiet=True)
    found = [(row["k"], row.get("n"), row.get("m")) for row in report.view("v").to_pylist()]
    a, b, c = ("a", 1, 1), ("b", 1, None), ("c", None, 1)
    expected = {"inner": [a], "left": [a, b], "right": [a, c], "full": [a, b, c]}
    kept = {"semi": [("a", 1, None)], "anti": [("b", 1, None)]}
    assert found == (expected | kept)[how]


def test_joins_of_joins_close_the_windows_behind_them() -> None:
    app = tw.App("chain")
    streams_of = [app.read(memory([{"k": 1, "t": at(n)}, {"k": 2, "t": at(n + 40)}]), time="t") for n in range(3)]
    first = streams_of[0].join(streams_of[1], on="k", how="left", within="10s").select("k")
    second = first.join(streams_of[2], on="k", how="left", within="10s")
    second.group_by("k").window("10s").agg(n=count()).write(view("v"))
    rows = app.batch().view("v").to_pylist()
    assert [(row["k"], row["window_start"], row["n"]) for row in rows] == [(1, at(0), 1), (2, at(40), 1)]


def test_the_two_sides_of_a_self_join_are_told_apart() -> None:
    run = joined("inner", 1, 5)
    rows: list[Row] = [("a", 1, 100), ("a", 2, 103)]
    assert run.step(rows, rows) == [("a", 1, 2, 103)]


def test_slabs_say_what_they_hold() -> None:
    side = slabs.Side(["k"], ["k"], 10, noted=True)
    slab = side.slab([pl.DataFrame({"k": ["a", "b"], "__time": [1, 5]})])
    assert slab is not None
    side.keep(slab)
    assert (slab.low, slab.high, side.held()) == (1, 5, 2)
    assert [frame.height for frame in side.alone(12)] == [1]  # the row at 1: partners up to 11
    assert [frame.height for frame in side.alone(12)] == []  # each once
    assert (side.drop(12), side.held()) == (1, 1)
