"""Whether a report says what the oracle says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tests.oracle.programs import Meaning, Outcome, meaning
from tests.oracle.tables import differences, plain_rows
from tests.property.cases import Case

_SHOWN = 12


def assert_agrees(case: Case, report: Any, how: str, expected: Meaning | None = None) -> None:
    """Fail unless a report has the views, late rows, errors and ledger that the oracle expects.

    Args:
        case: What was run.
        report: What the run returned.
        how: How it was run, for the message.
        expected: What the oracle says, where that is known already.
    """
    expected = expected or meaning(case.program)
    wrong: list[str] = []
    for name, outcome in expected.outcomes.items():
        wrong += [f"{name}: {line}" for line in differences(report.view(name), outcome)]
    wrong += late_differences(case, report, expected.outcomes.values())
    wrong += error_differences(report, expected)
    wrong += ledger_differences(report, expected)
    if report.rows_in != case.rows:
        wrong.append(f"rows_in is {report.rows_in}, expected {case.rows}")
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise AssertionError("\n".join([f"{how}, {len(wrong)} differences from the oracle:", *wrong[:_SHOWN], *more]))


def late_differences(case: Case, report: Any, outcomes: Iterable[Outcome]) -> list[str]:
    """Return how the late (row, window) pairs of a report differ, as a multiset."""
    several = len(case.program.reads) > 1  # partitions of two reads may have the same name
    expected: Counter[tuple[object, ...]] = Counter()
    for outcome in outcomes:
        for late, times in outcome.late.items():
            partition = None if several else str(late.partition)
            expected[(partition, late.time_us, late.watermark_us, *late.span)] += times
    found: Counter[tuple[object, ...]] = Counter()
    for row in plain_rows(report.late.select(["partition", "time", "watermark", "window_start", "window_end"])):
        partition = None if several else row.pop("partition")
        row.pop("partition", None)
        found[(partition, *row.values())] += 1
    missing = [f"late pair is missing: {pair} × {times}" for pair, times in (expected - found).items()]
    return missing + [f"late pair should not be there: {pair} × {times}" for pair, times in (found - expected).items()]


def error_differences(report: Any, expected: Meaning) -> list[str]:
    """Return how the number of errors differs: rows rejected at the door, and sums that overflowed."""
    overflows = sum(outcome.overflows for outcome in expected.outcomes.values())
    if report.errors.num_rows == expected.rejected + overflows:
        return []
    reasons = [f"  {row['place']}: {row['reason']}" for row in report.errors.to_pylist()[:_SHOWN]]
    return [f"{report.errors.num_rows} errors, expected {expected.rejected} rejected rows, {overflows} sums", *reasons]


def ledger_differences(report: Any, expected: Meaning) -> list[str]:
    """Return where a ledger does not balance, or its sums are not the oracle's."""
    wrong = []
    lines = ledger(report)
    for line in lines:
        out = line["passed"] + line["filtered"] + line["late"] + line["rejected"] + line["absorbed"]
        if line["in"] != out:
            wrong.append(f"ledger: {line['in']} in, {out} out in {line}")
        if line["absorbed"] != line["released"] + line["held"]:
            wrong.append(f"ledger: absorbed is not released + held in {line}")
    outcomes = list(expected.outcomes.values())
    sums = {"late": sum(outcome.late.total() for outcome in outcomes)}
    if not any(outcome.overflows for outcome in outcomes):  # else results are rejected too, not only rows
        sums["rejected"] = expected.rejected
    for name, total in sums.items():
        found = sum(line[name] for line in lines)
        if found != total:
            wrong.append(f"ledger: {found} {name}, expected {total}")
    return wrong


def ledger(report: Any) -> list[Mapping[str, Any]]:
    """Return the lines of a report's ledger, one per operator."""
    lines: list[Mapping[str, Any]] = report.ledger.to_pylist()
    return lines
