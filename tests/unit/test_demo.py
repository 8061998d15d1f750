"""The packaged programs against independent answers over the same files, through Python and the command line."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from rich.console import Console

from thalweg.cli.demonstrations import run_demo, show_list
from thalweg.connect import flights as all_flights
from thalweg.core.errors import PlanError
from thalweg.core.schema import schema_of
from thalweg.demo import DEMOS, clicks, employees, flight_board, visits
from thalweg.engine.contract import Progress
from thalweg.observe.status import Status
from tools.make_demo_data import DATA, files

HOUR = dt.timedelta(hours=1)
Json = dict[str, Any]  # a JSON object


def thalweg(*tokens: str, folder: Path) -> tuple[str, str]:
    """Return what the real command prints on standard output and on standard error."""
    command = [sys.executable, "-m", "thalweg", *tokens]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=250, stdin=subprocess.DEVNULL)
    assert found.returncode == 0, found.stderr
    return found.stdout, found.stderr


@pytest.fixture(scope="module")
def batch_of_flights(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Json]:
    """The views of the batch of all flights, line by line, and its report: a year takes some seconds."""
    program = str(DATA.parent / "flights.py")
    out, err = thalweg("batch", program, "--json", folder=tmp_path_factory.mktemp("flights"))
    return out.splitlines(), json.loads(err)["report"]


def test_the_data_are_what_the_tool_makes() -> None:
    assert {name: (DATA / name).read_text(encoding="utf-8") for name in files()} == files()


# ---------------------------------------------------------------------------- run to the end = batch


def views_of_run(name: str, folder: Path, step_rows: int) -> list[str]:
    """Return the views of a run to the end, line by line."""
    program = str(DATA.parent / f"{name}.py")
    options = ("--until", "end", "--json", "--data", "state", "--max-step-rows", str(step_rows))
    out, _ = thalweg("run", program, *options, folder=folder)
    return [line for line in out.splitlines() if "view" in json.loads(line)]


# The flights are many, and have a test of their own below; the logs have to be written first (test_demo_logs.py).
@pytest.mark.parametrize("name", sorted(set(DEMOS) - {"flights", "logs"}))
def test_a_run_to_the_end_gives_what_the_batch_gives(name: str, tmp_path: Path) -> None:
    out, _ = thalweg("batch", str(DATA.parent / f"{name}.py"), "--json", folder=tmp_path)
    whole = out.splitlines()
    assert len(whole) > 3
    assert views_of_run(name, tmp_path, 100) == whole


@pytest.mark.timeout(300)
def test_a_run_of_all_flights_gives_what_the_batch_gives(
    batch_of_flights: tuple[list[str], Json], tmp_path: Path
) -> None:
    assert views_of_run("flights", tmp_path, 100_000) == batch_of_flights[0]


# ---------------------------------------------------------------------------- employees


def test_the_highest_salaries_are_those_of_a_plain_loop() -> None:
    best: dict[str, int] = {}
    with open(employees.EMPLOYEES, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            best[row["department"]] = max(best.get(row["department"], 0), int(row["salary"]))
    expected = [{"department": name, "salary": best[name]} for name in sorted(best)]
    report = employees.app.batch()
    assert len(expected) == 7
    assert report.view("by_functions").to_pylist() == expected
    assert report.view("by_expressions").to_pylist() == expected
    assert (report.rows_in, report.error_rows) == (200, 0)


# ---------------------------------------------------------------------------- visits


def seen_pages(*days: Path) -> list[Json]:
    """Return the top three of some days, counted in a plain loop."""
    pages: Counter[str] = Counter()
    for day in days:
        for line in day.read_text(encoding="utf-8").splitlines():
            session = json.loads(line)
            pages[session["visitor"]] += len(session["pages"])
    best = sorted(pages.items(), key=lambda item: (-item[1], item[0]))[:3]
    return [{"visitor": visitor, "visits": count} for visitor, count in best]


@pytest.mark.parametrize("view", ["by_functions", "by_expressions"])
def test_the_top_three_visitors_are_those_of_a_plain_loop(view: str) -> None:
    assert visits.top_three(visits.app.batch(), view).to_pylist() == seen_pages(*visits.VISITS.iterdir())


def test_an_incremental_load_reads_only_what_is_new(tmp_path: Path) -> None:
    inbox, state = tmp_path / "inbox", tmp_path / "state"
    inbox.mkdir()
    days = sorted(visits.VISITS.iterdir())
    for number, day in enumerate(days, 1):
        shutil.copy(day, inbox)
        report = visits.program(inbox).run(data=state, until="caught-up", quiet=True)
        assert report.rows_in == len(day.read_text(encoding="utf-8").splitlines())
        assert visits.top_three(report).to_pylist() == seen_pages(*days[:number])
        assert visits.top_three(report, "by_expressions").to_pylist() == seen_pages(*days[:number])
    again = visits.program(inbox).run(data=state, until="caught-up", quiet=True)
    assert again.rows_in == 0
    assert visits.top_three(again).to_pylist() == seen_pages(*days)


def test_lines_added_to_a_file_are_new_too(tmp_path: Path) -> None:
    inbox, state = tmp_path / "inbox", tmp_path / "state"
    inbox.mkdir()
    day = inbox / "today.ndjson"
    line = '{"visitor": "visitor 1", "pages": ["/a"], "ts": "2026-03-04T00:00:00Z"}\n'
    for rows, total in ((3, 3), (2, 5), (4, 9)):
        with open(day, "a", encoding="utf-8") as file:
            file.write(line * rows)
        report = visits.program(inbox).run(data=state, until="caught-up", quiet=True)
        assert report.rows_in == rows
        assert visits.top_three(report).to_pylist() == [{"visitor": "visitor 1", "visits": total}]


# ---------------------------------------------------------------------------- clicks


def good_click(line: str) -> Json | None:
    """Return a line's click; None if it breaks the rules."""
    try:
        click: Json = json.loads(line)
        dt.datetime.fromisoformat(click["ts"])
        return click if isinstance(click["ms"], int) and click["ms"] >= 0 and len(click["page"]) > 0 else None
    except (ValueError, KeyError):
        return None


