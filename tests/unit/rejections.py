"""What a report says of rejected rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from thalweg import Report
from thalweg.engine.embedded.ledger import Entry, balance


def checked(report: Report) -> Report:
    """Balance a report's ledger by hand, and count its errors."""
    lines = report.ledger.to_pylist()
    for line in lines:
        counts = {name: line[name] for name in line if name not in ("step", "in")}
        balance([Entry(line["step"], pairs=line["in"], **counts)])
    assert sum(line["rejected"] for line in lines) == report.error_rows == report.errors.num_rows
    (first, *_) = [line for line in lines if " read " in line["step"]]
    assert first["rows_in"] <= report.rows_in
    return report


def told(report: Report) -> list[tuple[str, str, str | None]]:
    """Place, reason and column of each rejected row."""
    columns = report.errors.select(["place", "reason", "column"]).to_pylist()
    return sorted((row["place"], row["reason"], row["column"]) for row in columns)


def whole_rows(report: Report) -> list[dict[str, Any]]:
    """Rejected rows that were decoded already: Arrow bytes of one row."""
    found = []
    for row in report.errors.to_pylist():
        assert row["encoding"] == "arrow"
        with pa.ipc.open_stream(row["row"]) as reader:
            found += reader.read_all().to_pylist()
    return found
