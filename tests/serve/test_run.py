"""A run that serves HTTP while it lives: what is posted is counted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import thalweg as tw
from tests.serve.conftest import PLAIN
from tests.serve.test_processes import SOURCES
from thalweg.connect import topic, view
from thalweg.core.errors import PlanError
from thalweg.engine.contract import Report
from thalweg.log import Log

PROGRAM = """
import thalweg as tw
from thalweg.connect import topic, view

app = tw.App("clicks")
app.read(topic("clicks")).group_by("page").agg(n=tw.count()).write(view("per_page"))
"""


class Click:
    page: str


def free_address() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until, "not within a minute"
        time.sleep(0.02)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/healthz", verify=PLAIN).status_code == 200
    except httpx.TransportError:
        return False


def has_begun(app: tw.App) -> bool:
    try:
        app.view("per_page")
    except PlanError:
        return False
    return True


def post(address: str, pages: str) -> None:
    rows = [{"page": page} for page in pages]
    answer = httpx.post(f"http://{address}/topics/clicks/events", json=rows, verify=PLAIN)
    assert (answer.status_code, answer.json()["appended"]) == (200, len(rows))


@pytest.fixture
def clicks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tw.App:
    monkeypatch.chdir(tmp_path)
    Log().create("clicks", Click)
    app = tw.App("clicks")
    app.read(topic("clicks")).group_by("page").agg(n=tw.count()).write(view("per_page"))
    return app


def test_what_is_posted_while_a_program_runs_is_counted(clicks: tw.App) -> None:
    address = free_address()
    reports: list[Report] = []
    running = threading.Thread(target=lambda: reports.append(clicks.run(data=None, quiet=True, serve=address)))
    running.start()

    def counts() -> dict[str, int]:
        return {row["page"]: row["n"] for row in clicks.view("per_page").to_pylist()}

    try:
        wait_for(lambda: answers(address) and has_begun(clicks))
        post(address, "aab")
        wait_for(lambda: counts() == {"a": 2, "b": 1})
        post(address, "bc")
        wait_for(lambda: counts() == {"a": 2, "b": 2, "c": 1})
    finally:
        clicks.stop()
        running.join(60)
    assert not running.is_alive() and not answers(address)
    [report] = reports
    assert report.rows_in == 5
    assert not [thread for thread in threading.enumerate() if thread.name == "thalweg-serve"]


def test_the_command_serves_until_the_run_ends(clicks: tw.App, tmp_path: Path) -> None:
    (tmp_path / "clicks.py").write_text(PROGRAM)
    address = free_address()
    command = [sys.executable, "-m", "thalweg", "run", "clicks.py", "--serve", address, "--json"]
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        try:
            wait_for(lambda: answers(address))
            post(address, "aba")
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line).get("status", {}).get("rows_in") == 3:
                    break
            process.send_signal(signal.SIGTERM)
            found = [json.loads(line) for line in process.stdout]
            assert process.wait(30) == 0
        finally:
            process.kill()
    rows = {row["page"]: row["n"] for row in found if row.get("view") == "per_page"}
    assert rows == {"a": 2, "b": 1}
    assert not answers(address)


@pytest.mark.parametrize(
    ("address", "message"),
    [("nowhere", "HOST:PORT"), ("127.0.0.1:99999", "HOST:PORT"), ("0.0.0.0:0", "reached from other machines")],
)
def test_an_address_that_cannot_be_served(clicks: tw.App, address: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        clicks.run(data=None, until="end", serve=address)


def test_an_address_that_is_taken(clicks: tw.App, tmp_path: Path) -> None:
    (tmp_path / "clicks.py").write_text(PROGRAM)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PlanError, match=f"cannot listen on {address}.*choose another port"):
            clicks.run(data=None, until="end", serve=address)
        command = [sys.executable, "-m", "thalweg", "run", "clicks.py", "--serve", address]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": SOURCES}, cwd=tmp_path, timeout=60
        )
    assert done.returncode == 2 and f"cannot listen on {address}" in done.stderr and "Traceback" not in done.stderr
