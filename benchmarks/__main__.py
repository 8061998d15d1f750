"""Runs the benchmarks: ``python -m benchmarks [NAME…] [--quick] [--json]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from typing import Final

import duckdb
import polars as pl
import pyarrow as pa

from benchmarks import (
    checkpoints,
    filtering,
    hopping,
    http_ingest,
    latency,
    log_append,
    log_read,
    memory,
    ndjson,
    rules,
    state,
    tail,
    tumbling,
)
from benchmarks.nexmark import measure as nexmark
from benchmarks.outcome import Benchmark, WrongAnswerError
from thalweg.core.ports import Json

BENCHMARKS: Final[tuple[Benchmark, ...]] = (
    tumbling.BENCHMARK,
    hopping.BENCHMARK,
    filtering.BENCHMARK,
    ndjson.BENCHMARK,
    latency.BENCHMARK,
    memory.BENCHMARK,
    rules.BENCHMARK,
    state.BENCHMARK,
    checkpoints.BENCHMARK,
    nexmark.BENCHMARK,
    http_ingest.BENCHMARK,
    tail.BENCHMARK,
    log_append.BENCHMARK,
    log_read.BENCHMARK,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen benchmarks; return 1 if an answer was wrong, whatever the figures are."""
    known = {benchmark.name: benchmark for benchmark in BENCHMARKS}
    width = max(map(len, known))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Thalweg beside one-shot queries over the same data.",
        epilog="\n".join(f"{name:<{width}}  {benchmark.about}" for name, benchmark in known.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to run; everything by default")
    parser.add_argument("--quick", action="store_true", help="smaller inputs and fewer rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    chosen = parser.parse_args(arguments)
    for name in chosen.names:
        if name not in known:
            parser.error(f'there is no benchmark "{name}"; there are: {", ".join(known)}')
    _say(machine(), chosen.json, "; ".join(f"{name} {value}" for name, value in machine().items()))
    wrong = False
    for benchmark in [known[name] for name in chosen.names or known]:
        wrong = not _run(benchmark, quick=chosen.quick, as_json=chosen.json) or wrong
    return int(wrong)


def machine() -> dict[str, Json]:
    """Return what the figures depend on: the machine, its load, and the versions."""
    return {
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "polars": pl.__version__,
        "duckdb": duckdb.__version__,
        "pyarrow": pa.__version__,
    }


def _run(benchmark: Benchmark, *, quick: bool, as_json: bool) -> bool:
    try:
        for outcome in (benchmark.quick if quick else benchmark.full)():
            _say({"benchmark": benchmark.name, **outcome.record()}, as_json, "\n" + "\n".join(outcome.lines()))
    except WrongAnswerError as error:
        _say({"benchmark": benchmark.name, "wrong": str(error)}, as_json, f"\n{benchmark.name}: WRONG ANSWER: {error}")
        return False
    return True


def _say(record: dict[str, Json], as_json: bool, text: str) -> None:
    print(json.dumps(record) if as_json else text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
