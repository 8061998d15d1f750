"""A ledger that does not add up stops the run, and says where."""

from __future__ import annotations

import pytest

import thalweg as tw
from thalweg import col
from thalweg.connect import memory, view
from thalweg.core.errors import LedgerError
from thalweg.engine.contract import RunOptions
from thalweg.engine.embedded.ledger import Entry, balance, table
from thalweg.engine.embedded.loop import EmbeddedRun

COLUMNS = [
    "step",
    "rows_in",
    "in",
    "passed",
    "filtered",
    "late",
    "rejected",
    "absorbed",
    "released",
    "held",
    "rows_out",
]


def whole() -> list[Entry]:
    """A read that feeds a filter and a window, of which each has one kind of everything."""
    window = Entry("3 agg", rows_in=7, pairs=14, filtered=1, late=2, rejected=1, absorbed=10, released=6, held=4)
    filtered = Entry("2 filter", rows_in=8, pairs=8, passed=7, filtered=1, rows_out=7, feeds=[window])
    read = Entry("1 read", rows_in=9, pairs=9, passed=8, rejected=1, rows_out=8, feeds=[filtered])
    return [read, filtered, window]


def test_a_ledger_that_adds_up_balances() -> None:
    balance(whole())


@pytest.mark.parametrize("entry", [0, 1, 2])
@pytest.mark.parametrize("count", ["passed", "filtered", "late", "rejected", "absorbed"])
def test_a_row_counted_twice_is_found(entry: int, count: str) -> None:
    entries = whole()
    setattr(entries[entry], count, getattr(entries[entry], count) + 1)
    with pytest.raises(LedgerError, match=entries[entry].step):
        balance(entries)


@pytest.mark.parametrize("count", ["released", "held"])
@pytest.mark.parametrize("by", [1, -1])
def test_a_row_that_left_no_trace_in_the_state_is_found(count: str, by: int) -> None:
    entries = whole()
    setattr(entries[2], count, getattr(entries[2], count) + by)
    with pytest.raises(LedgerError, match="were absorbed"):
        balance(entries)


def test_a_row_lost_between_two_operators_is_found() -> None:
    entries = whole()
    entries[0].rows_out = 9
    with pytest.raises(LedgerError, match="it took 8 rows, but was given 9"):
        balance(entries)


def test_rows_of_several_inputs_add_up() -> None:
    union = Entry("3 union", rows_in=5, pairs=5, passed=5, rows_out=5)
    reads = [Entry(f"{n} read", rows_in=n, pairs=n, passed=n, rows_out=n, feeds=[union]) for n in (2, 3)]
    balance([*reads, union])
    with pytest.raises(LedgerError):
        balance([reads[0], union])


def test_a_consumer_without_a_producer_is_not_compared() -> None:
    balance([Entry("1 late", rows_in=3, pairs=3, passed=3, rows_out=3)])


def test_the_table_has_a_row_per_operator() -> None:
    found = table(whole())
    assert found.column_names == COLUMNS
    assert found.column("step").to_pylist() == ["1 read", "2 filter", "3 agg"]
    assert found.column("in").to_pylist() == [9, 8, 14]
    assert table([]).num_rows == 0


def test_a_run_whose_ledger_does_not_balance_fails_before_it_commits() -> None:
    app = tw.App("leaky")
    app.read(memory([{"a": 1}, {"a": 2}])).filter(col("a") > 1).write(view("v"))
    run = EmbeddedRun(app.plan, RunOptions(until="end", fresh=True))
    leaky = run._entries[1]
    leaky.filtered = 1  # a row that nobody has seen
    with pytest.raises(LedgerError, match="This is a fault in Thalweg"):
        run.run()
    assert run.progress().epoch == 0


def test_the_ledger_of_a_run_says_what_became_of_each_row() -> None:
    app = tw.App("counts")
    source = memory([{"a": n} for n in range(5)] + [{"a": "text"}])
    app.read(source, schema=Numbers).filter(col("a") > 1).select(b=col("a") * 2).write(view("v"))
    lines = {line["step"]: line for line in app.batch().ledger.to_pylist()}
    (read,) = [line for step, line in lines.items() if "read" in step]
    (fused,) = [line for step, line in lines.items() if "select" in step]
    (write,) = [line for step, line in lines.items() if "write" in step]
    assert (read["rows_in"], read["passed"], read["rejected"], read["rows_out"]) == (6, 5, 1, 5)
    assert (fused["rows_in"], fused["passed"], fused["filtered"], fused["rows_out"]) == (5, 3, 2, 3)
    assert (write["rows_in"], write["passed"]) == (3, 3)


class Numbers:
    a: int
