"""What is outside of the server fails: the disk is full, the token file changes."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from tests.serve.conftest import Serve
from thalweg.log import Log, Topic, disk
from thalweg.serve import Limits, server
from thalweg.serve.answers import RefusedError
from thalweg.serve.doors import Doors, Form, Sent
from thalweg.serve.tokens import create_token

POST = "/topics/orders/events"


def test_a_full_disk_is_507_and_goes_on_when_there_is_room(
    client: httpx.Client, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.post(POST, json=[{"id": "before"}]).status_code == 200

    def full(fd: int, buffers: object, position: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", full)
        answer = client.post(POST, json=[{"id": "lost"}])
        assert (answer.status_code, answer.json()["error"]) == (507, "no_space"), answer.text
        assert int(answer.headers["retry-after"]) > 0
        assert client.get(POST).json()["rows"][0]["id"] == "before"  # reads go on
    assert client.post(POST, json=[{"id": "after"}]).status_code == 200
    assert log.topic("orders").read()["id"].to_pylist() == ["before", "after"]


def test_the_token_file_counts_as_it_is_now(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    first = create_token(file, "first", ["ingest"])
    held = file.read_bytes()
    client = serve(tokens=file)

    def status(token: str) -> int:
        return client.post(POST, json=[{"id": "a"}], headers={"authorization": f"Bearer {token}"}).status_code

    assert status(first) == 200
    second = create_token(file, "second", ["ingest"])
    assert (status(first), status(second)) == (200, 200)
    file.write_bytes(file.read_bytes().removeprefix(held))  # the first one is revoked
    assert (status(first), status(second)) == (401, 200)
    file.write_bytes(b"[[token]]\nname = 5")
    assert (status(first), status(second)) == (503, 503)
    assert client.get("/healthz").status_code == 200
    file.unlink()
    assert status(second) == 503
    file.write_bytes(held)
    assert (status(first), status(second)) == (200, 401)


def test_a_topic_that_changes_is_closed_when_the_last_thread_has_left_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Topic] = []
    true = Topic.close
    monkeypatch.setattr(Topic, "close", lambda topic: (closed.append(topic), true(topic)))
    doors = Doors(Log(log.path), Limits())
    one = Sent(Form.ARRAY, b'[{"id": "a"}]')
    doors.take("orders", one)

    def meanwhile(topic: Topic) -> None:
        wider = pa.schema([*topic.schema.arrow, pa.field("more", pa.int64())])
        log.topic("orders").evolve(wider)
        assert doors.take("orders", Sent(Form.ARRAY, b'[{"id": "b", "more": 1}]')).status == 200
        assert topic not in closed
        topic.append([{"id": "c"}])

    doors.see("orders", meanwhile)
    assert len(closed) == 1
    log.delete("orders")
    with pytest.raises(RefusedError) as refused:
        doors.take("orders", one)
    assert refused.value.status == 404 and len(closed) == 2


def test_what_is_old_goes_from_a_topic_without_new_rows(
    serve: Serve, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = pa.schema([("id", pa.string())])
    with Log(log.path, upkeep=False) as beside:
        topic = beside.create("old", schema, retention_bytes=1, segment_bytes=1024)
        for number in range(5):
            topic.append([{"id": f"{number}" * 1_000}])
        assert topic.start() == 0
        monkeypatch.setattr(server, "_UPKEEP_S", 0.05)
        serve()
        until = time.monotonic() + 30
        while topic.start() == 0:
            assert time.monotonic() < until, "nothing was trimmed"
            time.sleep(0.02)
