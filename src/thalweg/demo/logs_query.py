"""The stored lines of the log analysis, by level, rule, service and time: a small batch program.

``thalweg batch`` runs it on the folder in which ``logs.py`` runs, and prints all errors; for other questions call
``find_lines``, or write a program like it.
"""

from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

import thalweg as tw
from thalweg import col
from thalweg.connect import files, view

STORED: Final = pa.schema(
    [
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("service", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)


def query(
    folder: Path = Path(),
    *,
    level: str = "ERROR",
    since: datetime | None = None,
    before: datetime | None = None,
    rule: str | None = None,
) -> tw.App:
    """Return the program that finds the lines of a level in the folder of the analysis; the view ``lines`` has them.

    Only the files of that level are read.
    """
    app = tw.App("logs-query")
    lines = app.read(files(folder / "stored" / level, format="parquet"), schema=STORED)
    if since is not None:
        lines = lines.filter(col("time") >= since)
    if before is not None:
        lines = lines.filter(col("time") < before)
    if rule is not None:
        lines = lines.filter(col("rule") == rule)
    lines.write(view("lines"))
    return app


def find_lines(
    folder: Path = Path(),
    *,
    level: str = "ERROR",
    since: datetime | None = None,
    before: datetime | None = None,
    rule: str | None = None,
) -> pa.Table:
    """Return the lines of a level from a time on, before another, under a rule.

    Shape: ``time, service, level, rule, message``, by time.

    Raises:
        SourceError: Nothing of that level was stored.
    """
    found = query(folder, level=level, since=since, before=before, rule=rule).batch()
    return found.view("lines").sort_by([("time", "ascending"), ("service", "ascending"), ("message", "ascending")])


app = query()
