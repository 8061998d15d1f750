"""The description of the HTTP interface, as OpenAPI 3.1: written by hand, and held to what is answered by tests."""

from __future__ import annotations

from typing import Any

import thalweg.serve.reads as reads
from thalweg.serve.limits import Limits

_Json = dict[str, Any]  # JSON

_TEXT: _Json = {"type": "string"}
_COUNT: _Json = {"type": "integer", "minimum": 0}
_OPTIONAL_TEXT: _Json = {"type": ["string", "null"]}

_REFUSALS = {
    400: "The request or its body cannot be read.",
    401: "A token is needed.",
    403: "The token, the host or the origin does not allow it.",
    404: "There is no such topic, partition or route; near names are given.",
    406: "None of the accepted media types is given.",
    408: "The body took too long.",
    410: "The rows below the start are gone.",
    413: "The body is larger than a limit.",
    415: "The media type or encoding is not taken.",
    422: "No row of the body can be taken.",
    431: "The headers are larger than a limit.",
    503: "Come again after Retry-After seconds.",
    507: "The disk is full.",
}


def description(limits: Limits) -> _Json:
    """Return the OpenAPI document.

    Example:
        >>> sorted(description(Limits())["paths"])[:2]
        ['/healthz', '/openapi.json']
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Thalweg",
            "version": "1",
            "description": "Events come in and topics are looked at. Every refusal is a JSON object with `error`, a "
            "word for programs, and `message`, a sentence for people.",
        },
        "paths": {
            "/topics": {"get": _operation("listTopics", "The topics", {200: _json("Topics")}, 401, 403)},
            "/topics/{topic}": {
                "parameters": [_topic()],
                "get": _operation("describeTopic", "One topic", {200: _json("Topic")}, 401, 403, 404, 503),
            },
            "/topics/{topic}/events": {
                "parameters": [_topic()],
                "get": _read(limits),
                "post": _ingest(limits),
            },
            "/healthz": {"get": _operation("health", "The process is alive", {200: _json("Status")}, 403)},
            "/readyz": {"get": _operation("ready", "Requests are taken", {200: _json("Status")}, 403, 503)},
            "/openapi.json": {
                "get": _operation("describe", "This document", {200: _content({"type": "object"})}, 403),
            },
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(name: str, summary: str, answers: dict[int, _Json], *refusals: int, **more: Any) -> _Json:
    found = {str(status): answer for status, answer in answers.items()}
    for status in sorted({400, 431, *refusals}):
        found[str(status)] = {"description": _REFUSALS[status], **_json("Refusal", described=False)}
    return {"operationId": name, "summary": summary, **more, "responses": found}


def _ingest(limits: Limits) -> _Json:
    rows = {"description": "Rows of the topic's columns."}
    event = {"$ref": "#/components/schemas/CloudEvent"}
    return _operation(
        "append",
        "Append events; they are durable when the answer comes",
        {
            200: _json("Outcome", "All rows were taken; repeats of an id count as duplicates."),
            207: _json("Outcome", "Some rows were taken, the rejected ones are listed."),
        },
        *(401, 403, 404, 408, 413, 415, 422, 503, 507),
        parameters=[
            {
                "name": "Content-Encoding",
                "in": "header",
                "schema": {"enum": ["gzip", "zstd", "identity"]},
                "description": f"At most {limits.inflated_bytes} bytes when inflated.",
            }
        ],
        requestBody={
            "required": True,
            "description": f"At most {limits.body_bytes} bytes and {limits.rows} rows. Any other media type is the "
            "data of one event whose attributes are the headers ce-id, ce-source, ce-type, ce-specversion and others.",
            "content": {
                "application/cloudevents+json": {"schema": event},
                "application/cloudevents-batch+json": {"schema": {"type": "array", "items": event}},
                "application/json": {"schema": {"type": "array", "items": {"type": "object"}, **rows}},
                "application/x-ndjson": {"schema": {"type": "string", **rows}},
                reads.ARROW: {"schema": {"type": "string", "format": "binary", **rows}},
            },
        },
    )


def _read(limits: Limits) -> _Json:
    media = {
        "application/json": {"schema": {"$ref": "#/components/schemas/Rows"}},
        reads.NDJSON: {"schema": _TEXT},
        reads.CSV: {"schema": _TEXT},
        reads.ARROW: {"schema": {"type": "string", "format": "binary"}},
    }
    headers = {name: {"schema": _COUNT} for name in ("Thalweg-Offset", "Thalweg-Next-Offset", "Thalweg-End")}
    return _operation(
        "read",
        "Rows of a partition from an offset on",
        {200: {"description": "The rows; none past the end.", "content": media, "headers": headers}},
        *(401, 403, 404, 406, 410, 503),
        parameters=[
            _query("partition", {**_COUNT, "maximum": 2**31 - 1, "default": 0}),
            _query("offset", {**_COUNT, "maximum": 2**63 - 1, "description": "The start otherwise."}),
            _query("limit", {**_COUNT, "maximum": limits.read_rows, "default": 1_000}),
        ],
    )


def _schemas() -> _Json:
    rejected = _object(row={"type": ["integer", "null"]}, column=_OPTIONAL_TEXT, reason=_TEXT)
    offsets = _object(partition=_COUNT, offset=_COUNT, count=_COUNT)
    column = _object(name=_TEXT, type=_TEXT, nullable={"type": "boolean"}, rules=_list(_TEXT))
    partition = _object(partition=_COUNT, start=_COUNT, end=_COUNT)
    return {
        "Refusal": {**_object(error=_TEXT, message=_TEXT), "additionalProperties": True},
        "Status": _object(status=_TEXT),
        "Topics": _object(topics=_list(_object(name=_TEXT))),
        "Topic": _object(
            name=_TEXT,
            schema=_list(column),
            key=_OPTIONAL_TEXT,
            time=_OPTIONAL_TEXT,
            id=_OPTIONAL_TEXT,
            rows=_COUNT,
            partitions=_list(partition),
        ),
        "Outcome": _object(appended=_COUNT, duplicates=_COUNT, rejected=_list(rejected), offsets=_list(offsets)),
        "Rows": _object(
            topic=_TEXT, partition=_COUNT, offset=_COUNT, next_offset=_COUNT, end=_COUNT, rows=_list({"type": "object"})
        ),
        "CloudEvent": {
            "type": "object",
            "required": ["specversion", "id", "source", "type"],
            "properties": {
                "specversion": {"const": "1.0"},
                **{name: {"type": "string", "minLength": 1} for name in ("id", "source", "type")},
                **{name: _OPTIONAL_TEXT for name in ("subject", "datacontenttype", "dataschema", "data_base64")},
                "time": {"type": ["string", "null"], "format": "date-time"},
                "data": {},
            },
        },
    }


def _object(**members: _Json) -> _Json:
    return {"type": "object", "required": list(members), "properties": members, "additionalProperties": False}


def _list(items: _Json) -> _Json:
    return {"type": "array", "items": items}


def _topic() -> _Json:
    schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$"}
    return {"name": "topic", "in": "path", "required": True, "schema": schema}


def _query(name: str, schema: _Json) -> _Json:
    return {"name": name, "in": "query", "schema": schema}


def _json(name: str, text: str = "", *, described: bool = True) -> _Json:
    return _content({"$ref": f"#/components/schemas/{name}"}, (text or name) if described else None)


def _content(schema: _Json, text: str | None = "The answer.") -> _Json:
    found: _Json = {"content": {"application/json": {"schema": schema}}}
    return found if text is None else {"description": text, **found}
