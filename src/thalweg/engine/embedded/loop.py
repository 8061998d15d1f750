"""The loop: a step takes what the sources have, pushes it through the stages and hands results on.

One thread drives it; Polars' threads do the work, sources read ahead and sinks write on threads of
their own. Between two steps everything is consistent, so a checkpoint is a cut between steps.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Final

import pyarrow as pa

from thalweg.core.errors import PlanError, SinkError, StoppedError, near
from thalweg.core.ports import Bounded, Nothing, Sink
from thalweg.engine.contract import Progress, Report, RunOptions
from thalweg.engine.embedded import ledger
from thalweg.engine.embedded.checkpoint import Checkpoints, prints_of
from thalweg.engine.embedded.egress import Egress
from thalweg.engine.embedded.graph import Graph, Vertex
from thalweg.engine.embedded.intake import STEP_ROWS, Intake, Partition
from thalweg.engine.embedded.ledger import Entry
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.outputs import Outlet, SinkOutlet, ViewOutlet
from thalweg.engine.embedded.prefetch import Prefetched
from thalweg.engine.embedded.redrive import Redrive, Resent
from thalweg.engine.embedded.rows import ALWAYS, LATE_REASONS, NEVER, Rows, combined_watermark
from thalweg.engine.embedded.stage import Output
from thalweg.engine.embedded.tray import Tray
from thalweg.plan.fingerprint import fingerprints
from thalweg.plan.nodes import Plan, Read, ViewOutput, Write, key_of
from thalweg.plan.show import step_name

_GATHER_S: Final = 0.05
"""How long rows of a live run may wait for company."""
_DISCOVER_S: Final = 1.0
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
        self._graph = Graph(plan, self._outlet, options.clock)
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
        self._started_s = self._clock.monotonic_s()
        self._checkpoints: Checkpoints | None = None
        self._redrive: Redrive | None = None
        self._redriven: dict[int, list[Rows]] = {}
        self._intakes: list[Intake] = []
        self._vertex_of: dict[int, Vertex] = {}
        entries: dict[int, object] = {}
        for vertex in self._graph.reads:
            assert isinstance(vertex.node, Read)
            entry = Entry(step_name(vertex.node, numbers[vertex.node]))
            entries[id(vertex.node)] = entry
            self._intakes.append(self._intake(vertex, vertex.node, entry, numbers[vertex.node]))
        self._graph.connect(entries)
        self._entries = self._in_order(entries)
        self._outlets = [stage for stage in self._graph.stages if isinstance(stage, Outlet)]
        self._egress = Egress(plan.name, options, self._outlets, self._tray)
        self._views = {s.view.name: s for s in self._outlets if isinstance(s, ViewOutlet)}
        remembering = {id(v): v for r in self._graph.reads for v in self._graph.remembering_below(r)}
        self._remembering = [(v, [i for i in self._intakes if self._feeds(i, v)]) for v in remembering.values()]

    # ------------------------------------------------------------------ from any thread

    def stop(self) -> None:
        """Ask the run to checkpoint and stop.

        A signal handler may call this within any line of the loop, so it takes no lock that the loop takes.
        """
        self._stopping.set()

    def view(self, name: str) -> pa.Table:
        """Return a view's rows as of the latest step."""
        if name not in self._views:
            raise PlanError(f'there is no view "{name}"; {near(name, self._views)}')
        return self._views[name].table()

    def progress(self) -> Progress:
        """Return how the run is going."""
        held_by: tuple[int, str] | None = None
        for intake in self._intakes:
            if intake.read.timed:
                for partition in list(intake.partitions.values()):
                    mark = partition.watermark(intake.read.lateness_us)
                    if not partition.idle and (held_by is None or mark < held_by[0]):
                        held_by = (mark, f"{intake.read.source.name}[{partition.name}]")
        known = held_by is not None and NEVER < held_by[0] < ALWAYS
        return Progress(
            seconds=self._clock.monotonic_s() - self._started_s,
            rows_in=self._rows_in,
            rows_out=sum(outlet.entry.rows_in for outlet in self._outlets),
            watermark_us=held_by[0] if held_by is not None and known else None,
            holder=held_by[1] if held_by is not None and known else None,
            open_windows=sum(stage.open_windows() for stage in self._graph.stages),
            held=self._held,
            late=self._tray.late_count,
            rejected=self._tray.error_count,
            epoch=self._epoch,
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
                if options.fresh and self._stopping.is_set():
                    raise StoppedError("the batch was stopped before its end; its outputs are as they were before")
                if options.fresh or self._changed:
                    self._checkpoint(last=True)
                else:
                    self.balance()
            report = self._report(sealed)
        except BaseException:
            with suppress(SinkError):  # the first error is the one to tell
                self._close()
            raise
        self._close()
        return report

    def _open(self) -> bool:
        options, sealed = self._options, False
        self._started_s = self._clock.monotonic_s()
        if options.data is not None:
            prints = fingerprints(self._plan)
            named = [(v.stage.entry, prints[v.node]) for v in self._graph.vertices if v.stage is not None]
            named += [(intake.entry, prints[intake.read]) for intake in self._intakes]
            self._checkpoints = Checkpoints(options.data, prints_of(named), options.reached)
            self._epoch, sealed = self._checkpoints.load(self._graph.stages, self._intakes)
            for intake in self._intakes:
                vertex = self._vertex_of[id(intake.read)]
                vertex.watermark, vertex.idle = intake.last_watermark, intake.watermark() is None
        if sealed:
            # Its run may have died before its last epoch was delivered.
            if any(owed for _, owed in self._checkpoints.outputs.values()):  # type: ignore[union-attr]  # a state is sealed
                self._egress.begin(self._checkpoints, self._epoch)
            return True
        self._egress.begin(self._checkpoints, self._epoch)
        for intake in self._intakes:
            intake.source = intake.read.source.open(intake.read.schema)
            if options.until is not None and isinstance(intake.source, Bounded):
                intake.source.bound(complete=options.until == "end")
            self._discover(intake)
        if self._checkpoints is not None:
            resent = Resent(options.log_path, self._plan.name, self._checkpoints.redriven)
            intakes = [(intake, self._vertex_of[id(intake.read)]) for intake in self._intakes]
            self._redrive = Redrive(resent, self._graph, intakes, self._tray.add_errors)
        return False

    def _loop(self) -> None:
        live = self._options.until is None
        clock = self._clock
        last_discovery = last_flush = last_checkpoint = clock.monotonic_s()
        pause = self._options.checkpoint_us / 1e6
        self._take_redriven()
        while not self._stopping.is_set():
            self._arrived.clear()
            got = self._read()
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
                self._look_for_idle(now)
            if now - last_checkpoint >= pause and self._changed and not self._options.fresh:
                self._checkpoint(last=False)
                # State that takes long to write is written less often.
                last_checkpoint = clock.monotonic_s()
                pause = max(self._options.checkpoint_us / 1e6, 10 * (last_checkpoint - now))
            if not got:
                if self._finished(live):
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
                limit = self._options.max_step_rows or intake.step_rows
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
            if intake.gathered and (intake.eager or intake.full or old):
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
        self._graph.step(taken, watermarks, self._note, redriven)

    def _note(self, vertex: Vertex, out: Output) -> None:
        if out.late and not vertex.late_to:
            self._tray.add_late(vertex.name, out.late)
        elif out.late:
            self._tray.late_count += sum(part.rows.frame.height for part in out.late)
        if out.rejected:
            self._tray.add_errors(vertex.name, out.rejected)

    def _finished(self, live: bool) -> bool:
        partitions = [(i, p) for i in self._intakes for p in i.partitions.values()]
        if live:
            return bool(partitions) and all(p.exhausted for _, p in partitions)
        # A source that ends by itself is read to its end; of the others what is there now is all.
        whole = self._options.until == "end"
        return all(p.exhausted or (p.caught_up and not (whole and i.read.source.final)) for i, p in partitions)

    # ------------------------------------------------------------------ partitions

    def _discover(self, intake: Intake) -> None:
        source = intake.source
        assert source is not None, "a source is open before its partitions are asked for"
        # A partition that was read before is read on, also if it is not among those that are there now.
        for name in dict.fromkeys([*source.partitions(), *intake.partitions]):
            partition = intake.partitions.get(name)
            if partition is None:
                partition = intake.partitions[name] = Partition(name)
                # At the very beginning no watermark is known, and nothing is held up.
                vertex = self._vertex_of[id(intake.read)]
                intake.hold_up(partition, self._graph.operator_watermark(vertex), _NEW)
                self._changed = True
            if partition.reader is None:
                reader = source.reader(name, partition.position)
                if intake.read.source.prefetch and self._options.pick is None:
                    reader = Prefetched(reader, self._options.max_step_rows or STEP_ROWS, self._arrived)
                partition.reader = reader
                partition.last_read_s = self._clock.monotonic_s()

    def _look_for_idle(self, now: float) -> None:
        for intake in self._intakes:
            timeout = intake.read.idle_timeout_us
            if timeout is None or not intake.read.timed:
                continue
            for partition in intake.partitions.values():
                silent = now - partition.last_read_s >= timeout / 1e6
                if silent and partition.caught_up and not partition.done:
                    partition.idle = True

    # ------------------------------------------------------------------ checkpoints and the end

    def _checkpoint(self, *, last: bool) -> None:
        if self._tapped or self._redriven or any(intake.gathered for intake in self._intakes):
            self._step()
        self.balance()
        self._epoch += 1
        kept = self._egress.seal(self._epoch)
        if self._checkpoints is not None:
            partitions = [p for i in self._intakes for p in i.partitions.values()]
            sealed = last and bool(partitions) and all(p.done for p in partitions)
            stages, entries = self._graph.stages, self._entries
            self._checkpoints.redriven = self._redrive.offset if self._redrive is not None else 0
            self._checkpoints.save(self._epoch, stages, self._intakes, kept, entries, sealed=sealed)
            self._egress.deliver(self._epoch)
        self._changed = False

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
        )

    def _close(self) -> None:
        """Give everything back; the first thing that fails to close is told at the end."""
        with ExitStack() as closing:
            closing.callback(self._memory.close)
            if self._checkpoints is not None:
                closing.callback(self._checkpoints.close)
            for delivery in self._egress.deliveries():
                closing.callback(delivery.close)
            for intake in self._intakes:
                if intake.source is not None:
                    closing.callback(intake.source.close)
                for partition in intake.partitions.values():
                    if partition.reader is not None:
                        closing.callback(partition.reader.close)

    # ------------------------------------------------------------------ how it is put together

    def _outlet(self, node: Write, name: str) -> Outlet:
        if isinstance(node.output, ViewOutput):
            return ViewOutlet(node, name, node.output)
        assert isinstance(node.output, Sink)
        return SinkOutlet(node, name, node.output, key_of(node.input))

    def _intake(self, vertex: Vertex, read: Read, entry: Entry, number: int) -> Intake:
        self._vertex_of[id(read)] = vertex
        graph = self._graph
        return Intake(
            read=read,
            entry=entry,
            source=None,
            late_tests=graph.late_tests_below(vertex),
            eager=graph.eager_below(vertex),
            numbered=graph.rejects_below(vertex),
            timed=graph.time_used_below(vertex),
            plain=graph.plain_below(vertex),
            number=number,
            replayed=self._options.replay,
        )

    def _feeds(self, intake: Intake, fed: Vertex) -> bool:
        todo, seen = [fed], set()
        while todo:
            vertex = todo.pop()
            if vertex.node is intake.read:
                return True
            seen.add(id(vertex))
            todo += [v for v in vertex.inputs if id(v) not in seen]
        return False

    def _in_order(self, reads: dict[int, object]) -> list[Entry]:
        def entries() -> Iterator[Entry]:
            for vertex in self._graph.vertices:
                entry = vertex.stage.entry if vertex.stage is not None else reads[id(vertex.node)]
                assert isinstance(entry, Entry)
                yield entry

        return list(entries())


class Embedded:
    """The engine in this process: the default."""

    def start(self, plan: Plan, options: RunOptions) -> EmbeddedRun:
        """Return a run of the plan that has not read anything yet."""
        return EmbeddedRun(plan, options)
