"""Rejected rows that are sent again enter the step that had rejected them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import thalweg as tw
from thalweg import Log, col, count
from thalweg.cli import main
from thalweg.connect import files, tail, view
from thalweg.engine.contract import Report
from thalweg.engine.embedded.loop import EmbeddedRun


class Visit:
    page: str
    ms: int
    ts: str


def write(folder: Path, name: str, *rows: object) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text("".join(f"{line}\n" for line in lines))


def visit(page: str, ms: object, second: int) -> dict[str, object]:
    return {"page": page, "ms": ms, "ts": f"2026-01-01T00:00:{second:02}Z"}


def app_of(folder: Path, divisor: int = 0) -> tw.App:
    (folder / "divisor").write_text(str(divisor))  # what is mended is not the program but what it looks up

    def scaled(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"ms": row["ms"] // (int((folder / "divisor").read_text()) if row["page"] == "/b" else 1)}

    app = tw.App("visits")
    schema = tw.App("x").read(files(folder / "in" / "*.ndjson"), schema=Visit).schema
    rows = app.read(files(folder / "in" / "*.ndjson"), schema=Visit, time=col("ts").str.to_datetime())
    mapped = rows.map(scaled, schema=schema)
    mapped.group_by("page").window("10s").agg(n=count(), t=col("ms").sum()).write(view("windows"))
    mapped.group_by("page").agg(n=count(), t=col("ms").sum()).write(view("totals"))
    return app


def run(app: tw.App, folder: Path, until: Any = "caught-up") -> Report:
    return app.run(data=folder / "data", until=until, quiet=True)


def totals(report: Report) -> dict[str, tuple[int, int]]:
    return {row["page"]: (row["n"], row["t"]) for row in report.view("totals").to_pylist()}


def redrive(folder: Path, *more: str) -> int:
    return main(["errors", "redrive", "visits", "--data", str(folder / "data"), *more])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    rows = [visit("/a", 10, 1), visit("/b", 20, 2), visit("/b", 40, 3), visit("/a", "x", 4)]
    write(tmp_path / "in", "1.ndjson", *rows, visit("/a", 1, 30))
    return tmp_path


def test_rows_that_a_function_rejected_are_counted_once_it_is_mended(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(app_of(folder), folder)
    assert first.error_rows == 3
    assert totals(first) == {"/a": (2, 11)}
    assert redrive(folder, "--reason", "ZeroDivisionError") == 0
    assert "2 rows are sent again; a run of visits takes them" in capsys.readouterr().err
    mended = run(app_of(folder, 2), folder)
    assert totals(mended) == {"/a": (2, 11), "/b": (2, 30)}
    # Their windows have closed, so there they are late, and say so.
    assert [row["reason"] for row in mended.late.to_pylist()] == ["new", "new"]
    again = run(app_of(folder, 2), folder)
    assert totals(again) == totals(mended), "taken once"
    assert redrive(folder, "--reason", "ZeroDivisionError") == 0
    assert "0 rows are sent again (2 were sent before; --again sends them once more)" in capsys.readouterr().err
    ended = run(app_of(folder, 2), folder, "end")
    assert totals(ended) == totals(mended)
    entries = {entry["step"]: entry for entry in ended.ledger.to_pylist()}
    assert sum(entry["rejected"] for entry in entries.values()) == 3


def test_a_row_that_is_not_late_is_counted_in_its_window(folder: Path) -> None:
    write(folder / "in", "1.ndjson", visit("/b", 20, 2), visit("/a", 1, 3))
    assert run(app_of(folder), folder).error_rows == 1
    redrive(folder)
    write(folder / "in", "2.ndjson", visit("/a", 1, 4))
    ended = run(app_of(folder, 2), folder, "end")
    found = {(row["page"], row["n"], row["t"]) for row in ended.view("windows").to_pylist()}
    assert found == {("/a", 2, 2), ("/b", 1, 10)}


def test_a_row_that_was_not_decoded_is_decoded_again(folder: Path) -> None:
    run(app_of(folder, 1), folder)
    log = Log(folder / "data" / "log")
    errors = log.topic("visits.errors").read().to_pylist()
    (bad,) = (row for row in errors if row["encoding"] == "received")
    assert redrive(folder) == 0
    # It is as wrong as before, and rejected again, with the place where it came from now.
    report = run(app_of(folder, 1), folder)
    (again,) = report.errors.to_pylist()
    assert (again["row"], again["column"]) == (bad["row"], "ms")
    assert again["place"] == "errors:0"
    assert totals(report) == {"/a": (2, 11), "/b": (2, 60)}


def test_lines_of_a_log_are_decoded_again(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("1 fine\nodd\n2 fine\n")

    def app(pattern: str) -> tw.App:
        import re

        made = tw.App("visits")
        rows = made.read(tail(tmp_path / "app.log", parse=re.compile(pattern)))
        rows.select("word").write(view("words"))
        return made

    first = run(app(r"(?P<n>\d) (?P<word>\w+)"), tmp_path)
    assert first.error_rows == 1
    redrive(tmp_path)
    second = run(app(r"(?P<n>\d) (?P<word>\w+)"), tmp_path)
    assert [row["row"] for row in second.errors.to_pylist()] == [b"odd"]
    assert second.view("words").num_rows == 2


def test_a_step_that_is_gone_is_named(folder: Path) -> None:
    run(app_of(folder), folder)
    log = Log(folder / "data" / "log")
    rows = log.topic("visits.errors").read().to_pylist()
    redrive(folder, "--dry-run")
    assert "visits.redrive" not in log.topics()
    redrive(folder)
    topic = log.topic("visits.redrive")
    topic.append([{**row, "error": 7, "step": "map[99]"} for row in rows if row["encoding"] == "arrow"][:1])
    report = run(app_of(folder, 1), folder)
    assert any('the program has no step "map[99]" now' in row["reason"] for row in report.errors.to_pylist())


def test_rows_sent_again_are_taken_once_also_by_runs_that_die(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def dies(*given: object, **more: object) -> None:
        raise Killed

    run(app_of(folder), folder)
    redrive(folder)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(EmbeddedRun, "_checkpoint", dies)
        run(app_of(folder, 2), folder)
    assert totals(run(app_of(folder, 2), folder)) == {"/a": (2, 11), "/b": (2, 30)}
    assert totals(run(app_of(folder, 2), folder)) == {"/a": (2, 11), "/b": (2, 30)}
