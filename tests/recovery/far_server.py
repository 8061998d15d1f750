"""A target in another process: a server on loopback that keeps epochs, the sink that writes to it, and a bad line.

Run as a program it is the server: ``python far_server.py PORT FOLDER``. It keeps an epoch's rows as one file, whole
or not at all, and answers a repeated one without a change. With a third argument, ``hangs``, it halts by SIGSTOP when
it has kept the first epoch, before it answers: it still takes connections then, but neither reads nor answers.

    client ──▶ {"last": true}                       ──▶ server     {"epoch": 3}
    client ──▶ {"epoch": 4, "bytes": 1234} + Arrow  ──▶ server     {"epoch": 4}
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from thalweg.core.ports import WriteRequest

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Far:
    """A sink that writes to the server; a time-out of None waits for an answer without end."""

    port: int
    timeout_s: float | None = None

    @property
    def name(self) -> str:
        """A short name."""
        return "far"

    @property
    def changes(self) -> Literal["refused"]:
        """The server only adds."""
        return "refused"

    @property
    def target(self) -> str:
        """The address."""
        return f"loopback:{self.port}"

    def describe(self) -> str:
        """Return one line for the plan."""
        return "far()"

    def open(self, request: WriteRequest) -> FarWriter:
        """Connect."""
        return FarWriter(socket.create_connection(("127.0.0.1", self.port), 10), self.timeout_s)


class FarWriter:
    """One connection; what breaks it is raised as it is."""

    def __init__(self, connection: socket.socket, timeout_s: float | None) -> None:
        connection.settimeout(timeout_s)
        self._connection = connection
        self._answers = connection.makefile("rb")

    def last_epoch(self) -> int:
        """Ask the server."""
        return self._ask({"last": True}, b"")

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        """Send an epoch."""
        sink = pa.BufferOutputStream()
        table = pa.concat_tables(list(rows))
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        body = sink.getvalue().to_pybytes()
        if self._ask({"epoch": epoch, "bytes": len(body)}, body) < epoch:
            raise ConnectionError("another answer than was asked for")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _ask(self, question: dict[str, Any], body: bytes) -> int:
        self._connection.sendall(json.dumps(question).encode() + b"\n" + body)
        answer = self._answers.readline()
        if not answer.endswith(b"\n"):
            raise ConnectionResetError("the server hung up")
        return int(json.loads(answer)["epoch"])


class Keeper(socketserver.StreamRequestHandler):
    """Answers one connection."""

    lock = threading.Lock()
    folder = Path()
    hangs = False

    def handle(self) -> None:
        """Take questions until the line is cut."""
        while line := self.rfile.readline():
            question = json.loads(line)
            body = self.rfile.read(question.get("bytes", 0))
            if len(body) < question.get("bytes", 0):
                return
            with self.lock:
                last = max([0, *(int(path.stem) for path in self.folder.glob("*.arrow"))])
                if question.get("epoch", 0) > last:
                    last = question["epoch"]
                    (self.folder / "next").write_bytes(body)
                    os.replace(self.folder / "next", self.folder / f"{last:08d}.arrow")
                    if Keeper.hangs:
                        Keeper.hangs = False
                        os.kill(os.getpid(), signal.SIGSTOP)
            try:
                self.wfile.write(json.dumps({"epoch": last}).encode() + b"\n")
            except ConnectionError:
                return


class FarServer:
    """The server as a process that can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    def start(self, *, hangs: bool = False) -> None:
        """Start it; when this returns it answers."""
        command = [sys.executable, __file__, str(self.port), str(self.folder), *(["hangs"] if hangs else [])]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def rows(self) -> int:
        """Return how many rows it has."""
        return len(self.values("v"))

    def values(self, column: str) -> list[Any]:
        """Return what it has of a column, epoch by epoch."""
        found: list[Any] = []
        for path in sorted(self.folder.glob("*.arrow")):
            with pa.ipc.open_stream(path.read_bytes()) as reader:
                found += reader.read_all()[column].to_pylist()
        return found


class BadLine:
    """A proxy that passes bytes on, late and in pieces, and cuts connections where a seed says."""

    def __init__(self, port: int, rng: random.Random, cuts: int) -> None:
        self.port = free_port()
        self.cuts = cuts
        self._to = port
        self._rng = rng
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what they have closed is let go of after them

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        # Some connections die on the way there, others on the way back: then what was asked is done. The first question
        # (15 bytes) and its answer (13) always pass; a few epochs later at the latest the line is cut.
        there = back = None
        if self.cuts:
            self.cuts -= 1
            if self._rng.random() < 0.5:
                there = 100 + self._rng.randrange(3_000)
            else:
                back = 20 + self._rng.randrange(40)
        ways = [
            asyncio.ensure_future(self._pass(reader, far_writer, there)),
            asyncio.ensure_future(self._pass(far_reader, writer, back)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            writer.close()
            far_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        try:
            while data := await reader.read(1 + self._rng.randrange(65_536)):
                if left is not None:
                    if len(data) >= left:
                        writer.write(data[:left])
                        await writer.drain()
                        return
                    left -= len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve."""
    Keeper.folder, Keeper.hangs = Path(sys.argv[2]), "hangs" in sys.argv[3:]
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer.daemon_threads = True
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            server = socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Keeper)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    with server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
