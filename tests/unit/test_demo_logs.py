"""The log analysis against what the writer of the logs knows: its lines by level, rule and window."""

from __future__ import annotations

import datetime as dt
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

import thalweg as tw
from tests.unit.written_logs import (
    PROGRAM,
    SOURCE,
    counted,
    expected_alerts,
    free_port,
    per,
    queued,
    queued_lines,
    raised,
    stored,
    writing,
    written,
)
from thalweg.connect import memory, view
from thalweg.core.clock import SystemClock
from thalweg.core.errors import SourceError
from thalweg.demo import log_writer, logs, logs_board, logs_query
from thalweg.demo.log_poster import Poster
from thalweg.demo.log_writer import GrowingLog, LogWriter, Options, options_of
from thalweg.demo.logs_alerts import Alerts
from thalweg.engine.contract import Progress
from thalweg.observe.status import Status

START = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)


@contextmanager
def collecting(folder: Path, port: int) -> Iterator[None]:
    """Bring lines in, from files and over HTTP, for as long as the context lasts."""
    app = logs.collector(folder)
    thread = threading.Thread(
        target=app.run,
        kwargs={"data": folder / "collector", "quiet": True, "checkpoint": "100ms", "serve": f"127.0.0.1:{port}"},
    )
    thread.start()
    try:
        yield
    finally:
        while thread.is_alive():
            app.stop()
            thread.join(0.05)


# ---------------------------------------------------------------------------- the whole of it


