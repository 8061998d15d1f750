"""What ``thalweg plan`` prints, word for word. To write it anew: ``python -m tests.golden.test_plan_output``."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

import pytest

from thalweg.cli import main

GOLDEN = Path(__file__).with_name("plan_output.txt")

PROGRAMS = {
    "clicks": """
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from annotated_types import Ge, MinLen
import thalweg as tw
from thalweg import col, count
from thalweg.connect import files, view

app = tw.App("clicks")

@dataclass
class Click:
    user: str
    page: Annotated[str, MinLen(1)]
    price: Annotated[float, Ge(0)] | None
    ts: datetime

clicks = app.read(files("clicks.ndjson"), schema=Click, time="ts", lateness="5s")
per_page = (
    clicks.filter(col("page").str.starts_with("/product"))
    .group_by("page")
    .window("1m")
    .agg(views=count(), users=col("user").n_unique(), revenue=col("price").sum())
)
per_page.write(view("page_views"))
per_page.late.write(files("late/", format="ndjson"))
clicks.errors.write(files("errors/", format="ndjson"))
""",
    "functions": """
import thalweg as tw
from thalweg.connect import call, memory, stdout, view

app = tw.App("functions")

class Word:
    word: str
    n: int

def words(row) -> list[Word]:
    return [Word()]

def longer(row) -> int:
    return len(row["word"])

def added(one, other):
    return one

def batches(table):
    return table

def received(table):
    pass

lines = app.read(memory([[{"text": "a"}], [{"text": "b"}]]), idle_timeout=None)
found = lines.flat_map(words).map_batches(batches)
found.reduce_by_key("word", added).write(view("counts"))
found.reduce_by_key(longer, added).write(stdout("ndjson"))
found.write(call(received))
""",
    "shapes": """
import thalweg as tw
from thalweg import col, count, lit, when
from thalweg.connect import nexmark, view

app = tw.App("shapes")
bids = app.read(nexmark("bids", rate=1000), time="date_time", lateness="3s", max_jump="1h")
auctions = app.read(nexmark("auctions", events=500, partitions=2), time="date_time")
dear = bids.with_columns(band=when(col("price") > 1000).then(lit("dear")).otherwise(lit("fair"))).drop("extra", "url")
dear.group_by("band").window(tw.hopping("1m", every="10s")).agg(n=count(), top=col("price").max()).write(view("bands"))
dear.group_by(hour=col("date_time").dt.hour()).window(tw.cumulating("1d", every="1h"), emit="on_change").agg(
    mean=col("price").mean() / 100
).write(view("hours"))
ids = bids.select("auction").union(auctions.select(auction=col("id")))
ids.agg(auctions=col("auction").n_unique()).write(view("auctions"))
auctions.rename({"item_name": "item"}).select("item", "category").write(view("items"))
""",
}


def printed(name: str) -> str:
    """Return what the command prints for a program that lies in an empty folder."""
    before, paths, modules = Path.cwd(), list(sys.path), set(sys.modules)
    out = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(out):
        os.chdir(folder)
        try:
            program = f"plan_of_{name}.py"
            Path(program).write_text(PROGRAMS[name], encoding="utf-8")
            code = main(["plan", program])
        finally:
            os.chdir(before)
            sys.path[:] = paths
            for added in {f"plan_of_{name}"} & (set(sys.modules) - modules):
                del sys.modules[added]
    assert code == 0
    return out.getvalue()


def golden() -> dict[str, str]:
    """Return the outputs as they are kept, by program."""
    parts = GOLDEN.read_text(encoding="utf-8").split("== ")[1:]
    return {name: text for name, _, text in (part.partition("\n") for part in parts)}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_plan_is_printed_as_before(name: str) -> None:
    assert printed(name) == golden()[name]


def test_every_kept_plan_has_its_program() -> None:
    assert list(golden()) == list(PROGRAMS)


if __name__ == "__main__":
    GOLDEN.write_text("".join(f"== {name}\n{printed(name)}" for name in PROGRAMS), encoding="utf-8")
