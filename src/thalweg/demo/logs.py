"""Log analysis as it happens: log files and HTTP in, a queue between, counts, alerts and a store out.

Two programs with the queue between them, a topic of the embedded log, so that each can be stopped, or die, alone:

    logs/*.log ──▶ collect ──▶┐
                              │ topic logs ──▶ analyse ──▶ views, alerts.ndjson, stored/LEVEL/
    POST /topics/logs/events ▶┘

To run them on logs of your own: docs/how-to/analyse-logs.md.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import pyarrow as pa
from annotated_types import MinLen

import thalweg as tw
from thalweg import coalesce, col, count, lit, when
from thalweg.connect import call, files, tail, topic, view
from thalweg.demo.logs_alerts import Alerts
from thalweg.demo.logs_live import Programs, watch

QUEUE: Final = "logs"
LEVELS: Final = ("DEBUG", "INFO", "WARN", "ERROR")
LINE: Final = re.compile(r"(?P<time>\S+) +(?P<level>[A-Z]+) +(?P<message>.*)")
WINDOW: Final = "10s"
MANY: Final = 20
"""More errors of a service under one rule than this, in one window, are an alert."""

RULES: Final = {
    "timeout": r"(?i)time-?out|timed out",
    "refused": r"(?i)\brefused\b",
    "disk full": r"(?i)disk full|no space left",
    "slow query": r"(?i)slow query",
}
"""What a message tells of: the first of these patterns that is found in it; "other" where none is."""

FOUND: Final = [when(col("message").str.contains(pattern)).then(lit(rule)) for rule, pattern in RULES.items()]
RULE: Final = coalesce(*(found.otherwise(None) for found in FOUND), lit("other"))

Level = Literal["DEBUG", "INFO", "WARN", "ERROR"]


@dataclass
class Written:
    """A line of a file."""

    time: datetime
    level: Level
    message: str
    file: str


@dataclass
class LogLine:
    """A line in the queue. Who posts lines gives them an id, and can then send them again."""

    time: datetime
    service: Annotated[str, MinLen(1)]
    level: Level
    message: str
    id: str | None = None


def create_queue(folder: Path = Path()) -> None:
    """Make the topic; where it is there already, nothing changes."""
    with tw.Log(folder / ".thalweg" / "log") as log:
        log.create(QUEUE, LogLine, partitions=2, key="service", time="time", id="id")


def collector(folder: Path = Path()) -> tw.App:
    """Return the program that brings lines from files into the queue; they bear the name of their file's service."""
    app = tw.App("logs-collector")
    lines = app.read(tail(folder / "logs" / "*.log*", parse=LINE, file_column="file"), schema=Written)
    service = col("file").str.strip_suffix(".log")
    queued = lines.select("time", "level", "message", service=service, id=lit(None).cast(pa.string()))
    queued.write(topic(QUEUE, log=folder / ".thalweg" / "log"))
    return app


def analysis(folder: Path = Path(), alerts: Alerts | None = None) -> tw.App:
    """Return the program that counts, alerts and stores."""
    app = tw.App("logs")
    # Files are read one after the other, and after an outage whole backlogs are: lines come out of order by minutes. A
    # large lateness costs little, as the counts are corrected with each line and wait for nothing.
    queue = topic(QUEUE, log=folder / ".thalweg" / "log")
    lines = app.read(queue, schema=LogLine, time="time", lateness="10m").with_columns(rule=RULE)

    lines.group_by("level", "rule").agg(lines=count(), latest=col("time").max()).write(view("totals"))
    lines.group_by("level", "rule").window(WINDOW, emit="on_change").agg(lines=count()).write(view("counts"))

    errors = lines.filter(col("level") == "ERROR").group_by("service", "rule").window(WINDOW, emit="on_change")
    many = errors.agg(lines=count()).filter(col("lines") > MANY)
    many.write(call(alerts or Alerts(folder / "alerts.ndjson", print)))
    many.write(view("alerts"))

    for level in LEVELS:  # a folder each, so that a query for errors reads errors only
        stored = lines.filter(col("level") == level).select("time", "service", "level", "rule", "message")
        stored.write(files(folder / "stored" / level, format="parquet"))
    return app


collect = collector()
analyse = analysis()


def show(seconds: float) -> None:
    """Write logs for some seconds, rotate and post them; count them live; compare with what was written."""
    alerts = Alerts(Path("alerts.ndjson"))
    watch(Programs(create_queue, collector(), analysis(alerts=alerts), alerts), seconds)
