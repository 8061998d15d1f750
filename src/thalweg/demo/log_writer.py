"""Writes log files as programs do, rotates them, posts a share of the lines over HTTP, and tells what it wrote.

A process of its own: ``python -m thalweg.demo.log_writer logs --seconds 10 --rate 400 --rotate 500``. It knows the
level of each line, and which sort of trouble it tells of, because it chose them; the totals that it prints at the end
are the independent answer to what others count in the files.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

from thalweg.core.clock import Clock, SystemClock
from thalweg.demo.log_poster import Poster

SERVICES: Final = ("shop", "mail", "pay", "search", "stock", "auth")
ODD: Final = ("Traceback (most recent call last):", "    at pay.Card.charge(Card.java:{n})", "*** restarted ***")
"""Lines in a log that are no log lines."""
_ODD_SHARE: Final = 0.01
_TICK_S: Final = 0.02
_BURST: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

RotateBy = Literal["rename", "copy", "both"]

_MESSAGES: Final[Sequence[tuple[int, str, str, str]]] = (
    # Weight, level, what it tells of, text.
    (300, "INFO", "other", "GET /product/{n} 200 in 12 ms"),
    (120, "INFO", "other", "order {n} accepted"),
    (80, "DEBUG", "other", "cache hit for key p:{n}"),
    (4, "INFO", "timeout", "session timeout set to {n} s"),
    (20, "WARN", "other", "stock of product {n} is low"),
    (20, "WARN", "slow query", "slow query: {n} ms in select_orders"),
    (8, "WARN", "slow query", "Slow Query log is {n} bytes"),
    (12, "WARN", "timeout", "upstream timed out after {n} ms, trying again"),
    (14, "ERROR", "timeout", "the bank did not answer: Timeout after {n} ms"),
    (4, "ERROR", "timeout", "slow query cancelled: timed out after {n} ms"),
    (12, "ERROR", "refused", "connection refused by 10.0.0.7:{n}"),
    (6, "ERROR", "disk full", "cannot write part {n}: No space left on device"),
    (3, "ERROR", "disk full", "disk full: {n} bytes not written"),
    (10, "ERROR", "other", "order {n}: card declined"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """What is written.

    Attributes:
        folder: Where the log files are.
        files: How many; each is the log of a service, ``shop.log``.
        lines: How many lines in all; None: until the time is over.
        seconds: For how long; None: until the lines are written, or it is told to stop.
        rate: Lines per second over all files; 0: as fast as can be.
        rotate: After how many lines a file is rotated; 0: never.
        rotate_by: ``rename``, ``copy`` (and truncate), or both in turn.
        keep: How many rotated files of a log are kept.
        seed: Decides what is written.
        url: Where the posted lines go; None: all are written to files.
        share: Which part of the lines is posted.
        window_s: The totals are per this many seconds of the lines' times.
        start: The first line's time; None: the lines bear the time at which they are written.
        step_ms: The time from one line to the next, if the first one's is given.
    """

    folder: Path
    files: int = 3
    lines: int | None = None
    seconds: float | None = None
    rate: float = 400.0
    rotate: int = 500
    rotate_by: RotateBy = "both"
    keep: int = 50
    seed: int = 1
    url: str | None = None
    share: float = 0.3
    window_s: int = 10
    start: datetime | None = None
    step_ms: float = 10.0


@dataclass(frozen=True, slots=True)
class Line:
    """A log line before it is written.

    Attributes:
        time_us: Its time, in microseconds since 1970.
        service: Whose it is.
        level: Its level.
        rule: What it tells of.
        message: Its text.
    """

    time_us: int
    service: str
    level: str
    rule: str
    message: str

    @property
    def time(self) -> str:
        """The time in ISO 8601."""
        return (_EPOCH + timedelta(microseconds=self.time_us)).isoformat(timespec="microseconds")

    @property
    def text(self) -> str:
        """The line as it stands in a file."""
        return f"{self.time} {self.level:<5} {self.message}\n"


class GrowingLog:
    """A log file that grows and is rotated: ``shop.log`` becomes ``shop.log.1``, what was that ``shop.log.2``.

    Args:
        path: Its name.
        rotate_by: How it is rotated.
        keep: How many rotated files are kept.
    """

    def __init__(self, path: Path, rotate_by: RotateBy, keep: int) -> None:
        self._path = path
        self._by = rotate_by
        self._keep = keep
        self._waiting = b""
        self.lines = 0
        self.rotations = 0
        self._file = FileIO(path, "ab")

    def add(self, text: str) -> None:
        """Note a line that is to be written."""
        self._waiting += text.encode()
        self.lines += 1

    def flush(self, keep_bytes: int = 0) -> None:
        """Write what was noted, but for some bytes at the end: readers see half a line for a while."""
        while len(self._waiting) > keep_bytes:
            written = self._file.write(self._waiting[: len(self._waiting) - keep_bytes])
            self._waiting = self._waiting[written:]

    def rotate(self) -> None:
        """Begin the file anew."""
        self.flush()
        first = self._path.with_name(f"{self._path.name}.1")
        for number in range(self._keep, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.rename(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.with_name(f"{self._path.name}.{self._keep + 1}").unlink(missing_ok=True)
        if self._by == "copy" or (self._by == "both" and self.rotations % 2):
            hidden = first.with_name(f".{first.name}")
            hidden.write_bytes(self._path.read_bytes())
            hidden.rename(first)
            os.truncate(self._path, 0)
        else:
            self._path.rename(first)
            self._file.close()
            self._file = FileIO(self._path, "ab")
        self.lines = 0
        self.rotations += 1

    def close(self) -> None:
        """Write the rest and close the file."""
        self.flush()
        self._file.close()


class LogWriter:
    """Writes and posts lines until all are written or it is told to stop.

    Args:
        options: What.
        clock: Where time comes from.
    """

    def __init__(self, options: Options, clock: Clock | None = None) -> None:
        self._options = options
        self._clock = clock or SystemClock()
        self._random = random.Random(options.seed)
        self._stopping = threading.Event()
        self._counts: Counter[tuple[str, str, str, int]] = Counter()
        self._lines = self._odd = self._posted = 0

    def stop(self) -> None:
        """End soon, with what was written by then."""
        self._stopping.set()

    def run(self) -> dict[str, Any]:  # a JSON object
        """Write, and return the totals.

        Shape: ``lines, posted, repeated, odd, rotations``, and ``counts`` by service, level, rule and window. ``odd``
        lines, which are no log lines, are not among ``lines``.

        Raises:
            OSError: A file cannot be written, or posted lines were not taken.
        """
        options, clock = self._options, self._clock
        options.folder.mkdir(parents=True, exist_ok=True)
        logs = [
            GrowingLog(options.folder / f"{name}.log", options.rotate_by, options.keep)
            for name in SERVICES[: options.files]
        ]
        poster = Poster(options.url, clock) if options.url is not None else None
        began_s = clock.monotonic_s()
        while not self._stopping.is_set() and (options.lines is None or self._lines < options.lines):
            passed_s = clock.monotonic_s() - began_s
            if options.seconds is not None and passed_s >= options.seconds:
                break
            due = int(passed_s * options.rate) if options.rate else self._lines + _BURST
            due = due if options.lines is None else min(due, options.lines)
            for _ in range(due - self._lines):
                self._write(logs, poster)
            for log in logs:
                log.flush(keep_bytes=self._random.choice((0, 0, 7, 23)))
            if options.rate:
                clock.wait(self._stopping, _TICK_S)
        for log in logs:
            log.close()
        if poster is not None:
            poster.finish()
        repeated = poster.repeated if poster is not None else 0
        return self._totals(sum(log.rotations for log in logs), repeated)

    def _write(self, logs: Sequence[GrowingLog], poster: Poster | None) -> None:
        options, draw = self._options, self._random
        number = draw.randrange(len(logs))
        log, service = logs[number], SERVICES[number]
        if draw.random() < _ODD_SHARE:
            log.add(draw.choice(ODD).format(n=draw.randrange(900)) + "\n")
            self._odd += 1
        line = self._line(service)
        if poster is not None and draw.random() < options.share:
            ident = f"{options.seed}-{line.time_us}-{self._lines}"
            poster.add(
                {"time": line.time, "service": service, "level": line.level, "message": line.message, "id": ident}
            )
            self._posted += 1
        else:
            log.add(line.text)
        self._counts[service, line.level, line.rule, line.time_us // (options.window_s * 1_000_000)] += 1
        self._lines += 1
        if options.rotate and log.lines >= options.rotate:
            log.rotate()

    def _line(self, service: str) -> Line:
        options, draw = self._options, self._random
        _, level, rule, text = draw.choices(_MESSAGES, [weight for weight, *_ in _MESSAGES])[0]
        if options.start is None:
            time_us = self._clock.now_us()
        else:
            time_us = int(options.start.timestamp() * 1e6) + int(self._lines * options.step_ms * 1_000)
        return Line(time_us, service, level, rule, text.format(n=draw.randrange(10, 9_000)))

    def _totals(self, rotations: int, repeated: int) -> dict[str, Any]:
        seconds = self._options.window_s
        counts = [
            {
                "service": service,
                "level": level,
                "rule": rule,
                "window": datetime.fromtimestamp(window * seconds, UTC).isoformat(),
                "lines": lines,
            }
            for (service, level, rule, window), lines in sorted(self._counts.items())
        ]
        return {
            "lines": self._lines,
            "posted": self._posted,
            "repeated": repeated,
            "odd": self._odd,
            "rotations": rotations,
            "counts": counts,
        }


def options_of(arguments: Sequence[str]) -> Options:
    """Return the options that a command line names.

    Example:
        >>> options_of(["logs", "--lines", "100", "--rotate-by", "copy"]).rotate_by
        'copy'
    """
    default = Options(Path())
    parser = argparse.ArgumentParser(prog="python -m thalweg.demo.log_writer", description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, help="where the log files are")
    add("--files", type=int, choices=range(1, len(SERVICES) + 1), default=default.files, help="how many log files")
    add("--lines", type=int, help="how many lines in all; otherwise until the time is over")
    add("--seconds", type=float, help="for how long; otherwise until SIGTERM or Ctrl-C")
    add("--rate", type=float, default=default.rate, help="lines per second over all files; 0: as fast as can be")
    add("--rotate", type=int, default=default.rotate, help="after how many lines a file is rotated; 0: never")
    add("--rotate-by", choices=("rename", "copy", "both"), default=default.rotate_by, help="copy: and truncate")
    add("--keep", type=int, default=default.keep, help="how many rotated files of a log are kept")
    add("--seed", type=int, default=default.seed, help="decides what is written")
    add("--url", help="where lines are posted: http://HOST:PORT/topics/TOPIC/events")
    add("--share", type=float, default=default.share, help="which part of the lines is posted")
    add("--window", type=int, default=default.window_s, dest="window_s", help="seconds per window of the totals")
    add("--start", type=datetime.fromisoformat, help="the first line's time; otherwise lines bear the present one")
    add("--step-ms", type=float, default=default.step_ms, help="the time from line to line, with --start")
    found = Options(**vars(parser.parse_args(arguments)))
    if found.start is not None and found.start.tzinfo is None:
        return replace(found, start=found.start.replace(tzinfo=UTC))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Write as the command line says, and print the totals as one JSON object."""
    writer = LogWriter(options_of(sys.argv[1:] if arguments is None else arguments))

    def stop(number: int, frame: FrameType | None) -> None:
        writer.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    print(json.dumps(writer.run()))


if __name__ == "__main__":
    main()
