"""User functions and look-ups behind tables: asked once for a row, and what they gave is withdrawn."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import thalweg as tw
from thalweg import Stream, col, count
from thalweg.connect import call, files, memory, view
from thalweg.engine.contract import RunOptions
from thalweg.engine.embedded.loop import Embedded
from thalweg.engine.embedded.rows import WEIGHT
from thalweg.testing.clock import VirtualClock

DAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@dataclass
class Word:
    k: str
    word: str


def counts(app: tw.App, keys: str) -> Stream:
    rows = [{"k": key, "ts": DAY + dt.timedelta(seconds=n)} for n, key in enumerate(keys)]
    return app.read(memory([rows]), time="ts").group_by("k").agg(n=count())


def counts_of(app: tw.App, folder: Path, new_keys: str) -> Stream:
    """Return the counts of all keys in a folder, to which some are added."""
    folder.mkdir(exist_ok=True)
    number = len(list(folder.iterdir()))
    (folder / f"{number}.csv").write_text("k\n" + "".join(f"{key}\n" for key in new_keys))
    return app.read(files(f"{folder}/*.csv")).group_by("k").agg(n=count())


def stepwise(app: tw.App, **options: Any) -> tw.Report:
    return app.run(**({"data": None, "until": "end", "max_step_rows": 1, "quiet": True} | options))


def test_a_function_is_called_once_for_each_row_of_a_table() -> None:
    app, asked = tw.App("map"), []

    def name(row: dict[str, Any]) -> dict[str, Any]:
        asked.append((row["k"], row["n"]))
        return {"k": row["k"], "word": f"{row['n']} by call {len(asked)}"}

    counts(app, "abaab").map(name, schema=Word).write(view("v"))
    report = stepwise(app)
    assert report.view("v").to_pylist() == [{"k": "a", "word": "3 by call 4"}, {"k": "b", "word": "2 by call 5"}]
    assert sorted(asked) == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2)]


def test_all_that_was_made_of_a_row_is_withdrawn() -> None:
    app, changes = tw.App("flat"), []

    def parts(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for number in range(row["n"] // 2 * 2):
            yield {"k": row["k"], "word": str(number // 2)}

    made = counts(app, "aaaab").flat_map(parts, schema=Word)
    made.write(view("v"))
    made.write(call(changes.append))
    words = [row["word"] for row in stepwise(app).view("v").to_pylist()]
    assert words == ["0", "0", "1", "1"]
    emitted = [(row["word"], row[WEIGHT]) for change in changes for row in change.to_pylist()]
    assert emitted[0] == ("0", 2)
    assert sum(weight for _, weight in emitted) == 4


def test_a_batch_function_takes_the_rows_that_come() -> None:
    app = tw.App("batches")

    def doubled(table: pa.Table) -> pa.Table:
        return table.set_column(1, "n", pc.multiply(table["n"], 2))

    counts(app, "abcab").map_batches(doubled).filter(col("n") > 2).write(view("v"))
    assert stepwise(app).view("v").to_pylist() == [{"k": "a", "n": 4}, {"k": "b", "n": 4}]


def test_a_row_that_raises_is_rejected_and_its_withdrawal_is_not_asked() -> None:
    app, asked = tw.App("raises"), []

    def name(row: dict[str, Any]) -> dict[str, Any]:
        asked.append(row["n"])
        if row["n"] == 2:
            raise ValueError("no twos")
        return {"k": row["k"], "word": str(row["n"])}

    counts(app, "aaa").map(name, schema=Word).write(view("v"))
    report = stepwise(app)
    assert report.view("v").to_pylist() == [{"k": "a", "word": "3"}]
    assert [row["reason"] for row in report.errors.to_pylist()] == ["ValueError: no twos"]
    assert asked == [1, 2, 3]


def test_what_was_made_is_remembered_over_runs(tmp_path: Path) -> None:
    def run(keys: str) -> list[dict[str, Any]]:
        app = tw.App("again")
        made = counts_of(app, tmp_path / "in", keys).map(
            lambda row: {"k": row["k"], "word": f"{row['n']}"}, schema=Word
        )
        made.write(view("v"))
        rows: list[dict[str, Any]] = stepwise(app, data=tmp_path / "state", until="caught-up").view("v").to_pylist()
        return rows

    assert run("ab") == [{"k": "a", "word": "1"}, {"k": "b", "word": "1"}]
    assert run("a") == [{"k": "a", "word": "2"}, {"k": "b", "word": "1"}]


# ---------------------------------------------------------------------- look-ups


def test_a_look_up_puts_the_reference_beside_each_row() -> None:
    app = tw.App("lookup")
    reference = memory([[{"k": "a", "name": "Ann", "n": 1}, {"k": None, "name": "nobody", "n": 0}]])
    stream = app.read(memory([[{"k": "a", "n": 5}, {"k": "b", "n": 6}, {"k": None, "n": 7}]]))
    stream.lookup(reference, on="k").write(view("v"))
    assert app.batch(quiet=True).view("v").to_pylist() == [
        {"k": None, "n": 7, "name": None, "n_right": None},
        {"k": "a", "n": 5, "name": "Ann", "n_right": 1},
        {"k": "b", "n": 6, "name": None, "n_right": None},
    ]


def test_a_key_that_the_reference_has_twice_is_an_error() -> None:
    app = tw.App("twice")
    app.read(memory([[{"k": 1}]])).lookup(memory([[{"k": 1, "x": 1}, {"k": 1, "x": 2}]]), on="k").write(view("v"))
    with pytest.raises(tw.SourceError, match=r"several rows with k=1; a look-up needs one for a key"):
        app.batch(quiet=True)


def test_the_reference_is_read_again_after_some_time(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text("k,name\na,old\n")
    app, clock = tw.App("refresh"), VirtualClock()
    picked: list[int] = []

    def pick(names: Any) -> Any:
        picked.append(len(picked))
        if len(picked) == 2:
            path.write_text("k,name\na,new\n")
        if len(picked) == 3:
            clock.advance("60s")
        return [(names[0], 1)]

    stream = app.read(memory([[{"k": "a", "n": n} for n in range(3)]]))
    looked_up = stream.lookup(files(str(path)), on="k", refresh="30s")
    looked_up.write(view("v"))
    run = Embedded().start(app.plan, RunOptions(until="end", clock=clock, pick=pick))
    names = {row["n"]: row["name"] for row in run.run().view("v").to_pylist()}
    assert names == {0: "old", 1: "old", 2: "new"}


def test_a_look_up_behind_a_table_is_not_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text("k,name\na,old\n")

    def run(keys: str) -> list[dict[str, Any]]:
        app = tw.App("kept")
        counts_of(app, tmp_path / "in", keys).lookup(files(str(path)), on="k").write(view("v"))
        rows: list[dict[str, Any]] = stepwise(app, data=tmp_path / "state", until="caught-up").view("v").to_pylist()
        return rows

    assert run("a") == [{"k": "a", "n": 1, "name": "old"}]
    path.write_text("k,name\na,new\nb,bee\n")
    assert run("b") == [{"k": "a", "n": 1, "name": "old"}, {"k": "b", "n": 1, "name": "bee"}]
    assert run("a") == [{"k": "a", "n": 2, "name": "new"}, {"k": "b", "n": 1, "name": "bee"}]
