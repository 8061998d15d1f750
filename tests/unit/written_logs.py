"""Logs that a process of its own writes, and what it says it wrote: the answer that others are compared with."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from thalweg.demo import logs
from thalweg.log import Log

Totals = dict[str, Any]  # a JSON object
LATE_S = 120
MANY = 20
SOURCE = {"PYTHONPATH": str(Path(logs.__file__).parents[2])}
"""What processes in other folders have to know."""
PROGRAM = str(Path(logs.__file__))


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def writing(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start the process that writes."""
    command = [sys.executable, "-m", "thalweg.demo.log_writer", str(folder), *options]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=os.environ | SOURCE
    )


def written(writer: subprocess.Popen[str]) -> Totals:
    """Return what it wrote, when it has."""
    out, _ = writer.communicate(timeout=LATE_S)
    assert writer.returncode == 0
    totals: Totals = json.loads(out)
    assert sum(row["lines"] for row in totals["counts"]) == totals["lines"]
    return totals


def per(totals: Totals, *keys: str, level: str | None = None) -> dict[tuple[Any, ...], int]:
    """Return the lines that were written, by some of service, level, rule and window."""
    found: Counter[tuple[Any, ...]] = Counter()
    for row in totals["counts"]:
        if level is None or row["level"] == level:
            found[tuple(as_time(row[key]) if key == "window" else row[key] for key in keys)] += row["lines"]
    return dict(found)


def counted(rows: pa.Table, *keys: str) -> dict[tuple[Any, ...], int]:
    """Return a view's counts by some columns; each key stands in it once."""
    found = {tuple(row[key] for key in keys): row["lines"] for row in rows.to_pylist()}
    assert len(found) == rows.num_rows
    return found


def expected_alerts(totals: Totals) -> list[tuple[Any, ...]]:
    """Return service, rule and window of more errors than are borne, in order."""
    return sorted(key for key, n in per(totals, "service", "rule", "window", level="ERROR").items() if n > MANY)


def raised(path: Path) -> list[tuple[Any, ...]]:
    """Return service, rule and window of each line of the alerts' file, in order."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return sorted((row["service"], row["rule"], as_time(row["window_start"])) for row in rows)


def stored(folder: Path) -> dict[tuple[Any, ...], int]:
    """Return what is in the stored files, by folder, level, rule and window, counted by another engine."""
    query = f"""
        select split_part(filename, '/', -2) as folder, level, rule, time_bucket(interval 10 second, time) as start,
               count(*) as lines
        from read_parquet('{folder}/*/part-*.parquet', filename = true) group by all
    """
    with duckdb.connect() as database:
        database.execute("set timezone = 'UTC'")
        rows = database.sql(query).to_arrow_table().to_pylist()
    assert all(row["folder"] == row["level"] for row in rows)
    return {(row["level"], row["rule"], row["start"]): row["lines"] for row in rows}


def queued(log: Path) -> list[dict[str, Any]]:
    """Return all rows of the queue."""
    with Log(log) as opened:
        topic = opened.topic("logs")
        return [row for n in range(2) for row in topic.read(n, limit=1_000_000).to_pylist()]


def queued_lines(log: Path) -> int:
    """Return how many rows the queue has."""
    with Log(log) as opened:
        topic = opened.topic("logs")
        return topic.end(0) + topic.end(1)


def as_time(text: str) -> dt.datetime:
    """Return a time of ISO 8601."""
    return dt.datetime.fromisoformat(text)
