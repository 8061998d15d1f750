"""The server as a process: killed, stopped, crowded; and its description held to its answers."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from tests.serve.conftest import PLAIN, Serve, make_topics
from thalweg.log import Log
from thalweg.serve import Limits
from thalweg.serve.openapi import description
from thalweg.serve.tokens import create_token

SOURCES = str(Path(__file__).resolve().parents[2] / "src")
LINES = {"content-type": "application/x-ndjson"}


@contextmanager
def running(log: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "thalweg", "serve", "--port", "0", "--log", str(log), *arguments]
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            yield process, found[0]
        finally:
            process.kill()


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path, torture: bool) -> None:
    make_topics(tmp_path).close()
    acknowledged: list[str] = []
    for round_ in range(50 if torture else 3):
        with running(tmp_path) as (process, address):

            def send(worker: int, address: str = address, round_: int = round_) -> None:
                with httpx.Client(base_url=address, verify=PLAIN) as client:
                    for number in range(10_000):
                        name = f"{round_}-{worker}-{number}"
                        try:
                            answer = client.post(
                                "/topics/orders/events", content=b'{"id":"%s"}' % name.encode(), headers=LINES
                            )
                        except httpx.TransportError:
                            return
                        assert answer.status_code == 200
                        acknowledged.append(name)

            senders = [threading.Thread(target=send, args=(worker,)) for worker in range(4)]
            for sender in senders:
                sender.start()
            time.sleep(1)
            process.kill()
            for sender in senders:
                sender.join()
    stored = Log(tmp_path).topic("orders").read(limit=1_000_000)["id"].to_pylist()
    assert len(acknowledged) > 20
    assert set(acknowledged) <= set(stored) and len(stored) == len(set(stored))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_was_begun(tmp_path: Path, number: signal.Signals) -> None:
    make_topics(tmp_path).close()
    with running(tmp_path) as (process, address):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            head = "POST /topics/orders/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
            connection.sendall(head.encode() + b'Content-Length: 10\r\n\r\n{"id"')
            time.sleep(0.5)
            process.send_signal(number)
            time.sleep(0.5)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, int(port)))
            connection.sendall(b':"a"}')
            assert connection.recv(10_000).startswith(b"HTTP/1.1 200")
        assert process.wait(20) == 0
    assert Log(tmp_path).topic("orders").end() == 1


def median_s(address: str, requests: int = 300) -> float:
    taken = []
    with httpx.Client(base_url=address, verify=PLAIN) as client:
        for number in range(requests):
            began = time.perf_counter()
            body = b'{"id":"%d"}' % number
            assert client.post("/topics/orders/events", content=body, headers=LINES).status_code == 200
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


SLOW_CLIENTS = 2_000


@contextmanager
def slow_clients(address: str) -> Iterator[None]:
    """Keep many connections open on which a body comes in byte by byte."""
    host, port = address.removeprefix("http://").split(":")
    head = b"POST /topics/orders/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    stop = threading.Event()
    with ExitStack() as opened:
        slow = [opened.enter_context(socket.create_connection((host, int(port)))) for _ in range(SLOW_CLIENTS)]
        for connection in slow:
            connection.sendall(head + b"Content-Length: 1000\r\n\r\n")

        def drip() -> None:
            while not stop.is_set():
                for connection in slow:
                    connection.send(b" ")
                    if stop.wait(0.001):
                        return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            yield
        finally:
            stop.set()
            dripping.join()


def test_slow_clients_do_not_slow_others(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    make_topics(tmp_path).close()
    seen = []
    with running(tmp_path, "--body-seconds", "60", "--header-seconds", "60") as (_, address):
        for _ in range(3):  # what else the machine does may slow the one measurement and not the other
            alone = median_s(address)
            with slow_clients(address):
                beside = median_s(address)
            seen.append(f"{alone * 1000:.1f} ms alone, {beside * 1000:.1f} ms beside {SLOW_CLIENTS} slow ones")
            if beside <= 2 * alone:
                return
    pytest.fail("; ".join(seen))


def test_the_description_is_what_is_answered(serve: Serve, torture: bool) -> None:
    # Its modules are loaded before there is another thread: Python 3.11 cannot parse in two at once.
    schemathesis.openapi.from_dict(description(Limits()))
    client = serve()
    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    checked = set()
    for operation in schema.get_all_operations():

        @settings(max_examples=1_000 if torture else 25, deadline=None, suppress_health_check=list(HealthCheck))
        def conforms(case: schemathesis.Case) -> None:
            response = case.call()
            assert response.status_code < 500, response.text
            case.validate_response(response, checks=[_documented])

        strategy = operation.ok().as_strategy()
        given(case=strategy)(conforms)()
        checked.add(operation.ok().label)
    assert len(checked) == 6, checked  # all but that of the description itself


def _documented(context: object, response: schemathesis.Response, case: schemathesis.Case) -> None:
    documented = case.operation.definition.raw["responses"]
    assert str(response.status_code) in documented or response.status_code == 405, response.status_code
    case.operation.validate_response(response)


def test_tokens_hosts_and_origins(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    write = create_token(file, "shop", ["ingest"], ["ord*"])
    look = create_token(file, "board", ["read"])
    assert write not in file.read_text()
    client = serve(tokens=file)

    def status(token: str | None, method: str, path: str, **headers: str) -> int:
        held = {"authorization": f"Bearer {token}"} if token else {}
        return client.request(method, path, content=b'{"id":"a"}', headers={**LINES, **held, **headers}).status_code

    post = "/topics/orders/events"
    assert status(None, "POST", post) == 401 and status("thalweg_x", "POST", post) == 401
    assert status(write, "POST", post) == 200 and status(look, "POST", post) == 403
    assert status(write, "POST", "/topics/once/events") == 403
    assert status(write, "GET", post) == 403 and status(look, "GET", post) == 200
    assert status(None, "GET", "/healthz") == 200
    assert status(look, "GET", post, host="evil.example") == 403
    assert status(look, "GET", post, origin="http://evil.example") == 403
    assert status(look, "GET", post, origin=str(client.base_url).rstrip("/")) == 200
