"""The app: what is read, what is written, and how it is run."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.types as t

from thalweg.columnar.rules import RuleSet
from thalweg.core import places
from thalweg.core.duration import duration_us
from thalweg.core.errors import PlanError, UnsupportedError, short, user_place
from thalweg.core.ports import Readable, Sink, Source, Writable
from thalweg.core.schema import schema_of
from thalweg.core.signals import stopped_by_signals
from thalweg.core.sizes import half_of_memory, size_bytes
from thalweg.engine.contract import Engine, Report, Run, RunOptions, Until
from thalweg.engine.versioned import of_version
from thalweg.observe.status import following, total_rows
from thalweg.plan.delivery import Guarantee, checked_guarantee
from thalweg.plan.expr import as_expr, infer, is_aggregate, show
from thalweg.plan.nodes import Plan, Read, ViewOutput, Write
from thalweg.stream import Stream

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_KEPT: Final = "kept"
TimeUnit = Literal["s", "ms", "us", "ns"]
Duration = str | timedelta


class App:
    """A pipeline: streams that are read, computed and written.

    Args:
        name: Names the pipeline and, on disk, its state: letters, digits and ``_ . -``.

    Raises:
        PlanError: The name cannot be used.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.connect import memory, view
        >>> app = tw.App("visits")
        >>> visits = app.read(memory([{"page": "/a"}, {"page": "/b"}, {"page": "/a"}]))
        >>> _ = visits.group_by("page").agg(n=tw.count()).write(view("per_page"))
        >>> app.batch().view("per_page").to_pylist()
        [{'page': '/a', 'n': 2}, {'page': '/b', 'n': 1}]
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PlanError(
                f"App({name!r}): a name is made of letters, digits and _ . - and starts with a letter or digit"
            )
        self.name = name
        self._writes: list[Write] = []
        self._reads: list[Read] = []
        self._current: Run | None = None
        self._running = self._stopped = False
        self._starting = threading.RLock()  # a signal handler may call stop() within any line

    def read(
        self,
        source: Source,
        schema: object = None,
        time: object = None,
        time_unit: TimeUnit | None = None,
        lateness: Duration = "0s",
        idle_timeout: Duration | None = "30s",
        max_jump: Duration | None = None,
        id: str | None = None,
    ) -> Stream:
        """Read a source.

        Args:
            source: Where the events come from (``thalweg.connect``).
            schema: A dataclass, TypedDict, pydantic model, msgspec Struct, annotated class or Arrow schema. Without
                it the source's own, or inferred. Rows that break it are rejected, the rest flow on.
            time: The event time: a column, or an expression over the decoded row.
            time_unit: The unit of an integer time: ``s``, ``ms``, ``us`` or ``ns``.
            lateness: How far a row may lie behind the greatest time before it in its partition and still count.
            idle_timeout: In live runs, after how much silence a partition no longer holds windows open; None: never.
            max_jump: Rejects rows whose time is further than this ahead of all before them in their partition.
            id: For sources that can't seek back: the column by which redeliveries are dropped.

        Raises:
            PlanError: The schema, the time or a duration cannot be used.
            SourceError: The source cannot be looked at to infer its schema.
        """
        if not isinstance(source, Source):
            raise PlanError(
                f"app.read({short(source)}): a source of thalweg.connect is wanted, such as files(…) or memory(…)"
            )
        if id is not None:
            raise UnsupportedError(f"app.read(id={id!r}): {source.describe()} can seek, so nothing is delivered twice")
        found = schema if schema is not None else source.schema()
        if found is None:
            raise PlanError(f"app.read({source.describe()}): its columns are not known; give schema=")
        columns = schema_of(found)
        RuleSet(columns)  # a rule that does not fit its column is a mistake of the program
        if isinstance(source, Readable):
            source.check_read(columns)
        for name in columns.names:
            if name.startswith("__") or name == "_weight":
                raise PlanError(f'the column "{name}" has a name that Thalweg keeps for itself; rename it')
        expr = None if time is None else as_expr(time, column=True)
        if expr is not None:
            kind = infer(expr, columns).type
            if is_aggregate(expr):
                raise PlanError(f"app.read(time={show(expr)}): each row has its time; an aggregate has one per group")
            if t.is_integer(kind):
                if time_unit not in ("s", "ms", "us", "ns"):
                    raise PlanError(f'app.read(time={show(expr)}): it is {kind}; say time_unit="s", "ms", "us" or "ns"')
            elif not (t.is_timestamp(kind) or t.is_date(kind)):
                hint = "; parse it with time=col(…).str.to_datetime()" if t.is_string(kind) else ""
                raise PlanError(f"app.read(time={show(expr)}): an event time is a timestamp, not {kind}{hint}")
            elif time_unit is not None:
                raise PlanError(f"app.read(time_unit={time_unit!r}): the time is {kind} and has its unit already")
        elif time_unit is not None or max_jump is not None or duration_us(lateness, "lateness"):
            given = {"time_unit": time_unit, "max_jump": max_jump, "lateness": lateness}
            name = next(name for name, value in given.items() if value is not None and value != "0s")
            raise PlanError(f"app.read({name}={short(given[name])}): it is about event time; say which with time=")
        node = Read(
            source=source,
            declared=schema is not None,
            time=expr,
            time_unit=time_unit,
            lateness_us=duration_us(lateness, "lateness"),
            idle_timeout_us=None if idle_timeout is None else duration_us(idle_timeout, "idle_timeout"),
            max_jump_us=None if max_jump is None else duration_us(max_jump, "max_jump"),
            schema=columns,
            changing=False,
            timed=expr is not None,
            place=user_place(),
        )
        self._reads.append(node)
        return Stream(node, self)

    @property
    def plan(self) -> Plan:
        """What the app computes.

        Raises:
            PlanError: Nothing is written.
        """
        if not self._writes:
            raise PlanError(f'the app "{self.name}" writes nothing; end a stream with .write(view("…"))')
        return Plan(self.name, tuple(self._writes))

    def add_write(self, write: Write) -> None:
        """Note the end of a stream; ``Stream.write`` calls it.

        Raises:
            PlanError: The output is used twice, or is the stream's own source.
        """
        output = write.output
        if isinstance(output, ViewOutput):
            if any(isinstance(w.output, ViewOutput) and w.output.name == output.name for w in self._writes):
                raise PlanError(f'two streams are written to the view "{output.name}"; a view\'s name is used once')
            self._writes.append(write)
            return
        if isinstance(output, Writable):
            output.check_write(write.schema)
        if output.target is not None:
            for node in Plan(self.name, (write,)).nodes():
                if isinstance(node, Read) and _within(output, node.source):
                    raise PlanError(
                        f"{output.describe()} writes into what {node.source.describe()} reads, and would read its own "
                        "output; write somewhere else"
                    )
            others = [w.output.target for w in self._writes if isinstance(w.output, Sink)]
            if any(other is not None and _real(other) == _real(output.target) for other in others):
                raise PlanError(f"two streams are written to {output.describe()}; give each its own place")
        self._writes.append(write)

    def sql(self, query: str, /, **streams: Stream) -> Stream:
        """Return the stream that a SQL query stands for: the plan is the one that its methods would make.

        Args:
            query: One SELECT, in DuckDB's dialect. A table is a stream given by name, or what this app reads from a
                source of that name.
            streams: Streams by the names that the query uses.

        Raises:
            PlanError: The query has a mistake; the message says in which line and column.
            UnsupportedError: It has something that is not supported.

        Example:
            >>> import thalweg as tw
            >>> from thalweg.connect import memory, view
            >>> app = tw.App("visits")
            >>> visits = app.read(memory([{"page": "/a"}, {"page": "/b"}, {"page": "/a"}]))
            >>> counts = app.sql("SELECT page, count(*) AS n FROM visits GROUP BY page", visits=visits)
            >>> _ = counts.write(view("per_page"))
            >>> app.batch().view("per_page").to_pylist()
            [{'page': '/a', 'n': 2}, {'page': '/b', 'n': 1}]
        """
        from thalweg.sql import stream_of  # the parser loads when a program has a query

        for name, stream in streams.items():
            if not isinstance(stream, Stream):
                raise PlanError(f"app.sql(…, {name}={short(stream)}): a stream is wanted")
        return stream_of(query, streams, self._read_of, tuple(node.source.name for node in self._reads))

    def _read_of(self, name: str) -> Stream | None:
        """Return what is read from the source of a name; None if there is none."""
        found = [node for node in self._reads if node.source.name.casefold() == name.casefold()]
        if len(found) > 1:
            raise PlanError(
                f'there are {len(found)} sources named "{name}"; give the stream that is meant a name: {name}=…'
            )
        return Stream(found[0], self) if found else None

    def run(
        self,
        data: str | Path | None = _KEPT,
        until: Until | None = None,
        max_step_rows: int | None = None,
        checkpoint: Duration = "1s",
        quiet: bool = False,
        memory: str | int | None = None,
        engine: Engine | None = None,
        serve: str | None = None,
        recover_from: int | None = None,
        delivery: Guarantee | None = None,
        replace_output: bool = False,
        stop_timeout: Duration = "30s",
        ignore_crash_loop: bool = False,
        start: Literal["checkpoint", "earliest"] | datetime = "checkpoint",
        version: int | Literal["dev"] | None = None,
        allow_state_loss: bool = False,
    ) -> Report:
        """Run live: until stopped, or until the end that is asked for.

        Args:
            data: The directory that keeps the state, ``.thalweg/apps/NAME`` by default; None keeps none. Late and
                rejected rows go to the topics ``NAME.late`` and ``NAME.errors`` of the log ``.thalweg/log``, with a
                directory of your own to the log ``log`` in it.
            until: ``caught-up`` stops at what is there now and keeps open windows for the next run; ``end``
                declares the input complete and closes everything.
            max_step_rows: The most rows that one step takes from each partition.
            checkpoint: The time between two checkpoints.
            quiet: Whether to show no status at the terminal.
            memory: What state may take of the memory, such as ``"4GiB"``, half of the machine's by default; what goes
                beyond it lives in files, in ``spill`` of the state directory. Of windows and joins it is not counted.
            engine: What runs it; this process by default.
            serve: ``HOST:PORT`` on loopback where the embedded log is served over HTTP while the run lives.
            recover_from: Go on from the checkpoint of this epoch, one of those that are kept, where the last is damaged
                (``thalweg checkpoint list``). Refused where an output has more than that; later checkpoints go.
            delivery: How often a row must get to each sink. By default exactly once where the sink records in its
                target what it has, and at least once where it cannot (``stdout``, ``call``). ``exactly_once`` refuses
                a program with a sink that cannot; ``at_most_once`` gives such a sink rows when they are committed and
                never again, so a crash may lose some; ``at_least_once`` says that repeats are fine.
            replace_output: Whether a state that is new replaces what another state has left in the sinks; without it
                such a sink refuses the run.
            stop_timeout: How long Ctrl-C, SIGTERM and ``stop`` give the run to save its state and end; one that takes
                longer is ended with an error, its state as at the last checkpoint.
            ignore_crash_loop: Starts the run though the ones before failed again and again at the same checkpoint.
            start: ``checkpoint`` goes on where the last run stopped. ``earliest`` reads the sources anew from their
                beginning, a time from then on (naive is UTC): of topics the rows that were appended since, of files
                those that were changed since. Either makes a new version beside the ones that are there, with a state
                of its own, ``NAME@2``, and outputs of its own: ``late@2/``, ``clicks.v2``. A function of ``call`` gets
                nothing then.
            version: Which version to go on with; by default the current one, the first until another is promoted.
            allow_state_loss: Whether a program that has changed may go on without the state that it has no use for
                any more, or that cannot be made again because its source is gone.

        Raises:
            PlanError: The program cannot be run, or an argument is wrong.
            SourceError, SinkError, StateError: Something outside failed, or the run failed too often at one place.
            StoppedError: It could not stop within ``stop_timeout``.
        """
        if until not in (None, "caught-up", "end"):
            raise PlanError(f'app.run(until={until!r}): allowed are None, "caught-up" and "end"')
        kept = data == _KEPT
        first = places.APPS / self.name if kept else None if data is None else Path(data)
        options = RunOptions(
            log=places.LOG if kept else None if first is None else first / "log",
            until=until,
            max_step_rows=_step_rows(max_step_rows),
            memory_bytes=half_of_memory() if memory is None else size_bytes(memory, "memory"),
            checkpoint_us=duration_us(checkpoint, "checkpoint"),
            recover_from=_epoch(recover_from, first),
            delivery=checked_guarantee(delivery, self.plan, saved=first is not None),
            replace_output=replace_output,
            stop_timeout_us=duration_us(stop_timeout, "stop_timeout"),
            ignore_crash_loop=ignore_crash_loop,
            allow_state_loss=allow_state_loss,
        )
        options = of_version(self.plan, options, first, start, None if version is None else str(version))
        with _served(serve):
            return self.start(options, quiet=quiet, engine=engine)

    def batch(self, max_step_rows: int | None = None, quiet: bool = True, engine: Engine | None = None) -> Report:
        """Run once over history to the end; keeps no state and replaces outputs.

        Raises:
            PlanError: The program cannot be run.
            SourceError, SinkError: Something outside failed.
        """
        options = RunOptions(until="end", max_step_rows=_step_rows(max_step_rows), fresh=True)
        return self.start(options, quiet=quiet, engine=engine)

    def start(self, options: RunOptions, *, quiet: bool = True, engine: Engine | None = None) -> Report:
        """Run with every option; ``run`` and ``batch`` are what programs use."""
        plan = self.plan
        run = (engine or _embedded()).start(plan, options)
        silent = quiet or not sys.stderr.isatty()
        total = None if silent or options.data is not None else total_rows(plan)
        with (
            self._being_run(run),
            stopped_by_signals(run.stop, options.stop_timeout_us),
            following(run, quiet=silent, live=options.until is None, total_rows=total),
        ):
            return run.run()

    @contextmanager
    def _being_run(self, run: Run) -> Iterator[None]:
        with self._starting:
            self._current, self._running = run, True
            if self._stopped:
                run.stop()
            self._stopped = False
        try:
            yield
        finally:
            with self._starting:
                self._running = False

    def stop(self) -> None:
        """Ask the run in another thread to checkpoint and stop; one that has not begun yet stops as it does."""
        with self._starting:
            if self._running and self._current is not None:
                self._current.stop()
            else:
                self._stopped = True

    def view(self, name: str) -> pa.Table:
        """Return a view's rows as of the latest step of the current (or last) run; from any thread.

        Raises:
            PlanError: The app was not run yet, or has no such view.
        """
        if self._current is None:
            raise PlanError(f'app.view("{name}"): the app has not been run yet')
        return self._current.view(name)


