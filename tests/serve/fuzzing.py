"""Bodies of every form, then broken in places; and the books that are kept of what was answered."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import zstandard

from tests.serve.conftest import make_topics
from thalweg.log import Log
from thalweg.serve import Limits
from thalweg.serve.answers import RefusedError
from thalweg.serve.doors import Doors, Form, Sent
from thalweg.serve.together import Together

T = TypeVar("T")
NASTY = (
    *(b"\xff", b"\x00", b"NaN", b"Infinity", b"1e400", b"9" * 5_000, b"[" * 70, b"{" * 300, b'"', b"\\", b"\\ud800"),
    *(b'"id":"x",', b"\n", b"\r", b"\n\n", b",", b"]", b"}", b"null", b"-0", b"1.5", b'" :', b"\xef\xbb\xbf", b" "),
)
ALLOWED = (400, 413, 415, 422)


def rows(rng: random.Random, first: int) -> list[dict[str, object]]:
    return [{"id": f"r{first + i}", "n": i, "price": rng.choice([None, 0.5, 1e300])} for i in range(rng.randint(1, 6))]


def body(rng: random.Random, form: Form, first: int) -> bytes:
    given = rows(rng, first)
    events = [{"specversion": "1.0", "id": r["id"], "source": "/s", "type": "t", "data": r} for r in given]
    match form:
        case Form.LINES:
            return b"\n".join(json.dumps(row).encode() for row in given)
        case Form.ARRAY:
            return json.dumps(given, indent=rng.choice([None, 1])).encode()
        case Form.EVENT:
            return json.dumps(events[0]).encode()
        case Form.EVENTS:
            return json.dumps(events, indent=rng.choice([None, 1])).encode()
        case Form.ARROW:
            table = pa.Table.from_pylist(given, pa.schema({"id": "string", "n": "int64", "price": "double"}))
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
            return bytes(sink.getvalue())
        case Form.BINARY:
            return json.dumps(given[0]).encode()


def broken(rng: random.Random, whole: bytes) -> bytes:
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        place = rng.randrange(len(whole) + 1)
        match rng.randrange(5):
            case 0:
                whole = whole[:place] + rng.choice(NASTY) + whole[place:]
            case 1:
                whole = whole[:place] + whole[place + rng.randint(1, 9) :]
            case 2 if place < len(whole):
                whole = whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :]
            case 3:
                whole = whole[:place]
            case _:
                whole = whole + whole[: rng.randrange(60)]
    return whole


def sent(rng: random.Random, first: int) -> Sent:
    form = rng.choice(list(Form))
    whole = broken(rng, body(rng, form, first))
    codec = rng.choice([None, None, None, "gzip", "zstd"])
    if codec is not None:
        whole = gzip.compress(whole) if codec == "gzip" else zstandard.compress(whole)
        whole = broken(rng, whole) if rng.random() < 0.3 else whole
    attributes = {"specversion": "1.0", "id": f"r{first}", "source": "/s", "type": "t"}
    if rng.random() < 0.2:
        attributes.pop(rng.choice(list(attributes)))
    return Sent(form, whole, codec, rng.choice([None, "application/json", "text/plain"]), attributes)


async def at_once(task: Callable[[], T]) -> T:
    return task()


def campaign(rng: random.Random, path: Path, count: int, before: Callable[[Doors], object] = lambda doors: None) -> int:
    """Send bodies, and compare the log with the answers; return how many rows were taken.

    Raises:
        AssertionError: An answer was of the server's fault, or the log is not what was answered.
    """
    log: Log = make_topics(path)
    doors = Doors(log, Limits())
    before(doors)
    together = Together(doors, at_once)
    ends = {"events": 0, "orders": 0, "once": 0}
    with closing(asyncio.new_event_loop()) as loop:
        for number in range(count):
            topic = rng.choice(list(ends))
            one = sent(rng, rng.randrange(count) if topic == "once" else number * 10)
            try:
                taken = loop.run_until_complete(together.take(topic, one))
            except RefusedError as error:
                assert error.status in ALLOWED, (error.status, str(error), one)
                continue
            answer = taken.answer
            assert taken.status == (207 if answer["rejected"] else 200), one
            assert answer["appended"] == sum(part["count"] for part in answer["offsets"]), one
            for part in answer["offsets"]:
                assert part["offset"] == ends[topic], (part, ends, one)
                ends[topic] += part["count"]
    for topic, end in ends.items():
        assert log.topic(topic).end() == end, f"{topic}: answered {end} rows, readable {log.topic(topic).end()}"
        assert log.topic(topic).read(limit=end + 1).num_rows == end
    kept = log.topic("once").read(limit=10_000_000)["id"].to_pylist()
    assert len(kept) == len(set(kept)), "an id is there twice"
    return sum(ends.values())
