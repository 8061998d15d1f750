"""One assertion: however the input is cut, interleaved and interrupted, the results are the same."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from thalweg.app import App
from thalweg.core.errors import CheckError, PlanError, ThalwegError, near
from thalweg.core.schema import schema_of
from thalweg.engine.contract import Report, RunOptions
from thalweg.engine.embedded.loop import Embedded
from thalweg.plan.nodes import Plan, ViewOutput, key_of
from thalweg.testing.compare import differences, scale_of
from thalweg.testing.crashes import crashing, drawn_deaths
from thalweg.testing.folders import state_folder
from thalweg.testing.given import Given, Row, as_dict
from thalweg.testing.replaced import staged, viewed
from thalweg.testing.scripted import Scripted

_ONE_BY_ONE_ROWS = 200
_READS_OF_A_LIFE = 12


@dataclass(frozen=True, slots=True)
class Result:
    """What a way of running gave: the tables to compare."""

    tables: Mapping[str, pa.Table]
    way: str


def check(
    app: App,
    *,
    expect: Mapping[str, Sequence[Row]] | None = None,
    seed: int | None = None,
    cases: int = 8,
    **sources: Given,
) -> None:
    """Run a pipeline in many ways and compare: all must agree with one batch, and that with ``expect``.

    The ways: one batch; row by row; random cuts with the partitions interleaved at random; runs that crash at
    random, between two steps or at an instant of a checkpoint, and are started again on what they have left on disk;
    runs that stop at what is there (``caught-up``), continue from their state, and end. Sinks are not written to;
    what they would get is compared as well.

    Args:
        app: The pipeline.
        expect: By view, its rows: tuples in column order, or dicts of some of the columns. Times may be
            text as in ``rows``.
        seed: Repeats the random choices of a failure, which prints it.
        cases: How many random ways.
        **sources: Rows in place of what a source of that name would read; others are read as they are.

    Raises:
        CheckError: Two ways differ, or the result is not as expected.
        PlanError: A source or a view of that name is not in the program.
    """
    seed = secrets.randbelow(2**32) if seed is None else seed
    kept, scripted = staged(app.plan, sources)
    plan = viewed(kept)
    scale = scale_of(piece.data for s in scripted for pieces in s.pieces.values() for piece in pieces)
    reference = Result(_run(plan, RunOptions(until="end", fresh=True)), "one batch")
    for view, given in (expect or {}).items():
        _expected(reference, plan, view, given, scale)
    try:
        for other in _ways(plan, kept, scripted, reference, random.Random(seed), cases):
            for name, table in reference.tables.items():
                if found := differences(table, other.tables[name], _key(plan, name), scale):
                    where = f'"{name}" is different in {other.way} than in {reference.way}'
                    raise CheckError("\n".join([f"{where}; repeat with seed={seed}", *found]))
    except CheckError:
        raise
    except ThalwegError as error:
        error.add_note(f"one batch did not fail so; repeat with seed={seed}")
        raise


def _ways(
    plan: Plan, kept: Plan, scripted: Sequence[Scripted], reference: Result, rng: random.Random, cases: int
) -> Iterator[Result]:
    total = sum(s.rows(name) for s in scripted for name in s.pieces)
    if total <= _ONE_BY_ONE_ROWS:
        yield Result(_run(plan, RunOptions(until="end", max_step_rows=1)), "steps of one row")
    for number in range(cases):
        most = rng.choice([1, 2, 3, 5, 10, max(total, 1)])
        if number % 3 == 0:
            # A crash is seldom found by smaller steps; they make each life long.
            yield _crashed(kept, reference, rng, max(most, total // _READS_OF_A_LIFE))
        elif number % 3 == 1:
            cuts = RunOptions(until="end", pick=_picker(rng, most))
            yield Result(_run(plan, cuts), f"random cuts of up to {most} rows, interleaved")
        else:
            yield _interrupted(plan, scripted, rng, most)


def _crashed(kept: Plan, reference: Result, rng: random.Random, most: int) -> Result:
    deaths = drawn_deaths(kept, reference.tables, rng)
    way = f"runs that crashed {', '.join(map(str, deaths))}, and one to the end, cuts of up to {most} rows"
    try:
        tables = crashing(kept, deaths, rng, _picker(rng, most))
    except ThalwegError as error:
        error.add_note(f"in {way}")
        raise
    return Result(_comparable(tables), way)


def _interrupted(plan: Plan, scripted: Sequence[Scripted], rng: random.Random, most: int) -> Result:
    """Run until caught up, a few times while more is shown, then to the end."""
    stops = rng.randint(1, 3)
    shown = [{name: 0 for name in s.pieces} for s in scripted]
    tables: Mapping[str, pa.Table] = {}
    with state_folder() as folder:
        options = RunOptions(data=Path(folder), pick=_picker(rng, most))
        for _ in range(stops):
            for source, rows in zip(scripted, shown, strict=True):
                for name in rows:
                    rows[name] = rng.randint(rows[name], source.rows(name))
                source.show(rows)
            earlier = _run(plan, replace(options, until="caught-up"))
            tables = _with_earlier(tables, earlier)
        for source in scripted:
            source.show(None)
        tables = _with_earlier(tables, _run(plan, replace(options, until="end")))
    return Result(tables, f"{stops} runs until caught up and one to the end, cuts of up to {most} rows")


def _with_earlier(before: Mapping[str, pa.Table], now: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Return all rows of a series of runs: views hold everything, late and rejected rows are each run's own."""
    own = ("late", "errors")
    return {k: pa.concat_tables([before[k], v]) if k in own and k in before else v for k, v in now.items()}


