"""C7: a run that dies at any instant of any checkpoint, and is started again, gives in the end what a batch gives."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

import thalweg as tw
from tests.kills.bugs import PATCHES
from thalweg import CheckError, StateError, ThalwegError, col, count
from thalweg.connect import files, memory, view
from thalweg.core.instants import INSTANTS, Instant
from thalweg.engine.contract import RunOptions
from thalweg.engine.embedded.loop import Embedded
from thalweg.plan.nodes import Plan
from thalweg.testing import check, crashes, rows
from thalweg.testing.check import _comparable, _run
from thalweg.testing.compare import differences
from thalweg.testing.crashes import crashing
from thalweg.testing.faults import Crashed, Death, Fuse, drawn_death
from thalweg.testing.replaced import staged, viewed


class Click:
    """A click on a page."""

    page: str
    n: int
    ts: dt.datetime


CLICKS = rows(
    Click,
    [(f"/{'aab'[n % 3]}", n, f"10:00:{n * 4 if n % 5 else 0:02}") for n in range(12)],
    [("/b", n, f"10:00:{n * 5:02}") for n in range(8)],
)


def odd(row: dict[str, object]) -> dict[str, object]:
    if row["n"] == 7:
        raise ValueError("seven")
    return row


def app() -> tw.App:
    made = tw.App("clicks")
    clicks = made.read(memory([[]]), schema=Click, time="ts", lateness="3s")
    clicks.group_by("page").window(tw.session("5s")).agg(n=count(), t=col("n").sum()).write(files("sessions/"))
    clicks.group_by("page").agg(n=count(), t=col("n").sum()).write(view("pages"))
    clicks.map(odd, schema=clicks.schema).write(files("mapped/"))
    return made


def kept() -> Plan:
    return staged(app().plan, {"memory": CLICKS})[0]


def seven(names: Sequence[str]) -> Sequence[tuple[str, int]]:
    return [(name, 7) for name in names]


def batch(plan: Plan) -> Mapping[str, pa.Table]:
    return _run(viewed(plan), RunOptions(until="end", fresh=True))


def died(plan: Plan, *deaths: Death) -> Mapping[str, pa.Table]:
    return _comparable(crashing(plan, deaths, random.Random(7), seven))


def instants(patch: pytest.MonkeyPatch, plan: Plan) -> list[Death]:
    """Return all instants that a run comes to, from first to last."""
    seen: list[Death] = []
    reached = Fuse.reached

    def noted(self: Fuse, instant: Instant | None, what: str = "") -> None:
        output = what if instant in ("seal", "sealed", "deliver", "delivered") else None
        times = 1 + sum((one.instant, one.output) == (instant, output) for one in seen)
        seen.append(Death(instant, output, times, torn=0.5))
        reached(self, instant, what)

    with patch.context() as patched:
        patched.setattr(Fuse, "reached", noted)
        died(plan)
    return seen


def found(plan: Plan, expected: Mapping[str, pa.Table], *deaths: Death) -> list[str]:
    got = died(plan, *deaths)
    return [line for name in expected for line in differences(expected[name], got[name], None, 0.0, ("batch", "got"))]


def test_a_run_that_dies_at_any_instant_gives_what_a_batch_gives(
    monkeypatch: pytest.MonkeyPatch, rng: random.Random, torture: bool
) -> None:
    plan = kept()
    expected = batch(plan)
    assert expected["late"].num_rows and expected["errors"].num_rows
    all_of_them = instants(monkeypatch, plan)
    assert {death.instant for death in all_of_them} == {None, *INSTANTS}
    for death in all_of_them:
        assert found(plan, expected, death) == [], death
    for _ in range(1_000 if torture else 5):
        several = rng.sample(all_of_them, 3)
        assert found(plan, expected, *several) == [], several


FOUND: Mapping[str, Instant] = {
    "sources acknowledged before the manifest": "rename",
    "the outbox applied twice": "delivered",
    "a checkpoint without one operator's state": "write",
    "the manifest before the state files": "renamed",
    "outputs applied before the manifest": "rename",
}
"""By bug: the instant at which a run that dies shows it."""


@pytest.mark.parametrize("bug", FOUND)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = kept()
    expected = batch(plan)
    deaths = [death for death in instants(monkeypatch, plan) if death.instant == FOUND[bug]]
    PATCHES[bug](monkeypatch, lambda: None)
    assert found(plan, expected) == [], "without a crash it does no harm"
    for death in reversed(deaths):
        try:
            if found(plan, expected, death):
                return
        except ThalwegError:
            return
    pytest.fail("no death has found it")


def test_check_crashes_by_default_and_prints_the_seed_that_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    check(app(), memory=CLICKS, seed=3)
    PATCHES["sources acknowledged before the manifest"](monkeypatch, lambda: None)
    monkeypatch.setattr("thalweg.engine.embedded.ledger.balance", lambda entries: None)
    rename = Death("rename", None, 4)  # the first two are those of the notes on starts and on crashes
    with monkeypatch.context() as patch:
        patch.setattr(crashes, "drawn_death", lambda rng, outputs: rename)
        with pytest.raises(CheckError, match=r'is different in runs that crashed at "rename".*; repeat with seed=3'):
            check(app(), memory=CLICKS, seed=3)
        PATCHES["the manifest before the state files"](patch, lambda: None)
        patch.setattr(crashes, "drawn_death", lambda rng, outputs: Death("renamed", None, 4))
        with pytest.raises(StateError) as raised:
            check(app(), memory=CLICKS, seed=3)
    assert "repeat with seed=3" in "\n".join(raised.value.__notes__)


def test_deaths_are_drawn_of_all_kinds() -> None:
    drawn = [drawn_death(random.Random(seed), ["out"]) for seed in range(300)]
    assert {death.instant for death in drawn} == {None, *INSTANTS}
    assert {death.output for death in drawn} == {None, "out"}
    assert {death.instant for death in (drawn_death(random.Random(seed), []) for seed in range(300))} == {
        None,
        "write",
        "written",
        "rename",
        "renamed",
    }


def test_a_dead_run_does_nothing_more(tmp_path: Path) -> None:
    data = tmp_path / "data"
    fuse = Fuse(data, Death("renamed", None, 2))
    plan = viewed(kept())
    with pytest.raises(Crashed):
        Embedded().start(plan, RunOptions(data=data, until="end", reached=fuse.reached)).run()
    assert fuse.blown
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    for instant in INSTANTS:
        with pytest.raises(Crashed):
            fuse.reached(instant)
    assert before == {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
