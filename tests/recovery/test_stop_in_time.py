"""SIGTERM and Ctrl-C stop a run in a time that is known, whatever it is at; its state is as at the last checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from thalweg.cli.program import load
from thalweg.core.signals import AT_ONCE

PATIENCE_S = 60.0

PROGRAM = """
import ctypes
import time
from pathlib import Path
import pyarrow as pa
import thalweg as tw
from thalweg.connect import call, files, view

HERE = Path(__file__).parent

def slow(row: dict) -> dict:
    how = HERE / "how"
    if row["v"] == 2 and how.exists():
        (HERE / "inside").touch()
        if how.read_text() == "in C":
            mutex = ctypes.create_string_buffer(64)
            for _ in range(2):  # no signal ends the second wait
                ctypes.CDLL(None).pthread_mutex_lock(mutex)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(60 if how.read_text() == "in what ends late" else 0)
            raise
    return row

def hang(rows: pa.Table) -> None:
    if (HERE / "how").exists() and (HERE / "how").read_text() == "in a sink":
        (HERE / "inside").touch()
        time.sleep(60)

app = tw.App("slow")
rows = app.read(files(str(HERE / "in")))
rows.map(slow, schema=rows.schema).write(view("rows"))
rows.write(call(hang))
"""


@pytest.mark.parametrize(
    ("how", "signals", "timeout", "said"),
    [
        ("in Python", 1, "300ms", "told to stop and did not within 300ms"),
        ("in C", 1, "300ms", "told to stop and did not within 300ms"),
        ("in a sink", 1, "300ms", "told to stop"),
        ("in Python", 2, "1h", AT_ONCE),
        ("in what ends late", 2, "1h", AT_ONCE),
    ],
)
def test_a_run_that_does_not_stop_is_ended(tmp_path: Path, how: str, signals: int, timeout: str, said: str) -> None:
    program = tmp_path / "slow.py"
    program.write_text(PROGRAM)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ndjson").write_text('{"v": 1}\n')
    data = tmp_path / "data"
    load(str(program)).run(data=data, until="caught-up", quiet=True)
    (tmp_path / "in" / "b.ndjson").write_text('{"v": 2}\n')
    (tmp_path / "how").write_text(how)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "thalweg",
            "run",
            str(program),
            "--data",
            str(data),
            "--stop-timeout",
            timeout,
            "--quiet",
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        begun = time.monotonic()
        while not (tmp_path / "inside").exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() - begun < PATIENCE_S
            time.sleep(0.01)
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        assert process.wait(PATIENCE_S / 2) == 1
        assert process.stderr is not None
        assert said in process.stderr.read()
    (tmp_path / "how").unlink()
    report = load(str(program)).run(data=data, until="end", quiet=True)
    assert report.view("rows")["v"].to_pylist() == [1, 2]