def _picker(rng: random.Random, most: int) -> Any:  # a Pick: chooses partitions and rows
    def pick(names: Sequence[str]) -> Sequence[tuple[str, int]]:
        chosen = [name for name in names if rng.random() < 0.7] or list(names[:1])
        rng.shuffle(chosen)
        return [(name, rng.randint(1, most)) for name in chosen]

    return pick


def _run(plan: Plan, options: RunOptions) -> dict[str, pa.Table]:
    report: Report = Embedded().start(plan, options).run()
    return _comparable({**report.views, "late": report.late, "errors": report.errors})


def _comparable(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    # What a row is late by, and the words of an error, may be told differently; which row it is may not.
    late = _decoded(tables["late"].drop_columns(["watermark"]))
    errors = _decoded(tables["errors"].drop_columns(["traceback"]))
    return {**tables, "late": late, "errors": errors}


def _decoded(table: pa.Table) -> pa.Table:
    """Return late or rejected rows with their contents as text: equal rows may differ in Arrow's bytes."""
    rows = []
    for row, encoding in zip(table["row"].to_pylist(), table["encoding"].to_pylist(), strict=True):
        rows.append(str(pa.ipc.open_stream(row).read_all().to_pylist()) if encoding == "arrow" else str(row))
    index = table.schema.get_field_index("row")
    return table.set_column(index, "row", pa.array(rows, pa.string()))


def _key(plan: Plan, name: str) -> tuple[str, ...] | None:
    for write in plan.writes:
        if isinstance(write.output, ViewOutput) and write.output.name == name:
            return key_of(write.input)
    return None


def _expected(result: Result, plan: Plan, view: str, rows: Sequence[Row], scale: float) -> None:
    if view not in result.tables:
        raise PlanError(f'check(expect=…): there is no view "{view}"; {near(view, result.tables)}')
    got = result.tables[view]
    first = rows[0] if rows else None
    if isinstance(first, Mapping):
        got = got.select([name for name in got.column_names if name in first])
    schema = schema_of(got.schema)
    loose = pa.schema([pa.field(field.name, field.type) for field in schema])
    wanted = pa.Table.from_pylist([as_dict(schema, row) for row in rows], schema=loose)
    if found := differences(wanted, got, _key(plan, view), scale, names=("expected", "got")):
        raise CheckError(f'the view "{view}" is not as expected\n' + "\n".join(found))
