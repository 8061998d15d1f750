"""The commands, through the real command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import thalweg
from thalweg.cli import main

PROGRAM = """
import thalweg as tw
from thalweg.connect import memory, view

app = tw.App("pages")
rows = app.read(memory([{"page": "/a"}, {"page": "/b"}, {"page": "/a"}]))
rows.group_by("page").agg(n=tw.count()).write(view("counts"))
"""
LIVE = """
import thalweg as tw
from thalweg.connect import flights, view

app = tw.App("live")
rows = app.read(flights(speed=36_000), time="scheduled", lateness="3h")
rows.group_by("origin").window("1h").agg(n=tw.count()).write(view("counts"))
"""


def started(*tokens: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "thalweg", *tokens]
    return subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )


def done(*tokens: str, folder: Path) -> tuple[int, str, str]:
    process = started(*tokens, folder=folder)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pages.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "live.py").write_text(LIVE, encoding="utf-8")
    return tmp_path


def test_a_batch_prints_its_views_and_a_summary(folder: Path) -> None:
    code, out, err = done("batch", "pages.py", folder=folder)
    assert code == 0
    assert out == "counts: 2 rows\npage  n\n────  ─\n/a    2\n/b    1\n\n"
    assert err.startswith("pages: 3 rows read in ")
    assert not (folder / ".thalweg").exists()


def test_quiet_leaves_the_results(folder: Path) -> None:
    code, out, err = done("batch", "pages.py:app", "--quiet", "--json", "--max-step-rows", "1", folder=folder)
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"view": "counts", "page": "/a", "n": 2},
        {"view": "counts", "page": "/b", "n": 1},
    ]


def test_a_batch_for_machines_keeps_the_report_apart(folder: Path) -> None:
    code, out, err = done("batch", "pages.py", "--json", folder=folder)
    assert code == 0
    assert all(json.loads(line)["view"] == "counts" for line in out.splitlines())
    assert json.loads(err)["report"]["rows_in"] == 3


def test_a_run_for_machines_gives_status_views_and_report(folder: Path) -> None:
    code, out, err = done("run", "pages.py", "--until", "end", "--data", "state", "--json", folder=folder)
    assert (code, err) == (0, "")
    objects = [json.loads(line) for line in out.splitlines()]
    assert [next(iter(entry)) for entry in objects] == ["status", "view", "view", "report"]
    assert objects[0]["status"]["rows_in"] == 3
    assert objects[0]["status"]["fraction"] == 1.0
    assert objects[-1]["report"]["data"] == "state"


def test_a_second_run_to_the_end_says_that_the_state_is_sealed(folder: Path) -> None:
    assert done("run", "pages.py", "--until", "end", folder=folder)[0] == 0
    code, out, err = done("run", "pages.py", "--until", "end", folder=folder)
    assert code == 0
    assert "/a    2" in out
    assert "delete .thalweg/apps/pages or name another directory with --data" in err


def test_the_plan_is_printed_as_a_tree(folder: Path) -> None:
    code, out, err = done("plan", "pages.py", folder=folder)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "pages"
    assert out.splitlines()[-1].lstrip().startswith("└─ 1 read memory(")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_live_run_is_stopped_by_a_signal_and_goes_on_where_it_was(folder: Path, number: signal.Signals) -> None:
    read = []
    for _ in range(2):
        process = started("run", "live.py", "--json", "--checkpoint", "100ms", folder=folder)
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["status"]["rows_in"] == 0:
            assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        read.append(json.loads(out.splitlines()[-1])["report"])
    assert read[0]["rows_in"] > 0
    assert not read[0]["sealed"]
    # The ledger goes on over both runs.
    assert read[1]["ledger"][0]["in"] == read[0]["rows_in"] + read[1]["rows_in"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_anything_is_read_ends_quietly(folder: Path, number: signal.Signals) -> None:
    waiting = "import pathlib, time\npathlib.Path('loading').touch()\ntime.sleep(60)\n"
    (folder / "slow.py").write_text(waiting, encoding="utf-8")
    process = started("run", "slow.py", folder=folder)
    while not (folder / "loading").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    assert (*process.communicate(timeout=60), process.returncode) == ("", "", 0)


def test_output_that_nobody_reads_any_more_is_no_fault_of_the_program(folder: Path) -> None:
    process = started("batch", "pages.py", "--json", folder=folder)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    assert process.wait(60) == 1
    process.stderr.close()


def test_an_output_that_lacks_characters_is_no_failure(folder: Path) -> None:
    (folder / "umlaut.py").write_text(PROGRAM.replace("/b", "/ü"), encoding="utf-8")
    narrow = os.environ | {"PYTHONIOENCODING": "ascii"}
    for tokens, shown in ((["batch", "umlaut.py"], b"/?    1"), (["batch", "umlaut.py", "--json"], "/ü".encode())):
        command = [sys.executable, "-m", "thalweg", *tokens]
        found = subprocess.run(command, capture_output=True, cwd=folder, env=narrow, check=True)
        assert shown in found.stdout


def test_a_wrong_command_is_an_object_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"] == "CommandError"


def test_a_batch_that_is_stopped_before_it_began_has_not_been_done(folder: Path) -> None:
    (folder / "slow.py").write_text(
        "import pathlib, time\npathlib.Path('loading').touch()\ntime.sleep(60)\n", encoding="utf-8"
    )
    process = started("batch", "slow.py", folder=folder)
    while not (folder / "loading").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert (*process.communicate(timeout=60), process.returncode) == ("", "", 1)


def test_version_and_help_need_no_arrow(folder: Path) -> None:
    program = (
        "import sys\nfrom thalweg.cli import main\n"
        "codes = main(['--version']), main(['--help']), main(['run', '--help'])\n"
        "heavy = [m for m in sys.modules if m.partition('.')[0] in ('pyarrow', 'polars', 'msgspec')]\n"
        "print(codes, heavy)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=folder)
    lines = found.stdout.splitlines()
    assert lines[0] == thalweg.__version__
    assert lines[-1] == "(0, 0, 0) []"


def test_help_answers_within_four_tenths_of_a_second(folder: Path) -> None:
    def cpu_seconds() -> float:
        before = os.times()
        subprocess.run([sys.executable, "-m", "thalweg", "--help"], capture_output=True, check=True, cwd=folder)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    # What it computes, not what it waits: the machine may have other things to do.
    assert min(cpu_seconds() for _ in range(3)) < 0.4


@pytest.mark.parametrize("command", ["run", "batch", "plan", "dev", "compare", "promote", "demo"])
def test_help_teaches_by_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"  thalweg {command}" in capsys.readouterr().out.partition("Examples:")[2]


def test_without_arguments_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "thalweg demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["rum"], 'Unknown command "rum". Did you mean "run"?'),
        (["run"], "requires an argument"),
        (["run", "a.py", "--until", "now"], 'Choose from: "caught-up", "end"'),
        (["run", "a.py", "b.py"], "b.py"),
        (["batch", "a.py", "--until", "end"], "--until"),
        (["batch", "a.py", "--max-step-rows", "0"], "Must be >= 1"),
        (["run", "gone.py"], "there is no file gone.py"),
        (["demo", "clocks"], 'there is no demonstration "clocks"; did you mean "clicks" or "logs"?'),
        (["demo", "clicks", "--speed", "2"], "--speed is for flights"),
        (["demo", "--seconds", "0"], "Must be > 0"),
    ],
)
def test_a_wrong_command_is_told_and_ends_with_2(
    tokens: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(tokens) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("thalweg: ")
    assert message in err


def test_a_wrong_checkpoint_names_what_is_allowed(folder: Path) -> None:
    code, _, err = done("run", "pages.py", "--checkpoint", "1 month", folder=folder)
    assert code == 2
    assert "months are not of one length" in err


def test_a_state_in_use_is_refused_with_the_way_out(folder: Path) -> None:
    holder = started("run", "live.py", "--json", "--data", "state", folder=folder)
    assert holder.stdout is not None
    holder.stdout.readline()
    code, _, err = done("run", "live.py", "--data", "state", folder=folder)
    holder.terminate()
    assert holder.communicate(timeout=60)[1] == ""
    assert code == 1
    assert f"is used by another run (process {holder.pid})" in err
    assert "--data" in err
