"""The top three visitors of a site, by a full load and by loads of what is new.

A line is a session: a visitor and the pages seen. Each day adds a file.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

import thalweg as tw
from thalweg import count
from thalweg.connect import files, view

VISITS = Path(__file__).parent / "data" / "visits"


@dataclass
class Session:
    """A line of a file."""

    visitor: str
    pages: list[str]
    ts: datetime


@dataclass
class Visits:
    """How many pages a visitor has seen."""

    visitor: str
    visits: int


def each_page(session: dict[str, Any]) -> Iterator[Visits]:
    """Flat-map a session to one visit for each of its pages."""
    for _ in session["pages"]:
        yield Visits(session["visitor"], 1)


def added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Reduce two counts of a visitor to their sum."""
    return {"visitor": one["visitor"], "visits": one["visits"] + other["visits"]}


def program(folder: Path = VISITS) -> tw.App:
    """Return the program over the files of a folder."""
    app = tw.App("visits")
    sessions = app.read(files(folder), schema=Session)
    sessions.flat_map(each_page).reduce_by_key("visitor", added).write(view("by_functions"))
    sessions.explode("pages").group_by("visitor").agg(visits=count()).write(view("by_expressions"))
    return app


app = program()


def top_three(report: tw.Report, name: str = "by_functions") -> pa.Table:
    """Return the three visitors who have seen the most pages; ties go by name."""
    order = [("visits", "descending"), ("visitor", "ascending")]
    return report.view(name).sort_by(order).slice(0, 3)


def show() -> None:
    """Load all days at once; then one day after the other, each time reading only what is new."""
    full = app.batch()
    print(f"full load: {full.rows_in} sessions")
    for row in top_three(full).to_pylist():
        print(f"  {row['visitor']:<12} {row['visits']:>5} pages")
    print("incremental load:")
    report = full
    with TemporaryDirectory() as folder:
        inbox, state = Path(folder, "inbox"), Path(folder, "state")
        inbox.mkdir()
        for day in sorted(VISITS.iterdir()):
            shutil.copy(day, inbox)
            report = program(inbox).run(data=state, until="caught-up", quiet=True)
            first = ", ".join(top_three(report)["visitor"].to_pylist())
            print(f"  {day.name}: {report.rows_in} sessions are new; the first three are {first}")
    for name in ("by_functions", "by_expressions"):
        same = top_three(report, name).equals(top_three(full))
        print(f"the top three {name.replace('_', ' ')} are {'the same' if same else 'DIFFERENT'}")
