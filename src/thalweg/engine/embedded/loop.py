"""The loop: a step takes what the sources have, pushes it through the stages and hands results on.

One thread drives it; Polars' threads do the work, sources read ahead and sinks write on threads of
their own. Between two steps everything is consistent, so a checkpoint is a cut between steps.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from typing import Final

import pyarrow as pa

from thalweg.core.errors import PlanError, SinkError, StateError, StoppedError, near
from thalweg.core.outage import PATIENCE_S, Patience, Retrying
from thalweg.core.ports import Bounded, Nothing
from thalweg.core.version import topic_of
from thalweg.engine.contract import Progress, Report, RunOptions
from thalweg.engine.embedded import ledger
from thalweg.engine.embedded.beside import first_position
from thalweg.engine.embedded.checkpoint import Checkpoints, Moment
from thalweg.engine.embedded.crash_loop import CAREFUL_ROWS, CrashLoop, Past
from thalweg.engine.embedded.egress import Egress
from thalweg.engine.embedded.graph import Graph, Vertex
from thalweg.engine.embedded.holder import watermark_holder
from thalweg.engine.embedded.intake import Intake, Partition
from thalweg.engine.embedded.ledger import Entry
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.outputs import Outlet, ViewOutlet, outlet_of
from thalweg.engine.embedded.pace import STEP_ROWS, Pace
from thalweg.engine.embedded.prefetch import Prefetched
from thalweg.engine.embedded.rebuild import rebuild
from thalweg.engine.embedded.redrive import Redrive, Resent
from thalweg.engine.embedded.resume import Program, Resumed, checkpoints_of, resume
from thalweg.engine.embedded.rows import LATE_REASONS, Rows, combined_watermark
from thalweg.engine.embedded.saving import Saving
from thalweg.engine.embedded.stage import Output
from thalweg.engine.embedded.tray import Tray
from thalweg.plan.nodes import Plan
from thalweg.plan.prune import all_columns, needed_columns

_GATHER_S: Final = 0.05
"""How long rows of a live run may wait for company."""
_DISCOVER_S: Final = 1.0
_FAILED_S: Final = 5.0
"""How long what is committed may take to reach its sinks when the run has failed."""
_NEW = LATE_REASONS.index("new")
_IDLE = LATE_REASONS.index("idle")


class EmbeddedRun:
    """One run of a plan in this process.

    Args:
        plan: What to compute.
        options: How.
    """

    def __init__(self, plan: Plan, options: RunOptions) -> None:
        self._plan = plan
        self._options = options
        self._clock = options.clock
        self._needed = needed_columns(plan) if options.leave_out else all_columns(plan)
        self._graph = Graph(plan, outlet_of, options.clock, self._needed)
        self._patience = Patience(None if options.until is None else PATIENCE_S, options.clock)
        self._room = Retrying(f"the disk of {options.data}", self._patience)
        self._memory = Memory(options.memory_bytes, None if options.data is None else options.data / "spill")
        for stage in self._graph.stages:
            stage.use_memory(self._memory)
        numbers = plan.numbers()
        self._arrived = threading.Event()
        self._stopping = threading.Event()
        self._tray = Tray(saved=options.data is not None)
        self._tapped = False
        self._epoch = 0
        self._changed = False
        self._rows_in = 0
        self._held = 0
        self._paused = False
        self._started_s = self._clock.monotonic_s()
        self._checkpoints: Checkpoints | None = None
        self._saving = Saving(self._arrived, options.clock, aside=options.checkpoint_us > 0 and options.pick is None)
        self._crash_loop = CrashLoop(options.clock)
        self._pace = Pace(options.memory_bytes)
        self._redrive: Redrive | None = None
        self._redriven: dict[int, list[Rows]] = {}
        self._intakes: list[Intake] = []
        self._vertex_of: dict[int, Vertex] = {}
        entries: dict[int, Entry] = {}
        for vertex in self._graph.reads:
            intake = self._graph.intake(vertex, numbers[vertex.node], options.replay)
            self._intakes.append(intake)
            self._vertex_of[id(intake.read)] = vertex
            entries[id(intake.read)] = intake.entry
        self._graph.connect(entries)
        self._entries = [entries[id(v.node)] if v.stage is None else v.stage.entry for v in self._graph.vertices]
        self._outlets = [stage for stage in self._graph.stages if isinstance(stage, Outlet)]
        self._egress = Egress(plan.name, options, self._outlets, self._tray, self._patience)
        self._views = {s.view.name: s for s in self._outlets if isinstance(s, ViewOutlet)}
        remembering = {id(v): v for r in self._graph.reads for v in self._graph.remembering_below(r)}
        self._remembering = [(v, [i for i in self._intakes if v.is_fed_by(i.read)]) for v in remembering.values()]

    # ------------------------------------------------------------------ from any thread

    def stop(self) -> None:
        """Ask the run to checkpoint and stop.

        A signal handler may call this within any line of the loop, so it takes no lock that the loop takes.
        """
        self._patience.end_within(self._options.stop_timeout_us / 1e6)
        self._stopping.set()

    def view(self, name: str) -> pa.Table:
        """Return a view's rows as of the latest step."""
        if name not in self._views:
            raise PlanError(f'there is no view "{name}"; {near(name, self._views)}')
        return self._views[name].table()

    def progress(self) -> Progress:
        """Return how the run is going."""
        watermark_us, holder = watermark_holder(self._intakes)
        return Progress(
            seconds=self._clock.monotonic_s() - self._started_s,
            rows_in=self._rows_in,
            rows_out=sum(outlet.entry.rows_in for outlet in self._outlets),
            watermark_us=watermark_us,
            holder=holder,
            open_windows=sum(stage.open_windows() for stage in self._graph.stages),
            held=self._held,
            late=self._tray.late_count,
            rejected=self._tray.error_count,
            epoch=self._epoch,
            state_bytes=self._memory.used_bytes,
            state_limit_bytes=self._memory.limit_bytes,
            waiting_bytes=self._egress.waiting_bytes(),
            paused=self._paused,
            outages=tuple(each for each in (self._room.outage, *self._egress.outages()) if each is not None),
        )

    # ------------------------------------------------------------------ the run

    def run(self) -> Report:
        """Run until the end that was asked for, or until stopped."""
        options = self._options
        sealed = False
        try:
            sealed = self._open()
            if not sealed:
                self._loop()
                self._committed(wait=True)
                if options.fresh and self._stopping.is_set():
                    raise StoppedError("the batch was stopped before its end; its outputs are as they were before")
                if options.fresh or self._changed:
                    self._checkpoint(last=True)
                else:
                    self.balance()
            report = self._report(sealed)
        except BaseException as error:
            # Who stops the run at once waits for nothing.
            self._patience.end_within(0 if isinstance(error, (KeyboardInterrupt, StoppedError)) else _FAILED_S)
            with suppress(SinkError, StateError, StoppedError):  # the first error is the one to tell
                self._failed(error)
            raise
        self._crash_loop.ended()
        self._close()
        return report

    def _failed(self, error: BaseException) -> None:
        try:
            self._crash_loop.failed(error, self._intakes)
        finally:
            self._close()

    def _open(self) -> bool:
        options, sealed, resumed = self._options, False, Resumed()
        program = Program(self._plan, self._needed, self._graph, self._intakes)
        self._started_s = self._clock.monotonic_s()
        if options.data is not None:
            self._checkpoints = checkpoints_of(options.data, program, self._room, options.reached)
            resumed = resume(self._checkpoints, program, options)
            self._epoch, sealed = resumed.epoch, resumed.sealed
            if not sealed:
                past = Past(self._checkpoints.store, program.prints().values(), self._epoch, options.ignore_crash_loop)
                self._crash_loop.begin(past, self._intakes)
        if sealed and resumed.difference is None:
            # Its run may have died before its last epoch was delivered.
            if options.recover_from or any(owed for _, owed in self._checkpoints.outputs.values()):  # type: ignore[union-attr]  # a state is sealed
                self._begin()
            return True
        self._begin()
        if resumed.difference is not None:
            rebuild(program, resumed, options, self._memory, self._stopping)
            ledger.carry(self._entries)
            self._changed = True
        for intake in self._intakes:
            vertex = self._vertex_of[id(intake.read)]
            vertex.watermark, vertex.idle = intake.last_watermark, intake.watermark() is None
        if sealed:
            self._checkpoint(last=True)
            return True
        for intake in self._intakes:
            intake.source = intake.open()
            if options.until is not None and isinstance(intake.source, Bounded):
                intake.source.bound(complete=options.until == "end")
            self._discover(intake)
        if self._checkpoints is not None:
            topic = topic_of(f"{self._plan.name}.redrive", options.version)
            resent = Resent(options.log_path, topic, self._checkpoints.redriven)
            intakes = [(intake, self._vertex_of[id(intake.read)]) for intake in self._intakes]
            self._redrive = Redrive(resent, self._graph, intakes, self._tray.add_errors)
        return False

    def _begin(self) -> None:
        self._egress.begin(self._checkpoints)
        if self._checkpoints is not None and self._options.recover_from is not None:
            self._checkpoints.forget_later()  # no output has more than the one that is gone on from

    def _loop(self) -> None:
        live = self._options.until is None
        clock = self._clock
        last_discovery = last_flush = last_checkpoint = clock.monotonic_s()
        pause = self._options.checkpoint_us / 1e6
        self._take_redriven()
        while not self._stopping.is_set():
            self._arrived.clear()
            self._committed(wait=False)
            self._paused = self._egress.full()
            got = not self._paused and self._read()
            now = clock.monotonic_s()
            # In a bounded run rows are gathered without regard to the clock.
            old = live and now - last_flush >= _GATHER_S
            if self._due(old):
                self._step()
                last_flush = now
            if live and now - last_discovery >= _DISCOVER_S:
                for intake in self._intakes:
                    self._discover(intake)
                self._take_redriven()
                last_discovery = now
            if live:
                for intake in self._intakes:
                    intake.look_for_idle(now, paused=self._paused)
            # State that takes long to write is written less often.
            due = now - last_checkpoint >= max(pause, 2 * self._saving.took_s) and not self._saving.busy
            if due and self._changed and not self._options.fresh:
                waited_s = self._patience.waited_s  # a wait for room or for a sink is no reason to write less often
                self._checkpoint(last=False)
                last_checkpoint = clock.monotonic_s()
                waited_s = self._patience.waited_s - waited_s
                pause = max(self._options.checkpoint_us / 1e6, 10 * (last_checkpoint - now - waited_s))
            if not got:
                begun = not live or any(intake.partitions for intake in self._intakes)
                if begun and all(intake.ended(self._options.until) for intake in self._intakes):
                    break
                waiting = any(intake.gathered for intake in self._intakes)
                clock.wait(self._arrived, 0.005 if waiting and live else 0.02)
        if self._stopping.is_set():
            self._step()
        else:
            self._complete()

    def _complete(self) -> None:
        """Do what the end of the input means: with ``end`` everything is complete."""
        for intake in self._intakes:
            for partition in intake.partitions.values():
                self._done(partition, partition.done or self._options.until == "end")
        self._step()

    def _read(self) -> bool:
        """Take from every partition what is there, up to a limit; return whether there was anything."""
        got = False
        if self._options.pick is None:
            for intake in self._intakes:
                limit = self._most_rows or self._pace.rows(intake.row_bytes)
                for partition in intake.partitions.values():
                    if not partition.exhausted:
                        got = self._take(intake, partition, limit) or got
            return got
        names = {
            f"{intake.number}/{p.name}": (intake, p)
            for intake in self._intakes
            for p in intake.partitions.values()
            if not p.exhausted
        }
        for name, rows in self._options.pick(sorted(names)):
            got = self._take(*names[name], rows) or got
        # A test that picks some partitions has not seen that the others are empty.
        return got or any(not p.caught_up for _, p in names.values() if not p.exhausted)

    @property
    def _most_rows(self) -> int | None:
        """The most rows that a step takes from each partition, where that is bounded."""
        most = self._options.max_step_rows
        return min(most or CAREFUL_ROWS, CAREFUL_ROWS) if self._crash_loop.careful else most

    def _take(self, intake: Intake, partition: Partition, limit: int) -> bool:
        taken, reader = 0, partition.reader
        assert reader is not None, "a partition has a reader before it is read"
        while taken < limit:
            batch = reader.read(limit - taken, 0)
            if isinstance(batch, Nothing):
                partition.caught_up = not (isinstance(reader, Prefetched) and reader.reading)
                if batch is Nothing.EVER:
                    partition.exhausted = partition.caught_up = True
                    self._done(partition, partition.done or intake.read.source.final)
                break
            if partition.idle or partition.slept:
                partition.idle = partition.slept = False
                intake.hold_up(partition, self._graph.operator_watermark(self._vertex_of[id(intake.read)]), _IDLE)
            taken += intake.offer(partition, batch)
        if taken:
            partition.last_read_s = self._clock.monotonic_s()
            self._rows_in += taken
            self._changed = True
        self._put_aside(intake)
        return taken > 0

    def _put_aside(self, intake: Intake) -> None:
        """Hand on what a source, or the look at its rows, has rejected."""
        if intake.rejected:
            rejected, intake.rejected = intake.rejected, []
            self._tray.add_errors(intake.entry.step, rejected)
            for tap in self._vertex_of[id(intake.read)].errors_to:
                tap.reject(intake.entry.step, rejected)
                self._tapped = True

    def _take_redriven(self) -> None:
        """Take rows that were rejected and are sent again."""
        if self._redrive is None:
            return
        count, given = self._redrive.take()
        for vertex, rows in given.items():
            self._redriven.setdefault(vertex, []).extend(rows)
        for intake in self._intakes:
            self._put_aside(intake)
        self._rows_in += count
        self._changed = self._changed or count > 0

    def _done(self, partition: Partition, done: bool) -> None:
        self._changed = self._changed or done != partition.done
        partition.done = done

    def _due(self, old: bool) -> bool:
        """Tell whether a step is worth it now."""
        if self._tapped or self._redriven:
            return True
        for intake in self._intakes:
            if intake.gathered and (intake.eager or intake.full or old or self._crash_loop.careful):
                return True
        for vertex, feeding in self._remembering:
            assert vertex.stage is not None
            last = vertex.stage.watermark
            watermark = combined_watermark(last, [intake.watermark() for intake in feeding])
            if watermark > last and vertex.stage.due(watermark):
                return True
        return old and any(self._moved(intake) for intake in self._intakes)

    def _moved(self, intake: Intake) -> bool:
        """Tell whether a source's watermark rose, or it fell idle, since the last step."""
        vertex, mark = self._vertex_of[id(intake.read)], intake.watermark()
        return vertex.idle != (mark is None) or (mark is not None and mark > vertex.watermark)

    def _step(self) -> None:
        taken: dict[int, Rows] = {}
        watermarks: dict[int, int | None] = {}
        # Silence moves watermarks too: what closes because of it is to be committed as well.
        self._changed = self._changed or self._tapped or any(self._moved(intake) for intake in self._intakes)
        self._tapped = False
        for intake in self._intakes:
            # The watermark is that of all rows taken, so it is read first.
            watermarks[id(intake.read)] = intake.watermark()
            rows = intake.take()
            if rows is not None:
                taken[id(intake.read)] = rows
        redriven, self._redriven = self._redriven, {}
        most = max((rows.frame.height for rows in taken.values()), default=0)
        with self._crash_loop.step(self._intakes), self._pace.step(most, self._clock):
            self._graph.step(taken, watermarks, self._note, redriven)

    def _note(self, vertex: Vertex, out: Output) -> None:
        if out.late and not vertex.late_to:
            self._tray.add_late(vertex.name, out.late)
        elif out.late:
            self._tray.late_count += sum(part.rows.frame.height for part in out.late)
        if out.rejected:
            self._tray.add_errors(vertex.name, out.rejected)

    # ------------------------------------------------------------------ partitions

    def _discover(self, intake: Intake) -> None:
        source = intake.source
        assert source is not None, "a source is open before its partitions are asked for"
        # A partition that was read before is read on, also if it is not among those that are there now.
        for name in dict.fromkeys([*source.partitions(), *intake.partitions]):
            partition = intake.partitions.get(name)
            if partition is None:
                partition = intake.partitions[name] = Partition(name)
                partition.position = first_position(intake.read.source, name, self._options, self._epoch)
                # At the very beginning no watermark is known, and nothing is held up.
                vertex = self._vertex_of[id(intake.read)]
                intake.hold_up(partition, self._graph.operator_watermark(vertex), _NEW)
                self._changed = True
            if partition.reader is None:
                reader = source.reader(name, partition.position)
                if intake.read.source.prefetch and self._options.pick is None:
                    reader = Prefetched(reader, self._most_rows or STEP_ROWS, self._arrived)
                partition.reader = reader
                partition.last_read_s = self._clock.monotonic_s()

    # ------------------------------------------------------------------ checkpoints and the end

    def _checkpoint(self, *, last: bool) -> None:
        # What moved without a row counts too: from the positions alone nobody could tell whether it had an effect.
        if self._tapped or self._redriven or any(i.gathered or self._moved(i) for i in self._intakes):
            self._step()
        self.balance()
        epoch = self._epoch + 1
        kept = self._egress.seal(epoch)
        if self._checkpoints is None:
            self._epoch = epoch
        else:
            partitions = [p for i in self._intakes for p in i.partitions.values()]
            moment = Moment(epoch, self._clock.now_us(), last and bool(partitions) and all(p.done for p in partitions))
            checkpoints, stages = self._checkpoints, self._graph.stages
            checkpoints.redriven = self._redrive.offset if self._redrive is not None else 0
            cut = checkpoints.cut(moment, stages, self._intakes, kept, self._entries)
            self._crash_loop.cut(self._intakes)
            self._saving.begin(epoch, lambda: checkpoints.write(cut))
            self._committed(wait=last)
        self._changed = False

    def _committed(self, *, wait: bool) -> None:
        """Go on with what waits for a commit, if there was one."""
        epoch = self._saving.committed(wait=wait)
        if epoch is not None:
            self._epoch = epoch
            self._egress.deliver(epoch)
            self._crash_loop.advanced(epoch)
            for partition in (p for intake in self._intakes for p in intake.partitions.values()):
                if isinstance(partition.reader, Prefetched):
                    partition.reader.max_rows = self._most_rows or STEP_ROWS

    def balance(self) -> None:
        """Prove that no row is missing.

        Raises:
            LedgerError: One is.
        """
        held = 0
        for stage in self._graph.stages:
            stage.entry.held = stage.held()
            held += stage.entry.held
        self._held = held
        ledger.balance(self._entries)

    def _report(self, sealed: bool) -> Report:
        return Report(
            views={name: view.table() for name, view in self._views.items()},
            late=self._tray.late(),
            errors=self._tray.errors(),
            ledger=ledger.table(self._entries),
            rows_in=self._rows_in,
            seconds=self._clock.monotonic_s() - self._started_s,
            open_windows=sum(stage.open_windows() for stage in self._graph.stages),
            exceptions=tuple(e for intake in self._intakes for e in intake.exceptions),
            late_rows=self._tray.late_count,
            error_rows=self._tray.error_count,
            sealed=sealed,
            state_bytes=self._memory.used_bytes,
        )

    def _close(self) -> None:
        """Give everything back; the first thing that fails to close is told at the end."""
        with ExitStack() as closing:
            closing.callback(self._memory.close)
            if self._checkpoints is not None:
                closing.callback(self._checkpoints.close)
            closing.callback(self._saving.close)
            for delivery in self._egress.deliveries():
                closing.callback(delivery.close)
            for intake in self._intakes:
                if intake.source is not None:
                    closing.callback(intake.source.close)
                for partition in intake.partitions.values():
                    if partition.reader is not None:
                        closing.callback(partition.reader.close)


class Embedded:
    """The engine in this process: the default."""

    def start(self, plan: Plan, options: RunOptions) -> EmbeddedRun:
        """Return a run of the plan that has not read anything yet."""
        return EmbeddedRun(plan, options)
