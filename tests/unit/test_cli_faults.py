"""``thalweg errors …`` and ``thalweg ledger``, through the real command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import pyarrow as pa
import pytest
from annotated_types import Ge

import thalweg as tw
from thalweg import col, count
from thalweg.cli import main
from thalweg.connect import files, view
from thalweg.core.envelope import REDRIVE_SCHEMA
from thalweg.engine.contract import Report
from thalweg.log import Log


@dataclass
class Visit:
    page: str
    ms: Annotated[int, Ge(0)]
    ts: str


def odd_fails(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"ms": row["ms"] // (row["ms"] - 3)}


def line(page: str, ms: object, second: int) -> str:
    return json.dumps({"page": page, "ms": ms, "ts": f"2026-03-01T10:00:{second:02}Z"}) + "\n"


FIRST = [line("/a", 4, 1), line("/b", -1, 2), line("/a", 3, 30), line("/c", 5, 3), line("/a", "x", 31)]
SECOND = [line("/d", 6, 4), line("/b", 3, 32)]


def run_app(folder: Path, data: Path | None = None) -> Report:
    app = tw.App("visits")
    source = files(folder / "in" / "*.ndjson")
    visits = app.read(source, schema=Visit, time=col("ts").str.to_datetime())
    mapped = visits.map(odd_fails, schema=visits.schema)
    mapped.group_by("page").window("10s").agg(n=count()).write(view("windows"))
    if data is None:
        return app.run(until="caught-up", quiet=True)
    return app.run(data=data, until="caught-up", quiet=True)


class Run(Protocol):
    def __call__(self, *tokens: str) -> tuple[int, str, str]: ...


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call ``thalweg`` in this process; return its exit code, output and errors."""

    def called(*tokens: str) -> tuple[int, str, str]:
        code = main(list(tokens))
        return code, *capsys.readouterr()

    return called


@pytest.fixture
def ran(folder: Path) -> Path:
    """Two runs of the app, whose rows went wrong in several ways."""
    for name, lines in (("1", FIRST), ("2", SECOND)):
        (folder / "in" / f"{name}.ndjson").write_text("".join(lines), encoding="utf-8")
        run_app(folder)
    return folder


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in out.splitlines()]


def redriven(log: str = ".thalweg/log") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Log(log).topic("visits.redrive").read().to_pylist()
    return found


# ---------------------------------------------------------------------- list and show


def test_rejected_rows_of_all_runs_are_counted_by_step_and_reason(run: Run, ran: Path) -> None:
    code, out, err = run("errors", "list", "visits", "--json")
    assert (code, err) == (0, "")
    found = {row["reason"]: row for row in objects(out)}
    division = found.pop("ZeroDivisionError: integer division or modulo by zero")
    assert (division["rows"], division["step"].split()[1]) == (2, "map")
    assert division["first"] < division["last"]
    assert [(row["rows"], row["step"].split()[1]) for row in found.values()] == [(1, "read"), (1, "read")]
    assert sorted(found) == [
        "column \"ms\" takes a whole number (int64), this is the text 'x'",
        'column "ms": -1 breaks the rule: ≥ 0',
    ]


def test_the_list_for_people_says_how_to_see_one(run: Run, ran: Path) -> None:
    code, out, err = run("errors", "list", "visits")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["step", "reason", "rows", "first", "last"]
    assert "ZeroDivisionError" in lines[2], "the most rows come first"
    assert err == "\nOne of them, whole: thalweg errors show visits 0\n"
    words = err.split("thalweg ")[1].split()
    assert run(*words)[0] == 0, "and that works"


def test_late_rows_are_listed_apart(run: Run, ran: Path) -> None:
    code, out, err = run("errors", "list", "visits", "--late")
    assert code == 0
    assert [text.split()[-3:] for text in out.splitlines()[2:]] == [["2", "0", "1"]]
    assert err == "\nOne of them, whole: thalweg errors show visits 0 --late\n"
    (found,) = objects(run("errors", "list", "visits", "--late", "--json")[1])
    assert (found["reason"], found["rows"], found["first"], found["last"]) == ("late", 2, 0, 1)


