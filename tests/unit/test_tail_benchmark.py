"""The benchmark of ``tail`` at a tiny size: its answers are checked, and every line is measured."""

from __future__ import annotations

from benchmarks import tail
from benchmarks.outcome import Comparison


def test_parsing_and_noticing() -> None:
    parsed, noticed = tail.measure(lines=500, rounds=1, seconds=1.5)
    assert isinstance(parsed, Comparison)
    assert parsed.reference in ("polars", "duckdb")
    assert "MB/s" in parsed.note
    assert isinstance(noticed, tail.Noticed)
    assert noticed.measured == 50
    assert 0 < noticed.p50_ms <= noticed.p99_ms <= noticed.max_ms
