"""The log analysis, live: a process writes logs, a thread brings them in, what is counted is shown and compared."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from thalweg.app import App
from thalweg.core.errors import SourceError
from thalweg.demo import log_writer
from thalweg.demo.logs_alerts import Alerts
from thalweg.demo.logs_board import alerts_text, board, by_level_and_rule, counted, line_of
from thalweg.demo.logs_query import find_lines
from thalweg.engine.contract import Report, Run
from thalweg.observe.status import Meter, Status, watching
from thalweg.observe.watched import Watched

CHECKPOINT: Final = "250ms"
_LIVE_S: Final = 0.25
_PLAIN_S: Final = 1.0
_SPARE_S: Final = 60.0
_ENDS_S: Final = 120.0

Totals = dict[str, Any]  # what the writer tells of what it wrote


@dataclass(frozen=True, slots=True)
class Programs:
    """What is run.

    Attributes:
        prepare: Makes the queue.
        collect: Brings lines in.
        analyse: Counts, alerts and stores.
        alerts: Where the analysis puts alerts.
    """

    prepare: Callable[[], None]
    collect: App
    analyse: App
    alerts: Alerts


def watch(programs: Programs, seconds: float) -> None:
    """Run both programs for some seconds in a folder of their own, show what they count, and compare.

    Raises:
        ThalwegError: A program failed, or the process that writes did.
    """
    console = Console()
    before = Path.cwd()
    with TemporaryDirectory(prefix="thalweg-logs-") as folder:
        address = f"127.0.0.1:{_free_port()}"
        url = f"http://{address}/topics/logs/events"
        with _writing(Path(folder, "logs"), url, seconds + _SPARE_S) as writer:
            os.chdir(folder)
            try:
                programs.prepare()
                with _Beside(programs.collect, address) as beside:
                    engine = Watched(lambda run, plan, options: _shown(run, programs.alerts, console, seconds, beside))
                    programs.analyse.run(quiet=True, engine=engine, checkpoint=CHECKPOINT)
                    written = _ended(writer)
                # What was on its way when they were stopped.
                rest = programs.collect.run(until="caught-up", quiet=True)
                report = programs.analyse.run(until="caught-up", quiet=True)
                _tell(console, written, report, beside.rejected + rest.error_rows, programs.alerts)
            finally:
                os.chdir(before)


class _Beside:
    """Runs the collector in a thread, with the server in it, for as long as the context lasts."""

    def __init__(self, app: App, address: str) -> None:
        self._app = app
        self._address = address
        self._thread = threading.Thread(target=self._run, name="logs-collector", daemon=True)
        self.failure: BaseException | None = None
        self.rejected = 0

    def _run(self) -> None:
        try:
            report = self._app.run(quiet=True, checkpoint=CHECKPOINT, serve=self._address)
            self.rejected = report.error_rows
        except BaseException as error:  # it is raised again where the context ends
            self.failure = error

    def __enter__(self) -> _Beside:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        while self._thread.is_alive():  # one that is only about to begin has no run to stop yet
            self._app.stop()
            self._thread.join(0.05)
        if self.failure is not None:
            raise self.failure


@contextmanager
def _writing(folder: Path, url: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Run the process that writes, and end it if nobody else has."""
    folder.mkdir()
    command = [sys.executable, "-m", log_writer.__name__, str(folder), "--url", url, "--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as writer:
        try:
            yield writer
        finally:
            if writer.poll() is None:
                writer.kill()


def _ended(writer: subprocess.Popen[str]) -> Totals:
    """Ask the process that writes to end, and return what it wrote."""
    writer.terminate()
    out, _ = writer.communicate(timeout=_ENDS_S)
    if writer.returncode:
        raise SourceError(f"the process that writes logs failed with {writer.returncode}; it says above why")
    found: Totals = json.loads(out)
    return found


@contextmanager
def _shown(run: Run, alerts: Alerts, console: Console, seconds: float, beside: _Beside) -> Iterator[None]:
    meter = Meter(live=False)

    def stop_after(status: Status) -> None:
        if status.progress.seconds >= seconds or beside.failure is not None:
            run.stop()

    if not console.is_terminal:

        def line(status: Status) -> None:
            sys.stdout.write(line_of(status, run.view("totals").to_pylist(), alerts.raised) + "\n")
            sys.stdout.flush()
            stop_after(status)

        with watching(run, meter, line, _PLAIN_S):
            yield
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(status: Status) -> None:
            totals, counts = run.view("totals").to_pylist(), run.view("counts").to_pylist()
            live.update(board(status, totals, counts, alerts.raised), refresh=True)
            stop_after(status)

        with watching(run, meter, show, _LIVE_S):
            yield


def _tell(console: Console, written: Totals, report: Report, rejected: int, alerts: Alerts) -> None:
    found = by_level_and_rule(report.view("totals").to_pylist())
    known: Counter[tuple[str, str]] = Counter()
    for row in written["counts"]:
        known[row["level"], row["rule"]] += row["lines"]
    console.print("Lines counted, by level and rule", counted(found), sep="\n")
    same = found == dict(known) and rejected == written["odd"]
    print(
        f"{written['lines']:,} lines written, {written['posted']:,} of them posted, and {written['rotations']} times "
        f"rotated; {sum(found.values()):,} counted, by level and rule {'the same' if same else 'DIFFERENT'}"
    )
    print(f"{written['odd']} lines are no log lines; {rejected} were rejected, and can be looked at and sent again")
    print(f"{alerts_text(len(alerts.raised))}, each raised once")
    _tell_last(report.view("counts").to_pylist())


def _tell_last(counts: Sequence[dict[str, Any]]) -> None:
    """Ask the store for the errors of the latest window."""
    errors = [row for row in counts if row["level"] == "ERROR"]
    if not errors:
        return
    start = max(row["window_start"] for row in errors)
    lines = find_lines(level="ERROR", since=start)
    print(f"errors since {start:%H:%M:%S}, from the store: {lines.num_rows}, the last ones")
    for row in lines.slice(max(lines.num_rows - 3, 0)).to_pylist():
        print(f"  {row['time']:%H:%M:%S}  {row['service']:<7} {row['rule']:<10} {row['message']}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