def test_a_row_as_it_was_received_is_shown(run: Run, ran: Path) -> None:
    rows = Log(".thalweg/log").topic("visits.errors").read().to_pylist()
    (offset,) = [n for n, row in enumerate(rows) if "text 'x'" in row["reason"]]
    code, out, err = run("errors", "show", "visits", str(offset))
    assert (code, err) == (0, "")
    shown = dict(text.split(": ", 1) for text in out.splitlines())
    assert (shown["place"], shown["column"]) == ("1.ndjson:5", "ms")
    assert json.loads(shown["row"]) == json.loads(FIRST[4])
    (found,) = objects(run("errors", "show", "visits", str(offset), "--json")[1])
    assert json.loads(found["row"]) == json.loads(FIRST[4])
    assert (found["encoding"], found["traceback"]) == ("received", None)


def test_a_row_that_a_function_rejected_is_shown_with_its_traceback(run: Run, ran: Path) -> None:
    rows = Log(".thalweg/log").topic("visits.errors").read().to_pylist()
    offset = next(n for n, row in enumerate(rows) if "ZeroDivision" in row["reason"])
    code, out, _ = run("errors", "show", "visits", str(offset))
    assert code == 0
    above, _, trace = out.partition("\n\n")
    assert above.splitlines()[-1] == 'row: {"page":"/a","ms":3,"ts":"2026-03-01T10:00:30Z"}'
    assert "time: 2026-03-01 10:00:30" in above
    assert trace.splitlines()[1].endswith("in odd_fails")  # of the frames, the user's alone
    assert trace.rstrip().endswith("ZeroDivisionError: integer division or modulo by zero")
    (found,) = objects(run("errors", "show", "visits", str(offset), "--json")[1])
    assert found["row"] == {"page": "/a", "ms": 3, "ts": "2026-03-01T10:00:30Z"}
    assert found["time"] == "2026-03-01T10:00:30Z"


def test_a_late_row_is_shown_with_the_window_that_it_missed(run: Run, ran: Path) -> None:
    code, out, _ = run("errors", "show", "visits", "1", "--late")
    assert code == 0
    assert "window_end: 2026-03-01 10:00:10" in out
    assert "position: 2.ndjson:1" in out
    (found,) = objects(run("errors", "show", "visits", "1", "--late", "--json")[1])
    assert (found["row"]["page"], found["window_start"]) == ("/d", "2026-03-01T10:00:00Z")


def test_an_app_without_faults_says_so(run: Run, folder: Path) -> None:
    (folder / "in" / "1.ndjson").write_text(FIRST[0], encoding="utf-8")
    run_app(folder)
    assert run("errors", "list", "visits") == (0, "", "visits: nothing was rejected\n")
    assert run("errors", "list", "visits", "--late") == (0, "", "visits: nothing came late\n")
    assert run("errors", "list", "visits", "--json") == (0, "", "visits: nothing was rejected\n")


def test_a_state_directory_has_a_log_of_its_own(run: Run, folder: Path) -> None:
    (folder / "in" / "1.ndjson").write_text("".join(FIRST), encoding="utf-8")
    run_app(folder, Path("mine"))
    assert run("errors", "list", "visits")[0] == 2
    code, out, err = run("errors", "list", "visits", "--data", "mine")
    assert (code, len(out.splitlines())) == (0, 5)
    assert err == "\nOne of them, whole: thalweg errors show visits 0 --data mine\n"
    assert run("errors", "list", "visits", "--log", "mine/log")[1] == out
    assert run("errors", "show", "visits", "0", "--data", "mine")[0] == 0
    assert run("errors", "redrive", "visits", "--data", "mine")[0] == 0
    assert len(redriven("mine/log")) == 3
    assert run("ledger", "visits", "--data", "mine")[0] == 0


