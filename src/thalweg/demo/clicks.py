"""Page views per minute from a log as logs are: out of order, with late rows and malformed lines."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from annotated_types import Ge, MinLen

import thalweg as tw
from thalweg import col, count
from thalweg.connect import files, view

CLICKS = Path(__file__).parent / "data" / "clicks.ndjson"

app = tw.App("clicks")


@dataclass
class Click:
    """A line of the log."""

    user: str
    page: Annotated[str, MinLen(1)]
    ms: Annotated[int, Ge(0)]
    ts: datetime


clicks = app.read(files(CLICKS), schema=Click, time="ts", lateness="5s")

per_page = (
    clicks.group_by("page")
    .window("1m")
    .agg(views=count(), users=col("user").n_unique(), mean_ms=col("ms").mean(), worst_ms=col("ms").max())
)
per_page.write(view("page_views"))
per_page.late.write(files("clicks-late/", format="ndjson"))


def show() -> None:
    """Print the busiest minutes, the late rows as they were written, and why lines were rejected."""
    before = Path.cwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)  # the late rows are written beside the program's user, and not kept here
        try:
            report = app.batch()
            late = [line for part in sorted(Path("clicks-late").iterdir()) for line in part.read_text().splitlines()]
        finally:
            os.chdir(before)
    busiest = report.view("page_views").sort_by([("views", "descending"), ("window_start", "ascending")])
    print(f"{report.rows_in:,} lines, {busiest.num_rows} pages and minutes; the busiest:")
    for row in busiest.slice(0, 5).to_pylist():
        print(f"  {row['window_start']:%H:%M}  {row['page']:<12} {row['views']:>4} views by {row['users']} users")
    print(f"{report.late_rows} late rows, written to clicks-late/:")
    for line in late[:3]:
        print(f"  {line}")
    print(f"{report.error_rows} rejected lines:")
    for row in report.errors.slice(0, 5).to_pylist():
        print(f"  {row['place']}: {row['reason']}")
