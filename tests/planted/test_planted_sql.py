"""Each bug that is planted into the reading of SQL makes a query differ from DuckDB."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import pyarrow as pa
import pytest
from sqlglot import exp

import thalweg as tw
from tests.oracle.sql import answer, rows_of
from thalweg.connect import memory, view
from thalweg.plan import expr as e
from thalweg.plan.expr import Expr
from thalweg.sql import grouping, joins, values
from thalweg.sql.context import Context, Handler

ROWS = pa.table({"k": ["a", "a", "b", None], "i": [-7, 3, None, 5], "f": [1.0, -0.5, None, 2.0]})
OTHERS = pa.table({"k": ["a", "b", "z"], "j": [1, 2, 3]})

Patch = Callable[[pytest.MonkeyPatch], None]


def handled(kind: type[exp.Expr], handler: Handler) -> Patch:
    """Return what puts another reading of a kind of expression in place of the right one."""

    def patch(by: pytest.MonkeyPatch) -> None:
        by.setattr(values, "_HANDLERS", MappingProxyType({**values._HANDLERS, kind: handler}))

    return patch


def _in_without_null(c: Context, node: exp.Expr) -> Expr:
    items = [c.value(item) for item in node.expressions]
    return c.value(node.this).is_in([item.value for item in items if isinstance(item, e.Literal)])


def _keys_in_aggregates(by: pytest.MonkeyPatch) -> None:
    by.setattr(grouping, "_without_aggregates", lambda value: e.lit(1))
    by.setattr(grouping, "over_groups", e.replace)


def _left_as_inner(by: pytest.MonkeyPatch) -> None:
    true = joins.joined

    def planted(query: object, left: object, right: object, join: exp.Join) -> object:
        side = join.args.pop("side", None)  # an inner join finds the same partners, and loses who has none
        try:
            return true(query, left, right, join)  # type: ignore[arg-type]  # what it was given
        finally:
            join.set("side", side)

    by.setattr("thalweg.sql.select.joined", planted)


BUGS: dict[str, tuple[str, Patch]] = {
    "a null in IN is forgotten": ("select i from t where i not in (3, null)", handled(exp.In, _in_without_null)),
    "a remainder has the divisor's sign": (
        "select i % 4 as x from t",
        handled(exp.Mod, lambda c, node: c.value(node.this) % c.value(node.expression)),
    ),
    "a quotient is rounded down": (
        "select i // 2 as x from t",
        handled(exp.IntDiv, lambda c, node: c.value(node.this) // c.value(node.expression)),
    ),
    "a sum of nothing is zero": (
        "select k, sum(i) as x from t group by k",
        handled(exp.Sum, lambda c, node: c.value(node.this).sum()),
    ),
    "FILTER is left out": (
        "select count(*) filter (where i > 3) as x from t",
        handled(exp.Filter, lambda c, node: c.value(node.this)),
    ),
    "halves are rounded to even": (
        "select round(i / 2) as x from t",
        handled(exp.Round, lambda c, node: c.value(node.this).round()),
    ),
    "a key is put into aggregates": ("select k as c, min(k) || '!' as x from t group by k", _keys_in_aggregates),
    "a left join is an inner one": ("select t.k, j from t left join u on t.k = u.k", _left_as_inner),
}


def ours(query: str) -> object:
    """Return the rows that a query gives here."""
    app = tw.App("planted")
    app.sql(query, t=app.read(memory(ROWS)), u=app.read(memory(OTHERS))).write(view("answer"))
    return rows_of(app.batch().view("answer"))


@pytest.mark.parametrize("bug", BUGS)
def test_without_the_bug_the_query_gives_what_duckdb_gives(bug: str) -> None:
    query, _ = BUGS[bug]
    assert ours(query) == answer(query, {"t": ROWS, "u": OTHERS})[1]


@pytest.mark.parametrize("bug", BUGS)
def test_the_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query, patch = BUGS[bug]
    patch(monkeypatch)
    try:
        found = ours(query)
    except tw.ThalwegError:
        return  # found when the plan is made
    assert found != answer(query, {"t": ROWS, "u": OTHERS})[1]
