"""Every form of body is taken, and what is answered is what is stored."""

from __future__ import annotations

import gzip
import json

import httpx
import pyarrow as pa
import pytest
import zstandard

from thalweg.log import Log

LINES, ARRAY = "application/x-ndjson", "application/json"
EVENT, EVENTS = "application/cloudevents+json", "application/cloudevents-batch+json"
ARROW = "application/vnd.apache.arrow.stream"


def post(client: httpx.Client, topic: str, body: bytes, media: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/topics/{topic}/events", content=body, headers={"content-type": media, **named})


def event(**more: object) -> dict[str, object]:
    return {"specversion": "1.0", "id": "a", "source": "/shop", "type": "sold", **more}


def stream(table: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, **options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def ids(log: Log, topic: str) -> list[object]:
    return log.topic(topic).read(limit=1_000_000)["id"].to_pylist()


ROW = {"id": "a", "n": 1, "price": 0.5}
SAME = pa.table({"id": ["a"], "n": [1], "price": [0.5]})


@pytest.mark.parametrize(
    ("media", "body"),
    [
        (LINES, json.dumps(ROW).encode()),
        (LINES, b"\n\r\n" + json.dumps(ROW).encode() + b"\r\n\n"),
        (ARRAY, json.dumps([ROW], indent=2).encode()),
        (ARRAY, json.dumps(ROW).encode()),
        (ARROW, stream(SAME)),
        (ARROW, stream(pa.table({"id": SAME["id"].dictionary_encode(), "n": SAME["n"], "price": SAME["price"]}))),
        (ARROW, stream(SAME.set_column(0, "id", SAME["id"].cast(pa.string_view())))),
        (EVENT, json.dumps(event(id="z", data=ROW)).encode()),
        (EVENT, json.dumps(event(data={"n": 1, "price": 0.5}), indent=1).encode()),  # id from the attribute
        (EVENTS, json.dumps([event(data=ROW, traceparent="00-1")]).encode()),
    ],
)
@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
def test_rows_of_a_schema_in_every_form(client: httpx.Client, log: Log, media: str, body: bytes, coding: str) -> None:
    packed = {"identity": body, "gzip": gzip.compress(body), "zstd": zstandard.compress(body)}[coding]
    answer = post(client, "orders", packed, media, content_encoding=coding)
    assert answer.status_code == 200, answer.text
    offsets = [{"partition": 0, "offset": 0, "count": 1}]
    assert answer.json() == {"appended": 1, "duplicates": 0, "rejected": [], "offsets": offsets}
    assert log.topic("orders").read().to_pylist() == [ROW]


def test_events_keep_attributes_data_and_extensions(client: httpx.Client, log: Log) -> None:
    data = '{"big": 123456789012345678901234567890, "x": 1e400}'
    text = json.dumps(event(subject="s", time="2026-03-01T10:00:00+01:00", key="k"))[:-1] + f', "data": {data}}}'
    assert post(client, "events", text.encode(), EVENT).status_code == 200
    [row] = log.topic("events").read().to_pylist()
    assert (row["id"], row["source"], row["type"], row["subject"]) == ("a", "/shop", "sold", "s")
    assert row["time"].isoformat() == "2026-03-01T09:00:00+00:00"
    assert (row["data"], json.loads(row["extensions"])) == (data, {"key": "k"})


def test_a_binary_event(client: httpx.Client, log: Log) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "b", "ce-source": "/s", "ce-type": "t", "ce-note": "a%20b"}
    for body, media in ((b"\xff\x00", "application/octet-stream"), (b'{"a": 1}', "application/json")):
        assert client.post("/topics/events/events", content=body, headers={**headers, "content-type": media}).is_success
    first, second = log.topic("events").read().to_pylist()
    assert (first["data"], first["data_bytes"], first["extensions"]) == (None, b"\xff\x00", '{"note":"a b"}')
    assert (second["data"], second["datacontenttype"]) == ('{"a": 1}', "application/json")


def test_good_rows_are_taken_and_bad_ones_named(client: httpx.Client, log: Log) -> None:
    body = b'{"id":"a"}\n{"id":"b","n":-1}\n\nnope\n{"id":"c","price":"x"}\n{"id":"d","id":"e"}\n{"n":1}\n{"id":"f"}'
    answer = post(client, "orders", body, LINES)
    assert answer.status_code == 207
    told = answer.json()
    assert [(bad["row"], bad["column"]) for bad in told["rejected"]] == [
        *((1, "n"), (2, None), (3, "price"), (4, "id"), (5, "id"))
    ]
    assert "≥ 0" in told["rejected"][0]["reason"]
    assert told["appended"] == 2 and ids(log, "orders") == ["a", "f"]


@pytest.mark.parametrize(
    "body",
    [
        *(b'{"id":"\xff"}', b'{"id":"a","n":NaN}', b'{"id":"a","price":1e400}', b'{"id":"a","id":"a"}'),
        *(b'{"id":"a","n":' + b"9" * 5_000 + b"}", b'{"id":"a","n":1.5}', b'{"id":"\\ud800"}', b'{"id":"a"}{"id":"b"}'),
        *(b'{"id":"a","x":' + b"[" * 64 + b"]" * 64 + b"}", b"[" * 100_000, b'"a"', b"null", b"\x00"),
    ],
)
def test_what_is_malformed_is_refused_and_nothing_stored(client: httpx.Client, log: Log, body: bytes) -> None:
    for media, whole in ((LINES, body), (ARRAY, b"[" + body + b"]")):
        answer = post(client, "orders", whole, media)
        if b"}{" in body and media == ARRAY:
            assert answer.status_code == 400
        assert answer.status_code in (400, 422), answer.text
    assert log.topic("orders").end() == 0


def test_depth_is_counted_exactly(client: httpx.Client) -> None:
    for depth, status, reason in ((63, 200, "unknown field"), (64, 200, "unknown field"), (65, 422, "nested more")):
        nested = b"[" * depth + b" " * 200 + b"]" * depth
        text = json.dumps(event()).encode()[:-1] + b', "data": ' + nested + b"}"
        assert post(client, "events", text, EVENT).status_code == status, depth
        for media, body in ((LINES, b'{"x":' + nested[1:-1] + b"}"), (ARRAY, b'[{"x":' + nested[1:-1] + b"}]")):
            [bad] = post(client, "orders", body, media).json()["rejected"]
            assert reason in bad["reason"], (depth, media)


STRANGE = {**ROW, "pirce": 0.5}


@pytest.mark.parametrize(
    ("media", "body", "column"),
    [
        (LINES, b"\n".join(json.dumps(row).encode() for row in (ROW, STRANGE, ROW)), "pirce"),
        (LINES, b"\n".join(json.dumps(row).encode() for row in (ROW, {**ROW, "pirce": None}, ROW)), "pirce"),
        (ARRAY, json.dumps([ROW, STRANGE, ROW]).encode(), "pirce"),
        (EVENTS, json.dumps([event(data=row) for row in (ROW, STRANGE, ROW)]).encode(), "data.pirce"),
    ],
)
def test_a_row_with_an_unknown_field_is_refused_alone(
    client: httpx.Client, log: Log, media: str, body: bytes, column: str
) -> None:
    answer = post(client, "orders", body, media)
    reason = "unknown field 'pirce'; did you mean \"price\"?"
    assert answer.status_code == 207
    assert answer.json()["rejected"] == [{"row": 1, "column": column, "reason": reason}]
    assert log.topic("orders").read().to_pylist() == [ROW, ROW]


def test_among_many_rows_each_unknown_field_is_found(client: httpx.Client, log: Log) -> None:
    rows = [STRANGE if number % 70 == 3 else ROW for number in range(1_000)]
    answer = post(client, "orders", b"\n".join(json.dumps(row).encode() for row in rows), LINES).json()
    assert [bad["row"] for bad in answer["rejected"]] == list(range(3, 1_000, 70))
    assert answer["appended"] == log.topic("orders").end() == 1_000 - 15


def test_unknown_fields_inside_of_structs(client: httpx.Client, log: Log) -> None:
    inner = pa.struct([("x", pa.int64())])
    log.create("nested", pa.schema([("one", inner), ("many", pa.list_(inner))]))
    rows = [{"one": {"x": 1, "y": 2}}, {"many": [{"x": 1}, {"z": 3}]}, {"one": {"x": 1}, "many": [{"x": 2}]}]
    told = post(client, "nested", json.dumps(rows).encode(), ARRAY).json()
    assert [(bad["row"], bad["column"]) for bad in told["rejected"]] == [(0, "one.y"), (1, "many.z")]
    assert log.topic("nested").end() == 1
    for row, column in ((rows[0], "one.y"), (rows[1], "many.z")):
        answer = post(client, "nested", stream(pa.Table.from_pylist([row])), ARROW)
        assert (answer.status_code, answer.json()["rejected"][0]["column"]) == (422, column)
    assert post(client, "nested", stream(pa.Table.from_pylist([rows[2]])), ARROW).status_code == 200


def test_an_arrow_stream_with_an_unknown_column_or_one_twice_is_refused(client: httpx.Client, log: Log) -> None:
    for table in (SAME.append_column("pirce", SAME["price"]), SAME.append_column("price", SAME["price"])):
        answer = post(client, "orders", stream(table), ARROW)
        assert (answer.status_code, answer.json()["error"]) == (422, "unknown_column"), answer.text
        assert answer.json()["message"].startswith(f'no row can be taken: column "{table.column_names[-1]}"')
    assert log.topic("orders").end() == 0


@pytest.mark.parametrize(
    "text",
    [
        '{"specversion":"1.0","id":"a","id":"b","source":"s","type":"t"}',
        '{"specversion":"1.0","id" :"a","id":"b","source":"s","type":"t"}',
        '{"specversion":"1.0","id"\\n :"a","id":"b","source":"s","type":"t"}',
        '{"specversion":"1.0","\\u0069d":"a","id":"b","source":"s","type":"t"}',
        '{"specversion":"0.3","id":"a","source":"s","type":"t"}',
        '{"specversion":"1.0","id":"","source":"s","type":"t"}',
        '{"specversion":"1.0","id":5,"source":"s","type":"t"}',
        '{"specversion":"1.0","id":"a","source":"s"}',
        '{"specversion":"1.0","id":"a","source":"s","type":"t","time":"noon"}',
        '{"specversion":"1.0","id":"a","source":"s","type":"t","data":1,"data_base64":"YQ=="}',
        '{"specversion":"1.0","id":"a","source":"s","type":"t","more":[1]}',
    ],
)
def test_events_that_are_none(client: httpx.Client, log: Log, text: str) -> None:
    for media, body in ((EVENT, text), (EVENTS, f"[{text}]")):
        answer = post(client, "events", body.encode(), media)
        assert answer.status_code in (400, 422), answer.text
    assert log.topic("events").end() == 0


def test_a_repeated_id_is_a_duplicate(client: httpx.Client, log: Log) -> None:
    first = post(client, "once", b'[{"id":"a"},{"id":"b"},{"id":"a"}]', ARRAY).json()
    again = post(client, "once", b'[{"id":"b"},{"id":"c"}]', ARRAY).json()
    assert (first["appended"], first["duplicates"], again["appended"], again["duplicates"]) == (2, 1, 1, 1)
    assert ids(log, "once") == ["a", "b", "c"]


def test_arrow_that_cannot_be_trusted(client: httpx.Client, log: Log) -> None:
    whole = stream(SAME)
    packed = stream(SAME, options=pa.ipc.IpcWriteOptions(compression="zstd"))
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int32()), ["x" * 1_000])
    bomb = stream(pa.table({"id": values}))
    nothing = stream(pa.table({"id": pa.nulls(300_000)}))
    for body, status in (
        (whole[:-8], 400),
        (whole + b"x", 400),
        (packed, 400),
        (bomb, 400),
        (nothing, 413),
        (b"AR", 400),
    ):
        answer = post(client, "orders", body, ARROW)
        assert answer.status_code == status, answer.text
    assert log.topic("orders").end() == 0


