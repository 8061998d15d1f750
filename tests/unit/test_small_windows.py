"""Small windows that close in one step are computed together, and give what each gives alone."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import Stream, col, count
from thalweg.connect import memory, view
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.embedded import buckets
from thalweg.engine.embedded.buckets import Buckets
from thalweg.engine.embedded.partial import COUNT, Partial
from thalweg.testing.compare import differences

SECOND = 1_000_000
GREAT = 2**62

Build = Callable[[Stream], Stream]
PROGRAMS: dict[str, Build] = {
    "counts and sums": lambda s: s.group_by("k").window("10s").agg(n=count(), total=col("v").sum(), low=col("v").min()),
    "no key": lambda s: s.group_by().window("10s").agg(n=count(), mean=col("v").mean()),
    "two keys, one of floats": lambda s: s.group_by("k", "f").window("10s").agg(n=count()),
    "values in order": lambda s: s.group_by("k").window("10s").agg(one=col("v").first(), most=col("v").arg_max(by="f")),
    "frames of their own": lambda s: s.group_by("k").window("10s").agg(q=col("v").median(), n=col("f").n_unique()),
    "sums that leave their type": lambda s: s.group_by("k").window("10s").agg(total=col("great").sum()),
    "windows of windows": lambda s: (
        s.group_by("k").window("10s").agg(n=count()).group_by().window("20s").agg(most=col("n").max())
    ),
    "hopping": lambda s: s.group_by("k").window(tw.hopping("10s", every="5s")).agg(n=count()),
}


def table(rows: int) -> pa.Table:
    numbers = range(rows)
    floats = [(0.0, -0.0, float("nan"), None)[n % 4] for n in numbers]
    return pa.table(
        {
            "k": pa.array([None if n % 11 == 0 else n % 5 for n in numbers], pa.int64()),
            "v": pa.array([None if n % 7 == 0 else n * 31 % 17 for n in numbers], pa.int64()),
            "f": pa.array(floats, pa.float64()),
            "great": pa.array([GREAT if n // 40 % 2 else 1 for n in numbers], pa.int64()),
            "ts": pa.array([n * SECOND // 4 for n in numbers], TIMESTAMP),
        }
    )


def found(build: Build, step_rows: int | None) -> dict[str, pa.Table]:
    app = tw.App("small")
    build(app.read(memory([table(400)]), time="ts")).write(view("v"))
    report = app.batch(max_step_rows=step_rows)
    return {"v": report.view("v"), "errors": report.errors.select(["reason", "row"])}


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many windows are closed together."""
    seen: list[int] = []
    true = Buckets.close_small

    def noted(self: Buckets, watermark: int) -> object:
        before = len(self.open_windows())
        made = true(self, watermark)
        if made is not None:
            seen.append(before - len(self.open_windows()))
        return made

    monkeypatch.setattr(Buckets, "close_small", noted)
    return seen


@pytest.mark.parametrize("name", PROGRAMS)
def test_together_and_alone_they_give_the_same(name: str, together: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    got = found(PROGRAMS[name], None)
    assert any(number > 1 for number in together) == (name != "hopping")
    together.clear()
    monkeypatch.setattr(buckets, "SMALL_ROWS", -1)
    alone = found(PROGRAMS[name], 7)
    assert together == []
    assert got["v"].num_rows > 0
    assert (got["errors"].num_rows > 0) == (name == "sums that leave their type")
    for output in got:
        assert differences(got[output], alone[output], None, 1e-12, ("together", "alone")) == []


def test_windows_that_hold_many_rows_or_were_folded_are_closed_alone(
    together: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "SMALL_ROWS", 39)
    found(PROGRAMS["counts and sums"], None)
    assert together == []
    monkeypatch.setattr(buckets, "SMALL_ROWS", 40)
    found(PROGRAMS["counts and sums"], None)
    assert together == [10]
    assert buckets.Bucket([pl.DataFrame({"n": [1]})], 1).is_small()
    assert not buckets.Bucket(partials=[Partial(pl.DataFrame({COUNT: [1]}), {}, {})]).is_small()
