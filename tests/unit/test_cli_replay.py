"""``run --from``, ``promote`` and ``dev``, as processes that read and write files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thalweg.cli import main
from thalweg.engine.embedded.stored_view import stored_view

PROGRAM = """
import thalweg as tw
from thalweg.connect import files, view
from least import LEAST

app = tw.App("prices")
rows = app.read(files("in/*.ndjson", follow=True))
rows.group_by("k").agg(n=tw.count(), total=tw.col("v").sum()).write(view("totals"))
rows.filter(tw.col("v") >= LEAST).write(files("out/", format="ndjson"))
"""
PATIENCE_S = 60.0

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "prices.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "least.py").write_text("LEAST = 2\n", encoding="utf-8")
    (tmp_path / "in").mkdir()
    rows(tmp_path, "a", 1, 2, 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*tokens: str) -> tuple[int, str, str]:
        capsys.readouterr()
        done = subprocess.run([sys.executable, "-m", "thalweg", *tokens], text=True, capture_output=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    return call


def rows(folder: Path, name: str, *values: int) -> None:
    hidden = folder / "in" / f"_{name}"
    hidden.write_text("".join(json.dumps({"k": "x", "v": value}) + "\n" for value in values))
    hidden.rename(folder / "in" / f"{name}.ndjson")


def written(folder: Path) -> list[int]:
    parts = sorted(folder.glob("part-*.ndjson"))
    return sorted(json.loads(line)["v"] for part in parts for line in part.read_text().splitlines())


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


@pytest.fixture
def live(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def start(*tokens: str) -> subprocess.Popen[str]:
        err = open(folder / f"err{len(processes)}", "w", encoding="utf-8")  # noqa: SIM115  # the child has it
        processes.append(
            subprocess.Popen([sys.executable, "-m", "thalweg", *tokens], stderr=err, stdout=err, text=True)
        )
        err.close()
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE_S)


def test_a_replay_is_compared_and_promoted_while_nothing_runs(
    run: Run, live: Callable[..., subprocess.Popen[str]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = live("run", "prices.py", "--checkpoint", "50ms")
    wait_until(lambda: written(folder / "out") == [2, 3], first)
    (folder / "least.py").write_text("LEAST = 3\n", encoding="utf-8")
    code, out, err = run("run", "prices.py", "--until", "caught-up", "--from", "earliest")
    assert (code, written(folder / "out@2")) == (0, [3])
    assert err.startswith(
        "prices: version 2, beside the current one; state: .thalweg/apps/prices@2\n"
        "  files(out/, format=ndjson) is files(out@2/, format=ndjson)\n"
    )
    assert main(["compare", "out", "out@2"]) == 1
    assert "only in out: 1\n" in capsys.readouterr().out
    assert main(["promote", "prices@2"]) == 1
    assert f"is used by another run (process {first.pid}); stop it" in capsys.readouterr().err
    assert stop(first) == 0
    assert main(["promote", "prices@2"]) == 0
    assert capsys.readouterr().err == (
        "runs of prices go on with version 2 from now on; state: .thalweg/apps/prices@2\n"
        "to go back: thalweg promote prices@1\n"
    )
    assert run("plan", "prices.py")[1].endswith(
        "prices: version 2; state: .thalweg/apps/prices@2\n"
        "  files(out/, format=ndjson) is files(out@2/, format=ndjson)\n"
    )
    rows(folder, "b", 4)
    code, out, err = run("run", "prices.py", "--until", "caught-up", "--json")
    report = json.loads(out.splitlines()[-1])["report"]
    assert (code, report["version"], report["data"]) == (0, "2", ".thalweg/apps/prices@2")
    assert (written(folder / "out"), written(folder / "out@2")) == ([2, 3], [3, 4])
    # What looks at an app looks at its current version.
    assert main(["compare", "view:prices/totals", "view:prices@2/totals"]) == 0
    assert main(["ledger", "prices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[1])["in"] == 4


@pytest.mark.parametrize(
    ("tokens", "code", "message"),
    [
        (["run", "prices.py", "--from", "yesterday"], 2, "--from yesterday: allowed are earliest, checkpoint and a"),
        (["run", "prices.py", "--version", "7"], 1, "there is no version 7 of the state .thalweg/apps/prices"),
        (["promote", "prices"], 2, "prices names no version to go on with; write the app's name and its number"),
        (["promote", "prices@dev"], 2, "prices@dev names no version to go on with"),
        (["promote", "prices@2"], 1, "there is no version 2 of the state .thalweg/apps/prices"),
        (["promote", "prices@1", "--data", "state"], 0, "runs of prices go on with version 1 already"),
        (["dev", "price.py"], 2, "there is no file price.py; did you mean"),
    ],
)
def test_mistakes_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str], tokens: list[str], code: int, message: str
) -> None:
    assert main(tokens) == code
    assert capsys.readouterr().err.removeprefix("thalweg: ").startswith(message)


def test_a_program_is_run_anew_when_a_module_beside_it_changes(
    live: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    process = live("dev", "prices.py")
    told = folder / "err0"
    wait_until(lambda: written(folder / "out@dev") == [2, 3], process)
    # A mistake is told, and the old program runs on.
    (folder / "least.py").write_text("LEAST = = 3\n", encoding="utf-8")
    wait_until(lambda: "SyntaxError" in told.read_text(), process)
    rows(folder, "b", 4)
    wait_until(lambda: written(folder / "out@dev") == [2, 3, 4], process)
    # A program that means the same goes on where the old one was.
    (folder / "least.py").write_text("LEAST = 1 + 1\n", encoding="utf-8")
    wait_until(lambda: "prices: goes on with the changed program" in told.read_text(), process)
    rows(folder, "c", 5, 1)
    wait_until(lambda: written(folder / "out@dev") == [2, 3, 4, 5], process)
    # A step that has changed is made again, what was written stays as it is, and the others keep what they had.
    (folder / "least.py").write_text("LEAST = 5\n", encoding="utf-8")
    wait_until(lambda: told.read_text().count("prices: goes on with the changed program") == 2, process)
    rows(folder, "d", 4, 6)
    wait_until(lambda: written(folder / "out@dev") == [2, 3, 4, 5, 6], process)
    assert stop(process) == 0
    kept = stored_view(folder / ".thalweg" / "apps" / "prices@dev", "totals").rows
    assert kept is not None and kept.to_pylist() == [{"k": "x", "n": 8, "total": 26}]
    assert not (folder / "out").exists()
    assert sorted(os.listdir(folder / ".thalweg" / "apps")) == ["prices@dev"]


def test_dev_waits_for_a_program_that_can_be_loaded_and_stops_while_it_waits(
    live: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    (folder / "least.py").unlink()
    process = live("dev", "prices.py")
    wait_until(lambda: "No module named 'least'" in (folder / "err0").read_text(), process)
    assert stop(process) == 0
    process = live("dev", "prices.py")
    wait_until(lambda: "No module named 'least'" in (folder / "err1").read_text(), process)
    (folder / "least.py").write_text("LEAST = 3\n", encoding="utf-8")
    (folder / "prices.py").write_text(PROGRAM + "# again\n", encoding="utf-8")
    wait_until(lambda: written(folder / "out@dev") == [3], process)
    assert stop(process) == 0
