"""A server on a free port of loopback, over a log of its own, with a topic of each kind."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import annotated_types
import httpx
import pytest

from thalweg.log import Log
from thalweg.serve import Limits, ServeOptions, Server


class Order:
    id: Annotated[str, annotated_types.MinLen(1)]
    n: Annotated[int, annotated_types.Ge(0)] | None
    price: float | None


PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain HTTP: by default each would load all of the machine's certificates first."""


def make_topics(path: Path) -> Log:
    log = Log(path)
    log.create("events")
    log.create("orders", Order)
    log.create("once", Order, id="id")
    return log


Serve = Callable[..., httpx.Client]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with make_topics(tmp_path / "log") as opened:
        yield opened


@pytest.fixture
def serve(log: Log) -> Iterator[Serve]:
    """Start a server with limits or options; give a client of it."""
    opened: list[tuple[httpx.Client, Server]] = []

    def start(limits: Limits | None = None, **options: object) -> httpx.Client:
        server = Server(ServeOptions(port=0, log=log.path, limits=limits or Limits(), **options))  # type: ignore[arg-type]  # a test's own
        server.start()
        client = httpx.Client(base_url=server.address, timeout=60, verify=PLAIN)
        opened.append((client, server))
        return client

    yield start
    for client, server in opened:
        client.close()
        server.stop()


@pytest.fixture
def client(serve: Serve) -> httpx.Client:
    return serve()