@pytest.mark.parametrize("rotate_by", ["rename", "copy", "both"])
def test_what_is_counted_is_what_was_written(rotate_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    logs.create_queue(tmp_path)
    port = free_port()
    told: list[str] = []
    url = f"http://127.0.0.1:{port}/topics/logs/events"
    with collecting(tmp_path, port):
        # Time passes at 1 s per 250 lines, so that windows are full enough for alerts.
        made = ("--lines", "6000", "--rate", "3000", "--start", START.isoformat(), "--step-ms", "4", "--url", url)
        totals = written(writing(tmp_path / "logs", *made, "--rotate", "150", "--rotate-by", rotate_by))
        live = time.monotonic() + 60
        while queued_lines(tmp_path / ".thalweg" / "log") < 6_000:
            assert time.monotonic() < live
            time.sleep(0.05)
    assert totals["rotations"] > 15
    assert 1_500 < totals["posted"] < 2_100

    rest = logs.collector(tmp_path).run(data=tmp_path / "collector", until="caught-up", quiet=True)
    assert rest.rows_in == 0
    lines = queued(tmp_path / ".thalweg" / "log")
    assert len(lines) == totals["lines"] == 6_000
    assert sum(line["id"] is not None for line in lines) == totals["posted"]
    assert sorted(line["time"] for line in lines) == [START + n * dt.timedelta(milliseconds=4) for n in range(6_000)]

    alerts = Alerts(tmp_path / "alerts.ndjson", told.append)
    report = logs.analysis(tmp_path, alerts).run(data=tmp_path / "analysis", until="caught-up", quiet=True)
    assert report.late_rows == report.error_rows == 0
    assert counted(report.view("totals"), "level", "rule") == per(totals, "level", "rule")
    assert counted(report.view("counts"), "level", "rule", "window_start") == per(totals, "level", "rule", "window")
    assert stored(tmp_path / "stored") == per(totals, "level", "rule", "window")
    assert raised(tmp_path / "alerts.ndjson") == expected_alerts(totals)
    assert len(told) == report.view("alerts").num_rows == len(expected_alerts(totals)) > 2

    for level, start, end in (("ERROR", 3, 9), ("WARN", 0, 24), ("INFO", 10, 20), ("DEBUG", 23, 24)):
        since, before = START + dt.timedelta(seconds=start), START + dt.timedelta(seconds=end)
        expected = sorted(
            (line["time"], line["service"], line["message"])
            for line in lines
            if line["level"] == level and since <= line["time"] < before
        )
        found = logs_query.find_lines(tmp_path, level=level, since=since, before=before).to_pylist()
        assert [(row["time"], row["service"], row["message"]) for row in found] == expected
        assert expected
    for rule in logs.RULES:
        found = logs_query.find_lines(tmp_path, rule=rule).to_pylist()
        assert len(found) == per(totals, "level", "rule").get(("ERROR", rule), 0)


def test_a_run_of_the_analysis_to_the_end_gives_what_the_batch_gives(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    logs.create_queue(first)
    rows = [
        {"time": START + n * dt.timedelta(seconds=0.05), "service": f"s{n % 3}", "level": level, "message": message}
        for n, (level, message) in enumerate([("ERROR", "connection refused"), ("INFO", "fine")] * 300)
    ]
    with tw.Log(first / ".thalweg" / "log") as log:
        log.topic("logs").append(rows)
    shutil.copytree(first, second)
    run = ("run", f"{PROGRAM}:analyse", "--until", "end", "--json", "--data", "state", "--max-step-rows", "70")
    views = []
    for tokens, folder in ((("batch", f"{PROGRAM}:analyse", "--json"), first), (run, second)):
        command = [sys.executable, "-m", "thalweg", *tokens]
        found = subprocess.run(
            command, cwd=folder, env=os.environ | SOURCE, capture_output=True, text=True, timeout=100
        )
        assert found.returncode == 0, found.stderr
        views.append([line for line in found.stdout.splitlines() if line.startswith('{"view"')])
    assert views[0] == views[1]
    assert {json.loads(line)["view"] for line in views[0]} == {"totals", "counts", "alerts"}
    assert stored(first / "stored") == stored(second / "stored")
    assert raised(first / "alerts.ndjson") == raised(second / "alerts.ndjson") != []


def test_the_demonstration_ends_by_itself_and_leaves_nothing(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    command = [sys.executable, "-m", "thalweg", "demo", "logs", "--seconds", "3"]
    environment = os.environ | SOURCE | {"TMPDIR": str(there)}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "counted, by level and rule the same" in done.stdout
    assert "DIFFERENT" not in done.stdout
    assert " from the store: " in done.stdout
    lines_written = int(done.stdout.split(" lines written")[0].split()[-1].replace(",", ""))
    assert lines_written > 400
    assert list(here.iterdir()) == list(there.iterdir()) == []


# ---------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ("upstream timed out after 5 ms", "timeout"),
        ("Timeout", "timeout"),
        ("time-out of the card", "timeout"),
        ("slow query cancelled: timed out", "timeout"),  # the first rule that is found
        ("Connection REFUSED by peer", "refused"),
        ("he refusedly went", "other"),
        ("No space left on device", "disk full"),
        ("disk full", "disk full"),
        ("Slow Query: 812 ms", "slow query"),
        ("query was slow", "other"),
        ("", "other"),
    ],
)
def test_a_message_falls_under_the_first_rule_found_in_it(message: str, rule: str) -> None:
    app = tw.App("rules")
    app.read(memory([{"message": message}])).select(rule=logs.RULE).write(view("v"))
    assert app.batch().view("v").to_pylist() == [{"rule": rule}]


@pytest.mark.parametrize("odd", log_writer.ODD)
def test_lines_that_are_no_log_lines_are_not_taken_for_one(odd: str) -> None:
    assert logs.LINE.fullmatch(odd) is None


# ---------------------------------------------------------------------------- alerts


def above(*keys: tuple[str, str, int], weight: int = 1) -> pa.Table:
    times = pa.array([START + dt.timedelta(seconds=second) for _, _, second in keys], pa.timestamp("us", tz="UTC"))
    return pa.table(
        {
            "service": [service for service, _, _ in keys],
            "rule": [rule for _, rule, _ in keys],
            "window_start": times,
            "lines": [21] * len(keys),
            "_weight": [weight] * len(keys),
        }
    )


def test_an_alert_is_raised_once_however_often_it_comes(tmp_path: Path) -> None:
    told: list[str] = []
    alerts = Alerts(tmp_path / "a", told.append)
    alerts(above(("pay", "timeout", 0), ("pay", "timeout", 10), ("pay", "refused", 0)))
    alerts(above(("pay", "timeout", 0), weight=-1))
    alerts(above(("pay", "timeout", 0), ("shop", "timeout", 0)))
    assert len(told) == 4
    assert raised(tmp_path / "a") == [
        ("pay", "refused", START),
        ("pay", "timeout", START),
        ("pay", "timeout", START + dt.timedelta(seconds=10)),
        ("shop", "timeout", START),
    ]


@pytest.mark.parametrize("lost", range(0, 78, 6))
def test_alerts_go_on_after_a_crash_in_the_middle_of_a_line(lost: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    Alerts(path)(above(("pay", "timeout", 0), ("shop", "refused", 0)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - lost])
    alerts = Alerts(path)
    assert len(alerts.raised) == (2 if lost == 0 else 1)
    alerts(above(("pay", "timeout", 0), ("shop", "refused", 0)))
    assert path.read_bytes() == whole


# ---------------------------------------------------------------------------- the writer


def test_a_seed_decides_what_is_written(tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        options = Options(tmp_path / name, lines=900, rate=0, rotate=100, seed=seed, start=START)
        totals = LogWriter(options).run()
        files = sorted((tmp_path / name).iterdir())
        made.append((totals, [(file.name, file.read_bytes()) for file in files]))
    assert made[0] == made[1] != made[2]


def test_the_files_hold_what_the_writer_tells(tmp_path: Path) -> None:
    options = Options(tmp_path, files=2, lines=2_000, rate=0, rotate=90, start=START, step_ms=7)
    totals = LogWriter(options).run()
    text = [line for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    good = [line.split() for line in text if line.startswith("2026-")]
    assert (len(good), len(text) - len(good)) == (totals["lines"], totals["odd"])
    levels = Counter(words[1] for words in good)
    assert {(level,): lines for level, lines in levels.items()} == per(totals, "level")
    assert totals["rotations"] > 15
    services = {file.name.partition(".")[0] for file in tmp_path.iterdir()}
    assert services == {row["service"] for row in totals["counts"]} == {"shop", "mail"}


@pytest.mark.parametrize("by", ["rename", "copy"])
def test_a_rotated_log_moves_on_and_the_oldest_goes(by: Any, tmp_path: Path) -> None:
    log = GrowingLog(tmp_path / "a.log", by, keep=2)
    inode = (tmp_path / "a.log").stat().st_ino
    for number in range(4):
        log.add(f"{number}\n")
        log.rotate()
    log.add("4\n")
    log.close()
    found = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert found == {"a.log": "4\n", "a.log.1": "3\n", "a.log.2": "2\n"}
    assert ((tmp_path / "a.log").stat().st_ino == inode) == (by == "copy")


def test_half_a_line_is_written_and_finished_later(tmp_path: Path) -> None:
    log = GrowingLog(tmp_path / "a.log", "rename", keep=2)
    log.add("one\ntwo\n")
    log.flush(keep_bytes=3)
    assert (tmp_path / "a.log").read_text() == "one\nt"
    log.close()
    assert (tmp_path / "a.log").read_text() == "one\ntwo\n"


def test_a_writer_that_is_told_to_stop_tells_what_it_wrote(tmp_path: Path) -> None:
    writer = writing(tmp_path / "logs", "--rate", "2000")
    log = tmp_path / "logs" / "shop.log"
    until = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size):
        assert time.monotonic() < until
        time.sleep(0.01)
    writer.terminate()
    totals = written(writer)
    good = [
        line
        for file in (tmp_path / "logs").iterdir()
        for line in file.read_text().splitlines()
        if logs.LINE.fullmatch(line)
    ]
    assert len(good) == totals["lines"] > 0


def test_a_start_without_a_zone_is_utc() -> None:
    assert options_of(["logs", "--start", "2026-03-01T10:00:00"]).start == START
    assert options_of(["logs"]).start is None


# ---------------------------------------------------------------------------- posting


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers in turn as the server's list says; None takes the rows and hangs up without an answer."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        ids = [json.loads(line)["id"] for line in body.splitlines()]
        say = self.server.answers.pop(0) if self.server.answers else 200  # type: ignore[attr-defined]  # set below
        known = self.server.taken  # type: ignore[attr-defined]  # set below
        new = [ident for ident in ids if ident not in known]
        if say in (None, 200):
            known.extend(new)
        if say is None:
            self.close_connection = True
            return
        answer = json.dumps({"appended": len(new), "duplicates": len(ids) - len(new)}).encode()
        self.send_response(say)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


@contextmanager
def answering(*answers: int | None) -> Iterator[tuple[str, list[str]]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.answers, server.taken = list(answers), []  # type: ignore[attr-defined]  # for the handler
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/topics/logs/events", server.taken  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_was_not_answered_is_posted_again_and_is_there_once() -> None:
    with answering(503, None, 500, None) as (url, taken):
        poster = Poster(url, SystemClock())
        for number in range(1_200):
            poster.add({"id": str(number)})
        poster.finish()
        assert taken == [str(number) for number in range(1_200)]
        assert poster.repeated > 0


def test_events_that_are_refused_fail_the_writer() -> None:
    with answering(422) as (url, _):
        poster = Poster(url, SystemClock())
        poster.add({"id": "1"})
        with pytest.raises(OSError, match="not taken \\(422\\)"):
            poster.finish()


# ---------------------------------------------------------------------------- queries and the board


def test_a_query_where_nothing_was_stored_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="stored/ERROR"):
        logs_query.find_lines(tmp_path)


STATUS = Status(Progress(3.0, 120, 9, None, None, 2, 1, 0, 4, 1), 120.0, 9.0)
TOTALS = [
    {"level": "ERROR", "rule": "timeout", "lines": 1_200},
    {"level": "INFO", "rule": "other", "lines": 34},
    {"level": "INFO", "rule": "disk full", "lines": 1},
]
ALERTS = [{"service": f"s{n}", "rule": "timeout", "window_start": f"2026-03-01T10:00:{n}0+00:00"} for n in range(6)]


def test_the_board_has_lines_per_level_and_rule_and_the_latest_alerts() -> None:
    counts = [
        {"level": "ERROR", "rule": "timeout", "lines": 8, "window_start": START},
        {"level": "ERROR", "rule": "timeout", "lines": 7, "window_start": START + dt.timedelta(seconds=10)},
    ]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(logs_board.board(STATUS, TOTALS, counts, ALERTS))
    text = console.export_text()
    assert "+ since 10:00:10" in text
    (head,) = [line.split() for line in text.splitlines() if "level" in line and "disk full" in line]
    assert head == ["level", "disk", "full", "timeout", "other"]
    assert "1,200 +7" in text
    assert "Alerts: 6" in text
    assert "s5: many" in text and "s1: many" in text and "s0: many" not in text
    assert "errors 4" in text


def test_without_a_terminal_a_line_tells_how_it_goes() -> None:
    assert logs_board.line_of(STATUS, TOTALS, []) == "   3 s    1,235 lines, 1,200 errors, 0 alerts"
    line = logs_board.line_of(STATUS, TOTALS, ALERTS[:1])
    assert line.endswith('1,200 errors, 1 alert; the last: 10:00:00  s0: many errors "timeout"')
    assert logs_board.line_of(STATUS, [], []).endswith("0 lines, 0 errors, 0 alerts")
