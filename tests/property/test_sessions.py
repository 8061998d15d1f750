"""Sessions, count windows and dedupe agree with the oracle, in one batch and in steps of any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from tests.oracle.formed import Session, is_late, kept, runs
from tests.oracle.tables import plain_rows
from tests.oracle.values import Row, canonical, order_key, tie_key
from tests.oracle.windows import Event, Read, events
from tests.property.agree import ledger
from tests.property.cases import Case, Cuts, batches, duration
from tests.property.programs import chains_of_sessions, in_sessions
from tests.property.rows import Columns, columns, reads
from tests.property.shares import share
from tests.property.test_windows import STEP_ROWS, agrees_in_every_run
from thalweg import col, count
from thalweg.connect import memory, view
from thalweg.engine.embedded import arrangement, intake, open_groups

Multiset = Counter[tuple[Hashable, ...]]
Drawn = tuple[Columns, Read, tuple[Cuts, ...], int, list[str]]
"""Columns, rows and their cuts, a duration on the scale of their disorder, key columns."""
Answer = Callable[[Sequence[Event]], list[list[Any]]]
"""Gives output rows of the events of a key, which are in order."""


@contextmanager
def every_batch_a_step() -> Iterator[None]:
    """Let no rows be gathered: what is read at once is a step of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "GATHER_ROWS", 1)
        yield


@contextmanager
def small_state_kept_as_large() -> Iterator[None]:
    """Let a few open groups be kept as many are: sorted, in runs, cleared of what is closed from time to time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrangement, "FEW_ROWS", 2)
        for name in ("FEW_ROWS", "_FEW_DEAD", "_PLAIN_FROM", "_SORTED_FROM"):
            patch.setattr(open_groups, name, 0)
        yield


@share(0.5)
@given(in_sessions(), STEP_ROWS)
def test_sessions(case: Case, rows: int) -> None:
    with every_batch_a_step():
        agrees_in_every_run(case, rows)


@share(0.25)
@given(chains_of_sessions(), STEP_ROWS)
def test_sessions_of_windows_and_windows_of_sessions(case: Case, rows: int) -> None:
    with every_batch_a_step():
        agrees_in_every_run(case, rows)


@st.composite
def ordered(draw: st.DrawFn) -> Drawn:
    """Draw rows, their cuts, a duration on the scale of their disorder, and key columns."""
    given = draw(columns())
    step_us = draw(st.sampled_from([1, 1000, 10_000_000]))
    read, cuts = draw(reads(given, Session(step_us)))
    keys = draw(st.lists(st.sampled_from(list(given.kinds)), min_size=1, max_size=2, unique=True))
    return given, read, cuts, step_us, keys


@share(0.25)
@given(in_sessions(), st.sampled_from([1, 2, 3, 5]))
def test_sessions_of_large_state(case: Case, rows: int) -> None:
    with small_state_kept_as_large(), every_batch_a_step():
        agrees_in_every_run(case, rows)


@share(0.25)
@given(ordered(), st.sampled_from([1, 2, 3, 7, 20]), STEP_ROWS)
def test_count_windows(drawn: Drawn, size: int, rows: int) -> None:
    _, read, _, _, keys = drawn
    value = read.columns[0]

    def answer(found: Sequence[Event]) -> list[list[Any]]:
        spans = runs(size, [event.time_us for event in found])
        made = []
        for number in range(spans[-1][0] + 1):
            members = [event.row for event, (run, _) in zip(found, spans, strict=True) if run == number]
            (start, end), *_ = (span for run, span in spans if run == number)
            values = [row[value] for row in members if row[value] is not None]
            least = min(values, key=order_key, default=None)
            named = [members[0][key] for key in keys]
            made.append([*named, start, end, len(members), values, least, len({canonical(one) for one in values})])
        return made

    def build(stream: tw.Stream) -> tw.Stream:
        made = {"n": count(), "c": col(value).collect(), "m": col(value).min(), "u": col(value).n_unique()}
        return stream.group_by(*(col(key).alias(f"k_{key}") for key in keys)).window(tw.count_window(size)).agg(**made)

    agrees(drawn, build, answer, rows)
    with small_state_kept_as_large():
        agrees(drawn, build, answer, rows)


@share(0.25)
@given(ordered(), st.sampled_from([1, 2, 3, 10]), STEP_ROWS)
def test_dedupe(drawn: Drawn, times: int, rows: int) -> None:
    _, _, _, step_us, keys = drawn
    within_us = max(1, step_us * times // 3)

    def answer(found: Sequence[Event]) -> list[list[Any]]:
        chosen = kept(within_us, [event.time_us for event in found])
        return [list(event.row.values()) for event, here in zip(found, chosen, strict=True) if here]

    agrees(drawn, lambda stream: stream.dedupe(keys, within=duration(within_us)), answer, rows)


def agrees(
    drawn: Drawn,
    build: Callable[[tw.Stream], tw.Stream],
    answer: Answer,
    rows: int,
) -> None:
    """Run a program as a batch and in steps; each run must give the rows, the late rows and a ledger that balances."""
    given, read, cuts, _, keys = drawn
    decoded, rejected = events(read)
    in_time = [event for event in decoded if not is_late(event)]
    expected: Multiset = Counter()
    for found in by_key(in_time, keys, read.columns):
        expected.update(tuple(canonical(value) for value in row) for row in answer(found))
    app = tw.App("ordered")
    source = memory(batches(given.schema, read, cuts))
    stream = app.read(
        source,
        schema=given.schema,
        time=read.time,
        lateness=duration(read.lateness_us),
        max_jump=None if read.max_jump_us is None else duration(read.max_jump_us),
    )
    build(stream).write(view("v"))
    with every_batch_a_step():
        in_steps = app.run(data=None, until="end", max_step_rows=rows, quiet=True)
    runs_made = {"as a batch": app.batch(), f"in steps of {rows}": in_steps}
    late = Counter((event.time_us, event.watermark_us) for event in decoded if is_late(event))
    for how, report in runs_made.items():
        got: Multiset = Counter(
            tuple(canonical(value) for value in row.values()) for row in plain_rows(report.view("v"))
        )
        assert got == expected, f"{how}: missing {expected - got}, not wanted {got - expected}"
        marks = plain_rows(report.late.select(["time", "watermark"]))
        assert Counter((row["time"], row["watermark"]) for row in marks) == late, how
        assert report.errors.num_rows == rejected, how
        for line in ledger(report):
            assert line["held"] == 0, f"{how}: {line}"
            assert line["absorbed"] == line["released"], f"{how}: {line}"
        (step,) = [line for line in ledger(report) if line["absorbed"] or line["late"]] or [{"absorbed": 0, "late": 0}]
        assert (step["absorbed"], step["late"]) == (len(in_time), late.total()), how


def by_key(found: Sequence[Event], keys: Sequence[str], names: Sequence[str]) -> list[list[Event]]:
    """Return the events of each key, in (time, tie) order."""
    groups: dict[tuple[Hashable, ...], list[Event]] = {}
    for event in found:
        groups.setdefault(tuple(canonical(event.row[key]) for key in keys), []).append(event)
    for group in groups.values():
        group.sort(key=lambda event: tie_key(event.time_us, event.row, names))
    return list(groups.values())


def test_rows_of_the_oracle_are_in_order() -> None:
    rows: list[Row] = [{"k": "a", "x": x} for x in (2, None, 1)]
    made = [Event(0, n, 5, None, row) for n, row in enumerate(rows)]
    (group,) = by_key(made, ["k"], ["k", "x"])
    assert [event.row["x"] for event in group] == [None, 1, 2]
