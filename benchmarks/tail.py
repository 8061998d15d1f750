"""Access logs parsed from a file beside one-shot Polars and DuckDB, and the time from a line's writing to its call."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb
import polars as pl
import pyarrow as pa

import thalweg as tw
from benchmarks.contest import OneShot, chosen, compared, take_turns
from benchmarks.outcome import ROOT, Benchmark, Comparison, Outcome, WrongAnswerError
from thalweg.connect import call, tail
from thalweg.core.ports import Json

TARGET: Final = 0.8
TARGET_MS: Final = 50.0
WARM_UP_S: Final = 1.0

_QUOTED = r'(?:[^"\\]|\\.)*'
_PATTERN = (
    r"^(?P<host>[^ ]+) [^ ]+ [^\[\x22]+? \[(?P<time>[^\]\x22]+)\] "
    rf'"{_QUOTED}" (?P<status>[0-9]{{3}}) (?P<size>[0-9]+|-) "(?P<referer>{_QUOTED})" "(?P<user_agent>{_QUOTED})"$'
)
_COLUMNS = ["host", "time", "status", "size", "referer", "user_agent"]
_NEVER = "\x01"  # a separator that no line has


def write(path: Path, lines: int) -> None:
    """Write an access log."""
    with open(path, "w", encoding="utf-8") as file:
        for number in range(lines):
            file.write(
                f"192.168.{number % 256}.{number % 199} - - "
                f"[10/Oct/2000:13:{number // 60 % 60:02}:{number % 60:02} -0700] "
                f'"GET /item?id={number} HTTP/1.0" 200 {number % 5_000} "http://www.example.com/start.html" '
                '"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"\n'
            )


class _Tailed:
    """The log through the source, to ``call``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tables: list[pa.Table] = []

    def run(self) -> None:
        self._tables = []
        app = tw.App("access")
        app.read(tail(self._path, parse="combined")).select(*_COLUMNS).write(call(self._tables.append))
        app.run(data=None, until="end", quiet=True)

    def answer(self) -> pl.DataFrame:
        frame = pl.from_arrow(pa.concat_tables(self._tables))
        assert isinstance(frame, pl.DataFrame)
        return frame


def _query(path: Path) -> pl.LazyFrame:
    lines = pl.scan_csv(path, has_header=False, separator=_NEVER, quote_char=None, new_columns=["line"])
    found = lines.select(pl.col("line").str.extract_groups(_PATTERN).alias("f")).unnest("f")
    moment = pl.col("time").str.to_datetime("%d/%b/%Y:%H:%M:%S %z", time_unit="us", time_zone="UTC")
    return found.select("host", moment, pl.col("status", "size").cast(pl.Int64), "referer", "user_agent")


def _duckdb(path: Path) -> pa.Table:
    # DuckDB's expressions have no names for groups: they are given beside.
    pattern = _PATTERN
    for name in _COLUMNS:
        pattern = pattern.replace(f"(?P<{name}>", "(")
    names = ", ".join(f"'{name}'" for name in _COLUMNS)
    query = f"""
        SELECT f.host AS host, strptime(f.time, '%d/%b/%Y:%H:%M:%S %z') AS time, f.status::BIGINT AS status,
               f.size::BIGINT AS size, f.referer AS referer, f.user_agent AS user_agent
        FROM (SELECT regexp_extract(line, $pattern, [{names}]) AS f
              FROM read_csv($path, header=false, sep='{_NEVER}', quote='', escape='', columns={{'line': 'VARCHAR'}}))
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        return connection.sql(query, params={"pattern": pattern, "path": str(path)}).to_arrow_table()


@dataclass(frozen=True, slots=True)
class Noticed:
    """How long lines took from their writing to the call with the changed row, in milliseconds."""

    lines_per_s: int
    measured: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.p99_ms <= TARGET_MS

    def lines(self) -> Sequence[str]:
        return [
            f"tail to tumbling 10s, emit on change, {self.lines_per_s} writes/s",
            f"  {self.measured} lines: p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.2f} ms, max {self.max_ms:.2f} ms",
            f"  p99 {self.p99_ms:.2f} ms, target ≤ {TARGET_MS:g} ms: {'met' if self.met else 'MISSED'}",
        ]

    def record(self) -> dict[str, Json]:
        return {
            "name": "tail latency",
            "rate": self.lines_per_s,
            "measured": self.measured,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "max_ms": self.max_ms,
            "target_ms": TARGET_MS,
            "met": self.met,
        }


class Line:
    """What stands in a line of the writer."""

    seq: int
    made_ns: int
    ts: int


WRITER: Final = """
import sys, time
path, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
with open(path, "a", buffering=1) as file:
    for number in range(int(rate * seconds)):
        now = time.time_ns()
        file.write(f'{{"seq":{number},"made_ns":{now},"ts":{now // 1000}}}\\n')
        time.sleep(1 / rate)
