"""How results are printed, for people and for machines."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pytest
from annotated_types import Ge

import thalweg as tw
from thalweg.cli.results import SHOWN_ROWS, Results
from thalweg.cli.tables import table_lines, value_text
from thalweg.connect import memory, view
from thalweg.engine.contract import Report, TimeException

UTC = dt.UTC


class Row:
    n: Annotated[int, Ge(0)]
    ts: dt.datetime


def report_of(rows: list[dict[str, Any]]) -> Report:
    app = tw.App("results")
    read = app.read(memory(rows), schema=Row, time="ts")
    read.group_by("n").window("1m").agg(rows=tw.count()).write(view("counts"))
    return app.batch()


def at(minute: int, second: int = 0) -> dt.datetime:
    return dt.datetime(2026, 3, 1, 10, minute, second, tzinfo=UTC)


@pytest.fixture(scope="module")
def report() -> Report:
    """A run with a late row and a rejected one."""
    return report_of([{"n": 1, "ts": at(0)}, {"n": 1, "ts": at(2)}, {"n": -1, "ts": at(2)}, {"n": 2, "ts": at(0, 30)}])


def test_columns_are_lined_up_and_numbers_stand_to_the_right() -> None:
    table = pa.table({"page": ["/a", "/long", None], "n": [1, 20, None], "x": [1.0, 0.25, float("nan")]})
    assert list(table_lines(table)) == [
        "page      n     x",
        "─────  ────  ────",
        "/a        1   1.0",
        "/long    20  0.25",
        "null   null   nan",
    ]


def test_times_of_a_column_are_as_short_as_all_allow() -> None:
    stamp = pa.timestamp("us", "UTC")
    table = pa.table(
        {
            "minutes": pa.array([at(0), None], stamp),
            "seconds": pa.array([at(0), at(0, 1)], stamp),
            "exact": pa.array([at(0), at(0).replace(microsecond=5)], stamp),
        }
    )
    assert [line.split("  ") for line in table_lines(table)][2] == [
        "2026-03-01 10:00",
        "2026-03-01 10:00:00",
        "2026-03-01 10:00:00.000000",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (2.0, "2.0"),
        (-0.0, "-0.0"),
        (1 / 3, "0.3333"),
        (1e300, "1e+300"),
        (1e-9, "1e-09"),
        (123_456_789.25, "123456789.25"),
        (float("inf"), "inf"),
        (10**18, "1000000000000000000"),
        ([1.5, None], "[1.5, null]"),
        ({"a": [True]}, "{a: [true]}"),
        (b"\xff", "ff"),
        (dt.date(2026, 3, 1), "2026-03-01"),
    ],
)
def test_values_read_as_people_write_them(value: object, text: str) -> None:
    assert value_text(value) == text


def test_long_values_are_cut_and_control_characters_do_nothing() -> None:
    lines = list(table_lines(pa.table({"text": ["x" * 100, "\x1b[2J"]})))
    assert lines[2] == "x" * 59 + "…"
    assert lines[3] == "·[2J"


def test_a_table_without_rows_has_its_names() -> None:
    assert list(table_lines(pa.table({"n": pa.array([], pa.int64())}))) == ["n", "─"]


def test_views_are_printed_as_tables_up_to_a_number_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    many = report_of([{"n": n, "ts": at(0)} for n in range(SHOWN_ROWS + 3)])
    Results("results", many, None).print_tables()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"counts: {SHOWN_ROWS + 3} rows"
    assert lines[1].split() == ["n", "window_start", "window_end", "rows"]
    assert lines[-2:] == ["… and 3 more; --json prints all", ""]
    assert len(lines) == SHOWN_ROWS + 5


def test_for_machines_a_view_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    many = report_of([{"n": n, "ts": at(0)} for n in range(SHOWN_ROWS + 3)])
    Results("results", many, None).print_json(with_report=False)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == SHOWN_ROWS + 3
    assert rows[1] == {
        "view": "counts",
        "n": 1,
        "window_start": "2026-03-01T10:00:00Z",
        "window_end": "2026-03-01T10:01:00Z",
        "rows": 1,
    }


def test_a_column_named_view_makes_room(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table({"view": ["front"], "n": [1]})
    Results("results", replace(report, views={"pages": table}), None).print_json(with_report=False)
    assert json.loads(capsys.readouterr().out) == {"view": "pages", "view_": "front", "n": 1}


def test_the_report_for_machines_has_everything_but_the_rows(report: Report) -> None:
    found = Results("results", report, Path("state")).as_json()
    assert (found["rows_in"], found["late_rows"], found["error_rows"], found["open_windows"]) == (4, 1, 1, 0)
    assert (found["app"], found["data"], found["sealed"]) == ("results", "state", False)
    assert found["errors"][0]["column"] == "n"
    assert found["late"][0]["window_end"] == at(1)
    assert [entry["step"] for entry in found["ledger"]] == ["1 read memory", "2 agg tumbling", "3 write counts"]


def test_the_summary_says_what_was_late_and_rejected_and_why(report: Report) -> None:
    lines = Results("results", report, Path("state")).summary().splitlines()
    assert lines[0].startswith("results: 4 rows read in ")
    assert lines[0].endswith(" s")
    assert lines[1] == "  late: 1 row, for a window that had closed"
    assert "2026-03-01 10:00:30 came when the watermark was 2026-03-01 10:02:00" in lines[2]
    assert lines[3] == "  rejected: 1 row"
    assert report.errors["place"][0].as_py() in lines[4]
    assert report.errors["reason"][0].as_py() in lines[4]
    assert lines[-1] == "  state: state"


def test_the_rate_of_many_rows_is_told(report: Report) -> None:
    many = replace(report, rows_in=1_200_000, seconds=2.0)
    assert Results("a", many, None).summary().startswith("a: 1,200,000 rows read in 2.00 s, 600,000 rows/s")


def test_the_summary_shows_the_first_faults_and_counts_the_rest() -> None:
    bad = report_of([{"n": -1, "ts": at(0)}] * 9)
    assert Results("results", bad, None).summary().splitlines()[-1] == "    … and 4 more"


def test_open_windows_wait_in_the_state_if_there_is_one(report: Report) -> None:
    still = replace(report, open_windows=3)
    assert "  open windows: 3; the next run goes on with them" in Results("a", still, Path("s")).summary().splitlines()
    assert "  open windows: 3" in Results("a", still, None).summary().splitlines()


def test_partitions_that_did_not_hold_the_watermark_are_named(report: Report) -> None:
    idle = replace(report, exceptions=(TimeException(1, "7", 12, 0, "idle"),))
    assert "partition 7 was idle: it did not hold windows open from row 12" in Results("a", idle, None).summary()


def test_a_sealed_state_says_how_to_start_again(report: Report) -> None:
    sealed = Results("a", replace(report, sealed=True), Path("state/a")).summary()
    assert "nothing was read" in sealed
    assert "delete state/a or name another directory with --data" in sealed


def test_times_that_python_cannot_hold_are_text(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    far = pa.array([253_402_300_800, None], pa.timestamp("s", "UTC"))
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), far)
    table = pa.table({"at": far, "ats": lists, "of": pa.StructArray.from_arrays([far], ["at"])})
    results = Results("far", replace(report, views={"far": table}), None)
    results.print_json(with_report=False)
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    text = "10000-01-01 00:00:00Z"
    assert first == {"view": "far", "at": text, "ats": [text], "of": {"at": text}}
    assert second == {"view": "far", "at": None, "ats": [None], "of": {"at": None}}
    results.print_tables()
    assert text in capsys.readouterr().out