def test_types_codings_topics_and_routes_that_are_not(client: httpx.Client) -> None:
    assert "x-ndjson" in post(client, "orders", b"[]", "image/png").json()["message"]
    assert post(client, "orders", b"[]", ARRAY, content_encoding="br").status_code == 415
    assert post(client, "orders", b"x", ARRAY, content_encoding="gzip").status_code == 400
    missing = post(client, "order", b"[]", ARRAY)
    assert missing.status_code == 404 and 'did you mean "orders"' in missing.json()["message"]
    for path in ("/nope", "/topics/..%2f..%2fetc/events", "/topics/a%00b", "/"):
        answer = client.get(path)
        assert answer.status_code == 404 and answer.json()["error"].startswith("unknown"), path
    assert client.delete("/topics/orders").status_code == 405
    assert post(client, "orders", b"", LINES).status_code == 400


@pytest.mark.parametrize("form", ["application/json", LINES, "text/csv", ARROW])
def test_rows_are_read_in_every_form(client: httpx.Client, log: Log, form: str) -> None:
    log.topic("orders").append([{"id": str(i), "n": i, "price": None} for i in range(5)])
    answer = client.get("/topics/orders/events?offset=1&limit=2", headers={"accept": form})
    assert answer.headers["content-type"].startswith(form)
    assert [answer.headers[f"thalweg-{name}"] for name in ("offset", "next-offset", "end")] == ["1", "3", "5"]
    found = {
        "application/json": lambda: [row["id"] for row in answer.json()["rows"]],
        LINES: lambda: [json.loads(line)["id"] for line in answer.text.splitlines()],
        "text/csv": lambda: [line.split(",")[0] for line in answer.text.splitlines()[1:]],
        ARROW: lambda: pa.ipc.open_stream(answer.content).read_all()["id"].to_pylist(),
    }[form]()
    assert found == ["1", "2"]


def test_reading_past_the_end_gives_nothing_and_odd_parameters_are_refused(client: httpx.Client) -> None:
    assert client.get("/topics/orders/events?offset=9").json()["rows"] == []
    for query in ("offset=-1", "offset=x", "limit=1.5", "limit=99999999", f"offset={2**63}", "partition=٣"):
        assert client.get(f"/topics/orders/events?{query}").status_code == 400, query
    assert client.get("/topics/orders/events?partition=7").status_code == 404
    assert client.get("/topics/orders/events", headers={"accept": "image/png"}).status_code == 406