"""


def noticed(rate: int, seconds: float, warm_up_s: float = WARM_UP_S) -> Noticed:
    """Follow what another process writes, line by line.

    Raises:
        WrongAnswerError: A line never came.
    """
    count, took = int(rate * seconds), [0.0] * int(rate * seconds)
    seen = 0
    arrived = threading.Event()

    def take(table: pa.Table) -> None:
        nonlocal seen
        now = time.time_ns()
        for latest, made in zip(table.column("latest").to_pylist(), table.column("made").to_pylist(), strict=True):
            if latest >= seen:
                # The oldest of the lines that this step shows for the first time waited longest; all count as it did.
                took[seen : latest + 1] = [(now - made) / 1e6] * (latest + 1 - seen)
                seen = latest + 1
        if seen == count:
            arrived.set()

    with TemporaryDirectory() as folder:
        path = Path(folder) / "app.log"
        app = tw.App("noticed")
        events = app.read(tail(path, parse="ndjson"), schema=Line, time="ts", time_unit="us", lateness="1s")
        windows = events.group_by().window("10s", emit="on_change")
        windows.agg(latest=tw.col("seq").max(), made=tw.col("made_ns").max()).write(call(take))
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(rate), str(seconds)], cwd=ROOT)

        def stop() -> None:
            writer.wait()
            arrived.wait(10)
            app.stop()

        stopping = threading.Thread(target=stop)
        stopping.start()
        app.run(data=None, quiet=True)
        stopping.join()
    if seen != count:
        raise WrongAnswerError(f"{seen} of {count} lines came")
    measured = sorted(took[int(warm_up_s * rate) :])
    at = [measured[min(int(len(measured) * share), len(measured) - 1)] for share in (0.5, 0.99, 1.0)]
    return Noticed(rate, len(measured), *at)


def measure(lines: int, rounds: int, seconds: float) -> Iterator[Outcome]:
    """Compare, then follow."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "access.log"
        write(path, lines)
        query = _query(path)
        references = {
            "polars": OneShot(lambda: query.collect(engine="streaming")),
            "duckdb": OneShot(lambda: _duckdb(path)),
        }
        taken = take_turns({"thalweg": _Tailed(path), **references}, rounds, query.collect(engine="in-memory"))
        size = path.stat().st_size / 1e6
    own = sorted(taken["thalweg"])[len(taken["thalweg"]) // 2]
    note = f"{size / own:.0f} MB/s of the combined log format"
    outcome: Comparison = compared(
        f"access log of {size:.0f} MB, parsed", lines, taken["thalweg"], chosen(taken, references), TARGET, note
    )
    yield outcome
    yield noticed(100, seconds)


BENCHMARK = Benchmark(
    "tail",
    "an access log parsed, beside the same expression in one shot; and from a line's writing to its windowed count",
    full=lambda: measure(1_000_000, 5, 20.0),
    quick=lambda: measure(300_000, 1, 5.0),
)
