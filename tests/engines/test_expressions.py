"""Every function of expressions on every engine gives what ``meaning_…`` says, whatever the batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from tests.engines.meaning import DATE, DUR, F32, TIME, TS, Case, Rejected, f32
from tests.engines.meaning_casts import casts
from tests.engines.meaning_choices import nulls_and_choices
from tests.engines.meaning_operators import operators
from tests.engines.meaning_texts import texts
from tests.engines.meaning_times import lists, times
from thalweg.columnar import expressions
from thalweg.columnar.expressions import compile_expr
from thalweg.columnar.frames import polars_type, to_frame
from thalweg.core.schema import Field, Schema, normal_type
from thalweg.plan.expr import Expr, col, infer
from thalweg.plan.functions import FUNCTIONS

CASES = [*operators(), *nulls_and_choices(), *casts(), *texts(), *times(), *lists()]
REJECTED = object()
PHYSICAL = {TS: pa.int64(), DATE: pa.int32(), DUR: pa.int64(), TIME: pa.int64()}


def embedded(expr: Expr, schema: Schema) -> Callable[[pa.Table], pa.Array]:
    """Return how the embedded engine computes an expression over a table; it raises where a row is rejected."""
    compiled = compile_expr(expr, schema)
    return lambda table: to_frame(table).select(compiled).to_arrow().column(0).combine_chunks()


def streaming(expr: Expr, schema: Schema) -> Callable[[pa.Table], pa.Array]:
    """Return the same by Polars' streaming engine, which large batches take."""
    compiled = compile_expr(expr, schema)

    def run(table: pa.Table) -> pa.Array:
        frame = to_frame(table).lazy().with_row_index("_row").select("_row", answer=compiled)
        return frame.collect(engine="streaming").sort("_row").to_arrow().column("answer").combine_chunks()

    return run


ENGINES = {"embedded": embedded, "embedded, streaming": streaming}


def arrow(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return values in a type; times are given as numbers, as not all of them have a name in Python."""
    if kind in PHYSICAL:
        return pa.array(values, PHYSICAL[kind]).cast(kind)
    return pa.array(values, kind)


def python(array: pa.Array, kind: pa.DataType) -> list[Any]:
    values = array.cast(kind)
    return (values.cast(PHYSICAL[kind]) if kind in PHYSICAL else values).to_pylist()


def computed(run: Callable[[pa.Table], pa.Array], table: pa.Table, kind: pa.DataType) -> list[Any]:
    """Return the values row by row; a batch that fails is halved until the rows at fault are alone."""
    try:
        return python(run(table), kind)
    except Exception:  # engines raise errors of their own kinds (a panic is none); which rows fail is what is tested
        if table.num_rows == 1:
            return [REJECTED]
        middle = table.num_rows // 2
        return computed(run, table.slice(0, middle), kind) + computed(run, table.slice(middle), kind)


def expected(case: Case, row: tuple[Any, ...]) -> Any:
    try:
        return case.meaning(*row)
    except Rejected:
        return REJECTED


def alike(case: Case, want: Any, got: Any) -> bool:
    if isinstance(want, float) and isinstance(got, str):  # the text of a float: it reads back
        return alike(case, want, f32(float(got)) if case.types == (F32,) else float(got))
    if isinstance(want, (int, float)) and isinstance(got, float) and not isinstance(want, bool):
        if math.isnan(want) or math.isnan(got):
            return math.isnan(want) and math.isnan(got)
        if case.close:
            return math.isclose(want, got, rel_tol=1e-6 if case.result == F32 else 1e-12)
    if isinstance(want, list) and isinstance(got, list):
        return len(want) == len(got) and all(map(lambda w, g: alike(case, w, g), want, got))
    if isinstance(want, bool) or isinstance(got, bool):
        return want is got
    return bool(want == got)


def columns_of(case: Case, nullable: bool = True) -> Schema:
    return Schema(tuple(Field(name, kind, nullable) for name, kind in zip("abcd", case.types, strict=False)))


def never_null(case: Case) -> bool:
    schema = columns_of(case, nullable=False)
    return not infer(case.build(*map(col, schema.names)), schema).nullable


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_function_gives_what_it_means(engine: str, case: Case) -> None:
    names = "abcd"[: len(case.types)]
    schema = columns_of(case)
    expr = case.build(*map(col, names))
    assert infer(expr, schema).type == case.result
    rows = case.rows
    columns = [arrow(list(values), kind) for values, kind in zip(zip(*rows, strict=True), case.types, strict=True)]
    got = computed(ENGINES[engine](expr, schema), pa.table(columns, names=list(names)), case.result)
    want = [expected(case, row) for row in rows]
    wrong = [
        f"{row}: {g!r} instead of {w!r}" for row, w, g in zip(rows, want, got, strict=True) if not alike(case, w, g)
    ]
    assert not wrong, f"{case.name}: {len(wrong)} of {len(rows)} rows\n" + "\n".join(wrong[:20])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", list(filter(never_null, CASES)), ids=lambda case: case.name)
def test_a_result_that_cannot_be_null_never_is(engine: str, case: Case) -> None:
    names = "abcd"[: len(case.types)]
    schema = columns_of(case, nullable=False)
    expr = case.build(*map(col, names))
    rows = [row for row in case.rows if None not in row]
    columns = [arrow(list(values), kind) for values, kind in zip(zip(*rows, strict=True), case.types, strict=True)]
    assert None not in computed(ENGINES[engine](expr, schema), pa.table(columns, names=list(names)), case.result)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_batch_without_rows_gives_the_type(engine: str, case: Case) -> None:
    names = "abcd"[: len(case.types)]
    schema = columns_of(case)
    found = ENGINES[engine](case.build(*map(col, names)), schema)(schema.arrow.empty_table())
    assert len(found) == 0
    assert normal_type(found.type) == case.result


# Each stands for a function as Polars has it, where that is not what the function means.
PLANTED: dict[str, tuple[str, Callable[..., pl.Expr]]] = {
    "integers wrap": ("mul", lambda args, _, result: (args[0].expr * args[1].expr).cast(polars_type(result))),
    "the greatest skips NaN": ("list.max", lambda args, *_: args[0].expr.list.max()),
    "a year far away is null": ("dt.year", lambda args, *_: args[0].expr.dt.year().cast(pl.Int64)),
    "weeks start on Thursday": (
        "dt.truncate",
        lambda args, given, _: args[0].expr.dt.truncate(f"{given['every_us']}us"),
    ),
    "integers compare as floats": (
        "eq",
        lambda args, *_: args[0].expr.cast(pl.Float64) == args[1].expr.cast(pl.Float64),
    ),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_the_matrix_finds_a_planted_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, planted = PLANTED[bug]
    monkeypatch.setattr(expressions, "COMPILED", {**expressions.COMPILED, function: planted})
    failed = 0
    for case in (case for case in CASES if case.function == function):
        try:
            test_a_function_gives_what_it_means("embedded", case)
        except (AssertionError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
            failed += 1
    assert failed > 0


def test_every_declared_function_is_in_the_matrix() -> None:
    assert {case.function for case in CASES} == set(FUNCTIONS)


def test_every_answer_that_can_be_rejected_is_rejected_somewhere() -> None:
    rejecting = {case.function for case in CASES if any(expected(case, row) is REJECTED for row in case.rows)}
    told = {name for name, declared in FUNCTIONS.items() if "rejected" in declared.meaning}
    assert told <= rejecting
