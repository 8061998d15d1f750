"""Each limit at one below, at, and one above; chunked or not; and what tries to get round it."""

from __future__ import annotations

import gzip
import socket
import tracemalloc
from collections.abc import Iterator

import httpx
import pytest
import zstandard

from tests.serve.conftest import Serve
from thalweg.log import Log
from thalweg.serve import Limits
from thalweg.serve.answers import RefusedError
from thalweg.serve.inflate import inflated

LINES = {"content-type": "application/x-ndjson"}


def padded(size: int) -> bytes:
    return b'{"id":"a"}' + b" " * (size - 10)


def in_chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 700):
        yield body[start : start + 700]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_as_it_is_sent(serve: Serve, log: Log, chunked: bool) -> None:
    client = serve(Limits(body_bytes=5_000))
    for size, status in ((4_999, 200), (5_000, 200), (5_001, 413)):
        body = padded(size)
        answer = client.post("/topics/orders/events", content=in_chunks(body) if chunked else body, headers=LINES)
        assert answer.status_code == status, size
    assert log.topic("orders").end() == 2


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_body_when_it_is_inflated(serve: Serve, log: Log, coding: str) -> None:
    client = serve(Limits(inflated_bytes=5_000))
    pack = {"gzip": gzip.compress, "zstd": zstandard.compress}[coding]
    for size, status in ((4_999, 200), (5_000, 200), (5_001, 413)):
        headers = {**LINES, "content-encoding": coding}
        assert client.post("/topics/orders/events", content=pack(padded(size)), headers=headers).status_code == status
    assert log.topic("orders").end() == 2


def test_rows(serve: Serve, log: Log) -> None:
    client = serve(Limits(rows=100))
    for count, status in ((99, 200), (100, 200), (101, 413)):
        rows = [b'{"id":"a","n":1}'] * count
        for media, body in (("x-ndjson", b"\n".join(rows)), ("json", b"[" + b",".join(rows) + b"]")):
            answer = client.post(
                "/topics/orders/events", content=body, headers={"content-type": f"application/{media}"}
            )
            assert answer.status_code == status, (count, media, answer.text)
    assert log.topic("orders").end() == 2 * (99 + 100)


def test_with_too_many_rejected_rows_none_is_taken(serve: Serve, log: Log) -> None:
    client = serve(Limits(rejected=10))
    for bad, status in ((10, 207), (11, 422)):
        body = b'{"id":"a"}\n' + b"{}\n" * bad
        assert client.post("/topics/orders/events", content=body, headers=LINES).status_code == status
    assert log.topic("orders").end() == 1


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_bomb_stops_at_the_cap(codec: str) -> None:
    if codec == "gzip":
        packer = gzip.compress(b"\0" * (64 << 20), 9)
        bomb = packer * 4  # one member behind another
    else:
        packing = zstandard.ZstdCompressor(level=3).compressobj()
        bomb = b"".join(packing.compress(b"\0" * (1 << 20)) for _ in range(1 << 10)) + packing.flush()
    limits = Limits(inflated_bytes=8 << 20, ratio=1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError) as refused:
            inflated(bomb, codec, limits)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert refused.value.status == 413


def test_the_ratio_is_kept_past_a_mebibyte() -> None:
    body = gzip.compress(b"\0" * (2 << 20))
    with pytest.raises(RefusedError):
        inflated(body, "gzip", Limits(ratio=200))
    assert len(inflated(body, "gzip", Limits(ratio=2_000))) == 2 << 20


def raw(client: httpx.Client, request: bytes, *, end: bool = False) -> bytes:
    """Send bytes and return what comes until the server closes."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=20) as connection:
        connection.sendall(request)
        if end:
            connection.shutdown(socket.SHUT_WR)
        found = b""
        while part := connection.recv(65_536):
            found += part
        return found


HEAD = b"POST /topics/orders/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"


def test_a_declared_length_over_the_limit_is_refused_unread(serve: Serve) -> None:
    answer = raw(serve(), HEAD + b"Content-Length: 99999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_shorter_than_declared_is_not_taken(serve: Serve, log: Log) -> None:
    client = serve(Limits(body_s=1.0))
    answer = raw(client, HEAD + b'Content-Length: 100\r\n\r\n{"id":"a"}\n')
    assert answer.startswith(b"HTTP/1.1 408")
    assert log.topic("orders").end() == 0


def test_headers_that_are_too_large_or_too_slow(serve: Serve) -> None:
    client = serve(Limits(header_bytes=4_000, header_s=1.0))
    assert raw(client, HEAD + b"X: " + b"a" * 5_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431")
    assert raw(client, HEAD + b"X: " + b"a" * 5_000).startswith(b"HTTP/1.1 431")
    assert raw(client, b"POST /topics").startswith(b"") and raw(client, b"") == b""  # closed after a second
    assert b" 400 " in raw(client, b"\x00\x01\x02 nonsense\r\n\r\n")


def test_one_connection_too_many(serve: Serve) -> None:
    client = serve(Limits(connections=2))
    address = (client.base_url.host, client.base_url.port or 0)
    with socket.create_connection(address) as first, socket.create_connection(address):
        first.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert first.recv(1_000).startswith(b"HTTP/1.1 200")
        with socket.create_connection(address, timeout=10) as third:
            assert third.recv(1_000).startswith(b"HTTP/1.1 503")


def test_bodies_in_flight_are_bounded(serve: Serve, log: Log) -> None:
    client = serve(Limits(in_flight_bytes=3_000))
    answer = client.post("/topics/orders/events", content=padded(4_000), headers=LINES)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.post("/topics/orders/events", content=padded(2_000), headers=LINES).status_code == 200
