"""Which changes of a program change its steps' fingerprints, and which do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

import thalweg as tw
from thalweg import Stream, col, count
from thalweg.connect import memory, view
from thalweg.plan.difference import Difference, difference
from thalweg.plan.fingerprint import fingerprints
from thalweg.plan.nodes import Plan
from thalweg.plan.saved import SavedStep, saved_steps

V = pa.schema([("v", pa.int64())])
ROWS = memory([{"k": "a", "v": 1}])
Build = Callable[[Stream], object]


def plan_of(build: Build) -> Plan:
    app = tw.App("p")
    build(app.read(ROWS))
    return app.plan


def compared(old: Build, new: Build) -> Difference:
    before, after = plan_of(old), plan_of(new)
    saved = [SavedStep.from_json(step.as_json()) for step in saved_steps(before, fingerprints(before))]
    return difference(after, fingerprints(after), saved, lambda read, name: None, lambda name: 7)


def is_kept(old: Build, new: Build) -> bool:
    return {change.verdict for change in compared(old, new).changes} == {"kept"}


def counted(stream: Stream, name: str, least: int) -> None:
    stream.filter(col("v") > least).group_by("k").agg(n=count()).write(view(name))


def test_names_and_the_order_of_branches_have_no_part_in_it() -> None:
    def old(stream: Stream) -> None:
        counted(stream, "one", 1)
        counted(stream, "two", 2)

    def new(events: Stream) -> None:
        large = events.filter(col("v") > 2)  # another name, another place
        large.group_by("k").agg(n=count()).write(view("two"))
        counted(events, "one", 1)

    assert is_kept(old, new)


def scaled(factor: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def scale(row: dict[str, Any]) -> dict[str, Any]:
        return {"v": row["v"] * factor}

    return scale


def test_a_value_that_a_function_closes_over_has() -> None:
    def mapped(factor: int) -> Build:
        return lambda s: s.map(scaled(factor), schema=V).agg(n=count()).write(view("v"))

    assert is_kept(mapped(2), mapped(2))
    assert not is_kept(mapped(2), mapped(3))


def test_the_version_of_an_aggregate_stands_for_its_functions() -> None:
    def ranged(version: str | None, plus: int) -> Build:
        largest = tw.aggregate(
            init=int, step=lambda s, v: max(s, v + plus), merge=max, finish=lambda s: s, returns=int, version=version
        )
        return lambda s: s.group_by("k").agg(m=largest(col("v"))).write(view("v"))

    assert not is_kept(ranged(None, 1), ranged(None, 2))
    assert is_kept(ranged("1", 1), ranged("1", 2))
    assert not is_kept(ranged("1", 1), ranged("2", 1))


def test_a_branch_that_shares_a_filter_of_another_takes_nothing_from_it() -> None:
    def old(stream: Stream) -> None:
        counted(stream, "one", 1)

    def new(stream: Stream) -> None:
        shared = stream.filter(col("v") > 1)
        shared.group_by("k").agg(n=count()).write(view("one"))
        shared.agg(n=count()).write(view("all"))

    found = {change.step.split(" ", 1)[1]: change.verdict for change in compared(old, new).changes}
    assert found["group_by(k).agg(n=count())"] == found["write view(one, key=k)"] == "kept"
    assert found["all rows.agg(n=count())"] == found["write view(all)"] == "rebuilt"


def test_a_step_is_stood_in_for_where_its_output_is_still_there() -> None:
    def sums(stream: Stream) -> None:
        stream.group_by("k").agg(n=count(), t=col("v").sum()).write(view("one"))

    found = compared(lambda s: counted(s, "one", 1), sums)
    assert not found.lost
    assert {change.verdict for change in found.changes if change.rows == 7} == {"rebuilt"}
