"""A case: a program of the oracle with its column types and its cuts, and the same as an app of Thalweg."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa

import thalweg as tw
from tests.oracle import expressions as ex
from tests.oracle.aggregates import MODULUS, Aggregate
from tests.oracle.formed import Session
from tests.oracle.programs import Pipeline, Program, Stage
from tests.oracle.tables import batch_of
from tests.oracle.values import EPOCH
from tests.oracle.windows import Cumulating, Hopping, Read, Tumbling, Window
from thalweg import col, count, lit, when
from thalweg.connect import memory, view

Cuts = tuple[int, ...]
"""Where a partition is cut into batches: row numbers, ascending; equal ones give empty batches."""


@dataclass(frozen=True, slots=True)
class Case:
    """A program, and how its data lies.

    Attributes:
        program: What to compute, over which rows.
        schema: The declared schema of every read.
        cuts: Per read and partition, where the rows are cut into batches.
    """

    program: Program
    schema: pa.Schema
    cuts: tuple[tuple[Cuts, ...], ...]

    @property
    def rows(self) -> int:
        """How many rows its sources hold."""
        return sum(len(rows) for read in self.program.reads for rows in read.partitions)


def build(case: Case) -> tw.App:
    """Return the app that a case describes."""
    app = tw.App("property")
    reads = [
        app.read(
            memory(batches(case.schema, read, cuts)),
            schema=case.schema,
            time=read.time,
            lateness=duration(read.lateness_us),
            max_jump=None if read.max_jump_us is None else duration(read.max_jump_us),
        )
        for read, cuts in zip(case.program.reads, case.cuts, strict=True)
    ]
    stream: tw.Stream | None = None
    for branch in case.program.branches:
        part = steps(reads[branch.read], branch.filters)
        stream = part if stream is None else stream.union(part)
    assert stream is not None, "a program has a branch"
    for pipeline in case.program.pipelines:
        result(stream, pipeline).write(view(pipeline.view))
    return app


def result(stream: tw.Stream, pipeline: Pipeline) -> tw.Stream:
    """Return what a pipeline makes of a stream."""
    for stage in pipeline.stages:
        stream = _aggregated(steps(stream, stage.steps), stage)
    return steps(stream, pipeline.steps)


def steps(stream: tw.Stream, given: tuple[ex.Step, ...]) -> tw.Stream:
    """Return a stream after steps."""
    for step in given:
        if isinstance(step, ex.Filter):
            stream = stream.filter(expression(step.condition))
        else:
            stream = stream.with_columns(**{step.name: expression(step.of)})
    return stream


def expression(given: ex.Expression) -> tw.Expr:
    """Return Thalweg's form of an expression of the oracle."""
    match given:
        case ex.Col(name):
            return col(name)
        case ex.Lit(constant, timestamp):
            assert not timestamp or isinstance(constant, int)
            return lit(EPOCH + dt.timedelta(microseconds=constant) if timestamp else constant)  # type: ignore[arg-type]
        case ex.Compare(left, operator, right):
            return _compare(expression(left), operator, expression(right))
        case ex.IsNull(of):
            return expression(of).is_null()
        case ex.Not(of):
            return ~expression(of)
        case ex.Both(left, right):
            return expression(left) & expression(right)
        case ex.Either(left, right):
            return expression(left) | expression(right)
        case ex.FillNull(of, fill):
            return expression(of).fill_null(expression(fill))
        case ex.Choose(condition, then, otherwise):
            return when(expression(condition)).then(expression(then)).otherwise(expression(otherwise))
    raise AssertionError(f"{given} has no form here")


def aggregate(given: Aggregate) -> tw.Expr:
    """Return Thalweg's form of an aggregate of the oracle."""
    of = col(given.column) if given.column else None
    if of is None:
        return count()
    match given.kind:
        case "arg_min":
            return of.arg_min(by=given.by)
        case "arg_max":
            return of.arg_max(by=given.by)
        case "quantile":
            return of.quantile(given.q, interpolation=given.interpolation)
        case "approx_quantile":
            return of.approx_quantile(given.q)
        case "sum_per_row":
            return of.sum() / count()
        case "user_sum":
            return _USER_SUM(of)
        case "user_nulls":
            return _USER_NULLS(of)
        case plain:
            made: tw.Expr = getattr(of, plain)()
            return made


def duration(us: int) -> str:
    """Return microseconds as a duration string."""
    return f"{us}us"


def window(given: Window | Session) -> object:
    """Return Thalweg's form of a window of the oracle."""
    match given:
        case Tumbling(size_us, offset_us):
            return tw.tumbling(duration(size_us), offset=duration(offset_us))
        case Hopping(size_us, every_us, offset_us):
            return tw.hopping(duration(size_us), every=duration(every_us), offset=duration(offset_us))
        case Cumulating(size_us, every_us, offset_us):
            return tw.cumulating(duration(size_us), every=duration(every_us), offset=duration(offset_us))
        case Session(gap_us):
            return tw.session(duration(gap_us))
    raise AssertionError(f"{given} has no form here")


def _aggregated(stream: tw.Stream, stage: Stage) -> tw.Stream:
    made: Mapping[str, tw.Expr] = {given.name: aggregate(given) for given in stage.aggregates}
    if stage.window is not None:
        return stream.group_by(*stage.keys).window(window(stage.window), emit=stage.emit).agg(**made)
    return stream.group_by(*stage.keys).agg(**made) if stage.keys else stream.agg(**made)


def batches(schema: pa.Schema, read: Read, cuts: tuple[Cuts, ...]) -> list[list[pa.RecordBatch]]:
    """Return a read's partitions as batches; their own schema allows nulls, which the declared one may not."""
    loose = pa.schema([pa.field(field.name, field.type) for field in schema])
    return [
        [batch_of(rows[a:b], loose) for a, b in pairwise((0, *at, len(rows)))]
        for rows, at in zip(read.partitions, cuts, strict=True)
    ]


def _compare(left: tw.Expr, operator: ex.Comparison, right: tw.Expr) -> tw.Expr:
    made: dict[ex.Comparison, tw.Expr] = {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }
    return made[operator]


def _nothing() -> int:
    return 0


def _add(total: int, value: int | None) -> int:
    return (total + (value or 0)) % MODULUS


def _count_null(total: int, value: int | None) -> int:
    return total + (value is None)


def _merge_sums(one: int, other: int) -> int:
    return (one + other) % MODULUS


def _merge_counts(one: int, other: int) -> int:
    return one + other


def _itself(total: int) -> int:
    return total


_USER_SUM = tw.aggregate(init=_nothing, step=_add, merge=_merge_sums, finish=_itself)
_USER_NULLS = tw.aggregate(init=_nothing, step=_count_null, merge=_merge_counts, finish=_itself)
