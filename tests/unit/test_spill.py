"""State beyond its budget lives in files: the answers are the same, the memory is bounded, the files go."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import thalweg as tw
from thalweg import StateError, col, count
from thalweg.connect import files, memory, view
from thalweg.core.sizes import size_bytes
from thalweg.engine.embedded import hashed_runs
from thalweg.engine.embedded.arrangement import Arrangement, Counted
from thalweg.engine.embedded.hashed_runs import StoredRun
from thalweg.engine.embedded.memory import Memory

ROWS = pl.Schema({"k": pl.Int64(), "v": pl.Int64(), "s": pl.String()})


@pytest.fixture
def budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    """Give a small budget, and pieces so short that there are many."""
    monkeypatch.setattr(hashed_runs, "PIECE_ROWS", 500)
    made = Memory(400_000, tmp_path / "spill")
    yield made
    made.close()
    assert list((tmp_path / "spill").iterdir()) == []


def frame(rng: random.Random, step: int, keys: int = 20_000, rows: int = 4_000) -> pl.DataFrame:
    chosen = rng.sample(range(keys), rows)
    return pl.DataFrame({"k": chosen, "v": [step] * rows, "s": [f"é{k}·{step}" for k in chosen]}, schema=ROWS)


def filled(budget: Memory, rng: random.Random, steps: int = 12) -> tuple[Arrangement, dict[int, tuple[int, str]]]:
    """Return an arrangement after some steps, each of which was looked up before, and what it should hold."""
    arrangement, known = Arrangement(["k"]), dict[int, tuple[int, str]]()
    arrangement.memory = budget
    for step in range(steps):
        rows = frame(rng, step)
        found = arrangement.lookup(rows.select("k"))
        assert held(found.rows if found else rows.clear()) == {k: known[k] for k in rows["k"] if k in known}
        arrangement.insert(rows)
        known |= held(rows)
    return arrangement, known


def held(rows: pl.DataFrame) -> dict[int, tuple[int, str]]:
    return {k: (v, s) for k, v, s in rows.select("k", "v", "s").rows()}


def test_rows_in_files_are_found_replaced_and_given_once(budget: Memory, rng: random.Random) -> None:
    arrangement, known = filled(budget, rng)
    assert any(isinstance(run, StoredRun) for run in arrangement._runs)
    parts = list(arrangement.current())
    assert held(pl.concat(parts)) == known
    assert sum(part.height for part in parts) == len(known)


def test_a_disk_that_is_full_is_told_with_what_to_do(
    budget: Memory, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hashed_runs.pa, "OSFile", full)
    with pytest.raises(StateError, match=r"thalweg-state-.* cannot be written: No space left on device; .* make room"):
        filled(budget, rng)


def test_what_is_in_memory_keeps_to_the_budget(budget: Memory, rng: random.Random) -> None:
    arrangement, _ = filled(budget, rng)
    assert arrangement.resident_bytes() <= 200_000


def test_a_piece_that_nothing_is_merged_with_stays_as_it_is(budget: Memory) -> None:
    arrangement = Arrangement(["k"])
    arrangement.memory = budget
    arrangement.insert(frame(random.Random(1), 0, keys=40_000, rows=30_000))
    (run,) = arrangement._runs
    assert isinstance(run, StoredRun)
    one = frame(random.Random(2), 1, rows=1)
    merged = hashed_runs.merged(run, hashed_runs.run_of(one, ["k"]), arrangement._merged, budget.folder)
    assert isinstance(merged, StoredRun)
    same = sum(any(piece is before for before in run.pieces) for piece in merged.pieces)
    assert same == len(run.pieces) - 1


def test_rows_that_are_over_go_from_files_too(budget: Memory, rng: random.Random) -> None:
    arrangement, known = filled(budget, rng)
    arrangement.drop_up_to("v", 8)
    left = held(pl.concat(list(arrangement.current())))
    assert left == {k: row for k, row in known.items() if row[0] > 8}


def test_what_went_into_rows_is_counted_in_files_too(budget: Memory, rng: random.Random) -> None:
    arrangement, total = Arrangement(["k"], counted=Counted("n", "added")), 0
    arrangement.memory = budget
    for step in range(8):
        rows = frame(rng, step)
        found = arrangement.lookup(rows.select("k"))
        before = {} if found is None else dict(found.rows.select("k", "n").rows())
        new = rows.with_columns(n=pl.Series([before.get(k, 0) + 1 for k in rows["k"]]), added=pl.lit(1, pl.Int64))
        arrangement.insert(new)
        total += rows.height
    assert arrangement.total() == total


def test_pieces_of_one_run_are_one_run_again(budget: Memory, rng: random.Random) -> None:
    arrangement, known = filled(budget, rng)
    again = Arrangement(["k"])
    again.memory = budget
    again.restore(arrangement.frames())
    assert len(again._runs) <= len(arrangement._runs)
    assert held(pl.concat(list(again.current()))) == known


def test_a_run_gives_the_same_with_any_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed_runs, "PIECE_ROWS", 2_000)
    rows = pl.DataFrame({"k": [n * 7919 % 30_011 for n in range(90_000)], "v": range(90_000)}).to_arrow()

    def result(name: str, size: str | None) -> Any:
        app = tw.App(name)
        per_key = app.read(memory([rows])).group_by("k").agg(n=count(), last=col("v").max(), sum=col("v").sum())
        per_key.write(view("v"))
        per_key.group_by("n").agg(keys=count(), high=col("last").max()).write(view("again"))
        report = app.run(data=tmp_path / name, until="end", max_step_rows=9_000, quiet=True, memory=size)
        assert not any((tmp_path / name / "spill").glob("*"))
        return report.view("v").to_pylist(), report.view("again").to_pylist()

    spilled: list[int] = []
    true = Memory.folder
    monkeypatch.setattr(Memory, "folder", lambda self: (spilled.append(1), true(self))[1])
    wide = result("wide", None)
    assert not spilled
    assert result("narrow", "1MiB") == wide
    assert spilled


def test_state_that_was_in_files_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed_runs, "PIECE_ROWS", 2_000)
    folder = tmp_path / "in"
    folder.mkdir()

    def counted(first: int, last: int) -> dict[int, int]:
        numbers = range(first, last)
        pl.DataFrame({"k": [n * 7919 % 20_011 for n in numbers]}).write_csv(folder / f"{first:06}.csv")
        app = tw.App("on")
        app.read(files(f"{folder}/*.csv")).group_by("k").agg(n=count()).write(view("v"))
        report = app.run(data=tmp_path / "state", until="caught-up", max_step_rows=9_000, quiet=True, memory="500kB")
        return {row["k"]: row["n"] for row in report.view("v").to_pylist()}

    counted(0, 40_000)
    known = dict[int, int]()
    for n in range(60_000):
        known[n * 7919 % 20_011] = known.get(n * 7919 % 20_011, 0) + 1
    assert counted(40_000, 60_000) == known


def test_files_that_lose_a_piece_are_found(budget: Memory, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredRun, "bounds", property(lambda self: [(low, low + 1) for low in self._lows]))
    with pytest.raises(AssertionError):
        filled(budget, rng)


@pytest.mark.parametrize(("text", "size"), [("256MiB", 2**28), ("4 GB", 4 * 10**9), ("1.5kib", 1536), (77, 77)])
def test_sizes(text: str | int, size: int) -> None:
    assert size_bytes(text, "memory") == size


@pytest.mark.parametrize("wrong", ["much", "12", "-1MB", "0B", "1TB", 0, True])
def test_what_is_no_size(wrong: Any) -> None:
    with pytest.raises(tw.PlanError, match=r'a size is wanted, such as "256MiB"'):
        tw.App("x").run(memory=wrong)
