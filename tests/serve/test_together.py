"""Small bodies that come at the same time are appended together; each client is told of its own rows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pyarrow as pa
import pytest

from tests.serve.conftest import PLAIN, Serve
from thalweg.core.errors import WriterPoisoned
from thalweg.log import Log, Topic, disk
from thalweg.serve import together

CLIENTS = 12
LINES = {"Content-Type": "application/x-ndjson"}


def body(client: int, rows: int) -> bytes:
    return b"".join(json.dumps({"id": f"{client}-{row}", "n": row}).encode() + b"\n" for row in range(rows))


def post(base: str, content: bytes, topic: str = "orders", headers: dict[str, str] = LINES) -> httpx.Response:
    return httpx.post(f"{base}/topics/{topic}/events", content=content, headers=headers, verify=PLAIN, timeout=60)


def all_at_once(base: str, bodies: list[bytes]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda content: post(base, content), bodies))


@pytest.fixture(autouse=True)
def never_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no decoding count as slow, however busy the machine is."""
    monkeypatch.setattr(together, "_SLOW_S", 60.0)


@pytest.fixture
def slow_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    true = disk.sync

    def slow(fd: int) -> None:
        time.sleep(0.05)
        true(fd)

    monkeypatch.setattr(disk, "sync", slow)


def stored(log: Log, answer: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for part in answer["offsets"]:
        found += log.topic("orders").read(part["partition"], part["offset"], part["count"])["id"].to_pylist()
    return found


@pytest.mark.usefixtures("slow_syncs")
def test_each_client_is_told_of_its_own_rows(serve: Serve, log: Log) -> None:
    base = str(serve().base_url)
    for _ in range(3):
        answers = all_at_once(base, [body(client, 1 + client) for client in range(CLIENTS)])
        for client, answer in enumerate(answers):
            assert answer.status_code == 200
            assert answer.json()["appended"] == 1 + client
            assert stored(log, answer.json()) == [f"{client}-{row}" for row in range(1 + client)]
    assert log.topic("orders").end() == 3 * sum(range(1, CLIENTS + 1))


@pytest.mark.usefixtures("slow_syncs")
def test_rows_at_fault_are_refused_beside_good_ones_of_others(serve: Serve, log: Log) -> None:
    base = str(serve().base_url)
    bodies = [body(client, 3) + (b'{"id": "", "n": 1}\n{"id": 5}\n' if client % 3 == 0 else b"") for client in range(9)]
    for client, answer in enumerate(all_at_once(base, bodies)):
        assert answer.status_code == (207 if client % 3 == 0 else 200)
        assert [bad["row"] for bad in answer.json()["rejected"]] == ([3, 4] if client % 3 == 0 else [])
        assert stored(log, answer.json()) == [f"{client}-{row}" for row in range(3)]


def test_requests_that_come_together_share_an_append(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    decoded = threading.Semaphore(0)
    true, true_decode = Topic.append_each, together.Door.decode

    def counted(self: Topic, tables: list[pa.Table]) -> Any:
        groups.append(len(tables))
        if len(groups) == 1:  # all the others wait for this one
            for _ in range(CLIENTS):
                assert decoded.acquire(timeout=30)
        return true(self, tables)

    def decode(self: together.Door, sent: Any) -> Any:
        body = true_decode(self, sent)
        decoded.release()
        return body

    monkeypatch.setattr(Topic, "append_each", counted)
    monkeypatch.setattr(together.Door, "decode", decode)
    answers = all_at_once(str(serve().base_url), [body(client, 2) for client in range(CLIENTS)])
    assert {answer.status_code for answer in answers} == {200}
    assert sum(groups) == CLIENTS
    assert len(groups) <= 3


def test_a_failed_append_is_told_to_all_who_wait_and_the_next_is_taken(
    serve: Serve, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = str(serve().base_url)
    true, broken = Topic.append_each, threading.Event()
    broken.set()

    def failing(self: Topic, tables: list[pa.Table]) -> Any:
        if broken.is_set():
            time.sleep(0.05)
            raise WriterPoisoned("the sync failed")
        return true(self, tables)

    monkeypatch.setattr(Topic, "append_each", failing)
    answers = all_at_once(base, [body(client, 2) for client in range(6)])
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["error"] for answer in answers} == {"write_failed"}
    broken.clear()
    assert post(base, body(1, 2)).status_code == 200
    assert log.topic("orders").end() == 2


def test_a_fault_of_the_server_is_answered_and_not_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    base = str(serve().base_url)

    def failing(self: Topic, tables: list[pa.Table]) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Topic, "append_each", failing)
        assert [answer.status_code for answer in all_at_once(base, [body(n, 1) for n in range(4)])] == [500] * 4
    assert post(base, body(1, 2)).status_code == 200


@pytest.mark.parametrize(
    "content", [b"{}\n" * 20_000, b"[" + b"1," * 30_000 + b"1]", b"[" + b"{}," * 5_000 + b"{}]", b"x" * 200_000]
)
def test_a_body_that_could_hold_up_others_is_decoded_by_a_worker(
    serve: Serve, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: list[str] = []
    true = together.Door.decode

    def seen(self: together.Door, sent: Any) -> Any:
        where.append(threading.current_thread().name)
        return true(self, sent)

    monkeypatch.setattr(together.Door, "decode", seen)
    headers = LINES if content[:1] == b"{" else {"Content-Type": "application/json"}
    assert post(str(serve().base_url), content, headers=headers).status_code in (400, 413, 422)
    assert where[0].startswith("thalweg-ingest")


def test_after_a_slow_body_workers_decode_for_a_while(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[str] = []
    true: Callable[..., Any] = together.Door.decode

    def slow(self: together.Door, sent: Any) -> Any:
        where.append(threading.current_thread().name)
        if len(where) == 1:
            time.sleep(0.1)
        return true(self, sent)

    monkeypatch.setattr(together, "_SLOW_S", 0.05)
    monkeypatch.setattr(together, "_AWAY_S", 30.0)
    monkeypatch.setattr(together.Door, "decode", slow)
    base = str(serve().base_url)
    assert [post(base, body(n, 1)).status_code for n in range(2)] == [200, 200]
    assert [name.startswith("thalweg-ingest") for name in where] == [False, True]