def test_offsets_stay_what_they_were_when_older_rows_are_trimmed(run: Run, ran: Path) -> None:
    whole = objects(run("errors", "show", "visits", "3", "--json")[1])
    assert main(["topic", "trim", "visits.errors", "--before", "2"]) == 0
    run("--version")  # what trim printed is out of the way
    assert objects(run("errors", "show", "visits", "3", "--json")[1]) == whole
    code, _, err = run("errors", "show", "visits", "1")
    assert (code, err) == (2, "thalweg: visits.errors has no row at offset 1; there are 2 to 3\n")
    assert min(row["first"] for row in objects(run("errors", "list", "visits", "--json")[1])) == 2


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["errors", "list", "visit"], 'no app "visit" has put rows aside in .thalweg/log; did you mean "visits"?'),
        (["errors", "show", "visit", "0"], 'did you mean "visits"?'),
        (["errors", "show", "visits", "99"], "visits.errors has no row at offset 99; there are 0 to 3"),
        (["errors", "show", "visits", "99", "--late"], "visits.late has no row at offset 99; there are 0 to 1"),
        (["errors", "show", "visits", "-1"], "-1"),
        (["errors", "show", "visits", "two"], "two"),
        (["errors", "lst", "visits"], "errors --help"),
        (["ledger", "visit"], ".thalweg/apps/visit has no checkpoint of visit; run it first, or name its state"),
        (["ledger", "visit"], 'did you mean "visits"?'),
        (["ledger", "visits", "--data", "none"], "none has no checkpoint of visits"),
    ],
)
def test_mistakes_are_told_also_to_machines(run: Run, ran: Path, tokens: Sequence[str], message: str) -> None:
    code, out, err = run(*tokens)
    assert (code, out) == (2, "")
    assert message in err
    code, out, err = run(*tokens, "--json")
    assert (code, out, json.loads(err)["exit_code"]) == (2, "", 2)
    assert message in json.loads(err)["message"]


# ---------------------------------------------------------------------- redrive


def test_all_rejected_rows_are_sent_again_with_all_that_is_known_of_them(run: Run, ran: Path) -> None:
    errors = Log(".thalweg/log").topic("visits.errors").read().to_pylist()
    assert run("errors", "redrive", "visits") == (0, "", "4 rows are sent again; a run of visits takes them\n")
    assert redriven() == [{"error": offset, **row} for offset, row in enumerate(errors)]
    assert Log(".thalweg/log").topic("visits.redrive").schema.arrow == REDRIVE_SCHEMA


@pytest.mark.parametrize(
    ("chosen", "offsets"),
    [
        (["--reason", "ZeroDivisionError"], "division"),
        (["--step", "map"], "division"),
        (["--step", "read", "--reason", "rule"], "rule"),
        (["0", "3"], [0, 3]),
        (["3", "0", "3"], [0, 3]),
        (["0", "1", "2", "3", "--reason", "rule"], "rule"),
    ],
)
def test_rows_are_chosen_by_reason_step_and_offset(run: Run, ran: Path, chosen: list[str], offsets: Any) -> None:
    errors = Log(".thalweg/log").topic("visits.errors").read().to_pylist()
    if isinstance(offsets, str):
        offsets = [n for n, row in enumerate(errors) if offsets in row["reason"]]
    if "--step" in chosen:
        at = chosen.index("--step") + 1
        chosen[at] = next(row["step"] for row in errors if row["step"].split()[1] == chosen[at])
    rows = "1 row is sent again; a run of visits takes it" if len(offsets) == 1 else "2 rows are sent again; a run"
    dry = run("errors", "redrive", "visits", *chosen, "--dry-run")
    assert dry == (0, "", f"{len(offsets)} row{'s' * (len(offsets) != 1)} would be sent again\n")
    assert "visits.redrive" not in Log(".thalweg/log").topics(), "dry"
    code, _, err = run("errors", "redrive", "visits", *chosen)
    assert code == 0
    assert err.startswith(rows)
    assert [row["error"] for row in redriven()] == offsets