def plain_clicks() -> tuple[dict[tuple[str, dt.datetime], list[Json]], list[Json], list[int]]:
    """Return, by a plain loop, the clicks of each page and minute, the late ones, and the lines of the rejected."""
    counted: dict[tuple[str, dt.datetime], list[Json]] = defaultdict(list)
    late, rejected = [], []
    greatest: dt.datetime | None = None
    for number, line in enumerate(clicks.CLICKS.read_text(encoding="utf-8").splitlines(), 1):
        click = good_click(line)
        if click is None:
            rejected.append(number)
            continue
        ts = dt.datetime.fromisoformat(click["ts"])
        minute = ts.replace(second=0, microsecond=0)
        if greatest is not None and minute + dt.timedelta(minutes=1) <= greatest - dt.timedelta(seconds=5):
            late.append(click)
        else:
            counted[click["page"], minute].append(click)
        greatest = ts if greatest is None else max(greatest, ts)
    return counted, late, rejected


def test_the_views_per_minute_are_those_of_a_plain_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    counted, late, rejected = plain_clicks()
    report = clicks.app.batch()
    found = {(row.pop("page"), row.pop("window_start")): row for row in report.view("page_views").to_pylist()}
    assert found == {
        (page, minute): {
            "window_end": minute + dt.timedelta(minutes=1),
            "views": len(rows),
            "users": len({row["user"] for row in rows}),
            "mean_ms": pytest.approx(sum(row["ms"] for row in rows) / len(rows)),
            "worst_ms": max(row["ms"] for row in rows),
        }
        for (page, minute), rows in counted.items()
    }
    assert report.late_rows == len(late) == 11
    assert report.error_rows == len(rejected) == 7
    assert [int(place.rpartition(":")[2]) for place in report.errors["place"].to_pylist()] == rejected


def test_late_rows_are_written_to_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clicks.app.batch()
    lines = [line for part in Path("clicks-late").iterdir() for line in part.read_text().splitlines()]
    written = [(row["user"], row["page"], row["ms"], row["ts"]) for row in map(json.loads, lines)]
    expected = [(row["user"], row["page"], row["ms"], row["ts"]) for row in plain_clicks()[1]]
    assert len(written) == len(expected)
    assert sorted(user_page_ms[:3] for user_page_ms in written) == sorted(row[:3] for row in expected)


# ---------------------------------------------------------------------------- flights