def _embedded() -> Engine:
    from thalweg.engine.embedded.loop import Embedded  # engines load when a plan runs

    return Embedded()


@contextmanager
def _served(address: str | None) -> Iterator[None]:
    """Serve HTTP for as long as the block lasts."""
    if address is None:
        yield
        return
    from thalweg.serve import ServeOptions, Server, parse_address  # the server loads when it is wanted

    host, port = parse_address(address)
    with Server(ServeOptions(host=host, port=port)):
        yield


def _epoch(epoch: int | None, directory: Path | None) -> int | None:
    if epoch is None:
        return None
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 1:
        raise PlanError(f"app.run(recover_from={epoch!r}): an epoch is a whole number from 1 on")
    if directory is None:
        raise PlanError(f"app.run(data=None, recover_from={epoch}): without a state directory no checkpoint is kept")
    return epoch


def _step_rows(rows: int | None) -> int | None:
    if rows is not None and (not isinstance(rows, int) or rows < 1):
        raise PlanError(f"max_step_rows={rows!r}: a whole number from 1, or None")
    return rows


def _real(path: str) -> Path:
    """Return the one name of a path, whatever links and dots it was given with."""
    return Path(os.path.realpath(path))


def _within(sink: Sink, source: Source) -> bool:
    read = getattr(source, "target", None)
    if sink.target is None or read is None:
        return False
    target, origin = _real(sink.target), _real(read)
    folder = origin if not any(c in origin.name for c in "*?[") else origin.parent
    return target == folder or folder in target.parents or (folder.is_file() and target == folder.parent)