def test_rows_are_sent_once_unless_they_are_to_be_sent_again(run: Run, ran: Path) -> None:
    assert run("errors", "redrive", "visits", "1")[0] == 0
    assert run("errors", "redrive", "visits", "--dry-run")[2] == (
        "3 rows would be sent again (1 was sent before; --again sends it once more)\n"
    )
    assert run("errors", "redrive", "visits")[2] == (
        "3 rows are sent again (1 was sent before; --again sends it once more); a run of visits takes them\n"
    )
    assert run("errors", "redrive", "visits") == (
        0,
        "",
        "0 rows are sent again (4 were sent before; --again sends them once more)\n",
    )
    assert [row["error"] for row in redriven()] == [1, 0, 2, 3]
    assert run("errors", "redrive", "visits", "2", "--again")[0] == 0
    assert [row["error"] for row in redriven()] == [1, 0, 2, 3, 2]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["--reason", "no such text"], "no rejected row of visits is chosen; see them: thalweg errors list visits"),
        (["--step", "mapp"], 'no row was rejected by the step "mapp"; '),
        (["0", "44"], "there is no rejected row at offset 44; nothing was sent"),
        (["x"], "x"),
    ],
)
def test_where_no_row_is_chosen_nothing_is_sent(run: Run, ran: Path, chosen: list[str], message: str) -> None:
    code, out, err = run("errors", "redrive", "visits", *chosen)
    assert (code, out) == (2, "")
    assert message in err
    assert "visits.redrive" not in Log(".thalweg/log").topics()


def test_an_app_that_rejected_nothing_has_nothing_to_send(run: Run, folder: Path) -> None:
    (folder / "in" / "1.ndjson").write_text(FIRST[0], encoding="utf-8")
    run_app(folder)
    code, _, err = run("errors", "redrive", "visits")
    assert (code, err) == (2, "thalweg: no rejected row of visits is chosen; see them: thalweg errors list visits\n")


# ---------------------------------------------------------------------- ledger


def test_the_ledger_accounts_for_every_row(run: Run, ran: Path) -> None:
    code, out, err = run("ledger", "visits", "--json")
    assert (code, err) == (0, "")
    entries = {row["step"].split()[1]: row for row in objects(out)}
    assert (entries["read"]["in"], entries["read"]["rejected"]) == (7, 2)
    assert (entries["map"]["in"], entries["map"]["rejected"]) == (5, 2)
    assert sum(row["late"] for row in entries.values()) == 2
    code, out, err = run("ledger", "visits")
    assert code == 0
    whole = run_app(folder=ran).ledger
    assert out.splitlines()[0].split() == whole.column_names, "in the order in which a row goes"
    assert objects(run("ledger", "visits", "--json")[1]) == whole.to_pylist()
    assert len(out.splitlines()) == 2 + len(entries)
    assert err == "\nepoch 2: every row is accounted for\n"


def test_a_ledger_whose_state_is_damaged_is_refused(run: Run, ran: Path) -> None:
    path = Path(".thalweg/apps/visits/manifests/00000002.json")
    path.write_text(path.read_text(encoding="utf-8").replace('"rejected":2', '"rejected":0', 1), encoding="utf-8")
    code, out, err = run("ledger", "visits")
    assert (code, out) == (1, "")
    assert "00000002.json is damaged: its checksum is wrong" in err


@pytest.mark.parametrize("command", ["errors list", "errors show", "errors redrive", "ledger"])
def test_the_help_of_each_command_has_an_example(run: Run, command: str) -> None:
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert f"thalweg {command}" in out.partition("Examples:")[2]


def test_what_is_shown_of_bytes_that_are_no_text_does_not_fail(run: Run, folder: Path) -> None:
    (folder / "in" / "1.ndjson").write_bytes(b'{"page": "\xff\xfe"}\n')
    run_app(folder)
    code, out, _ = run("errors", "show", "visits", "0")
    assert code == 0
    assert 'row: {"page": "��"}' in out
    rows = Log(".thalweg/log").topic("visits.errors").read()
    assert rows["row"].to_pylist() == [b'{"page": "\xff\xfe"}'], "whole, as received"
    assert rows.schema.field("row").type == pa.binary()