@pytest.mark.timeout(300)
def test_delays_per_hour_are_those_of_one_query(batch_of_flights: tuple[list[str], Json]) -> None:
    read = all_flights().open(schema_of(all_flights().schema())).reader("0", None).read(400_000, 0)
    assert hasattr(read, "data")
    departures = pa.table(read.data)
    # The late ones by the definition: the hour had ended when the greatest time before, less three hours, was reached.
    query = """
        with placed as (select *, row_number() over () as place from departures),
        seen as (select *, time_bucket(interval 1 hour, scheduled) as window_start,
                 max(scheduled) over (order by place rows between unbounded preceding and 1 preceding) as before
                 from placed),
        kept as (select * from seen where before is null or window_start + interval 1 hour > before - interval 3 hour)
        select origin, carrier, window_start, count(*) as flights, count(*) filter (dep_delay is null) as cancelled,
               avg(dep_delay) as mean_delay, max(dep_delay) as max_delay from kept group by all order by all
    """
    with duckdb.connect() as database:
        database.execute("set timezone = 'UTC'")
        expected = database.sql(query).to_arrow_table().to_pylist()
    lines, report = batch_of_flights
    found = [row for row in map(json.loads, lines) if row.pop("view") == "delays"]
    assert len(found) == len(expected) > 100_000
    for row, right in zip(found, expected, strict=True):
        assert dt.datetime.fromisoformat(row.pop("window_end")) == right["window_start"] + HOUR
        mean, right_mean = row.pop("mean_delay"), right.pop("mean_delay")
        assert (mean is None) == (right_mean is None)
        assert mean is None or math.isclose(mean, right_mean, rel_tol=1e-9, abs_tol=1e-9)
        assert row == right | {"window_start": f"{right['window_start']:%Y-%m-%dT%H:%M:%SZ}"}
    counted = sum(row["flights"] for row in found)
    assert counted + report["late_rows"] == report["rows_in"] == departures.num_rows


STATUS = Status(
    Progress(
        seconds=1.0,
        rows_in=120,
        rows_out=9,
        watermark_us=1_357_041_600_000_000,
        holder="flights[0]",
        open_windows=2,
        held=1,
        late=4,
        rejected=0,
        epoch=1,
    ),
    120.0,
    9.0,
)


def hours(*rows: tuple[str, str, int, int, int, float | None]) -> list[Json]:
    start = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
    names = ("origin", "carrier", "window_start", "flights", "cancelled", "mean_delay")
    return [dict(zip(names, (o, c, start + h * HOUR, *rest), strict=True)) for o, c, h, *rest in rows]


def test_without_a_terminal_a_line_tells_how_it_goes() -> None:
    rows = hours(("JFK", "B6", 12, 7, 1, 10.2), ("EWR", "UA", 13, 3, 0, None), ("EWR", "UA", 12, 30, 0, -3.0))
    assert flight_board.line_of(STATUS, rows) == (
        "2013-01-01 12:00     120 flights, 3 hours of carriers, 4 late; 01 Jan 13h EWR UA: 3"
    )
    assert flight_board.line_of(STATUS, rows[:1]).endswith("01 Jan 12h JFK B6: 7, mean delay +10 min")
    assert flight_board.line_of(STATUS, []).endswith("4 late")


def test_the_board_has_the_latest_hours_and_the_busiest_carriers() -> None:
    rows = hours(*((f"A{n:02d}", "XX", hour, n + 1, 0, 20.0) for n in range(15) for hour in range(8)))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(flight_board.board(STATUS, rows))
    text = console.export_text()
    assert "01 Jan 07h" in text and "01 Jan 03h" in text and "01 Jan 02h" not in text
    assert "A14" in text and "A03" in text and "A02" not in text
    assert "held by flights[0]" in text


def test_the_flights_end_by_themselves_and_agree_with_the_clock(tmp_path: Path) -> None:
    out, _ = thalweg("demo", "flights", "--seconds", "2", "--speed", "86400", folder=tmp_path)
    lines = out.splitlines()
    assert lines[0].startswith("flights: ")
    assert "flights in " in lines[-1]
    read = int(lines[-1].split()[0].replace(",", ""))
    assert 100 < read < 336_776
    assert f"Departures until now: {read:,}" in out


# ---------------------------------------------------------------------------- what `thalweg demo` prints


def test_every_demonstration_is_listed_and_is_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    show_list()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(DEMOS)
    parts = {"flight_board", "log_poster", "log_writer", "logs_alerts", "logs_board", "logs_live", "logs_query"}
    programs = {path.stem for path in DATA.parent.glob("*.py")} - {"__init__"} - parts
    assert programs == set(DEMOS)


def test_the_employees_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run_demo("employees", seconds=1, speed=None)
    out = capsys.readouterr().out
    assert "functions and expressions give the same rows" in out
    assert out.count(",") >= 7


def test_the_visits_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run_demo("visits", seconds=1, speed=None)
    out = capsys.readouterr().out
    assert "full load: 825 sessions" in out
    assert "2026-03-03.ndjson: 275 sessions are new" in out
    assert out.count("are the same") == 2
    assert "DIFFERENT" not in out


def test_the_clicks_are_shown_and_leave_nothing_behind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_demo("clicks", seconds=1, speed=None)
    out = capsys.readouterr().out
    assert "11 late rows" in out
    assert "7 rejected lines" in out
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_demonstration_is_refused() -> None:
    with pytest.raises(PlanError, match="there are: flights, clicks, employees, visits, logs"):
        run_demo("zzz", seconds=1, speed=None)
