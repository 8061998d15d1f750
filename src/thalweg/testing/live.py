"""A live run that a test drives: it says which rows come, how much time passes, and when the process dies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import pyarrow as pa

from thalweg.app import App
from thalweg.core.clock import SystemClock
from thalweg.core.duration import duration_text
from thalweg.core.errors import CheckError, PlanError, ThalwegError, near
from thalweg.core.instants import INSTANTS, Instant
from thalweg.engine.contract import Report, Run, RunOptions
from thalweg.engine.embedded.loop import Embedded
from thalweg.engine.embedded.outputs import output_name
from thalweg.plan.nodes import Plan, Read
from thalweg.state.manifests import read_manifest
from thalweg.testing.clock import VirtualClock
from thalweg.testing.faults import Crashed, Death, Fuse
from thalweg.testing.folders import state_folder
from thalweg.testing.given import Given
from thalweg.testing.kept import Kept
from thalweg.testing.replaced import staged

_TURN: Final = "60ms"  # a live run lets rows wait 50 ms for company
_TURNS: Final = 2
_PATIENCE_S: Final = 60.0
_ALL: Final = 2**40


class Live:
    """A live run of a pipeline, driven step by step; ``live`` makes one.

    Nothing happens between two calls: no time passes, and no row is read. A checkpoint comes when a second has
    passed since the last, as by default.

    Example:
        >>> import datetime as dt
        >>> import thalweg as tw
        >>> from thalweg.connect import memory, view
        >>> from thalweg.testing import live, rows
        >>> class Click:
        ...     page: str
        ...     ts: dt.datetime
        >>> app = tw.App("clicks")
        >>> clicks = app.read(memory([[]]), schema=Click, time="ts")
        >>> _ = clicks.group_by("page").agg(n=tw.count()).write(view("views"))
        >>> with live(app, memory=rows(Click, [("/a", "10:00:01"), ("/a", "10:00:02")])) as run:
        ...     run.give(1)
        ...     run.crash()
        ...     run.restart()
        ...     run.give()
        ...     run.view("views")
        [{'page': '/a', 'n': 2}]
    """

    def __init__(self, app: App, sources: dict[str, Given]) -> None:
        self._plan, self._sources = staged(app.plan, sources)
        self._clock = VirtualClock()
        self._shown = [dict.fromkeys(source.pieces, 0) for source in self._sources]
        self._life: _Life | None = None
        self._folder = state_folder()
        self._show()

    def __enter__(self) -> Live:
        self.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._life is not None:
            self._life.kill()
        self._folder.cleanup()

    def give(self, rows: int | None = None, source: str | None = None, partition: int | None = None) -> None:
        """Let rows come, and be read and computed; a tenth of a second passes.

        Args:
            rows: How many of each partition; all that are left by default.
            source: Of which source; of all by default.
            partition: Of which of its partitions; of all by default.

        Raises:
            PlanError: There is no such source or partition.
        """
        known = [one.name for one in self._sources]
        if source is not None and source not in known:
            raise PlanError(f'give: the program reads no source "{source}"; {near(source, known)}')
        some = False
        for scripted, shown in zip(self._sources, self._shown, strict=True):
            for name in shown:
                if source in (None, scripted.name) and str(partition) in (str(None), name):
                    shown[name] = min(scripted.rows(name), shown[name] + (_ALL if rows is None else rows))
                    some = True
        if not some:
            raise PlanError(f"give: {source or 'the sources'} have no partition {partition}")
        self._show()
        self._turn()

    def advance(self, duration: str) -> None:
        """Let time pass in which nothing comes, such as ``"30s"``."""
        self._clock.advance(duration)
        self._turn()

    def idle(self, source: str | None = None) -> None:
        """Let time pass until the partitions of a source (by default: of all) have been silent for their timeout.

        Raises:
            PlanError: There is no such source, or it has no timeout.
        """
        reads = {node.source.name: node for node in self._plan.nodes() if isinstance(node, Read)}
        if source is not None and source not in reads:
            raise PlanError(f'idle: the program reads no source "{source}"; {near(source, reads)}')
        timeouts = [node.idle_timeout_us for name, node in reads.items() if source in (None, name)]
        known = [us for us in timeouts if us is not None]
        if not known:
            raise PlanError("idle: no partition falls idle, for idle_timeout=None is given where it is read")
        self.advance(duration_text(max(known)))

    def checkpoint(self) -> None:
        """Let a second pass, and with it a checkpoint come, where something has changed since the last."""
        self.advance("1s")

    def crash(self, at: Instant | None = None) -> None:
        """End the run as SIGKILL would: what is not on disk is lost.

        Args:
            at: An instant of a checkpoint, to which the run goes on: it is about to ``write`` a state file, has
                ``written`` it, is about to ``rename`` the manifest, has ``renamed`` it; is about to ``seal`` the
                rows for an output, has ``sealed`` them; is about to ``deliver`` them, has ``delivered`` them. By
                default it ends at once, between two steps.

        Raises:
            CheckError: It does not come to that instant.
        """
        if at is not None and at not in INSTANTS:
            raise PlanError(f"crash({at!r}): allowed are {', '.join(INSTANTS)}")
        life = self._alive()
        if at is not None:
            life.fuse.arm(Death(at, None, 1))
            self._clock.advance("1s")
            life.turn(self._clock, _TURNS, dies=True)
            if at in ("deliver", "delivered") and life.fuse.sealed:
                _until(lambda: life.fuse.blown)  # an output's own thread comes to it
            if not life.fuse.blown:
                raise CheckError(f'the run came to no "{at}": nothing has changed since its last checkpoint')
        life.kill()
        self._life = None

    def restart(self) -> None:
        """Start the run again on what the last one has left on disk."""
        if self._life is not None:
            raise PlanError("restart: the run is alive; crash() ends it")
        data = Path(self._folder.name)
        self._life = _Life(self._plan, data, self._clock)
        self._turn()

    def end(self) -> Report:
        """Let all rows come that are left, declare the input complete, and return the report."""
        life, self._life = self._alive(), None
        life.stop()
        for source in self._sources:
            source.show(None)
        return Embedded().start(self._plan, RunOptions(data=Path(self._folder.name), until="end")).run()

    def view(self, name: str) -> list[dict[str, Any]]:
        """Return a view's rows as of the latest step, sorted by its key.

        Raises:
            PlanError: There is no such view.
        """
        rows: list[dict[str, Any]] = self._alive().run.view(name).to_pylist()
        return rows

    def written(self, name: str) -> list[dict[str, Any]]:
        """Return the rows that a sink was given, by its name, such as ``out`` for ``files("out/")``; sorted.

        It gets them with the checkpoint after them. Of a changing stream it is the table that they add up to. The
        sinks themselves are not written to.

        Raises:
            PlanError: There is no such sink, or there are several.
        """
        kept = [node.output for node in self._plan.writes if isinstance(node.output, Kept)]
        found = [sink for sink in kept if sink.called == name]
        if len(found) != 1:
            raise PlanError(f'{len(found)} sinks are called "{name}"; {near(name, [sink.called for sink in kept])}')
        # What is committed is on its way to it, on a thread of its own.
        body = read_manifest(Path(self._folder.name)) or {"outputs": {}}
        last, _ = body["outputs"].get(output_name(found[0]), (0, ()))
        _until(lambda: max(found[0].epochs, default=0) >= last)
        table: pa.Table = found[0].table()
        keys = [(field.name, "ascending") for field in table.schema if not pa.types.is_nested(field.type)]
        rows: list[dict[str, Any]] = table.sort_by(keys).to_pylist()
        return rows

    def _alive(self) -> _Life:
        if self._life is None:
            raise PlanError("the run has ended; restart() starts it again")
        return self._life

    def _show(self) -> None:
        for source, shown in zip(self._sources, self._shown, strict=True):
            source.show(shown)

    def _turn(self) -> None:
        self._alive().turn(self._clock, _TURNS)


class _Life:
    """A run in a thread of its own, which waits at each turn of its loop until it may go on."""

    def __init__(self, plan: Plan, data: Path, clock: VirtualClock) -> None:
        self.fuse = Fuse(data)
        self._waits, self._may = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._ended = False
        options = RunOptions(data=data, clock=clock, pick=self._pick, reached=self.fuse.reached, ignore_crash_loop=True)
        self.run: Run = Embedded().start(plan, options)
        self._thread = threading.Thread(target=self._main, name="live run", daemon=True)
        self._thread.start()
        self._wait()
        self._tell()

    def turn(self, clock: VirtualClock, turns: int, *, dies: bool = False) -> None:
        for _ in range(turns):
            clock.advance(_TURN)
            if not self._ended:
                self._may.release()
                self._wait()
        if not dies:
            self._tell()

    def kill(self) -> None:
        self.fuse.blow()
        self._may.release()
        self._thread.join(_PATIENCE_S)

    def stop(self) -> None:
        self.run.stop()
        self._may.release()
        self._thread.join(_PATIENCE_S)
        self._tell()

    def _wait(self) -> None:
        if not self._waits.acquire(timeout=_PATIENCE_S):
            raise CheckError(f"the run has not come back from a step within {_PATIENCE_S:.0f} s")

    def _tell(self) -> None:
        if self._error is not None:
            raise self._error

    def _pick(self, names: Sequence[str]) -> Sequence[tuple[str, int]]:
        self._waits.release()
        self._may.acquire()
        self.fuse.reached(None)
        return [(name, _ALL) for name in names]

    def _main(self) -> None:
        try:
            self.run.run()
        except (Crashed, ThalwegError) as error:
            # What comes of the death may be told first, by another thread.
            self._error = None if self.fuse.blown else error
        except BaseException as error:  # the test's own thread raises it
            self._error = error
        finally:
            self._ended = True
            self._waits.release()


def _until(condition: Callable[[], bool]) -> None:
    clock, never = SystemClock(), threading.Event()
    deadline_s = clock.monotonic_s() + _PATIENCE_S
    while not condition():
        if clock.monotonic_s() > deadline_s:
            raise CheckError(f"an output has not taken its rows within {_PATIENCE_S:.0f} s")
        clock.wait(never, 0.001)


def live(app: App, **sources: Given) -> Live:
    """Return a live run for a test to drive, in a ``with`` block; its state is kept until the block ends.

    Args:
        app: The pipeline; its sinks are not written to (``Live.written`` has what they would get).
        **sources: Rows in place of what a source of that name would read, shown by ``Live.give``; others have what
            they have now.

    Raises:
        PlanError: A source of that name is not in the program.
    """
    return Live(app, sources)
