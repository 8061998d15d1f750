"""Events over HTTP into the embedded log: what one core's worth of server takes, durable when it answers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from benchmarks.outcome import ROOT, Benchmark, WrongAnswerError
from thalweg.core.ports import Json
from thalweg.log import Log

CONNECTIONS = 4
SCHEMA = pa.schema(
    [
        pa.field("user", pa.string(), False),
        pa.field("page", pa.string(), False),
        pa.field("price", pa.float64()),
        pa.field("ts", pa.timestamp("us", tz="UTC"), False),
    ]
)


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that are sent over and over.

    Attributes:
        name: What they are.
        media: Their media type.
        body: The body.
        events: Events in one.
        requests: How many are sent.
        target: Events per second of one core that are aimed at.
    """

    name: str
    media: str
    body: bytes
    events: int
    requests: int
    target: float


@dataclass(frozen=True, slots=True)
class Taken:
    """How many events a server took.

    Attributes:
        name: What was sent.
        events: How many.
        seconds: From the first byte to the last answer.
        core_s: What the server used of the processors, in seconds of one core.
        target: Events per second of one core that are aimed at.
    """

    name: str
    events: int
    seconds: float
    core_s: float
    target: float

    def lines(self) -> Sequence[str]:
        per_core = self.events / self.core_s
        mark = "met" if per_core >= self.target else "MISSED"
        return [
            f"{self.name}, {CONNECTIONS} connections",
            f"  {self.events / self.seconds:12,.0f} events/s with {self.core_s / self.seconds:.2f} cores",
            f"  {per_core:12,.0f} events/s of one core, target ≥ {self.target:,.0f}: {mark}",
        ]

    def record(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "events": self.events,
            "seconds": self.seconds,
            "core_seconds": self.core_s,
            "target": self.target,
            "met": self.events / self.core_s >= self.target,
        }


def rows(count: int) -> list[dict[str, Json]]:
    """Return events of about 100 bytes."""
    return [
        {"user": f"user{i % 997}", "page": f"/product/{i}", "price": i * 0.25, "ts": f"2026-03-01T10:00:{i % 60:02}Z"}
        for i in range(count)
    ]


def loads(scale: int) -> Iterator[Load]:
    """Return what is sent; the scale multiplies the number of requests."""
    given = rows(500)
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in given)
    yield Load("NDJSON of 500", "application/x-ndjson", lines, 500, 100 * scale, 200_000)
    events = [
        {"specversion": "1.0", "id": f"e{i}", "source": "/shop", "type": "click", "time": row["ts"], "data": row}
        for i, row in enumerate(given)
    ]
    batch = json.dumps(events, separators=(",", ":")).encode()
    yield Load("CloudEvents batches of 500", "application/cloudevents-batch+json", batch, 500, 100 * scale, 200_000)
    many = 50_000
    table = pa.table(
        {
            "user": [f"user{i % 997}" for i in range(many)],
            "page": [f"/product/{i}" for i in range(many)],
            "price": [i * 0.25 for i in range(many)],
            "ts": pa.array(range(many), pa.timestamp("us", tz="UTC")),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    arrow = sink.getvalue().to_pybytes()
    yield Load("Arrow streams of 50,000", "application/vnd.apache.arrow.stream", arrow, many, 8 * scale, 2_000_000)


@contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server in a process of its own; give it and its port."""
    command = [sys.executable, "-m", "thalweg", "serve", "--port", "0", "--log", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server, int(server.stdout.readline().rsplit(":", 1)[1])
        finally:
            server.terminate()
            server.wait(30)


def core_seconds(pid: int) -> float:
    """Return the processor time of a process and all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def send(port: int, request: bytes, times: int, answers: list[int]) -> None:
    """Send a request over and over on one connection; note the status of each answer."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(times):
            connection.sendall(request)
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65_536)
            top, _, rest = head.partition(b"\r\n\r\n")
            length = int(top.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            while len(rest) < length:
                rest += connection.recv(65_536)
            answers.append(int(top.split()[1]))


def measure(scale: int) -> Iterator[Taken]:
    """Measure each form against a topic of its own."""
    for load in loads(scale):
        with TemporaryDirectory() as name:
            log = Log(Path(name))
            topic = log.create("clicks", SCHEMA)
            head = f"POST /topics/clicks/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: {load.media}\r\n"
            request = head.encode() + b"Content-Length: %d\r\n\r\n" % len(load.body) + load.body
            with served(Path(name)) as (server, port):
                warm: list[int] = []
                send(port, request, 5, warm)
                before, began = core_seconds(server.pid), time.perf_counter()
                each = load.requests // CONNECTIONS
                answers: list[int] = []
                senders = [
                    threading.Thread(target=send, args=(port, request, each, answers)) for _ in range(CONNECTIONS)
                ]
                for sender in senders:
                    sender.start()
                for sender in senders:
                    sender.join()
                seconds = time.perf_counter() - began
                core_s = core_seconds(server.pid) - before
            expected = (len(answers) + len(warm)) * load.events
            if set(answers) != {200} or topic.end() != expected:
                raise WrongAnswerError(
                    f"{load.name}: {set(answers)} answered, {topic.end()} of {expected} events stored"
                )
            yield Taken(load.name, len(answers) * load.events, seconds, core_s, load.target)


BENCHMARK = Benchmark(
    "http_ingest",
    "events over HTTP into the embedded log, per core of server",
    full=lambda: measure(10),
    quick=lambda: measure(2),
)
