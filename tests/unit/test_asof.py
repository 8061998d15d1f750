"""As-of joins: each row beside the version of its key that was valid at its time."""

from __future__ import annotations

import datetime as dt

import pytest

import thalweg as tw
from tests.unit.two_sides import Driven, Row, node_of, streams
from thalweg.connect import memory, view
from thalweg.engine.embedded import arrangement, asof
from thalweg.engine.embedded.asof import AsofJoin
from thalweg.engine.embedded.rows import ALWAYS, NEVER
from thalweg.plan.nodes import JoinAsof


def joined() -> Driven:
    left, right = streams()
    node = node_of(left.join_asof(right, by="k"))
    assert isinstance(node, JoinAsof)
    return Driven(AsofJoin(node, "join_asof"))


def test_the_latest_version_that_is_not_later_is_taken() -> None:
    run = joined()
    versions: list[Row] = [("a", 10, 100), ("a", 20, 200), ("b", 30, 150)]
    stream: list[Row] = [("a", 1, 99), ("a", 2, 100), ("a", 3, 199), ("a", 4, 200), ("b", 5, 149), ("c", 6, 300)]
    assert run.step(stream, versions, ALWAYS) == [
        ("a", 1, None, 99),
        ("a", 2, 10, 100),
        ("a", 3, 10, 199),
        ("a", 4, 20, 200),
        ("b", 5, None, 149),
        ("c", 6, None, 300),
    ]
    assert run.stage.held() == 0


def test_a_row_comes_when_the_watermark_is_strictly_past_it() -> None:
    run = joined()
    assert run.step([("a", 1, 100)], [("a", 2, 50)], watermark=60) == []
    assert not run.stage.due(100)
    assert run.step(watermark=100) == []
    assert run.step(right=[("a", 3, 100)]) == []  # a version at its very time is in time
    assert run.stage.due(101)
    assert run.step(watermark=101) == [("a", 1, 3, 100)]


def test_of_versions_with_one_time_the_greatest_is_taken_however_they_come() -> None:
    run = joined()
    run.step(right=[("a", 7, 100), ("a", 9, 100)])
    run.step(right=[("a", 8, 100)])
    assert run.step([("a", 1, 100), ("a", 2, 130)], watermark=120) == [("a", 1, 9, 100)]
    assert run.step(watermark=131) == [("a", 2, 9, 130)]


def test_versions_are_kept_from_the_last_before_the_watermark_on() -> None:
    run = joined()
    run.step(right=[("a", number, number) for number in range(100)] + [("b", 1, 5)], watermark=50)
    assert run.stage.held() == 52  # of a: 49, and 50 to 99; of b: 5
    assert run.step([("a", -1, 50), ("b", -2, 70)], watermark=98) == [("a", -1, 50, 50), ("b", -2, 1, 70)]
    assert run.stage.held() == 4  # 97, 98 and 99, and b's
    run.step(watermark=ALWAYS)
    assert run.stage.held() == 0


def test_null_names_no_version() -> None:
    run = joined()
    assert run.step([(None, 1, 100)], [(None, 2, 50)], watermark=200) == [(None, 1, None, 100)]
    assert run.stage.entry.filtered == 1


def test_nan_equals_nan_and_the_two_zeros_are_one_key() -> None:
    def at(second: int) -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=second)

    app = tw.App("floats")
    nan = float("nan")
    stream = app.read(memory([{"k": key, "n": n, "t": at(9)} for n, key in enumerate([nan, 0.0, -0.0, 1.5])]), time="t")
    table = app.read(
        memory([{"k": key, "v": v, "t": at(v)} for v, key in enumerate([0.0, nan, -0.0, -nan, 2.5])]), time="t"
    )
    stream.join_asof(table, by="k").write(view("v"))
    for rows in (100, 1):
        report = app.run(data=None, until="end", max_step_rows=rows, quiet=True)
        assert sorted((row["n"], row["v"]) for row in report.view("v").to_pylist() if row["n"] < 3) == [
            (0, 3),
            (1, 2),
            (2, 2),
        ]


def test_late_rows_of_both_sides_are_given_aside_and_counted() -> None:
    run = joined()
    marks = {"left": [NEVER, 100], "right": [NEVER, 90]}
    run.step([("a", 1, 100), ("a", 2, 99)], [("a", 3, 90), ("a", 4, 80)], 80, marks)
    assert sorted(run.late) == [("a", 2, 99), ("a", 4, 80)]
    assert run.step(watermark=ALWAYS) == [("a", 1, 3, 100)]
    assert run.stage.entry.late == 2


def test_a_version_that_the_watermark_has_left_behind_is_late() -> None:
    run = joined()
    run.step(right=[("a", 1, 50)], watermark=100)
    run.step(right=[("a", 2, 70), ("a", 3, 100)])
    assert run.late == [("a", 2, 70)]
    assert run.step([("a", 9, 100)], watermark=101) == [("a", 9, 3, 100)]


@pytest.mark.parametrize("few", [16_384, 2])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrangement, "FEW_ROWS", few)
    steps: list[tuple[list[Row], list[Row], int]] = [
        ([("a", 1, 100)], [("a", 10, 50), ("b", 11, 60), ("c", 12, 61), ("d", 13, 62)], 70),
        ([("b", 2, 101), ("d", 3, 99)], [("a", 14, 80), ("b", 15, 101)], 100),
        ([("c", 4, 130)], [("c", 16, 120), ("e", 17, 125)], 130),
        ([("e", 5, 140), ("a", 6, 140)], [], 150),
        ([], [], ALWAYS),
    ]
    whole = joined()
    expected = [whole.step(*step) for step in steps]
    run, found = joined(), []
    for step in steps:
        found.append(run.step(*step))
        again = joined()
        again.stage.restore(dict(run.stage.snapshot()))
        again.stage.watermark, again.stage.entry = run.stage.watermark, run.stage.entry
        run = again
    assert found == expected
    assert [row[:3] for rows in found for row in rows] == [
        ("d", 3, 13),
        ("a", 1, 14),
        ("b", 2, 15),
        ("a", 6, 14),
        ("c", 4, 16),
        ("e", 5, 17),
    ]


def test_the_operator_is_the_one_that_the_plan_names() -> None:
    run = joined()
    assert isinstance(run.stage, asof.AsofJoin)
    assert run.stage.watermark_out() == NEVER
    run.step(watermark=77)
    assert run.stage.watermark_out() == 77  # rows come with their own time as soon as the watermark is past it
